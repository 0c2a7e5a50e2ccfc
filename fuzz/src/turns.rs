//! What holds for every machine, whatever it is told.
//!
//! * It does not panic, and it is quiet after a bounded number of turns: no timer is due for ever, no two answers without end.
//! * It ends when it is asked to.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use xp2p_proto::machine::{Datagram, Machine};

/// Datagrams, events and timers in one instant. A camera with all its sessions sends some hundred.
const MAX_IN_AN_INSTANT: u32 = 20_000;
/// Timers that may be handled in a second of a machine that talks to nobody.
const MAX_TIMERS_PER_SECOND: u32 = 5_000;

/// A machine alone in the world.
pub struct Alone<M> {
    /// The machine.
    pub machine: M,
    /// Now.
    pub now: Instant,
    /// What it has sent last, at most [`KEPT`](Self::KEPT).
    pub sent: Vec<(SocketAddr, Vec<u8>)>,
    /// Bytes that it has sent in all.
    pub sent_bytes: u64,
    buffer: Vec<u8>,
}

impl<M: Machine> Alone<M> {
    /// Datagrams that are kept.
    pub const KEPT: usize = 32;

    /// At the beginning.
    pub fn new(machine: M, now: Instant) -> Self {
        Self { machine, now, sent: Vec::new(), sent_bytes: 0, buffer: Vec::new() }
    }

    /// Gives it a datagram.
    pub fn receive(&mut self, local: SocketAddr, remote: SocketAddr, payload: &[u8]) {
        let payload = BytesMut::from(payload);
        self.machine.handle_datagram(self.now, Datagram { local, remote, ecn: None, payload });
        self.settle();
    }

    /// Takes out all that it has to say, handling the timers of this instant.
    ///
    /// # Panics
    ///
    /// If that has no end.
    pub fn settle(&mut self) {
        for _ in 0..MAX_IN_AN_INSTANT {
            self.buffer.clear();
            if let Some(transmit) = self.machine.poll_transmit(self.now, &mut self.buffer) {
                assert_eq!(transmit.size, self.buffer.len(), "a transmit of another size than its bytes");
                assert!(transmit.size > 0, "an empty datagram");
                let segment = transmit.segment_size.unwrap_or(transmit.size);
                assert!(segment > 0 && segment <= 65_507);
                self.sent_bytes += transmit.size as u64;
                for part in self.buffer.chunks(segment) {
                    if self.sent.len() == Self::KEPT {
                        self.sent.remove(0);
                    }
                    self.sent.push((transmit.remote, part.to_vec()));
                }
                continue;
            }
            if self.machine.poll_event().is_some() {
                continue;
            }
            match self.machine.poll_timeout() {
                Some(due) if due <= self.now => self.machine.handle_timeout(self.now),
                _ => return,
            }
        }
        panic!("not quiet after {MAX_IN_AN_INSTANT} turns in one instant");
    }

    /// Lets time pass.
    ///
    /// # Panics
    ///
    /// If it wakes up too often.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        let most =
            MAX_TIMERS_PER_SECOND.saturating_mul(u32::try_from(time.as_secs() + 1).unwrap_or(u32::MAX));
        for _ in 0..most {
            match self.machine.poll_timeout().filter(|due| *due <= end) {
                Some(due) => {
                    self.now = self.now.max(due);
                    self.machine.handle_timeout(self.now);
                    self.settle();
                }
                None => {
                    self.now = end;
                    return;
                }
            }
        }
        panic!("more than {most} timers in {time:?}");
    }
}
