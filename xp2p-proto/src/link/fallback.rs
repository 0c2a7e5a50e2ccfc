//! What to do where UDP does not get through: the same datagrams go to the same server over TCP.
//!
//! This lies below QUIC. Towards a server there is one way at a time, UDP or a [`Tunnel`]; connections and relay flows do not
//! notice which. To the server a change looks like that of a NAT mapping: QUIC follows by itself, flows with a cookie.
//!
//! * UDP that has not been answered for [`UDP_PATIENCE`] is given up, if anybody still waits for that server. Only what an
//!   outsider cannot forge counts as an answer. Questions of our own, one byte sent along a flow that does not exist, keep
//!   a peer that is silent apart from a server that cannot be reached.
//! * While TCP is in use the same question goes out over UDP every [`UDP_RETRY`]. After two answers in a row UDP is used
//!   again, and the tunnel kept for a moment. If UDP then fails once more, there is no gap but the patience, and the next
//!   attempt is later.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use rand_chacha::ChaCha12Rng;
use rand_core::Rng;

use super::tls::Tls;
use super::tunnel::Tunnel;
use crate::keys::PublicKey;
use crate::machine::{ByteStreamAction, ByteStreamId};
use crate::wire::{FlowId, Frame};

/// TCP is tried when UDP was not answered for this long.
pub const UDP_PATIENCE: Duration = Duration::from_millis(1_500);
/// How often UDP is tried while TCP is in use.
pub const UDP_RETRY: Duration = Duration::from_secs(3);
/// The same after UDP has answered and then failed, doubled each time up to [`MAX_UDP_RETRY`].
const MAX_UDP_RETRY: Duration = Duration::from_secs(300);
/// Silence over UDP after which the server is asked whether it is there, again and again until the patience is over.
const ASK_AFTER: Duration = Duration::from_millis(500);
/// An answer to our question that has not come after this long does not come.
const ANSWER_TIME: Duration = Duration::from_secs(2);
/// Answers in a row after which UDP is used again: one may be an accident.
const ANSWERS: u8 = 2;
/// A tunnel that is not up after this long is given up: TCP and TLS together.
const CONNECT_TIME: Duration = Duration::from_secs(5);
/// A tunnel in use that brings nothing for this long after something was sent is dead. Keep-alives come more often.
const DEAD_AFTER: Duration = Duration::from_secs(8);
/// How long a tunnel is kept that nobody needs, or that UDP has just replaced.
const LINGER: Duration = Duration::from_secs(5);
/// Pause after a tunnel that failed, doubled each time up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const MAX_PAUSE: Duration = Duration::from_secs(30);
/// Unanswered datagrams that are kept to be said again over TCP: the first packets of connections. QUIC itself would
/// repeat them only after its own, long timeouts.
const MAX_UNANSWERED: usize = 16;
/// Datagrams are kept only once UDP was silent for this long, so that nothing is copied where it works.
const KEEP_AFTER: Duration = Duration::from_millis(300);
/// Most servers.
const MAX_SERVERS: usize = 512;

/// A server and where it takes the same datagrams over TCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpRelay {
    /// Its UDP address.
    pub server: SocketAddr,
    /// Its TCP address.
    pub tcp: SocketAddr,
    /// The key that it must prove. `None`: not known yet, any will do; what is said inside is for the right one only.
    pub key: Option<PublicKey>,
}

/// The TCP port of a server that takes the same datagrams there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TcpPort {
    /// The number of its UDP port, as servers have it unless told otherwise.
    #[default]
    Same,
    /// Another one, which the server's address names.
    Other(u16),
}

impl TcpPort {
    /// From what an xp2pInfo or a server's line says.
    pub fn from_option(port: Option<u16>) -> Self {
        port.map_or(Self::Same, Self::Other)
    }

    /// Where the server at `server` takes TCP.
    pub fn of(self, server: SocketAddr, key: Option<PublicKey>) -> TcpRelay {
        let port = match self {
            Self::Same => server.port(),
            Self::Other(port) => port,
        };
        TcpRelay { server, tcp: SocketAddr::new(server.ip(), port), key }
    }
}

/// By which way a datagram of a server has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Over {
    Udp,
    Tcp,
}

#[derive(Debug)]
enum State {
    /// Everything goes over UDP.
    Udp,
    /// It still does; a tunnel is on its way.
    Connecting { stream: ByteStreamId, tunnel: Option<Tunnel>, until: Instant },
    /// Everything goes over TCP.
    Tcp { stream: ByteStreamId, tunnel: Tunnel, unneeded: Option<Instant> },
    /// Everything goes over UDP again; the tunnel is kept until then. `confirmed`: something else than a question was answered.
    Returning { stream: ByteStreamId, tunnel: Tunnel, until: Instant, confirmed: bool },
}

#[derive(Debug)]
struct Server {
    relay: TcpRelay,
    state: State,
    /// When the first datagram went out over UDP that was not answered.
    asked: Option<Instant>,
    unanswered: VecDeque<Vec<u8>>,
    /// Our question that waits for an answer, and since when.
    question: Option<(FlowId, Instant)>,
    next_question: Option<Instant>,
    answers: u8,
    udp_retry: Duration,
    /// No tunnel before.
    retry_at: Option<Instant>,
    pause: Duration,
    /// When the first datagram went out over TCP after which nothing came.
    silent_since: Option<Instant>,
}

/// What has changed, for whoever uses a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// From now on everything goes over TCP.
    ToTcp(SocketAddr),
    /// From now on everything goes over UDP.
    ToUdp(SocketAddr),
}

/// The ways to all servers that take TCP as well.
pub(super) struct Fallback {
    tls: Tls,
    rng: ChaCha12Rng,
    servers: BTreeMap<SocketAddr, Server>,
    streams: BTreeMap<ByteStreamId, SocketAddr>,
    next_stream: u64,
    actions: VecDeque<ByteStreamAction>,
    changes: VecDeque<Change>,
    dropped: u64,
}

impl Fallback {
    pub(super) fn new(tls: Tls, rng: ChaCha12Rng) -> Self {
        Self {
            tls,
            rng,
            servers: BTreeMap::new(),
            streams: BTreeMap::new(),
            next_stream: 0,
            actions: VecDeque::new(),
            changes: VecDeque::new(),
            dropped: 0,
        }
    }

    /// Learns of a server, or its key.
    pub(super) fn add(&mut self, relay: TcpRelay) {
        if let Some(known) = self.servers.get_mut(&relay.server) {
            let key = relay.key.or(known.relay.key);
            known.relay = TcpRelay { key, ..relay };
        } else if self.servers.len() < MAX_SERVERS {
            let server = Server {
                relay,
                state: State::Udp,
                asked: None,
                unanswered: VecDeque::new(),
                question: None,
                next_question: None,
                answers: 0,
                udp_retry: UDP_RETRY,
                retry_at: None,
                pause: FIRST_PAUSE,
                silent_since: None,
            };
            self.servers.insert(relay.server, server);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.servers.is_empty()
    }

    /// Datagrams that were dropped because a tunnel was slow.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Whether what goes to `server` goes over TCP.
    pub(super) fn is_tcp(&self, server: SocketAddr) -> bool {
        self.servers.get(&server).is_some_and(|s| matches!(s.state, State::Tcp { .. }))
    }

    /// Whether what goes to any server goes over TCP.
    pub(super) fn uses_tcp(&self) -> bool {
        self.servers.values().any(|s| matches!(s.state, State::Tcp { .. }))
    }

    /// Takes a batch for `remote` if it is to go over TCP. Else it is noted that the server was asked something.
    pub(super) fn takes(&mut self, now: Instant, remote: SocketAddr, batch: &[u8], segment: usize) -> bool {
        let Some(server) = self.servers.get_mut(&remote) else { return false };
        if let State::Tcp { stream, tunnel, .. } = &mut server.state {
            server.silent_since.get_or_insert(now);
            batch.chunks(segment.max(1)).for_each(|datagram| tunnel.push(datagram));
            self.dropped += tunnel.take_dropped();
            if tunnel.announce() {
                self.actions.push_back(ByteStreamAction::Send { stream: *stream });
            }
            return true;
        }
        let asked = *server.asked.get_or_insert(now);
        if server.next_question.is_none() {
            server.next_question = Some(now + ASK_AFTER);
        }
        if now.saturating_duration_since(asked) >= KEEP_AFTER {
            for datagram in batch.chunks(segment.max(1)) {
                if server.unanswered.len() >= MAX_UNANSWERED {
                    server.unanswered.pop_front();
                }
                server.unanswered.push_back(datagram.to_vec());
            }
        }
        false
    }

    /// Something has come from `server` over UDP that only it can have sent.
    pub(super) fn heard(&mut self, server: SocketAddr) {
        let Some(server) = self.servers.get_mut(&server) else { return };
        server.asked = None;
        server.unanswered.clear();
        match &mut server.state {
            State::Udp => {
                server.next_question = None;
                server.retry_at = None;
                server.pause = FIRST_PAUSE;
            }
            State::Connecting { stream, .. } => {
                self.actions.push_back(ByteStreamAction::Close { stream: *stream });
                self.streams.remove(stream);
                server.state = State::Udp;
                server.next_question = None;
            }
            State::Returning { confirmed, .. } => {
                *confirmed = true;
                server.next_question = None;
            }
            State::Tcp { .. } => {}
        }
    }

    /// A server says over UDP that it knows no flow `flow`. Whether that was our question. `insists`: a connection to the server
    /// itself waits for its first packet; that frames get through does not help it where QUIC is filtered.
    pub(super) fn answered(&mut self, now: Instant, addr: SocketAddr, flow: FlowId, insists: bool) -> bool {
        let Some(server) = self.servers.get_mut(&addr) else { return false };
        if server.question.take_if(|(asked, _)| *asked == flow).is_none() {
            return false;
        }
        match server.state {
            State::Tcp { .. } => {}
            // Whether UDP serves now is for those to say who use it: first of all, they must get an answer.
            State::Returning { confirmed: false, .. } => return true,
            State::Udp | State::Connecting { .. } | State::Returning { .. } => {
                if !insists {
                    self.heard(addr);
                }
                return true;
            }
        }
        server.answers += 1;
        if server.answers < ANSWERS {
            server.next_question = Some(now);
            return true;
        }
        server.asked = None;
        server.unanswered.clear();
        server.next_question = None;
        server.silent_since = None;
        if let State::Tcp { stream, tunnel, .. } = std::mem::replace(&mut server.state, State::Udp) {
            server.state = State::Returning { stream, tunnel, until: now + LINGER, confirmed: false };
            self.changes.push_back(Change::ToUdp(addr));
        }
        true
    }

    /// The network below has changed: what was found out of the old one no longer holds.
    pub(super) fn forget(&mut self) {
        for (&addr, server) in &mut self.servers {
            let stream = match std::mem::replace(&mut server.state, State::Udp) {
                State::Udp => None,
                State::Tcp { stream, .. } => {
                    self.changes.push_back(Change::ToUdp(addr));
                    Some(stream)
                }
                State::Connecting { stream, .. } | State::Returning { stream, .. } => Some(stream),
            };
            if let Some(stream) = stream {
                self.actions.push_back(ByteStreamAction::Close { stream });
                self.streams.remove(&stream);
            }
            server.asked = None;
            server.unanswered.clear();
            server.question = None;
            server.next_question = None;
            server.retry_at = None;
            server.pause = FIRST_PAUSE;
            server.udp_retry = UDP_RETRY;
            server.silent_since = None;
        }
    }

    pub(super) fn poll_change(&mut self) -> Option<Change> {
        self.changes.pop_front()
    }

    pub(super) fn poll_action(&mut self) -> Option<ByteStreamAction> {
        self.actions.pop_front()
    }

    /// TCP is connected: TLS begins.
    pub(super) fn opened(&mut self, now: Instant, id: ByteStreamId) {
        let Some(&addr) = self.streams.get(&id) else { return };
        let Some(server) = self.servers.get_mut(&addr) else { return };
        let State::Connecting { tunnel, .. } = &mut server.state else { return };
        let made =
            self.tls.tunnel_client(server.relay.key).and_then(|config| Tunnel::client(Arc::new(config)));
        match made {
            Ok(mut made) => {
                if made.announce() {
                    self.actions.push_back(ByteStreamAction::Send { stream: id });
                }
                *tunnel = Some(made);
            }
            Err(e) => {
                tracing::debug!("no TLS to {addr}: {e}");
                self.actions.push_back(ByteStreamAction::Close { stream: id });
                self.closed(now, id);
            }
        }
    }

    /// Takes in bytes of a tunnel. Returns the server that it leads to.
    pub(super) fn received(
        &mut self,
        now: Instant,
        id: ByteStreamId,
        bytes: &[u8],
        each: impl FnMut(BytesMut),
    ) -> Option<SocketAddr> {
        let &addr = self.streams.get(&id)?;
        let server = self.servers.get_mut(&addr)?;
        let tunnel = match &mut server.state {
            State::Connecting { tunnel, .. } => tunnel.as_mut()?,
            State::Tcp { tunnel, .. } | State::Returning { tunnel, .. } => tunnel,
            State::Udp => return None,
        };
        server.silent_since = None;
        if let Err(e) = tunnel.receive(bytes, each) {
            tracing::debug!("the TCP connection to {addr} broke: {e}");
            self.actions.push_back(ByteStreamAction::Close { stream: id });
            self.closed(now, id);
            return Some(addr);
        }
        if tunnel.announce() {
            self.actions.push_back(ByteStreamAction::Send { stream: id });
        }
        let is_up = !tunnel.is_handshaking();
        if is_up && matches!(server.state, State::Connecting { .. }) {
            self.up(now, addr);
        }
        Some(addr)
    }

    /// The server has proven its key: from now on everything goes this way, what was not answered first.
    fn up(&mut self, now: Instant, addr: SocketAddr) {
        let Some(server) = self.servers.get_mut(&addr) else { return };
        let State::Connecting { stream, tunnel: Some(mut tunnel), .. } =
            std::mem::replace(&mut server.state, State::Udp)
        else {
            return;
        };
        server.unanswered.drain(..).for_each(|datagram| tunnel.push(&datagram));
        if tunnel.announce() {
            self.actions.push_back(ByteStreamAction::Send { stream });
        }
        server.state = State::Tcp { stream, tunnel, unneeded: None };
        server.pause = FIRST_PAUSE;
        server.asked = None;
        server.question = None;
        server.answers = 0;
        server.next_question = Some(now + server.udp_retry);
        self.changes.push_back(Change::ToTcp(addr));
    }

    /// A stream has ended.
    pub(super) fn closed(&mut self, now: Instant, id: ByteStreamId) {
        let Some(addr) = self.streams.remove(&id) else { return };
        let Some(server) = self.servers.get_mut(&addr) else { return };
        let before = std::mem::replace(&mut server.state, State::Udp);
        server.silent_since = None;
        if matches!(before, State::Returning { .. }) {
            return;
        }
        server.retry_at = Some(now + server.pause);
        server.pause = (server.pause * 2).min(MAX_PAUSE);
        server.next_question = Some(now);
        if matches!(before, State::Tcp { .. }) {
            // UDP did not work a moment ago; it need not be waited for again.
            server.asked = Some(now.checked_sub(UDP_PATIENCE).unwrap_or(now));
            self.changes.push_back(Change::ToUdp(addr));
        }
    }

    /// Appends bytes to send on a stream.
    pub(super) fn fill(&mut self, now: Instant, id: ByteStreamId, buf: &mut Vec<u8>) {
        let Some(&addr) = self.streams.get(&id) else { return };
        let Some(server) = self.servers.get_mut(&addr) else { return };
        let tunnel = match &mut server.state {
            State::Connecting { tunnel: Some(tunnel), .. }
            | State::Tcp { tunnel, .. }
            | State::Returning { tunnel, .. } => tunnel,
            _ => return,
        };
        if let Err(e) = tunnel.fill(buf) {
            tracing::debug!("the TCP connection to {addr} broke: {e}");
            self.actions.push_back(ByteStreamAction::Close { stream: id });
            self.closed(now, id);
        }
    }

    /// Servers for which something is due.
    pub(super) fn due(&self, now: Instant) -> Vec<SocketAddr> {
        self.servers
            .iter()
            .filter(|(_, s)| s.next().is_some_and(|at| at <= now))
            .map(|(&addr, _)| addr)
            .collect()
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.servers.values().filter_map(Server::next).min()
    }

    /// Does what is due for one server; `needed` tells whether anybody waits for it. Returns a datagram to send it over UDP.
    pub(super) fn run(&mut self, now: Instant, addr: SocketAddr, needed: bool) -> Option<Vec<u8>> {
        let server = self.servers.get_mut(&addr)?;
        if !needed && matches!(server.state, State::Udp) {
            server.asked = None;
            server.next_question = None;
            server.unanswered.clear();
            return None;
        }
        match &mut server.state {
            State::Udp => {
                let due = server.asked.is_some_and(|at| at + UDP_PATIENCE <= now);
                if due && server.retry_at.is_none_or(|at| at <= now) {
                    let stream = ByteStreamId(self.next_stream);
                    self.next_stream += 1;
                    self.streams.insert(stream, addr);
                    self.actions.push_back(ByteStreamAction::Connect { stream, remote: server.relay.tcp });
                    server.state = State::Connecting { stream, tunnel: None, until: now + CONNECT_TIME };
                }
            }
            State::Connecting { stream, until, .. } => {
                if *until <= now {
                    let stream = *stream;
                    self.actions.push_back(ByteStreamAction::Close { stream });
                    self.closed(now, stream);
                    return self.ask(now, addr);
                }
            }
            State::Tcp { stream, unneeded, .. } => {
                if needed {
                    *unneeded = None;
                }
                let idle = !needed && *unneeded.get_or_insert(now) + LINGER <= now;
                let dead = server.silent_since.is_some_and(|at| at + DEAD_AFTER <= now);
                if idle || dead {
                    let stream = *stream;
                    self.actions.push_back(ByteStreamAction::Close { stream });
                    self.closed(now, stream);
                    if idle {
                        let server = self.servers.get_mut(&addr)?;
                        server.asked = None;
                        server.next_question = None;
                        return None;
                    }
                }
            }
            State::Returning { stream, until, .. } => {
                let failed = server.asked.is_some_and(|at| at + UDP_PATIENCE <= now);
                let stream = *stream;
                if failed {
                    server.udp_retry = (server.udp_retry * 2).min(MAX_UDP_RETRY);
                    if let State::Returning { tunnel, .. } = std::mem::replace(&mut server.state, State::Udp)
                    {
                        server.state =
                            State::Connecting { stream, tunnel: Some(tunnel), until: now + CONNECT_TIME };
                        self.up(now, addr);
                    }
                } else if *until <= now {
                    server.udp_retry = UDP_RETRY;
                    server.state = State::Udp;
                    self.streams.remove(&stream);
                    self.actions.push_back(ByteStreamAction::Close { stream });
                }
            }
        }
        self.ask(now, addr)
    }

    /// The question whether UDP gets through, if it is due.
    fn ask(&mut self, now: Instant, addr: SocketAddr) -> Option<Vec<u8>> {
        let server = self.servers.get_mut(&addr)?;
        if server.next_question.is_none_or(|at| at > now) {
            return None;
        }
        let in_use = matches!(server.state, State::Tcp { .. });
        if server.question.is_some_and(|(_, at)| at + ANSWER_TIME <= now) {
            server.answers = 0;
        }
        let trusts_no_answer = matches!(server.state, State::Returning { confirmed: false, .. });
        if !in_use && (server.asked.is_none() || trusts_no_answer) {
            server.next_question = None;
            return None;
        }
        let flow = FlowId(self.rng.next_u64());
        server.question = Some((flow, now));
        let waited = server.asked.is_some_and(|at| at + UDP_PATIENCE <= now);
        server.next_question = Some(
            now + match (in_use, waited) {
                (true, _) => server.udp_retry,
                (false, true) => UDP_RETRY,
                (false, false) => ASK_AFTER,
            },
        );
        let mut data = Vec::new();
        // Nobody knows such a flow, and that is what the server says. The byte stands for the QUIC packet that is not there.
        Frame::Forward { flow, payload: &[0x40] }.encode(&mut data);
        Some(data)
    }
}

impl Server {
    fn next(&self) -> Option<Instant> {
        let patience = self.asked.map(|at| at + UDP_PATIENCE);
        let state = match &self.state {
            State::Udp => match (patience, self.retry_at) {
                (Some(at), Some(retry)) => Some(at.max(retry)),
                (at, _) => at,
            },
            State::Connecting { until, .. } => Some(*until),
            State::Tcp { unneeded, .. } => {
                let dead = self.silent_since.map(|at| at + DEAD_AFTER);
                [unneeded.map(|at| at + LINGER), dead].into_iter().flatten().min()
            }
            State::Returning { until, .. } => Some(patience.map_or(*until, |at| at.min(*until))),
        };
        [state, self.next_question].into_iter().flatten().min()
    }
}
