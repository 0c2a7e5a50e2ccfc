//! The origin: everybody who connects gets the newest keyframe and what follows, with timestamps of their own.

use std::collections::VecDeque;
use std::time::Duration;

use xp2p_proto::flv::Tag;

use crate::media::{Media, MediaConfig};

/// What an origin keeps for those who connect.
#[derive(Debug)]
pub(super) struct Origin {
    media: Media,
    headers: Vec<Tag>,
    gop: Vec<Tag>,
}

impl Origin {
    pub(super) fn new(media: MediaConfig) -> Self {
        Self { media: Media::new(media), headers: Vec::new(), gop: Vec::new() }
    }

    /// The next tags, if they are due `time` after the beginning.
    pub(super) fn next(&mut self, time: Duration) -> Option<Vec<Tag>> {
        if Duration::from_millis(u64::from(self.media.next_time())) > time {
            return None;
        }
        let tags = self.media.next_tags();
        tags.iter().for_each(|tag| self.keep(tag));
        Some(tags)
    }

    fn keep(&mut self, tag: &Tag) {
        if tag.is_sequence_header() {
            self.headers.retain(|t| t.kind != tag.kind);
            self.headers.push(tag.clone());
            return;
        }
        if tag.is_keyframe() {
            self.gop.clear();
        }
        self.gop.push(tag.clone());
    }

    /// What somebody gets who connects now.
    pub(super) fn recent(&self) -> impl Iterator<Item = &Tag> {
        self.headers.iter().chain(&self.gop)
    }
}

/// A connection to the origin.
#[derive(Debug)]
pub(super) struct Reading {
    /// What is added to timestamps.
    offset: u32,
    queue: VecDeque<(Duration, Tag)>,
    /// bit/s; `None`: everything that is sent arrives at once.
    rate: Option<u64>,
    /// When everything on its way has arrived.
    busy_until: Duration,
}

impl Reading {
    pub(super) fn new(offset: u32, rate: Option<u64>) -> Self {
        Self { offset, queue: VecDeque::new(), rate, busy_until: Duration::ZERO }
    }

    /// A tag is sent that arrives at `due`, if the line is free.
    pub(super) fn push(&mut self, due: Duration, tag: &Tag) {
        let tag = Tag { timestamp: tag.timestamp.wrapping_add(self.offset), ..tag.clone() };
        let takes = self.rate.map_or(0.0, |rate| tag.wire_len() as f64 * 8.0 / rate.max(1) as f64);
        self.busy_until = self.busy_until.max(due) + Duration::from_secs_f64(takes);
        self.queue.push_back((self.busy_until, tag));
    }

    /// The next tag that has arrived by `now`.
    pub(super) fn pop(&mut self, now: Duration) -> Option<Tag> {
        self.queue.front().filter(|(at, _)| *at <= now)?;
        self.queue.pop_front().map(|(_, tag)| tag)
    }
}
