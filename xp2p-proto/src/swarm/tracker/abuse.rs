//! Reports about members, and what follows from them.
//!
//! A report is a claim. It counts once per reporter, only for a while, and not at all from somebody who accuses many. A single liar
//! can therefore never exclude anybody, and a member that is only badly connected is not excluded by its few children.

use super::Tracker;
use crate::swarm::constants::{HARD_REPORTERS, MAX_ACCUSATIONS, REPORT_MEMORY_MS, SOFT_REPORTERS};
use crate::swarm::{FromTracker, Misdeed, PeerId};

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
        let Some(record) = self.roll.get_mut(accused) else { return };
        let (list, limit) = match misdeed {
            Misdeed::Corrupt => (&mut record.hard, HARD_REPORTERS),
            Misdeed::Withholds => (&mut record.soft, SOFT_REPORTERS),
            // Whoever is silent is found out by asking it.
            Misdeed::Silent => return,
        };
        list.retain(|(_, at)| now - at < REPORT_MEMORY_MS);
        if list.iter().all(|(p, _)| *p != reporter) && list.len() < limit {
            list.push((reporter, now));
        }
        if list.len() >= limit && !record.excluded {
            record.excluded = true;
            self.tell(accused, FromTracker::Excluded);
            if self.pullers.remove(accused) {
                self.elect_if_needed();
            }
        }
    }
}
