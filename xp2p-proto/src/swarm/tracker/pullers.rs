//! Who reads the origin for the others.

use super::roll::Record;
use super::{Ms, Tracker};
use crate::swarm::constants::{
    HANDOVER_MS, PING_INTERVAL_MS, PING_TIMEOUT_MS, PING_TIMEOUT_REPORTED_MS, PULLER_AGE_MS, PULLER_GAIN,
    QUORUM_FROM, SEVERAL_REPORTERS, THREE_PULLERS_FROM, TWO_PULLERS_FROM,
};
use crate::swarm::{FromTracker, NatClass, PeerId, Trust};

/// What a second puller in the same region costs: both may vanish together.
const SAME_REGION: i64 = 20;
/// What a member that reads the origin already is worth more.
const READS_ALREADY: i64 = 10;
/// Age counts up to this, in ms.
const FULL_AGE_MS: i64 = 30_000;
/// What each substream is worth that a member gets from a puller directly.
const TOP_LANE: i64 = 2;
/// Pullers that die within this time, in ms, die at once.
const AT_ONCE_MS: i64 = 1_000;
/// How many more are elected when all have died at once.
const EMERGENCY: usize = 3;
/// Most members that are told of new pullers after a failure, the strongest first.
const MAX_BEREFT: usize = 64;
/// How often better pullers are looked for, in ms.
const REVIEW_MS: i64 = 5_000;
/// While there are too many, as after an emergency, in ms: one after the other, so that nobody is without a parent.
const EXCESS_REVIEW_MS: i64 = 2_000;
/// A member that did not answer as puller is not elected again for so long, in ms.
const FAILED_MS: i64 = 30_000;

#[derive(Debug)]
struct Puller {
    peer: PeerId,
    since: Ms,
    pinged: Option<Ms>,
    last_ping: Ms,
    reporters: Vec<PeerId>,
    /// Replaced by another one: until when it goes on.
    until: Option<Ms>,
}

/// The pullers.
#[derive(Debug, Default)]
pub(super) struct Pullers {
    list: Vec<Puller>,
    failed: Vec<(PeerId, Ms)>,
    /// They do not agree, and nobody else knows what is right.
    pub(super) disagree: bool,
    next_review: Ms,
}

impl Pullers {
    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    pub(super) fn all(&self) -> Vec<PeerId> {
        self.list.iter().map(|p| p.peer).collect()
    }

    pub(super) fn contains(&self, peer: PeerId) -> bool {
        self.list.iter().any(|p| p.peer == peer)
    }

    pub(super) fn remove(&mut self, peer: PeerId) -> bool {
        let before = self.list.len();
        self.list.retain(|p| p.peer != peer);
        self.list.len() < before
    }

    /// Those that are not being replaced.
    fn lasting(&self) -> usize {
        self.list.iter().filter(|p| p.until.is_none()).count()
    }
}

impl Tracker {
    fn wanted_pullers(&self) -> usize {
        let members = self.roll.len();
        match self.config.trust {
            _ if members == 0 => 0,
            Trust::Quorum if members >= QUORUM_FROM && self.pullers.disagree => 3,
            Trust::Quorum if (QUORUM_FROM..THREE_PULLERS_FROM).contains(&members) => 2,
            _ if members >= THREE_PULLERS_FROM => 3,
            _ if members >= TWO_PULLERS_FROM => 2,
            _ => 1,
        }
    }

    fn score(&self, record: &Record) -> i64 {
        let nat = match record.nat {
            NatClass::Public => 25,
            NatClass::Cone => 20,
            NatClass::Restricted | NatClass::Unknown => 0,
            NatClass::Symmetric => -60,
        };
        let age = (self.now - record.joined).min(FULL_AGE_MS) / 2_000;
        let reads = if record.origin_open { READS_ALREADY } else { 0 };
        // Who is fed by a puller directly has the trees below it in place.
        let top = record.depth.iter().filter(|d| **d <= 1).count() as i64 * TOP_LANE;
        i64::from(record.slots.min(90)) + nat + age + reads + top - record.rtt / 20
    }

    /// The best member to read the origin besides the present ones.
    fn best_puller(&self, min_age: Ms) -> Option<(i64, PeerId)> {
        let regions: Vec<_> =
            self.pullers.all().into_iter().filter_map(|p| self.roll.get(p)).map(|r| r.region).collect();
        self.roll
            .iter()
            .filter(|(p, r)| {
                // Two in one network see the same, also if that is not what the origin sends.
                let other_network = self.config.trust != Trust::Quorum || !regions.contains(&r.region);
                other_network
                    && r.may_pull
                    && !r.excluded
                    && r.slots > 0
                    && self.now - r.joined >= min_age
                    && !self.pullers.contains(*p)
                    && self.pullers.failed.iter().all(|(f, _)| f != p)
                    // Accused by anyone at this moment: rather not.
                    && r.hard.is_empty()
                    && r.soft.is_empty()
            })
            .map(|(p, r)| {
                let near = if regions.contains(&r.region) { SAME_REGION } else { 0 };
                (self.score(r) - near, p)
            })
            .max()
    }

    /// Elects as long as there are too few.
    pub(super) fn elect_if_needed(&mut self) {
        let mut wanted = self.wanted_pullers();
        let recent = self.pullers.failed.iter().filter(|(_, at)| self.now - at < AT_ONCE_MS).count();
        if recent > 0 && recent >= wanted && self.roll.len() >= TWO_PULLERS_FROM {
            // All are dead, and everybody waits for what two uplinks can give: more of them until that is over.
            wanted += EMERGENCY;
        }
        while self.pullers.lasting() < wanted {
            let settled = self.best_puller(PULLER_AGE_MS);
            let Some((_, peer)) = settled.or_else(|| self.best_puller(0)) else { break };
            self.elect(peer);
        }
    }

    fn elect(&mut self, peer: PeerId) {
        self.pullers.list.push(Puller {
            peer,
            since: self.now,
            pinged: None,
            last_ping: self.now,
            reporters: Vec::new(),
            until: None,
        });
        self.tell(peer, FromTracker::Elect);
        // So that what it reads can be passed on at once.
        self.send_recent_batches(peer);
    }

    /// Somebody says that a puller is dead: ask it.
    pub(super) fn doubt(&mut self, peer: PeerId, reporter: PeerId) {
        let now = self.now;
        let Some(puller) = self.pullers.list.iter_mut().find(|p| p.peer == peer) else { return };
        if !puller.reporters.contains(&reporter) && puller.reporters.len() < SEVERAL_REPORTERS {
            puller.reporters.push(reporter);
        }
        if puller.pinged.is_none() {
            puller.pinged = Some(now);
            puller.last_ping = now;
            self.tell(peer, FromTracker::Ping);
        }
    }

    pub(super) fn pong(&mut self, peer: PeerId) {
        let now = self.now;
        if let Some(puller) = self.pullers.list.iter_mut().find(|p| p.peer == peer)
            && let Some(at) = puller.pinged.take()
        {
            puller.reporters.clear();
            if let Some(record) = self.roll.get_mut(peer) {
                // A moving mean that rises at once: patience must cover the worst.
                let rtt = now - at;
                record.rtt = if rtt > record.rtt { rtt } else { (record.rtt * 7 + rtt) / 8 };
            }
        }
    }

    /// Replaces pullers that are dead or weak.
    pub(super) fn watch_pullers(&mut self) {
        let now = self.now;
        self.pullers.failed.retain(|(_, at)| now - at < FAILED_MS);
        let mut dead = Vec::new();
        let mut ping = Vec::new();
        let mut done = Vec::new();
        for puller in &mut self.pullers.list {
            let rtt = self.roll.get(puller.peer).map_or(0, |r| r.rtt);
            let patience = if puller.reporters.len() >= SEVERAL_REPORTERS {
                PING_TIMEOUT_REPORTED_MS
            } else {
                PING_TIMEOUT_MS
            };
            match puller.pinged {
                Some(at) if now - at > patience.max(2 * rtt) && !puller.reporters.is_empty() => {
                    dead.push(puller.peer);
                }
                // Nobody complains: one lost packet is no reason yet.
                Some(at) if now - at > PING_TIMEOUT_MS + 2 * rtt => dead.push(puller.peer),
                None if now - puller.last_ping >= PING_INTERVAL_MS => {
                    puller.pinged = Some(now);
                    puller.last_ping = now;
                    ping.push(puller.peer);
                }
                _ => {}
            }
            if puller.until.is_some_and(|at| at <= now) {
                done.push(puller.peer);
            }
        }
        for peer in ping {
            self.tell(peer, FromTracker::Ping);
        }
        let bereft = !dead.is_empty();
        for peer in dead {
            self.replace_puller(peer);
        }
        for peer in done {
            self.pullers.remove(peer);
            self.tell(peer, FromTracker::Demote);
        }
        self.elect_if_needed();
        if bereft {
            self.introduce_pullers();
        }
        if now >= self.pullers.next_review {
            self.pullers.next_review = now + REVIEW_MS;
            self.review();
        }
    }

    /// `peer` reads the origin for others no longer, and not soon again.
    pub(super) fn replace_puller(&mut self, peer: PeerId) {
        if self.pullers.remove(peer) {
            self.pullers.failed.push((peer, self.now));
            self.stats.failovers += 1;
            // If it lives after all, it need not go on.
            self.tell(peer, FromTracker::Demote);
        }
    }

    /// Those whom the dead ones fed need the new ones at once: below each of them hangs a whole tree.
    pub(super) fn introduce_pullers(&mut self) {
        let mut bereft: Vec<_> = self
            .roll
            .iter()
            .filter(|(p, r)| !r.excluded && !self.pullers.contains(*p) && r.depth.contains(&1))
            .map(|(p, r)| (r.slots, p))
            .collect();
        bereft.sort_unstable_by(|a, b| b.cmp(a));
        for (_, peer) in bereft.into_iter().take(MAX_BEREFT) {
            let Some(nat) = self.roll.get(peer).map(|r| r.nat) else { continue };
            let mut pullers = self.pullers.all();
            pullers.retain(|p| self.roll.get(*p).is_some_and(|r| r.nat.reaches(nat)));
            let mut candidates = self.introduce(peer, pullers);
            // It will read the origin, whether it does so already or not.
            candidates.iter_mut().for_each(|c| c.origin_fed = true);
            if !candidates.is_empty() {
                self.tell(peer, FromTracker::Candidates(candidates));
            }
        }
    }

    /// Replaces the weakest puller if somebody is clearly better, or lets one go that is too many.
    fn review(&mut self) {
        let lasting = |p: &&Puller| p.until.is_none();
        let weakest = self
            .pullers
            .list
            .iter()
            .filter(lasting)
            .filter_map(|p| {
                let record = self.roll.get(p.peer)?;
                Some((
                    self.score(record) - if record.origin_open { READS_ALREADY } else { 0 },
                    p.peer,
                    p.since,
                ))
            })
            .min();
        let Some((score, peer, since)) = weakest else { return };
        let until = self.now + HANDOVER_MS;
        if self.pullers.lasting() > self.wanted_pullers() {
            self.retire(peer, until);
            self.pullers.next_review = self.now + EXCESS_REVIEW_MS;
        } else if self.now - since > PULLER_AGE_MS
            && self.pullers.len() == self.wanted_pullers()
            && let Some((best, new)) = self.best_puller(PULLER_AGE_MS)
            && best > score + PULLER_GAIN
        {
            self.retire(peer, until);
            self.elect(new);
        }
    }

    fn retire(&mut self, peer: PeerId, until: Ms) {
        if let Some(puller) = self.pullers.list.iter_mut().find(|p| p.peer == peer) {
            puller.until = Some(until);
        }
    }
}
