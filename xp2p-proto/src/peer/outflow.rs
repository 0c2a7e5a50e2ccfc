//! When a piece that was handed to QUIC has left.
//!
//! QUIC tells when a piece is acknowledged. That is a round trip after it left, in which the uplink would idle if the scheduler
//! waited for it. So pieces count as gone one after the other at the rate of the uplink, as long as not too much of what should
//! be gone is unacknowledged: then the uplink is slower than believed, and acknowledgements set the pace.
//!
//! A neighbour that has vanished, or whose own network is full, acknowledges nothing either, and must not hold up all others. What
//! left well before something that has arrived elsewhere is not in our uplink any more, so it does not count; RACK (RFC 8985) finds lost
//! packets by the same rule.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use crate::swarm::constants::MAX_PIECE;
use crate::swarm::{PeerId, PieceNo};

/// What the uplink carries in this time may be unacknowledged: a long round trip, and the delay of an acknowledgement.
const AHEAD: Duration = Duration::from_millis(300);

/// Or so many bytes.
const AHEAD_BYTES: usize = 3 * MAX_PIECE;

/// How much later something else must have left that has arrived. Round trips differ by so much.
const OVERTAKEN: Duration = Duration::from_millis(200);

/// What a piece takes of the uplink besides its content, as the heads of its packets. Too little, and a queue stands at the bottleneck.
const OVERHEAD: f64 = 1.07;

/// Pieces that QUIC has.
#[derive(Debug)]
pub(super) struct Outflow {
    /// Bytes per second.
    rate: u64,
    /// When everything so far has left.
    free_at: Option<Instant>,
    /// Pieces that leave, when they will have left, and their lengths.
    leaving: VecDeque<(Instant, PeerId, PieceNo, usize)>,
    /// Pieces that should have left and are not acknowledged: when they left, and their lengths.
    gone: BTreeMap<(PeerId, PieceNo), (Instant, usize)>,
    /// Those of them that may still be in the uplink, in the order in which they left, and some that are acknowledged.
    order: VecDeque<(Instant, PeerId, PieceNo)>,
    /// Bytes of those.
    gone_bytes: usize,
    /// When that left which left last of all that has arrived.
    arrived: Option<Instant>,
}

impl Outflow {
    /// For an uplink of `rate` bit/s.
    pub(super) fn new(rate: u64) -> Self {
        Self {
            rate: (rate / 8).max(1),
            free_at: None,
            leaving: VecDeque::new(),
            gone: BTreeMap::new(),
            order: VecDeque::new(),
            gone_bytes: 0,
            arrived: None,
        }
    }

    /// What the uplink has for pieces has changed, in bit/s.
    pub(super) fn set_rate(&mut self, rate: u64) {
        self.rate = (rate / 8).max(1);
    }

    /// A piece is handed over.
    pub(super) fn sent(&mut self, now: Instant, to: PeerId, no: PieceNo, len: usize) {
        let takes = Duration::from_secs_f64(OVERHEAD * len as f64 / self.rate as f64);
        let left = self.free_at.map_or(now, |at| at.max(now)) + takes;
        self.free_at = Some(left);
        self.leaving.push_back((left, to, no, len));
    }

    /// A piece has arrived. Returns whether it had not left before.
    pub(super) fn acknowledged(&mut self, to: PeerId, no: PieceNo) -> bool {
        if let Some((left, _)) = self.gone.get(&(to, no)) {
            self.arrived = self.arrived.max(Some(*left));
        }
        let early = self.cancelled(to, no);
        let overtaken = self.arrived.and_then(|at| at.checked_sub(OVERTAKEN));
        while let Some((left, to, no)) = self.order.front().copied()
            && overtaken.is_some_and(|at| left < at)
        {
            self.order.pop_front();
            if let Some((_, len)) = self.gone.remove(&(to, no)) {
                self.gone_bytes = self.gone_bytes.saturating_sub(len);
            }
        }
        early
    }

    /// A piece is not sent any more. Returns whether it had not left before.
    pub(super) fn cancelled(&mut self, to: PeerId, no: PieceNo) -> bool {
        if let Some((_, len)) = self.gone.remove(&(to, no)) {
            self.gone_bytes = self.gone_bytes.saturating_sub(len);
            return false;
        }
        let before = self.leaving.len();
        self.leaving.retain(|(_, t, n, _)| (*t, *n) != (to, no));
        before != self.leaving.len()
    }

    /// A neighbour is gone, with all that was for it.
    pub(super) fn forget(&mut self, peer: PeerId) {
        self.leaving.retain(|(_, to, ..)| *to != peer);
        self.order.retain(|(_, to, _)| *to != peer);
        let bytes = &mut self.gone_bytes;
        self.gone.retain(|(to, _), (_, len)| {
            if *to == peer {
                *bytes = bytes.saturating_sub(*len);
            }
            *to != peer
        });
    }

    /// When [`left`](Self::left) has something next, unless acknowledgements come first.
    pub(super) fn next(&self) -> Option<Instant> {
        let (at, _, _, len) = self.leaving.front()?;
        let most = (self.rate as f64 * AHEAD.as_secs_f64()) as usize;
        (self.gone_bytes == 0 || self.gone_bytes + len <= most.max(AHEAD_BYTES)).then_some(*at)
    }

    /// The next piece that has left.
    pub(super) fn left(&mut self, now: Instant) -> Option<(PeerId, PieceNo)> {
        self.next().filter(|at| *at <= now)?;
        let (_, to, no, len) = self.leaving.pop_front()?;
        // The scheduler does not hand the same piece over twice at a time.
        self.gone_bytes += len;
        self.order.push_back((now, to, no));
        if let Some((_, old)) = self.gone.insert((to, no), (now, len)) {
            self.gone_bytes = self.gone_bytes.saturating_sub(old);
        }
        Some((to, no))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: PeerId = PeerId(1);
    const B: PeerId = PeerId(2);

    fn start() -> Instant {
        #[expect(clippy::disallowed_methods, reason = "a test needs some first instant")]
        Instant::now()
    }

    #[test]
    fn pieces_leave_one_after_the_other_at_the_rate_of_the_uplink() {
        let (mut out, t) = (Outflow::new(856_000), start());
        let ms = Duration::from_millis;
        out.sent(t, A, 1, 1000);
        out.sent(t, B, 1, 1000);
        assert_eq!(out.left(t + ms(9)), None);
        assert_eq!(out.next(), Some(t + ms(10)));
        assert_eq!(out.left(t + ms(10)), Some((A, 1)));
        assert_eq!(out.left(t + ms(10)), None);
        assert_eq!(out.left(t + ms(20)), Some((B, 1)));
        assert!(!out.acknowledged(A, 1), "the scheduler has heard of it");
        out.sent(t + ms(50), A, 2, 1000);
        assert!(out.acknowledged(A, 2), "acknowledged before its time");
        assert_eq!(out.next(), None);
    }

    #[test]
    fn what_is_unacknowledged_holds_up_the_rest() {
        let (mut out, t) = (Outflow::new(800_000), start());
        // 300 ms of this uplink are 30,000 bytes.
        (0..5).for_each(|no| out.sent(t, A, no, 8_000));
        let later = t + Duration::from_secs(10);
        assert_eq!(std::iter::from_fn(|| out.left(later)).count(), 3);
        assert_eq!(out.next(), None);
        assert!(!out.acknowledged(A, 0));
        assert_eq!(out.left(later), Some((A, 3)));
        out.sent(later, B, 9, 8_000);
        out.forget(A);
        assert_eq!(std::iter::from_fn(|| out.left(later + AHEAD)).count(), 1);
        assert!(!out.cancelled(A, 4));
    }

    /// Found at 200 members over packets: one child in a few vanishes each minute, and for as long as nobody had noticed, whoever fed it
    /// thought its uplink full and let go of most of its children.
    #[test]
    fn one_who_acknowledges_nothing_holds_up_nobody_else() {
        let (mut out, t) = (Outflow::new(800_000), start());
        let ms = Duration::from_millis;
        // Dead: 30,000 bytes, which is all that may be unacknowledged.
        (0..3).for_each(|no| out.sent(t, A, no, 10_000));
        assert_eq!(std::iter::from_fn(|| out.left(t + ms(400))).count(), 3);
        out.sent(t + ms(400), B, 1, 1_000);
        assert_eq!(out.left(t + ms(700)), None, "it may be our uplink");
        assert!(!out.acknowledged(A, 0));
        assert_eq!(out.left(t + ms(700)), Some((B, 1)));
        out.sent(t + ms(700), B, 2, 10_000);
        assert_eq!(out.left(t + ms(900)), None);
        assert!(!out.acknowledged(B, 1));
        assert_eq!(out.left(t + ms(900)), Some((B, 2)), "what left later has arrived: it is not");
        assert_eq!(out.gone_bytes, 10_000);
    }
}
