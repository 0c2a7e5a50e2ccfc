//! The relay over TCP: tunnels of clients whom UDP does not reach. Each is one more address from which datagrams come; all that
//! holds for those of UDP holds for them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;

use super::limits::PerSource;
use crate::link::addr::tunnel_addr;
use crate::link::tunnel::Tunnel;
use crate::machine::{ByteStreamAction, ByteStreamId};

/// TCP connections that have not finished TLS after this long are closed.
pub const HANDSHAKE_TIME: Duration = Duration::from_secs(5);
/// Tunnels that bring nothing for this long are closed: clients keep theirs alive every few seconds.
pub const IDLE: Duration = Duration::from_secs(30);
/// Tunnels that take nothing for this long, with datagrams waiting, are closed.
pub const STALLED: Duration = Duration::from_secs(10);

/// Limits of the relay over TCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpRelayConfig {
    /// Most connections. Each may hold 192 KiB that wait for a slow reader. Default 4,096.
    pub max_connections: usize,
    /// Most of them that have not finished TLS. Default 256.
    pub max_handshakes: usize,
    /// Most connections from one IP address, behind which there may be many people. Default 64.
    pub max_per_source: usize,
    /// Most new connections per second from one IP address; three times as many at once. Default 20.
    pub accepts_per_source: u32,
}

impl Default for TcpRelayConfig {
    fn default() -> Self {
        Self { max_connections: 4_096, max_handshakes: 256, max_per_source: 64, accepts_per_source: 20 }
    }
}

/// Counters of the relay over TCP.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TcpRelayStats {
    /// Connections at present.
    pub connections: usize,
    /// Those of them that have not finished TLS.
    pub handshakes: usize,
    /// Connections accepted so far.
    pub accepted: u64,
    /// Connections refused so far because of a limit.
    pub refused: u64,
    /// Connections closed so far because they broke the protocol, were silent or took nothing.
    pub broken: u64,
    /// Bytes of datagrams received so far.
    pub received_bytes: u64,
    /// Bytes of datagrams given to connections so far, those dropped later included.
    pub sent_bytes: u64,
    /// Datagrams dropped so far because a connection was slower than what was to be sent, or gone.
    pub drops: u64,
}

#[derive(Debug)]
struct Entry {
    tunnel: Tunnel,
    remote: SocketAddr,
    deadline: Instant,
    /// Since when the transport has taken nothing although something waits.
    stalled: Option<Instant>,
}

/// All tunnels of a server.
#[derive(Debug)]
pub(super) struct Tunnels {
    config: TcpRelayConfig,
    tls: Arc<rustls::ServerConfig>,
    entries: BTreeMap<ByteStreamId, Entry>,
    per_source: BTreeMap<IpAddr, usize>,
    accepts: PerSource,
    deadlines: BTreeSet<(Instant, ByteStreamId)>,
    next: u64,
    actions: VecDeque<ByteStreamAction>,
    gone: Vec<SocketAddr>,
    stats: TcpRelayStats,
}

impl Tunnels {
    pub(super) fn new(config: TcpRelayConfig, tls: Arc<rustls::ServerConfig>) -> Self {
        Self {
            accepts: PerSource::new(config.accepts_per_source),
            config,
            tls,
            entries: BTreeMap::new(),
            per_source: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            next: 0,
            actions: VecDeque::new(),
            gone: Vec::new(),
            stats: TcpRelayStats::default(),
        }
    }

    pub(super) fn stats(&self) -> TcpRelayStats {
        TcpRelayStats { connections: self.entries.len(), handshakes: self.handshakes(), ..self.stats }
    }

    fn handshakes(&self) -> usize {
        self.entries.values().filter(|e| e.tunnel.is_handshaking()).count()
    }

    /// Somebody connects. `None`: there are too many.
    pub(super) fn accept(&mut self, now: Instant, remote: SocketAddr) -> Option<ByteStreamId> {
        let ip = remote.ip().to_canonical();
        let of_source = self.per_source.get(&ip).copied().unwrap_or(0);
        let tunnel = (self.accepts.take(now, ip)
            && self.entries.len() < self.config.max_connections
            && of_source < self.config.max_per_source
            && self.handshakes() < self.config.max_handshakes)
            .then(|| Tunnel::server(self.tls.clone()).ok())
            .flatten();
        let Some(tunnel) = tunnel else {
            self.stats.refused += 1;
            return None;
        };
        let id = ByteStreamId(self.next);
        self.next += 1;
        let deadline = now + HANDSHAKE_TIME;
        self.entries.insert(
            id,
            Entry { tunnel, remote: SocketAddr::new(ip, remote.port()), deadline, stalled: None },
        );
        self.deadlines.insert((deadline, id));
        *self.per_source.entry(ip).or_default() += 1;
        self.stats.accepted += 1;
        Some(id)
    }

    /// Where whoever is behind a tunnel really is.
    pub(super) fn remote(&self, id: ByteStreamId) -> Option<SocketAddr> {
        self.entries.get(&id).map(|e| e.remote)
    }

    /// Takes in bytes and returns the datagrams that are whole with them.
    pub(super) fn receive(&mut self, now: Instant, id: ByteStreamId, bytes: &[u8]) -> Vec<BytesMut> {
        let mut datagrams = Vec::new();
        let Some(entry) = self.entries.get_mut(&id) else { return datagrams };
        let result = entry.tunnel.receive(bytes, |datagram| datagrams.push(datagram));
        self.stats.received_bytes += datagrams.iter().map(|d| d.len() as u64).sum::<u64>();
        // What is no whole datagram keeps no tunnel open: bytes can be had one by one.
        if !datagrams.is_empty() {
            self.deadlines.remove(&(entry.deadline, id));
            entry.deadline = now + IDLE;
            self.deadlines.insert((entry.deadline, id));
        }
        if entry.tunnel.announce() {
            self.actions.push_back(ByteStreamAction::Send { stream: id });
        }
        if let Err(e) = result {
            tracing::debug!("a TCP connection broke: {e}");
            self.break_off(id);
            // Nobody is there any more whom they could be counted to.
            datagrams.clear();
        }
        datagrams
    }

    /// Puts a datagram on its way through a tunnel.
    pub(super) fn send(&mut self, now: Instant, id: ByteStreamId, datagram: &[u8]) {
        let Some(entry) = self.entries.get_mut(&id) else {
            self.stats.drops += 1;
            return;
        };
        entry.tunnel.push(datagram);
        self.stats.sent_bytes += datagram.len() as u64;
        self.stats.drops += entry.tunnel.take_dropped();
        if entry.tunnel.announce() {
            self.actions.push_back(ByteStreamAction::Send { stream: id });
        }
        let since = *entry.stalled.get_or_insert(now);
        if now.saturating_duration_since(since) >= STALLED {
            self.break_off(id);
        }
    }

    /// Appends the next bytes of a stream.
    pub(super) fn fill(&mut self, id: ByteStreamId, buf: &mut Vec<u8>) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        entry.stalled = None;
        if entry.tunnel.fill(buf).is_err() {
            self.break_off(id);
        }
    }

    /// A stream has ended.
    pub(super) fn closed(&mut self, id: ByteStreamId) {
        let Some(entry) = self.entries.remove(&id) else { return };
        self.deadlines.remove(&(entry.deadline, id));
        let ip = entry.remote.ip();
        if let Some(count) = self.per_source.get_mut(&ip) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.per_source.remove(&ip);
            }
        }
        self.gone.push(tunnel_addr(id));
    }

    fn break_off(&mut self, id: ByteStreamId) {
        self.stats.broken += 1;
        self.actions.push_back(ByteStreamAction::Close { stream: id });
        self.closed(id);
    }

    /// Addresses of tunnels that are gone since the last call.
    pub(super) fn take_gone(&mut self) -> Vec<SocketAddr> {
        std::mem::take(&mut self.gone)
    }

    pub(super) fn poll_action(&mut self) -> Option<ByteStreamAction> {
        self.actions.pop_front()
    }

    pub(super) fn next(&self) -> Option<Instant> {
        let deadline = self.deadlines.first().map(|(at, _)| *at);
        [deadline, self.accepts.next()].into_iter().flatten().min()
    }

    /// Closes tunnels that take too long to be set up or bring nothing.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.accepts.handle_timeout(now);
        while let Some(&(at, id)) = self.deadlines.first() {
            if at > now {
                break;
            }
            self.break_off(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::tunnel::tests::{client, server_config};

    fn tunnels(config: TcpRelayConfig) -> (Tunnels, Instant) {
        #[expect(clippy::disallowed_methods, reason = "a test needs some first instant")]
        let now = Instant::now();
        (Tunnels::new(config, server_config(2)), now)
    }

    fn from(a: u8, b: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, a, b], 4000))
    }

    /// Finishes TLS of a tunnel and returns the client's end.
    fn shake(tunnels: &mut Tunnels, now: Instant, id: ByteStreamId) -> Tunnel {
        let mut client = client(None);
        loop {
            let (mut there, mut back) = (Vec::new(), Vec::new());
            client.fill(&mut there).unwrap();
            tunnels.receive(now, id, &there);
            tunnels.fill(id, &mut back);
            client.receive(&back, |_| {}).unwrap();
            if there.is_empty() && back.is_empty() {
                assert!(!client.is_handshaking());
                return client;
            }
        }
    }

    #[test]
    fn half_open_handshakes_are_few_and_time_out() {
        let config = TcpRelayConfig { max_handshakes: 10, ..TcpRelayConfig::default() };
        let (mut tunnels, now) = tunnels(config);
        let open = (0..100).filter(|n| tunnels.accept(now, from(*n, 1)).is_some()).count();
        assert_eq!(open, 10);
        assert_eq!(tunnels.stats().refused, 90);
        // Bytes that never make a handshake whole do not help.
        let later = now + HANDSHAKE_TIME - Duration::from_millis(1);
        tunnels.receive(later, ByteStreamId(3), &[22, 3, 1, 2, 0]);
        tunnels.handle_timeout(later);
        assert_eq!(tunnels.stats().connections, 10);
        tunnels.handle_timeout(now + HANDSHAKE_TIME);
        assert_eq!(tunnels.stats().connections, 0);
        assert_eq!(tunnels.take_gone().len(), 10);
        assert!(tunnels.accept(now + HANDSHAKE_TIME, from(1, 1)).is_some());
    }

    #[test]
    fn one_source_has_its_share_and_no_more() {
        let config = TcpRelayConfig { max_per_source: 5, accepts_per_source: 4, ..TcpRelayConfig::default() };
        let (mut tunnels, now) = tunnels(config);
        let ids: Vec<_> = (0..50).filter_map(|_| tunnels.accept(now, from(1, 1))).collect();
        assert_eq!(ids.len(), 5, "so many at a time");
        assert!(tunnels.accept(now, from(1, 2)).is_some(), "others have theirs");
        ids.iter().for_each(|id| tunnels.closed(*id));
        let again = (0..50).filter(|_| {
            tunnels.accept(now, from(1, 1)).is_some_and(|id| {
                tunnels.closed(id);
                true
            })
        });
        assert_eq!(again.count(), 0, "so many a second: all attempts counted");
        assert!(tunnels.accept(now + Duration::from_secs(1), from(1, 1)).is_some());
        assert_eq!(tunnels.per_source.len(), 2);
    }

    #[test]
    fn a_reader_that_stands_still_costs_a_bounded_queue_and_is_dropped() {
        let (mut tunnels, now) = tunnels(TcpRelayConfig::default());
        let id = tunnels.accept(now, from(1, 1)).unwrap();
        let _client = shake(&mut tunnels, now, id);
        let datagram = [7; 1200];
        let mut at = now;
        while tunnels.stats().connections == 1 {
            tunnels.send(at, id, &datagram);
            at += Duration::from_millis(2);
            assert!(at < now + STALLED * 2, "never dropped");
        }
        assert!(at >= now + STALLED);
        let stats = tunnels.stats();
        assert!(stats.drops > 4000 && stats.broken == 1, "{stats:?}");
        assert_eq!(tunnels.actions.iter().filter(|a| matches!(a, ByteStreamAction::Close { .. })).count(), 1);
        // The address of one that is gone leads nowhere.
        tunnels.send(at, id, &datagram);
        assert_eq!(tunnels.stats().drops, stats.drops + 1);
    }

    #[test]
    fn a_silent_tunnel_is_closed_and_one_that_speaks_is_not() {
        let (mut tunnels, now) = tunnels(TcpRelayConfig::default());
        let (speaks, silent) =
            (tunnels.accept(now, from(1, 1)).unwrap(), tunnels.accept(now, from(1, 2)).unwrap());
        let mut client = shake(&mut tunnels, now, speaks);
        shake(&mut tunnels, now, silent);
        let hello = |tunnels: &mut Tunnels, client: &mut Tunnel, at| {
            client.push(b"hello");
            let mut bytes = Vec::new();
            client.fill(&mut bytes).unwrap();
            assert_eq!(tunnels.receive(at, speaks, &bytes), [&b"hello"[..]]);
        };
        hello(&mut tunnels, &mut client, now);
        // TLS alone does not make a tunnel last.
        tunnels.handle_timeout(now + HANDSHAKE_TIME);
        assert!(tunnels.remote(silent).is_none());
        assert_eq!(tunnels.remote(speaks), Some(from(1, 1)));
        hello(&mut tunnels, &mut client, now + Duration::from_secs(20));
        tunnels.handle_timeout(now + IDLE);
        assert!(tunnels.remote(speaks).is_some());
        tunnels.handle_timeout(now + Duration::from_secs(20) + IDLE);
        assert!(tunnels.remote(speaks).is_none());
    }
}
