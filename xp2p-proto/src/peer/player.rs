//! What the player gets: pieces as the scheduler plays them, and the origin itself as long as there is nothing else.

use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::flv::Item;
use crate::swarm::PieceInfo;
use crate::swarm::content::{Clock, Content, Frame, Output, Reader, StreamConfig};

/// When the scheduler has played nothing for so long, what the origin sends goes to the player directly. It is more than a
/// stall that others may end.
const PATIENCE: Duration = Duration::from_millis(1_500);

/// Makes the player's stream.
#[derive(Debug, Default)]
pub(super) struct Player {
    reader: Reader,
    output: Output,
    /// The run of the origin that frames are of, and what they need.
    run: Option<(Clock, StreamConfig)>,
    /// Frames of that run go to the player.
    direct: bool,
    /// When the scheduler last played a piece.
    played: Option<Instant>,
    pub(super) unreadable: u64,
}

impl Player {
    /// The frames of the origin that follow are of this run.
    pub(super) fn origin_run(&mut self, clock: Clock, config: &StreamConfig) {
        self.output.begin(clock, config, true);
        self.run = Some((clock, config.clone()));
    }

    /// A frame of the origin.
    pub(super) fn origin_frame(&mut self, now: Instant, frame: &Frame) {
        let Some((clock, config)) = &self.run else { return };
        let direct = self.played.is_none_or(|at| now.saturating_duration_since(at) > PATIENCE);
        if direct {
            if !self.direct && self.played.is_some() {
                // Some of its frames were passed over meanwhile.
                self.output.begin(*clock, config, false);
            }
            self.output.push(*clock, frame);
        }
        self.direct = direct;
    }

    /// Canonical time is `offset` ms more than that of `run`.
    pub(super) fn relate(&mut self, run: Clock, canonical: Clock, offset: i64) {
        self.output.relate(run, canonical, offset);
    }

    /// The scheduler plays a verified piece of this chain.
    pub(super) fn piece(&mut self, now: Instant, chain: u64, info: &PieceInfo, content: &Bytes) {
        self.played = Some(now);
        self.direct = false;
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
