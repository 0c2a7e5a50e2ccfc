//! TCP between hosts: reliable, ordered byte streams with the delay of the links and a window. Links lose nothing of it, NATs let
//! it out, firewalls are for UDP. A host that is cut off holds it up; one that gets another address loses it without a word; one
//! that restarts resets it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use xp2p_proto::machine::{ByteStreamAction, ByteStreamId};

use super::host::{AnyHost, Guest};
use super::time::Nanos;
use super::world::{Owner, PUBLIC, Sim, realm_of};

/// Bytes that may be under way in one direction.
const WINDOW: usize = 64 * 1024;
/// How long a segment waits at a host that is cut off before it is sent again.
const RETRY: Nanos = 200_000_000;
/// First source port of connections.
const FIRST_PORT: u16 = 40_000;

/// A connection's end: 0 has asked for it, 1 has accepted it.
#[derive(Debug, Default)]
struct End {
    host: u32,
    /// What its machine calls it, once it has a name and until it has ended there.
    stream: Option<ByteStreamId>,
    /// Its machine has said that it has bytes.
    sends: bool,
    under_way: usize,
    /// When the last segment from here arrives, which no later one may precede.
    last_exit: Nanos,
}

#[derive(Debug)]
struct Connection {
    ends: [End; 2],
    from: SocketAddr,
    to: SocketAddr,
    /// An end has lost its address: nothing arrives any more.
    lost: bool,
}

#[derive(Debug)]
enum Segment {
    Syn,
    SynAck,
    Bytes(Vec<u8>),
    Ack(usize),
    Reset,
}

/// A segment under way: its connection and the end that it goes to.
#[derive(Debug)]
struct UnderWay {
    connection: usize,
    to: usize,
    segment: Segment,
}

/// All TCP of a world.
#[derive(Debug, Default)]
pub(crate) struct Tcp {
    connections: Vec<Connection>,
    by_stream: BTreeMap<(u32, ByteStreamId), (usize, usize)>,
    under_way: BTreeMap<(Nanos, u64), UnderWay>,
    sequence: u64,
    /// Ports on which hosts listen.
    listening: BTreeSet<(u32, u16)>,
}

impl Tcp {
    pub(crate) fn next_at(&self) -> Option<Nanos> {
        self.under_way.keys().next().map(|(at, _)| *at)
    }

    fn push(&mut self, at: Nanos, under_way: UnderWay) {
        self.under_way.insert((at, self.sequence), under_way);
        self.sequence += 1;
    }
}

impl Sim {
    /// Lets a host take TCP connections on a port, or no longer.
    pub fn listen_tcp(&mut self, host: impl Into<AnyHost>, port: u16, listens: bool) {
        let key = (host.into().0, port);
        if listens {
            self.tcp.listening.insert(key);
        } else {
            self.tcp.listening.remove(&key);
        }
    }

    /// TCP connections that a host has open at present.
    #[must_use]
    pub fn tcp_connections(&self, host: impl Into<AnyHost>) -> usize {
        let host = host.into().0;
        self.tcp.by_stream.range((host, ByteStreamId(0))..=(host, ByteStreamId(u64::MAX))).count()
    }

    /// Does what a machine wants done with its streams.
    pub(crate) fn drain_streams(&mut self, index: u32, guest: &mut dyn Guest) {
        while let Some(action) = guest.poll_stream() {
            match action {
                ByteStreamAction::Connect { stream, remote } => self.connect_tcp(index, stream, remote),
                ByteStreamAction::Send { stream } => {
                    if let Some(&(connection, end)) = self.tcp.by_stream.get(&(index, stream)) {
                        self.tcp.connections[connection].ends[end].sends = true;
                        self.pump_tcp(connection, end, guest);
                    }
                }
                ByteStreamAction::Close { stream } => {
                    if let Some((connection, end)) = self.tcp.by_stream.remove(&(index, stream)) {
                        self.tcp.connections[connection].ends[end].stream = None;
                        self.send_segment(connection, end, Segment::Reset);
                    }
                }
            }
        }
    }

    fn connect_tcp(&mut self, index: u32, stream: ByteStreamId, remote: SocketAddr) {
        let host = &self.hosts[index as usize];
        let number = self.tcp.connections.len();
        // As the server sees it: the outermost NAT's address.
        let mut ip = host.addrs[0];
        let mut nat = host.behind.filter(|_| ip.is_ipv4());
        while let Some(id) = nat {
            let nat_ref = &self.nats[id.0 as usize];
            ip = nat_ref.public_ip();
            nat = nat_ref.config.behind;
        }
        let from = SocketAddr::new(ip, FIRST_PORT + (number % 20_000) as u16);
        let server = match self.owners.get(&(realm_of(None, remote.ip()), remote.ip())) {
            Some(Owner::Host(server)) => *server,
            _ => index,
        };
        debug_assert_eq!(realm_of(None, remote.ip()), PUBLIC);
        let end = |host, stream| End { host, stream, ..End::default() };
        let ends = [end(index, Some(stream)), end(server, None)];
        self.tcp.connections.push(Connection { ends, from, to: remote, lost: false });
        self.tcp.by_stream.insert((index, stream), (number, 0));
        self.send_segment(number, 0, Segment::Syn);
    }

    /// Sends a segment from one end to the other.
    fn send_segment(&mut self, connection: usize, from: usize, segment: Segment) {
        let now = self.clock.now();
        let ends = &self.tcp.connections[connection].ends;
        let line = |host: u32| &self.hosts[self.hosts[host as usize].line as usize];
        let (here, there) = (line(ends[from].host), line(ends[1 - from].host));
        let delay = here.up.latency() + self.core_latency + there.down.latency();
        let end = &mut self.tcp.connections[connection].ends[from];
        end.last_exit = end.last_exit.max(now + delay);
        let at = end.last_exit;
        self.tcp.push(at, UnderWay { connection, to: 1 - from, segment });
    }

    /// Takes bytes from the machine at one end as long as the window has room.
    fn pump_tcp(&mut self, connection: usize, end: usize, guest: &mut dyn Guest) {
        let now = self.clock.instant();
        loop {
            let state = &mut self.tcp.connections[connection].ends[end];
            let Some(stream) = state.stream.filter(|_| state.sends && state.under_way < WINDOW) else {
                return;
            };
            let mut bytes = Vec::new();
            guest.poll_stream_bytes(now, stream, &mut bytes);
            if bytes.is_empty() {
                state.sends = false;
                return;
            }
            state.under_way += bytes.len();
            self.trace.record_stream(self.clock.now(), connection as u64, end as u8, &bytes);
            self.send_segment(connection, end, Segment::Bytes(bytes));
        }
    }

    /// Delivers the next segment.
    pub(crate) fn deliver_segment(&mut self) {
        let Some((_, UnderWay { connection, to, segment })) = self.tcp.under_way.pop_first() else { return };
        let state = &self.tcp.connections[connection];
        if state.lost {
            return;
        }
        let (here, there) = (state.ends[to].host, state.ends[1 - to].host);
        if self.hosts[here as usize].cut || self.hosts[there as usize].cut {
            let at = self.clock.now() + RETRY;
            return self.tcp.push(at, UnderWay { connection, to, segment });
        }
        let now = self.clock.instant();
        let stream = state.ends[to].stream;
        let Some(mut guest) = self.hosts[here as usize].guest.take() else {
            return self.send_segment(connection, to, Segment::Reset);
        };
        match (segment, stream) {
            (Segment::Syn, _) => {
                let (from, at) = (state.from, state.to);
                let accepted = self
                    .tcp
                    .listening
                    .contains(&(here, at.port()))
                    .then(|| guest.handle_stream_accepted(now, from))
                    .flatten();
                match accepted {
                    Some(stream) => {
                        self.tcp.connections[connection].ends[to].stream = Some(stream);
                        self.tcp.by_stream.insert((here, stream), (connection, to));
                        self.send_segment(connection, to, Segment::SynAck);
                    }
                    None => self.send_segment(connection, to, Segment::Reset),
                }
            }
            (Segment::SynAck, Some(stream)) => guest.handle_stream_opened(now, stream),
            (Segment::Bytes(bytes), Some(stream)) => {
                guest.handle_stream_bytes(now, stream, &bytes);
                self.send_segment(connection, to, Segment::Ack(bytes.len()));
            }
            (Segment::Ack(len), Some(_)) => {
                let end = &mut self.tcp.connections[connection].ends[to];
                end.under_way = end.under_way.saturating_sub(len);
                self.pump_tcp(connection, to, guest.as_mut());
            }
            (Segment::Reset, Some(stream)) => {
                self.tcp.connections[connection].ends[to].stream = None;
                self.tcp.by_stream.remove(&(here, stream));
                guest.handle_stream_closed(now, stream);
            }
            (Segment::Bytes(_), None) => self.send_segment(connection, to, Segment::Reset),
            (Segment::SynAck | Segment::Ack(_) | Segment::Reset, None) => {}
        }
        self.hosts[here as usize].guest = Some(guest);
        self.settle(here, false);
    }

    /// A host's machine is another one than before, or gone: the other ends learn it.
    pub(crate) fn reset_tcp(&mut self, host: u32) {
        for (connection, end) in self.forget_tcp(host) {
            self.send_segment(connection, end, Segment::Reset);
        }
    }

    /// A host has lost its address: nobody learns of it.
    pub(crate) fn lose_tcp(&mut self, host: u32) {
        for connection in &mut self.tcp.connections {
            connection.lost |= connection.ends.iter().any(|end| end.host == host);
        }
    }

    fn forget_tcp(&mut self, host: u32) -> Vec<(usize, usize)> {
        let range = (host, ByteStreamId(0))..=(host, ByteStreamId(u64::MAX));
        let gone: Vec<_> = self.tcp.by_stream.range(range).map(|(&key, &at)| (key, at)).collect();
        for (key, (connection, end)) in &gone {
            self.tcp.by_stream.remove(key);
            self.tcp.connections[*connection].ends[*end].stream = None;
        }
        gone.into_iter().map(|(_, at)| at).collect()
    }
}
