//! A viewer's side of a live stream: puts the streams of groups, sound and configurations together again.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use noq_proto::StreamId;

use super::interleave::Interleaver;
use super::lane::{Lane, Next};
use super::wire::{Record, RecordReader, StreamHead, StreamKind, WireError};
use crate::flv::{Config, Limits, Tag, TagKind};

/// Most bytes that are held before the response head has come (decision 12).
pub const MAX_EARLY: usize = 256 * 1024;
/// Most bytes that are held of streams whose turn has not come; past it they are left in QUIC, which slows the
/// sender down.
pub const MAX_HELD: usize = 8 * 1024 * 1024;
/// Most configurations that are kept.
const MAX_CONFIGS: usize = 8;
/// Most items that wait to be taken out.
const MAX_OUT: usize = 16 * 1024;

/// What comes out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LiveItem {
    /// What decoders need from here on.
    Config(Arc<Config>),
    /// The next tag. Its body is shared with the packets it came in wherever it lay in one.
    Tag(Tag),
}

/// Counters of one live stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReceiverStats {
    /// Bytes of media streams and records.
    pub bytes: u64,
    /// Tags given out.
    pub tags: u64,
    /// Keyframes given out.
    pub keyframes: u64,
    /// Groups that were given up, by us or by the camera.
    pub skipped_gops: u64,
}

/// Receives one live stream.
#[derive(Debug)]
pub struct Receiver {
    budget: i32,
    accepted: bool,
    records: RecordReader,
    configs: BTreeMap<u64, Arc<Config>>,
    shown: Option<u64>,
    video: Lane,
    audio: Lane,
    held_video: Option<(u64, Tag)>,
    held_audio: Option<(u64, Tag)>,
    interleaver: Interleaver,
    out: VecDeque<LiveItem>,
    unwanted: Vec<StreamId>,
    early: usize,
    /// Media streams that have told their head, or were lost before.
    seen: u64,
    /// How many media streams there are in all, once the camera has told.
    end: Option<u64>,
    stats: ReceiverStats,
}

impl Receiver {
    /// A receiver that waits for a stalled group for at most `budget` of media time.
    pub fn new(budget: Duration, limits: Limits) -> Self {
        Self {
            budget: i32::try_from(budget.as_millis()).unwrap_or(i32::MAX),
            accepted: false,
            records: RecordReader::default(),
            configs: BTreeMap::new(),
            shown: None,
            video: Lane::new(limits),
            audio: Lane::new(limits),
            held_video: None,
            held_audio: None,
            interleaver: Interleaver::default(),
            out: VecDeque::new(),
            unwanted: Vec::new(),
            early: 0,
            seen: 0,
            end: None,
            stats: ReceiverStats::default(),
        }
    }

    /// The response head said yes: what is held may come out.
    pub fn accept(&mut self) {
        self.accepted = true;
    }

    /// Counters so far.
    pub fn stats(&self) -> ReceiverStats {
        self.stats
    }

    /// Bytes of the response stream after its head.
    ///
    /// # Errors
    ///
    /// The camera broke the protocol; the stream is of no more use.
    pub fn response(&mut self, data: &[u8]) -> Result<(), WireError> {
        self.stats.bytes += data.len() as u64;
        self.records.push(data);
        while let Some(record) = self.records.poll()? {
            match record {
                Record::Config { id, config } => {
                    self.configs.insert(id, Arc::new(config));
                    while self.configs.len() > MAX_CONFIGS {
                        self.configs.pop_first();
                    }
                }
                Record::End { streams } => self.end = Some(streams),
                Record::Unknown { .. } => {}
            }
        }
        Ok(())
    }

    /// A media stream has told what it is. `false`: it is not wanted.
    pub fn open(&mut self, stream: StreamId, head: StreamHead) -> bool {
        self.seen += 1;
        self.lane(head.kind).open(stream, head.number, head.config)
    }

    fn lane(&mut self, kind: StreamKind) -> &mut Lane {
        match kind {
            StreamKind::Video => &mut self.video,
            StreamKind::Audio => &mut self.audio,
        }
    }

    /// Whether bytes of this stream may be read now. When not, ask again after [`poll`](Self::poll).
    pub fn wants(&self, kind: StreamKind, number: u64) -> bool {
        if !self.accepted {
            return self.early < MAX_EARLY;
        }
        let lane = match kind {
            StreamKind::Video => &self.video,
            StreamKind::Audio => &self.audio,
        };
        self.out.len() < MAX_OUT
            && (lane.is_current(number) || self.video.held() + self.audio.held() < MAX_HELD)
    }

    /// Bytes of a media stream after its head.
    ///
    /// # Errors
    ///
    /// The camera broke the protocol; the stream is of no more use.
    pub fn data(&mut self, kind: StreamKind, number: u64, data: Bytes) -> Result<(), WireError> {
        self.stats.bytes += data.len() as u64;
        if !self.accepted {
            self.early += data.len();
        }
        self.lane(kind).data(number, data)?;
        Ok(())
    }

    /// A media stream has ended; `reset`: the camera gave it up.
    pub fn end(&mut self, kind: StreamKind, number: u64, reset: bool) {
        if reset && kind == StreamKind::Video {
            self.stats.skipped_gops += 1;
        }
        self.lane(kind).end(number);
    }

    /// A media stream was given up before it told which one it is.
    pub fn lost_stream(&mut self) {
        self.seen += 1;
    }

    /// Whether the camera has ended the stream and everything of it has come out.
    pub fn is_finished(&self) -> bool {
        self.out.is_empty() && self.is_over()
    }

    fn is_over(&self) -> bool {
        self.end.is_some_and(|total| self.seen >= total) && self.video.is_empty() && self.audio.is_empty()
    }

    /// The next item, in order. `complete` tells that every stream that the peer has opened so far has told its head,
    /// so that a missing number will not turn up.
    pub fn poll(&mut self, complete: bool) -> Option<LiveItem> {
        if self.accepted && self.out.is_empty() {
            self.advance(complete);
        }
        self.out.pop_front()
    }

    /// Streams that were given up and should be stopped.
    pub fn take_unwanted(&mut self) -> Vec<StreamId> {
        std::mem::take(&mut self.unwanted)
    }

    fn advance(&mut self, complete: bool) {
        loop {
            let video = self.step(StreamKind::Video, complete);
            let audio = self.step(StreamKind::Audio, complete);
            if !(video || audio) || self.out.len() >= MAX_OUT {
                break;
            }
        }
        if self.is_over() {
            let Self { interleaver, out, stats, .. } = self;
            interleaver.flush(|tag| give(out, stats, tag));
        }
    }

    /// Moves one tag on. Returns whether there was something to do.
    fn step(&mut self, kind: StreamKind, complete: bool) -> bool {
        let held = match kind {
            StreamKind::Video => self.held_video.take(),
            StreamKind::Audio => self.held_audio.take(),
        };
        let (config, tag) = match held {
            Some(held) => held,
            None => {
                let budget = (kind == StreamKind::Video).then_some(self.budget);
                match self.lane(kind).poll(complete, budget) {
                    Next::Tag { config, tag } => (config, tag),
                    Next::Skipped(stream) => {
                        self.stats.skipped_gops += 1;
                        self.unwanted.push(stream);
                        return true;
                    }
                    Next::Wait => return false,
                }
            }
        };
        if !self.configs.contains_key(&config) {
            if self.configs.first_key_value().is_some_and(|(&oldest, _)| config < oldest) {
                return true; // of a configuration long gone
            }
            // The record is still on its way.
            match kind {
                StreamKind::Video => self.held_video = Some((config, tag)),
                StreamKind::Audio => self.held_audio = Some((config, tag)),
            }
            return false;
        }
        self.show(config);
        let Self { interleaver, out, stats, .. } = self;
        interleaver.push(tag, |tag| give(out, stats, tag));
        true
    }

    /// Gives out the configuration before the first tag that needs it. Of two kinds that change over one after the
    /// other, the newer configuration holds for both.
    fn show(&mut self, config: u64) {
        if self.shown.is_some_and(|shown| shown >= config) {
            return;
        }
        let Some(known) = self.configs.get(&config).cloned() else { return };
        self.shown = Some(config);
        let Self { interleaver, out, stats, .. } = self;
        interleaver.flush(|tag| give(out, stats, tag));
        interleaver.set_has_video(known.header.has_video);
        out.push_back(LiveItem::Config(known));
    }
}

fn give(out: &mut VecDeque<LiveItem>, stats: &mut ReceiverStats, tag: Tag) {
    stats.tags += 1;
    if tag.kind == TagKind::Video && tag.is_keyframe() {
        stats.keyframes += 1;
    }
    out.push_back(LiveItem::Tag(tag));
}

#[cfg(test)]
mod tests;
