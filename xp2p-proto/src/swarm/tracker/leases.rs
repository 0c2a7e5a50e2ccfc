//! Who may read the origin for a while.

use std::collections::VecDeque;

use super::{Ms, Tracker};
use crate::swarm::constants::{
    FILL_INTERVAL_MS, LEASE_WINDOW_MS, MAX_FILL, MAX_FILLS, MEMBERS_PER_LEASE, MIN_LEASES,
};
use crate::swarm::{FromTracker, PeerId, PieceNo, Trust};

/// When the latest leases were granted.
#[derive(Debug, Default)]
pub(super) struct Leases {
    granted: VecDeque<Ms>,
    /// When missing pieces were last filled in, and for whom.
    filled: VecDeque<(Ms, PeerId)>,
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

    /// Lets the signer's server fill in what a new puller lacks. It costs server traffic, so only pullers may ask, and not often. When
    /// all have died at once, each of those that follow needs it: what only one of them has is with everybody too late.
    pub(super) fn fill(&mut self, peer: PeerId, from: PieceNo, to: PieceNo) {
        let now = self.now;
        self.leases.filled.retain(|(at, _)| now - at < FILL_INTERVAL_MS);
        let soon = self.leases.filled.iter().any(|(_, p)| *p == peer);
        let many = self.leases.filled.len() >= MAX_FILLS;
        if self.config.trust == Trust::Quorum || soon || many || from >= to || !self.pullers.contains(peer) {
            return;
        }
        self.leases.filled.push_back((now, peer));
        self.stats.filled += to.min(from.saturating_add(MAX_FILL)) - from;
        self.tell(peer, FromTracker::Fill { from, to: to.min(from.saturating_add(MAX_FILL)) });
    }
}
