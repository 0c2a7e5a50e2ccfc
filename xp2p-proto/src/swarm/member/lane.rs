//! One substream of a member.

use super::{Member, Ms};
use crate::swarm::constants::{LANES, LIVE_MS};
use crate::swarm::{NO_SOURCE, Path, Payload, PeerId, PieceNo};

/// Somebody who is fed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Child {
    pub(super) peer: PeerId,
    /// How many it could feed itself.
    pub(super) value: u8,
    /// When feeding ends, if it has to go.
    pub(super) evict: Option<Ms>,
}

/// The parent has no source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Loss {
    /// Since when.
    pub(super) since: Ms,
    /// Steps from the member whose parent is gone.
    pub(super) hops: u8,
}

/// Where a substream comes from and where it goes to.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) parent: Option<PeerId>,
    /// Since when.
    pub(super) since: Ms,
    /// Who was asked to be the parent, and when.
    pub(super) asking: Option<(PeerId, Ms)>,
    /// The parent wants to be rid of us: when it stops.
    pub(super) leaving: Option<Ms>,
    /// First piece asked for at the present parent.
    pub(super) from: PieceNo,
    pub(super) newest_pushed: Option<PieceNo>,
    pub(super) last_push: Ms,
    /// Whether the parent has pushed anything at all.
    pub(super) proven: bool,
    /// The parent has said that it has no source.
    pub(super) loss: Option<Loss>,
    /// The way has changed, and children do not know it.
    pub(super) moved: bool,
    /// What children know: whether there is a source.
    pub(super) told: bool,
    /// What should have come from the parent has not.
    pub(super) starving: bool,
    /// Pieces that came in other ways since.
    pub(super) pulled: u32,
    /// How late pieces come, in ms.
    pub(super) lag: f32,
    /// The members between the origin and us.
    pub(super) path: Path,
    /// A parent that fell silent, and when it was left.
    pub(super) fallen: Option<(PeerId, Ms)>,
    /// Since when there is no parent.
    pub(super) orphan_since: Ms,
    pub(super) children: Vec<Child>,
}

impl Lane {
    pub(super) fn new() -> Self {
        Self {
            parent: None,
            since: 0,
            asking: None,
            leaving: None,
            from: 0,
            newest_pushed: None,
            last_push: 0,
            proven: false,
            loss: None,
            moved: false,
            told: false,
            starving: false,
            pulled: 0,
            lag: 0.0,
            path: Path::EMPTY,
            fallen: None,
            orphan_since: 0,
            children: Vec::new(),
        }
    }

    pub(super) fn child(&self, peer: PeerId) -> Option<&Child> {
        self.children.iter().find(|c| c.peer == peer)
    }

    /// The children that may stay.
    pub(super) fn staying(&self) -> impl Iterator<Item = &Child> {
        self.children.iter().filter(|c| c.evict.is_none())
    }

    /// The one of them that would go first.
    pub(super) fn weakest(&self) -> Option<Child> {
        self.staying().min_by_key(|c| (c.value, c.peer)).copied()
    }

    /// The smallest value among children that may stay; 255 without any.
    pub(super) fn min_value(&self) -> u8 {
        self.weakest().map_or(u8::MAX, |c| c.value)
    }

    /// Takes note of the lag of a piece: up quickly, down slowly.
    pub(super) fn note_lag(&mut self, lag: i64) {
        let lag = lag.max(0) as f32;
        let weight = if lag > self.lag { 0.5 } else { 0.15 };
        self.lag += (lag - self.lag) * weight;
    }
}

impl<P: Payload> Member<P> {
    /// Whether there is anything to pass on in substream `k`. A parent alone is no source: after a failure whole trees have
    /// parents and nothing comes, and whoever still praises itself then draws others in.
    pub(super) fn has_source(&self, k: usize) -> bool {
        self.is_rooted(k)
            && (self.origin.feeds(self.now)
                || self.lanes.get(k).is_some_and(|l| self.now - l.last_push <= LIVE_MS.max(2 * self.gap)))
    }

    /// Members between the origin and us in substream `k`.
    pub(super) fn depth(&self, k: usize) -> u8 {
        if self.origin.feeds(self.now) {
            return 0;
        }
        match self.lanes.get(k) {
            Some(lane) if self.has_source(k) => lane.path.len() as u8, // at most MAX_HOPS
            _ => NO_SOURCE,
        }
    }

    /// Number of subscriptions that are being fed and may stay.
    pub(super) fn children(&self) -> usize {
        self.lanes.iter().flat_map(Lane::staying).count()
    }

    /// How many more children would be taken.
    pub(super) fn spare(&self) -> i32 {
        if self.config.share { self.slots - self.children() as i32 } else { 0 }
    }

    /// Whether `peer` feeds us or is fed by us.
    pub(super) fn is_related(&self, peer: PeerId) -> bool {
        (0..LANES).any(|k| {
            let lane = &self.lanes[k]; // below LANES
            lane.parent == Some(peer)
                || lane.asking.is_some_and(|(p, _)| p == peer)
                || lane.child(peer).is_some()
        })
    }
}
