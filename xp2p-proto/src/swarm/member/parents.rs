//! Whom a substream comes from.

use super::neighbour::Neighbour;
use super::{Member, Ms};
use crate::swarm::constants::{
    BAD_MS, DISPLACE_PENALTY_MS, FAIL_PENALTY_MS, FALLEN_MS, LANES, MAX_DEPTH, MAX_EXPECTED_LAG_MS,
    MIN_TENURE_MS, OPEN_PENALTY_MS, OPTIMISE_GAIN_MS, OPTIMISE_WORST_PERCENT, SCORE_NOISE_MS,
    STALE_PENALTY_MS, SUBSCRIBE_TIMEOUT_MS,
};
use crate::swarm::{Message, NO_SOURCE, NatClass, Path, Payload, PeerId, PieceNo};

/// The value of a child behind a bad NAT for a parent that everyone reaches: it has few others to turn to.
const HANDICAP_VALUE: u8 = 8;
/// How long a member that said no is not asked again, in ms.
const REJECTED_MS: i64 = 1_000;

/// The newest pieces of a substream that are missing.
#[derive(Clone, Copy, Debug, Default)]
struct Newer {
    pieces: [PieceNo; 8],
    count: usize,
}

impl Newer {
    fn is_any(&self) -> bool {
        self.count > 0
    }

    /// Whether `neighbour` is known to have one of them.
    fn is_with(&self, neighbour: &Neighbour) -> bool {
        self.pieces.iter().take(self.count).any(|no| neighbour.have.has(*no))
    }
}

impl<P: Payload> Member<P> {
    /// Whether parents are wanted at all.
    fn wants_parents(&self) -> bool {
        self.config.use_peers && !(self.origin.is_permanent() && self.origin.feeds(self.now))
    }

    /// Looks for parents where there are none, and gives up on those that do not answer.
    pub(super) fn look_for_parents(&mut self) {
        for k in 0..LANES {
            let lane = &mut self.lanes[k]; // below LANES, here and below
            if let Some((peer, since)) = lane.asking
                && self.now - since > SUBSCRIBE_TIMEOUT_MS
            {
                lane.asking = None;
                self.avoid(peer, k);
                // It may have accepted by now.
                self.send(peer, Message::Unsubscribe { lane: k as u8 });
            }
            if self.lanes[k].leaving.is_some_and(|at| at <= self.now) {
                self.leave_parent(k);
            }
            let lane = &self.lanes[k];
            if lane.parent.is_none() || lane.leaving.is_some() || lane.starving || self.is_lost(k) {
                self.look_for_parent(k);
            }
        }
    }

    /// Asks the best candidate to feed substream `k`.
    pub(super) fn look_for_parent(&mut self, k: usize) {
        if !self.wants_parents() || self.lanes[k].asking.is_some() {
            return;
        }
        if let Some((peer, _)) = self.best_parent(k) {
            self.subscribe(k, peer);
        }
    }

    fn subscribe(&mut self, k: usize, peer: PeerId) {
        let from = self.first_wanted(k);
        let value = self.neighbours.get(peer).map_or(0, |n| self.value_for(n));
        if let Some(neighbour) = self.neighbours.get_mut(peer) {
            // Until it says more: what it gives to one substream it does not have for another.
            neighbour.lanes.iter_mut().for_each(|l| l.spare = l.spare.saturating_sub(1));
        }
        self.lanes[k].asking = Some((peer, self.now));
        self.lanes[k].from = from;
        // What is here need not come from it, nor what others were asked for.
        self.tell_status(peer);
        let slots = self.shelf.from(from).filter(|s| s.info.lane() == k && !s.asks.is_none());
        let asked: Vec<_> = slots.filter(|s| !s.asks.was_asked(peer)).map(|s| s.info.no).collect();
        for piece in asked {
            self.send(peer, Message::Cancel { piece });
        }
        self.send(peer, Message::Subscribe { lane: k as u8, from, value });
    }

    /// The first piece of substream `k` that is neither here nor asked for.
    fn first_wanted(&self, k: usize) -> PieceNo {
        let lane = &self.lanes[k];
        let floor = self.playout.next().unwrap_or_else(|| self.shelf.end());
        let floor = lane.newest_pushed.map_or(floor, |n| floor.max(n + 1));
        self.shelf
            .from(floor)
            .find(|s| s.info.lane() == k && !s.is_here() && s.asks.is_none())
            .map_or_else(|| self.shelf.end().max(floor), |s| s.info.no)
    }

    /// What it is worth to `neighbour` to feed us.
    fn value_for(&self, neighbour: &Neighbour) -> u8 {
        let own = if self.config.share { self.slots.clamp(0, 250) as u8 } else { 0 };
        if self.config.nat == NatClass::Symmetric && neighbour.nat.is_open() {
            own.max(HANDICAP_VALUE)
        } else {
            own
        }
    }

    /// The pieces of substream `k` after the newest one that is here.
    fn newer(&self, k: usize) -> Newer {
        let mut newer = Newer::default();
        for slot in self.shelf.from(0).rev().filter(|s| s.info.lane() == k) {
            if slot.is_here() || newer.count == newer.pieces.len() {
                break;
            }
            newer.pieces[newer.count] = slot.info.no; // below the length
            newer.count += 1;
        }
        newer
    }

    /// Whether what `from` feeds comes through a parent that has just fallen silent: it will soon notice the same.
    fn is_fallen(&self, from: PeerId, k: usize, path: &Path) -> bool {
        let fallen = self.lanes.get(k).and_then(|l| l.fallen);
        let Some((dead, at)) = fallen.filter(|(dead, _)| path.contains(*dead)) else { return false };
        let newer = self.newer(k);
        dead != from
            && self.now - at < FALLEN_MS
            && newer.is_any()
            && !self.neighbours.get(from).is_some_and(|n| newer.is_with(n))
    }

    /// The best member to ask for substream `k`, and its score; smaller is better.
    fn best_parent(&mut self, k: usize) -> Option<(PeerId, f32)> {
        let depth = self.depth(k);
        let lane = &self.lanes[k];
        let orphan = lane.parent.is_none() || lane.starving || self.is_lost(k);
        let has_children = lane.staying().next().is_some();
        let symmetric = self.config.nat == NatClass::Symmetric;
        let newer = if orphan { self.newer(k) } else { Newer::default() };
        let mut best: Option<(PeerId, f32)> = None;
        for n in self.neighbours.iter() {
            let status = n.lanes[k];
            if !n.told || n.bad_until > self.now || n.not_before[k] > self.now {
                continue;
            }
            if lane.parent == Some(n.id) || lane.child(n.id).is_some() || status.depth > MAX_DEPTH {
                continue;
            }
            // Whoever has children and a parent climbs only, or it would soon be fed by those it feeds. Without a parent it takes
            // anyone: the answer tells the way, and being choosy here left whole trees without a parent after a failure.
            if has_children && !orphan && !self.origin.is_open() && status.depth >= depth {
                continue;
            }
            let value = self.value_for(n);
            let displaces = status.spare == 0;
            if displaces && !(self.slots > 0 || value >= HANDICAP_VALUE && symmetric && n.nat.is_open()) {
                continue;
            }
            if displaces && !outranks(value, status.min_value) {
                continue;
            }
            let mut score = f32::from(status.lag)
                + n.rtt as f32 / 2.0
                + n.backlog as f32 / 2.0
                + FAIL_PENALTY_MS * n.fails;
            if displaces {
                score += DISPLACE_PENALTY_MS;
            }
            if newer.is_any() && !newer.is_with(n) {
                score += STALE_PENALTY_MS;
            }
            if n.nat.is_open() && !symmetric {
                score += OPEN_PENALTY_MS;
            }
            if best.is_none_or(|(_, b)| score < b + SCORE_NOISE_MS as f32) {
                // Drawn only for those that could win, to be cheap.
                let score = score + (rand_core::Rng::next_u32(&mut self.rng) % SCORE_NOISE_MS) as f32;
                if best.is_none_or(|(_, b)| score < b) {
                    best = Some((n.id, score));
                }
            }
        }
        best
    }

    /// Looks whether some substream could come from a better parent.
    pub(super) fn optimise(&mut self) {
        if !self.wants_parents() {
            return;
        }
        let by_lag = |a: &usize, b: &usize| self.lanes[*a].lag.total_cmp(&self.lanes[*b].lag);
        let worst = (0..LANES).max_by(by_lag).unwrap_or(0);
        let any = self.chance(LANES as u32) as usize;
        let k = if self.chance(100) < OPTIMISE_WORST_PERCENT { worst } else { any };
        let lane = &self.lanes[k];
        if lane.parent.is_none() || lane.asking.is_some() || self.now - lane.since < MIN_TENURE_MS {
            return;
        }
        let lag = lane.lag;
        if let Some((peer, score)) = self.best_parent(k)
            && score + OPTIMISE_GAIN_MS < lag
        {
            self.subscribe(k, peer);
        }
    }

    pub(super) fn handle_accept(&mut self, from: PeerId, k: u8, path: Path) {
        let k = usize::from(k);
        let Some(lane) = self.lanes.get_mut(k) else { return };
        if lane.asking.is_none_or(|(peer, _)| peer != from) {
            if lane.parent != Some(from) {
                // Too late, or never asked for.
                self.send(from, Message::Unsubscribe { lane: k as u8 });
            }
            return;
        }
        lane.asking = None;
        if path.contains(self.config.id) || path.is_empty() || self.is_fallen(from, k, &path) {
            self.stats.loops += 1;
            self.avoid(from, k);
            self.send(from, Message::Unsubscribe { lane: k as u8 });
            self.look_for_parent(k);
            return;
        }
        let Some(lane) = self.lanes.get_mut(k) else { return };
        let old = lane.parent.replace(from);
        lane.since = self.now;
        lane.last_push = self.now;
        lane.proven = false;
        lane.starving = false;
        lane.loss = None;
        lane.moved = true;
        lane.pulled = 0;
        lane.newest_pushed = None;
        lane.leaving = None;
        lane.path = path;
        if let Some(old) = old.filter(|old| *old != from) {
            self.send(old, Message::Unsubscribe { lane: k as u8 });
        }
        if let Some(neighbour) = self.neighbours.get_mut(from) {
            neighbour.useful = self.now;
            let status = neighbour.lanes[k]; // below LANES, as the lane above
            if status.depth != NO_SOURCE {
                // What will come from it is late at least by so much. Without that a newcomer, or who has read the origin so far,
                // takes what is on its way for missing and pulls it.
                let expected = f32::from(status.lag) + neighbour.rtt as f32 / 2.0;
                let lane = &mut self.lanes[k]; // the same
                lane.lag = lane.lag.max(expected.min(MAX_EXPECTED_LAG_MS));
            }
        }
    }

    pub(super) fn handle_reject(&mut self, from: PeerId, k: u8) {
        let k = usize::from(k);
        let Some(lane) = self.lanes.get_mut(k) else { return };
        if lane.asking.is_some_and(|(peer, _)| peer == from) {
            lane.asking = None;
            if let Some(neighbour) = self.neighbours.get_mut(from) {
                neighbour.lanes[k].spare = 0; // below LANES, as the lane above
                neighbour.not_before[k] = self.now + REJECTED_MS;
            }
            if self.lanes[k].parent.is_none() {
                self.look_for_parent(k);
            }
        }
    }

    /// The parent will stop: look for another one while it still feeds us.
    pub(super) fn handle_evict(&mut self, from: PeerId, k: u8, alternative: Option<PeerId>) {
        let k = usize::from(k);
        let Some(lane) = self.lanes.get_mut(k) else { return };
        if lane.parent != Some(from) {
            return;
        }
        lane.leaving = Some(self.now + crate::swarm::constants::EVICT_GRACE_MS);
        if let Some(neighbour) = self.neighbours.get_mut(from) {
            neighbour.not_before[k] = self.now + 2 * crate::swarm::constants::EVICT_GRACE_MS;
        }
        let usable =
            |n: &&Neighbour| n.bad_until <= self.now && n.not_before.get(k).is_some_and(|at| *at <= self.now);
        let alternative = alternative.and_then(|a| self.neighbours.get(a)).filter(usable).map(|n| n.id);
        match alternative {
            Some(peer) if self.wants_parents() && self.lanes[k].asking.is_none() => self.subscribe(k, peer),
            _ => self.look_for_parent(k),
        }
    }

    /// Ends the subscription of substream `k`.
    pub(super) fn leave_parent(&mut self, k: usize) {
        let Some(lane) = self.lanes.get_mut(k) else { return };
        lane.leaving = None;
        lane.loss = None;
        if let Some(parent) = lane.parent.take() {
            lane.orphan_since = self.now;
            self.send(parent, Message::Unsubscribe { lane: k as u8 });
        }
    }

    /// What the parent sends has come through us: another one.
    pub(super) fn leave_circle(&mut self, parent: PeerId, k: usize) {
        self.stats.loops += 1;
        self.avoid(parent, k);
        self.leave_parent(k);
        self.look_for_parent(k);
    }

    /// Does not ask `peer` for substream `k` for a while.
    pub(super) fn avoid(&mut self, peer: PeerId, k: usize) {
        let until = self.now + BAD_MS;
        if let Some(neighbour) = self.neighbours.get_mut(peer)
            && let Some(at) = neighbour.not_before.get_mut(k)
        {
            *at = until;
            neighbour.fail(1.0);
        }
    }

    /// Takes `peer` for dead or bad until `until`: no substream comes from it any more.
    pub(super) fn shun(&mut self, peer: PeerId, until: Ms) {
        if let Some(neighbour) = self.neighbours.get_mut(peer) {
            neighbour.bad_until = neighbour.bad_until.max(until);
            neighbour.fail(1.0);
        }
        for k in 0..LANES {
            let lane = &mut self.lanes[k];
            if lane.asking.is_some_and(|(p, _)| p == peer) {
                lane.asking = None;
            }
            if lane.parent == Some(peer) {
                lane.fallen = Some((peer, self.now));
                self.stats.parents_left += 1;
                self.leave_parent(k);
                self.look_for_parent(k);
            }
        }
    }
}

/// Whether a child of value `new` may take the place of one of value `old`.
pub(super) fn outranks(new: u8, old: u8) -> bool {
    let (new, old) = (u16::from(new), u16::from(old));
    new >= (2 * old).max(old + 4)
}
