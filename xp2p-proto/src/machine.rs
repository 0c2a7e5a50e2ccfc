//! The contract that every role machine keeps.
//!
//! A machine is a plain value. Packets and timers go in, packets, events and the time of the next wake-up come
//! out. Nothing here blocks, sleeps, reads a clock or touches a socket, so the same machine runs under an async
//! driver, under a hand-written loop and under the deterministic simulator.
//!
//! The order of a turn: feed every input that is ready, then drain [`poll_transmit`](Machine::poll_transmit) and
//! [`poll_event`](Machine::poll_event) until both are empty, then sleep until
//! [`poll_timeout`](Machine::poll_timeout) or the next packet.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::BytesMut;

/// Explicit congestion notification bits of a datagram (RFC 3168).
pub use noq_proto::EcnCodepoint as Ecn;

/// A received UDP datagram.
#[derive(Debug)]
pub struct Datagram {
    /// The local address that it was sent to. The IP may be unspecified if the driver does not know it; the port
    /// always tells which of the machine's sockets received it.
    pub local: SocketAddr,
    /// Where it came from.
    pub remote: SocketAddr,
    /// ECN bits of the IP header, if the platform reports them.
    pub ecn: Option<Ecn>,
    /// One datagram (a driver splits GRO batches by their stride).
    pub payload: BytesMut,
}

/// Datagrams to send, written to the buffer that was passed to [`Machine::poll_transmit`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a datagram that is not sent is lost"]
pub struct Transmit {
    /// Source address to use. `None`: the machine's main socket, and the system's choice of IP. The port selects
    /// the socket if a machine has several; an unspecified IP leaves the choice of the IP to the system.
    pub local: Option<SocketAddr>,
    /// Destination.
    pub remote: SocketAddr,
    /// ECN bits to set.
    pub ecn: Option<Ecn>,
    /// Bytes appended to the buffer.
    pub size: usize,
    /// `Some(n)`: the bytes are several datagrams of `n` bytes each, the last may be shorter (GSO).
    pub segment_size: Option<usize>,
}

/// Names a byte stream of a machine: a TCP connection that carries its datagrams where UDP does not get through. Never used
/// again after its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteStreamId(pub u64);

/// What a machine wants done with its byte streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a stream that nobody serves is stuck"]
pub enum ByteStreamAction {
    /// Open a TCP connection. [`Machine::handle_stream_opened`] or [`Machine::handle_stream_closed`] tells what came of it.
    Connect {
        /// Its name.
        stream: ByteStreamId,
        /// Where to.
        remote: SocketAddr,
    },
    /// There are bytes to send: call [`Machine::poll_stream_bytes`] whenever the transport takes some, until it gives none.
    Send {
        /// Its name.
        stream: ByteStreamId,
    },
    /// Close it, without waiting for what is under way. The machine has forgotten it.
    Close {
        /// Its name.
        stream: ByteStreamId,
    },
}

/// A sans-IO state machine: packets and timers in, packets and events out.
///
/// Byte streams are for machines that use or serve them; for all others the methods are there and do nothing.
pub trait Machine {
    /// News for the application.
    type Event;

    /// Takes in one datagram.
    fn handle_datagram(&mut self, now: Instant, datagram: Datagram);

    /// Takes in datagrams that came together. The same as [`handle_datagram`](Self::handle_datagram) for each in turn, but
    /// what they brought may be looked at once for all of them.
    fn handle_datagrams(&mut self, now: Instant, datagrams: &mut dyn Iterator<Item = Datagram>) {
        for datagram in datagrams {
            self.handle_datagram(now, datagram);
        }
    }

    /// Tells the machine that the time [`poll_timeout`](Self::poll_timeout) asked for has come. Calling it early
    /// or more often than needed is harmless.
    fn handle_timeout(&mut self, now: Instant);

    /// Appends the next datagram, or a batch of equally sized ones, to `buf` (which the caller has emptied).
    /// `None`: nothing more to send now.
    fn poll_transmit(&mut self, now: Instant, buf: &mut Vec<u8>) -> Option<Transmit>;

    /// The next event, oldest first.
    fn poll_event(&mut self) -> Option<Self::Event>;

    /// When to call [`handle_timeout`](Self::handle_timeout). After inputs and a full drain this is `None` or
    /// later than the `now` of the last call.
    fn poll_timeout(&self) -> Option<Instant>;

    /// Tells the unix time (UTC) at `now`. Needed for capabilities that expire, which are refused without it.
    fn set_wall_clock(&mut self, now: Instant, unix: Duration);

    /// Somebody at `remote` has opened a TCP connection to us. `None`: close it, there are too many.
    fn handle_stream_accepted(&mut self, _now: Instant, _remote: SocketAddr) -> Option<ByteStreamId> {
        None
    }

    /// A connection that was asked for with [`ByteStreamAction::Connect`] is there.
    fn handle_stream_opened(&mut self, _now: Instant, _stream: ByteStreamId) {}

    /// Takes in bytes of a stream, in order. Streams that the machine has closed are ignored.
    fn handle_stream_bytes(&mut self, _now: Instant, _stream: ByteStreamId, _bytes: &[u8]) {}

    /// A stream has ended, was reset, or could not be opened.
    fn handle_stream_closed(&mut self, _now: Instant, _stream: ByteStreamId) {}

    /// The next thing to do with a byte stream. Drained together with [`poll_transmit`](Self::poll_transmit).
    fn poll_stream(&mut self) -> Option<ByteStreamAction> {
        None
    }

    /// Appends the next bytes of a stream to `buf`, some 16 KiB at most. Call it when the transport takes bytes: what waits
    /// in the machine is bounded and loses its oldest datagrams, what waits below it is late. Nothing appended: nothing to
    /// send until the next [`ByteStreamAction::Send`].
    fn poll_stream_bytes(&mut self, _now: Instant, _stream: ByteStreamId, _buf: &mut Vec<u8>) {}

    /// Tells that local addresses changed, or replaces them. `addrs` are the host's own addresses with the port
    /// of the machine's socket; they become candidates for direct paths.
    fn set_local_addresses(&mut self, now: Instant, addrs: &[SocketAddr]);
}
