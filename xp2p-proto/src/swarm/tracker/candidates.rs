//! Whom a member is told of.

use super::Tracker;
use super::roll::Record;
use crate::swarm::constants::{CANDIDATES, CANDIDATES_PER_LANE, FOREIGN_REJECT_PERCENT, LANES, SAMPLE};
use crate::swarm::{Candidate, FromTracker, NatClass, PeerId};

/// A newcomer with so many slots is led to the pullers: it can carry others.
const STRONG_SLOTS: u8 = 4;
/// What another region costs a candidate, in steps of depth.
const FOREIGN_STEPS: u32 = 2;

fn candidate(peer: PeerId, record: &Record) -> Candidate {
    Candidate { peer, nat: record.nat, origin_fed: record.origin_open, contact: record.contact.clone() }
}

impl Tracker {
    /// Members for `peer` to connect to; the bits of `lanes` are substreams that it has no parent for.
    pub(super) fn candidates(&mut self, peer: PeerId, lanes: u8) -> Vec<Candidate> {
        let Some(asker) = self.roll.get(peer) else { return Vec::new() };
        let (nat, region, slots) = (asker.nat, asker.region, asker.slots);
        let sample = self.sample(peer, |r| r.nat.reaches(nat));
        let mut chosen: Vec<PeerId> = Vec::new();
        for k in (0..LANES).filter(|k| lanes >> k & 1 == 1) {
            let mut fit: Vec<(u32, PeerId)> = sample
                .iter()
                .filter_map(|p| {
                    let record = self.roll.get(*p)?;
                    // Both arrays have LANES elements.
                    (record.spare[k] > 0).then(|| {
                        let foreign = if record.region == region { 0 } else { FOREIGN_STEPS };
                        (u32::from(record.depth[k]) + foreign, *p)
                    })
                })
                .collect();
            fit.sort_unstable();
            for (_, p) in fit.into_iter().take(CANDIDATES_PER_LANE) {
                if let Some(record) = self.roll.get_mut(p) {
                    record.spare[k] = record.spare[k].saturating_sub(1);
                }
                if !chosen.contains(&p) {
                    chosen.push(p);
                }
            }
        }
        if slots >= STRONG_SLOTS {
            for puller in self.pullers.alive() {
                let reachable = self.roll.get(puller).is_some_and(|r| r.nat.reaches(nat) && !r.excluded);
                if puller != peer && reachable && !chosen.contains(&puller) {
                    chosen.insert(0, puller);
                }
            }
        }
        // A newcomer begins sooner with those that are near and can give.
        let worth = |p: &PeerId| {
            let record = self.roll.get(*p);
            let near = record.is_some_and(|r| r.region == region);
            let strong = record.is_some_and(|r| r.slots >= STRONG_SLOTS);
            (near && strong, strong)
        };
        let mut sample = sample;
        sample.sort_by_key(|p| std::cmp::Reverse(worth(p)));
        for p in sample {
            if chosen.len() >= CANDIDATES {
                break;
            }
            let foreign = self.roll.get(p).is_some_and(|r| r.region != region);
            if foreign && self.chance(100) < FOREIGN_REJECT_PERCENT as usize {
                continue;
            }
            if !chosen.contains(&p) {
                chosen.push(p);
            }
        }
        chosen.truncate(CANDIDATES);
        self.introduce(peer, chosen)
    }

    /// What `peer` is told of `others`. They are told of it, too: both sides have to do something to reach each other.
    pub(super) fn introduce(&mut self, peer: PeerId, others: Vec<PeerId>) -> Vec<Candidate> {
        let Some(own) = self.roll.get(peer).map(|r| candidate(peer, r)) else { return Vec::new() };
        let others: Vec<Candidate> =
            others.into_iter().filter_map(|p| self.roll.get(p).map(|r| candidate(p, r))).collect();
        // Whom everybody reaches has nothing to do for it.
        for other in others.iter().filter(|c| c.nat != NatClass::Public) {
            let begin = other.nat.must_begin(own.nat);
            self.tell(other.peer, FromTracker::Meet { begin, candidate: own.clone() });
        }
        others
    }

    /// Some members by chance, each at most once.
    fn sample(&mut self, but: PeerId, fits: impl Fn(&Record) -> bool) -> Vec<PeerId> {
        let count = self.roll.len();
        let mut sample = Vec::with_capacity(SAMPLE.min(count));
        if count <= SAMPLE {
            let start = self.chance(count);
            sample.extend((0..count).filter_map(|i| self.roll.at((start + i) % count)));
        } else {
            // Drawing with repeats and dropping them costs less than a shuffle of ten thousand.
            for _ in 0..2 * SAMPLE {
                let at = self.chance(count);
                if let Some(p) = self.roll.at(at)
                    && !sample.contains(&p)
                {
                    sample.push(p);
                }
                if sample.len() >= SAMPLE {
                    break;
                }
            }
        }
        sample.retain(|p| *p != but && self.roll.get(*p).is_some_and(|r| !r.excluded && fits(r)));
        sample
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::swarm::{ToTracker, TrackerConfig, Trust};

    /// Whom the tracker tells of a newcomer, and whether they begin.
    fn met(there: NatClass, newcomer: NatClass) -> Vec<(PeerId, bool)> {
        #[expect(clippy::disallowed_methods, reason = "a test needs some first instant")]
        let now = Instant::now();
        let mut tracker = Tracker::new(TrackerConfig::new([1; 32], Trust::Witness), now);
        for (peer, nat) in [(PeerId(1), there), (PeerId(2), newcomer)] {
            let join = ToTracker::Join { nat, slots: 9, may_pull: true, contact: Default::default() };
            tracker.handle(now, peer, 1, join);
        }
        let meet = |(to, message)| match message {
            FromTracker::Meet { begin, candidate } => {
                assert_eq!(candidate.peer, PeerId(2));
                Some((to, begin))
            }
            _ => None,
        };
        std::iter::from_fn(|| tracker.poll_action()).filter_map(meet).collect()
    }

    #[test]
    fn who_is_named_to_a_newcomer_is_told_of_it() {
        use NatClass::{Cone, Public, Restricted, Symmetric};
        assert_eq!(met(Restricted, Restricted), [(PeerId(1), false)]);
        assert_eq!(met(Cone, Symmetric), [(PeerId(1), false)]);
        assert_eq!(met(Symmetric, Cone), [(PeerId(1), true)]);
        assert_eq!(met(Public, Restricted), [], "everybody reaches it");
        assert_eq!(met(Symmetric, Restricted), [], "they cannot reach each other");
    }
}
