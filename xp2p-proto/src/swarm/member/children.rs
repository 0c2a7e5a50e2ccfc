//! Whom a substream goes to.

use super::lane::Child;
use super::parents::outranks;
use super::uplink::Queued;
use super::{Action, EvictWay, Member};
use crate::swarm::constants::{
    BACKLOG_HIGH_MS, BACKLOG_LOW_MS, BACKLOG_TICKS, EVICT_GRACE_MS, LANES, MAX_SLOTS, OVERHEAD,
    PULLER_BACKLOG_MS, PULLER_PUSH_DUE_MS, PULLER_REQUEST_BACKLOG_MS, PULLER_SLOT_SHARE, PUSH_DUE_MS,
    SLOT_INTERVAL_MS, SLOT_SHARE, SLOT_STRETCH,
};
use crate::swarm::{Message, NatClass, Payload, PeerId, PieceNo};

/// An overloaded member lets one child go, and one of so many.
const SHED_SHARE: i32 = 8;
/// Most pieces that a new child is sent to catch up.
const MAX_CATCH_UP: usize = 64;
/// A piece that fewer neighbours have is given whatever else waits.
const RARE: usize = 3;
/// How much longer than asked for an answer to a request may take, in ms.
const REQUEST_SLACK_MS: i64 = 300;

impl<P: Payload> Member<P> {
    /// How many children the uplink is believed to feed.
    pub(super) fn base_slots(&self) -> i32 {
        if !self.config.share {
            return 0;
        }
        self.slots_at(if self.origin.is_permanent() { PULLER_SLOT_SHARE } else { SLOT_SHARE })
    }

    /// How many children a part of the uplink feeds.
    fn slots_at(&self, share: f64) -> i32 {
        // Rounded: at two or three children, always rounding down would waste a fifth of all uplinks.
        let slots = self.fed_by(self.uplink.usable() as f64 * share) + 0.5;
        (slots as i32).min(self.room()).clamp(0, MAX_SLOTS)
    }

    /// How many children the uplink feeds without a queue, besides what else it has to carry.
    fn room(&self) -> i32 {
        self.fed_by(self.uplink.sustained() as f64) as i32
    }

    /// How many children so many bit/s feed.
    fn fed_by(&self, bits: f64) -> f64 {
        let each = self.rate * OVERHEAD / LANES as f64;
        bits / each.max(1.0)
    }

    /// What the tracker compares members by: what the uplink would feed if this member did not read the origin for others. Those who do
    /// take fewer children; told as they are, they would be replaced by others that are no stronger.
    pub(super) fn comparable_slots(&self) -> i32 {
        if !self.config.share {
            return 0;
        }
        let ordinary = self.slots_at(SLOT_SHARE);
        if self.origin.is_permanent() { ordinary } else { self.slots.min(ordinary) }
    }

    pub(super) fn handle_subscribe(&mut self, from: PeerId, k: u8, first: PieceNo, value: u8) {
        let index = usize::from(k);
        if index >= LANES {
            return;
        }
        if self.has_room(from, index, value) {
            self.adopt(from, index, first, value);
        } else {
            self.refused = Some(self.now);
            self.send(from, Message::Reject { lane: k });
        }
    }

    /// Whether `peer` can be fed in substream `k`; makes room if it is worth it.
    fn has_room(&mut self, peer: PeerId, k: usize, value: u8) -> bool {
        let lane = &self.lanes[k]; // below LANES, here and below
        if !self.config.share || self.slots <= 0 || !self.has_source(k) || lane.parent == Some(peer) {
            return false;
        }
        // Not in a circle, and not without end.
        let Some(path) = self.own_path(k) else { return false };
        if path.contains(peer) {
            return false;
        }
        if lane.child(peer).is_some() || self.spare() > 0 {
            return true;
        }
        if let Some(weakest) = lane.weakest().filter(|w| outranks(value, w.value)) {
            self.evict(k, weakest.peer, Some(peer));
            return true;
        }
        if let Some(crowded) = self.crowded_beside(k)
            && let Some(weakest) = self.lanes[crowded].weakest()
        {
            self.evict(crowded, weakest.peer, None);
            return true;
        }
        false
    }

    /// Whoever reads the origin must be there for every substream: one with at least two children more than substream `k` has, from
    /// which one can go for it.
    pub(super) fn crowded_beside(&self, k: usize) -> Option<usize> {
        if !self.origin.feeds(self.now) {
            return None;
        }
        let count = |k: usize| self.lanes[k].staying().count(); // below LANES
        let crowded = (0..LANES).max_by_key(|k| (count(*k), usize::MAX - k))?;
        (count(crowded) >= count(k) + 2).then_some(crowded)
    }

    fn adopt(&mut self, peer: PeerId, k: usize, first: PieceNo, value: u8) {
        let Some(path) = self.own_path(k) else { return };
        let lane = &mut self.lanes[k]; // below LANES
        match lane.children.iter_mut().find(|c| c.peer == peer) {
            Some(child) => (child.value, child.evict) = (value, None),
            None => lane.children.push(Child { peer, value, evict: None }),
        }
        if let Some(neighbour) = self.neighbours.get_mut(peer) {
            neighbour.useful = self.now;
        }
        self.send(peer, Message::Accept { lane: k as u8, path });
        let behind: Vec<_> = self
            .shelf
            .from(first)
            .filter(|s| s.info.lane() == k && s.is_here() && s.confirmed)
            .map(|s| s.info)
            .take(MAX_CATCH_UP)
            .collect();
        // It plays them one after the other, and others wait for pieces that they need at once.
        let begin = behind.first().map_or(0, |info| info.time);
        for info in behind {
            if self.neighbours.get(peer).is_some_and(|n| !n.have.has(info.no)) {
                let later = info.time.saturating_sub(begin).min(PUSH_DUE_MS as u64) as i64;
                let (len, due) = (usize::from(info.len), self.now + later);
                self.uplink.push(Queued { to: peer, no: info.no, lane: k as u8, len, due, pushed: true });
            }
        }
    }

    /// Hands a piece that has just come to the children of its substream.
    pub(super) fn forward(&mut self, no: PieceNo) {
        let Some(slot) = self.shelf.get(no).filter(|s| s.is_here() && s.confirmed) else { return };
        let info = slot.info;
        let k = info.lane();
        if self.lanes[k].children.is_empty() || slot.path.with(self.config.id).is_none() {
            return;
        }
        let due = if self.origin.is_permanent() { PULLER_PUSH_DUE_MS } else { PUSH_DUE_MS };
        let due = info.end as i64 - self.clock.unwrap_or(0) + due;
        for i in 0..self.lanes[k].children.len() {
            let peer = self.lanes[k].children[i].peer; // below the length
            if self.neighbours.get(peer).is_some_and(|n| !n.have.has(no)) {
                let len = usize::from(info.len);
                self.uplink.push(Queued { to: peer, no, lane: k as u8, len, due, pushed: true });
            }
        }
    }

    pub(super) fn handle_unsubscribe(&mut self, from: PeerId, k: u8) {
        if let Some(lane) = self.lanes.get_mut(usize::from(k)) {
            lane.children.retain(|c| c.peer != from);
            self.uplink.remove(|q| q.to == from && q.pushed && q.lane == k);
        }
    }

    /// Answers a request for one piece.
    pub(super) fn handle_request(&mut self, from: PeerId, no: PieceNo, slack: u16) {
        let slack = i64::from(slack);
        let here = self.shelf.get(no).filter(|s| s.is_here() && s.confirmed);
        let slot = here.filter(|s| s.path.with(self.config.id).is_some());
        match slot.map(|s| (s.info.lane() as u8, usize::from(s.info.len))) {
            Some((lane, len))
                if self.config.share
                    && (self.has_time_for_requests() || self.is_rare(no))
                    && self.uplink.wait_ms(self.now + slack) <= slack + REQUEST_SLACK_MS =>
            {
                self.uplink.remove(|q| q.to == from && q.no == no);
                let due = self.now + slack;
                self.uplink.push(Queued { to: from, no, lane, len, due, pushed: false });
            }
            missing => {
                if missing.is_none() {
                    self.asked_in_vain.add(self.now, from, no);
                }
                self.send(from, Message::NoHave { piece: no });
            }
        }
    }

    /// Tells those who have asked for this piece in vain that it is here now: what is missing everywhere spreads from one to the next in
    /// a round trip, and not in the half second until the next status.
    pub(super) fn tell_those_who_asked(&mut self, no: PieceNo) {
        for peer in self.asked_in_vain.take(self.now, no) {
            // It may be gone, and may have come back.
            if self.neighbours.get(peer).is_some() {
                self.send(peer, Message::Cancel { piece: no });
            }
        }
    }

    /// Who reads the origin for others pushes first of all.
    fn has_time_for_requests(&self) -> bool {
        !self.origin.is_permanent() || self.uplink.backlog_ms() <= PULLER_REQUEST_BACKLOG_MS
    }

    /// Whether hardly anybody else is known to have the piece. Whoever has just begun to read the origin may be the only one that has what
    /// its predecessor did not pass on any more, and everybody waits for that.
    fn is_rare(&self, no: PieceNo) -> bool {
        self.neighbours.iter().filter(|n| n.have.has(no)).take(RARE).count() < RARE
    }

    pub(super) fn handle_cancel(&mut self, from: PeerId, no: PieceNo) {
        if let Some(neighbour) = self.neighbours.get_mut(from) {
            neighbour.have.insert(no);
        }
        if self.shelf.get(no).is_some_and(|s| !s.is_here() && s.asks.is_none()) {
            self.repair();
        }
        self.uplink.remove(|q| q.to == from && q.no == no);
        if self.uplink.carries(from, no) {
            self.actions.push_back(Action::CancelPiece { to: from, no });
        }
    }

    /// Tells a child to find another parent.
    fn evict(&mut self, k: usize, peer: PeerId, alternative: Option<PeerId>) {
        let until = self.now + EVICT_GRACE_MS;
        if let Some(child) = self.lanes[k].children.iter_mut().find(|c| c.peer == peer && c.evict.is_none()) {
            child.evict = Some(until);
            self.send(peer, Message::Evict { lane: k as u8, alternative });
        }
    }

    /// Stops feeding those whose time is up.
    pub(super) fn evict_due(&mut self) {
        for k in 0..LANES {
            let now = self.now;
            let due = |c: &Child| c.evict.is_some_and(|at| at <= now);
            if self.lanes[k].children.iter().any(due) {
                let gone: Vec<_> = self.lanes[k].children.iter().filter(|c| due(c)).map(|c| c.peer).collect();
                self.lanes[k].children.retain(|c| !due(c));
                self.uplink.remove(|q| q.pushed && usize::from(q.lane) == k && gone.contains(&q.to));
            }
        }
    }

    /// Lets go of as many children as there are too many, the least valuable first.
    pub(super) fn shed_children(&mut self, way: EvictWay) {
        while self.children() as i32 > self.slots {
            let weakest = (0..LANES)
                .flat_map(|k| self.lanes[k].staying().map(move |c| (k, c)))
                .min_by_key(|(k, c)| (c.value, c.peer, *k))
                .map(|(k, c)| (k, c.peer));
            let Some((k, peer)) = weakest else { break };
            self.evict(k, peer, None);
        }
        if way == EvictWay::AtOnce {
            for lane in &mut self.lanes {
                lane.children.clear();
            }
        }
    }

    /// Too much waits for too long: fewer children. Those that go are fed until they have found another parent, so what letting go
    /// of them brings is seen only then: judged before, it looks like nothing, and one after the other would have to go.
    pub(super) fn check_overload(&mut self) {
        if self.now < self.next_shed {
            return;
        }
        let high = if self.origin.is_permanent() { PULLER_BACKLOG_MS } else { BACKLOG_HIGH_MS };
        if self.uplink.backlog_ms() <= high {
            self.overloaded = 0;
            return;
        }
        self.overloaded += 1;
        if self.overloaded >= BACKLOG_TICKS {
            self.overloaded = 0;
            self.next_shed = self.now + EVICT_GRACE_MS;
            let children = self.children() as i32; // at most MAX_SLOTS and a few
            self.slots = (children - 1 - children / SHED_SHARE).max(0);
            self.shed_children(EvictWay::Gently);
        }
    }

    /// Lets slots grow back, and beyond the estimate while others ask in vain.
    pub(super) fn adjust_slots(&mut self) {
        let base = self.base_slots();
        let stretch = if self.origin.is_permanent() { 1.0 } else { SLOT_STRETCH };
        let stretched = ((f64::from(base) * stretch) as i32).min(self.room());
        let calm = self.uplink.backlog_ms() < BACKLOG_LOW_MS;
        let asked = self.refused.is_some_and(|at| self.now - at <= SLOT_INTERVAL_MS);
        let step = 1 + self.slots / 16;
        if self.slots < base {
            if calm {
                self.slots = (self.slots + step).min(base);
            }
        } else if asked && calm {
            self.slots = (self.slots + step).min(stretched.max(base));
        } else if self.slots > base && !asked && self.spare() > 0 {
            self.slots -= 1;
        }
        if self.config.nat == NatClass::Unknown && self.slots > stretched {
            self.slots = stretched;
        }
    }
}
