//! What happened: the hash of all traffic, counters, and the latest records for the eye.

use std::collections::VecDeque;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::queue::Packet;
use super::time::Nanos;

/// Why a datagram did not arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum DropReason {
    /// Random or burst loss of a link.
    Loss,
    /// The queue of a link was full.
    Queue,
    /// The IP packet was larger than the MTU of a link.
    Mtu,
    /// The link of the sender or the receiver is cut.
    Cut,
    /// A firewall forbids it.
    Firewall,
    /// The NAT has no mapping for the port it was sent to.
    NatUnmapped,
    /// The NAT has a mapping, but does not let this sender in.
    NatFiltered,
    /// The NAT has no free port or no room for a further session.
    NatExhausted,
    /// Sent to the own public address of a NAT that does not hairpin.
    Hairpin,
    /// Nobody has the destination address.
    NoRoute,
    /// The host has no such address (any more).
    NoAddress,
    /// The host has no socket on the port.
    NoSocket,
    /// The receiving host was removed while the datagram was on its way.
    Gone,
    /// A tap took it.
    Tap,
}

impl DropReason {
    /// Number of reasons.
    pub const COUNT: usize = 14;
}

/// What became of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// A machine (or the tester) sent it.
    Sent,
    /// A machine received it.
    Delivered,
    /// It is gone.
    Dropped(DropReason),
}

impl Verdict {
    fn code(self) -> u8 {
        match self {
            Self::Sent => 0,
            Self::Delivered => 1,
            Self::Dropped(reason) => 2 + reason as u8,
        }
    }
}

/// One line of the trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceRecord {
    /// Simulated time since the start.
    pub at: Duration,
    /// Number of the datagram; a duplicate has the number of the first.
    pub id: u64,
    /// Source as seen at this place.
    pub src: SocketAddr,
    /// Destination as seen at this place.
    pub dst: SocketAddr,
    /// Bytes of UDP payload.
    pub len: usize,
    /// What happened.
    pub verdict: Verdict,
}

impl fmt::Display for TraceRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, id, src, dst, len, verdict } = self;
        write!(f, "{:12.6} #{id} {src} -> {dst} {len} B {verdict:?}", at.as_secs_f64())
    }
}

/// Packets and bytes of UDP payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Count {
    /// Datagrams.
    pub packets: u64,
    /// Bytes of UDP payload.
    pub bytes: u64,
}

impl Count {
    pub(crate) fn add(&mut self, len: usize) {
        self.packets += 1;
        self.bytes += len as u64;
    }
}

/// Counters of one host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// All that its machine sent.
    pub sent: Count,
    /// All that its machine received, injected packets and duplicates included.
    pub received: Count,
    lost: [u64; DropReason::COUNT],
    refused: [u64; DropReason::COUNT],
}

impl Traffic {
    /// Packets of this host that were dropped for this reason, wherever that was.
    #[must_use]
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.lost[reason as usize]
    }

    /// Packets of this host that were dropped anywhere.
    #[must_use]
    pub fn dropped_total(&self) -> u64 {
        self.lost.iter().sum()
    }

    /// Packets that were on their way to this host and dropped by its down link, firewall or sockets.
    #[must_use]
    pub fn refused(&self, reason: DropReason) -> u64 {
        self.refused[reason as usize]
    }

    pub(crate) fn count_dropped(&mut self, reason: DropReason) {
        self.lost[reason as usize] += 1;
    }

    pub(crate) fn count_refused(&mut self, reason: DropReason) {
        self.refused[reason as usize] += 1;
    }
}

/// Records are hashed in pieces of this size, which is where blake3 is fast.
const HASH_BATCH: usize = 64 * 1024;

/// Number of latest records that are kept for [`Sim::trace_tail`](super::Sim::trace_tail).
const TAIL: usize = 512;

/// The running hash and the latest records.
#[derive(Debug)]
pub(crate) struct Trace {
    hasher: blake3::Hasher,
    pending: Vec<u8>,
    tail: VecDeque<TraceRecord>,
    pub(crate) off: bool,
}

impl Trace {
    pub(crate) fn new() -> Self {
        Self {
            hasher: blake3::Hasher::new(),
            pending: Vec::with_capacity(HASH_BATCH + 4096),
            tail: VecDeque::with_capacity(TAIL),
            off: false,
        }
    }

    /// Notes a packet. Every field has a fixed width or a length before it, so that different histories never
    /// give the same bytes.
    pub(crate) fn record(&mut self, at: Nanos, packet: &Packet, verdict: Verdict) {
        if self.off {
            return;
        }
        let out = &mut self.pending;
        out.extend_from_slice(&at.to_le_bytes());
        out.extend_from_slice(&packet.id.to_le_bytes());
        out.push(verdict.code());
        out.push(packet.ecn.map_or(0, |ecn| ecn as u8));
        put_addr(out, packet.src);
        put_addr(out, packet.dst);
        out.extend_from_slice(&(packet.payload.len() as u32).to_le_bytes());
        out.extend_from_slice(&packet.payload);
        if out.len() >= HASH_BATCH {
            self.hasher.update(out);
            out.clear();
        }
        if self.tail.len() == TAIL {
            self.tail.pop_front();
        }
        self.tail.push_back(TraceRecord {
            at: Duration::from_nanos(at),
            id: packet.id,
            src: packet.src,
            dst: packet.dst,
            len: packet.payload.len(),
            verdict,
        });
    }

    /// Notes bytes of a TCP connection.
    pub(crate) fn record_stream(&mut self, at: Nanos, connection: u64, end: u8, bytes: &[u8]) {
        if self.off {
            return;
        }
        let out = &mut self.pending;
        out.extend_from_slice(&at.to_le_bytes());
        out.extend_from_slice(&connection.to_le_bytes());
        // No verdict of a packet has such a code.
        out.extend_from_slice(&[u8::MAX, end]);
        out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        out.extend_from_slice(bytes);
    }

    pub(crate) fn hash(&self) -> String {
        let mut hasher = self.hasher.clone();
        hasher.update(&self.pending);
        hasher.finalize().to_hex().to_string()
    }

    pub(crate) fn tail(&self) -> impl Iterator<Item = &TraceRecord> {
        self.tail.iter()
    }
}

fn put_addr(out: &mut Vec<u8>, addr: SocketAddr) {
    match addr.ip() {
        IpAddr::V4(ip) => {
            out.push(4);
            out.extend_from_slice(&ip.octets());
        }
        IpAddr::V6(ip) => {
            out.push(6);
            out.extend_from_slice(&ip.octets());
        }
    }
    out.extend_from_slice(&addr.port().to_le_bytes());
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;
    use crate::sim::queue::{NOBODY, Stage};

    #[test]
    fn every_part_of_a_record_changes_the_hash() {
        let base = Packet {
            id: 1,
            src: "10.0.0.1:1".parse().unwrap(),
            dst: "10.0.0.2:2".parse().unwrap(),
            payload: BytesMut::from(&b"hello"[..]),
            ecn: None,
            from: NOBODY,
            to: NOBODY,
            realm: 0,
            stage: Stage::Edge,
            lan: false,
        };
        let hash = |at, packet: &Packet, verdict| {
            let mut trace = Trace::new();
            trace.record(at, packet, verdict);
            trace.hash()
        };
        let mut seen = vec![
            hash(0, &base, Verdict::Sent),
            hash(1, &base, Verdict::Sent),
            hash(0, &base, Verdict::Delivered),
            hash(0, &base, Verdict::Dropped(DropReason::Loss)),
            hash(0, &base, Verdict::Dropped(DropReason::Tap)),
            hash(0, &Packet { id: 2, ..base.clone() }, Verdict::Sent),
            hash(0, &Packet { src: "10.0.0.1:3".parse().unwrap(), ..base.clone() }, Verdict::Sent),
            hash(0, &Packet { dst: "10.0.0.3:2".parse().unwrap(), ..base.clone() }, Verdict::Sent),
            hash(0, &Packet { payload: BytesMut::from(&b"hellp"[..]), ..base.clone() }, Verdict::Sent),
        ];
        let all = seen.len();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), all);
        assert_eq!(DropReason::Tap as usize + 1, DropReason::COUNT);
    }
}
