//! A fresh FLV for the player, from frames of the origin, from verified pieces, or from both in turn.
//!
//! Each source counts time with its own clock; an [`Alignment`](super::Alignment) relates them. The output knows how far it
//! has come in canonical order, so a frame that a second source brings again is passed over. When it cannot prove that nothing is
//! missing between two frames, it begins anew at the next keyframe.

use std::collections::VecDeque;

use bytes::{BufMut, Bytes, BytesMut};

use super::frame::{Frame, StreamConfig, Track};
use crate::flv::{FileHeader, Item, Muxer, Tag, TagKind};

/// Time between the last frame of one clock and the first of another one that has nothing to do with it, in ms. About a
/// picture's, so that players neither freeze nor drop.
const SEAM_MS: i64 = 40;
/// How late a frame may come and still be of use, in ms.
const LATE_MS: i64 = 1_000;
/// Most items that wait for the caller.
const MAX_WAITING: usize = 8_192;

/// Most clocks that are remembered: the canonical one and a few runs and connections.
const MAX_SOURCES: usize = 8;

/// Whose time a frame counts in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// That of one run of one connection to the origin. `connection` is the caller's number for it.
    Run {
        /// The connection.
        connection: u64,
        /// The run.
        run: u64,
    },
    /// Canonical time of a chain.
    Canonical {
        /// The chain.
        chain: u64,
    },
}

/// A place in canonical order: time of the output, track, and which of several frames of that time and track.
type Place = (i64, Track, usize);

/// A clock and how it maps to the time of the output.
#[derive(Clone, Debug)]
struct Source {
    clock: Clock,
    /// Time of the output less that of the clock. `None`: not known yet.
    shift: Option<i64>,
    config: StreamConfig,
    /// The newest frame it has brought.
    at: Option<Place>,
    /// It has brought a frame that is out, and every frame after it: what it brings next is missing nowhere.
    joined: bool,
    /// It begins where the clock in use ended, so it needs no keyframe.
    continues: bool,
}

/// Makes the player's stream.
#[derive(Debug, Default)]
pub struct Output {
    sources: Vec<Source>,
    /// The clock of the frame put out last.
    current: Option<Clock>,
    /// The furthest frame that is out.
    position: Option<Place>,
    /// What decoders have been told.
    config: Option<StreamConfig>,
    /// Newest time of each track: video, audio.
    last: [i64; 2],
    out: VecDeque<Item>,
    skips: u64,
    repeated: u64,
}

impl Output {
    /// An output that has put out nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Says that the frames of `clock` from here on need `config`, and whether nothing is missing between them and what the
    /// same clock, or the run before of the same connection, brought before. Call it for
    /// [`Item::Run`](super::Item::Run) (follows) and [`Content::Segment`](super::Content::Segment) (follows unless there is a
    /// gap).
    pub fn begin(&mut self, clock: Clock, config: &StreamConfig, follows: bool) {
        let continues = follows
            && self.config.as_ref() == Some(config)
            && match (clock, self.current) {
                (Clock::Run { connection, run }, Some(Clock::Run { connection: c, run: before })) => {
                    connection == c && before.checked_add(1) == Some(run)
                }
                _ => false,
            };
        let source = self.source(clock);
        source.config = config.clone();
        source.continues = continues;
        if !follows {
            source.joined = false;
            source.at = None;
        }
    }

    /// Says that canonical time is `offset` ms more than that of `run`.
    pub fn relate(&mut self, run: Clock, canonical: Clock, offset: i64) {
        let shift = |this: &Self, clock| this.sources.iter().find(|s| s.clock == clock)?.shift;
        let (of_run, of_canonical) = (shift(self, run), shift(self, canonical));
        // Of two that are known, the one in use stays.
        let (clock, new) = match (of_run, of_canonical) {
            (Some(shift), _) if self.current == Some(run) => (canonical, shift.saturating_sub(offset)),
            (_, Some(shift)) => (run, shift.saturating_add(offset)),
            (Some(shift), None) => (canonical, shift.saturating_sub(offset)),
            (None, None) => return,
        };
        let source = self.source(clock);
        if source.shift != Some(new) {
            (source.shift, source.at, source.joined) = (Some(new), None, false);
        }
    }

    /// Takes the next frame of `clock`, after [`begin`](Self::begin). Frames that are out already are passed over, so two
    /// sources may be pushed side by side. Call [`poll`](Self::poll) until it is `None` afterwards.
    pub fn push(&mut self, clock: Clock, frame: &Frame) {
        let (current, position) = (self.current, self.position);
        let source = self.source(clock);
        let starts = frame.key || !source.config.tracks.has_video;
        let Some((shift, (out_time, ..))) = source.shift.zip(position) else {
            // Nothing is out, or nothing relates this clock to what is.
            if starts || source.continues {
                let time = position.map_or(0, |(time, ..)| time.saturating_add(SEAM_MS));
                source.shift = Some(time.saturating_sub(frame.time));
                let skips = position.is_some() && !source.continues;
                self.emit(clock, (time, frame.track, 0), frame, skips);
            }
            return;
        };
        let time = frame.time.saturating_add(shift);
        let place = match source.at {
            Some((t, track, n)) if (t, track) == (time, frame.track) => (time, frame.track, n + 1),
            Some((t, track, _)) if (t, track) > (time, frame.track) => {
                // It came too late for the merge. The furthest place stays.
                if current == Some(clock) && time + LATE_MS > out_time {
                    self.put_frame(clock, time, frame);
                } else {
                    self.repeated += 1;
                }
                return;
            }
            _ => (time, frame.track, 0),
        };
        source.at = Some(place);
        if position.is_some_and(|p| place <= p) {
            source.joined = true;
            self.repeated += 1;
        } else if source.joined || starts {
            let skips = !source.joined;
            self.emit(clock, place, frame, skips);
        }
    }

    /// What is ready: the file header first, then tags.
    pub fn poll(&mut self) -> Option<Item> {
        self.out.pop_front()
    }

    /// How often the output began anew at a keyframe.
    pub fn skips(&self) -> u64 {
        self.skips
    }

    /// Frames passed over because they were out already.
    pub fn repeated(&self) -> u64 {
        self.repeated
    }

    /// Time of the furthest frame in ms from the first one.
    pub fn time(&self) -> Option<i64> {
        self.position.map(|(time, ..)| time)
    }

    /// The bytes of an item, to be written one after the other. Bodies are shared, not copied.
    pub fn mux(item: &Item) -> Vec<Bytes> {
        let mut muxer = Muxer::new();
        match item {
            Item::Header(header) => vec![muxer.header(*header)],
            Item::Tag(tag) => muxer.tag(tag).into(),
        }
    }

    fn source(&mut self, clock: Clock) -> &mut Source {
        let index = match self.sources.iter().position(|s| s.clock == clock) {
            Some(index) => index,
            None => {
                if self.sources.len() >= MAX_SOURCES {
                    // The oldest one that is not in use.
                    let current = self.current;
                    let oldest = self.sources.iter().position(|s| Some(s.clock) != current).unwrap_or(0);
                    self.sources.remove(oldest);
                }
                let config = StreamConfig::default();
                let source = Source { clock, shift: None, config, at: None, joined: false, continues: false };
                self.sources.push(source);
                self.sources.len() - 1
            }
        };
        // Found, or just pushed.
        &mut self.sources[index]
    }

    fn emit(&mut self, clock: Clock, place: Place, frame: &Frame, skips: bool) {
        if self.out.len() >= MAX_WAITING {
            // Whoever does not poll gets a whole number of groups of pictures at least.
            self.sources.iter_mut().for_each(|s| s.joined = false);
            return;
        }
        let source = self.source(clock);
        (source.at, source.joined, source.continues) = (Some(place), true, false);
        self.current = Some(clock);
        self.position = Some(place);
        self.skips += u64::from(skips);
        self.put_frame(clock, place.0, frame);
    }

    fn put_frame(&mut self, clock: Clock, time: i64, frame: &Frame) {
        let config = self.source(clock).config.clone();
        let timestamp = self.timestamp(frame.track, time);
        if self.config.as_ref() != Some(&config) {
            self.configure(config, timestamp);
        }
        self.out.push_back(Item::Tag(Tag { kind: frame.track.kind(), timestamp, body: frame.body.clone() }));
    }

    /// Timestamp of a frame: never before that of its track's last one; wraps as FLV does.
    fn timestamp(&mut self, track: Track, at: i64) -> u32 {
        let [video, audio] = &mut self.last;
        let last = match track {
            Track::Video => video,
            Track::Audio => audio,
        };
        *last = (*last).max(at);
        // The lowest 32 bits.
        *last as u32
    }

    /// Tells decoders what changed.
    fn configure(&mut self, config: StreamConfig, timestamp: u32) {
        let before = self.config.take();
        if before.is_none() {
            self.out.push_back(Item::Header(config.tracks));
            self.out.push_back(Item::Tag(metadata(&config)));
        }
        let before = before.unwrap_or_default();
        let headers =
            [(TagKind::Video, &config.video, &before.video), (TagKind::Audio, &config.audio, &before.audio)];
        for (kind, new, old) in headers {
            if let Some(body) = new
                && new != old
            {
                self.out.push_back(Item::Tag(Tag { kind, timestamp, body: body.clone() }));
            }
        }
        self.config = Some(config);
    }
}

/// The `onMetaData` of the stream: only what is certain, because players believe it.
fn metadata(config: &StreamConfig) -> Tag {
    let FileHeader { has_audio, has_video } = config.tracks;
    let mut body = BytesMut::with_capacity(64);
    body.put_slice(b"\x02\x00\x0aonMetaData\x08");
    let entries: [(&[u8], bool); 2] = [(b"hasVideo", has_video), (b"hasAudio", has_audio)];
    body.put_u32(entries.len() as u32);
    for (name, value) in entries {
        body.put_u16(name.len() as u16);
        body.put_slice(name);
        body.put_slice(&[1, u8::from(value)]);
    }
    body.put_slice(&[0, 0, 9]);
    Tag { kind: TagKind::Script, timestamp: 0, body: body.freeze() }
}
