//! Which pieces a member has, as a map of the newest ones.

use super::piece::PieceNo;

/// Bits of a map. At about 35 pieces a second they reach 3.7 s back, which must cover the target latency and a second
/// more.
pub const HAVE_BITS: u64 = 128;

/// The pieces that a member holds among the newest [`HAVE_BITS`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HaveMap {
    /// The number after the newest piece that the map speaks of. It speaks of none when this is 0.
    end: PieceNo,
    /// Bit 0 is piece `end - 1`, bit 1 the one before, and so on.
    bits: u128,
}

impl HaveMap {
    /// A map as it came from somewhere.
    pub const fn from_parts(end: PieceNo, bits: u128) -> Self {
        Self { end, bits }
    }

    /// The number after the newest piece that the map speaks of.
    pub const fn end(&self) -> PieceNo {
        self.end
    }

    /// The bits: bit 0 is piece `end - 1`.
    pub const fn bits(&self) -> u128 {
        self.bits
    }

    /// Whether it holds `no`. Pieces that the map does not speak of it does not hold.
    pub fn has(&self, no: PieceNo) -> bool {
        match self.end.checked_sub(1).and_then(|newest| newest.checked_sub(no)) {
            Some(age) if age < HAVE_BITS => self.bits >> age & 1 == 1,
            _ => false,
        }
    }

    /// Adds `no`. A piece older than the map reaches is not kept.
    pub fn insert(&mut self, no: PieceNo) {
        let Some(end) = no.checked_add(1) else { return };
        if end > self.end {
            let by = end - self.end;
            self.bits = if by >= HAVE_BITS { 0 } else { self.bits << by };
            self.end = end;
        }
        let age = self.end - end;
        if age < HAVE_BITS {
            self.bits |= 1 << age;
        }
    }

    /// Adds everything that `other` holds. The newer end counts.
    pub fn merge(&mut self, other: &Self) {
        let (mut newer, older) = if other.end >= self.end { (*other, *self) } else { (*self, *other) };
        let by = newer.end - older.end;
        if by < HAVE_BITS {
            newer.bits |= older.bits << by;
        }
        *self = newer;
    }

    /// The newest piece it holds.
    pub fn newest(&self) -> Option<PieceNo> {
        (self.bits != 0).then(|| self.end - 1 - PieceNo::from(self.bits.trailing_zeros()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_empty_map_holds_nothing() {
        let map = HaveMap::default();
        assert!(!map.has(0) && !map.has(u64::MAX));
        assert_eq!(map.newest(), None);
    }

    #[test]
    fn the_extremes_do_no_harm() {
        let mut map = HaveMap::default();
        map.insert(u64::MAX);
        assert_eq!(map.newest(), None, "there is no number after it");
        map.insert(u64::MAX - 1);
        assert_eq!(map.newest(), Some(u64::MAX - 1));
        map.insert(0);
        assert!(!map.has(0), "too old for the map");
    }

    proptest! {
        #[test]
        fn a_map_is_a_set_of_the_newest(numbers in prop::collection::vec(0_u64..600, 0..200)) {
            let mut map = HaveMap::default();
            for no in &numbers {
                map.insert(*no);
            }
            let end = numbers.iter().max().map_or(0, |n| n + 1);
            prop_assert_eq!(map.end(), end);
            for no in 0..700 {
                // A piece counts if it was within reach when it came, and still is.
                if map.has(no) {
                    prop_assert!(numbers.contains(&no) && no + HAVE_BITS >= end);
                }
            }
            prop_assert_eq!(map.newest(), numbers.iter().max().copied());
        }

        #[test]
        fn merging_is_inserting(a in prop::collection::vec(0_u64..300, 0..60), b in prop::collection::vec(0_u64..300, 0..60)) {
            let map = |numbers: &[u64]| {
                let mut sorted = numbers.to_vec();
                sorted.sort_unstable();
                let mut map = HaveMap::default();
                sorted.iter().for_each(|n| map.insert(*n));
                map
            };
            let mut merged = map(&a);
            merged.merge(&map(&b));
            prop_assert_eq!(merged, map(&[a, b].concat()));
        }
    }
}
