//! The link: QUIC connections with raw public keys, first through a relay, then directly.
//!
//! A [`Link`] owns every QUIC connection of one machine and the UDP frames around them. It hides from the roles
//! above it how a peer is reached: they see connections, streams and [`LinkEvent`]s. See `docs/PROTOCOL.md` for
//! the wire.
//!
//! * `config`: what can be set, and the transport parameters.
//! * `entropy`: all randomness from one seed.
//! * `tls`: TLS 1.3 with raw public keys (RFC 7250).
//! * `addr`: addresses as QUIC sees them, virtual ones included.
//! * `relay`: relay flows.
//! * `paths`: the choice between direct paths and the relay.
//! * `conn`: one connection, its candidates and hole-punching rounds.
//! * `guess`: ports that a peer's NAT may have chosen.
//! * `tunnel`, `fallback`: the same datagrams over TCP, where UDP does not get through.

pub(crate) mod addr;
mod config;
mod congestion;
mod conn;
mod entropy;
mod fallback;
mod guess;
mod headers;
mod paths;
mod relay;
#[cfg(feature = "sim")]
mod seeded;
pub mod stream;
mod tls;
pub(crate) mod tunnel;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use noq_proto::{
    ClientConfig, Connection, ConnectionHandle, DatagramEvent, Endpoint, EndpointConfig, EndpointEvent,
    FourTuple, Incoming, NoneTokenStore, PathId, ServerConfig, TransportConfig, ValidationTokenConfig,
    VarInt,
};
use thiserror::Error;

pub use self::config::{Congestion, LinkConfig, MAX_CANDIDATES};
pub use self::entropy::Entropy;
pub use self::fallback::{TcpPort, TcpRelay, UDP_PATIENCE, UDP_RETRY};
pub use self::paths::{PathInfo, PathKind, PathTotals};
pub use noq_proto::{Dir, StreamId};

use self::addr::{from_quic, is_probable, is_virtual, to_quic, tunnel_of, virtual_index};
use self::conn::Conn;
use self::fallback::{Change, Fallback, Over};
use self::guess::Allowance;
use self::headers::insert_headers;
use self::relay::{Hop, RelayTable};
use self::tls::Tls;
use crate::keys::{PublicKey, Ticket};
use crate::machine::{ByteStreamAction, ByteStreamId, Datagram, Transmit};
use crate::wire::{Frame, Kind, RefuseReason};

/// Most control datagrams (frames, stateless answers) that wait to be sent; more are dropped and counted.
const MAX_QUEUED: usize = 256;
/// Whoever has not shown that its address is its own gets at most so many times the bytes that came (RFC 9000, section 8.1).
pub(crate) const AMPLIFICATION: usize = 3;
/// Most addresses of our own that we keep and offer to peers.
const MAX_OWN_ADDRS: usize = 8;
/// Most addresses at which servers have seen us that we offer to peers.
const MAX_OBSERVED_OFFERED: usize = 3;

/// Names one connection of a link; never used again after the connection has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId {
    index: u32,
    generation: u32,
}

impl std::fmt::Display for ConnId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", (u64::from(self.generation) << 16) | u64::from(self.index))
    }
}

/// Why a connection ended.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LostReason {
    /// The peer closed it with an application code and a text.
    #[error("closed by the peer with code {code}: {reason}")]
    Closed {
        /// Application error code.
        code: u64,
        /// The peer's words, made safe to print.
        reason: String,
    },
    /// The peer holds another key than the one that was asked for, or refused ours.
    #[error("the peer could not prove that it holds the expected key")]
    WrongKey,
    /// Nothing was heard for too long.
    #[error("nothing was heard from the peer for too long")]
    TimedOut,
    /// The peer does not know this connection, usually because it restarted.
    #[error("the peer has restarted")]
    Reset,
    /// The peer refused the connection, usually because it is overloaded.
    #[error("the peer refused the connection")]
    Refused,
    /// We closed it, because others wanted its place and it had shown nothing that gave it a right to one.
    #[error("its place was needed for others, and it had been allowed nothing yet")]
    Displaced,
    /// The peer could not read what we encrypted: it ended the handshake with a TLS alert that is not about keys.
    #[error("the peer cannot decrypt what we send: {0}")]
    Encryption(String),
    /// We could not read what the peer encrypted: TLS refused it, or the limit of packets with a wrong tag (RFC 9001
    /// section 6.6) was reached.
    #[error("what the peer sends cannot be decrypted: {0}")]
    Decryption(String),
    /// The peer broke the protocol, or we did in its eyes.
    #[error("protocol error: {0}")]
    Protocol(String),
}

/// News of one connection.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum LinkEvent {
    /// The handshake is complete and the peer has proven its key.
    Connected {
        /// The peer's key.
        peer: PublicKey,
        /// The application protocol both agreed on.
        alpn: Bytes,
    },
    /// The connection is gone. Last event of a connection, unless we closed it ourselves.
    Lost(LostReason),
    /// The peer has opened streams.
    Opened(Dir),
    /// A stream has data, an end or a reset to read.
    Readable(StreamId),
    /// A stream that was blocked takes data again.
    Writable(StreamId),
    /// The peer has everything of a finished stream.
    Finished(StreamId),
    /// The peer does not want the rest of a stream.
    Stopped(StreamId, u64),
    /// More streams may be opened.
    Available(Dir),
    /// Data goes another way than before.
    Path(PathKind),
    /// The server refuses to relay to this peer.
    RelayRefused(RefuseReason),
    /// The last working direct path has died; the relay carries on.
    DirectLost,
    /// The server of this connection is reached over UDP again, after TCP: it should learn our UDP address.
    BackOnUdp,
}

/// Counters of what a link dropped and why.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LinkStats {
    /// Datagrams that were neither QUIC, in a version that is known, nor a frame of ours.
    pub unknown_datagrams: u64,
    /// Frames that could not be parsed or came where they have no meaning.
    pub bad_frames: u64,
    /// Frames of flows we do not know.
    pub unknown_flows: u64,
    /// Packets to addresses that no peer may make us send to.
    pub forbidden_destinations: u64,
    /// Control datagrams dropped because too many were waiting.
    pub queue_drops: u64,
    /// Connections refused because of a limit.
    pub refused_connections: u64,
    /// Connections of strangers that were closed because others wanted their places.
    pub displaced_strangers: u64,
    /// Clients asked to prove their address first.
    pub retries: u64,
    /// Datagrams that came over UDP from an address that only we give out.
    pub forged_sources: u64,
    /// Datagrams dropped because TCP to a server was slower than what was to be sent.
    pub tunnel_drops: u64,
}

/// Why a connection could not be started.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// Too many connections or relay flows already.
    #[error("too many connections are open already")]
    TooMany,
    /// No address to connect to.
    #[error("there is no address to connect to")]
    NoAddress,
    /// TLS or QUIC refused the configuration.
    #[error("the connection could not be set up: {0}")]
    Setup(String),
}

/// What is waiting to be sent besides connections' own packets.
#[derive(Debug)]
struct Queued {
    local: Option<SocketAddr>,
    remote: SocketAddr,
    data: Vec<u8>,
}

/// All QUIC connections of one machine.
pub struct Link {
    endpoint: Endpoint,
    tls: Tls,
    config: LinkConfig,
    transport: Arc<TransportConfig>,
    /// For connections to servers.
    control: Arc<TransportConfig>,
    initial_cids: Arc<dyn Fn() -> noq_proto::ConnectionId + Send + Sync>,
    conns: Vec<Option<Conn>>,
    open: usize,
    handshaking: usize,
    /// Nobody new is let in.
    refusing: bool,
    generation: u32,
    dirty: VecDeque<usize>,
    /// Connections that have had a packet of the present batch; each is here once.
    touched: Vec<usize>,
    timers: BTreeSet<(Instant, usize)>,
    relay: RelayTable,
    fallback: Fallback,
    /// Where those are who talk to us through tunnels (a server only).
    tunnels: BTreeMap<SocketAddr, SocketAddr>,
    /// Servers that may bring us new peers.
    relay_servers: BTreeSet<SocketAddr>,
    queue: VecDeque<Queued>,
    /// Questions to servers whether UDP gets there. They go over UDP only.
    questions: VecDeque<Queued>,
    events: VecDeque<(ConnId, LinkEvent)>,
    own_addrs: Vec<SocketAddr>,
    observed: Vec<SocketAddr>,
    /// Where a router lets everybody in to us.
    mapped: Option<SocketAddr>,
    /// Where those may reach us who are outside of our network, best first: `mapped`, then the newest of `observed`.
    outside: Vec<SocketAddr>,
    guesses: Allowance,
    scratch: Vec<u8>,
    hops: Vec<Hop>,
    stats: LinkStats,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link")
            .field("connections", &self.open)
            .field("stats", &self.stats)
            .finish_non_exhaustive()
    }
}

/// The token machinery asks for the time of day. Our tokens live for seconds inside one process, so the time since
/// the link began would do; a constant keeps the core without a clock, and old tokens die with the process's key.
struct NoTime;

impl noq_proto::TimeSource for NoTime {
    fn now(&self) -> std::time::SystemTime {
        std::time::SystemTime::UNIX_EPOCH
    }
}

impl Link {
    /// Makes a link. Fails only if the TLS provider refuses the key.
    pub fn new(config: LinkConfig) -> Result<Self, ConnectError> {
        let setup = |e: rustls::Error| ConnectError::Setup(e.to_string());
        #[cfg(feature = "sim")]
        let provider = if config.entropy.seeded_tls {
            seeded::seeded_provider(config.entropy.derive("tls"))
        } else {
            tls::system_provider()
        };
        #[cfg(not(feature = "sim"))]
        let provider = tls::system_provider();
        let tls = Tls::new(provider, &config.secret).map_err(setup)?;
        let transport = Arc::new(config.transport(config.idle_timeout, config.keep_alive));
        let control = Arc::new(config.transport(config.control_idle_timeout, config.control_keep_alive));

        let mut endpoint_config = EndpointConfig::new(entropy::reset_key(&config.secret));
        let entropy = config.entropy.clone();
        endpoint_config
            .grease_quic_bit(false)
            .rng_seed(Some(config.entropy.derive("quic endpoint")))
            .cid_generator(Arc::new(move || Box::new(entropy.cid_generator())));
        let server = if config.accept.is_empty() {
            None
        } else {
            let crypto = Arc::new(tls.server(&config.accept).map_err(setup)?);
            let mut server = ServerConfig::new(crypto, config.entropy.token_key());
            let mut tokens = ValidationTokenConfig::default();
            tokens.sent(0);
            server
                .transport_config(transport.clone())
                .time_source(Arc::new(NoTime))
                .validation_token_config(tokens);
            Some(Arc::new(server))
        };
        let fallback = Fallback::new(tls.clone(), config.entropy.rng("fallback"));
        Ok(Self {
            fallback,
            tunnels: BTreeMap::new(),
            endpoint: Endpoint::new(Arc::new(endpoint_config), server, config.path_mtu_discovery),
            tls,
            transport,
            control,
            initial_cids: config.entropy.initial_cids(),
            conns: Vec::new(),
            open: 0,
            handshaking: 0,
            refusing: false,
            generation: 0,
            dirty: VecDeque::new(),
            touched: Vec::new(),
            timers: BTreeSet::new(),
            relay: RelayTable::new(config.max_relay_flows),
            relay_servers: BTreeSet::new(),
            queue: VecDeque::new(),
            questions: VecDeque::new(),
            events: VecDeque::new(),
            own_addrs: Vec::new(),
            observed: Vec::new(),
            mapped: None,
            outside: Vec::new(),
            guesses: Allowance::default(),
            scratch: Vec::new(),
            hops: Vec::new(),
            stats: LinkStats::default(),
            config,
        })
    }

    /// What was dropped and why.
    pub fn stats(&self) -> LinkStats {
        LinkStats { tunnel_drops: self.fallback.dropped(), ..self.stats }
    }

    /// Number of connections, also those still in their handshake.
    pub fn connections(&self) -> usize {
        self.open
    }

    /// Connects to the holder of `peer`, who is registered as `ticket` at one or more `servers`.
    pub fn connect_relayed(
        &mut self,
        now: Instant,
        peer: PublicKey,
        ticket: Ticket,
        servers: &[SocketAddr],
        alpn: &[u8],
    ) -> Result<ConnId, ConnectError> {
        if servers.is_empty() {
            return Err(ConnectError::NoAddress);
        }
        let remote = self.relay.open(now, ticket, servers).ok_or(ConnectError::TooMany)?;
        self.connect(now, Some(peer), remote, alpn, self.transport.clone())
    }

    /// Connects to the holder of `peer` at `remote`, where it is said to be reachable by anyone. Refused where that cannot be: an
    /// address that is no single host's, or of a family that we have no address of.
    pub fn connect_direct(
        &mut self,
        now: Instant,
        peer: PublicKey,
        remote: SocketAddr,
        alpn: &[u8],
    ) -> Result<ConnId, ConnectError> {
        let remote = from_quic(remote);
        if !is_probable(remote, false) || !self.own_addrs.iter().any(|own| own.is_ipv4() == remote.is_ipv4())
        {
            return Err(ConnectError::NoAddress);
        }
        self.connect(now, Some(peer), to_quic(remote), alpn, self.transport.clone())
    }

    /// Sends `remote` a datagram without meaning, so that a NAT in front of us lets in what comes from there: whoever is there is
    /// about to connect to us. Nothing is sent where nobody can be.
    pub fn knock(&mut self, remote: SocketAddr) {
        let remote = from_quic(remote);
        if is_probable(remote, false) {
            let mut data = Vec::new();
            Frame::Knock.encode(&mut data);
            self.enqueue(None, remote, data);
        } else {
            self.stats.forbidden_destinations += 1;
        }
    }

    /// Connects to the server at `remote`, which must hold `peer` if that is given. Without it any key is taken, and
    /// the caller decides when it learns the key from [`LinkEvent::Connected`]. Such connections notice sooner than
    /// others that the server is gone.
    pub fn connect_server(
        &mut self,
        now: Instant,
        peer: Option<PublicKey>,
        remote: SocketAddr,
        alpn: &[u8],
    ) -> Result<ConnId, ConnectError> {
        self.connect(now, peer, to_quic(remote), alpn, self.control.clone())
    }

    fn connect(
        &mut self,
        now: Instant,
        peer: Option<PublicKey>,
        remote: SocketAddr,
        alpn: &[u8],
        transport: Arc<TransportConfig>,
    ) -> Result<ConnId, ConnectError> {
        if self.open >= self.config.max_connections {
            return Err(ConnectError::TooMany);
        }
        let crypto = self.tls.client(peer, alpn).map_err(|e| ConnectError::Setup(e.to_string()))?;
        let mut config = ClientConfig::new(Arc::new(crypto));
        config
            .transport_config(transport)
            .initial_dst_cid_provider(self.initial_cids.clone())
            .token_store(Arc::new(NoneTokenStore));
        let (handle, quic) = self
            .endpoint
            .connect(now, config, remote, tls::TLS_NAME)
            .map_err(|e| ConnectError::Setup(e.to_string()))?;
        let id = self.insert(now, handle, quic, remote);
        Ok(id)
    }

    fn insert(
        &mut self,
        now: Instant,
        handle: ConnectionHandle,
        quic: Connection,
        remote: SocketAddr,
    ) -> ConnId {
        let index = handle.0;
        self.generation = self.generation.wrapping_add(1);
        // The slab of the endpoint hands out small indexes; a u32 holds them all.
        let id = ConnId { index: index as u32, generation: self.generation };
        let mut loopback = remote.ip().to_canonical().is_loopback();
        if let Some(flow) = virtual_index(remote) {
            self.relay.set_owner(flow, id);
            loopback = self.relay.is_loopback(flow);
        }
        if let Some(real) = self.tunnels.get(&remote) {
            loopback = real.ip().is_loopback();
        }
        if self.conns.len() <= index {
            self.conns.resize_with(index + 1, || None);
        }
        self.conns[index] = Some(Conn::new(now, id, quic, loopback));
        self.open += 1;
        self.handshaking += 1;
        self.pump(now, index);
        id
    }

    /// Lets a server bring us new peers (a camera calls this for each server that it has registered at), or no
    /// longer.
    pub fn set_relay_server(&mut self, server: SocketAddr, allowed: bool) {
        if allowed {
            self.relay_servers.insert(server);
        } else {
            self.relay_servers.remove(&server);
        }
    }

    /// Whether there can be a way to `remote`: this host has an address of its family, or does not know its own yet.
    pub fn may_reach(&self, remote: SocketAddr) -> bool {
        let remote = remote.ip().to_canonical();
        self.own_addrs.is_empty()
            || self.own_addrs.iter().any(|own| {
                own.is_ipv4() == remote.is_ipv4() && own.ip().is_loopback() == remote.is_loopback()
            })
    }

    /// Replaces the host's own addresses, which become candidates for direct paths. Returns whether one of the old ones
    /// is gone, or there were none but those of the host itself: then it has moved to another network. One that is merely
    /// added harms no path.
    pub fn set_local_addresses(&mut self, now: Instant, addrs: &[SocketAddr]) -> bool {
        let mut addrs: Vec<SocketAddr> = addrs.iter().map(|a| from_quic(*a)).collect();
        addrs.sort_unstable();
        addrs.dedup();
        addrs.truncate(MAX_OWN_ADDRS);
        if addrs == self.own_addrs {
            return false;
        }
        let outside = |addrs: &[SocketAddr]| addrs.iter().any(|a| !a.ip().is_loopback());
        // What was tried while there was no network has failed, and waits for longer and longer.
        let back = !self.own_addrs.is_empty() && !outside(&self.own_addrs) && outside(&addrs);
        let moved = back || self.own_addrs.iter().any(|old| !addrs.contains(old));
        self.own_addrs = addrs;
        if moved {
            // What servers saw of the old network no longer holds.
            self.forget_observed();
            self.fallback.forget();
        }
        self.refresh_candidates(now, moved);
        self.follow_changes(now);
        moved
    }

    /// Adds an address at which a server sees us. The newest few are kept.
    pub fn add_observed_address(&mut self, now: Instant, addr: SocketAddr) {
        let addr = from_quic(addr);
        if self.observed.first() == Some(&addr) || self.own_addrs.contains(&addr) || is_virtual(addr) {
            return;
        }
        self.observed.retain(|a| *a != addr);
        self.observed.insert(0, addr);
        self.observed.truncate(MAX_OWN_ADDRS / 2);
        self.renew_outside();
        self.refresh_candidates(now, false);
    }

    /// Replaces the address at which a router lets everybody in to us (PCP, NAT-PMP, UPnP). It becomes the first candidate for
    /// direct paths, unless it is no address that a peer could use.
    pub fn set_mapped_address(&mut self, now: Instant, addr: Option<SocketAddr>) {
        let addr = addr.map(from_quic).filter(|addr| addr::is_advertisable(*addr, false));
        if addr != self.mapped {
            self.mapped = addr;
            self.renew_outside();
            self.refresh_candidates(now, false);
        }
    }

    /// The address that [`set_mapped_address`](Self::set_mapped_address) has told.
    pub fn mapped_address(&self) -> Option<SocketAddr> {
        self.mapped
    }

    fn forget_observed(&mut self) {
        self.observed.clear();
        self.renew_outside();
    }

    fn renew_outside(&mut self) {
        self.outside.clear();
        let observed = self.observed.iter().copied().filter(|addr| Some(*addr) != self.mapped);
        self.outside.extend(self.mapped.into_iter().chain(observed.take(MAX_OBSERVED_OFFERED)));
    }

    /// The host's own addresses that mean something in its own network only.
    pub fn private_addresses(&self) -> Vec<SocketAddr> {
        self.own_addrs.iter().copied().filter(|addr| addr::is_private(*addr)).collect()
    }

    /// The addresses at which servers see us, newest first.
    pub fn observed_addresses(&self) -> &[SocketAddr] {
        &self.observed
    }

    /// The network below us has changed: paths are tried again, new ones looked for.
    pub fn network_changed(&mut self, now: Instant) {
        // What servers saw of the old network no longer holds.
        self.forget_observed();
        self.fallback.forget();
        self.refresh_candidates(now, true);
        self.follow_changes(now);
    }

    /// Tells where a server takes the same datagrams over TCP, for when UDP does not get there.
    pub fn add_tcp_relay(&mut self, relay: TcpRelay) {
        self.fallback.add(relay);
    }

    /// Whether what goes to any server goes over TCP at present.
    pub fn uses_tcp(&self) -> bool {
        self.fallback.uses_tcp()
    }

    /// Whether what goes to `server` goes over TCP at present.
    pub fn is_over_tcp(&self, server: SocketAddr) -> bool {
        self.fallback.is_tcp(server)
    }

    /// A TCP connection that [`poll_stream`](Self::poll_stream) asked for is there.
    pub fn handle_stream_opened(&mut self, now: Instant, stream: ByteStreamId) {
        self.fallback.opened(now, stream);
    }

    /// Takes in bytes of a TCP connection.
    pub fn handle_stream_bytes(&mut self, now: Instant, stream: ByteStreamId, bytes: &[u8]) {
        let mut datagrams = Vec::new();
        let server = self.fallback.received(now, stream, bytes, |datagram| datagrams.push(datagram));
        self.follow_changes(now);
        let Some(server) = server else { return };
        // The port is that of no socket: what comes this way is bound to none.
        let local = SocketAddr::new(std::net::Ipv6Addr::UNSPECIFIED.into(), 0);
        for payload in datagrams {
            let datagram = Datagram { local, remote: server, ecn: None, payload };
            self.take_in(now, datagram, Over::Tcp);
        }
        self.pump_touched(now);
    }

    /// A TCP connection has ended.
    pub fn handle_stream_closed(&mut self, now: Instant, stream: ByteStreamId) {
        self.fallback.closed(now, stream);
        self.follow_changes(now);
    }

    /// The next thing to do with a TCP connection.
    pub fn poll_stream(&mut self) -> Option<ByteStreamAction> {
        self.fallback.poll_action()
    }

    /// Appends the next bytes of a TCP connection.
    pub fn poll_stream_bytes(&mut self, now: Instant, stream: ByteStreamId, buf: &mut Vec<u8>) {
        self.fallback.fill(now, stream, buf);
        self.follow_changes(now);
    }

    /// Follows where the way to a server has changed: those who use it are told, and speak up at once.
    fn follow_changes(&mut self, now: Instant) {
        while let Some(change) = self.fallback.poll_change() {
            let (server, tcp) = match change {
                Change::ToTcp(server) => (server, true),
                Change::ToUdp(server) => (server, false),
            };
            for index in 0..self.conns.len() {
                let Some(conn) = &mut self.conns[index] else { continue };
                let Ok(path) = conn.quic.network_path(PathId::ZERO) else { continue };
                let flow = virtual_index(path.remote());
                let through = match flow {
                    Some(flow) => self.relay.server(flow) == Some(server),
                    None => from_quic(path.remote()) == server,
                };
                if !through {
                    continue;
                }
                if flow.is_some() {
                    conn.set_over_tcp(tcp, &mut self.events);
                    if !tcp {
                        conn.punch_again(now);
                    }
                } else if !tcp && !conn.closed && !conn.handshaking {
                    self.events.push_back((conn.id, LinkEvent::BackOnUdp));
                }
                if !conn.handshaking {
                    // Fails only if the path is gone, and then there is nothing to keep up.
                    let _ = conn.quic.ping_path(PathId::ZERO);
                }
                self.pump(now, index);
            }
        }
    }

    /// The TLS configuration of tunnels to us.
    pub(crate) fn tunnel_config(&self) -> Result<Arc<rustls::ServerConfig>, ConnectError> {
        self.tls.tunnel_server().map(Arc::new).map_err(|e| ConnectError::Setup(e.to_string()))
    }

    /// Somebody at `real` talks to us through a tunnel, as `addr`.
    pub(crate) fn add_tunnel(&mut self, addr: SocketAddr, real: SocketAddr) {
        self.tunnels.insert(addr, from_quic(real));
    }

    /// The tunnel of `addr` is gone.
    pub(crate) fn remove_tunnel(&mut self, addr: SocketAddr) {
        self.tunnels.remove(&addr);
    }

    /// Where the peer of `id` really is, also if it talks to us through a tunnel: to judge it by, not to send to.
    pub(crate) fn seen_address(&self, id: ConnId) -> Option<SocketAddr> {
        let addr = self.remote_address(id)?;
        Some(self.tunnels.get(&addr).copied().unwrap_or(addr))
    }

    fn refresh_candidates(&mut self, now: Instant, changed: bool) {
        for index in 0..self.conns.len() {
            let Some(conn) = &mut self.conns[index] else { continue };
            conn.update_candidates(now, &self.own_addrs, &self.outside, changed);
            self.pump(now, index);
        }
    }

    /// Begins to look for direct paths to the peer of `id`: tells it our addresses. A camera does so only once it
    /// has accepted a request, because addresses tell where it stands.
    pub fn seek_direct(&mut self, now: Instant, id: ConnId) {
        let index = id.index as usize;
        if let Some(conn) = self.conn_mut(id) {
            conn.seek_direct = true;
        }
        if let Some(Some(conn)) = self.conns.get_mut(index) {
            conn.update_candidates(now, &self.own_addrs, &self.outside, false);
            self.pump(now, index);
        }
    }

    /// Connection `id` keeps its place when others want one: it has shown that it may do something.
    pub fn vouch(&mut self, id: ConnId) {
        if let Some(conn) = self.conn_mut(id) {
            conn.vouched = true;
        }
    }

    /// Gives up the way through the server, so that nothing can go that way any more and nobody has to keep it open. Does
    /// nothing without a direct path. Once is enough for both ends, but the other one must have a direct path, too.
    pub fn drop_relay(&mut self, now: Instant, id: ConnId) {
        if let Some(conn) = self.conn_mut(id) {
            conn.drop_relay(now);
            self.pump(now, id.index as usize);
        }
    }

    fn conn(&self, id: ConnId) -> Option<&Conn> {
        self.conns.get(id.index as usize)?.as_ref().filter(|c| c.id == id)
    }

    fn conn_mut(&mut self, id: ConnId) -> Option<&mut Conn> {
        self.conns.get_mut(id.index as usize)?.as_mut().filter(|c| c.id == id)
    }

    /// The QUIC connection `id`, to read and write its streams. `None` after it has ended.
    pub fn quic(&mut self, id: ConnId) -> Option<&mut Connection> {
        let index = id.index as usize;
        let conn = self.conns.get_mut(index)?.as_mut().filter(|c| c.id == id)?;
        if !conn.dirty {
            conn.dirty = true;
            self.dirty.push_back(index);
        }
        Some(&mut conn.quic)
    }

    /// The address that the peer of `id` is reached at now; a virtual one while it is relayed.
    pub fn remote_address(&self, id: ConnId) -> Option<SocketAddr> {
        let conn = self.conn(id)?;
        conn.quic
            .paths()
            .into_iter()
            .find_map(|p| conn.quic.network_path(p).ok())
            .map(|p| from_quic(p.remote()))
    }

    /// The paths of connection `id`.
    pub fn paths(&mut self, id: ConnId) -> Vec<PathInfo> {
        let Some(conn) = self.conn_mut(id) else { return Vec::new() };
        let mut paths = conn.paths.list(&mut conn.quic);
        paths.iter_mut().for_each(|path| path.kind = path.kind.over(conn.over_tcp));
        paths
    }

    /// Bytes of connection `id` by kind of path.
    pub fn totals(&mut self, id: ConnId) -> PathTotals {
        self.conn_mut(id).map(|c| c.paths.totals(&mut c.quic)).unwrap_or_default()
    }

    /// The kind of path that connection `id` sends by.
    pub fn path_kind(&self, id: ConnId) -> Option<PathKind> {
        self.conn(id)?.kind()
    }

    /// Round-trip time of the path that connection `id` sends by.
    pub fn rtt(&mut self, id: ConnId) -> Option<std::time::Duration> {
        let conn = self.conn_mut(id)?;
        conn.paths.list(&mut conn.quic).into_iter().find(|p| p.selected).map(|p| p.rtt)
    }

    /// The path that connection `id` sends by, and since when.
    pub(crate) fn selected_path(&self, id: ConnId) -> Option<(PathId, Instant)> {
        self.conn(id)?.paths.selected_since()
    }

    /// Bytes that both ends of connection `id` know and nobody else does, nor any other connection (RFC 8446 section 7.5).
    /// `None` before the handshake is complete.
    pub fn export(&self, id: ConnId, label: &[u8]) -> Option<[u8; 32]> {
        let mut bytes = [0; 32];
        let conn = self.conn(id).filter(|c| !c.handshaking)?;
        conn.quic.crypto_session().export_keying_material(&mut bytes, label, b"").ok()?;
        Some(bytes)
    }

    /// Closes connection `id`. The peer gets `code` and `reason`; no more events will come for it.
    pub fn close(&mut self, now: Instant, id: ConnId, code: u32, reason: &str) {
        if let Some(conn) = self.conn_mut(id) {
            conn.closed = true;
            conn.quic.close(now, VarInt::from_u32(code), Bytes::copy_from_slice(reason.as_bytes()));
            self.pump(now, id.index as usize);
        }
    }

    /// Closes all connections, also those that are in their handshake, of which nobody has been told yet, and refuses new ones.
    pub fn shutdown(&mut self, now: Instant, code: u32, reason: &str) {
        self.refusing = true;
        let open: Vec<ConnId> = self.conns.iter().flatten().filter(|c| !c.closed).map(|c| c.id).collect();
        for id in open {
            self.close(now, id, code, reason);
        }
    }

    /// Takes in one datagram that came over UDP and is QUIC or a frame of ours.
    pub fn handle_datagram(&mut self, now: Instant, datagram: Datagram) {
        self.take_in_udp(now, datagram);
        self.pump_touched(now);
        self.follow_changes(now);
    }

    /// Takes in datagrams that came together over UDP. Their connections are asked for news once, not for each.
    pub fn handle_datagrams(&mut self, now: Instant, datagrams: &mut dyn Iterator<Item = Datagram>) {
        for datagram in datagrams {
            self.take_in_udp(now, datagram);
        }
        self.pump_touched(now);
        self.follow_changes(now);
    }

    /// Takes in one datagram that came through a tunnel to us, as [`add_tunnel`](Self::add_tunnel) has said.
    pub(crate) fn handle_tunnelled(&mut self, now: Instant, datagram: Datagram) {
        self.take_in(now, datagram, Over::Tcp);
        self.pump_touched(now);
    }

    fn pump_touched(&mut self, now: Instant) {
        while let Some(index) = self.touched.pop() {
            if let Some(Some(conn)) = self.conns.get_mut(index) {
                conn.touched = false;
                self.pump(now, index);
            }
        }
    }

    fn take_in_udp(&mut self, now: Instant, datagram: Datagram) {
        if is_virtual(datagram.remote) {
            self.stats.forged_sources += 1;
            return;
        }
        self.take_in(now, datagram, Over::Udp);
    }

    fn take_in(&mut self, now: Instant, datagram: Datagram, over: Over) {
        let Some(&first) = datagram.payload.first() else { return };
        match Kind::of(first) {
            Kind::Quic => {
                // What is answered leaves from the address that was asked: a host may have several, and peers and their NATs take no
                // packets from another.
                let local = Some(datagram.local.ip()).filter(|ip| !ip.is_unspecified());
                let local = local.map(|ip| to_quic(SocketAddr::new(ip, 0)).ip());
                let path = FourTuple::new(to_quic(datagram.remote), local);
                if self.handle_quic(now, path, datagram.ecn, datagram.payload) && over == Over::Udp {
                    self.heard_udp(from_quic(datagram.remote));
                }
            }
            Kind::Frame => self.handle_frame(now, datagram, over),
            Kind::Stun | Kind::Unknown => self.stats.unknown_datagrams += 1,
        }
    }

    fn handle_frame(&mut self, now: Instant, mut datagram: Datagram, over: Over) {
        let server = from_quic(datagram.remote);
        // Flow ids and tickets are random, and known to the server and us alone: they prove that it was the server.
        let mut genuine = false;
        match Frame::parse(&datagram.payload) {
            Ok(Frame::Forward { flow, payload }) => {
                let skip = datagram.payload.len() - payload.len();
                if payload.first().map(|b| Kind::of(*b)) != Some(Kind::Quic) {
                    self.stats.bad_frames += 1;
                    return;
                }
                let accept = self.relay_servers.contains(&server);
                genuine = self.relay.knows(server, flow);
                match self.relay.received(now, server, flow, accept) {
                    Some(addr) => {
                        let _ = datagram.payload.split_to(skip);
                        self.handle_quic(now, FourTuple::from_remote(addr), datagram.ecn, datagram.payload);
                    }
                    None => self.stats.unknown_flows += 1,
                }
            }
            Ok(Frame::Opened { ticket, flow, observed }) => match self.relay.opened(server, ticket, flow) {
                Some(owner) => {
                    genuine = true;
                    // Over TCP the server sees another port than that of our socket, of no use to anybody.
                    if over == Over::Udp {
                        self.add_observed_address(now, observed);
                    }
                    // Using the flow proves that we receive; until then the server lets little through.
                    if let Some(owner) = owner {
                        self.ping_relay(now, owner);
                    }
                }
                None => self.stats.unknown_flows += 1,
            },
            Ok(Frame::Refused { ticket, reason }) => {
                if let Some(conn) = self.relay.refused(server, ticket) {
                    genuine = true;
                    self.events.push_back((conn, LinkEvent::RelayRefused(reason)));
                }
            }
            Ok(Frame::Cookie { flow, cookie }) => {
                // Only for flows of ours, and no longer than the question: nothing to gain from asking us.
                if self.relay.knows(server, flow) {
                    genuine = true;
                    let mut data = Vec::new();
                    Frame::CookieEcho { flow, cookie }.encode(&mut data);
                    self.enqueue(None, server, data);
                    // So the server sees us elsewhere; our own connection to it should move as well, at once.
                    self.ping_server(now, server);
                } else {
                    self.stats.unknown_flows += 1;
                }
            }
            Ok(Frame::UnknownFlow { flow }) => {
                if over == Over::Udp {
                    let insists = self.insists(server);
                    if self.fallback.answered(now, server, flow, insists) {
                        return;
                    }
                }
                if self.relay.unknown(server, flow) {
                    genuine = true;
                    // The server has probably restarted; our own connection to it should find out at once.
                    self.ping_server(now, server);
                }
            }
            Ok(Frame::Knock) => {
                if over == Over::Udp {
                    self.knocked(now, server);
                }
            }
            Ok(Frame::Open { .. } | Frame::CookieEcho { .. }) | Err(_) => self.stats.bad_frames += 1,
        }
        if genuine && over == Over::Udp {
            self.heard_udp(server);
        }
    }

    /// Somebody has sent a knock. Its way here is mostly all that it was for; but if a peer's ports are being guessed, it may have
    /// come through both NATs, and then a path can.
    fn knocked(&mut self, now: Instant, from: SocketAddr) {
        for index in 0..self.conns.len() {
            let Some(conn) = &mut self.conns[index] else { continue };
            if !conn.guess.heard(now, from) {
                continue;
            }
            if conn.try_path(now, from) {
                self.pump(now, index);
            } else {
                // Only the other end can open paths, and does not know of this one yet.
                self.knock(from);
            }
        }
    }

    /// Whether the NAT in front of us keeps the port of our socket, as far as servers have seen.
    fn keeps_port(&self) -> bool {
        self.observed.iter().any(|seen| self.own_addrs.iter().any(|own| own.port() == seen.port()))
    }

    /// Something of connection `id` goes straight to `remote`.
    fn goes_to(&mut self, now: Instant, id: ConnId, remote: SocketAddr) {
        if self.conn(id).is_none_or(|conn| !conn.is_looking_for_a_path()) {
            return;
        }
        let keeps_port = self.keeps_port();
        if let Some(conn) = self.conn_mut(id) {
            conn.guess.probed(now, remote, keeps_port);
            self.set_timer(id.index as usize);
        }
    }

    /// Something has come from `server` over UDP that only it can have sent.
    fn heard_udp(&mut self, server: SocketAddr) {
        if !self.fallback.is_empty() && !self.insists(server) {
            self.fallback.heard(server);
        }
    }

    /// Whether a connection to `server` itself waits for its first packet. Frames that get through do not help it: there are
    /// firewalls that drop QUIC and let those pass.
    fn insists(&self, server: SocketAddr) -> bool {
        self.handshaking > 0
            && self.conns.iter().flatten().any(|c| c.handshaking && !c.heard && leads_to(c, server))
    }

    /// Signs of life of the peer of `id` so far, as a number that grows. Forged datagrams do not count.
    pub fn heard(&mut self, id: ConnId) -> u64 {
        self.conn_mut(id).map_or(0, |c| paths::frames_heard(&c.quic.stats().frame_rx))
    }

    /// For how long no datagram has come for connection `id`.
    pub fn silent_for(&self, now: Instant, id: ConnId) -> std::time::Duration {
        self.conn(id).map(|conn| now.saturating_duration_since(conn.last_datagram)).unwrap_or_default()
    }

    /// Asks the peer of `id` for a sign of life on the path in use.
    pub fn ping(&mut self, now: Instant, id: ConnId) {
        if let Some(conn) = self.conn_mut(id) {
            conn.quic.ping();
            self.pump(now, id.index as usize);
        }
    }

    fn ping_relay(&mut self, now: Instant, id: ConnId) {
        if let Some(conn) = self.conn_mut(id).filter(|c| !c.handshaking) {
            // Fails only if the relay path is gone, and then there is nothing to prove.
            let _ = conn.quic.ping_path(PathId::ZERO);
            self.pump(now, id.index as usize);
        }
    }

    fn ping_server(&mut self, now: Instant, server: SocketAddr) {
        for index in 0..self.conns.len() {
            let Some(conn) = &mut self.conns[index] else { continue };
            let path = conn.quic.network_path(PathId::ZERO);
            if path.is_ok_and(|p| from_quic(p.remote()) == server) {
                conn.quic.ping();
                self.pump(now, index);
            }
        }
    }

    fn enqueue(&mut self, local: Option<SocketAddr>, remote: SocketAddr, data: Vec<u8>) {
        if self.queue.len() >= MAX_QUEUED {
            self.stats.queue_drops += 1;
        } else {
            self.queue.push_back(Queued { local, remote, data });
        }
    }

    /// Returns whether it was for a connection of ours, by an id that only its peer knows.
    fn handle_quic(
        &mut self,
        now: Instant,
        path: FourTuple,
        ecn: Option<noq_proto::EcnCodepoint>,
        payload: BytesMut,
    ) -> bool {
        self.scratch.clear();
        let most = payload.len() * AMPLIFICATION;
        match self.endpoint.handle(now, path, ecn, payload, &mut self.scratch) {
            Some(DatagramEvent::ConnectionEvent(handle, event)) => {
                let index = handle.0;
                if let Some(Some(conn)) = self.conns.get_mut(index) {
                    if let Some(flow) = virtual_index(path.remote()) {
                        self.relay.set_owner(flow, conn.id);
                    }
                    conn.last_datagram = now;
                    conn.quic.handle_event(event);
                    conn.heard = true;
                    conn.paths.touch(now);
                    if !conn.touched {
                        conn.touched = true;
                        self.touched.push(index);
                    }
                    return true;
                }
            }
            Some(DatagramEvent::NewConnection(incoming)) => self.handle_incoming(now, path, incoming),
            // Found by fuzzing: twelve bytes of an unknown version are answered with forty that name those we know.
            Some(DatagramEvent::Response(transmit)) if transmit.size > most => {
                self.stats.unknown_datagrams += 1
            }
            Some(DatagramEvent::Response(transmit)) => self.send_stateless(path, transmit.size),
            None => {}
        }
        false
    }

    fn handle_incoming(&mut self, now: Instant, path: FourTuple, incoming: Incoming) {
        self.scratch.clear();
        if self.refusing || (self.open >= self.config.max_connections && !self.make_room(now)) {
            self.stats.refused_connections += 1;
            let transmit = self.endpoint.refuse(incoming, &mut self.scratch);
            self.send_stateless(path, transmit.size);
            return;
        }
        if self.handshaking >= self.config.retry_from
            && incoming.may_retry()
            && !incoming.remote_address_validated()
        {
            self.stats.retries += 1;
            match self.endpoint.retry(incoming, &mut self.scratch) {
                Ok(transmit) => self.send_stateless(path, transmit.size),
                Err(e) => self.endpoint.ignore(e.into_incoming()),
            }
            return;
        }
        match self.endpoint.accept(incoming, now, &mut self.scratch, None) {
            Ok((handle, quic)) => {
                let id = self.insert(now, handle, quic, path.remote());
                if self.config.offer_early
                    && let Some(Some(conn)) = self.conns.get_mut(id.index as usize)
                {
                    conn.offer_early(&self.own_addrs, &self.outside);
                }
            }
            Err(e) => {
                if let Some(transmit) = e.response {
                    self.send_stateless(path, transmit.size);
                }
            }
        }
    }

    /// Makes room for an incoming connection although there are as many as there may be: the oldest stranger goes. `false`: there is
    /// none, or too many are on their way out already.
    fn make_room(&mut self, now: Instant) -> bool {
        if !self.config.strangers_give_way || self.open >= self.config.max_connections.saturating_mul(2) {
            return false;
        }
        let live = || self.conns.iter().flatten().filter(|c| !c.closed);
        if live().count() < self.config.max_connections {
            return true;
        }
        let stranger = live().filter(|c| !c.vouched && !c.is_client()).map(|c| c.id);
        let Some(id) = stranger.min_by_key(|id| id.generation) else { return false };
        self.close(now, id, 0, "its place is needed");
        self.events.push_back((id, LinkEvent::Lost(LostReason::Displaced)));
        self.stats.displaced_strangers += 1;
        true
    }

    /// Queues the answer in the scratch buffer, which belongs to no connection, back along the way it was asked.
    fn send_stateless(&mut self, path: FourTuple, size: usize) {
        let data = self.scratch[..size.min(self.scratch.len())].to_vec();
        match virtual_index(path.remote()) {
            None => {
                let local = path.local_ip().map(|ip| SocketAddr::new(ip.to_canonical(), 0));
                self.enqueue(local, from_quic(path.remote()), data);
            }
            Some(index) => {
                if let Some(hop) = self.relay.answer_hop(index) {
                    let mut framed = hop.header.as_bytes().to_vec();
                    framed.extend_from_slice(&data);
                    self.enqueue(None, hop.server, framed);
                }
            }
        }
    }

    /// Moves events between the endpoint and connection `index`, collects its news and sets its timer.
    fn pump(&mut self, now: Instant, index: usize) {
        let Some(Some(conn)) = self.conns.get_mut(index) else { return };
        let mut drained = false;
        let was_handshaking = conn.handshaking;
        if !self.fallback.is_empty()
            && let Ok(path) = conn.quic.network_path(PathId::ZERO)
            && let Some(flow) = virtual_index(path.remote())
        {
            let tcp = self.relay.server(flow).is_some_and(|server| self.fallback.is_tcp(server));
            conn.set_over_tcp(tcp, &mut self.events);
        }
        loop {
            let mut idle = true;
            while let Some(event) = conn.quic.poll_endpoint_events() {
                idle = false;
                drained |= event.is_drained();
                if let Some(event) = self.endpoint.handle_event(ConnectionHandle(index), event) {
                    conn.quic.handle_event(event);
                }
            }
            if idle {
                break;
            }
        }
        conn.poll_events(now, &self.own_addrs, &self.outside, &mut self.events);
        if let Some(addr) = conn.observed.take() {
            // A server tells where it sees us; the caller of a peer connection has no such authority.
            conn.reported = Some(addr);
        }
        if was_handshaking && !conn.handshaking {
            self.handshaking -= 1;
        }
        if !drained && conn.is_forgotten(now) {
            self.endpoint.handle_event(ConnectionHandle(index), EndpointEvent::drained());
            drained = true;
        }
        if drained {
            if conn.handshaking {
                self.handshaking -= 1;
            }
            if let Some(at) = conn.timer.take() {
                self.timers.remove(&(at, index));
            }
            let id = conn.id;
            self.conns[index] = None;
            self.open -= 1;
            self.relay.remove_owned(id);
            return;
        }
        if !conn.dirty {
            conn.dirty = true;
            self.dirty.push_back(index);
        }
    }

    /// The address at which the peer of `id` last said that it sees us (QUIC address discovery).
    pub fn reported_address(&mut self, id: ConnId) -> Option<SocketAddr> {
        self.conn_mut(id).and_then(|c| c.reported.take())
    }

    fn set_timer(&mut self, index: usize) {
        let Some(Some(conn)) = self.conns.get_mut(index) else { return };
        let next = conn.next_timeout();
        if next != conn.timer {
            if let Some(old) = conn.timer.take() {
                self.timers.remove(&(old, index));
            }
            if let Some(at) = next {
                self.timers.insert((at, index));
            }
            conn.timer = next;
        }
    }

    /// Lets every connection whose time has come act.
    pub fn handle_timeout(&mut self, now: Instant) {
        for server in self.fallback.due(now) {
            let needed = self.needs(server);
            if let Some(question) = self.fallback.run(now, server, needed) {
                self.questions.push_back(Queued { local: None, remote: server, data: question });
            }
        }
        self.follow_changes(now);
        while let Some(&(at, index)) = self.timers.first() {
            if at > now {
                break;
            }
            self.timers.pop_first();
            if let Some(Some(conn)) = self.conns.get_mut(index) {
                conn.timer = None;
                conn.handle_timeout(now, &mut self.events);
                let knocks = conn.guess.due(now, &mut self.guesses);
                self.pump(now, index);
                knocks.into_iter().for_each(|addr| self.knock(addr));
            }
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let timers = self.timers.first().map(|(at, _)| *at);
        [timers, self.fallback.next()].into_iter().flatten().min()
    }

    /// Whether anybody waits for a server: a connection to it, or a flow through it.
    fn needs(&self, server: SocketAddr) -> bool {
        self.relay.uses(server) || self.conns.iter().flatten().any(|c| leads_to(c, server))
    }

    /// The next event of any connection.
    pub fn poll_event(&mut self) -> Option<(ConnId, LinkEvent)> {
        self.events.pop_front()
    }

    /// The next datagram or batch for UDP, appended to the empty `buf`. What is to go over TCP is put there instead.
    pub fn poll_transmit(&mut self, now: Instant, buf: &mut Vec<u8>) -> Option<Transmit> {
        if let Some(question) = self.questions.pop_front() {
            buf.extend_from_slice(&question.data);
            let size = question.data.len();
            let (local, remote) = (question.local, question.remote);
            return Some(Transmit { local, remote, ecn: None, size, segment_size: None });
        }
        loop {
            let transmit = self.next_transmit(now, buf)?;
            let segment = transmit.segment_size.unwrap_or(transmit.size);
            if self.fallback.is_empty() || !self.fallback.takes(now, transmit.remote, buf, segment) {
                return Some(transmit);
            }
            buf.clear();
        }
    }

    fn next_transmit(&mut self, now: Instant, buf: &mut Vec<u8>) -> Option<Transmit> {
        if let Some(queued) = self.queue.pop_front() {
            buf.extend_from_slice(&queued.data);
            return Some(Transmit {
                local: queued.local,
                remote: queued.remote,
                ecn: None,
                size: queued.data.len(),
                segment_size: None,
            });
        }
        while let Some(&index) = self.dirty.front() {
            let Some(Some(conn)) = self.conns.get_mut(index) else {
                self.dirty.pop_front();
                continue;
            };
            let id = conn.id;
            match conn.quic.poll_transmit(now, conn.batch(), buf) {
                Some(transmit) => {
                    conn.paths.touch(now);
                    self.pump(now, index);
                    // Others get their turn before this one sends its next batch.
                    self.dirty.rotate_left(1);
                    if let Some(transmit) = self.address(now, id, transmit, buf) {
                        return Some(transmit);
                    }
                    buf.clear();
                }
                None => {
                    conn.dirty = false;
                    self.dirty.pop_front();
                    self.set_timer(index);
                }
            }
        }
        None
    }

    /// Turns a transmit of QUIC into one of ours: real addresses as they are, virtual ones through their server.
    /// `None`: the packet may not or cannot be sent.
    fn address(
        &mut self,
        now: Instant,
        id: ConnId,
        transmit: noq_proto::Transmit,
        buf: &mut Vec<u8>,
    ) -> Option<Transmit> {
        let Some(index) = virtual_index(transmit.destination) else {
            let loopback = self.conn(id).is_none_or(|c| c.loopback);
            let remote = from_quic(transmit.destination);
            if tunnel_of(remote).is_none() && !is_probable(remote, loopback)
                || tunnel_of(remote).is_some() && !self.tunnels.contains_key(&remote)
            {
                self.stats.forbidden_destinations += 1;
                return None;
            }
            if self.config.direct_paths
                && self.conn_mut(id).is_some_and(|c| !c.may_send_to(now, transmit.destination))
            {
                self.stats.forbidden_destinations += 1;
                return None;
            }
            self.goes_to(now, id, remote);
            return Some(Transmit {
                local: transmit.src_ip.map(|ip| SocketAddr::new(ip.to_canonical(), 0)),
                remote,
                ecn: transmit.ecn,
                size: transmit.size,
                segment_size: transmit.segment_size,
            });
        };
        let mut hops = std::mem::take(&mut self.hops);
        self.relay.hops(now, index, id, &mut hops);
        let segment = transmit.segment_size.unwrap_or(transmit.size);
        let result = hops.split_first().map(|(first, others)| {
            for hop in others {
                for datagram in buf[..transmit.size].chunks(segment) {
                    let mut data = hop.header.as_bytes().to_vec();
                    data.extend_from_slice(datagram);
                    self.enqueue(None, hop.server, data);
                }
            }
            let header = first.header.as_bytes();
            insert_headers(buf, transmit.size, segment, header);
            Transmit {
                local: None,
                remote: first.server,
                ecn: transmit.ecn,
                size: buf.len(),
                segment_size: transmit.segment_size.map(|s| s + header.len()),
            }
        });
        self.hops = hops;
        if result.is_none() {
            self.stats.unknown_flows += 1;
        }
        result
    }
}

/// Whether a connection is one to `server` itself.
fn leads_to(conn: &Conn, server: SocketAddr) -> bool {
    !conn.quic.is_closed()
        && conn.quic.network_path(PathId::ZERO).is_ok_and(|path| from_quic(path.remote()) == server)
}

#[cfg(test)]
#[cfg(feature = "sim")]
mod tests;
