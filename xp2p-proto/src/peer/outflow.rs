//! When a piece that was handed to QUIC has left.
//!
//! QUIC tells when a piece is acknowledged. That is a round trip after it left, in which the uplink would idle if the scheduler
//! waited for it. So pieces count as gone one after the other at the rate of the uplink, as long as not too much of what should
//! be gone is unacknowledged: then the uplink is slower than believed, and acknowledgements set the pace.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use crate::swarm::constants::MIN_IN_FLIGHT;
use crate::swarm::{PeerId, PieceNo};

/// What the uplink carries in this time may be unacknowledged: a long round trip, and the delay of an acknowledgement.
const AHEAD: Duration = Duration::from_millis(300);

/// What a piece takes of the uplink besides its content: the heads of its packets, and acknowledgements and messages that go out
/// at the same time. Too little, and a queue stands at the bottleneck.
const OVERHEAD: f64 = 1.12;

/// Pieces that QUIC has.
#[derive(Debug)]
pub(super) struct Outflow {
    /// Bytes per second.
    rate: u64,
    /// When everything so far has left.
    free_at: Option<Instant>,
    /// Pieces that leave, when they will have left, and their lengths.
    leaving: VecDeque<(Instant, PeerId, PieceNo, usize)>,
    /// Pieces that should have left and are not acknowledged.
    gone: BTreeMap<(PeerId, PieceNo), usize>,
    gone_bytes: usize,
}

impl Outflow {
    /// For an uplink of `rate` bit/s.
    pub(super) fn new(rate: u64) -> Self {
        Self {
            rate: (rate / 8).max(1),
            free_at: None,
            leaving: VecDeque::new(),
            gone: BTreeMap::new(),
            gone_bytes: 0,
        }
    }

    /// A piece is handed over.
    pub(super) fn sent(&mut self, now: Instant, to: PeerId, no: PieceNo, len: usize) {
        let takes = Duration::from_secs_f64(OVERHEAD * len as f64 / self.rate as f64);
        let left = self.free_at.map_or(now, |at| at.max(now)) + takes;
        self.free_at = Some(left);
        self.leaving.push_back((left, to, no, len));
    }

    /// A piece is acknowledged or was given up. Returns whether it had not left before.
    pub(super) fn done(&mut self, to: PeerId, no: PieceNo) -> bool {
        if let Some(len) = self.gone.remove(&(to, no)) {
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
        let bytes = &mut self.gone_bytes;
        self.gone.retain(|(to, _), len| {
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
        (self.gone_bytes == 0 || self.gone_bytes + len <= most.max(MIN_IN_FLIGHT)).then_some(*at)
    }

    /// The next piece that has left.
    pub(super) fn left(&mut self, now: Instant) -> Option<(PeerId, PieceNo)> {
        self.next().filter(|at| *at <= now)?;
        let (_, to, no, len) = self.leaving.pop_front()?;
        // The scheduler does not hand the same piece over twice at a time.
        self.gone_bytes += len;
        if let Some(old) = self.gone.insert((to, no), len) {
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
        let (mut out, t) = (Outflow::new(896_000), start());
        let ms = Duration::from_millis;
        out.sent(t, A, 1, 1000);
        out.sent(t, B, 1, 1000);
        assert_eq!(out.left(t + ms(9)), None);
        assert_eq!(out.next(), Some(t + ms(10)));
        assert_eq!(out.left(t + ms(10)), Some((A, 1)));
        assert_eq!(out.left(t + ms(10)), None);
        assert_eq!(out.left(t + ms(20)), Some((B, 1)));
        assert!(!out.done(A, 1), "the scheduler has heard of it");
        out.sent(t + ms(50), A, 2, 1000);
        assert!(out.done(A, 2), "acknowledged before its time");
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
        assert!(!out.done(A, 0));
        assert_eq!(out.left(later), Some((A, 3)));
        out.sent(later, B, 9, 8_000);
        out.forget(A);
        assert_eq!(std::iter::from_fn(|| out.left(later + AHEAD)).count(), 1);
        assert!(!out.done(A, 4));
    }
}
