//! Who was asked for a piece.

use super::Ms;
use crate::swarm::PeerId;

/// A request that has not been answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ask {
    pub(super) peer: PeerId,
    /// When it is given up.
    pub(super) until: Ms,
    /// When a second one may be asked as well, in need.
    pub(super) hedge_at: Ms,
}

/// The requests for one piece: one, and in need a second one to somebody else while the first is not answered. A lost packet or
/// a full uplink makes one source slow, seldom two.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Asks {
    first: Option<Ask>,
    second: Option<Ask>,
}

impl Asks {
    pub(super) fn is_none(&self) -> bool {
        self.first.is_none()
    }

    /// Takes note of a request.
    pub(super) fn push(&mut self, ask: Ask) {
        if self.first.is_none() {
            self.first = Some(ask);
        } else {
            self.second = Some(ask);
        }
    }

    /// Takes note of an answer of `peer`. Returns whether it owed one.
    pub(super) fn answered(&mut self, peer: PeerId) -> bool {
        let owed = |ask: &Ask| ask.peer == peer;
        if self.second.take_if(|ask| owed(ask)).is_some() {
            return true;
        }
        let answered = self.first.take_if(|ask| owed(ask)).is_some();
        if answered {
            self.first = self.second.take();
        }
        answered
    }

    /// Gives up the oldest request whose time is over.
    pub(super) fn timed_out(&mut self, now: Ms) -> Option<PeerId> {
        let peer = [self.first, self.second].into_iter().flatten().find(|ask| ask.until <= now)?.peer;
        self.answered(peer).then_some(peer)
    }

    /// Whether a second one may be asked.
    pub(super) fn may_hedge(&self, now: Ms) -> bool {
        self.second.is_none() && self.first.is_some_and(|ask| ask.hedge_at <= now)
    }

    pub(super) fn was_asked(&self, peer: PeerId) -> bool {
        self.peers().any(|p| p == peer)
    }

    /// All that have not answered.
    pub(super) fn peers(&self) -> impl Iterator<Item = PeerId> + use<> {
        [self.first, self.second].into_iter().flatten().map(|ask| ask.peer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: PeerId = PeerId(1);
    const B: PeerId = PeerId(2);

    fn ask(peer: PeerId, until: Ms, hedge_at: Ms) -> Ask {
        Ask { peer, until, hedge_at }
    }

    #[test]
    fn the_second_one_takes_the_place_of_the_first() {
        let mut asks = Asks::default();
        assert!(!asks.may_hedge(1_000), "nobody was asked");
        asks.push(ask(A, 500, 200));
        assert!(!asks.may_hedge(199) && asks.may_hedge(200));
        asks.push(ask(B, 700, 400));
        assert!(!asks.may_hedge(450), "two are enough");
        assert_eq!(asks.timed_out(499), None);
        assert_eq!(asks.timed_out(500), Some(A));
        assert!(asks.may_hedge(500) && asks.was_asked(B) && !asks.was_asked(A));
        assert!(!asks.answered(A));
        assert!(asks.answered(B) && asks.is_none());
    }

    #[test]
    fn an_answer_of_either_leaves_the_other() {
        for (one, other) in [(A, B), (B, A)] {
            let mut asks = Asks::default();
            asks.push(ask(A, 500, 200));
            asks.push(ask(B, 700, 400));
            assert!(asks.answered(one));
            assert_eq!(asks.peers().collect::<Vec<_>>(), [other]);
        }
    }
}
