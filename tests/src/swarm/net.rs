//! What is between the members: connections, uplinks, downlinks.

use std::collections::VecDeque;
use std::time::Duration;

use xp2p_proto::swarm::{PieceHead, PieceNo};

use super::model::{Model, millis, transmission};
use super::queue::{MS, Nanos};
use super::random::Random;
use super::stream::SimPayload;

/// A connection between two members, side 0 and side 1.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) ends: [u32; 2],
    pub(crate) rtt: Duration,
    /// Whether each side has it open.
    pub(crate) open: [bool; 2],
    /// When the last message from each side arrives at the other: they keep their order.
    pub(crate) last: [Nanos; 2],
    /// Substreams in which this side has asked the other to be its parent.
    pub(crate) asked: [u8; 2],
    /// Substreams in which this side is fed by the other.
    pub(crate) fed: [u8; 2],
}

/// A piece that waits in an uplink.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiting {
    pub(crate) to: u32,
    pub(crate) connection: u32,
    pub(crate) head: PieceHead,
    pub(crate) payload: SimPayload,
}

/// The uplink of a member: one queue at one rate, messages before pieces.
#[derive(Debug)]
pub(crate) struct Uplink {
    rate: u64,
    /// When all that cannot be held back any more has left.
    free_at: Nanos,
    /// The piece that is being sent.
    pub(crate) sending: Option<Waiting>,
    pub(crate) waiting: VecDeque<Waiting>,
    waiting_bytes: u64,
}

impl Uplink {
    pub(crate) const fn new(rate: u64) -> Self {
        Self { rate, free_at: 0, sending: None, waiting: VecDeque::new(), waiting_bytes: 0 }
    }

    /// When a message of `bytes` has left.
    pub(crate) fn message(&mut self, now: Nanos, bytes: u64) -> Nanos {
        self.free_at = self.free_at.max(now) + transmission(bytes, self.rate);
        self.free_at
    }

    /// Takes in a piece.
    pub(crate) fn push(&mut self, piece: Waiting) {
        self.waiting_bytes += u64::from(piece.payload.len);
        self.waiting.push_back(piece);
    }

    /// Starts the next piece if none is being sent, and tells when it has left.
    pub(crate) fn start(&mut self, now: Nanos, model: &Model) -> Option<Nanos> {
        if self.sending.is_some() {
            return None;
        }
        let piece = self.waiting.pop_front()?;
        self.waiting_bytes -= u64::from(piece.payload.len);
        self.sending = Some(piece);
        let bytes = model.on_wire(u64::from(piece.payload.len) + super::wire::head_len(&piece.head));
        self.free_at = self.free_at.max(now) + transmission(bytes, self.rate);
        Some(self.free_at)
    }

    /// Takes back a piece that has not begun to leave.
    pub(crate) fn cancel(&mut self, to: u32, no: PieceNo) -> Option<Waiting> {
        let place = self.waiting.iter().position(|w| w.to == to && w.head.no == no)?;
        let piece = self.waiting.remove(place)?;
        self.waiting_bytes -= u64::from(piece.payload.len);
        Some(piece)
    }

    /// How long what waits will take, in ms.
    pub(crate) fn backlog_ms(&self, now: Nanos) -> f64 {
        let waiting = transmission(self.waiting_bytes, self.rate);
        (self.free_at.saturating_sub(now) + waiting) as f64 / MS as f64
    }
}

/// How long `packets` take one way on a path of this round trip: jitter, and losses noticed and made good.
pub(crate) fn travel(model: &Model, one_way: Nanos, packets: u64, random: &mut Random) -> Nanos {
    let mut time = one_way + millis(random.exponential(model.jitter));
    let lost = 1.0 - (1.0 - model.loss).powi(packets as i32);
    while random.chance(lost) && time < 20 * one_way + 1000 * MS {
        time += 2 * one_way + model.retransmit * MS;
    }
    time
}

/// A downlink: what comes while it is busy waits.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Downlink {
    free_at: Nanos,
}

impl Downlink {
    /// When `bytes` are in that would be in at `now` if nothing else came.
    pub(crate) fn arrive(&mut self, now: Nanos, bytes: u64, rate: u64) -> Nanos {
        let takes = transmission(bytes, rate);
        let done = now.max(self.free_at + takes);
        self.free_at = done;
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::swarm::model::Scenario;
    use xp2p_proto::swarm::Path;

    #[test]
    fn messages_go_before_waiting_pieces_but_not_before_the_one_being_sent() {
        let model = Model::of(Scenario::Calm);
        let mut uplink = Uplink::new(8_000_000);
        let piece = |no| Waiting {
            to: 1,
            connection: 0,
            head: PieceHead { no, pushed: true, path: Path::EMPTY },
            payload: SimPayload { no: no as u32, len: 8000, genuine: true },
        };
        uplink.push(piece(1));
        uplink.push(piece(2));
        let first = uplink.start(0, &model).expect("it is idle");
        assert!(first > 8 * MS && first < 9 * MS, "{first}");
        assert_eq!(uplink.start(0, &model), None);
        let message = uplink.message(MS, 1000);
        assert_eq!(message, first + MS);
        uplink.sending = None;
        let second = uplink.start(first, &model).expect("it is idle");
        assert!(second > message + 8 * MS);
        assert!(uplink.cancel(1, 2).is_none(), "it is being sent");
        uplink.push(piece(3));
        assert!(uplink.cancel(1, 3).is_some());
    }

    #[test]
    fn a_downlink_takes_one_after_the_other() {
        let mut downlink = Downlink::default();
        assert_eq!(downlink.arrive(10 * MS, 1000, 8_000_000), 10 * MS);
        assert_eq!(downlink.arrive(10 * MS, 1000, 8_000_000), 11 * MS);
        assert_eq!(downlink.arrive(20 * MS, 1000, 8_000_000), 20 * MS);
    }
}
