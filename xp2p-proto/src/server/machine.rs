//! The machine: sorts datagrams, carries relayed ones, keeps registrations and trackers.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};

use super::asked::Asked;
use super::config::{ServerConfig, ServerError};
use super::doors::Door;
use super::event::{ServerEvent, ServerStats};
use super::registrations::{Context, Registrations, TrackNews};
use super::relay::{ForwardOutcome, OpenOutcome, Relay};
use super::stun::StunResponder;
use super::tracking::Tracking;
use super::tunnels::Tunnels;
use crate::keys::PublicKey;
use crate::link::addr::{is_virtual, tunnel_addr, tunnel_of};
use crate::link::{Dir, Link, LinkConfig, LinkEvent};
use crate::machine::{ByteStreamAction, ByteStreamId, Datagram, Machine, Transmit};
use crate::register::SERVER_ALPN;
use crate::swarm::{Batch, PieceNo, StreamId, TrackerStats, Trust};
use crate::wire::{FORWARD_HEADER_LEN, Frame, Kind, OPEN_HEADER_LEN, forward_header};

/// Most datagrams that wait to be sent; more are dropped and counted.
const MAX_QUEUE: usize = 4096;
/// Most datagrams of one destination in a batch.
const MAX_BATCH: usize = 16;
/// How often registrations are looked at.
const CHECK: Duration = Duration::from_millis(500);

#[derive(Debug)]
struct Outgoing {
    local: Option<SocketAddr>,
    remote: SocketAddr,
    data: BytesMut,
}

/// A server.
#[derive(Debug)]
pub struct Server {
    config: ServerConfig,
    link: Link,
    relay: Relay,
    tunnels: Tunnels,
    registrations: Registrations,
    tracking: Tracking,
    track_news: Vec<TrackNews>,
    stun: StunResponder,
    queue: VecDeque<Outgoing>,
    /// Only where the main socket has several addresses.
    asked: Option<Asked>,
    events: VecDeque<ServerEvent>,
    next_check: Option<Instant>,
    stats: ServerStats,
    closing: bool,
}

impl Server {
    /// Makes a server.
    ///
    /// # Errors
    ///
    /// When TLS refuses the key.
    pub fn new(config: ServerConfig, now: Instant) -> Result<Self, ServerError> {
        let mut link = LinkConfig::new(config.secret.clone(), config.entropy.clone());
        link.accept = vec![SERVER_ALPN];
        link.max_connections = config.max_cameras.saturating_add(config.max_peers).saturating_mul(2).max(64);
        link.max_relay_flows = 0;
        link.report_addresses = true;
        link.direct_paths = false;
        link.path_mtu_discovery = config.path_mtu_discovery;
        link.idle_timeout = Duration::from_secs(10);
        link.max_uni_streams = 1;
        link.max_bidi_streams = 4;
        link.receive_window = 64 * 1024;
        let link = Link::new(link).map_err(ServerError::Link)?;
        let tunnels = Tunnels::new(config.tcp, link.tunnel_config().map_err(ServerError::Link)?);
        let clients = config.max_cameras.saturating_add(config.max_peers);
        let most = clients.saturating_add(config.relay.max_flows).saturating_mul(2);
        Ok(Self {
            asked: config.local.ip().is_unspecified().then(|| Asked::new(most)),
            link,
            tunnels,
            relay: Relay::new(config.relay, config.entropy.rng("relay"), now),
            registrations: Registrations::default(),
            tracking: Tracking::new(config.tracking, config.secret.clone(), config.entropy.rng("tracking")),
            track_news: Vec::new(),
            stun: StunResponder::new(config.stun_rate, now),
            queue: VecDeque::new(),
            events: VecDeque::new(),
            next_check: None,
            stats: ServerStats::default(),
            closing: false,
            config,
        })
    }

    /// The server's key.
    pub fn key(&self) -> PublicKey {
        self.config.secret.public()
    }

    /// Counters and present numbers.
    pub fn stats(&self) -> ServerStats {
        let relay = self.relay.stats();
        ServerStats {
            cameras: self.registrations.cameras(),
            peers: self.registrations.peers(),
            streams: self.tracking.streams(),
            members: self.tracking.members(),
            tracker_drops: self.tracking.drops(),
            filled_bytes: self.tracking.filled_bytes(),
            flows: self.relay.flows(),
            connections: self.link.connections(),
            registered: self.registrations.registered,
            refused: self.registrations.refused,
            relayed_datagrams: relay.forwarded_datagrams,
            relayed_bytes: relay.forwarded_bytes,
            relay_drops: relay.dropped + self.stats.relay_drops,
            stun_answers: self.stun.answers(),
            stun_drops: self.stun.drops(),
            tcp: self.tunnels.stats(),
            ..self.stats
        }
    }

    /// Numbers of the tracker of a stream; `None` if nobody watches it.
    pub fn swarm_stats(&self, stream: &StreamId) -> Option<TrackerStats> {
        Some(self.tracking.tracker(stream)?.stats())
    }

    /// Says who signs a stream, by which keys, and what that is worth; no keys: nobody at present. Members learn it at once.
    /// Returns false if there are too many streams to remember it.
    pub fn set_signer(&mut self, _now: Instant, stream: StreamId, trust: Trust, keys: &[PublicKey]) -> bool {
        self.tracking.set_signer(&mut self.link, stream, trust, keys)
    }

    /// Forgets who signs a stream.
    pub fn forget_signer(&mut self, _now: Instant, stream: StreamId) {
        self.tracking.forget_signer(&mut self.link, stream);
    }

    /// Says who may be a member of a stream's swarm: whoever shows a capability that opens `door`; `None`: everybody, as before it
    /// was ever said. Members whom the new door does not let in are members no longer. Returns false if there are too many
    /// doors to remember it; then the stream is as it was.
    pub fn set_door(&mut self, now: Instant, stream: StreamId, door: Option<Door>) -> bool {
        self.tracking.set_door(now, &mut self.link, stream, door)
    }

    /// Takes in a digest batch of a signer in this process, such as a witness. Batches of a stream that
    /// nobody watches are kept for a moment if it is known who signs it.
    pub fn handle_batch(&mut self, now: Instant, stream: StreamId, batch: Arc<Batch>) {
        self.tracking.handle_batch(now, &mut self.link, stream, batch);
    }

    /// Takes in a piece of a signer in this process, before the batch that announces it. The newest seconds of a stream are kept,
    /// for members that begin to read the origin for others and find that it has left some pieces behind.
    pub fn handle_piece(&mut self, now: Instant, stream: StreamId, no: PieceNo, content: Bytes) {
        self.tracking.handle_piece(now, stream, no, content);
    }

    /// Takes no new flows any more, so that the server can be stopped once the present ones are gone.
    pub fn drain(&mut self) {
        self.relay.drain();
    }

    /// Closes all connections. Drain the machine after it.
    pub fn shutdown(&mut self, now: Instant) {
        self.closing = true;
        self.relay.drain();
        self.registrations.close_all(now, &mut self.link, "the server stops");
        self.link.shutdown(now, super::registrations::CLOSE_OK, "the server stops");
    }

    /// Whether nothing is left to do after [`shutdown`](Self::shutdown).
    pub fn is_closed(&self) -> bool {
        self.closing && self.link.connections() == 0
    }

    fn enqueue(&mut self, now: Instant, local: Option<SocketAddr>, remote: SocketAddr, data: BytesMut) {
        if let Some(tunnel) = tunnel_of(remote) {
            self.tunnels.send(now, tunnel, &data);
        } else if self.queue.len() >= MAX_QUEUE {
            self.stats.relay_drops += 1;
        } else {
            self.queue.push_back(Outgoing { local, remote, data });
        }
    }

    fn send_frame(&mut self, now: Instant, remote: SocketAddr, frame: &Frame<'_>) {
        let mut data = Vec::with_capacity(64);
        frame.encode(&mut data);
        self.enqueue(now, self.asked_at(remote), remote, BytesMut::from(&data[..]));
    }

    /// Where `addr` really is, if it stands for somebody behind a tunnel.
    fn seen(&self, addr: SocketAddr) -> SocketAddr {
        tunnel_of(addr).and_then(|tunnel| self.tunnels.remote(tunnel)).unwrap_or(addr)
    }

    /// Takes in a datagram, by whatever way it came.
    fn take_in(&mut self, now: Instant, datagram: Datagram, tunnelled: bool) {
        let Some(&first) = datagram.payload.first() else { return };
        match Kind::of(first) {
            Kind::Quic if tunnelled => {
                self.link.handle_tunnelled(now, datagram);
                self.handle_link_events(now);
            }
            Kind::Quic => {
                self.link.handle_datagram(now, datagram);
                self.handle_link_events(now);
            }
            Kind::Frame => self.handle_frame(now, datagram),
            // What a NAT does to TCP is of no use to anybody here.
            Kind::Stun if tunnelled => self.stats.unknown_datagrams += 1,
            Kind::Stun => {
                if let Some((local, remote, data)) = self.stun.answer(now, &self.config, &datagram) {
                    self.enqueue(now, local, remote, BytesMut::from(&data[..]));
                }
            }
            Kind::Unknown => self.stats.unknown_datagrams += 1,
        }
    }

    /// Forgets tunnels that are gone.
    fn sweep_tunnels(&mut self) {
        for addr in self.tunnels.take_gone() {
            self.link.remove_tunnel(addr);
        }
    }

    /// Where to send from, so that `remote` gets it from the address that it knows.
    fn asked_at(&self, remote: SocketAddr) -> Option<SocketAddr> {
        self.asked.as_ref()?.at(remote)
    }

    fn handle_frame(&mut self, now: Instant, datagram: Datagram) {
        let source = canonical(datagram.remote);
        let seen = self.seen(source);
        let mut data = datagram.payload;
        match Frame::parse(&data) {
            Ok(Frame::Open { ticket, payload }) => {
                // Only QUIC is carried: nobody can reach anything else of a camera through us.
                if payload.first().map(|b| Kind::of(*b)) != Some(Kind::Quic) {
                    self.stats.bad_frames += 1;
                    return;
                }
                match self.relay.open_from(now, source, seen.ip(), ticket, payload.len()) {
                    OpenOutcome::Forward { to, flow, opened } => {
                        data.advance(OPEN_HEADER_LEN - FORWARD_HEADER_LEN);
                        data[..FORWARD_HEADER_LEN].copy_from_slice(&forward_header(flow));
                        self.enqueue(now, self.asked_at(to), to, data);
                        self.send_frame(now, source, &Frame::Opened { ticket, flow: opened, observed: seen });
                    }
                    OpenOutcome::Opened { opened } => {
                        self.send_frame(now, source, &Frame::Opened { ticket, flow: opened, observed: seen });
                    }
                    OpenOutcome::Refuse(reason) => {
                        self.send_frame(now, source, &Frame::Refused { ticket, reason })
                    }
                    OpenOutcome::Drop => {}
                }
            }
            Ok(Frame::Forward { flow, payload }) => {
                if payload.first().map(|b| Kind::of(*b)) != Some(Kind::Quic) {
                    self.stats.bad_frames += 1;
                    return;
                }
                match self.relay.forward(now, source, flow, payload.len()) {
                    ForwardOutcome::Forward { to, flow } => {
                        data[..FORWARD_HEADER_LEN].copy_from_slice(&forward_header(flow));
                        self.enqueue(now, self.asked_at(to), to, data);
                    }
                    ForwardOutcome::SendCookie { cookie } => {
                        self.send_frame(now, source, &Frame::Cookie { flow, cookie })
                    }
                    ForwardOutcome::UnknownFlow => self.send_frame(now, source, &Frame::UnknownFlow { flow }),
                    ForwardOutcome::Drop => {}
                }
            }
            Ok(Frame::CookieEcho { flow, cookie }) => {
                if let Some((ticket, flow)) = self.relay.cookie_echo(now, source, flow, &cookie) {
                    self.send_frame(now, source, &Frame::Opened { ticket, flow, observed: seen });
                }
            }
            Ok(_) | Err(_) => self.stats.bad_frames += 1,
        }
    }

    fn with_registrations(&mut self, now: Instant, act: impl FnOnce(&mut Registrations, &mut Context<'_>)) {
        let mut context = Context {
            now,
            link: &mut self.link,
            relay: &mut self.relay,
            config: &self.config,
            events: &mut self.events,
            track: &mut self.track_news,
        };
        act(&mut self.registrations, &mut context);
        for news in std::mem::take(&mut self.track_news) {
            self.tracking.handle_news(now, &mut self.link, news, &mut self.events);
        }
    }

    fn handle_link_events(&mut self, now: Instant) {
        while let Some((conn, event)) = self.link.poll_event() {
            let stream = match event {
                LinkEvent::Readable(s)
                | LinkEvent::Writable(s)
                | LinkEvent::Finished(s)
                | LinkEvent::Stopped(s, _) => Some(s),
                LinkEvent::Available(Dir::Uni) => {
                    self.tracking.available(&mut self.link, conn);
                    continue;
                }
                _ => None,
            };
            if stream.is_some_and(|s| self.tracking.owns(conn, s)) {
                self.tracking.handle(now, &mut self.link, conn, event, &mut self.events);
                continue;
            }
            self.with_registrations(now, |registrations, context| registrations.handle(context, conn, event));
        }
        if self.registrations.is_empty() {
            self.next_check = None;
        } else {
            self.next_check.get_or_insert(now + CHECK);
        }
    }
}

/// IPv4 addresses that came over an IPv6 socket are IPv4 addresses.
fn canonical(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}

impl Machine for Server {
    type Event = ServerEvent;

    fn handle_datagram(&mut self, now: Instant, datagram: Datagram) {
        let Some(&first) = datagram.payload.first() else { return };
        if is_virtual(datagram.remote) {
            // Only we give out such addresses: nobody gets at another's tunnel by naming it.
            self.stats.unknown_datagrams += 1;
            return;
        }
        if let Some(asked) =
            self.asked.as_mut().filter(|_| matches!(Kind::of(first), Kind::Quic | Kind::Frame))
        {
            asked.note(canonical(datagram.remote), datagram.local);
        }
        self.take_in(now, datagram, false);
        self.sweep_tunnels();
    }

    fn handle_stream_accepted(&mut self, now: Instant, remote: SocketAddr) -> Option<ByteStreamId> {
        if self.closing {
            return None;
        }
        let stream = self.tunnels.accept(now, remote)?;
        self.link.add_tunnel(tunnel_addr(stream), remote);
        Some(stream)
    }

    fn handle_stream_bytes(&mut self, now: Instant, stream: ByteStreamId, bytes: &[u8]) {
        for payload in self.tunnels.receive(now, stream, bytes) {
            let remote = tunnel_addr(stream);
            // No socket of ours: answers go back through the tunnel.
            let local = SocketAddr::new(std::net::Ipv6Addr::UNSPECIFIED.into(), 0);
            self.take_in(now, Datagram { local, remote, ecn: None, payload }, true);
        }
        self.sweep_tunnels();
    }

    fn handle_stream_closed(&mut self, _now: Instant, stream: ByteStreamId) {
        self.tunnels.closed(stream);
        self.sweep_tunnels();
    }

    fn poll_stream(&mut self) -> Option<ByteStreamAction> {
        self.tunnels.poll_action()
    }

    fn poll_stream_bytes(&mut self, _now: Instant, stream: ByteStreamId, buf: &mut Vec<u8>) {
        self.tunnels.fill(stream, buf);
        self.sweep_tunnels();
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.link.handle_timeout(now);
        self.relay.handle_timeout(now);
        self.tunnels.handle_timeout(now);
        self.sweep_tunnels();
        if self.next_check.is_some_and(|at| at <= now) {
            self.next_check = None;
            self.with_registrations(now, Registrations::check);
        }
        self.tracking.handle_timeout(now, &mut self.link, &mut self.events);
        self.handle_link_events(now);
    }

    fn poll_transmit(&mut self, now: Instant, buf: &mut Vec<u8>) -> Option<Transmit> {
        let Some(first) = self.queue.pop_front() else {
            loop {
                let transmit = self.link.poll_transmit(now, buf)?;
                let Some(tunnel) = tunnel_of(transmit.remote) else { return Some(transmit) };
                let segment = transmit.segment_size.unwrap_or(transmit.size).max(1);
                buf.chunks(segment).for_each(|datagram| self.tunnels.send(now, tunnel, datagram));
                buf.clear();
            }
        };
        buf.extend_from_slice(&first.data);
        let segment = first.data.len();
        let mut count = 1;
        // Datagrams of one flow come in batches, and go out in batches: as long as each is as long as the first, and
        // the last one at most that long.
        while count < MAX_BATCH
            && let Some(next) = self.queue.front()
            && next.remote == first.remote
            && next.local == first.local
            && next.data.len() <= segment
            && buf.len() + next.data.len() <= usize::from(u16::MAX)
        {
            let last = next.data.len() < segment;
            buf.extend_from_slice(&next.data);
            self.queue.pop_front();
            count += 1;
            if last {
                break;
            }
        }
        Some(Transmit {
            local: first.local,
            remote: first.remote,
            ecn: None,
            size: buf.len(),
            segment_size: (count > 1).then_some(segment),
        })
    }

    fn poll_event(&mut self) -> Option<ServerEvent> {
        self.events.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        [
            self.link.poll_timeout(),
            self.relay.poll_timeout(),
            self.next_check,
            self.tracking.next(),
            self.tunnels.next(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn set_wall_clock(&mut self, now: Instant, unix: Duration) {
        self.tracking.set_wall_clock(now, &mut self.link, unix);
        self.handle_link_events(now);
    }

    fn set_local_addresses(&mut self, now: Instant, addrs: &[SocketAddr]) {
        self.link.set_local_addresses(now, addrs);
        self.handle_link_events(now);
    }
}
