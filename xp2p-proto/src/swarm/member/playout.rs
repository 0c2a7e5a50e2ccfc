//! What the player gets, and when.

use std::time::Duration;

use super::{Member, Ms, Played};
use crate::swarm::constants::{
    KEEP_PLAYED, LATENCY_DECAY, LATENCY_MARGIN_MS, LOW_BUFFER_MS, LOW_RATE_STEP, MAX_EXTRA_LATENCY_MS,
    RATE_SLACK_MS, RATE_STEP, RESUME_BUFFER_MS, SKIP_AFTER_MS, START_AGE_MS, START_BUFFER_MS,
};
use crate::swarm::{Payload, PieceInfo, PieceNo};

/// Most pieces that wait to be taken by the player; a caller that does not take them loses the oldest.
const MAX_PLAYED: usize = 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing has been played.
    Waiting,
    Playing,
    Stalled {
        since: Ms,
    },
}

/// The clock of the player.
#[derive(Debug)]
pub(super) struct Playout {
    state: State,
    target: i64,
    /// How late the latest recent piece came, fading.
    worst: f32,
    /// The piece that is played next.
    next: Option<PieceNo>,
    /// Since when that is where playing begins.
    chosen: Ms,
    /// Canonical time of what is shown.
    position: f64,
    /// Canonical end of the last piece played.
    end: f64,
    rate: f64,
    updated: Ms,
    /// Pieces from this one on came while playing: their lateness says something.
    live_from: PieceNo,
}

impl Playout {
    pub(super) fn new(target: Duration) -> Self {
        Self {
            state: State::Waiting,
            target: target.as_millis() as i64,
            worst: 0.0,
            next: None,
            chosen: 0,
            position: 0.0,
            end: 0.0,
            rate: 1.0,
            updated: 0,
            live_from: PieceNo::MAX,
        }
    }

    /// All numbers begin anew: what was played is over.
    pub(super) fn begin_anew(&mut self) {
        self.next = None;
        self.live_from = PieceNo::MAX;
    }

    pub(super) fn next(&self) -> Option<PieceNo> {
        self.next
    }

    pub(super) fn position(&self) -> f64 {
        self.position
    }

    pub(super) fn is_playing(&self) -> bool {
        self.state == State::Playing
    }

    /// Whether anything has been played.
    pub(super) fn has_begun(&self) -> bool {
        self.state != State::Waiting
    }

    pub(super) fn stalled_for(&self, now: Ms) -> i64 {
        match self.state {
            State::Stalled { since } => now - since,
            _ => 0,
        }
    }

    /// How long until a piece is needed, in ms.
    pub(super) fn deadline(&self, info: &PieceInfo) -> i64 {
        ((info.time as f64 - self.position) / self.rate) as i64
    }

    fn target(&self) -> i64 {
        (self.worst as i64 + LATENCY_MARGIN_MS).clamp(self.target, self.target + MAX_EXTRA_LATENCY_MS)
    }
}

impl<P: Payload> Member<P> {
    /// Takes note of how late a piece came.
    pub(super) fn note_arrival(&mut self, info: &PieceInfo) {
        let age = self.age(info);
        let playout = &mut self.playout;
        if info.no >= playout.live_from {
            playout.worst = (playout.worst * LATENCY_DECAY).max(age as f32);
        }
    }

    /// Moves the player's clock to now.
    pub(super) fn advance_playout(&mut self) {
        let passed = self.now - std::mem::replace(&mut self.playout.updated, self.now);
        let Some(origin_now) = self.origin_now() else { return };
        if self.playout.next.is_none() || self.playout.next.is_some_and(|n| n < self.shelf.first()) {
            self.choose_start();
        }
        match self.playout.state {
            State::Waiting => self.try_begin(),
            State::Playing => {
                let low = self.buffered_ms() < LOW_BUFFER_MS;
                let playout = &mut self.playout;
                let latency = origin_now as f64 - playout.position;
                let target = playout.target();
                let off = (latency - target as f64) / RATE_SLACK_MS as f64;
                playout.rate = if low { 1.0 - LOW_RATE_STEP } else { 1.0 + RATE_STEP * off.clamp(-1.0, 1.0) };
                playout.position += passed as f64 * playout.rate;
                self.stats.played_ms += passed as u64;
                self.play_due();
            }
            State::Stalled { since } => self.try_resume(since),
        }
    }

    /// How many ms can be played with what is here, at most a little more than [`LOW_BUFFER_MS`].
    fn buffered_ms(&self) -> i64 {
        let from = self.playout.next.unwrap_or(0);
        let end = self.playout.end + self.shelf.contiguous_ms(from, LOW_BUFFER_MS) as f64;
        (end - self.playout.position) as i64
    }

    /// Where a newcomer begins: the newest keyframe that is old enough and that somebody has.
    fn choose_start(&mut self) {
        let Some(origin_now) = self.origin_now() else { return };
        let open = self.origin.is_open();
        let found = self
            .shelf
            .from(0)
            .rev()
            .filter(|s| s.info.starts_segment())
            .find(|s| {
                s.is_here() && open
                    || origin_now - s.info.time as i64 >= START_AGE_MS
                        && (s.is_here() || self.neighbours.iter().any(|n| !n.told || n.have.has(s.info.no)))
            })
            .map(|s| (s.info.no, s.info.time));
        if let Some((no, time)) = found {
            if self.playout.has_begun() {
                self.stats.skips += 1;
                self.emit(Played::Skip);
            }
            self.playout.next = Some(no);
            self.playout.chosen = self.now;
            self.playout.position = time as f64;
        }
    }

    fn try_begin(&mut self) {
        let Some(next) = self.playout.next else { return };
        if self.shelf.contiguous_ms(next, START_BUFFER_MS) >= START_BUFFER_MS {
            self.begin(next);
        } else if let Some(later) = self.later_start(next) {
            self.begin(later);
        }
    }

    fn begin(&mut self, no: PieceNo) {
        let Some(time) = self.shelf.get(no).map(|s| s.info.time) else { return };
        self.playout.next = Some(no);
        self.playout.position = time as f64;
        self.playout.state = State::Playing;
        self.playout.live_from = self.shelf.end();
        self.stats.startup_ms.get_or_insert(self.now.clamp(0, i64::from(u32::MAX)) as u32);
        self.play_due();
    }

    /// A later keyframe from which enough is here.
    fn later_start(&self, after: PieceNo) -> Option<PieceNo> {
        self.shelf
            .from(after + 1)
            .filter(|s| s.info.starts_segment() && s.is_here())
            .map(|s| s.info.no)
            .find(|no| self.shelf.contiguous_ms(*no, START_BUFFER_MS) >= START_BUFFER_MS)
    }

    fn try_resume(&mut self, since: Ms) {
        let Some(next) = self.playout.next else { return };
        if self.shelf.contiguous_ms(next, RESUME_BUFFER_MS) >= RESUME_BUFFER_MS {
            self.end_stall(since);
        } else if self.now - since > SKIP_AFTER_MS
            && let Some(later) = self.later_start(next)
        {
            self.stats.skips += 1;
            self.emit(Played::Skip);
            self.playout.next = Some(later);
            self.playout.position = self.shelf.get(later).map_or(0.0, |s| s.info.time as f64);
            self.end_stall(since);
        }
    }

    fn end_stall(&mut self, since: Ms) {
        self.stats.stall_ms += (self.now - since).max(0) as u64;
        self.playout.state = State::Playing;
        self.play_due();
    }

    /// Gives the player everything whose time has come.
    fn play_due(&mut self) {
        while let Some(next) = self.playout.next {
            let Some(slot) = self.shelf.get(next).filter(|s| s.is_here()) else {
                let known = self.shelf.get(next).map(|s| s.info.time as f64);
                let limit = known.unwrap_or(self.playout.end).max(self.playout.end);
                if self.playout.position >= limit {
                    self.playout.position = limit;
                    self.playout.state = State::Stalled { since: self.now };
                    self.stats.stalls += 1;
                }
                break;
            };
            if slot.info.time as f64 > self.playout.position {
                break;
            }
            let info = slot.info;
            let from_origin = slot.from_origin;
            let Some(payload) = slot.payload.clone() else { break };
            let bytes = payload.len() as u64;
            if from_origin {
                self.stats.played_origin_bytes += bytes;
            } else {
                self.stats.played_p2p_bytes += bytes;
            }
            self.playout.end = info.end as f64;
            self.playout.next = Some(next + 1);
            self.emit(Played::Piece { info, payload });
            self.shelf.trim((next + 1).saturating_sub(KEEP_PLAYED));
        }
    }

    fn emit(&mut self, played: Played<P>) {
        if self.played.len() >= MAX_PLAYED {
            self.played.pop_front();
        }
        self.played.push_back(played);
    }
}
