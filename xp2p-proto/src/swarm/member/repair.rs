//! Pulling single pieces that do not come by themselves.

use super::Member;
use super::ask::Ask;
use crate::swarm::constants::{
    LATE_MARGIN_MS, MAX_PULLS, MAX_PULLS_EACH, MAX_START_PULLS, MAX_START_PULLS_EACH, ORPHAN_PATIENCE_MS,
    PULL_DEADLINE_MS, PULL_DEPTH_CAP, PULL_DEPTH_MS, PULL_ORPHAN_MS,
};
use crate::swarm::{Message, NO_SOURCE, Payload, PeerId, PieceInfo, PieceNo};

/// What each unanswered request to a neighbour costs it when a source is chosen, in ms.
const OUTSTANDING_MS: i64 = 60;
/// What each failure costs, in ms.
const FAIL_MS: f32 = 200.0;
/// A neighbour that has been silent for longer than a status takes between two that do not feed each other, in ms, is doubted.
const SILENCE_MS: i64 = 1_050;
/// By how much scores differ by chance, in ms.
const NOISE_MS: u32 = 50;
/// What a request may take beyond two round trips, in ms: when it is urgent, and otherwise.
const URGENT_TIMEOUT_MS: i64 = 250;
const TIMEOUT_MS: i64 = 450;
/// Who gets a substream with some lag is expected to have a piece that is so much older than that, in ms.
const EXPECTED_MS: i64 = 150;
/// What it costs a source that it is only expected to have the piece, in ms.
const DOUBT_MS: i64 = 80;
/// What it costs a source that it reads the origin, in ms: everybody would ask it, who has every piece first.
const ORIGIN_FED_MS: i64 = 50;
/// A piece of this age is asked for on trust, in ms.
const HOPEFUL_MS: i64 = 800;
/// Most pulls at once from a neighbour that has not delivered anything yet: it may be one that never does.
const MAX_UNPROVEN: u8 = 3;
/// What such a neighbour may take beyond its round trips, in ms. A newcomer has no time to find out slowly.
const UNPROVEN_TIMEOUT_MS: i64 = 120;
/// After so many failures a neighbour that has never delivered is avoided.
const UNPROVEN_FAILS: f32 = 1.4;
/// For so long, in ms.
const UNPROVEN_BAN_MS: i64 = 5_000;
/// How long a parent that has just been found is given to bring what was missed, in ms.
const CATCH_UP_MS: i64 = 600;
/// Unless the piece is needed within this time, in ms.
const CATCH_UP_DEADLINE_MS: i64 = 350;
/// When an answer takes so much longer than a round trip, in ms, another one is asked as well, if there is need.
const HEDGE_MS: i64 = 50;
/// There is need before playing, and when the piece is needed within this time, in ms.
const HEDGE_DEADLINE_MS: i64 = 450;
/// Most pieces that are looked at.
const HORIZON: usize = 160;

impl<P: Payload> Member<P> {
    /// Asks for pieces that are missing and will not come in time by themselves.
    pub(super) fn repair(&mut self) {
        if !self.config.use_peers || self.clock.is_none() {
            return;
        }
        let Some(next) = self.playout.next() else { return };
        let mut outstanding = 0;
        let most = if self.playout.has_begun() { MAX_PULLS } else { MAX_START_PULLS };
        let mut wanted: [(PieceNo, i64); MAX_START_PULLS] = [(0, 0); MAX_START_PULLS];
        let mut count = 0;
        self.give_up_requests(next);
        for slot in self.shelf.from(next).take(HORIZON) {
            if slot.is_here() || !slot.confirmed {
                continue;
            }
            let deadline = self.playout.deadline(&slot.info);
            let wants = if slot.asks.is_none() {
                self.must_pull(&slot.info, deadline)
            } else {
                outstanding += 1;
                let need = !self.playout.has_begun() || deadline < HEDGE_DEADLINE_MS;
                need && slot.asks.may_hedge(self.now)
            };
            if wants && count < most {
                wanted[count] = (slot.info.no, deadline); // below MAX_START_PULLS
                count += 1;
            }
        }
        for (no, deadline) in wanted.into_iter().take(count) {
            if outstanding >= most {
                break;
            }
            if let Some(info) = self.shelf.get(no).map(|s| s.info)
                && self.pull(&info, deadline)
            {
                outstanding += 1;
            }
        }
    }

    /// Gives up the requests from piece `next` on whose time is over.
    fn give_up_requests(&mut self, next: PieceNo) {
        let mut timed_out = Vec::new();
        for slot in self.shelf.iter_from_mut(next).take(HORIZON) {
            while let Some(peer) = slot.asks.timed_out(self.now) {
                slot.refuse(peer);
                timed_out.push((slot.info.no, peer));
            }
        }
        for (no, peer) in timed_out {
            self.answered(peer);
            self.send(peer, Message::Cancel { piece: no });
            let Some(neighbour) = self.neighbours.get_mut(peer) else { continue };
            neighbour.fail(0.5);
            if !neighbour.delivered && neighbour.fails > UNPROVEN_FAILS && neighbour.bad_until <= self.now {
                // Not reported: an honest one whose uplink is full looks the same to a newcomer.
                self.shun(peer, self.now + UNPROVEN_BAN_MS);
            }
        }
    }

    fn must_pull(&self, info: &PieceInfo, deadline: i64) -> bool {
        let k = info.lane();
        let lane = &self.lanes[k]; // below LANES
        if self.origin.will_send(info.no, self.now) {
            return false;
        }
        let age = self.age(info);
        if !self.playout.has_begun() {
            // A newcomer needs the first pieces at once, from whoever has them.
            return deadline < PULL_DEADLINE_MS || lane.parent.is_none() && age > PULL_ORPHAN_MS;
        }
        if lane.parent.is_some()
            && info.no >= lane.from
            && self.now - lane.since < CATCH_UP_MS
            && deadline > CATCH_UP_DEADLINE_MS
        {
            return false;
        }
        let depth = i64::from(self.depth(k)).min(PULL_DEPTH_CAP);
        deadline < PULL_DEADLINE_MS
            || lane.parent.is_none()
                && age > PULL_ORPHAN_MS
                && self.now - lane.orphan_since >= ORPHAN_PATIENCE_MS
            || age > lane.lag as i64 + LATE_MARGIN_MS + PULL_DEPTH_MS * depth
    }

    /// Asks the best source for a piece. Returns whether there was one.
    fn pull(&mut self, info: &PieceInfo, deadline: i64) -> bool {
        let mut best: Option<(i64, Ask)> = None;
        let each = if self.playout.has_begun() { MAX_PULLS_EACH } else { MAX_START_PULLS_EACH };
        let slot = self.shelf.get(info.no);
        let (k, age) = (info.lane(), self.age(info));
        // Who expects wrongly once has met something unusual, and loses a round trip with each further guess.
        let refused = slot.is_some_and(|s| s.refused.iter().any(Option::is_some));
        // A newcomer does not wait for the first status: who has been here for long has what is not quite new.
        let hopeful = !self.playout.has_begun() && age >= HOPEFUL_MS;
        for n in self.neighbours.iter() {
            // Maps are half a second old; whoever gets this substream early enough has the piece by now.
            let status = n.lanes[k]; // below LANES
            let expected = !refused
                && status.depth != NO_SOURCE
                && n.have.end() > info.no
                && age > i64::from(status.lag) + EXPECTED_MS;
            let has = n.have.has(info.no);
            if !(has || expected || hopeful && !n.told) || n.asked >= each || n.bad_until > self.now {
                continue;
            }
            if slot.is_some_and(|s| s.was_refused_by(n.id) || s.asks.was_asked(n.id))
                || !n.delivered && n.asked >= MAX_UNPROVEN
            {
                continue;
            }
            let noise = i64::from(rand_core::Rng::next_u32(&mut self.rng) % NOISE_MS);
            let score = n.rtt
                + n.backlog
                + OUTSTANDING_MS * i64::from(n.asked)
                + (FAIL_MS * n.fails) as i64
                + 2 * (n.silence(self.now) - SILENCE_MS).max(0)
                + if has { 0 } else { DOUBT_MS }
                + if n.origin_fed { ORIGIN_FED_MS } else { 0 }
                + noise;
            if best.is_none_or(|(b, _)| score < b) {
                let base = 2 * n.rtt;
                let timeout = if !n.delivered {
                    n.rtt * 3 / 2 + UNPROVEN_TIMEOUT_MS + n.backlog
                } else if deadline < PULL_DEADLINE_MS {
                    base + URGENT_TIMEOUT_MS + n.backlog
                } else {
                    base + TIMEOUT_MS + n.backlog
                };
                let (until, hedge_at) = (self.now + timeout, self.now + n.rtt + HEDGE_MS);
                best = Some((score, Ask { peer: n.id, until, hedge_at }));
            }
        }
        let Some((_, ask)) = best else {
            // Everyone that has it has refused: ask again from the start.
            if let Some(slot) = self.shelf.get_mut(info.no).filter(|s| s.asks.is_none()) {
                slot.refused = [None; 2];
            }
            return false;
        };
        let peer = ask.peer;
        self.stats.pulls += 1;
        // The parent need not send it, too, unless it was asked to. One that lacks it shall pass it on as soon as it has it: when a piece
        // is missing everywhere, everybody asks somebody in vain, and it comes down the tree after all.
        let parent = self.lanes[info.lane()].parent; // below LANES
        let parent = parent.filter(|p| *p != peer && !slot.is_some_and(|s| s.asks.was_asked(*p)));
        let parent = parent.filter(|p| self.neighbours.get(*p).is_some_and(|n| n.have.has(info.no)));
        if let Some(slot) = self.shelf.get_mut(info.no) {
            slot.asks.push(ask);
        }
        if let Some(n) = self.neighbours.get_mut(peer) {
            n.asked += 1; // at most MAX_START_PULLS_EACH
            n.useful = self.now;
        }
        let slack = deadline.clamp(0, 60_000) as u16;
        self.send(peer, Message::Request { piece: info.no, slack });
        if let Some(parent) = parent {
            self.send(parent, Message::Cancel { piece: info.no });
        }
        true
    }

    /// A neighbour owes one answer less.
    pub(super) fn answered(&mut self, peer: PeerId) {
        if let Some(neighbour) = self.neighbours.get_mut(peer) {
            neighbour.asked = neighbour.asked.saturating_sub(1);
        }
    }

    pub(super) fn handle_no_have(&mut self, from: PeerId, no: PieceNo) {
        let Some(slot) = self.shelf.get_mut(no) else { return };
        if slot.asks.answered(from) {
            slot.refuse(from);
            self.answered(from);
            if let Some(neighbour) = self.neighbours.get_mut(from) {
                neighbour.fail(0.2);
            }
            self.repair();
        }
    }
}
