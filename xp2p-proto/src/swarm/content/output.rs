//! A fresh FLV for the player, from frames of the origin, from verified pieces, or from both in turn.
//!
//! Each source counts time with its own clock; an [`Alignment`](super::Alignment) relates them. The output knows how far it
//! has come in canonical order: a frame that a second source brings again is passed over, and one that is ahead waits until
//! nothing is missing before it. So sources are pushed side by side, and which one a frame came from cannot be seen. The output
//! jumps only where it is told to ([`Output::take_over`]), or where the source in use has a gap itself.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};

use super::frame::{Frame, StreamConfig, Track};
use crate::flv::{FileHeader, Item, Muxer, Tag, TagKind};

/// Time between the last frame of one clock and the first of another one that has nothing to do with it, in ms. About a
/// picture's, so that players neither freeze nor drop.
const SEAM_MS: i64 = 40;
/// How late a frame may come and still be of use, in ms.
const LATE_MS: i64 = 1_000;
/// Most frames of one source that wait until they can be placed: about 30 s.
const MAX_AHEAD: usize = 2_048;
/// Most bytes of them.
const MAX_AHEAD_BYTES: usize = 16 << 20;
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
    /// Canonical time of one epoch of a chain.
    Canonical {
        /// The chain.
        chain: u64,
        /// The epoch, which the [`Batch`](crate::swarm::Batch) of a piece names.
        epoch: u32,
    },
}

impl Clock {
    /// Whether `next` is the run or epoch that comes after this one.
    fn precedes(self, next: Self) -> bool {
        match (self, next) {
            (Self::Run { connection: a, run }, Self::Run { connection: b, run: next }) => {
                a == b && run.checked_add(1) == Some(next)
            }
            (Self::Canonical { chain: a, epoch }, Self::Canonical { chain: b, epoch: next }) => {
                a == b && epoch.checked_add(1) == Some(next)
            }
            _ => false,
        }
    }
}

/// A place in canonical order: time, track, and which of several frames of that time and track.
type Place = (i64, Track, usize);

/// A frame that waits.
#[derive(Clone, Debug)]
struct Ahead {
    frame: Frame,
    /// Which of several frames of its time and track.
    n: usize,
    config: Arc<StreamConfig>,
}

impl Ahead {
    fn place(&self, shift: i64) -> Place {
        (self.frame.time.saturating_add(shift), self.frame.track, self.n)
    }
}

/// How a source comes in that has not brought what is out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entry {
    /// Not at all.
    Closed,
    /// At its next keyframe.
    AtKey,
    /// At once: nothing is missing before it, and decoders need nothing new.
    AtOnce,
}

/// A clock and what it has brought.
#[derive(Clone, Debug)]
struct Source {
    clock: Clock,
    /// Time of the output less that of the clock. `None`: not known yet.
    shift: Option<i64>,
    config: Arc<StreamConfig>,
    /// The newest frame, in the clock's time.
    newest: Option<Place>,
    /// Frames that are not out, in order, nothing missing between them.
    ahead: VecDeque<Ahead>,
    /// Bytes of their bodies.
    bytes: usize,
    /// It has brought a frame that is out, and every frame after it: what it brings next is missing nowhere.
    joined: bool,
    /// Whether it may take over although something may be missing.
    entry: Entry,
}

impl Source {
    fn new(clock: Clock) -> Self {
        Self {
            clock,
            shift: None,
            config: Arc::default(),
            newest: None,
            ahead: VecDeque::new(),
            bytes: 0,
            joined: false,
            entry: Entry::Closed,
        }
    }

    fn pop(&mut self) -> Option<Ahead> {
        let ahead = self.ahead.pop_front()?;
        self.bytes = self.bytes.saturating_sub(ahead.frame.body.len());
        Some(ahead)
    }

    /// Something is missing: what was brought before does not count any more.
    fn restart(&mut self) {
        self.ahead.clear();
        self.bytes = 0;
        self.newest = None;
        self.joined = false;
    }

    /// Drops what waits before a frame that playing can begin with.
    fn drop_to_start(&mut self) {
        while let Some(first) = self.ahead.front()
            && first.config.tracks.has_video
            && !first.frame.key
        {
            self.pop();
        }
    }
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
    config: Option<Arc<StreamConfig>>,
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
    /// same clock, or the run or epoch before it, brought before. Call it for
    /// [`Item::Run`](super::Item::Run) (follows) and [`Content::Segment`](super::Content::Segment) (follows unless there is a
    /// gap).
    pub fn begin(&mut self, clock: Clock, config: &StreamConfig, follows: bool) {
        let next = follows && self.current.is_some_and(|current| current.precedes(clock));
        let same = self.config.as_deref() == Some(config);
        let in_use = self.current == Some(clock);
        let source = self.source(clock);
        if *source.config != *config {
            source.config = Arc::new(config.clone());
        }
        if next {
            source.entry = if same { Entry::AtOnce } else { Entry::AtKey };
        }
        if !follows {
            source.restart();
            if in_use {
                source.entry = Entry::AtKey;
            }
        }
    }

    /// Lets `clock` take over at its next keyframe, whatever may be missing before: better a jump than nothing to show. No effect
    /// on a source that has nothing missing.
    pub fn take_over(&mut self, clock: Clock) {
        let source = self.source(clock);
        if !source.joined {
            source.entry = Entry::AtKey;
        }
        self.advance();
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
            (source.shift, source.joined) = (Some(new), false);
            self.advance();
        }
    }

    /// Takes the next frame of `clock`, after [`begin`](Self::begin). It comes out when its turn is, if it is not out already.
    /// Call [`poll`](Self::poll) until it is `None` afterwards.
    pub fn push(&mut self, clock: Clock, frame: &Frame) {
        let in_use = self.current == Some(clock);
        let source = self.source(clock);
        let n = match source.newest {
            Some((time, track, n)) if (time, track) == (frame.time, frame.track) => n + 1,
            Some((time, track, _)) if (time, track) > (frame.time, frame.track) => {
                // It came too late for the merge, and has no place in the order.
                let near = time.saturating_sub(frame.time) < LATE_MS;
                match source.shift.filter(|_| in_use && source.joined && near) {
                    Some(shift) => {
                        let config = source.config.clone();
                        self.put_frame(config, frame.time.saturating_add(shift), frame);
                    }
                    None => self.repeated += 1,
                }
                return;
            }
            _ => 0,
        };
        source.newest = Some((frame.time, frame.track, n));
        source.bytes += frame.body.len();
        source.ahead.push_back(Ahead { frame: frame.clone(), n, config: source.config.clone() });
        while source.ahead.len() > MAX_AHEAD || source.bytes > MAX_AHEAD_BYTES {
            source.pop();
            source.joined = false;
        }
        self.advance();
    }

    /// What is ready: the file header first, then tags.
    pub fn poll(&mut self) -> Option<Item> {
        self.out.pop_front()
    }

    /// How often the output began anew at a keyframe.
    pub fn skips(&self) -> u64 {
        self.skips
    }

    /// Frames passed over because they were out already, or came too late.
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
                self.sources.push(Source::new(clock));
                self.sources.len() - 1
            }
        };
        // Found, or just pushed.
        &mut self.sources[index]
    }

    /// Puts out everything whose turn it is.
    fn advance(&mut self) {
        // Each frame that a source puts out may be what another one waits for.
        while let Some(index) = (0..self.sources.len()).find(|i| self.advance_one(*i)) {
            while self.advance_one(index) {}
        }
    }

    /// Puts out one frame of a source, if it has one whose turn it is.
    fn advance_one(&mut self, index: usize) -> bool {
        let position = self.position;
        let Some(source) = self.sources.get_mut(index) else { return false };
        let entry = if position.is_none() { Entry::AtKey } else { source.entry };
        if let Some((shift, out)) = source.shift.zip(position) {
            while let Some(first) = source.ahead.front()
                && first.place(shift) <= out
            {
                source.pop();
                source.joined = true;
                self.repeated += 1;
            }
        }
        let jumps = !source.joined;
        match entry {
            Entry::Closed if jumps => return false,
            Entry::AtKey if jumps => source.drop_to_start(),
            _ => {}
        }
        let Some(ahead) = source.pop() else { return false };
        let shift = *source.shift.get_or_insert_with(|| {
            let time = position.map_or(0, |(time, ..)| time.saturating_add(SEAM_MS));
            time.saturating_sub(ahead.frame.time)
        });
        (source.joined, source.entry) = (true, Entry::Closed);
        self.current = Some(source.clock);
        self.skips += u64::from(jumps && position.is_some() && entry == Entry::AtKey);
        let place = ahead.place(shift);
        self.position = Some(place);
        self.put_frame(ahead.config, place.0, &ahead.frame);
        true
    }

    fn put_frame(&mut self, config: Arc<StreamConfig>, time: i64, frame: &Frame) {
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
    fn configure(&mut self, config: Arc<StreamConfig>, timestamp: u32) {
        if self.config.is_none() {
            self.out.push_back(Item::Header(config.tracks));
            self.out.push_back(Item::Tag(metadata(&config)));
        }
        let before = self.config.take().unwrap_or_default();
        let video = (TagKind::Video, &config.video, &before.video);
        let audio = (TagKind::Audio, &config.audio, &before.audio);
        for (kind, new, old) in [video, audio] {
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

#[cfg(test)]
mod tests {
    use super::*;

    const ORIGIN: Clock = Clock::Run { connection: 0, run: 0 };
    const PEERS: Clock = Clock::Canonical { chain: 1, epoch: 0 };

    fn config(id: u8) -> StreamConfig {
        let tracks = FileHeader { has_audio: false, has_video: true };
        StreamConfig { tracks, video: Some(vec![0x17, 0, 0, 0, 0, id].into()), audio: None }
    }

    fn frame(time: i64, key: bool, id: u8) -> Frame {
        Frame::new(Track::Video, time, vec![if key { 0x17 } else { 0x27 }, 1, 0, 0, 0, id].into())
    }

    /// What came out: `H` the header, `M` metadata, `C` a configuration, else time and last byte.
    fn poll(output: &mut Output) -> String {
        let items = std::iter::from_fn(|| output.poll()).map(|item| match item {
            Item::Header(_) => "H".into(),
            Item::Tag(t) if t.kind == TagKind::Script => format!("M{}", t.timestamp),
            Item::Tag(t) if t.is_sequence_header() => format!("C{}", t.timestamp),
            Item::Tag(t) => format!("{}:{}", t.timestamp, t.body.last().copied().unwrap_or(0)),
        });
        items.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn it_begins_at_a_keyframe_and_at_0() {
        let mut output = Output::new();
        output.begin(ORIGIN, &config(1), true);
        output.push(ORIGIN, &frame(960, false, 9));
        output.push(ORIGIN, &frame(1_000, true, 1));
        output.push(ORIGIN, &frame(1_040, false, 2));
        assert_eq!(poll(&mut output), "H M0 C0 0:1 40:2");
    }

    #[test]
    fn a_source_that_is_ahead_waits_for_the_one_in_use() {
        let mut output = Output::new();
        output.begin(PEERS, &config(1), true);
        output.begin(ORIGIN, &config(1), true);
        (0..3).for_each(|i| output.push(PEERS, &frame(i * 40, i == 0, i as u8)));
        assert_eq!(poll(&mut output), "H M0 C0 0:0 40:1 80:2");
        // Not related yet, then ahead by two frames.
        (5..8).for_each(|i| output.push(ORIGIN, &frame(i * 40 + 7_000, i == 5, i as u8)));
        assert_eq!(poll(&mut output), "");
        output.relate(ORIGIN, PEERS, -7_000);
        assert_eq!(poll(&mut output), "");
        (3..6).for_each(|i| output.push(PEERS, &frame(i * 40, i == 5, i as u8)));
        assert_eq!(poll(&mut output), "120:3 160:4 200:5 240:6 280:7");
        assert_eq!(output.skips(), 0);
    }

    #[test]
    fn it_jumps_only_when_told_to() {
        let mut output = Output::new();
        output.begin(PEERS, &config(1), true);
        output.push(PEERS, &frame(0, true, 0));
        output.begin(ORIGIN, &config(1), true);
        (0..3).for_each(|i| output.push(ORIGIN, &frame(9_000 + i * 40, i == 1, 10 + i as u8)));
        assert_eq!(poll(&mut output), "H M0 C0 0:0");
        output.take_over(ORIGIN);
        assert_eq!(poll(&mut output), "40:11 80:12", "at the keyframe, after a seam");
        assert_eq!(output.skips(), 1);
        // A gap of the source in use.
        output.begin(ORIGIN, &config(2), false);
        output.push(ORIGIN, &frame(9_200, false, 20));
        output.push(ORIGIN, &frame(9_240, true, 21));
        assert_eq!(poll(&mut output), "C240 240:21", "time goes on");
        assert_eq!(output.skips(), 2);
    }

    #[test]
    fn a_new_run_of_the_same_connection_goes_on() {
        let next = Clock::Run { connection: 0, run: 1 };
        let mut output = Output::new();
        output.begin(ORIGIN, &config(1), true);
        output.push(ORIGIN, &frame(0, true, 0));
        output.begin(next, &config(1), true);
        output.push(next, &frame(0, false, 1));
        assert_eq!(poll(&mut output), "H M0 C0 0:0 40:1");
        let other = Clock::Run { connection: 0, run: 2 };
        output.begin(other, &config(2), true);
        output.push(other, &frame(0, false, 2));
        output.push(other, &frame(40, true, 3));
        assert_eq!(poll(&mut output), "C80 80:3", "another configuration needs a keyframe");
    }

    #[test]
    fn a_new_epoch_follows_the_one_before_it() {
        let next = Clock::Canonical { chain: 1, epoch: 1 };
        let mut output = Output::new();
        output.begin(PEERS, &config(1), true);
        output.push(PEERS, &frame(0, true, 0));
        output.begin(next, &config(2), true);
        output.push(next, &frame(5_000, true, 1));
        assert_eq!(poll(&mut output), "H M0 C0 0:0 C40 40:1");
        // One that is not the next one waits to be related.
        let later = Clock::Canonical { chain: 1, epoch: 3 };
        output.begin(later, &config(2), true);
        output.push(later, &frame(6_000, true, 1));
        assert_eq!(poll(&mut output), "");
    }

    #[test]
    fn timestamps_wrap_and_sizes_are_right() {
        let mut output = Output::new();
        output.begin(PEERS, &config(1), true);
        output.push(PEERS, &frame(0, true, 0));
        output.push(PEERS, &frame(i64::from(u32::MAX) + 11, false, 1));
        assert!(poll(&mut output).ends_with(" 10:1"));
        let tag = Item::Tag(Tag { kind: TagKind::Video, timestamp: 0, body: vec![0; 5].into() });
        assert_eq!(Output::mux(&tag).last().map(|b| b.to_vec()), Some(vec![0, 0, 0, 16]));
        assert_eq!(Output::mux(&Item::Header(FileHeader::default()))[0].len(), 13);
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut output = Output::new();
        output.begin(PEERS, &config(1), true);
        output.push(PEERS, &frame(0, true, 0));
        output.begin(ORIGIN, &config(1), true);
        (0..10_000).for_each(|i| output.push(ORIGIN, &frame(i * 40, i % 50 == 0, 0)));
        let source = output.sources.iter().find(|s| s.clock == ORIGIN).unwrap();
        assert_eq!((source.ahead.len(), source.bytes), (MAX_AHEAD, MAX_AHEAD * 6));
        (0..100).for_each(|i| output.begin(Clock::Run { connection: i, run: 0 }, &config(1), true));
        assert_eq!(output.sources.len(), MAX_SOURCES);
    }
}
