//! A recording on its way to a viewer, at the speed of its timestamps.
//!
//! The application reads the recording, piece by piece, when it is asked to; everything else is here: pace, pause,
//! seek, fast forward, rewind. The body of the answer is FLV tags back to back, their timestamps milliseconds after
//! the start of the playback. Where it jumps, a script tag says so (see [`seek_marker`]).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use noq_proto::Connection;

use super::event::{CameraEvent, ReadFrom, RequestId};
use super::session::Grant;
use crate::command::SeekTo;
use crate::exchange::{Flow, Outbox};
use crate::flv::{Tag, TagKind};
use crate::request::{Playback as PlaybackRequest, ResponseHead};

/// A tag of a recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedTag {
    /// When it was recorded: unix time in milliseconds.
    pub at: u64,
    /// The tag; its timestamp means nothing here.
    pub tag: Tag,
}

/// How far ahead of its time media is sent, so that a player has something in store.
const LEAD: Duration = Duration::from_millis(500);
/// A hole in the recording that is longer is skipped instead of waited for.
const MAX_GAP: u64 = 2_000;
/// Pause between keyframes in fast forward and rewind, unless a speed was set.
const FAST_FRAME: Duration = Duration::from_millis(200);
/// Below this many tags in store more are read.
const LOW_TAGS: usize = 128;
/// Above this many bytes in store no more is read.
const MAX_STORE: usize = 1024 * 1024;
/// Name in the script tag that marks a jump.
const SEEK_MARKER: &[u8; 8] = b"xp2pSeek";

/// The script tag that says: what follows begins anew at `progress` milliseconds. Body: AMF0 string `xp2pSeek`, AMF0
/// number.
pub fn seek_marker(progress: u64) -> Tag {
    let mut body = BytesMut::with_capacity(20);
    body.put_u8(2);
    body.put_u16(SEEK_MARKER.len() as u16);
    body.put_slice(SEEK_MARKER);
    body.put_u8(0);
    // Exact up to 2^53 ms.
    body.put_f64(progress as f64);
    Tag { kind: TagKind::Script, timestamp: wire_time(progress), body: body.freeze() }
}

/// Reads a [`seek_marker`]: milliseconds after the start of the playback. `None` for every other tag.
pub fn read_seek_marker(tag: &Tag) -> Option<u64> {
    let rest = tag.body.strip_prefix(b"\x02\x00\x08")?.strip_prefix(SEEK_MARKER)?.strip_prefix(b"\x00")?;
    let number = f64::from_be_bytes(rest.try_into().ok()?);
    // Casts saturate; NaN becomes 0.
    (tag.kind == TagKind::Script && number >= 0.0).then_some(number as u64)
}

fn wire_time(progress: u64) -> u32 {
    // 49 days; longer playbacks stay at the last value, which only their players see.
    u32::try_from(progress).unwrap_or(u32::MAX)
}

/// Which tags go out, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// All, when they are due.
    Normal,
    /// Every `ff`th keyframe, one after the other.
    Forward { ff: u8 },
    /// Keyframes backwards until this time (unix ms).
    Rewind { until: u64 },
}

#[derive(Debug)]
pub(super) struct Playback {
    id: RequestId,
    pub(super) request: PlaybackRequest,
    pub(super) grant: Grant,
    outbox: Outbox,
    accepted: bool,
    store: VecDeque<RecordedTag>,
    stored: usize,
    generation: u32,
    reading: bool,
    /// The reader has no more.
    at_end: bool,
    mode: Mode,
    /// Milliseconds per video frame; 0: as recorded.
    speed: u32,
    paused: bool,
    /// A recorded time (unix ms) and when it is due.
    clock: Option<(Instant, u64)>,
    /// When the next frame may go, in all but the normal mode.
    next_frame: Option<Instant>,
    /// Recorded time (unix ms) of what was sent last.
    position: u64,
    keys: u32,
    /// In rewind: the keyframe that was sent last.
    last_key: Option<u64>,
}

impl Playback {
    pub(super) fn new(
        id: RequestId,
        request: PlaybackRequest,
        grant: Grant,
        from: u64,
        paused: bool,
    ) -> Self {
        let start = request.start_time.saturating_mul(1000);
        Self {
            id,
            grant,
            outbox: Outbox::default(),
            accepted: false,
            store: VecDeque::new(),
            stored: 0,
            generation: 0,
            reading: false,
            at_end: false,
            mode: Mode::Normal,
            speed: 0,
            paused,
            clock: None,
            next_frame: None,
            position: start.saturating_add(from).min(request.end_time.saturating_mul(1000)),
            keys: 0,
            last_key: None,
            request,
        }
    }

    fn start(&self) -> u64 {
        self.request.start_time.saturating_mul(1000)
    }

    fn end(&self) -> u64 {
        self.request.end_time.saturating_mul(1000)
    }

    pub(super) fn is_wanted(&self) -> bool {
        !self.accepted
    }

    /// Whether commands still have something to act on.
    pub(super) fn is_running(&self) -> bool {
        self.accepted && !self.outbox.is_finishing()
    }

    pub(super) fn accept(&mut self, events: &mut VecDeque<CameraEvent>) {
        if !self.accepted {
            self.accepted = true;
            self.outbox.push(Bytes::from(ResponseHead::media().to_bytes()));
            self.read(ReadFrom::Seek(self.position), events);
        }
    }

    /// Milliseconds after the start.
    pub(super) fn progress(&self) -> u64 {
        self.position.saturating_sub(self.start())
    }

    pub(super) fn pause(&mut self) {
        self.paused = true;
        self.clock = None;
    }

    pub(super) fn resume(&mut self) {
        self.paused = false;
    }

    /// Goes elsewhere. Returns whether that lies inside.
    pub(super) fn seek(&mut self, to: SeekTo, events: &mut VecDeque<CameraEvent>) -> bool {
        let at = match to {
            SeekTo::Progress(ms) => self.start().saturating_add(ms),
            SeekTo::Time(unix) => unix.saturating_mul(1000),
        };
        if at < self.start() || at > self.end() {
            return false;
        }
        if matches!(self.mode, Mode::Rewind { .. }) {
            self.mode = Mode::Normal;
        }
        self.jump(at, events);
        true
    }

    pub(super) fn fast_forward(&mut self, ff: u8, events: &mut VecDeque<CameraEvent>) {
        let mode = if ff == 0 { Mode::Normal } else { Mode::Forward { ff } };
        if mode != self.mode {
            let back = mode == Mode::Normal;
            self.mode = mode;
            self.keys = 0;
            self.clock = None;
            self.next_frame = None;
            if back {
                // What is in store may be keyframes only.
                self.jump(self.position, events);
            }
        }
    }

    pub(super) fn set_speed(&mut self, speed: u32) {
        self.speed = speed;
        self.clock = None;
        self.next_frame = None;
    }

    /// Plays backwards. Returns whether both times lie inside.
    pub(super) fn rewind(&mut self, from: u64, to: u64, events: &mut VecDeque<CameraEvent>) -> bool {
        let (until, at) = (from.saturating_mul(1000), to.saturating_mul(1000));
        if until >= at || until < self.start() || at > self.end() {
            return false;
        }
        self.mode = Mode::Rewind { until };
        self.jump(at, events);
        true
    }

    fn jump(&mut self, at: u64, events: &mut VecDeque<CameraEvent>) {
        self.store.clear();
        self.stored = 0;
        self.at_end = false;
        self.clock = None;
        self.next_frame = None;
        self.last_key = None;
        self.keys = 0;
        self.position = at;
        self.put(&seek_marker(at.saturating_sub(self.start())));
        self.generation = self.generation.wrapping_add(1);
        self.read(ReadFrom::Seek(at), events);
    }

    fn read(&mut self, from: ReadFrom, events: &mut VecDeque<CameraEvent>) {
        self.reading = true;
        let keys_only = self.mode != Mode::Normal;
        events.push_back(CameraEvent::PlaybackRead {
            request: self.id,
            generation: self.generation,
            from,
            keys_only,
        });
    }

    /// The next piece of the recording; an empty one says that there is no more. What was read before a seek is
    /// ignored.
    pub(super) fn data(&mut self, generation: u32, tags: Vec<RecordedTag>) {
        if generation != self.generation || !self.reading {
            return;
        }
        self.reading = false;
        self.at_end = tags.is_empty();
        let end = self.end();
        match self.mode {
            Mode::Rewind { until } => {
                let key = tags.iter().position(|t| t.tag.is_keyframe());
                let found = key.and_then(|at| tags.get(at)).map(|t| t.at);
                // The first piece begins at or before the wanted time; what comes again or lies before is the end.
                match found {
                    Some(at) if at >= until && self.last_key.is_none_or(|last| at < last) => {
                        self.last_key = Some(at);
                        let upto = key.map_or(0, |key| key + 1);
                        self.store_all(tags.into_iter().take(upto).filter(|t| wanted_in_rewind(&t.tag)));
                    }
                    _ => self.at_end = true,
                }
            }
            _ => {
                // Only what was asked for; the reader may know only whole pieces.
                let over = tags.iter().any(|t| t.at > end);
                self.store_all(tags.into_iter().filter(|t| t.at <= end));
                self.at_end |= over;
            }
        }
    }

    fn store_all(&mut self, tags: impl Iterator<Item = RecordedTag>) {
        for tag in tags {
            self.stored += tag.tag.wire_len();
            self.store.push_back(tag);
        }
    }

    fn put(&mut self, tag: &Tag) {
        self.outbox.push(Bytes::copy_from_slice(&tag.header()));
        self.outbox.push(tag.body.clone());
    }

    /// Whether the tag in front goes out at all in this mode.
    fn is_wanted_tag(&mut self, tag: &Tag) -> bool {
        if self.request.audio_only && tag.kind == TagKind::Video {
            return false;
        }
        if tag.is_sequence_header() || tag.kind == TagKind::Script {
            return true;
        }
        match self.mode {
            Mode::Normal => self.speed == 0 || tag.kind == TagKind::Video,
            Mode::Rewind { .. } => tag.is_keyframe(),
            Mode::Forward { ff } => {
                if !tag.is_keyframe() {
                    return false;
                }
                let wanted = self.keys.is_multiple_of(u32::from(ff.max(1)));
                self.keys = self.keys.wrapping_add(1);
                wanted
            }
        }
    }

    /// When a tag recorded at `at` may go.
    fn due(&mut self, now: Instant, at: u64, tag: &Tag) -> Instant {
        let paced = self.mode != Mode::Normal || self.speed > 0;
        if tag.is_sequence_header() || tag.kind == TagKind::Script {
            return now;
        }
        if paced {
            return self.next_frame.unwrap_or(now);
        }
        let (base, from) = *self.clock.get_or_insert((now, at));
        if at > self.position.saturating_add(MAX_GAP) && at > from.saturating_add(MAX_GAP) {
            // Nothing was recorded in between: go on without waiting.
            let shown = self.position.max(from);
            let due = base + Duration::from_millis(shown - from);
            self.clock = Some((due, at));
            return due.checked_sub(LEAD).unwrap_or(due);
        }
        let due = base + Duration::from_millis(at.saturating_sub(from));
        due.checked_sub(LEAD).unwrap_or(due)
    }

    /// Sends what is due. Returns when to come again.
    pub(super) fn pump(
        &mut self,
        now: Instant,
        conn: &mut Connection,
        events: &mut VecDeque<CameraEvent>,
    ) -> (Flow, Option<Instant>) {
        let mut wake = None;
        loop {
            let flow = self.outbox.pump(conn, self.id.stream);
            if flow != Flow::Idle {
                return (flow, None);
            }
            if self.paused || !self.is_running() {
                break;
            }
            let Some(front) = self.store.front().cloned() else { break };
            let keys = self.keys;
            if !self.is_wanted_tag(&front.tag) {
                self.pop();
                continue;
            }
            let due = self.due(now, front.at, &front.tag);
            if due > now {
                self.keys = keys;
                wake = Some(due);
                break;
            }
            self.pop();
            let media = !front.tag.is_sequence_header() && front.tag.kind != TagKind::Script;
            if media {
                self.position = front.at;
                let frame = Duration::from_millis(self.speed.into());
                match self.mode {
                    Mode::Normal if self.speed == 0 => {}
                    Mode::Normal => self.next_frame = Some(due + frame),
                    _ => {
                        self.next_frame = Some(due.max(now) + if self.speed > 0 { frame } else { FAST_FRAME })
                    }
                }
            }
            let progress = front.at.saturating_sub(self.start());
            self.put(&Tag { timestamp: wire_time(progress), ..front.tag });
        }
        self.refill(events);
        if self.outbox.is_finishing() {
            self.outbox.pump(conn, self.id.stream);
        }
        (Flow::Idle, wake)
    }

    fn pop(&mut self) {
        if let Some(tag) = self.store.pop_front() {
            self.stored = self.stored.saturating_sub(tag.tag.wire_len());
        }
    }

    fn refill(&mut self, events: &mut VecDeque<CameraEvent>) {
        if !self.is_running() || self.reading {
            return;
        }
        if let Mode::Rewind { until } = self.mode {
            if self.store.is_empty() {
                match self.last_key {
                    Some(last) if !self.at_end && last > until => self.read(ReadFrom::Seek(last - 1), events),
                    _ => {
                        // Backwards is over: forward again from there.
                        self.mode = Mode::Normal;
                        self.jump(until, events);
                    }
                }
            }
        } else if self.at_end {
            if self.store.is_empty() {
                self.outbox.finish();
            }
        } else if self.store.len() < LOW_TAGS && self.stored < MAX_STORE {
            self.read(ReadFrom::Next, events);
        }
    }
}

fn wanted_in_rewind(tag: &Tag) -> bool {
    tag.is_sequence_header() || tag.is_keyframe()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_is_read_back_and_nothing_else_is_one() {
        for progress in [0, 1, 30_000, 1 << 40] {
            assert_eq!(read_seek_marker(&seek_marker(progress)), Some(progress));
        }
        let marker = seek_marker(5);
        assert_eq!(read_seek_marker(&Tag { kind: TagKind::Audio, ..marker.clone() }), None);
        assert_eq!(read_seek_marker(&Tag { body: marker.body.slice(..19), ..marker.clone() }), None);
        let metadata = Bytes::from_static(b"\x02\x00\x0aonMetaData");
        assert_eq!(read_seek_marker(&Tag { body: metadata, ..marker }), None);
    }
}
