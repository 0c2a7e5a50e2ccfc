//! What the player gets: pieces as the scheduler plays them, and frames of the origin, whichever are first.
//!
//! The origin sends as it likes: a group of pictures at once, then each frame as it is made. The scheduler plays further behind,
//! so that others can help. To go from one to the other without a pause, frames of the origin are let out at a pace that falls
//! back, a little slower than time, until they are as late as pieces are. What comes twice the [`Output`] passes over.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::flv::Item;
use crate::swarm::PieceInfo;
use crate::swarm::constants::{RATE_STEP, START_BUFFER_MS};
use crate::swarm::content::{Clock, Content, Frame, Output, Reader, StreamConfig};

/// The scheduler plays as long as the last piece is not older than this: more than a stall that others may end.
const PATIENCE: Duration = Duration::from_millis(1_500);
/// Most frames of the origin that wait for their time.
const MAX_HELD: usize = 4_096;
/// Most bytes of them.
const MAX_HELD_BYTES: usize = 16 << 20;

/// A run of a connection to the origin.
#[derive(Debug)]
struct Run {
    clock: Clock,
    config: StreamConfig,
    /// Time of its first frame, and when that is due.
    start: Option<(i64, Instant)>,
    /// It is known how its time relates to that of pieces.
    related: bool,
    /// The player gets its frames.
    used: bool,
    /// Frames of it were left out: what follows does not continue them.
    hole: bool,
}

/// Makes the player's stream.
#[derive(Debug)]
pub(super) struct Player {
    reader: Reader,
    output: Output,
    /// How late frames of the origin may become.
    target: Duration,
    run: Option<Run>,
    /// Frames of the origin and when they are due.
    held: VecDeque<(Instant, Frame)>,
    held_bytes: usize,
    last_due: Option<Instant>,
    /// When the scheduler last played a piece.
    played: Option<Instant>,
    pub(super) unreadable: u64,
}

impl Player {
    pub(super) fn new(target: Duration) -> Self {
        Self {
            reader: Reader::new(),
            output: Output::new(),
            target,
            run: None,
            held: VecDeque::new(),
            held_bytes: 0,
            last_due: None,
            played: None,
            unreadable: 0,
        }
    }

    /// The frames of the origin that follow are of this run.
    pub(super) fn origin_run(&mut self, now: Instant, clock: Clock, config: &StreamConfig) {
        // What waits is of the run before, and nothing would know its clock later.
        while let Some(frame) = self.take_held() {
            self.put(now, &frame);
        }
        self.output.begin(clock, config, true);
        let config = config.clone();
        self.run = Some(Run { clock, config, start: None, related: false, used: false, hole: false });
    }

    /// A frame of the origin.
    pub(super) fn origin_frame(&mut self, now: Instant, frame: Frame) {
        let Some(run) = &mut self.run else { return };
        let first = self.last_due.is_none();
        let earliest = self.last_due.unwrap_or(now).max(now);
        let (start, since) = *run.start.get_or_insert((frame.time, earliest));
        // The first pictures at once, so that the player has something to begin with.
        let ahead = if first || since <= now { START_BUFFER_MS } else { 0 };
        let ms = (frame.time - start - ahead).max(0) as f64 / (1.0 - RATE_STEP);
        let paced = since + Duration::from_millis(ms as u64);
        let due = paced.min(now + self.target).max(self.last_due.unwrap_or(paced));
        self.last_due = Some(due);
        self.held_bytes += frame.body.len();
        self.held.push_back((due, frame));
        while self.held.len() > MAX_HELD || self.held_bytes > MAX_HELD_BYTES {
            let Some(frame) = self.take_held() else { break };
            self.put(now, &frame);
        }
        self.release(now);
    }

    /// When [`release`](Self::release) has something next.
    pub(super) fn next(&self) -> Option<Instant> {
        self.held.front().map(|(due, _)| *due)
    }

    /// Lets go of the frames whose time has come.
    pub(super) fn release(&mut self, now: Instant) {
        while self.next().is_some_and(|due| due <= now)
            && let Some(frame) = self.take_held()
        {
            self.put(now, &frame);
        }
    }

    fn take_held(&mut self) -> Option<Frame> {
        let (_, frame) = self.held.pop_front()?;
        self.held_bytes = self.held_bytes.saturating_sub(frame.body.len());
        Some(frame)
    }

    fn put(&mut self, now: Instant, frame: &Frame) {
        let Some(run) = &mut self.run else { return };
        let playing = self.played.is_some_and(|at| now.saturating_duration_since(at) <= PATIENCE);
        if playing && !(run.used && run.related) {
            // The scheduler does well without it. A keyframe from here would only make the player leave out what is about to come
            // from there.
            (run.used, run.hole) = (false, true);
            return;
        }
        run.used = true;
        if std::mem::take(&mut run.hole) {
            self.output.begin(run.clock, &run.config, false);
        }
        self.output.push(run.clock, frame);
    }

    /// Canonical time is `offset` ms more than that of `clock`.
    pub(super) fn relate(&mut self, clock: Clock, canonical: Clock, offset: i64) {
        if let Some(run) = self.run.as_mut().filter(|r| r.clock == clock) {
            run.related = true;
            self.output.relate(clock, canonical, offset);
        }
    }

    /// The scheduler plays a verified piece of this chain.
    pub(super) fn piece(&mut self, now: Instant, chain: u64, info: &PieceInfo, content: &Bytes) {
        self.played = Some(now);
        if self.reader.push(info, content).is_err() {
            self.unreadable += 1;
        }
        let clock = Clock::Canonical { chain };
        while let Some(content) = self.reader.poll() {
            match content {
                Content::Segment { gap, config, .. } => self.output.begin(clock, &config, !gap),
                Content::Frame(frame) => self.output.push(clock, &frame),
            }
        }
    }

    /// What is ready.
    pub(super) fn poll(&mut self) -> Option<Item> {
        self.output.poll()
    }

    /// How often the stream began anew.
    pub(super) fn skips(&self) -> u64 {
        self.output.skips()
    }
}
