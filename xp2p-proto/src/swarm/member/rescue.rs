//! The origin: who reads it, when, and for how long.

use super::{Action, EvictWay, Member, Ms, OriginReason};
use crate::swarm::constants::{
    CLOSE_AFTER_MS, CLOSE_LANES, CLOSE_MARGIN_MS, EVICT_GRACE_MS, LANES, LEASE_TIMEOUT_MS, MAX_HOLD_MS,
    MIN_HOLD_MS, NEARLY_PATIENCE_MS, REOPEN_MS, RESCUE_AGE_MS, RESCUE_DEADLINE_MS, RESCUE_QUIET_DEADLINE_MS,
    RESCUE_SILENCE_MS, RESCUE_STALL_MS, START_BUFFER_MS, START_PATIENCE_MS,
};
use crate::swarm::{NO_SOURCE, Payload, PieceNo, ToTracker};

/// The origin feeds us as long as something has come within this time, in ms.
const FEEDING_MS: i64 = 1_000;
/// After a denied lease the tracker is not asked again for so long, in ms, and up to as much more by chance.
const DENIED_MS: u32 = 1_000;
/// How long the origin is read before parents are let go that are no longer needed, in ms.
const SETTLED_MS: i64 = 1_000;
/// How many of the newest pieces of a substream without a parent must be held by others before the origin is closed.
const SPARE_HOLDERS: usize = 2;

#[derive(Debug)]
struct Open {
    since: Ms,
    /// Read for others, until told otherwise.
    permanent: bool,
    first: Option<PieceNo>,
    last: Ms,
    good_since: Option<Ms>,
}

/// What is known of the origin.
#[derive(Debug, Default)]
pub(super) struct Origin {
    open: Option<Open>,
    hold: i64,
    closed: Option<Ms>,
    /// When the tracker was asked.
    asked: Option<Ms>,
    not_before: Ms,
    policy: bool,
    elected: bool,
}

impl Origin {
    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    pub(super) fn is_permanent(&self) -> bool {
        self.open.as_ref().is_some_and(|o| o.permanent)
    }

    /// Whether pieces come from it.
    pub(super) fn feeds(&self, now: Ms) -> bool {
        self.open.as_ref().is_some_and(|o| o.first.is_some() && now - o.last <= FEEDING_MS)
    }

    /// Whether it will send piece `no` by itself.
    pub(super) fn will_send(&self, no: PieceNo, now: Ms) -> bool {
        self.feeds(now) && self.open.as_ref().is_some_and(|o| o.first.is_some_and(|f| no >= f))
    }

    /// Takes note of a piece. Returns whether it is the first one after the origin was opened or had broken off.
    pub(super) fn note(&mut self, no: PieceNo, now: Ms) -> bool {
        let fed = self.feeds(now);
        let Some(open) = &mut self.open else { return false };
        open.first.get_or_insert(no);
        open.last = now;
        !fed
    }

    /// What it sent was not what the signer has seen.
    pub(super) fn broken(&mut self) {
        if let Some(open) = &mut self.open {
            open.first = None;
        }
    }

    pub(super) fn forget_policy(&mut self) {
        self.policy = false;
        if let Some(open) = &mut self.open {
            open.permanent = self.elected;
        }
    }
}

impl<P: Payload> Member<P> {
    pub(super) fn open_origin(&mut self, reason: OriginReason) {
        if reason == OriginReason::Policy {
            self.origin.policy = true;
        }
        let permanent = self.origin.policy || self.origin.elected;
        if let Some(open) = &mut self.origin.open {
            open.permanent |= permanent;
            if permanent {
                // Whatever it was opened for, that is why it stays open.
                self.stats.origin_reason = reason;
            }
            return;
        }
        let soon = self.origin.closed.is_some_and(|at| self.now - at < REOPEN_MS);
        self.origin.hold =
            if soon { (self.origin.hold * 2).clamp(MIN_HOLD_MS, MAX_HOLD_MS) } else { MIN_HOLD_MS };
        self.origin.open =
            Some(Open { since: self.now, permanent, first: None, last: self.now, good_since: None });
        self.origin.asked = None;
        self.stats.origin_opens += 1;
        self.stats.origin_reason = reason;
        self.actions.push_back(Action::OpenOrigin);
        self.tell_tracker(ToTracker::Origin { open: true });
    }

    fn close_origin(&mut self) {
        if self.origin.open.take().is_some() {
            self.origin.closed = Some(self.now);
            self.actions.push_back(Action::CloseOrigin);
            self.tell_tracker(ToTracker::Origin { open: false });
        }
    }

    /// The origin has failed or ended.
    pub fn origin_closed(&mut self, now: std::time::Instant) {
        self.step(now);
        if self.origin.open.take().is_some() {
            self.origin.closed = Some(self.now);
            self.origin.hold = (self.origin.hold * 2).clamp(MIN_HOLD_MS, MAX_HOLD_MS);
            // Not at once again: the whole swarm would hammer an origin that is down.
            self.origin.not_before = self.now + self.origin.hold / 2 + self.chance(DENIED_MS);
            self.tell_tracker(ToTracker::Origin { open: false });
        }
    }

    /// The tracker wants us to read the origin for others.
    pub(super) fn elect(&mut self) {
        let newly = !std::mem::replace(&mut self.origin.elected, true);
        self.open_origin(OriginReason::Puller);
        if newly {
            // What waits here comes as much later everywhere below: whoever is too many for a root goes now, not when the uplink is full.
            self.slots = self.slots.min(self.base_slots());
            self.shed_children(EvictWay::Gently);
            // What the origin begins with goes to all children at once, and those of its predecessor come: that passes.
            self.next_shed = self.now + EVICT_GRACE_MS;
        }
    }

    /// An origin gives what it has from its newest keyframe on. What is missing before that is nowhere else if those who read it until
    /// now are dead; whoever signs the stream has it.
    pub(super) fn ask_fill(&mut self, first: PieceNo) {
        let Some(next) = self.playout.next().filter(|_| self.origin.elected) else { return };
        let missing = self.shelf.from(next).find(|s| !s.is_here()).map(|s| s.info.no);
        if let Some(from) = missing.filter(|no| *no < first) {
            self.tell_tracker(ToTracker::Fill { from, to: first });
        }
    }

    /// Whether it is elected to read the origin for others.
    pub fn reads_for_others(&self) -> bool {
        self.origin.elected
    }

    pub(super) fn demote(&mut self) {
        self.origin.elected = false;
        if !self.origin.policy
            && let Some(open) = &mut self.origin.open
        {
            open.permanent = false;
            open.good_since = None;
        }
    }

    pub(super) fn excluded(&mut self) {
        self.set_use_peers(self.start + std::time::Duration::from_millis(self.now.max(0) as u64), false);
        let peers: Vec<_> = self.neighbours.iter().map(|n| n.id).collect();
        for peer in peers {
            self.drop_neighbour(peer, true);
        }
    }

    pub(super) fn handle_lease(&mut self, granted: bool) {
        if self.origin.asked.take().is_none() {
            return;
        }
        if !granted {
            self.origin.not_before = self.now + i64::from(DENIED_MS) + self.chance(DENIED_MS);
        } else if self.is_in_need() {
            // Else somebody has helped meanwhile, as in five of seven cases at 200 members over packets.
            self.stats.rescues += 1;
            let reason = self.why_origin();
            self.open_origin(reason);
        }
    }

    /// Why others do not suffice.
    fn why_origin(&self) -> OriginReason {
        if !self.config.use_peers {
            OriginReason::Policy
        } else if self.neighbours.len() > 0 {
            if self.neighbours_are_full() { OriginReason::Uplink } else { OriginReason::Late }
        } else if self.gathering.tried() > 0 {
            OriginReason::Nat
        } else {
            OriginReason::NoPeers
        }
    }

    /// Whether others get the stream, and have nothing left to give. Who gets nothing itself is not full, but late.
    fn neighbours_are_full(&self) -> bool {
        let lanes = || self.neighbours.iter().filter(|n| n.told).flat_map(|n| &n.lanes);
        let fed = (0..LANES).any(|k| self.lanes[k].parent.is_some());
        !fed && lanes().any(|l| l.depth != NO_SOURCE) && lanes().all(|l| l.spare == 0)
    }

    pub(super) fn check_rescue(&mut self) {
        if self.origin.is_open() {
            self.check_open();
        } else if self.now >= self.origin.not_before {
            self.check_need();
        }
    }

    fn check_need(&mut self) {
        if self.origin.policy || self.origin.elected {
            let reason = if self.origin.policy { OriginReason::Policy } else { OriginReason::Puller };
            self.open_origin(reason);
            return;
        }
        if !self.playout.has_begun() {
            // A newcomer need not ask.
            let patience = if self.is_nearly_there() { NEARLY_PATIENCE_MS } else { START_PATIENCE_MS };
            if self.now > patience {
                let reason = self.why_origin();
                self.open_origin(reason);
            }
            return;
        }
        if let Some(asked) = self.origin.asked {
            if self.now - asked > LEASE_TIMEOUT_MS || !self.tracked {
                self.origin.asked = None;
                if self.is_in_need() {
                    self.stats.rescues += 1;
                    let reason = self.why_origin();
                    self.open_origin(reason);
                }
            }
            return;
        }
        if self.is_in_need() {
            self.origin.asked = Some(self.now);
            self.tell_tracker(ToTracker::Rescue);
        }
    }

    /// Whether most of what it takes to begin is here.
    fn is_nearly_there(&self) -> bool {
        let Some(next) = self.playout.next() else { return false };
        let Some(start) = self.shelf.get(next).map(|s| s.info.time) else { return false };
        let (mut here, mut asked, mut all) = (0, 0, 0);
        for slot in self.shelf.from(next).take_while(|s| s.info.time < start + START_BUFFER_MS as u64) {
            all += 1;
            here += usize::from(slot.is_here());
            asked += usize::from(!slot.is_here() && !slot.asks.is_none());
        }
        all > 0 && (4 * here >= 3 * all || 3 * here >= 2 * all && here + asked == all)
    }

    /// Whether playing is about to stop, or has stopped, and others do not seem to help.
    fn is_in_need(&self) -> bool {
        let Some(next) = self.playout.next() else { return false };
        let newest = self.shelf.newest().map(|s| s.info);
        let missing = self.shelf.from(next).find(|s| !s.is_here()).map(|s| s.info);
        let (age, deadline, current) = match (missing, newest) {
            (Some(info), Some(newest)) => {
                (self.age(&info), self.playout.deadline(&info), info.segment >= newest.segment)
            }
            // Everything known is here; what comes next is not even known.
            (None, Some(newest)) => {
                let age = self.age(&newest) - self.lane_gap() / LANES as i64;
                let left = (newest.end as f64 - self.playout.position()) as i64;
                (age, left, true)
            }
            _ => return true,
        };
        let quiet = self.now - self.newest_piece.1 > RESCUE_SILENCE_MS;
        age > RESCUE_AGE_MS
            && (deadline < RESCUE_DEADLINE_MS && current
                || deadline < RESCUE_QUIET_DEADLINE_MS && quiet
                || self.playout.stalled_for(self.now) > RESCUE_STALL_MS)
    }

    fn check_open(&mut self) {
        let feeds = self.origin.feeds(self.now);
        let Some(open) = &self.origin.open else { return };
        if open.permanent {
            if feeds && self.now - open.since > SETTLED_MS {
                for k in 0..LANES {
                    self.leave_parent(k);
                }
            }
            return;
        }
        let held = self.now - open.since >= self.origin.hold;
        let good = self.others_suffice();
        let Some(open) = &mut self.origin.open else { return };
        if !good {
            open.good_since = None;
            return;
        }
        let since = *open.good_since.get_or_insert(self.now);
        if held && self.now - since >= CLOSE_AFTER_MS {
            self.close_origin();
        }
    }

    /// Whether the others deliver early enough to do without the origin.
    fn others_suffice(&self) -> bool {
        let Some(origin_now) = self.origin_now() else { return false };
        if !self.playout.is_playing() {
            return false;
        }
        let latency = (origin_now as f64 - self.playout.position()) as i64;
        let mut fed = 0;
        for k in 0..LANES {
            let parent = self.lanes[k].parent.and_then(|p| self.neighbours.get(p));
            match parent {
                Some(n) => {
                    let lag = i64::from(n.lanes[k].lag) + n.rtt / 2 + n.backlog / 2;
                    if lag + CLOSE_MARGIN_MS < latency {
                        fed += 1;
                    }
                }
                None => {
                    let recent =
                        self.shelf.from(0).rev().find(|s| {
                            s.info.lane() == k && self.age(&s.info) > latency - 2 * CLOSE_MARGIN_MS
                        });
                    let holders = recent
                        .map_or(0, |s| self.neighbours.iter().filter(|n| n.have.has(s.info.no)).count());
                    if holders < SPARE_HOLDERS {
                        return false;
                    }
                }
            }
        }
        fed >= CLOSE_LANES
    }
}
