//! What the player gets: pieces as the scheduler plays them, and frames of the origin, whichever are first.
//!
//! The origin sends as it likes: a group of pictures at once, then each frame as it is made. The scheduler plays further behind,
//! so that others can help. To go from one to the other without a pause, frames of the origin are let out at a pace that falls
//! back, a little slower than time, until they are as late as pieces are. What comes twice the [`Output`] passes over, and what is
//! ahead it keeps back; here it is told when to jump rather than wait.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::flv::{FileHeader, Item};
use crate::swarm::PieceInfo;
use crate::swarm::constants::{RATE_STEP, START_BUFFER_MS};
use crate::swarm::content::{Clock, Content, Frame, Output, Reader, StreamConfig};

/// A source that has brought nothing for so long is given up for the other one: more than a stall that others may end.
const PATIENCE: Duration = Duration::from_millis(1_500);
/// Most frames of the origin that wait for their time.
const MAX_HELD: usize = 4_096;
/// Most bytes of them.
const MAX_HELD_BYTES: usize = 16 << 20;

/// A run of a connection to the origin.
#[derive(Debug)]
struct Run {
    clock: Clock,
    /// Time of its first frame, and when that is due.
    start: Option<(i64, Instant)>,
    /// It began while the scheduler played: its frames only fill in, and should not come earlier than pieces do.
    late: bool,
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
    /// When the scheduler last played a piece, and a frame of the origin last went out.
    played: Option<Instant>,
    read: Option<Instant>,
    /// The tracks that the signer has seen, as the newest segment says.
    tracks: Option<FileHeader>,
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
            read: None,
            tracks: None,
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
        self.run = Some(Run { clock, start: None, late: !is_quiet(self.played, now) });
    }

    /// A frame of the origin.
    pub(super) fn origin_frame(&mut self, now: Instant, frame: Frame) {
        let Some(run) = &mut self.run else { return };
        let earliest = self.last_due.unwrap_or(now).max(now);
        let (start, since) = *run.start.get_or_insert((frame.time, earliest));
        // The first pictures at once, so that the player has something to begin with.
        let ms = (frame.time - start - START_BUFFER_MS).max(0) as f64 / (1.0 - RATE_STEP);
        let paced = since + Duration::from_millis(ms as u64);
        let latest = now + self.target;
        let due = if run.late { latest } else { paced.min(latest) };
        let due = due.max(self.last_due.unwrap_or(due));
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
        let Some(run) = &self.run else { return };
        self.read = Some(now);
        if is_quiet(self.played, now) {
            self.output.take_over(run.clock);
        }
        self.output.push(run.clock, frame);
    }

    /// Canonical time is `offset` ms more than that of `clock`.
    pub(super) fn relate(&mut self, clock: Clock, canonical: Clock, offset: i64) {
        self.output.relate(clock, canonical, offset);
    }

    /// The scheduler plays a verified piece; `clock` is that of its epoch.
    pub(super) fn piece(&mut self, now: Instant, clock: Clock, info: &PieceInfo, content: &Bytes) {
        self.played = Some(now);
        if self.reader.push(info, content).is_err() {
            self.unreadable += 1;
        }
        if is_quiet(self.read, now) {
            self.output.take_over(clock);
        }
        while let Some(content) = self.reader.poll() {
            match content {
                Content::Segment { gap, config, .. } => {
                    self.tracks = Some(config.tracks);
                    self.output.begin(clock, &config, !gap);
                }
                Content::Frame(frame) => self.output.push(clock, &frame),
            }
        }
    }

    /// Which tracks the stream has, if that is known from pieces.
    pub(super) fn tracks(&self) -> Option<FileHeader> {
        self.tracks
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

/// Whether a source that last brought something at `at` has brought nothing for long.
fn is_quiet(at: Option<Instant>, now: Instant) -> bool {
    at.is_none_or(|at| now.saturating_duration_since(at) > PATIENCE)
}
