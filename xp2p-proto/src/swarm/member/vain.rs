//! Who has asked for what was not here.

use super::Ms;
use crate::swarm::{PeerId, PieceNo};

/// Most requests that are remembered.
const MOST: usize = 64;
/// For how long, in ms.
const PATIENCE_MS: i64 = 1_500;

/// The last requests that were answered with "not here".
#[derive(Debug, Default)]
pub(super) struct AskedInVain {
    list: Vec<(Ms, PeerId, PieceNo)>,
}

impl AskedInVain {
    /// `peer` has asked for `no`.
    pub(super) fn add(&mut self, now: Ms, peer: PeerId, no: PieceNo) {
        self.list.retain(|(at, p, n)| now - at < PATIENCE_MS && (*p, *n) != (peer, no));
        if self.list.len() < MOST {
            self.list.push((now, peer, no));
        }
    }

    /// Those who have asked for `no` and may still want it.
    pub(super) fn take(&mut self, now: Ms, no: PieceNo) -> Vec<PeerId> {
        let wanted = |(at, _, n): &(Ms, PeerId, PieceNo)| *n == no && now - at < PATIENCE_MS;
        self.list.extract_if(.., |entry| wanted(entry)).map(|(_, peer, _)| peer).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_told_once_and_not_too_late() {
        let mut asked = AskedInVain::default();
        asked.add(0, PeerId(1), 7);
        asked.add(1_000, PeerId(2), 7);
        asked.add(1_000, PeerId(2), 7);
        asked.add(1_000, PeerId(3), 8);
        assert_eq!(
            asked.take(1_600, 7),
            [PeerId(2)],
            "the first one has given up, and the second one asked twice"
        );
        assert_eq!(asked.take(1_600, 7), []);
        assert_eq!(asked.take(1_600, 8), [PeerId(3)]);
    }

    #[test]
    fn no_more_than_so_many_are_remembered() {
        let mut asked = AskedInVain::default();
        for n in 0..1_000 {
            asked.add(0, PeerId(n), 1);
        }
        assert_eq!(asked.take(0, 1).len(), MOST);
    }
}
