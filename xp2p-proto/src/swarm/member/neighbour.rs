//! What a member knows of another one that it is connected to.

use super::Ms;
use crate::swarm::constants::LANES;
use crate::swarm::{HaveMap, LaneStatus, NatClass, PeerId, Status};

/// A connected member.
#[derive(Debug)]
pub(super) struct Neighbour {
    pub(super) id: PeerId,
    pub(super) nat: NatClass,
    /// Round-trip time in ms.
    pub(super) rtt: i64,
    pub(super) since: Ms,
    /// When something last came from it.
    pub(super) heard: Ms,
    pub(super) have: HaveMap,
    pub(super) batch: u64,
    pub(super) backlog: i64,
    pub(super) origin_fed: bool,
    pub(super) lanes: [LaneStatus; LANES],
    /// Whether its first status has come.
    pub(super) told: bool,
    /// When it was last told our status.
    pub(super) told_at: Ms,
    /// Requests that it has not answered.
    pub(super) asked: u8,
    /// Recent failures; fades.
    pub(super) fails: f32,
    /// Not to be used before.
    pub(super) bad_until: Ms,
    /// Not to be asked to feed a substream before.
    pub(super) not_before: [Ms; LANES],
    /// Whether it ever delivered a piece.
    pub(super) delivered: bool,
    /// When it was last of any use.
    pub(super) useful: Ms,
}

impl Neighbour {
    pub(super) fn new(id: PeerId, nat: NatClass, rtt: i64, now: Ms) -> Self {
        Self {
            id,
            nat,
            rtt,
            since: now,
            heard: now,
            have: HaveMap::default(),
            batch: 0,
            backlog: 0,
            origin_fed: false,
            lanes: [LaneStatus::NONE; LANES],
            told: false,
            told_at: now,
            asked: 0,
            fails: 0.0,
            bad_until: Ms::MIN,
            not_before: [Ms::MIN; LANES],
            delivered: false,
            useful: now,
        }
    }

    pub(super) fn take(&mut self, status: &Status) {
        self.have.merge(&status.have);
        self.batch = self.batch.max(status.batch);
        self.backlog = i64::from(status.backlog);
        self.origin_fed = status.origin_fed;
        self.lanes = status.lanes;
        self.told = true;
    }

    pub(super) fn fail(&mut self, weight: f32) {
        self.fails = (self.fails + weight).min(8.0);
    }

    pub(super) fn silence(&self, now: Ms) -> i64 {
        now - self.heard
    }
}

/// The neighbours, in the order of their ids, so that a run repeats.
#[derive(Debug, Default)]
pub(super) struct Neighbours {
    list: Vec<Neighbour>,
}

impl Neighbours {
    pub(super) fn get(&self, id: PeerId) -> Option<&Neighbour> {
        self.list.binary_search_by_key(&id, |n| n.id).ok().and_then(|i| self.list.get(i))
    }

    pub(super) fn get_mut(&mut self, id: PeerId) -> Option<&mut Neighbour> {
        self.list.binary_search_by_key(&id, |n| n.id).ok().and_then(|i| self.list.get_mut(i))
    }

    pub(super) fn insert(&mut self, neighbour: Neighbour) {
        match self.list.binary_search_by_key(&neighbour.id, |n| n.id) {
            Ok(i) => self.list[i] = neighbour, // the search has found it there
            Err(i) => self.list.insert(i, neighbour),
        }
    }

    pub(super) fn remove(&mut self, id: PeerId) -> Option<Neighbour> {
        self.list.binary_search_by_key(&id, |n| n.id).ok().map(|i| self.list.remove(i))
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Neighbour> {
        self.list.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Neighbour> {
        self.list.iter_mut()
    }
}
