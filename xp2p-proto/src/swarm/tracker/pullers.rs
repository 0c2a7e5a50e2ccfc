//! Who reads the origin for the others.

use super::roll::Record;
use super::{Ms, Tracker};
use crate::swarm::constants::{
    HANDOVER_MS, LANES, MAX_RTT_MS, PING_INTERVAL_MS, PING_TIMEOUT_MS, PING_TIMEOUT_REPORTED_MS,
    PULLER_AGE_MS, PULLER_DEAD_MS, PULLER_GAIN, QUORUM_FROM, SEVERAL_REPORTERS, THREE_PULLERS_FROM,
    TWO_PULLERS_FROM, UNKNOWN_RTT_MS,
};
use crate::swarm::{FromTracker, NatClass, PeerId, Trust};

/// What a second puller in the same region costs: both may vanish together.
const SAME_REGION: i64 = 20;
/// What it costs to be accused by anyone at this moment: whoever is not comes first. More than anything else counts; but one that
/// accuses everybody must not keep everybody from it.
const ACCUSED: i64 = 1_000_000;
/// What a member that reads the origin already is worth more.
const READS_ALREADY: i64 = 10;
/// What a member costs that could not even pass on the stream once: whoever has no uplink reads the origin more often than others,
/// and near it, but is no root of a tree.
const WEAK: i64 = 60;
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
    /// It has not answered in time: others read for it meanwhile, and it is offered to nobody.
    suspected: bool,
    /// Replaced by another one: until when it goes on.
    until: Option<Ms>,
}

impl Puller {
    /// Whether it answers and is not being replaced.
    fn lasts(&self) -> bool {
        self.until.is_none() && !self.suspected
    }
}

/// The pullers.
#[derive(Debug, Default)]
pub(super) struct Pullers {
    list: Vec<Puller>,
    failed: Vec<(PeerId, Ms)>,
    /// When one was last lost: it did not answer, is gone, is excluded, or differs from the others.
    lost: Option<Ms>,
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

    /// Those that answer.
    pub(super) fn alive(&self) -> Vec<PeerId> {
        self.list.iter().filter(|p| !p.suspected).map(|p| p.peer).collect()
    }

    pub(super) fn contains(&self, peer: PeerId) -> bool {
        self.list.iter().any(|p| p.peer == peer)
    }

    fn remove(&mut self, peer: PeerId) -> bool {
        let before = self.list.len();
        self.list.retain(|p| p.peer != peer);
        self.list.len() < before
    }

    /// `peer` is gone, whether it has said so or not. Returns whether it was one.
    pub(super) fn lose(&mut self, peer: PeerId, now: Ms) -> bool {
        let gone = self.remove(peer);
        if gone {
            self.lost = Some(now);
        }
        gone
    }

    /// Those that answer and are not being replaced.
    fn lasting(&self) -> usize {
        self.list.iter().filter(|p| p.lasts()).count()
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

    /// What a member is worth as a root of trees.
    fn strength(&self, record: &Record) -> i64 {
        let nat = match record.nat {
            NatClass::Public => 25,
            NatClass::Cone => 20,
            NatClass::Restricted | NatClass::Unknown => 0,
            NatClass::Symmetric => -60,
        };
        let age = (self.now - record.joined).min(FULL_AGE_MS) / 2_000;
        let weak = if usize::from(record.slots) < LANES { WEAK } else { 0 };
        i64::from(record.slots.min(90)) + nat + age - weak - record.rtt / 20
    }

    /// The same for one that is to become one at once.
    fn score(&self, record: &Record) -> i64 {
        let reads = if record.origin_open { READS_ALREADY } else { 0 };
        // Who is fed by a puller directly has the trees below it in place.
        let top = record.depth.iter().filter(|d| **d <= 1).count() as i64 * TOP_LANE;
        self.strength(record) + reads + top
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
            })
            .map(|(p, r)| {
                let near = if regions.contains(&r.region) { SAME_REGION } else { 0 };
                let accused = if r.hard.is_empty() && r.soft.is_empty() { 0 } else { ACCUSED };
                (self.score(r) - near - accused, p)
            })
            .max()
    }

    /// Elects as long as there are too few.
    pub(super) fn elect_if_needed(&mut self) {
        let mut wanted = self.wanted_pullers();
        let recent = self.pullers.lost.is_some_and(|at| self.now - at < AT_ONCE_MS);
        // One that was there before has its trees below it. Successors that failed at once were never of any use.
        let rooted = self.pullers.list.iter().any(|p| p.lasts() && self.now - p.since >= AT_ONCE_MS);
        if recent && !rooted && self.roll.len() >= TWO_PULLERS_FROM {
            // All are dead or have left, and everybody waits for what two uplinks can give: more of them until that is over.
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
            pinged: Some(self.now),
            last_ping: self.now,
            reporters: Vec::new(),
            suspected: false,
            until: None,
        });
        self.tell(peer, FromTracker::Elect);
        // Whatever killed its predecessor may have killed it.
        self.tell(peer, FromTracker::Ping);
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
            if std::mem::take(&mut puller.suspected) {
                // A packet was lost or late. There is one too many now, of which the weakest goes.
                self.pullers.failed.retain(|(p, _)| *p != peer);
            }
            if let Some(record) = self.roll.get_mut(peer) {
                // A moving mean that rises at once: patience must cover the worst.
                // 0 stands for one that was never measured.
                let rtt = (now - at).clamp(1, MAX_RTT_MS);
                record.rtt = if rtt > record.rtt { rtt } else { (record.rtt * 7 + rtt) / 8 };
            }
        }
    }

    /// Replaces pullers that are dead or weak.
    pub(super) fn watch_pullers(&mut self) {
        let now = self.now;
        self.pullers.failed.retain(|(_, at)| now - at < FAILED_MS);
        let mut suspected = Vec::new();
        let mut dead = Vec::new();
        let mut ping = Vec::new();
        let mut done = Vec::new();
        for puller in &mut self.pullers.list {
            let rtt = self.roll.get(puller.peer).map_or(0, |r| r.rtt);
            let rtt = if rtt == 0 { UNKNOWN_RTT_MS } else { rtt };
            let patience = match puller.reporters.len() {
                // Nobody complains: one lost packet is no reason yet.
                0 => PING_TIMEOUT_MS + 2 * rtt,
                n if n < SEVERAL_REPORTERS => PING_TIMEOUT_MS.max(2 * rtt),
                _ => PING_TIMEOUT_REPORTED_MS.max(2 * rtt),
            };
            match puller.pinged {
                Some(at) if now - at > patience + PULLER_DEAD_MS => dead.push(puller.peer),
                Some(at) if now - at > patience && !puller.suspected => {
                    puller.suspected = true;
                    suspected.push(puller.peer);
                }
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
        let bereft = !suspected.is_empty();
        for peer in suspected {
            self.note_failure(peer);
        }
        for peer in dead {
            self.dismiss(peer);
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
        if self.pullers.contains(peer) {
            self.note_failure(peer);
            self.dismiss(peer);
        }
    }

    /// `peer` is not elected again soon.
    fn note_failure(&mut self, peer: PeerId) {
        self.pullers.lost = Some(self.now);
        self.pullers.failed.push((peer, self.now));
        self.stats.failovers += 1;
    }

    fn dismiss(&mut self, peer: PeerId) {
        if self.pullers.remove(peer) {
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
            let mut pullers = self.pullers.alive();
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
        let weakest = self
            .pullers
            .list
            .iter()
            .filter(|p| p.lasts())
            .filter_map(|p| {
                let record = self.roll.get(p.peer)?;
                Some((self.strength(record), p.peer, p.since))
            })
            .min();
        let Some((strength, peer, since)) = weakest else { return };
        let until = self.now + HANDOVER_MS;
        if self.pullers.lasting() > self.wanted_pullers() {
            self.retire(peer, until);
            self.pullers.next_review = self.now + EXCESS_REVIEW_MS;
        } else if self.now - since > PULLER_AGE_MS
            && self.pullers.len() == self.wanted_pullers()
            && let Some((_, new)) = self.best_puller(PULLER_AGE_MS)
            // Compared without what is in place below either: that is the same for both in the end.
            && self.roll.get(new).is_some_and(|r| self.strength(r) > strength + PULLER_GAIN)
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::swarm::{Misdeed, Report, ToTracker, TrackerConfig};

    /// A tracker of three members, of which the first reads the origin.
    struct Bench {
        tracker: Tracker,
        now: Instant,
        said: Vec<(PeerId, FromTracker)>,
    }

    impl Bench {
        fn new() -> Self {
            #[expect(clippy::disallowed_methods, reason = "a test needs some first instant")]
            let now = Instant::now();
            let tracker = Tracker::new(TrackerConfig::new([1; 32], Trust::Witness), now);
            let mut bench = Self { tracker, now, said: Vec::new() };
            for n in 1..=3 {
                let join = ToTracker::Join {
                    nat: NatClass::Cone,
                    slots: 9,
                    may_pull: true,
                    contact: Default::default(),
                };
                bench.tracker.handle(bench.now, PeerId(n), 1, join);
            }
            bench.run(0);
            assert_eq!(bench.pullers(), [PeerId(1)]);
            bench
        }

        fn pullers(&self) -> Vec<PeerId> {
            (1..=3).map(PeerId).filter(|p| self.tracker.is_puller(*p)).collect()
        }

        /// Time passes, in which all but the first answer at once.
        fn run(&mut self, ms: u64) {
            for _ in 0..ms / 10 {
                self.now += Duration::from_millis(10);
                self.tracker.handle_timeout(self.now);
                while let Some((peer, message)) = self.tracker.poll_action() {
                    if peer != PeerId(1) && message == FromTracker::Ping {
                        self.tracker.handle(self.now, peer, 1, ToTracker::Pong);
                    }
                    self.said.push((peer, message));
                }
            }
            self.said.extend(std::iter::from_fn(|| self.tracker.poll_action()));
        }

        fn pong(&mut self) {
            self.tracker.handle(self.now, PeerId(1), 1, ToTracker::Pong);
        }

        fn demoted(&self) -> bool {
            self.said.iter().any(|(p, m)| *p == PeerId(1) && *m == FromTracker::Demote)
        }
    }

    /// Half of the new pullers over QUIC were held to be dead, because one round trip with a lost packet took longer than
    /// nothing, which is what the tracker knew of their round trips; each time a whole tree lost its root.
    #[test]
    fn a_new_puller_may_be_far_away() {
        let mut bench = Bench::new();
        bench.run(500);
        assert_eq!(bench.pullers(), [PeerId(1)], "nobody has measured how far");
        bench.pong();
        bench.run(1_000);
        assert_eq!(
            bench.tracker.stats().failovers,
            0,
            "the ping took 400 ms, and the next may take three times that"
        );
    }

    #[test]
    fn who_answers_late_goes_on_beside_its_successor_until_one_of_them_is_too_many() {
        let mut bench = Bench::new();
        bench.run(900);
        assert_eq!(bench.tracker.stats().failovers, 1);
        assert_eq!((bench.pullers().len(), bench.demoted()), (2, false));
        bench.pong();
        bench.run(100);
        assert_eq!(bench.pullers().len(), 2, "it lives");
        for _ in 0..1_200 {
            bench.pong();
            bench.run(10);
        }
        assert_eq!(bench.pullers().len(), 1, "and one of them goes");
        assert_eq!(bench.tracker.stats().failovers, 1);
    }

    #[test]
    fn who_does_not_answer_at_all_is_let_go() {
        let mut bench = Bench::new();
        bench.run(5_000);
        assert!(bench.demoted() && !bench.pullers().contains(&PeerId(1)));
        assert_eq!(bench.pullers().len(), 1);
        assert_eq!(bench.tracker.stats().failovers, 1);
    }

    #[test]
    fn complaints_shorten_the_wait() {
        let failovers = |complaint: bool| {
            let mut bench = Bench::new();
            // The round trip is measured: between 50 and 100 ms.
            for _ in 0..20 {
                bench.run(100);
                bench.pong();
            }
            if complaint {
                let bad = ToTracker::Bad { peer: PeerId(1), misdeed: Misdeed::Silent, piece: None };
                bench.tracker.handle(bench.now, PeerId(2), 1, bad);
            }
            bench.run(230);
            bench.tracker.stats().failovers
        };
        assert_eq!((failovers(false), failovers(true)), (0, 1));
    }

    /// A tracker of twenty members with 20 slots each, of which all but those of `deaf` answer.
    struct Crowd {
        tracker: Tracker,
        now: Instant,
        deaf: Vec<PeerId>,
        elected: Vec<PeerId>,
        /// Slots and depth that each reports.
        reports: BTreeMap<PeerId, (u8, u8)>,
    }

    impl Crowd {
        fn new() -> Self {
            #[expect(clippy::disallowed_methods, reason = "a test needs some first instant")]
            let now = Instant::now();
            let tracker = Tracker::new(TrackerConfig::new([1; 32], Trust::Witness), now);
            let reports = (1..=20).map(|n| (PeerId(n), (20, 3))).collect();
            let mut crowd = Self { tracker, now, deaf: Vec::new(), elected: Vec::new(), reports };
            (1..=20).for_each(|n| crowd.join(PeerId(n), n as u32, 20));
            // Until age tells them apart no longer.
            crowd.run(40_000);
            assert_eq!(crowd.pullers().len(), 2);
            crowd.elected.clear();
            crowd
        }

        fn join(&mut self, peer: PeerId, region: u32, slots: u8) {
            let join =
                ToTracker::Join { nat: NatClass::Cone, slots, may_pull: true, contact: Default::default() };
            self.tracker.handle(self.now, peer, region, join);
        }

        fn report(&mut self, peer: PeerId, slots: u8, depth: u8) {
            self.reports.insert(peer, (slots, depth));
            let (spare, depth) = ([0; LANES], [depth; LANES]);
            let report = Report { slots, spare, depth, origin_fed: depth[0] == 0, lag: 300, ahead: 0 };
            self.tracker.handle(self.now, peer, 1, ToTracker::Report(report));
        }

        fn pullers(&self) -> Vec<PeerId> {
            self.tracker.pullers.all()
        }

        fn run(&mut self, ms: u64) {
            for step in 0..ms / 10 {
                self.now += Duration::from_millis(10);
                if step % 400 == 0 {
                    for (peer, (slots, depth)) in self.reports.clone() {
                        self.report(peer, slots, depth);
                    }
                }
                self.tracker.handle_timeout(self.now);
                while let Some((peer, message)) = self.tracker.poll_action() {
                    match message {
                        FromTracker::Ping if !self.deaf.contains(&peer) => {
                            self.tracker.handle(self.now, peer, 1, ToTracker::Pong);
                        }
                        FromTracker::Elect => self.elected.push(peer),
                        _ => {}
                    }
                }
            }
        }
    }

    /// At N = 200 over packets one death of two pullers became an emergency whenever the first successor did not answer either: six
    /// read the origin, and half of the trees moved.
    #[test]
    fn it_is_no_emergency_as_long_as_one_puller_has_its_trees() {
        let mut crowd = Crowd::new();
        // The best of all others answers as little.
        let best = crowd.tracker.best_puller(0).expect("somebody").1;
        crowd.deaf = vec![crowd.pullers()[0], best];
        crowd.run(1_500);
        assert!(crowd.elected.contains(&best));
        assert_eq!(crowd.elected.len(), 2, "one for each that failed");

        let mut crowd = Crowd::new();
        crowd.deaf = crowd.pullers();
        crowd.run(700);
        assert_eq!(crowd.elected.len(), 2 + EMERGENCY, "nobody is left");
    }

    /// Seen at 100 members: one puller left, its successor did not answer, and then the other one left, all within a second. Two weak
    /// ones were elected, everybody waited for them, and half of the members stood still.
    #[test]
    fn it_is_one_when_the_last_puller_with_trees_leaves_after_the_others() {
        let mut crowd = Crowd::new();
        let [first, second] = crowd.pullers()[..] else { panic!("two pullers") };
        crowd.tracker.handle(crowd.now, first, 1, ToTracker::Leave);
        crowd.run(300);
        assert_eq!(crowd.elected.len(), 1);
        crowd.tracker.handle(crowd.now, second, 2, ToTracker::Leave);
        crowd.run(100);
        assert_eq!(crowd.elected.len(), 2 + EMERGENCY);
        // With time in between each has its trees when the other one goes.
        let mut crowd = Crowd::new();
        for _ in 0..2 {
            crowd.tracker.handle(crowd.now, crowd.pullers()[0], 1, ToTracker::Leave);
            crowd.run(1_500);
        }
        assert_eq!(crowd.elected.len(), 2);
    }

    /// Members without an uplink read the origin more often than others. They were elected for that.
    #[test]
    fn who_cannot_pass_the_stream_on_is_not_elected_for_reading_the_origin() {
        let mut crowd = Crowd::new();
        let weak = PeerId(7);
        for n in (1..=20).map(PeerId) {
            if n != weak {
                crowd.report(n, 10, 3);
            }
        }
        crowd.report(weak, 1, 0);
        crowd.tracker.handle(crowd.now, weak, 7, ToTracker::Origin { open: true });
        assert_ne!(crowd.tracker.best_puller(0).expect("somebody").1, weak);
        // Whoever can is: it has what the others need already.
        let strong = PeerId(8);
        crowd.report(strong, 10, 0);
        crowd.tracker.handle(crowd.now, strong, 8, ToTracker::Origin { open: true });
        if !crowd.pullers().contains(&strong) {
            assert_eq!(crowd.tracker.best_puller(0).expect("somebody").1, strong);
        }
    }

    #[test]
    fn a_puller_is_replaced_by_a_much_stronger_one_only() {
        let mut crowd = Crowd::new();
        let pullers = crowd.pullers();
        let other = (1..=20).map(PeerId).find(|p| !pullers.contains(p)).expect("one of twenty");
        // Just below a puller it would have all trees in place if it were elected; so has the puller.
        crowd.report(other, 30, 1);
        crowd.run(6_000);
        assert_eq!(crowd.pullers(), pullers);
        crowd.report(other, 60, 1);
        crowd.run(10_000);
        assert!(crowd.pullers().contains(&other));
        assert_eq!(crowd.pullers().len(), 2);
    }
}
