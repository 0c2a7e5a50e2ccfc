//! Whether a substream has a source at all, and telling those who depend on it when that changes.
//!
//! A parent that has lost its own parent looks like any other for as long as nobody says so. Those who look for a parent after a
//! failure then choose each other, and whole trees hang in the air or bite their own tail until the lack of pieces
//! gives them away. So a loss is told down the tree at once, and so is every new way.

use super::Member;
use super::lane::Loss;
use crate::swarm::constants::{LANES, LOSS_PATIENCE_MS, LOSS_STEP_MS};
use crate::swarm::{Message, Path, Payload, PeerId};

impl<P: Payload> Member<P> {
    /// Whether substream `k` comes from the origin, as far as is known.
    pub(super) fn is_rooted(&self, k: usize) -> bool {
        self.origin.feeds(self.now)
            || self.lanes.get(k).is_some_and(|l| l.parent.is_some() && l.loss.is_none())
    }

    /// Whether the parent of substream `k` has had its time to find a source.
    pub(super) fn is_lost(&self, k: usize) -> bool {
        let loss = self.lanes.get(k).and_then(|l| l.loss);
        loss.is_some_and(|l| self.now - l.since >= LOSS_STEP_MS * i64::from(l.hops))
    }

    /// The parent has no source any more.
    pub(super) fn handle_lost(&mut self, from: PeerId, k: u8, hops: u8) {
        let now = self.now;
        if let Some(lane) = self.lanes.get_mut(usize::from(k))
            && lane.parent == Some(from)
        {
            lane.loss.get_or_insert(Loss { since: now, hops });
        }
    }

    /// The parent has a source again, or another one.
    pub(super) fn handle_way(&mut self, from: PeerId, k: u8, path: Path) {
        let k = usize::from(k);
        let id = self.config.id;
        let Some(lane) = self.lanes.get_mut(k).filter(|l| l.parent == Some(from)) else { return };
        if path.contains(id) || path.is_empty() {
            self.leave_circle(from, k);
            return;
        }
        lane.loss = None;
        lane.moved = true;
        lane.path = path;
        lane.last_push = self.now;
    }

    /// Leaves parents that find no source.
    pub(super) fn leave_lost(&mut self) {
        for k in 0..LANES {
            let loss = self.lanes[k].loss; // below LANES
            if loss.is_some_and(|l| self.now - l.since > LOSS_PATIENCE_MS) {
                self.stats.parents_left += 1;
                self.leave_parent(k);
            }
        }
    }

    /// Tells children what has changed.
    pub(super) fn tell_sources(&mut self) {
        for k in 0..LANES {
            let way = if self.is_rooted(k) { self.own_path(k) } else { None };
            let lane = &mut self.lanes[k]; // below LANES
            if lane.children.is_empty() {
                (lane.moved, lane.told) = (false, way.is_some());
                continue;
            }
            let changed = std::mem::replace(&mut lane.told, way.is_some()) != way.is_some();
            if !std::mem::take(&mut lane.moved) && !changed {
                continue;
            }
            let hops = lane.loss.map_or(0, |l| l.hops).saturating_add(1);
            let children: Vec<_> = lane.children.iter().map(|c| c.peer).collect();
            let lane = k as u8; // below LANES
            for child in children {
                match way {
                    Some(path) => self.send(child, Message::Way { lane, path }),
                    None if changed => self.send(child, Message::Lost { lane, hops }),
                    None => {}
                }
            }
            if changed {
                self.status_soon();
            }
        }
    }
}
