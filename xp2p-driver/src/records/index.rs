//! Where in a file the keyframes are.

use std::io;

use xp2p_proto::flv::{Config, TAG_HEADER_LEN, Tag, TagKind};

use super::tags::{Head, TagFile};
use super::{is_frame, is_main_key};

/// The most places that are remembered per file. When there are more, every second one is forgotten; what lies between
/// is found by going through the tags there.
pub(super) const MAX_POINTS: usize = 4096;

/// Places nearer to each other than so many milliseconds are not all remembered.
const SPACING: u64 = 1000;

/// Steps back by less than 2^32 minus this are taken for what they are, not for 49 days forward.
const MAX_FORWARD: u32 = 0xf000_0000;

/// Milliseconds from the first frame's timestamp to this one. What is before it counts as 0.
pub(super) fn elapsed(base: u32, timestamp: u32) -> u64 {
    let forward = timestamp.wrapping_sub(base);
    if forward < MAX_FORWARD { u64::from(forward) } else { 0 }
}

/// A place where decoding can start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Point {
    /// Milliseconds since the file's first frame.
    pub(super) elapsed: u64,
    /// Where the tag begins.
    pub(super) offset: u64,
    /// Where the metadata, video and audio headers valid here begin. 0: none.
    pub(super) config: Headers,
}

/// Where the newest metadata, video and audio headers begin. 0: none.
pub(super) type Headers = [u64; 3];

/// What is known of a file up to some byte. Goes on from there when the file has grown.
#[derive(Debug, Clone, Default)]
pub(super) struct Index {
    /// Timestamp of the first frame.
    base: Option<u32>,
    /// Time of the last frame looked at.
    last: Option<u64>,
    /// Time of the last keyframe looked at.
    last_key: Option<u64>,
    /// Where to go on; 0 at the start.
    next: u64,
    config: Headers,
    keys: Vec<Point>,
    /// Sounds, for a file without pictures.
    sounds: Vec<Point>,
    /// Least distance of remembered places in ms, above [`SPACING`] once they were thinned out.
    spacing: u64,
    /// Place and header of the newest tag, to tell a file that has grown from another one.
    newest: Option<(u64, [u8; TAG_HEADER_LEN])>,
}

impl Index {
    /// Timestamp of the first frame.
    pub(super) fn base(&self) -> Option<u32> {
        self.base
    }

    /// Milliseconds from the first frame to the last one looked at.
    pub(super) fn last(&self) -> Option<u64> {
        self.last
    }

    /// Whether all that this index knows is still in the file.
    pub(super) fn fits(&self, file: &mut TagFile) -> io::Result<bool> {
        match self.newest {
            None => Ok(true),
            Some((offset, raw)) => Ok(file.raw_header(offset)?.is_some_and(|(found, _)| found == raw)),
        }
    }

    /// Goes on through the file: to its end, or until a place to start at or before `until` (milliseconds since the
    /// first frame) is sure to be known.
    pub(super) fn extend(&mut self, file: &mut TagFile, until: Option<u64>) -> io::Result<()> {
        if self.next == 0 {
            self.next = file.first();
            self.spacing = SPACING;
        }
        let enough = |this: &Self| until.is_some_and(|until| this.last_key.is_some_and(|key| key > until));
        while !enough(self) {
            let offset = self.next;
            let Some(head) = file.head(offset)? else { break };
            self.newest = file.raw_header(offset)?.map(|(raw, _)| (offset, raw));
            self.take(offset, &head);
        }
        Ok(())
    }

    fn take(&mut self, offset: u64, head: &Head) {
        self.next = head.next;
        let tag = &head.tag;
        if !is_frame(tag) {
            note_header(&mut self.config, tag, offset);
            return;
        }
        let elapsed = elapsed(*self.base.get_or_insert(tag.timestamp), tag.timestamp);
        self.last = Some(elapsed);
        let point = Point { elapsed, offset, config: self.config };
        if is_main_key(tag) {
            self.sounds = Vec::new();
            self.last_key = Some(elapsed);
            remember(&mut self.keys, &mut self.spacing, point);
        } else if tag.kind == TagKind::Audio && self.keys.is_empty() {
            remember(&mut self.sounds, &mut self.spacing, point);
        }
    }

    /// The last place to start at or before `at` (milliseconds since the first frame), or the first one after.
    pub(super) fn find(&self, file: &mut TagFile, at: u64) -> io::Result<Option<Point>> {
        let pictures = !self.keys.is_empty();
        let points = if pictures { &self.keys } else { &self.sounds };
        let before = points.partition_point(|p| p.elapsed <= at);
        let Some(&near) = before.checked_sub(1).and_then(|i| points.get(i)) else {
            return Ok(points.first().copied());
        };
        // Not all places are remembered.
        let (mut best, mut config, mut offset) = (near, near.config, near.offset);
        while offset < self.next {
            let Some(head) = file.head(offset)? else { break };
            let tag = &head.tag;
            if is_frame(tag) {
                let elapsed = elapsed(self.base.unwrap_or(tag.timestamp), tag.timestamp);
                let starts = if pictures { is_main_key(tag) } else { tag.kind == TagKind::Audio };
                // Other tracks may lag a little, so only what can be started at tells that it is too late.
                if starts && elapsed > at {
                    break;
                }
                if starts {
                    best = Point { elapsed, offset, config };
                }
            } else {
                note_header(&mut config, tag, offset);
            }
            offset = head.next;
        }
        Ok(Some(best))
    }
}

fn note_header(config: &mut Headers, tag: &Tag, offset: u64) {
    let mut probe = Config::default();
    probe.update(tag);
    let [metadata, video, audio] = config;
    for (found, slot) in [(&probe.metadata, metadata), (&probe.video, video), (&probe.audio, audio)] {
        if found.is_some() {
            *slot = offset;
        }
    }
}

/// Keeps places sorted by time, apart, and few.
fn remember(points: &mut Vec<Point>, spacing: &mut u64, point: Point) {
    // A jump back in time is not remembered: it is found again by going through the tags before it.
    if points.last().is_some_and(|last| point.elapsed < last.elapsed.saturating_add(*spacing)) {
        return;
    }
    points.push(point);
    if points.len() > MAX_POINTS {
        let mut keep = false;
        points.retain(|_| {
            keep = !keep;
            keep
        });
        *spacing = spacing.saturating_mul(2);
    }
}
