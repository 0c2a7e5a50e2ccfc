//! The registration at one server: kept up for as long as the machine runs, be it a camera or a member of a swarm.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand_chacha::ChaCha12Rng;
use rand_core::Rng;

use crate::info::Capability;
use crate::keys::{PublicKey, SecretKey};
use crate::link::stream::{ReadEnd, end, read, write};
use crate::link::{ConnId, Dir, Link, LinkEvent, StreamId, TcpPort};
use crate::register::{AppKey, BINDING_LABEL, ClientOutcome, Introduction, RegisterClient, SERVER_ALPN};

/// First pause after a lost connection; doubles up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Longest pause between attempts.
const MAX_PAUSE: Duration = Duration::from_secs(15);
/// A refused registration is tried again after this long: somebody has to change something first.
const REFUSED_PAUSE: Duration = Duration::from_secs(30);
/// An attempt that has not registered after this long is given up.
const ATTEMPT: Duration = Duration::from_secs(6);

/// Close code: nothing is wrong.
const CLOSE_OK: u32 = 0;
/// Close code: the machine stops.
const CLOSE_SHUTDOWN: u32 = 1;

/// Who registers, and where.
#[derive(Debug)]
pub(crate) struct Registrant<'a> {
    pub(crate) secret: &'a SecretKey,
    pub(crate) epoch: u32,
    pub(crate) product: &'a str,
    pub(crate) name: &'a str,
    /// The server's key; the first one that it shows is put here if there is none.
    pub(crate) key: &'a mut Option<PublicKey>,
    pub(crate) addrs: &'a [SocketAddr],
    /// Where the server takes the same over TCP, for when UDP does not get there.
    pub(crate) tcp: Option<TcpPort>,
    pub(crate) app_key: Option<&'a AppKey>,
    /// Whether the server may show the camera to many viewers.
    pub(crate) allow_transit: bool,
}

/// What happened to a registration.
#[derive(Debug)]
pub(crate) enum RegistrationNews {
    ServerKey { server: usize, key: PublicKey },
    Registered { server: usize, observed: SocketAddr },
    Lost { server: usize, reason: String },
    Refused { server: usize, reason: String },
}

#[derive(Debug)]
struct Attempt {
    conn: ConnId,
    addr: SocketAddr,
    /// Give up at this time unless registered.
    until: Option<Instant>,
    exchange: Option<(StreamId, RegisterClient)>,
}

/// One server of the configuration.
#[derive(Debug)]
pub(crate) struct Registration {
    server: usize,
    attempt: Option<Attempt>,
    retry_at: Option<Instant>,
    pause: Duration,
    next_addr: usize,
    /// The address that may bring us viewers.
    relay: Option<SocketAddr>,
    /// The connection of a registration that is being replaced. The server must not miss us in between, or it would
    /// end our viewers' flows.
    old: Option<ConnId>,
}

impl Registration {
    pub(crate) fn new(server: usize, now: Instant) -> Self {
        Self {
            server,
            attempt: None,
            retry_at: Some(now),
            pause: FIRST_PAUSE,
            next_addr: 0,
            relay: None,
            old: None,
        }
    }

    pub(crate) fn owns(&self, conn: ConnId) -> bool {
        self.attempt.as_ref().is_some_and(|a| a.conn == conn)
    }

    /// The connection to the server, once we have said there who we are: what needs a registration may follow at once.
    pub(crate) fn connected(&self) -> Option<ConnId> {
        self.attempt.as_ref().filter(|a| a.exchange.is_some()).map(|a| a.conn)
    }

    /// When [`run`](Self::run) is due.
    pub(crate) fn next(&self, closing: bool) -> Option<Instant> {
        if closing {
            return None;
        }
        match &self.attempt {
            Some(attempt) => attempt.until,
            None => self.retry_at,
        }
    }

    /// Tries at once if it was waiting.
    pub(crate) fn hurry(&mut self, now: Instant) {
        if self.attempt.is_none() {
            self.retry_at = Some(now);
            self.pause = FIRST_PAUSE;
        }
    }

    /// Registers anew because the network has changed; the flows of viewers stay.
    pub(crate) fn renew(&mut self, now: Instant, link: &mut Link) {
        if let Some(attempt) = self.attempt.take() {
            // One that has not got so far is nothing that the server would miss, and the one before it still is.
            if attempt.until.is_none() {
                self.close_old(now, link);
                self.old = Some(attempt.conn);
            } else {
                link.close(now, attempt.conn, CLOSE_OK, "the network has changed");
            }
        }
        self.hurry(now);
    }

    fn close_old(&mut self, now: Instant, link: &mut Link) {
        if let Some(old) = self.old.take() {
            link.close(now, old, CLOSE_OK, "registered anew");
        }
    }

    /// Registers anew under another ticket; what came by the old one ends.
    pub(crate) fn restart(&mut self, now: Instant, link: &mut Link) {
        if let Some(attempt) = self.attempt.take() {
            link.close(now, attempt.conn, CLOSE_OK, "registering anew");
        }
        self.hurry(now);
    }

    pub(crate) fn stop(&mut self, now: Instant, link: &mut Link) {
        self.close_old(now, link);
        if let Some(attempt) = self.attempt.take() {
            link.close(now, attempt.conn, CLOSE_SHUTDOWN, "it stops");
        }
        self.retry_at = None;
    }

    /// Starts an attempt if one is due, gives one up that takes too long.
    pub(crate) fn run(
        &mut self,
        now: Instant,
        link: &mut Link,
        registrant: &Registrant<'_>,
        rng: &mut ChaCha12Rng,
    ) {
        if let Some(attempt) = &self.attempt {
            if attempt.until.is_some_and(|at| at <= now) {
                link.close(now, attempt.conn, CLOSE_OK, "no answer");
                self.attempt = None;
                self.back_off(now, rng);
            }
            return;
        }
        if self.retry_at.is_none_or(|at| at > now) {
            return;
        }
        self.retry_at = None;
        // Without an address there is nothing to do until one is told.
        let Some(index) = self.choose(link, registrant.addrs) else { return };
        let addr = registrant.addrs[index]; // an index of it, as `choose` says
        self.next_addr = index + 1;
        if let Some(port) = registrant.tcp {
            link.add_tcp_relay(port.of(addr, *registrant.key));
        }
        match link.connect_server(now, *registrant.key, addr, SERVER_ALPN) {
            Ok(conn) => {
                self.attempt = Some(Attempt { conn, addr, until: Some(now + ATTEMPT), exchange: None });
            }
            Err(_) => self.back_off(now, rng),
        }
    }

    /// The index of the address that is next in turn, of those that there can be a way to from here.
    fn choose(&self, link: &Link, addrs: &[SocketAddr]) -> Option<usize> {
        let in_turn = || (0..addrs.len()).map(|n| (self.next_addr + n) % addrs.len());
        in_turn().find(|index| link.may_reach(addrs[*index])).or_else(|| in_turn().next())
    }

    fn back_off(&mut self, now: Instant, rng: &mut ChaCha12Rng) {
        // Some chance in it, so that a thousand cameras do not return to a restarted server in step.
        let jitter = self.pause.mul_f64(f64::from(rng.next_u32() % 1000) / 2000.0);
        self.retry_at = Some(now + self.pause + jitter);
        self.pause = (self.pause * 2).min(MAX_PAUSE);
    }

    /// Handles what happens on the connection to the server.
    pub(crate) fn handle(
        &mut self,
        now: Instant,
        link: &mut Link,
        registrant: &mut Registrant<'_>,
        rng: &mut ChaCha12Rng,
        event: LinkEvent,
    ) -> Vec<RegistrationNews> {
        let server = self.server;
        match event {
            LinkEvent::Connected { peer, .. } => {
                let mut news = Vec::new();
                if registrant.key.is_none() {
                    *registrant.key = Some(peer);
                    news.push(RegistrationNews::ServerKey { server, key: peer });
                }
                self.begin(link, registrant, peer);
                news
            }
            LinkEvent::Lost(reason) => {
                self.attempt = None;
                self.back_off(now, rng);
                vec![RegistrationNews::Lost { server, reason: reason.to_string() }]
            }
            LinkEvent::Readable(stream) => self.receive(now, link, rng, stream),
            LinkEvent::BackOnUdp => {
                self.renew(now, link);
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    fn begin(&mut self, link: &mut Link, registrant: &Registrant<'_>, peer: PublicKey) {
        let Some(attempt) = &mut self.attempt else { return };
        let Some(binding) = link.export(attempt.conn, BINDING_LABEL) else { return };
        let Some(quic) = link.quic(attempt.conn) else { return };
        let Some(stream) = quic.streams().open(Dir::Bi) else { return };
        let transit = registrant
            .allow_transit
            .then(|| Capability::for_transit(registrant.secret, registrant.epoch, &peer));
        let who = Introduction {
            secret: registrant.secret,
            epoch: registrant.epoch,
            app_key: registrant.app_key,
            product: registrant.product,
            name: registrant.name,
            transit,
        };
        let (client, hello) = RegisterClient::new(who, peer, &binding);
        // A new stream takes a message of 1 KiB at most whole.
        let _ = write(quic, stream, &mut [Bytes::from(hello)]);
        attempt.exchange = Some((stream, client));
    }

    fn receive(
        &mut self,
        now: Instant,
        link: &mut Link,
        rng: &mut ChaCha12Rng,
        stream: StreamId,
    ) -> Vec<RegistrationNews> {
        let server = self.server;
        let mut news = Vec::new();
        let Some(attempt) = &mut self.attempt else { return news };
        let Some((id, client)) = attempt.exchange.as_mut().filter(|(id, _)| *id == stream) else {
            return news;
        };
        let Some(quic) = link.quic(attempt.conn) else { return news };
        let mut outcomes = Vec::new();
        let mut failed = None;
        let ended = read(quic, *id, 16 * 1024, |data| {
            if failed.is_none() {
                match client.receive(&data) {
                    Ok(more) => outcomes.extend(more),
                    Err(e) => failed = Some(e.to_string()),
                }
            }
        });
        if !matches!(ended, ReadEnd::Blocked) && failed.is_none() && outcomes.is_empty() {
            failed = Some("the server ended the registration".to_owned());
        }
        let mut registered = None;
        let mut refused = None;
        for outcome in outcomes {
            match outcome {
                ClientOutcome::Registered { observed, .. } => registered = Some(observed),
                ClientOutcome::Refused { code, text } => refused = Some(format!("{code}: {text}")),
                ClientOutcome::Draining => failed = Some("the server is about to stop".to_owned()),
            }
        }
        if let Some(observed) = registered {
            attempt.until = None;
            self.pause = FIRST_PAUSE;
            if let Some(old) = self.old.take() {
                link.close(now, old, CLOSE_OK, "registered anew");
            }
            if let Some(old) = self.relay.replace(attempt.addr)
                && old != attempt.addr
            {
                link.set_relay_server(old, false);
            }
            link.set_relay_server(attempt.addr, true);
            // Where it worked is where to begin next time.
            self.next_addr = self.next_addr.saturating_sub(1);
            // Over TCP the server sees another port than that of our socket, of no use to anybody.
            if !link.is_over_tcp(attempt.addr) {
                link.add_observed_address(now, observed);
            }
            news.push(RegistrationNews::Registered { server, observed });
        }
        if let Some(reason) = failed.as_ref().or(refused.as_ref()) {
            if let Some(attempt) = self.attempt.take() {
                if let Some(quic) = link.quic(attempt.conn) {
                    end(quic, stream, None);
                }
                link.close(now, attempt.conn, CLOSE_OK, "registration failed");
            }
            if refused.is_some() {
                self.retry_at = Some(now + REFUSED_PAUSE);
                news.push(RegistrationNews::Refused { server, reason: reason.clone() });
            } else {
                self.back_off(now, rng);
                news.push(RegistrationNews::Lost { server, reason: reason.clone() });
            }
        }
        news
    }
}
