//! The tracker of one swarm: introduces members to each other, decides who reads the origin, and excludes abusers.
//!
//! * `roll`: the members. `candidates`: whom a member is told of.
//! * `pullers`: who reads the origin for the others. `leases`: who may besides.
//! * `abuse`: reports, and what follows from them.

mod abuse;
mod candidates;
mod config;
mod leases;
mod pullers;
mod roll;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

pub use self::config::{TrackerConfig, TrackerStats};

use self::leases::Leases;
use self::pullers::Pullers;
use self::roll::{Record, Roll};
use super::constants::{MAX_AHEAD_MS, MAX_BATCHES, MAX_CONTACT, MAX_RTT_MS, MEMBER_TIMEOUT_MS, START_AGE_MS};
use super::{Batch, FromTracker, PeerId, ToTracker, Trust};

/// Milliseconds since the tracker began.
type Ms = i64;

/// How often the tracker looks after itself, in ms.
const TICK_MS: Ms = 50;
/// How old the keyframe may be at most that a newcomer is told of, beyond what it needs, in ms.
const START_SLACK_MS: u64 = 300;

/// The tracker of one stream.
#[derive(Debug)]
pub struct Tracker {
    config: TrackerConfig,
    start: Instant,
    now: Ms,
    rng: ChaCha8Rng,
    roll: Roll,
    pullers: Pullers,
    leases: Leases,
    batches: VecDeque<Arc<Batch>>,
    /// The newest edge of the signer and when it was told.
    edge: Option<(u64, Ms)>,
    actions: VecDeque<(PeerId, FromTracker)>,
    stats: TrackerStats,
    next_tick: Ms,
}

impl Tracker {
    /// A tracker without members.
    pub fn new(config: TrackerConfig, now: Instant) -> Self {
        Self {
            start: now,
            now: 0,
            rng: ChaCha8Rng::from_seed(config.seed),
            roll: Roll::default(),
            pullers: Pullers::default(),
            leases: Leases::default(),
            batches: VecDeque::new(),
            edge: None,
            actions: VecDeque::new(),
            stats: TrackerStats::default(),
            next_tick: TICK_MS,
            config,
        }
    }

    /// Takes in what a member says. `region`: the group of networks that its source address belongs to.
    pub fn handle(&mut self, now: Instant, peer: PeerId, region: u32, message: ToTracker) {
        self.step(now);
        if let ToTracker::Join { nat, slots, may_pull, contact } = message {
            if contact.len() <= MAX_CONTACT {
                self.join(peer, Record::new(nat, region, slots, may_pull, contact, self.now));
            }
            return;
        }
        let Some(record) = self.roll.get_mut(peer) else { return };
        record.heard = self.now;
        match message {
            ToTracker::Join { .. } => {}
            ToTracker::More { lanes } => {
                if self.roll.get(peer).is_some_and(|r| !r.excluded) {
                    let candidates = self.candidates(peer, lanes);
                    self.tell(peer, FromTracker::Candidates(candidates));
                }
            }
            ToTracker::Report(report) => record.take(&report),
            ToTracker::Bad { peer: accused, misdeed, piece: _ } => self.accuse(peer, accused, misdeed),
            ToTracker::Rescue => self.lease(peer),
            ToTracker::Origin { open } => {
                record.origin_open = open;
                record.origin_since = self.now;
                if open && !self.pullers.contains(peer) {
                    self.send_recent_batches(peer);
                }
            }
            ToTracker::RequestBatch { no } => {
                let missing: Vec<_> = self.batches.iter().filter(|b| b.no >= no).cloned().collect();
                self.actions.extend(missing.into_iter().map(|b| (peer, FromTracker::Batch(b))));
            }
            ToTracker::Fill { from, to } => self.fill(peer, from, to),
            // Whoever compares them has taken them already.
            ToTracker::Observed(_) => {}
            ToTracker::Pong => self.pong(peer),
            ToTracker::Leave => self.remove(peer),
        }
    }

    /// How long a message to a member and its answer take, as the carrier has measured it. It is of use as long as the member has
    /// answered no ping.
    pub fn set_rtt(&mut self, peer: PeerId, rtt: Duration) {
        if let Some(record) = self.roll.get_mut(peer).filter(|r| r.rtt == 0) {
            record.rtt = Ms::try_from(rtt.as_millis()).unwrap_or(Ms::MAX).clamp(1, MAX_RTT_MS);
        }
    }

    /// The connection of a member is gone.
    pub fn lost(&mut self, now: Instant, peer: PeerId) {
        self.step(now);
        self.remove(peer);
    }

    /// Whether `peer` is elected to read the origin for others.
    pub fn is_puller(&self, peer: PeerId) -> bool {
        self.pullers.contains(peer)
    }

    /// Says who signs from now on.
    pub fn set_trust(&mut self, trust: Trust) {
        self.config.trust = trust;
    }

    /// Says whether those who read the origin do not agree on what it sends, so that one more is wanted.
    pub fn set_disagreement(&mut self, disagree: bool) {
        self.pullers.disagree = disagree;
    }

    /// A puller says other things than all others: somebody else is elected.
    pub fn distrust(&mut self, now: Instant, peer: PeerId) {
        self.step(now);
        self.replace_puller(peer);
        self.elect_if_needed();
    }

    /// Takes in a digest batch of the signer.
    pub fn handle_batch(&mut self, now: Instant, batch: Arc<Batch>) {
        self.step(now);
        if self.batches.back().is_some_and(|b| b.chain != batch.chain) {
            self.batches.clear();
            self.edge = None;
        }
        if self.batches.back().is_some_and(|b| b.no >= batch.no) {
            return;
        }
        self.edge = Some((batch.edge, self.now));
        self.batches.push_back(batch.clone());
        if self.batches.len() > MAX_BATCHES {
            self.batches.pop_front();
        }
        let readers: Vec<_> = self
            .roll
            .iter()
            .filter(|(p, r)| r.origin_open || self.pullers.contains(*p))
            .map(|(p, _)| p)
            .collect();
        self.actions.extend(readers.into_iter().map(|p| (p, FromTracker::Batch(batch.clone()))));
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.step(now);
        if self.now < self.next_tick {
            return;
        }
        self.next_tick = self.now + TICK_MS;
        let silent: Vec<_> = self
            .roll
            .iter()
            .filter(|(_, r)| self.now - r.heard > MEMBER_TIMEOUT_MS)
            .map(|(p, _)| p)
            .collect();
        for peer in silent {
            self.remove(peer);
        }
        self.watch_pullers();
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        (!self.roll.is_empty()).then(|| self.start + Duration::from_millis(self.next_tick.max(0) as u64))
    }

    /// The next message to a member.
    pub fn poll_action(&mut self) -> Option<(PeerId, FromTracker)> {
        self.actions.pop_front()
    }

    /// Numbers.
    pub fn stats(&self) -> TrackerStats {
        TrackerStats {
            members: self.roll.len(),
            pullers: self.pullers.len(),
            origin_connections: self.roll.iter().filter(|(_, r)| r.origin_open).count(),
            excluded: self.roll.iter().filter(|(_, r)| r.excluded).count(),
            ..self.stats
        }
    }

    fn step(&mut self, now: Instant) {
        let now = now.saturating_duration_since(self.start).as_millis() as Ms;
        self.now = self.now.max(now);
    }

    fn tell(&mut self, peer: PeerId, message: FromTracker) {
        self.actions.push_back((peer, message));
    }

    fn chance(&mut self, below: usize) -> usize {
        self.rng.next_u32() as usize % below.max(1)
    }

    fn edge(&self) -> Option<u64> {
        self.edge.map(|(edge, at)| edge + (self.now - at).max(0) as u64)
    }

    /// How far the origin is ahead of the signer: what the most modest puller says.
    fn ahead(&self) -> u64 {
        let said = self.pullers.all().into_iter().filter_map(|p| self.roll.get(p)).map(|r| r.ahead);
        u64::from(said.filter(|a| *a > 0).min().unwrap_or(0)).min(MAX_AHEAD_MS as u64)
    }

    fn join(&mut self, peer: PeerId, record: Record) {
        if self.roll.get(peer).is_none() && self.roll.len() >= self.config.max_members {
            self.tell(peer, FromTracker::Excluded);
            return;
        }
        self.roll.insert(peer, record);
        let excluded = self.roll.get(peer).is_some_and(|r| r.excluded);
        if excluded {
            self.tell(peer, FromTracker::Excluded);
            return;
        }
        let candidates = self.candidates(peer, u8::MAX);
        self.tell(
            peer,
            FromTracker::Welcome {
                edge: self.edge().map(|e| e + self.ahead()),
                trust: self.config.trust,
                candidates,
            },
        );
        if self.pullers.contains(peer) {
            self.tell(peer, FromTracker::Elect);
        }
        self.send_recent_batches(peer);
        self.elect_if_needed();
    }

    /// The digests that a newcomer needs: from the keyframe on with which it begins.
    fn send_recent_batches(&mut self, peer: PeerId) {
        let Some(edge) = self.edge() else { return };
        let old_enough = |b: &Arc<Batch>| {
            b.pieces.iter().any(|p| {
                p.starts_segment() && p.time + START_AGE_MS as u64 <= edge.saturating_sub(START_SLACK_MS)
            })
        };
        let first = self.batches.iter().rposition(old_enough).unwrap_or(0);
        let batches: Vec<_> = self.batches.iter().skip(first).cloned().collect();
        self.actions.extend(batches.into_iter().map(|b| (peer, FromTracker::Batch(b))));
    }

    fn remove(&mut self, peer: PeerId) {
        self.roll.remove(peer);
        if self.pullers.lose(peer, self.now) {
            self.elect_if_needed();
            self.introduce_pullers();
        }
    }
}
