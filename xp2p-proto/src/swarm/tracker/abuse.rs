//! Reports about members, and what follows from them.
//!
//! A report is a claim. It counts once per reporter, only for a while, and not at all from somebody who accuses many. A single liar
//! can therefore never exclude anybody, and a member that is only badly connected is not excluded by its few children. Nor can
//! somebody with many identities: those who accuse must be in two networks at least.

use super::{Ms, Tracker};
use crate::swarm::constants::{HARD_REPORTERS, MAX_ACCUSATIONS, REPORT_MEMORY_MS, SOFT_REPORTERS};
use crate::swarm::{FromTracker, Misdeed, PeerId};

/// What one member says of another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Accusation {
    reporter: PeerId,
    /// The group of networks that the reporter is in.
    region: u32,
    at: Ms,
}

impl Tracker {
    pub(super) fn accuse(&mut self, reporter: PeerId, accused: PeerId, misdeed: Misdeed) {
        let now = self.now;
        if reporter == accused {
            return;
        }
        if misdeed == Misdeed::Silent {
            self.doubt(accused, reporter);
        }
        let Some(record) = self.roll.get_mut(reporter) else { return };
        if now - record.accusations.1 > REPORT_MEMORY_MS {
            record.accusations = (0, now);
        }
        record.accusations.0 += 1;
        if record.excluded || record.accusations.0 > MAX_ACCUSATIONS {
            return;
        }
        let region = record.region;
        let Some(record) = self.roll.get_mut(accused) else { return };
        let (list, limit) = match misdeed {
            Misdeed::Corrupt => (&mut record.hard, HARD_REPORTERS),
            Misdeed::Withholds => (&mut record.soft, SOFT_REPORTERS),
            // Whoever is silent is found out by asking it.
            Misdeed::Silent => return,
        };
        list.retain(|r| now - r.at < REPORT_MEMORY_MS);
        let elsewhere = list.iter().any(|r| r.region != region);
        // The last place is for somebody in another network, so that none can take all of them.
        let alone = !elsewhere && list.len() + 1 >= limit && list.iter().any(|r| r.region == region);
        if list.iter().all(|r| r.reporter != reporter) && list.len() < limit && !alone {
            list.push(Accusation { reporter, region, at: now });
        }
        if list.len() >= limit && !record.excluded {
            record.excluded = true;
            self.tell(accused, FromTracker::Excluded);
            if self.pullers.lose(accused, self.now) {
                self.elect_if_needed();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::swarm::{NatClass, ToTracker, TrackerConfig, Trust};

    const VICTIM: PeerId = PeerId(1);

    /// Members are named by their number; `accusers` are the networks of those who accuse the first.
    fn excluded(misdeed: Misdeed, accusers: &[u32]) -> bool {
        #[expect(clippy::disallowed_methods, reason = "a test needs some first instant")]
        let now = Instant::now();
        let mut tracker = Tracker::new(TrackerConfig::new([1; 32], Trust::Witness), now);
        let join =
            || ToTracker::Join { nat: NatClass::Cone, slots: 9, may_pull: true, contact: Default::default() };
        tracker.handle(now, VICTIM, 99, join());
        for (n, region) in (2..).zip(accusers) {
            tracker.handle(now, PeerId(n), *region, join());
            for _ in 0..2 {
                let bad = ToTracker::Bad { peer: VICTIM, misdeed, piece: None };
                tracker.handle(now, PeerId(n), *region, bad);
            }
        }
        let told =
            std::iter::from_fn(|| tracker.poll_action()).any(|said| said == (VICTIM, FromTracker::Excluded));
        assert_eq!(told, tracker.stats().excluded == 1);
        told
    }

    #[test]
    fn some_in_different_networks_exclude_one_that_sends_wrong_pieces() {
        assert!(!excluded(Misdeed::Corrupt, &[7, 8]), "they may be two liars");
        assert!(excluded(Misdeed::Corrupt, &[7, 8, 8]));
        assert!(excluded(Misdeed::Corrupt, &[7, 7, 7, 7, 8]));
        assert!(!excluded(Misdeed::Withholds, &[7, 8, 9, 10, 11]));
        assert!(excluded(Misdeed::Withholds, &[7, 7, 7, 7, 7, 7, 7, 8]));
    }

    #[test]
    fn many_identities_in_one_network_exclude_nobody() {
        assert!(!excluded(Misdeed::Corrupt, &[7; 100]));
        assert!(!excluded(Misdeed::Withholds, &[7; 100]));
    }
}
