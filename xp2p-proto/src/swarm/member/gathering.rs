//! Whom to be connected to.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use super::neighbour::Neighbour;
use super::{Action, Member, Ms};
use crate::swarm::constants::{
    CONNECT_TIMEOUT_MS, IDLE_MS, LANES, MAX_KNOWN, MAX_NEIGHBOURS, MIN_NEIGHBOURS, MORE_INTERVAL_MS,
    TARGET_NEIGHBOURS,
};
use crate::swarm::{Candidate, Message, NatClass, Payload, PeerId, ToTracker};

/// Most members that are remembered as banned or reported; the oldest are forgotten.
const MAX_REMEMBERED: usize = 256;
/// A substream without a parent for so long makes us look for more members, in ms.
const ORPHAN_MS: i64 = 500;
/// How much longer than a good connection needs we wait for its outcome, in ms: the carrier gives up by itself before.
const GRACE_MS: i64 = 2_000;
/// How long someone that could not be reached is not tried again, in ms.
const UNREACHABLE_MS: i64 = 30_000;
/// What setting up a connection with a direct path takes of the uplink: the handshake, and probes of full size.
const CONNECT_BYTES: u64 = 5_000;
/// For so long that may take the whole uplink, in ms. With 500 kbit/s twenty at once took it for two seconds, and most newcomers that
/// had to open the origin had such uplinks.
const CONNECTING_MS: u64 = 300;
/// So many may be set up in any case: one of them may not answer.
const MIN_CONNECTING: usize = 4;

/// Members that are not connected.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    known: VecDeque<Candidate>,
    connecting: Vec<(PeerId, Ms)>,
    unreachable: VecDeque<(PeerId, Ms)>,
    banned: BTreeSet<PeerId>,
    reported: VecDeque<(PeerId, Ms)>,
    next_more: Ms,
    /// How many connections were tried.
    tried: u32,
    /// How often nobody new was known.
    fruitless: i64,
}

impl Gathering {
    pub(super) fn ban(&mut self, peer: PeerId) {
        if self.banned.len() >= MAX_REMEMBERED {
            self.banned.pop_first();
        }
        self.banned.insert(peer);
    }

    pub(super) fn tried(&self) -> u32 {
        self.tried
    }

    /// Whether `peer` may be reported (again); takes note that it is.
    pub(super) fn may_report(&mut self, peer: PeerId, now: Ms, again: i64) -> bool {
        self.reported.retain(|(_, at)| now - at < again);
        let fresh = self.reported.iter().all(|(p, _)| *p != peer);
        if fresh && self.reported.len() < MAX_REMEMBERED {
            self.reported.push_back((peer, now));
        }
        fresh
    }

    fn is_connecting(&self, peer: PeerId) -> bool {
        self.connecting.iter().any(|(p, _)| *p == peer)
    }
}

impl<P: Payload> Member<P> {
    /// Takes in members that the tracker names.
    pub(super) fn take_candidates(&mut self, candidates: Vec<Candidate>) {
        for candidate in candidates {
            let peer = candidate.peer;
            if peer == self.config.id
                || self.gathering.banned.contains(&peer)
                || self.neighbours.get(peer).is_some()
                || self.gathering.is_connecting(peer)
                || self.gathering.unreachable.iter().any(|(p, _)| *p == peer)
                || self.gathering.known.iter().any(|c| c.peer == peer)
                || !self.config.nat.reaches(candidate.nat)
            {
                continue;
            }
            self.gathering.fruitless = 0;
            if candidate.origin_fed && self.config.use_peers {
                // Whoever reads the origin is worth a place more: when those who did are dead, everything depends on it.
                self.connect(candidate);
                continue;
            }
            if self.gathering.known.len() >= MAX_KNOWN {
                self.gathering.known.pop_front();
            }
            self.gathering.known.push_back(candidate);
        }
        self.connect_known();
    }

    fn connect(&mut self, candidate: Candidate) {
        if self.neighbours.len() + self.gathering.connecting.len() < MAX_NEIGHBOURS {
            self.gathering.tried += 1;
            self.gathering.connecting.push((candidate.peer, self.now));
            self.actions.push_back(Action::Connect(candidate));
        }
    }

    fn connect_known(&mut self) {
        if !self.config.use_peers {
            return;
        }
        let orphans = self.orphans() != 0;
        let most = if orphans { TARGET_NEIGHBOURS + 6 } else { TARGET_NEIGHBOURS };
        let at_once = self.most_connecting();
        while self.neighbours.len() + self.gathering.connecting.len() < most
            && self.gathering.connecting.len() < at_once
            && let Some(candidate) = self.gathering.known.pop_front()
        {
            if self.neighbours.get(candidate.peer).is_some() {
                continue;
            }
            self.connect(candidate);
        }
    }

    /// How many connections may be set up at one time, so that a small uplink has room for what the first of them are for.
    fn most_connecting(&self) -> usize {
        let bytes = self.uplink.usable() / 8 * CONNECTING_MS / 1_000;
        usize::try_from(bytes / CONNECT_BYTES).unwrap_or(usize::MAX).max(MIN_CONNECTING)
    }

    /// Bit k: substream k has no parent.
    fn orphans(&self) -> u8 {
        if self.origin.is_permanent() {
            return 0;
        }
        (0..LANES).fold(0, |mask, k| {
            let lane = &self.lanes[k]; // below LANES
            let orphan = lane.parent.is_none() && lane.asking.is_none();
            mask | u8::from(orphan && self.now - lane.orphan_since > ORPHAN_MS) << k
        })
    }

    /// A connection to another member exists, whoever began it. `rtt`: its round-trip time.
    pub fn peer_connected(&mut self, now: Instant, peer: PeerId, nat: NatClass, rtt: Duration) {
        self.step(now);
        self.gathering.connecting.retain(|(p, _)| *p != peer);
        let full = self.neighbours.len() >= MAX_NEIGHBOURS;
        if self.left || full || self.gathering.banned.contains(&peer) || peer == self.config.id {
            self.actions.push_back(Action::Disconnect { peer });
            return;
        }
        if self.neighbours.get(peer).is_some() {
            return;
        }
        self.neighbours.insert(Neighbour::new(peer, nat, rtt.as_millis() as i64, self.now));
        let status = Box::new(self.status());
        self.send(peer, Message::Status(status));
        if !self.playout.has_begun() {
            self.advance_playout();
            self.repair();
        }
        self.connect_known();
    }

    /// A connection could not be made.
    pub fn connect_failed(&mut self, now: Instant, peer: PeerId) {
        self.step(now);
        self.gathering.connecting.retain(|(p, _)| *p != peer);
        if self.gathering.unreachable.len() >= MAX_KNOWN {
            self.gathering.unreachable.pop_front();
        }
        self.gathering.unreachable.push_back((peer, self.now));
        self.connect_known();
    }

    /// A connection is gone.
    pub fn peer_lost(&mut self, now: Instant, peer: PeerId) {
        self.step(now);
        self.drop_neighbour(peer, false);
    }

    /// Forgets a neighbour, and closes the connection if it is still there.
    pub(super) fn drop_neighbour(&mut self, peer: PeerId, disconnect: bool) {
        if self.neighbours.remove(peer).is_none() {
            return;
        }
        if disconnect {
            self.actions.push_back(Action::Disconnect { peer });
        }
        self.uplink.forget(peer);
        // What it was asked for it will not send. Others can be asked at once, not only when it is late.
        for slot in self.shelf.iter_from_mut(0) {
            slot.asks.answered(peer);
        }
        if self.batch_asked.is_some_and(|(p, _)| p == peer) {
            self.batch_asked = None;
        }
        for k in 0..LANES {
            let now = self.now;
            let lane = &mut self.lanes[k]; // below LANES
            lane.children.retain(|c| c.peer != peer);
            if lane.asking.is_some_and(|(p, _)| p == peer) {
                lane.asking = None;
            }
            if lane.parent == Some(peer) {
                lane.parent = None;
                lane.leaving = None;
                lane.loss = None;
                lane.orphan_since = now;
                self.look_for_parent(k);
            }
        }
    }

    /// Looks for more neighbours, or lets some go.
    pub(super) fn gather(&mut self) {
        let now = self.now;
        self.gathering.unreachable.retain(|(_, at)| now - at < UNREACHABLE_MS);
        self.gathering.connecting.retain(|(_, at)| now - at < CONNECT_TIMEOUT_MS + GRACE_MS);
        for neighbour in self.neighbours.iter_mut() {
            // A failure is half forgotten after about 5 s.
            neighbour.fails *= 0.993;
        }
        let orphans = self.orphans();
        let few = self.neighbours.len() + self.gathering.connecting.len() < MIN_NEIGHBOURS;
        if few || orphans != 0 {
            self.connect_known();
        }
        if (few || orphans != 0)
            && self.config.use_peers
            && self.tracked
            && self.gathering.known.is_empty()
            && now >= self.gathering.next_more
        {
            self.gathering.next_more = now + MORE_INTERVAL_MS * (1 + self.gathering.fruitless.min(7));
            self.gathering.fruitless += 1;
            self.tell_tracker(ToTracker::More { lanes: orphans });
        }
        self.let_go();
    }

    /// Lets go of a neighbour that has been of no use for long, if there are more than needed.
    fn let_go(&mut self) {
        if self.neighbours.len() <= TARGET_NEIGHBOURS {
            return;
        }
        let now = self.now;
        let useless = self
            .neighbours
            .iter()
            .filter(|n| now - n.useful > IDLE_MS && now - n.since > IDLE_MS && n.asked == 0)
            .filter(|n| !self.is_related(n.id))
            .max_by_key(|n| (n.rtt + (n.fails * 100.0) as i64, n.id))
            .map(|n| n.id);
        if let Some(peer) = useless {
            self.send(peer, Message::Bye);
            self.drop_neighbour(peer, true);
        }
    }
}
