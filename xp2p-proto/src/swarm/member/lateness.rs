//! What is done about parents that do not deliver.

use super::Member;
use crate::swarm::constants::{
    BACKLOG_LOW_MS, BAD_MS, BAN_MS, LANES, LATE_MARGIN_MS, LATE_SWITCH_MS, NEIGHBOUR_TIMEOUT_MS,
    PARENT_SILENT_MS, PUSH_GAP_MS, REPORT_SILENT_MS, STARVE_MARGIN_MS, WITHHOLD_MS,
};
use crate::swarm::{Message, Misdeed, Payload, PeerId, ToTracker};

/// A parent is of no use when so many pieces of its substream came in other ways and none from it.
const IDLE_PULLS: u32 = 3;
/// For so long, in ms. In a storm of pulls most pieces come in other ways, and good parents are not left for that.
const IDLE_MS: i64 = 2_500;
/// How often a neighbour is reported for the same, in ms.
const REPORT_AGAIN_MS: i64 = 1_000;

impl<P: Payload> Member<P> {
    /// Time from one piece of a substream to its next one, in ms.
    pub(super) fn lane_gap(&self) -> i64 {
        const SPAN: u64 = 32;
        let Some(newest) = self.shelf.newest().map(|s| s.info) else { return PUSH_GAP_MS };
        match self.shelf.get(newest.no.saturating_sub(SPAN)) {
            Some(old) if old.info.no < newest.no => {
                let count = (newest.no - old.info.no) as i64;
                newest.end.saturating_sub(old.info.end) as i64 * LANES as i64 / count
            }
            _ => PUSH_GAP_MS,
        }
    }

    /// Leaves parents that are dead, hold back or are hopelessly late.
    pub(super) fn check_lateness(&mut self) {
        let gap = self.lane_gap();
        self.gap = gap;
        // On a stream of few pieces a parent is heard of less often.
        let push_gap = PUSH_GAP_MS.max(gap * 3 / 2);
        let silent_limit = if gap > PARENT_SILENT_MS { PARENT_SILENT_MS * 3 / 2 } else { PARENT_SILENT_MS };
        let floor = self.playout.next().unwrap_or(0);
        let newest_end = self.shelf.newest().map(|s| s.info.end as i64);
        let nothing_new = self.now - self.newest_piece.1 > PUSH_GAP_MS;
        for k in 0..LANES {
            let lane = &self.lanes[k]; // below LANES
            let Some(parent) = lane.parent else { continue };
            let quiet = self.now - lane.last_push;
            let silent = self.neighbours.get(parent).is_none_or(|n| n.silence(self.now) > silent_limit);
            if quiet <= push_gap || lane.loss.is_some() && !silent {
                continue;
            }
            let missing = self
                .shelf
                .from(floor.max(lane.from))
                .find(|s| s.info.lane() == k && !s.is_here())
                .map(|s| s.info);
            let Some(origin_now) = self.origin_now() else { continue };
            if lane.pulled >= IDLE_PULLS && quiet > IDLE_MS + gap && !self.origin.is_open() {
                // Everything of it had to be pulled: it is of no use, whatever it says.
                self.stats.parents_left += 1;
                self.avoid(parent, k);
                self.leave_parent(k);
                self.look_for_parent(k);
                continue;
            }
            let age = match missing {
                Some(info) => self.age(&info),
                // Nothing is known to be missing, but something should have come.
                None => newest_end.map_or(0, |end| origin_now - end - gap),
            };
            if nothing_new
                && let Some(neighbour) = self.neighbours.get(parent)
                && neighbour.origin_fed
                && neighbour.silence(self.now) > PUSH_GAP_MS
            {
                self.report(parent, Misdeed::Silent);
            }
            let lane = &mut self.lanes[k];
            if age <= lane.lag as i64 + LATE_MARGIN_MS {
                continue;
            }
            // Someone who does get this substream is better; until one is found, the parent may recover.
            lane.starving = age > lane.lag as i64 + STARVE_MARGIN_MS;
            let lane = &self.lanes[k];
            let lag = lane.lag as i64;
            let Some(neighbour) = self.neighbours.get(parent) else {
                self.leave_parent(k);
                continue;
            };
            let silence = neighbour.silence(self.now);
            let has = missing.is_some_and(|info| neighbour.have.has(info.no));
            let (delivered, puller) = (neighbour.delivered, neighbour.origin_fed);
            let idle = neighbour.backlog < BACKLOG_LOW_MS;
            if silence > silent_limit {
                if silence > REPORT_SILENT_MS || puller {
                    self.report(parent, Misdeed::Silent);
                }
                self.shun(parent, self.now + BAD_MS);
            } else if has && quiet > WITHHOLD_MS && age > lag.min(WITHHOLD_MS) + WITHHOLD_MS {
                if delivered {
                    self.shun(parent, self.now + BAD_MS);
                } else {
                    // After a failure many turn to few, and whoever says that its uplink is full is most likely honest.
                    if idle {
                        self.report(parent, Misdeed::Withholds);
                    }
                    self.shun(parent, self.now + BAN_MS);
                }
            } else if age > lag + LATE_SWITCH_MS && !nothing_new {
                self.stats.parents_left += 1;
                self.avoid(parent, k);
                self.leave_parent(k);
                self.look_for_parent(k);
            }
        }
        self.leave_lost();
        self.drop_silent_neighbours();
    }

    fn drop_silent_neighbours(&mut self) {
        let now = self.now;
        let silent = |n: &super::neighbour::Neighbour| n.silence(now) > NEIGHBOUR_TIMEOUT_MS;
        if self.neighbours.iter().any(silent) {
            let gone: Vec<_> = self.neighbours.iter().filter(|n| silent(n)).map(|n| n.id).collect();
            for peer in gone {
                self.drop_neighbour(peer, true);
            }
        }
    }

    /// Tells the tracker, but not all the time.
    fn report(&mut self, peer: PeerId, misdeed: Misdeed) {
        if self.gathering.may_report(peer, self.now, REPORT_AGAIN_MS) {
            self.tell_tracker(ToTracker::Bad { peer, misdeed, piece: None });
        }
    }

    /// One that sent a wrong piece: never again. It may be gone since, because a piece can be there before its digest.
    pub(super) fn ban(&mut self, peer: PeerId) {
        self.gathering.ban(peer);
        if self.neighbours.get(peer).is_some() {
            self.send(peer, Message::Bye);
            self.drop_neighbour(peer, true);
        }
    }
}
