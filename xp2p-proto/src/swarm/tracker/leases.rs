//! Who may read the origin for a while.

use std::collections::VecDeque;

use super::{Ms, Tracker};
use crate::swarm::constants::{LEASE_WINDOW_MS, MEMBERS_PER_LEASE, MIN_LEASES};
use crate::swarm::{FromTracker, PeerId};

/// When the latest leases were granted.
#[derive(Debug, Default)]
pub(super) struct Leases {
    granted: VecDeque<Ms>,
}

impl Tracker {
    pub(super) fn lease(&mut self, peer: PeerId) {
        let now = self.now;
        self.leases.granted.retain(|at| now - at < LEASE_WINDOW_MS);
        let most = MIN_LEASES.max(self.roll.len() / MEMBERS_PER_LEASE);
        let granted = self.leases.granted.len() < most;
        if granted {
            self.leases.granted.push_back(now);
            self.stats.leases += 1;
        } else {
            self.stats.denied += 1;
        }
        self.tell(peer, FromTracker::Lease { granted });
    }
}
