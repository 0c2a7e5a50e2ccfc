//! A member of a swarm: what one viewer does.
//!
//! * `config`, `action`, `stats`: what goes in, what comes out, what is counted.
//! * `shelf`: known pieces. `neighbour`: known members. `uplink`: what waits to be sent.
//! * `intake`: pieces and digest batches as they come.
//! * `lane`, `parents`, `children`: substreams; whom they come from and whom they go to. `source`: whether anything comes at all.
//! * `lateness`, `repair`, `vain`: what happens when a piece does not come, and who has asked for it here.
//! * `playout`: what the player gets. `rescue`: the origin.
//! * `gathering`: whom to be connected to.

mod action;
mod ask;
mod children;
mod config;
mod gathering;
mod intake;
mod lane;
mod lateness;
mod neighbour;
mod parents;
mod playout;
mod repair;
mod rescue;
mod shelf;
mod source;
mod stats;
mod uplink;
mod vain;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

pub use self::action::{Action, Played};
pub use self::config::MemberConfig;
pub use self::stats::{OriginReason, Snapshot, Stats};

use self::gathering::Gathering;
use self::intake::Pending;
use self::lane::Lane;
use self::neighbour::{Neighbour, Neighbours};
use self::playout::Playout;
use self::rescue::Origin;
use self::shelf::Shelf;
use self::uplink::Uplink;
use self::vain::AskedInVain;
use super::constants::{
    FIRST_REPORT_MS, LANES, MAX_AHEAD_MS, MIN_STATUS_INTERVAL_MS, OPTIMISE_INTERVAL_MS, PASSING_LAG_MS,
    REPORT_INTERVAL_MS, SLOT_INTERVAL_MS, STATUS_INTERVAL_MS, TICK,
};
use super::{
    Batch, FromTracker, LaneStatus, Message, NatClass, Path, Payload, PeerId, PieceHead, PieceInfo, PieceNo,
    Report, Status, ToTracker,
};

/// Milliseconds since the member began.
type Ms = i64;

/// One viewer of a shared stream.
///
/// Feed it what comes in, drain [`poll_action`](Self::poll_action) and [`poll_played`](Self::poll_played), and call
/// [`handle_timeout`](Self::handle_timeout) when [`poll_timeout`](Self::poll_timeout) says so.
#[derive(Debug)]
pub struct Member<P> {
    config: MemberConfig,
    start: Instant,
    now: Ms,
    rng: ChaCha8Rng,
    /// Canonical time is `now` plus this.
    clock: Option<i64>,
    /// The same by the signer alone.
    signer: Option<i64>,
    /// The measured rate of the stream in bit/s.
    rate: f64,
    shelf: Shelf<P>,
    /// The signer's run.
    chain: Option<u64>,
    batches: VecDeque<Arc<Batch>>,
    batch_asked: Option<(PeerId, Ms)>,
    /// The missing batch and who was asked for it: whoever has newer ones may lack the same, as a parent whose child lacks it for that.
    batch_tried: (u64, Vec<PeerId>),
    /// Since when a neighbour has told of a batch that is not here.
    batch_missed: Option<Ms>,
    pending: VecDeque<Pending<P>>,
    neighbours: Neighbours,
    gathering: Gathering,
    lanes: [Lane; LANES],
    /// Time from one piece of a substream to its next one, in ms.
    gap: i64,
    slots: i32,
    /// When a subscription last had to be refused for want of slots.
    refused: Option<Ms>,
    overloaded: u32,
    uplink: Uplink,
    asked_in_vain: AskedInVain,
    playout: Playout,
    origin: Origin,
    /// When a piece last came from another member, and which was the newest.
    newest_piece: (PieceNo, Ms),
    tracked: bool,
    left: bool,
    /// Actions that are still to be done after it has left.
    last_words: usize,
    actions: VecDeque<Action<P>>,
    played: VecDeque<Played<P>>,
    stats: Stats,
    next_tick: Ms,
    next_status: Ms,
    last_status: Ms,
    next_report: Ms,
    next_optimise: Ms,
    next_slots: Ms,
    /// Until then nobody is let go for want of uplink.
    next_shed: Ms,
}

impl<P: Payload> Member<P> {
    /// A member that joins at once: the first action tells the tracker.
    pub fn new(config: MemberConfig, now: Instant) -> Self {
        let mut rng = ChaCha8Rng::from_seed(config.seed);
        let rate = config.rate as f64;
        let phase = Ms::from(rng.next_u32() % STATUS_INTERVAL_MS as u32);
        let mut member = Self {
            start: now,
            now: 0,
            rng,
            clock: None,
            signer: None,
            rate,
            shelf: Shelf::new(),
            chain: None,
            batches: VecDeque::new(),
            batch_asked: None,
            batch_tried: (0, Vec::new()),
            batch_missed: None,
            pending: VecDeque::new(),
            neighbours: Neighbours::default(),
            gathering: Gathering::default(),
            lanes: std::array::from_fn(|_| Lane::new()),
            gap: 0,
            slots: 0,
            refused: None,
            overloaded: 0,
            uplink: Uplink::new(config.uplink, config.upload_limit),
            asked_in_vain: AskedInVain::default(),
            playout: Playout::new(config.target),
            origin: Origin::default(),
            newest_piece: (0, 0),
            tracked: false,
            left: false,
            last_words: 0,
            actions: VecDeque::new(),
            played: VecDeque::new(),
            stats: Stats::default(),
            next_tick: TICK.as_millis() as Ms,
            next_status: phase,
            last_status: 0,
            next_report: FIRST_REPORT_MS,
            next_optimise: OPTIMISE_INTERVAL_MS,
            next_slots: SLOT_INTERVAL_MS,
            next_shed: 0,
            config,
        };
        member.uplink.set_stream_rate(member.rate);
        member.slots = member.base_slots();
        member.join();
        if !member.config.use_peers {
            member.open_origin(OriginReason::Policy);
        }
        member
    }

    fn join(&mut self) {
        let message = ToTracker::Join {
            nat: self.config.nat,
            slots: self.slots.clamp(0, 255) as u8,
            may_pull: self.config.may_pull && self.config.share,
            contact: self.config.contact.clone(),
        };
        self.tell_tracker(message);
    }

    // ----- Inputs.

    /// Takes in what the tracker says.
    pub fn handle_tracker(&mut self, now: Instant, message: FromTracker) {
        self.step(now);
        if self.left {
            return;
        }
        self.tracked = true;
        match message {
            FromTracker::Welcome { edge, trust: _, candidates } => {
                if let Some(edge) = edge {
                    // It may be ahead of the signer, by what those who read the origin say.
                    self.clock = Some(edge as i64 - self.now);
                }
                // A tracker that we were away from may have elected others since; if it has not, it says so now.
                self.demote();
                if candidates.is_empty() && self.neighbours.len() == 0 {
                    self.open_origin(OriginReason::NoPeers);
                }
                self.take_candidates(candidates);
            }
            FromTracker::Candidates(candidates) => self.take_candidates(candidates),
            FromTracker::Lease { granted } => self.handle_lease(granted),
            FromTracker::Elect => self.elect(),
            FromTracker::Demote => self.demote(),
            FromTracker::Batch(batch) => {
                self.set_edge(batch.edge);
                self.take_batch(None, batch);
            }
            FromTracker::Edge(edge) => self.set_edge(edge),
            FromTracker::Ping => self.tell_tracker(ToTracker::Pong),
            // How two members reach each other is the carrier's affair.
            FromTracker::Meet { .. } => {}
            // The pieces themselves say more.
            FromTracker::Fill { .. } => {}
            FromTracker::Excluded => self.excluded(),
        }
    }

    /// Takes in a digest batch that came from its signer with the origin's stream, and has been verified.
    pub fn handle_batch(&mut self, now: Instant, batch: Arc<Batch>) {
        self.step(now);
        self.take_batch(None, batch);
    }

    /// The tracker cannot be reached: the member goes on with what it has.
    pub fn tracker_lost(&mut self, now: Instant) {
        self.step(now);
        self.tracked = false;
    }

    /// The tracker can be reached again: the member joins again.
    pub fn tracker_back(&mut self, now: Instant) {
        self.step(now);
        if !self.left {
            self.join();
            self.tell_tracker(ToTracker::Origin { open: self.origin.is_open() });
        }
    }

    /// A neighbour has said something.
    pub fn handle_message(&mut self, now: Instant, from: PeerId, message: Message) {
        self.step(now);
        let Some(neighbour) = self.neighbours.get_mut(from) else { return };
        neighbour.heard = self.now;
        match message {
            Message::Status(status) => self.handle_status(from, &status),
            Message::Subscribe { lane, from: first, value } => {
                self.handle_subscribe(from, lane, first, value)
            }
            Message::Accept { lane, path } => self.handle_accept(from, lane, path),
            Message::Reject { lane } => self.handle_reject(from, lane),
            Message::Unsubscribe { lane } => self.handle_unsubscribe(from, lane),
            Message::Evict { lane, alternative } => self.handle_evict(from, lane, alternative),
            Message::Request { piece, slack } => self.handle_request(from, piece, slack),
            Message::NoHave { piece } => self.handle_no_have(from, piece),
            Message::Cancel { piece } => self.handle_cancel(from, piece),
            Message::Batch(batch) => self.take_batch(Some(from), batch),
            Message::RequestBatch { no } => self.handle_request_batch(from, no),
            Message::Bye => self.drop_neighbour(from, true),
            Message::Way { lane, path } => self.handle_way(from, lane, path),
            Message::Lost { lane, hops } => self.handle_lost(from, lane, hops),
        }
        self.tell_sources();
        self.pump_uplink();
    }

    /// A neighbour has sent a piece.
    pub fn handle_piece(&mut self, now: Instant, from: PeerId, head: PieceHead, payload: P) {
        self.step(now);
        self.take_piece(from, head, payload);
        self.pump_uplink();
    }

    /// A piece has been cut from what the origin sends. `info` is as the member itself has made it, and may come before its
    /// digest does: it can be played at once, but is passed on only when the digest confirms it.
    pub fn handle_origin_piece(&mut self, now: Instant, info: PieceInfo, payload: P) {
        self.step(now);
        self.take_origin_piece(info, payload);
        self.pump_uplink();
    }

    /// The server has sent a piece that was missing when this member began to read the origin for others.
    pub fn handle_filled_piece(&mut self, now: Instant, no: PieceNo, payload: P) {
        self.step(now);
        self.take_filled_piece(no, payload);
        self.pump_uplink();
    }

    /// A piece handed over with [`Action::SendPiece`] has left, or was cancelled.
    pub fn piece_sent(&mut self, now: Instant, to: PeerId, no: PieceNo) {
        self.step(now);
        self.uplink.sent(to, no);
        self.pump_uplink();
    }

    /// The round-trip time to a neighbour has changed.
    pub fn set_rtt(&mut self, peer: PeerId, rtt: Duration) {
        if let Some(neighbour) = self.neighbours.get_mut(peer) {
            neighbour.rtt = rtt.as_millis() as i64;
        }
    }

    /// What the uplink carries, as the carrier estimates it, in bit/s.
    pub fn set_uplink(&mut self, now: Instant, rate: u64) {
        self.step(now);
        self.uplink.rate = rate.max(1);
    }

    /// What the uplink has left for pieces, in bit/s.
    pub fn piece_rate(&self) -> u64 {
        self.uplink.for_pieces()
    }

    /// Changes the upload limit, in bit/s over any second.
    pub fn set_upload_limit(&mut self, now: Instant, limit: Option<u64>) {
        self.step(now);
        self.uplink.set_limit(limit);
        self.slots = self.slots.min(self.base_slots());
        self.shed_children(EvictWay::Gently);
    }

    /// Begins or stops to pass pieces on. From a stop on, no byte of a piece is sent.
    pub fn set_sharing(&mut self, now: Instant, share: bool) {
        self.step(now);
        self.config.share = share;
        if share {
            self.slots = self.base_slots();
        } else {
            self.slots = 0;
            self.shed_children(EvictWay::AtOnce);
            self.uplink.remove(|_| true);
            let carried: Vec<_> = self.uplink.carried().collect();
            self.actions.extend(carried.into_iter().map(|(to, no)| Action::CancelPiece { to, no }));
        }
        self.send_statuses();
        self.send_report();
    }

    /// Begins or stops to take pieces from others; without them it stays with the origin.
    pub fn set_use_peers(&mut self, now: Instant, on: bool) {
        self.step(now);
        if self.config.use_peers == on {
            return;
        }
        self.config.use_peers = on;
        if on {
            self.origin.forget_policy();
        } else {
            self.open_origin(OriginReason::Policy);
            for lane in 0..LANES {
                self.leave_parent(lane);
            }
        }
    }

    /// The network has changed: neighbours may be gone, and the member may have to begin anew with the tracker.
    pub fn set_nat(&mut self, now: Instant, nat: NatClass) {
        self.step(now);
        self.config.nat = nat;
    }

    /// Says goodbye to everybody. Nothing happens after the actions that follow.
    pub fn leave(&mut self, now: Instant) {
        self.step(now);
        if std::mem::replace(&mut self.left, true) {
            return;
        }
        let peers: Vec<_> = self.neighbours.iter().map(|n| n.id).collect();
        for peer in peers {
            self.send(peer, Message::Bye);
            self.uplink.forget(peer);
            self.neighbours.remove(peer);
            self.actions.push_back(Action::Disconnect { peer });
        }
        self.tell_tracker(ToTracker::Leave);
        if self.origin.is_open() {
            self.actions.push_back(Action::CloseOrigin);
        }
        self.last_words = self.actions.len();
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.step(now);
        if self.left {
            return;
        }
        if self.now >= self.next_tick {
            self.next_tick = self.now + TICK.as_millis() as Ms;
            self.tick();
            self.tell_sources();
        }
        self.pump_uplink();
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        (!self.left).then(|| self.start + Duration::from_millis(self.next_tick.max(0) as u64))
    }

    /// The next wish, oldest first.
    pub fn poll_action(&mut self) -> Option<Action<P>> {
        if self.left {
            // What comes in later, as what the origin sends until it is closed, leads to nothing more.
            let Some(left) = self.last_words.checked_sub(1) else {
                self.actions.clear();
                return None;
            };
            self.last_words = left;
        }
        self.actions.pop_front()
    }

    /// What the player gets next.
    pub fn poll_played(&mut self) -> Option<Played<P>> {
        self.played.pop_front()
    }

    /// What has been done so far.
    pub fn stats(&self) -> Stats {
        let mut stats = self.stats;
        stats.stall_ms += self.playout.stalled_for(self.now) as u64;
        stats
    }

    /// How the member is at `now`.
    pub fn snapshot(&self, now: Instant) -> Snapshot {
        let now = (now.saturating_duration_since(self.start)).as_millis() as Ms;
        let mut parents: Vec<_> = self.lanes.iter().filter_map(|l| l.parent).collect();
        let lanes_fed = parents.len();
        parents.sort_unstable();
        parents.dedup();
        let depths: usize = self.lanes.iter().filter(|l| l.parent.is_some()).map(|l| l.path.len()).sum();
        let lags: f32 = self.lanes.iter().map(|l| l.lag).sum();
        let latency = self.clock.map_or(0.0, |c| (now + c) as f64 - self.playout.position());
        Snapshot {
            playing: self.playout.is_playing(),
            latency_ms: if self.playout.has_begun() { latency.max(0.0) as u64 } else { 0 },
            neighbours: self.neighbours.len(),
            parents: parents.len(),
            lanes_fed,
            children: self.children(),
            slots: self.slots.max(0) as usize,
            origin_open: self.origin.is_open(),
            backlog_ms: self.uplink.backlog_ms().max(0) as u64,
            lag_ms: (lags / LANES as f32).max(0.0) as u64,
            depth: if lanes_fed == 0 { 0.0 } else { depths as f32 / lanes_fed as f32 },
        }
    }

    // ----- What all parts use.

    fn step(&mut self, now: Instant) {
        let now = now.saturating_duration_since(self.start).as_millis() as Ms;
        self.now = self.now.max(now);
    }

    fn tick(&mut self) {
        self.advance_playout();
        self.check_lateness();
        self.look_for_parents();
        self.repair();
        self.check_rescue();
        self.check_batches();
        self.check_overload();
        self.gather();
        self.evict_due();
        if self.now >= self.next_status {
            self.send_statuses();
        }
        if self.now >= self.next_report {
            self.next_report = self.now + REPORT_INTERVAL_MS;
            self.send_report();
        }
        if self.now >= self.next_optimise {
            self.next_optimise = self.now + OPTIMISE_INTERVAL_MS + self.chance(500);
            self.optimise();
        }
        if self.now >= self.next_slots {
            self.next_slots = self.now + SLOT_INTERVAL_MS;
            self.adjust_slots();
        }
    }

    fn send(&mut self, to: PeerId, message: Message) {
        self.actions.push_back(Action::Send { to, message });
    }

    fn tell_tracker(&mut self, message: ToTracker) {
        self.actions.push_back(Action::Tracker(message));
    }

    /// A number below `below`.
    fn chance(&mut self, below: u32) -> Ms {
        Ms::from(self.rng.next_u32() % below.max(1))
    }

    /// Canonical time now; `None` before anything is known of the stream.
    fn origin_now(&self) -> Option<i64> {
        self.clock.map(|c| self.now + c)
    }

    /// How long ago the origin had the whole piece, in ms.
    fn age(&self, info: &PieceInfo) -> i64 {
        self.clock.map_or(0, |c| self.now + c - info.end as i64)
    }

    /// How far the origin is ahead of its signer, as far as we see it, in ms.
    fn ahead(&self) -> u16 {
        match (self.clock, self.signer) {
            (Some(clock), Some(signer)) if self.origin.feeds(self.now) => {
                (clock - signer).clamp(0, MAX_AHEAD_MS) as u16
            }
            _ => 0,
        }
    }

    fn set_edge(&mut self, edge: u64) {
        let clock = edge as i64 - self.now;
        self.signer = Some(self.signer.map_or(clock, |s| s.max(clock)));
        // What comes says how far the signer is at least; what comes late says less.
        self.clock = Some(self.clock.map_or(clock, |c| c.max(clock)));
    }

    fn status(&self) -> Status {
        let spare = self.spare().clamp(0, 255) as u8;
        let passing = self.origin.is_open() && !self.origin.is_permanent();
        let passing = if passing { PASSING_LAG_MS } else { 0.0 };
        let lanes = std::array::from_fn(|k| {
            let lane = &self.lanes[k]; // both have LANES elements
            let depth = self.depth(k);
            LaneStatus {
                lag: (lane.lag + passing).clamp(0.0, 65_535.0) as u16,
                depth,
                spare: if self.has_source(k) && self.own_path(k).is_some() { spare } else { 0 },
                // One that may take the place of a child in another substream has to hear of it. Nobody asked where a puller had no
                // child at all, everybody got this substream through the other puller, and when that one died it was gone.
                min_value: if spare == 0 && self.crowded_beside(k).is_some() { 0 } else { lane.min_value() },
            }
        });
        Status {
            have: self.shelf.have,
            batch: self.newest_batch(),
            backlog: self.uplink.backlog_ms().clamp(0, 65_535) as u16,
            origin_fed: self.origin.feeds(self.now),
            lanes,
        }
    }

    fn send_statuses(&mut self) {
        self.last_status = self.now;
        self.next_status = self.now + STATUS_INTERVAL_MS;
        let status = Box::new(self.status());
        // Every other time for those that neither feed us nor are fed: their turn comes a little before twice the interval is over.
        let (now, others) = (self.now, STATUS_INTERVAL_MS * 3 / 2);
        let due = |n: &&Neighbour| now - n.told_at >= others || self.is_related(n.id);
        let peers: Vec<_> = self.neighbours.iter().filter(due).map(|n| n.id).collect();
        for to in peers {
            if let Some(neighbour) = self.neighbours.get_mut(to) {
                neighbour.told_at = now;
            }
            self.send(to, Message::Status(status.clone()));
        }
    }

    /// Tells one neighbour what is here, unless it has just been told.
    fn tell_status(&mut self, to: PeerId) {
        let now = self.now;
        if self.neighbours.get_mut(to).is_some_and(|n| std::mem::replace(&mut n.told_at, now) != now) {
            let status = Box::new(self.status());
            self.send(to, Message::Status(status));
        }
    }

    /// Others may be waiting to hear that there is something to be had here.
    fn status_soon(&mut self) {
        self.next_status = self.next_status.min(self.last_status + MIN_STATUS_INTERVAL_MS);
    }

    fn send_report(&mut self) {
        let status = self.status();
        let lag = self.lanes.iter().map(|l| l.lag).fold(0.0, f32::max);
        self.tell_tracker(ToTracker::Report(Report {
            slots: self.comparable_slots().clamp(0, 255) as u8,
            spare: status.lanes.map(|l| l.spare),
            depth: status.lanes.map(|l| l.depth),
            origin_fed: status.origin_fed,
            lag: lag.clamp(0.0, 65_535.0) as u16,
            ahead: self.ahead(),
        }));
    }

    fn handle_status(&mut self, from: PeerId, status: &Status) {
        let Some(neighbour) = self.neighbours.get_mut(from) else { return };
        let first = !neighbour.told;
        neighbour.take(status);
        if first {
            self.look_for_parents();
            self.advance_playout();
            self.repair();
        }
    }

    /// The members on the way to this one in substream `k`, itself included; `None` if it is too long.
    fn own_path(&self, k: usize) -> Option<Path> {
        let path = if self.origin.feeds(self.now) { Path::EMPTY } else { self.lanes.get(k)?.path };
        path.with(self.config.id)
    }
}

/// How children are let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EvictWay {
    /// They are fed until they have found another parent.
    Gently,
    /// Not a byte more.
    AtOnce,
}

#[cfg(test)]
mod tests;
