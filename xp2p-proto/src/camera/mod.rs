//! The camera: registers at its servers, answers viewers, and sends them live media.
//!
//! A [`Camera`] is driven as [`Machine`] says. The application declares its feeds in the [`CameraConfig`], pushes FLV
//! tags with [`Camera::push_tag`] or raw frames with [`Camera::push_frame`], and hears of viewers by [`CameraEvent`]s.

mod commands;
mod config;
mod event;
mod frames;
mod live;
mod playback;
mod requests;
mod session;
mod talk;
mod upload;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use rand_chacha::ChaCha12Rng;
use rand_core::Rng;

pub use self::config::{CameraConfig, CameraError, CameraServer, FeedConfig, MAX_FEEDS, MAX_SERVERS};
pub use self::event::{CameraEvent, MessageId, ReadFrom, RequestId, ViewerId, ViewerInfo, Watermark};
pub use self::frames::PushFrameError;
pub use self::playback::{RecordedTag, read_seek_marker, seek_marker};
pub use self::requests::{MAX_MESSAGES, MessageError};
pub use self::talk::MAX_UNHEARD;

use self::live::Feeds;
use self::session::{Load, Session};
use crate::flv::Tag;
use crate::info::{Capability, LanName, MAX_LAN, Rights, ServerAddr, Xp2pInfo};
use crate::keys::{PublicKey, Ticket, TicketNonce};
use crate::link::{ConnId, Link, LinkConfig, LinkEvent, LinkStats, LostReason, TcpPort};
use crate::live::PushError;
use crate::machine::{ByteStreamAction, ByteStreamId, Datagram, Machine, Transmit};
use crate::registration::{Registrant, Registration, RegistrationNews};
use crate::request::Quality;

/// Application protocol that viewers speak to cameras.
pub const VIEWER_ALPN: &[u8] = b"xp2p/1";
/// Close code: nothing is wrong.
pub const CLOSE_OK: u32 = 0;
/// Close code: the camera stops.
pub const CLOSE_SHUTDOWN: u32 = 1;
/// Close code: the viewer's capability has expired or was revoked.
pub const CLOSE_REVOKED: u32 = 401;
/// How often sessions are looked at: expired capabilities end within 5 s (decision 4).
const SESSION_CHECK: Duration = Duration::from_secs(1);
/// A viewer that watches says something every half second. One that has been silent for this long when its key connects anew has
/// moved to where its old connection does not go.
const MOVED: Duration = Duration::from_millis(900);

/// A camera.
#[derive(Debug)]
pub struct Camera {
    config: CameraConfig,
    link: Link,
    rng: ChaCha12Rng,
    serial: [u8; 8],
    feeds: Feeds,
    registrations: Vec<Registration>,
    sessions: BTreeMap<ConnId, Session>,
    events: VecDeque<CameraEvent>,
    wall_clock: Option<(Instant, Duration)>,
    next_check: Option<Instant>,
    next_message: u64,
    closing: bool,
}

impl Camera {
    /// Makes a camera and begins to register at its servers.
    ///
    /// # Errors
    ///
    /// When the configuration contradicts itself or TLS refuses it.
    pub fn new(config: CameraConfig, now: Instant) -> Result<Self, CameraError> {
        config.check()?;
        let mut link = LinkConfig::new(config.secret.clone(), config.entropy.clone());
        link.accept = vec![VIEWER_ALPN];
        link.max_connections = config.max_connections;
        // Those whose connections are on their way out have theirs still.
        link.max_relay_flows = config.max_connections.saturating_mul(2);
        link.strangers_give_way = true;
        link.path_mtu_discovery = config.path_mtu_discovery;
        link.congestion = config.congestion;
        link.preempt = true;
        let link = Link::new(link).map_err(CameraError::Link)?;
        let mut rng = config.entropy.rng("camera");
        let mut serial = [0; 8];
        rng.fill_bytes(&mut serial);
        let registrations = (0..config.servers.len()).map(|i| Registration::new(i, now)).collect();
        let feeds = Feeds::new(&config.feeds, config.cache);
        let mut camera = Self {
            link,
            rng,
            serial,
            feeds,
            registrations,
            sessions: BTreeMap::new(),
            events: VecDeque::new(),
            wall_clock: None,
            next_check: None,
            next_message: 0,
            closing: false,
            config,
        };
        camera.run_registrations(now);
        Ok(camera)
    }

    /// The camera's key.
    pub fn key(&self) -> PublicKey {
        self.config.secret.public()
    }

    /// The ticket under which viewers find it at present.
    pub fn ticket(&self) -> Ticket {
        Ticket::new(&self.key(), &TicketNonce::of_epoch(&self.config.secret, self.config.epoch))
    }

    /// The xp2pInfo to give to viewers, with a capability for `rights` that expires at `expiry` (unix seconds).
    /// `None` until the keys of all servers are known, which a camera learns when it first connects.
    ///
    /// The same camera gives the same text at every call, so that people can keep it.
    pub fn xp2p_info(&self, rights: Rights, expiry: Option<NonZeroU64>) -> Option<Xp2pInfo> {
        let servers = self
            .config
            .servers
            .iter()
            .map(|s| Some(ServerAddr { key: s.key?, addrs: s.advertised.clone(), tcp_port: s.tcp_port }))
            .collect::<Option<Vec<_>>>()?;
        let capability =
            Capability::issue(&self.config.secret, rights, self.config.epoch, expiry, self.serial);
        let info = Xp2pInfo::new(self.key(), self.ticket(), servers, self.config.version)
            .and_then(|info| info.with_capability(Some(capability)))
            .ok()?
            .with_flags(self.config.flags);
        let lan = if self.config.lan_in_info { self.link.private_addresses() } else { Vec::new() };
        // They may be too much beside long names of servers, and are the least that viewers need.
        Some(info.clone().with_lan(lan.into_iter().take(MAX_LAN).collect()).unwrap_or(info))
    }

    /// A name for multicast discovery by which only holders of the camera's xp2pInfo recognise it. `nonce`: random, and another
    /// one at each start.
    pub fn lan_name(&self, nonce: [u8; LanName::HALF]) -> LanName {
        LanName::new(&self.key(), &self.ticket(), nonce)
    }

    /// Replaces the serial number of the capabilities that [`xp2p_info`](Self::xp2p_info) makes, so that the text
    /// stays the same over restarts.
    pub fn set_serial(&mut self, serial: [u8; 8]) {
        self.serial = serial;
    }

    /// Takes in the next tag of a feed and sends it to all who watch.
    ///
    /// # Errors
    ///
    /// The tag does not fit the feed and was left out.
    pub fn push_tag(
        &mut self,
        now: Instant,
        channel: u32,
        quality: Quality,
        tag: &Tag,
    ) -> Result<(), PushError> {
        let feed = self.feeds.find(channel, quality).ok_or(PushError::NoFeed)?;
        let pushed = self.feeds.push(feed, tag)?;
        for session in self.sessions.values_mut() {
            session.push(now, &mut self.link, &mut self.events, feed, &pushed);
        }
        Ok(())
    }

    /// The source of a feed starts anew: its timestamps may begin again.
    pub fn restart_feed(&mut self, channel: u32, quality: Quality) {
        if let Some(feed) = self.feeds.find(channel, quality) {
            self.feeds.restart(feed);
        }
    }

    /// A feed is over: its viewers get what is on its way, then the end (`eof`).
    pub fn end_feed(&mut self, now: Instant, channel: u32, quality: Quality) {
        let Some(feed) = self.feeds.find(channel, quality) else { return };
        for session in self.sessions.values_mut() {
            session.end_feed(now, &mut self.link, &mut self.events, feed);
        }
        self.feeds.restart(feed);
    }

    /// Revokes all capabilities of older epochs: their sessions end at once, the ticket changes, and the camera
    /// registers anew. Lower epochs than the present one are ignored.
    pub fn set_epoch(&mut self, now: Instant, epoch: u32) {
        if epoch <= self.config.epoch {
            return;
        }
        self.config.epoch = epoch;
        self.check_sessions(now);
        for registration in &mut self.registrations {
            registration.restart(now, &mut self.link);
        }
        self.run_registrations(now);
    }

    /// Tells the addresses of server number `index` of the configuration, once its name is resolved, or again later.
    pub fn set_server_addresses(&mut self, now: Instant, index: usize, addrs: &[SocketAddr]) {
        if let Some(server) = self.config.servers.get_mut(index) {
            server.addrs = addrs.to_vec();
        }
        if let Some(registration) = self.registrations.get_mut(index) {
            registration.hurry(now);
        }
        self.run_registrations(now);
    }

    /// Replaces the address at which a router lets everybody in to us, which peers then try first. `None`: there is none. Whoever
    /// drives the machine asks the router (PCP, NAT-PMP, UPnP).
    pub fn set_mapped_address(&mut self, now: Instant, addr: Option<SocketAddr>) {
        self.link.set_mapped_address(now, addr);
    }

    /// The address that [`set_mapped_address`](Self::set_mapped_address) has told.
    pub fn mapped_address(&self) -> Option<SocketAddr> {
        self.link.mapped_address()
    }

    /// Those who are connected.
    pub fn viewers(&mut self) -> Vec<ViewerInfo> {
        let link = &mut self.link;
        self.sessions.values().map(|s| s.info(link)).collect()
    }

    /// Number of viewers that watch something.
    pub fn watching(&self) -> usize {
        self.sessions.values().filter(|s| s.is_watching()).count()
    }

    /// What all sessions do together; only requests need it.
    fn load(&self) -> Load {
        let mut load = Load::default();
        self.sessions.values().for_each(|s| s.count(&mut load));
        load
    }

    /// What the link dropped and why.
    pub fn link_stats(&self) -> LinkStats {
        self.link.stats()
    }

    /// Whether any server is reached over TCP at present, because UDP does not get there.
    pub fn is_over_tcp(&self) -> bool {
        self.link.uses_tcp()
    }

    /// Ends the session of one viewer.
    pub fn kick(&mut self, now: Instant, viewer: ViewerId, reason: &str) {
        self.end_session(now, viewer.0, CLOSE_OK, reason);
    }

    /// Closes all connections, so that viewers and servers know at once. Drain the machine after it.
    pub fn shutdown(&mut self, now: Instant) {
        self.closing = true;
        let all: Vec<ConnId> = self.sessions.keys().copied().collect();
        for conn in all {
            self.end_session(now, conn, CLOSE_SHUTDOWN, "the camera stops");
        }
        for registration in &mut self.registrations {
            registration.stop(now, &mut self.link);
        }
        self.link.shutdown(now, CLOSE_SHUTDOWN, "the camera stops");
    }

    /// Whether nothing is left to do after [`shutdown`](Self::shutdown).
    pub fn is_closed(&self) -> bool {
        self.closing && self.link.connections() == 0
    }

    fn unix_time(&self, now: Instant) -> Option<u64> {
        let (at, unix) = self.wall_clock?;
        Some((unix + now.saturating_duration_since(at)).as_secs())
    }

    fn run_registrations(&mut self, now: Instant) {
        if self.closing {
            return;
        }
        for (index, registration) in self.registrations.iter_mut().enumerate() {
            if let Some(registrant) = registrant(&mut self.config, index) {
                registration.run(now, &mut self.link, &registrant, &mut self.rng);
            }
        }
    }

    fn end_session(&mut self, now: Instant, conn: ConnId, code: u32, reason: &str) {
        if let Some(mut session) = self.sessions.remove(&conn) {
            session.stop_all(&mut self.events);
            self.link.close(now, conn, code, reason);
            self.events
                .push_back(CameraEvent::ViewerGone { viewer: ViewerId(conn), reason: reason.to_owned() });
        }
    }

    /// Ends what a viewer has left behind that connects anew, so that it does not take its own place.
    fn end_moved(&mut self, now: Instant, peer: &PublicKey) {
        let link = &self.link;
        let moved = |(&conn, session): (&ConnId, &Session)| {
            let left = session.peer() == peer && session.is_watching() && link.silent_for(now, conn) >= MOVED;
            left.then_some(conn)
        };
        let moved: Vec<ConnId> = self.sessions.iter().filter_map(moved).collect();
        for conn in moved {
            self.end_session(now, conn, CLOSE_OK, "the viewer has connected anew");
        }
    }

    /// Ends sessions whose capability no longer holds, and connections that never asked for anything.
    fn check_sessions(&mut self, now: Instant) {
        let unix = self.unix_time(now);
        let ended: Vec<(ConnId, u32, String)> = self
            .sessions
            .iter_mut()
            .filter_map(|(&conn, session)| {
                let (code, reason) =
                    session.check(now, &mut self.link, &self.config, unix, &mut self.events)?;
                Some((conn, code, reason))
            })
            .collect();
        for (conn, code, reason) in ended {
            self.end_session(now, conn, code, &reason);
        }
        self.next_check = (!self.sessions.is_empty()).then(|| now + SESSION_CHECK);
    }

    fn handle_link_events(&mut self, now: Instant) {
        while let Some((conn, event)) = self.link.poll_event() {
            let owner = self.registrations.iter_mut().enumerate().find(|(_, r)| r.owns(conn));
            if let Some((index, registration)) = owner {
                let Some(mut registrant) = registrant(&mut self.config, index) else { continue };
                let news = registration.handle(now, &mut self.link, &mut registrant, &mut self.rng, event);
                news.into_iter().for_each(|n| self.registration_news(n));
            } else {
                self.handle_session_event(now, conn, event);
            }
        }
        self.run_registrations(now);
    }

    fn registration_news(&mut self, news: RegistrationNews) {
        self.events.push_back(match news {
            RegistrationNews::Registered { server, observed } => CameraEvent::Registered { server, observed },
            RegistrationNews::ServerKey { server, key } => CameraEvent::ServerKey { server, key },
            RegistrationNews::Lost { server, reason } => CameraEvent::ServerLost { server, reason },
            RegistrationNews::Refused { server, reason } => {
                CameraEvent::RegistrationRefused { server, reason }
            }
        });
    }

    fn handle_session_event(&mut self, now: Instant, conn: ConnId, event: LinkEvent) {
        match event {
            LinkEvent::Connected { peer, .. } => {
                self.end_moved(now, &peer);
                self.sessions.insert(conn, Session::new(conn, peer, now));
                self.next_check.get_or_insert(now + SESSION_CHECK);
                self.events.push_back(CameraEvent::ViewerConnected { viewer: ViewerId(conn), peer });
            }
            LinkEvent::Lost(reason) => {
                if let Some(mut session) = self.sessions.remove(&conn) {
                    session.stop_all(&mut self.events);
                    let reason = match reason {
                        LostReason::Closed { code: 0, .. } => "the viewer left".to_owned(),
                        other => other.to_string(),
                    };
                    self.events.push_back(CameraEvent::ViewerGone { viewer: ViewerId(conn), reason });
                }
            }
            event => {
                let asks = matches!(event, LinkEvent::Opened(_) | LinkEvent::Readable(_));
                if asks {
                    // What the viewer has given up counts no longer for what it asks now.
                    self.in_session(now, conn, &Load::default(), Session::end_stopped);
                }
                let load = if asks { self.load() } else { Load::default() };
                self.in_session(now, conn, &load, |session, context| session.handle(context, event));
                if self.sessions.get(&conn).is_some_and(Session::is_allowed) {
                    self.link.vouch(conn);
                }
            }
        }
    }

    fn in_session(
        &mut self,
        now: Instant,
        conn: ConnId,
        load: &Load,
        act: impl FnOnce(&mut Session, &mut session::Context<'_>),
    ) {
        let unix = self.unix_time(now);
        let Some(session) = self.sessions.get_mut(&conn) else { return };
        let (link, events) = (&mut self.link, &mut self.events);
        let (config, feeds) = (&self.config, &self.feeds);
        act(session, &mut session::Context { now, unix, link, config, feeds, load, events });
    }
}

/// What is said at server number `index` of the configuration.
fn registrant(config: &mut CameraConfig, index: usize) -> Option<Registrant<'_>> {
    let server = config.servers.get_mut(index)?;
    Some(Registrant {
        secret: &config.secret,
        epoch: config.epoch,
        product: &config.product,
        name: &config.name,
        key: &mut server.key,
        addrs: &server.addrs,
        tcp: Some(TcpPort::from_option(server.tcp_port)),
        app_key: server.app_key.as_ref(),
        allow_transit: config.allow_transit,
    })
}

impl Machine for Camera {
    type Event = CameraEvent;

    fn handle_datagram(&mut self, now: Instant, datagram: Datagram) {
        self.link.handle_datagram(now, datagram);
        self.handle_link_events(now);
    }

    fn handle_datagrams(&mut self, now: Instant, datagrams: &mut dyn Iterator<Item = Datagram>) {
        self.link.handle_datagrams(now, datagrams);
        self.handle_link_events(now);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.link.handle_timeout(now);
        self.handle_link_events(now);
        for session in self.sessions.values_mut() {
            session.handle_timeout(now, &mut self.link, &mut self.events);
        }
        if self.next_check.is_some_and(|at| at <= now) {
            self.check_sessions(now);
        }
    }

    fn poll_transmit(&mut self, now: Instant, buf: &mut Vec<u8>) -> Option<Transmit> {
        self.link.poll_transmit(now, buf)
    }

    fn poll_event(&mut self) -> Option<CameraEvent> {
        self.events.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let registrations = self.registrations.iter().filter_map(|r| r.next(self.closing)).min();
        let sessions = self.sessions.values().filter_map(Session::next).min();
        [self.link.poll_timeout(), registrations, sessions, self.next_check].into_iter().flatten().min()
    }

    fn set_wall_clock(&mut self, now: Instant, unix: Duration) {
        self.wall_clock = Some((now, unix));
    }

    fn handle_stream_opened(&mut self, now: Instant, stream: ByteStreamId) {
        self.link.handle_stream_opened(now, stream);
    }

    fn handle_stream_bytes(&mut self, now: Instant, stream: ByteStreamId, bytes: &[u8]) {
        self.link.handle_stream_bytes(now, stream, bytes);
        self.handle_link_events(now);
    }

    fn handle_stream_closed(&mut self, now: Instant, stream: ByteStreamId) {
        self.link.handle_stream_closed(now, stream);
        self.handle_link_events(now);
    }

    fn poll_stream(&mut self) -> Option<ByteStreamAction> {
        self.link.poll_stream()
    }

    fn poll_stream_bytes(&mut self, now: Instant, stream: ByteStreamId, buf: &mut Vec<u8>) {
        self.link.poll_stream_bytes(now, stream, buf);
    }

    fn set_local_addresses(&mut self, now: Instant, addrs: &[SocketAddr]) {
        if self.link.set_local_addresses(now, addrs) {
            // From another network the servers see another address; they learn it, and that it is really us, from a
            // new registration sooner than from a migration that fails half-way.
            for registration in &mut self.registrations {
                registration.renew(now, &mut self.link);
            }
            self.run_registrations(now);
        }
    }
}
