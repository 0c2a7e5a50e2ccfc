//! From the tags of one reader to frames in an order that every reader finds.
//!
//! | what differs between readers | what is done |
//! |---|---|
//! | offset of all timestamps | times count from the first frame of a run |
//! | interleaving of the tracks | merged by time, video first |
//! | order and repetition of sequence headers, metadata, file flags | set aside; a sequence header counts when its bytes change |
//! | a restart of the clock at 0, a step that nothing explains | a new run |
//! | which tracks exist | stated, or learnt in the first second; a track that appears later begins a new run |
//!
//! The merge waits for the slower track, because only then the order is the same everywhere. It does not wait for ever; when it
//! stops waiting the order may differ, and then the hashes do, and the reader offers nothing. That is safe.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::frame::{Frame, MAX_CONFIG, MAX_FRAME, Role, StreamConfig, Track, role};
use crate::flv::{FileHeader, Tag};

/// A step of a track's time that needs an explanation, in ms. SRS itself takes more than this for a jump.
const MAX_STEP: i32 = 250;
/// Longest first step of a track that is alone, in ms: pictures come every 2 s at least.
const MAX_FIRST_STEP: i32 = 2_000;
/// Longest step that can be explained, in ms.
const MAX_PAUSE: i32 = 10_000;
/// How far the tracks of a run may begin apart, in ms: a long group of pictures that is sent before its sound.
const MAX_SKEW: i32 = 10_000;
/// A track that has been silent for so long no longer holds the other up. Two pictures a second are not silence.
const SILENT: Duration = Duration::from_millis(600);
/// Longest time that a frame waits for a track that is not silent but behind.
const MAX_HOLD: Duration = Duration::from_millis(1_000);
/// How long to look which tracks there are, in time of arrival or in time of the stream.
const LEARN: Duration = Duration::from_millis(1_000);
/// How long after a break frames of the old clock may still come.
const STRAGGLE: Duration = Duration::from_millis(1_000);
/// Most frames that may wait.
const MAX_HELD: usize = 4_096;
/// Most bytes that may wait.
const MAX_HELD_BYTES: usize = 16 << 20;

/// Which tracks a stream has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tracks {
    /// These; tags of others are dropped.
    Stated(FileHeader),
    /// Those that are seen in the first second.
    Learnt,
}

/// What comes out of [`Canonical`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A run begins: times count from its first frame, and have nothing to do with those of the run before.
    Run {
        /// Its number, from 0.
        run: u64,
        /// What its frames need.
        config: StreamConfig,
    },
    /// A frame of the run.
    Frame(Frame),
}

/// What was dropped, and how often the stream broke.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CanonicalStats {
    /// Tags whose head could not be read, frames before their sequence header, frames that are too long.
    pub dropped: u64,
    /// Frames of the old clock that came after a break.
    pub stragglers: u64,
    /// Frames that were let go before the other track was past them.
    pub impatient: u64,
    /// Runs that ended.
    pub breaks: u64,
}

/// A place in the time of a track.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// Timestamp of the tag.
    raw: u32,
    /// Time in the run.
    time: i64,
}

impl Place {
    /// How far `raw` is ahead, also over the 32-bit wrap.
    const fn to(self, raw: u32) -> i32 {
        raw.wrapping_sub(self.raw) as i32
    }
}

#[derive(Debug)]
struct Lane {
    present: bool,
    config: Option<Bytes>,
    /// The newest frame of this run.
    last: Option<Place>,
    /// The step before it, in ms.
    step: Option<i32>,
    /// Timestamp of the newest frame of the run before.
    before: Option<u32>,
    /// When the newest frame came, or the run began.
    heard: Instant,
    /// Frames that wait, each with its arrival.
    held: VecDeque<(Frame, Instant)>,
}

/// What a timestamp means.
enum Verdict {
    /// The run goes on, at this time.
    At(i64),
    Break,
    Straggler,
}

/// Makes canonical frames of the tags of one reader of an origin.
#[derive(Debug)]
pub struct Canonical {
    stated: bool,
    video: Lane,
    audio: Lane,
    /// The newest frame of the run, of whichever track.
    newest: Option<Place>,
    run: u64,
    run_began: Instant,
    /// The run has been told.
    told: bool,
    /// When the first frame came. `None` also once it is known which tracks there are.
    learning: Option<Learning>,
    bytes: usize,
    out: VecDeque<Item>,
    stats: CanonicalStats,
}

#[derive(Clone, Copy, Debug)]
enum Learning {
    NotBegun,
    Since(Instant),
}

impl Canonical {
    /// For one connection that opened at `now`.
    pub fn new(tracks: Tracks, now: Instant) -> Self {
        let lane = |present| Lane {
            present,
            config: None,
            last: None,
            step: None,
            before: None,
            heard: now,
            held: VecDeque::new(),
        };
        let (stated, header) = match tracks {
            Tracks::Stated(header) => (true, header),
            Tracks::Learnt => (false, FileHeader::default()),
        };
        Self {
            stated,
            video: lane(header.has_video),
            audio: lane(header.has_audio),
            newest: None,
            run: 0,
            run_began: now,
            told: false,
            learning: (!stated).then_some(Learning::NotBegun),
            bytes: 0,
            out: VecDeque::new(),
            stats: CanonicalStats::default(),
        }
    }

    /// Takes the next tag of the connection.
    pub fn push(&mut self, now: Instant, tag: &Tag) {
        match role(tag) {
            Role::Aside => {}
            Role::Damaged => self.stats.dropped += 1,
            Role::Config(track) => self.configure(now, track, &tag.body),
            Role::Frame { track, needs_config } => {
                let lane = self.lane(track);
                if (needs_config && lane.config.is_none()) || tag.body.len() > MAX_FRAME {
                    self.stats.dropped += 1;
                } else if self.admit(now, track) {
                    self.frame(now, track, tag);
                }
            }
        }
        self.release(now);
    }

    /// Lets frames go that have waited long enough.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.release(now);
    }

    /// When to call [`handle_timeout`](Self::handle_timeout).
    pub fn poll_timeout(&self) -> Option<Instant> {
        let (frame, arrival) = self.first()?;
        Some(match self.learning {
            Some(Learning::Since(since)) => since + LEARN,
            Some(Learning::NotBegun) => *arrival + LEARN,
            None => (self.lane_ref(frame.track.other()).heard + SILENT).min(*arrival + MAX_HOLD),
        })
    }

    /// What is ready.
    pub fn poll(&mut self) -> Option<Item> {
        self.out.pop_front()
    }

    /// The stream is at its end: what waits goes out. Not for a connection that was closed or lost: what waits then is not
    /// complete, and is better dropped.
    pub fn finish(&mut self) {
        self.learning = None;
        self.flush();
    }

    /// What was dropped.
    pub fn stats(&self) -> CanonicalStats {
        self.stats
    }

    fn lane(&mut self, track: Track) -> &mut Lane {
        match track {
            Track::Video => &mut self.video,
            Track::Audio => &mut self.audio,
        }
    }

    fn lane_ref(&self, track: Track) -> &Lane {
        match track {
            Track::Video => &self.video,
            Track::Audio => &self.audio,
        }
    }

    /// Whether tags of this track count. A track that appears begins a new run, because the configuration changes.
    fn admit(&mut self, now: Instant, track: Track) -> bool {
        if self.lane_ref(track).present {
            return true;
        }
        if self.stated {
            return false;
        }
        if self.told {
            self.begin_run(now);
        }
        self.lane(track).present = true;
        true
    }

    fn configure(&mut self, now: Instant, track: Track, body: &Bytes) {
        if body.len() > MAX_CONFIG {
            self.stats.dropped += 1;
            return;
        }
        if self.lane_ref(track).config.as_ref() == Some(body) || !self.admit(now, track) {
            return;
        }
        // A frame of the track needed the old one. The first one of a track changes nothing for the other track, but it
        // is too late once the run has been told.
        if self.lane_ref(track).last.is_some() || self.told {
            self.begin_run(now);
        }
        self.lane(track).config = Some(body.clone());
    }

    fn begin_run(&mut self, now: Instant) {
        if self.newest.is_none() {
            return; // nothing has come since the last break
        }
        self.flush();
        self.stats.breaks += 1;
        self.run += 1;
        self.run_began = now;
        self.told = false;
        self.newest = None;
        for lane in [&mut self.video, &mut self.audio] {
            lane.before = lane.last.take().map(|l| l.raw).or(lane.before);
            lane.step = None;
            lane.heard = now;
        }
    }

    fn frame(&mut self, now: Instant, track: Track, tag: &Tag) {
        let raw = tag.timestamp;
        let time = match self.judge(now, track, raw) {
            Verdict::At(time) => time,
            Verdict::Straggler => {
                self.stats.stragglers += 1;
                return;
            }
            Verdict::Break => {
                self.begin_run(now);
                0
            }
        };
        let place = Place { raw, time };
        if self.newest.is_none_or(|n| time >= n.time) {
            self.newest = Some(place);
        }
        if let Some(Learning::NotBegun) = self.learning {
            self.learning = Some(Learning::Since(now));
        }
        let lane = self.lane(track);
        lane.step = lane.last.map(|l| l.to(raw)).filter(|s| *s > 0).or(lane.step);
        lane.last = Some(place);
        lane.heard = now;
        lane.held.push_back((Frame::new(track, time, tag.body.clone()), now));
        self.bytes += tag.body.len();
    }

    /// What a timestamp means for the run.
    fn judge(&self, now: Instant, track: Track, raw: u32) -> Verdict {
        let lane = self.lane_ref(track);
        let Some(newest) = self.newest else { return Verdict::At(0) };
        let Some(last) = lane.last else {
            let skew = newest.to(raw);
            let goes_on_before = lane.before.is_some_and(|b| {
                (0..=MAX_STEP).contains(&(raw.wrapping_sub(b) as i32))
                    && skew.unsigned_abs() > MAX_STEP as u32
            });
            if goes_on_before && now.saturating_duration_since(self.run_began) < STRAGGLE {
                return Verdict::Straggler;
            }
            // A clock of its own: it cannot be put in order, so it is taken to be where the other one is. Breaking
            // instead would break for ever.
            let own_clock = skew.unsigned_abs() > MAX_SKEW as u32;
            return Verdict::At(if own_clock { newest.time } else { newest.time + i64::from(skew) });
        };
        let step = last.to(raw);
        if (0..=MAX_STEP).contains(&step) {
            return Verdict::At(last.time + i64::from(step));
        }
        if !(0..=MAX_PAUSE).contains(&step) {
            return Verdict::Break;
        }
        // A long step is a pause of this track, not a jump of the clock, if the track steps like this all the time, or if
        // the other track has come to the same time without a jump.
        let other = self.lane_ref(track.other());
        let usual = match lane.step {
            Some(usual) => step <= 2 * usual,
            None => !other.present && step <= MAX_FIRST_STEP,
        };
        let explained = usual || other.last.is_some_and(|o| o.to(raw).unsigned_abs() <= MAX_STEP as u32);
        if explained { Verdict::At(last.time + i64::from(step)) } else { Verdict::Break }
    }

    /// The first of what waits, in canonical order.
    fn first(&self) -> Option<&(Frame, Instant)> {
        match (self.video.held.front(), self.audio.held.front()) {
            (Some(v), Some(a)) => Some(if v.0.time <= a.0.time { v } else { a }),
            (v, a) => v.or(a),
        }
    }

    fn release(&mut self, now: Instant) {
        self.learn(now);
        if self.learning.is_some() {
            return;
        }
        while let Some((frame, arrival)) = self.first() {
            let (track, time) = (frame.track, frame.time);
            let other = self.lane_ref(track.other());
            let passed = !other.present
                || !other.held.is_empty()
                || other.last.is_some_and(|l| match track {
                    Track::Video => l.time >= time,
                    Track::Audio => l.time > time,
                });
            if !passed {
                let silent = now.saturating_duration_since(other.heard) >= SILENT;
                let late = now.saturating_duration_since(*arrival) >= MAX_HOLD;
                let full = self.lane_ref(track).held.len() > MAX_HELD || self.bytes > MAX_HELD_BYTES;
                if !(silent || late || full) {
                    return;
                }
                self.stats.impatient += 1;
            }
            self.let_go(track);
        }
    }

    fn learn(&mut self, now: Instant) {
        let Some(learning) = self.learning else { return };
        let long_enough = match learning {
            Learning::NotBegun => false,
            Learning::Since(since) => now.saturating_duration_since(since) >= LEARN,
        };
        let far_enough = match (self.first(), self.newest) {
            (Some((frame, _)), Some(newest)) => newest.time - frame.time >= LEARN.as_millis() as i64,
            _ => false,
        };
        let both = self.video.present && self.audio.present;
        // The lanes are bounded here, too, because nothing is let go before.
        let full = self.video.held.len() + self.audio.held.len() > MAX_HELD || self.bytes > MAX_HELD_BYTES;
        if both || long_enough || far_enough || full {
            self.learning = None;
        }
    }

    fn let_go(&mut self, track: Track) {
        let Some((frame, _)) = self.lane(track).held.pop_front() else { return };
        self.bytes = self.bytes.saturating_sub(frame.body.len());
        if !self.told {
            self.told = true;
            let tracks = FileHeader { has_audio: self.audio.present, has_video: self.video.present };
            let config =
                StreamConfig { tracks, video: self.video.config.clone(), audio: self.audio.config.clone() };
            self.out.push_back(Item::Run { run: self.run, config });
        }
        self.out.push_back(Item::Frame(frame));
    }

    fn flush(&mut self) {
        while let Some(track) = self.first().map(|(frame, _)| frame.track) {
            self.let_go(track);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flv::TagKind;

    struct Bench {
        start: Instant,
        canonical: Canonical,
    }

    impl Bench {
        fn new(tracks: Tracks) -> Self {
            #[expect(clippy::disallowed_methods, reason = "a test needs some first instant")]
            let start = Instant::now();
            Self { start, canonical: Canonical::new(tracks, start) }
        }

        /// With both sequence headers.
        fn both() -> Self {
            let mut bench = Self::new(Tracks::Learnt);
            bench.push(0, TagKind::Video, 0, &[0x17, 0, 0, 0, 0, 1]);
            bench.push(0, TagKind::Audio, 0, &[0xaf, 0, 1]);
            bench
        }

        fn push(&mut self, at: u64, kind: TagKind, timestamp: u32, body: &[u8]) {
            let tag = Tag { kind, timestamp, body: Bytes::copy_from_slice(body) };
            self.canonical.push(self.start + Duration::from_millis(at), &tag);
        }

        fn video(&mut self, at: u64, timestamp: u32) {
            self.push(at, TagKind::Video, timestamp, &[0x27, 1, 0, 0, 0, 9]);
        }

        fn audio(&mut self, at: u64, timestamp: u32) {
            self.push(at, TagKind::Audio, timestamp, &[0xaf, 1, 9]);
        }

        /// What is ready: runs as `R`, frames as `v` or `a` with their time.
        fn poll(&mut self) -> String {
            let items = std::iter::from_fn(|| self.canonical.poll()).map(|item| match item {
                Item::Run { run, .. } => format!("R{run}"),
                Item::Frame(f) if f.track == Track::Video => format!("v{}", f.time),
                Item::Frame(f) => format!("a{}", f.time),
            });
            items.collect::<Vec<_>>().join(" ")
        }

        fn wait(&mut self, at: u64) {
            self.canonical.handle_timeout(self.start + Duration::from_millis(at));
        }

        fn timeout(&self) -> Option<u64> {
            self.canonical.poll_timeout().map(|t| (t - self.start).as_millis() as u64)
        }
    }

    #[test]
    fn tracks_are_merged_by_time_and_video_is_first() {
        let mut bench = Bench::both();
        for (audio, time) in [(false, 100), (false, 140), (true, 100), (true, 120), (true, 150), (false, 180)]
        {
            if audio { bench.audio(0, time) } else { bench.video(0, time) }
        }
        assert_eq!(bench.poll(), "R0 v0 a0 a20 v40 a50");
        bench.canonical.finish();
        assert_eq!(bench.poll(), "v80");
    }

    #[test]
    fn time_goes_on_over_the_32_bit_wrap() {
        let mut bench = Bench::both();
        bench.video(0, u32::MAX - 9);
        bench.audio(0, 5);
        bench.video(0, 30);
        assert_eq!(bench.poll(), "R0 v0 a15");
        assert_eq!(bench.canonical.stats().breaks, 0);
    }

    #[test]
    fn a_silent_track_does_not_hold_the_other_up_for_ever() {
        let mut bench = Bench::both();
        bench.video(0, 0);
        bench.audio(0, 0);
        bench.video(100, 100);
        bench.audio(100, 90);
        assert_eq!(bench.poll(), "R0 v0 a0 a90");
        assert_eq!(bench.timeout(), Some(700), "600 ms after the last sound");
        bench.wait(699);
        assert_eq!(bench.poll(), "");
        bench.wait(700);
        assert_eq!(bench.poll(), "v100");
        bench.video(740, 140);
        assert_eq!(bench.poll(), "v140", "it is still silent");
        bench.audio(760, 150);
        bench.video(780, 180);
        assert_eq!(bench.poll(), "a150");
        assert_eq!(bench.canonical.stats().impatient, 2);
    }

    #[test]
    fn one_track_is_learnt_by_arrival_or_by_time() {
        let mut bench = Bench::new(Tracks::Learnt);
        bench.push(0, TagKind::Video, 0, &[0x17, 0, 0, 0, 0, 1]);
        assert_eq!(bench.timeout(), None);
        bench.video(10, 0);
        assert_eq!((bench.poll().as_str(), bench.timeout()), ("", Some(1_010)));
        bench.wait(1_010);
        assert_eq!(bench.poll(), "R0 v0");
        let mut bench = Bench::new(Tracks::Learnt);
        bench.push(0, TagKind::Video, 0, &[0x17, 0, 0, 0, 0, 1]);
        (0..=5).for_each(|i| bench.video(10, i * 200));
        assert_eq!(bench.poll(), "R0 v0 v200 v400 v600 v800 v1000", "a whole second came at once");
        // Sound appears: a new run.
        bench.push(20, TagKind::Audio, 0, &[0xaf, 0, 1]);
        bench.video(20, 1_200);
        bench.audio(20, 1_210);
        assert_eq!(bench.poll(), "R1 v0");
    }

    #[test]
    fn stated_tracks_are_the_only_ones() {
        let mut bench = Bench::new(Tracks::Stated(FileHeader { has_audio: false, has_video: true }));
        bench.push(0, TagKind::Video, 0, &[0x17, 0, 0, 0, 0, 1]);
        bench.push(0, TagKind::Audio, 0, &[0xaf, 0, 1]);
        bench.audio(0, 0);
        bench.video(0, 40);
        assert_eq!(bench.poll(), "R0 v0");
    }

    #[test]
    fn a_clock_that_starts_again_breaks_once() {
        let mut bench = Bench::both();
        for i in 0..3 {
            bench.video(0, 9_000 + i * 40);
            bench.audio(0, 9_000 + i * 40);
        }
        bench.video(0, 0);
        bench.audio(0, 9_120); // of the old clock
        bench.audio(0, 10);
        bench.video(0, 40);
        assert_eq!(bench.poll(), "R0 v0 a0 v40 a40 v80 a80 R1 v0 a10");
        let stats = bench.canonical.stats();
        assert_eq!((stats.breaks, stats.stragglers), (1, 1));
    }

    #[test]
    fn a_step_that_nothing_explains_breaks() {
        let mut bench = Bench::both();
        bench.video(0, 0);
        bench.audio(0, 0);
        bench.video(0, 251);
        bench.audio(0, 251);
        assert_eq!(bench.poll(), "R0 v0 a0 R1 v0");
        // One track pauses while the other goes on.
        (2..20).for_each(|i| bench.audio(0, i * 200));
        bench.video(0, 19 * 200);
        bench.canonical.finish();
        assert!(bench.poll().ends_with("v3549 a3549"), "no break");
    }

    #[test]
    fn few_pictures_a_second_do_not_break() {
        let mut bench = Bench::new(Tracks::Stated(FileHeader { has_audio: false, has_video: true }));
        bench.push(0, TagKind::Video, 0, &[0x17, 0, 0, 0, 0, 1]);
        (0..4).for_each(|i| bench.video(0, i * 500));
        assert_eq!(bench.poll(), "R0 v0 v500 v1000 v1500");
        bench.video(0, 2_600);
        assert_eq!(bench.poll(), "R1 v0", "more than twice the usual step");
    }

    #[test]
    fn another_configuration_breaks_and_the_same_one_does_not() {
        let mut bench = Bench::both();
        bench.video(0, 0);
        bench.audio(0, 0);
        bench.push(0, TagKind::Video, 0, &[0x17, 0, 0, 0, 0, 1]);
        bench.push(0, TagKind::Audio, 0, &[0xaf, 0, 1]);
        bench.video(0, 40);
        bench.push(0, TagKind::Video, 0, &[0x17, 0, 0, 0, 0, 2]);
        bench.push(0, TagKind::Audio, 0, &[0xaf, 0, 2]);
        bench.video(0, 80);
        bench.audio(0, 80);
        assert_eq!(bench.poll(), "R0 v0 a0 v40 R1 v0");
    }

    #[test]
    fn frames_before_their_configuration_and_damaged_ones_are_dropped() {
        let mut bench = Bench::new(Tracks::Learnt);
        bench.video(0, 0);
        bench.push(0, TagKind::Video, 0, &[]);
        bench.push(0, TagKind::Script, 0, b"\x02\0\x0aonMetaData");
        assert_eq!(bench.canonical.stats().dropped, 2);
        assert_eq!(bench.timeout(), None);
    }

    #[test]
    fn a_track_with_a_clock_of_its_own_does_not_break_for_ever() {
        let mut bench = Bench::both();
        for i in 0..100 {
            bench.video(u64::from(i) * 40, i * 40);
            bench.audio(u64::from(i) * 40, 50_000_000 + i * 40);
        }
        assert_eq!(bench.canonical.stats().breaks, 0);
        assert!(bench.poll().ends_with("a3920 v3960"));
    }
}
