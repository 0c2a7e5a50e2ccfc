//! A viewer of a crowd.

use std::time::Duration;

use xp2p_proto::peer::{Peer, PeerStats};
use xp2p_proto::swarm::OriginReason;

use super::play::Play;
use crate::packets::origin::Reading;
use crate::sim::HostId;
use crate::swarm::population::{Character, Traits};
use crate::swarm::queue::Nanos;

/// When a newcomer came how far, after it joined.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Stages {
    pub(super) registered: Option<Nanos>,
    pub(super) tracked: Option<Nanos>,
    pub(super) neighbour: Option<Nanos>,
    pub(super) origin: Option<Nanos>,
}

/// A viewer.
pub(super) struct Viewer {
    pub(super) host: HostId<Peer>,
    pub(super) traits: Traits,
    pub(super) alive: bool,
    pub(super) joined: Nanos,
    /// When its first picture came.
    pub(super) started: Option<Nanos>,
    pub(super) stages: Stages,
    /// It wants to read the origin.
    pub(super) origin_open: bool,
    /// Number of the present connection to the origin.
    pub(super) origin_epoch: u32,
    pub(super) reading: Option<Reading>,
    pub(super) play: Play,
    pub(super) excluded: bool,
    /// What was accounted, and when.
    pub(super) mark: PeerStats,
    pub(super) marked: Nanos,
    /// Bytes on the wire that were accounted.
    pub(super) wire: u64,
}

impl Viewer {
    pub(super) fn new(host: HostId<Peer>, traits: Traits, now: Nanos) -> Self {
        Self {
            host,
            traits,
            alive: true,
            joined: now,
            started: None,
            stages: Stages::default(),
            origin_open: false,
            origin_epoch: 0,
            reading: None,
            play: Play::default(),
            excluded: false,
            mark: PeerStats::default(),
            marked: now,
            wire: 0,
        }
    }

    /// Whether its figures are those of a viewer as viewers should be.
    pub(super) fn honest(&self) -> bool {
        matches!(self.traits.character, Character::Honest | Character::Liar)
    }

    /// Whether its bytes count: those whom the tracker has excluded watch from the origin on their own account.
    pub(super) fn counts(&self) -> bool {
        self.honest() || !self.excluded
    }

    /// How late the origin is for it.
    pub(super) fn origin_delay(&self) -> Duration {
        Duration::from_nanos(self.traits.origin_delay)
    }
}

/// Nobody here has a reason of its own to stay with the origin, so that whoever has one was excluded.
pub(super) fn is_excluded(stats: &PeerStats) -> bool {
    stats.swarm.origin_reason == OriginReason::Policy
}
