//! An origin with every habit that was measured, for tests: what is published, and what one viewer gets of it.
//!
//! Times are milliseconds from the beginning of the show. Everything follows from seeds.

use bytes::Bytes;

use super::frame::Track;
use crate::flv::{Tag, TagKind};

/// SplitMix64: enough randomness for a test, the same everywhere.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// Randomness that follows from `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// A number below `end`; 0 if that is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.bits().checked_rem(end).unwrap_or(0)
    }

    /// True in `per_mille` of 1,000 cases.
    pub fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1_000) < per_mille
    }
}

/// What is published.
#[derive(Clone, Debug)]
pub struct ShowConfig {
    /// How long, in ms.
    pub length: u64,
    /// Pictures per second; 0: sound alone.
    pub fps: u64,
    /// Pictures from one keyframe to the next.
    pub gop: u64,
    /// Whether there is sound.
    pub sound: bool,
    /// Bytes of a keyframe.
    pub key_size: usize,
    /// Bytes of another picture.
    pub inter_size: usize,
    /// From when to when the picture stands still and nothing is heard: every group of pictures repeats the one before.
    pub still: Option<(u64, u64)>,
    /// When the publisher starts anew, with timestamps from 0.
    pub restart: Option<u64>,
    /// Whether the configuration is another one then.
    pub new_config: bool,
    /// Length of a film in ms that is published over and over, bodies and all.
    pub film: Option<u64>,
    /// Timestamp of the first frame.
    pub first_timestamp: u32,
}

impl Default for ShowConfig {
    fn default() -> Self {
        Self {
            length: 16_000,
            fps: 25,
            gop: 50,
            sound: true,
            key_size: 30_000,
            inter_size: 4_000,
            still: None,
            restart: None,
            new_config: false,
            film: None,
            first_timestamp: 0,
        }
    }
}

/// A frame as it was published.
#[derive(Clone, Debug)]
pub struct TrueFrame {
    /// Its track.
    pub track: Track,
    /// When, in ms of the show.
    pub time: u64,
    /// Its timestamp at the publisher.
    pub timestamp: u32,
    /// Whether it is a keyframe.
    pub key: bool,
    /// Its body.
    pub body: Bytes,
    /// How often the publisher had started anew.
    pub publication: u8,
}

/// Everything that was published, in canonical order.
#[derive(Clone, Debug)]
pub struct Show {
    /// The frames.
    pub frames: Vec<TrueFrame>,
    config: ShowConfig,
}

impl Show {
    /// A show that follows from `seed`.
    pub fn new(seed: u64, config: ShowConfig) -> Self {
        let mut frames = Vec::new();
        let first = Self::publication(seed, &config, 0, config.restart.unwrap_or(config.length), 0);
        frames.extend(first);
        if let Some(at) = config.restart {
            frames.extend(Self::publication(seed, &config, at, config.length, 1));
        }
        Self { frames, config }
    }

    fn publication(seed: u64, c: &ShowConfig, from: u64, to: u64, publication: u8) -> Vec<TrueFrame> {
        let mut frames = Vec::new();
        let start = if publication == 0 { c.first_timestamp } else { 0 };
        let mut push = |track, index: u64, since: u64, key, size: usize| {
            let time = from + since;
            let in_film = c.film.map_or(since, |f| since % f);
            let still = c.still.is_some_and(|(a, b)| (a..b).contains(&time));
            // What the body follows from.
            let moment = match (still, track) {
                (true, Track::Video) => index % c.gop.max(1),
                (true, Track::Audio) => 0,
                _ => 1_000 + in_film + u64::from(publication) * 1_000_000,
            };
            let head: &[u8] = match (track, key) {
                (Track::Video, true) => &[0x17, 1, 0, 0, 0],
                (Track::Video, false) => &[0x27, 1, 0, 0, 0],
                (Track::Audio, _) => &[0xaf, 1],
            };
            let mut rng = Rng::new(seed ^ moment.wrapping_mul(31) ^ u64::from(track == Track::Audio) << 60);
            let size = size / 2 + rng.below(size as u64) as usize;
            let mut body = head.to_vec();
            while body.len() < size {
                body.extend_from_slice(&rng.bits().to_be_bytes());
            }
            let timestamp = start.wrapping_add(since as u32);
            frames.push(TrueFrame { track, time, timestamp, key, body: body.into(), publication });
        };
        let length = to - from;
        for i in 0_u64.. {
            let Some(since) = (i * 1_000).checked_div(c.fps).filter(|s| *s < length) else { break };
            let key = i % c.gop == 0;
            push(Track::Video, i, since, key, if key { c.key_size } else { c.inter_size });
        }
        for i in 0.. {
            let since = i * 1_024 * 1_000 / 44_100;
            if !c.sound || since >= length {
                break;
            }
            push(Track::Audio, i, since, false, 200);
        }
        frames.sort_by_key(|f| (f.time, f.track));
        frames
    }

    fn headers(&self, publication: u8) -> [Tag; 2] {
        let id = if self.config.new_config { publication } else { 0 };
        let tag = |kind, body: &[u8]| Tag { kind, timestamp: 0, body: Bytes::copy_from_slice(body) };
        [
            tag(TagKind::Video, &[0x17, 0, 0, 0, 0, 1, 77, 0, 31, id]),
            tag(TagKind::Audio, &[0xaf, 0, 0x12, 0x10 | id]),
        ]
    }
}

/// What a server does to timestamps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clockwork {
    /// They stay (SRS `off`, node-media-server).
    Off,
    /// A step of more than 250 ms becomes 10 ms (SRS `full`), and the first one is this.
    Full(u32),
    /// They count from the viewer's first tag, and anew from each tag with timestamp 0 (nginx).
    Restart,
}

/// What one viewer gets.
#[derive(Clone, Debug)]
pub struct Habits {
    /// Timestamps.
    pub clockwork: Clockwork,
    /// When the viewer comes.
    pub join: u64,
    /// How long everything takes to it, in ms.
    pub delay: u64,
    /// By how much that varies, in ms.
    pub jitter: u64,
    /// How much later than pictures sound may come, in ms.
    pub sound_late: u64,
    /// Whether the server begins with the newest keyframe, not with the newest frame.
    pub gop_cache: bool,
    /// Whether sound is missing.
    pub video_only: bool,
    /// How many of 1,000 tags are lost.
    pub lost: u64,
    /// Whether the audio sequence header comes first.
    pub audio_first: bool,
    /// Whether sequence headers and metadata come again with each keyframe.
    pub repeat_headers: bool,
    /// Whether there is metadata.
    pub metadata: bool,
}

impl Default for Habits {
    fn default() -> Self {
        Self {
            clockwork: Clockwork::Off,
            join: 0,
            delay: 50,
            jitter: 0,
            sound_late: 0,
            gop_cache: true,
            video_only: false,
            lost: 0,
            audio_first: false,
            repeat_headers: false,
            metadata: true,
        }
    }
}

impl Habits {
    /// Habits by chance, without loss and without a missing track.
    pub fn random(rng: &mut Rng) -> Self {
        let clockwork = match rng.below(3) {
            0 => Clockwork::Off,
            1 => Clockwork::Full(rng.bits() as u32),
            _ => Clockwork::Restart,
        };
        Self {
            clockwork,
            join: rng.below(6_000),
            delay: rng.below(300),
            jitter: rng.below(80),
            sound_late: rng.below(150),
            gop_cache: rng.chance(700),
            video_only: false,
            lost: 0,
            audio_first: rng.chance(500),
            repeat_headers: rng.chance(500),
            metadata: rng.chance(500),
        }
    }
}

/// A tag that a viewer gets.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// When, in ms of the show.
    pub at: u64,
    /// What.
    pub tag: Tag,
    /// Which frame of the show it is.
    pub frame: Option<usize>,
}

/// What a viewer of `show` gets, in order.
pub fn view(show: &Show, habits: &Habits, seed: u64) -> Vec<Arrival> {
    let mut rng = Rng::new(seed);
    let live = show.frames.iter().position(|f| f.time >= habits.join).unwrap_or(show.frames.len());
    let cached = show.frames.iter().take(live).rposition(|f| f.key);
    let first = cached.filter(|_| habits.gop_cache).unwrap_or(live);
    // The order in which the server sends: sound may be behind, each track is in its order.
    let mut newest = 0;
    let mut order: Vec<(u64, usize)> = Vec::new();
    for (i, frame) in show.frames.iter().enumerate().skip(first) {
        let is_sound = frame.track == Track::Audio;
        if is_sound && habits.video_only {
            continue;
        }
        if is_sound {
            newest = newest.max(frame.time + rng.below(habits.sound_late + 1));
        }
        order.push((if is_sound { newest } else { frame.time }, i));
    }
    order.sort();
    // When each comes: the connection keeps the order.
    let mut last = 0;
    let mut arrivals: Vec<(u64, usize)> = Vec::new();
    for (sent, i) in order {
        last = last.max(sent.max(habits.join) + habits.delay + rng.below(habits.jitter + 1));
        arrivals.push((last, i));
    }
    let mut clock = ViewerClock { clockwork: habits.clockwork, last: None, base: 0 };
    let mut out = Vec::new();
    let mut publication = None;
    for (at, i) in arrivals {
        let Some(frame) = show.frames.get(i) else { continue };
        let timestamp = clock.timestamp(frame.timestamp);
        let again = habits.repeat_headers && frame.key;
        if again || publication != Some(frame.publication) {
            publication = Some(frame.publication);
            let [video, audio] = show.headers(frame.publication);
            if habits.metadata {
                let body = Bytes::from_static(b"\x02\x00\x0aonMetaData\x08\0\0\0\0\0\0\x09");
                out.push(Arrival { at, tag: Tag { kind: TagKind::Script, timestamp, body }, frame: None });
            }
            let has_video = show.config.fps > 0;
            let has_sound = show.config.sound && !habits.video_only;
            let mut headers = [(video, has_video), (audio, has_sound)];
            if habits.audio_first {
                headers.reverse();
            }
            for (tag, there) in headers {
                if there {
                    out.push(Arrival { at, tag: Tag { timestamp, ..tag }, frame: None });
                }
            }
        }
        // The server takes it into account even if it is lost on the way.
        if rng.chance(habits.lost) {
            continue;
        }
        let tag = Tag { kind: frame.track.kind(), timestamp, body: frame.body.clone() };
        out.push(Arrival { at, tag, frame: Some(i) });
    }
    out
}

struct ViewerClock {
    clockwork: Clockwork,
    /// Timestamp of the last tag at the publisher, and as it was sent.
    last: Option<(u32, u32)>,
    base: u32,
}

impl ViewerClock {
    fn timestamp(&mut self, raw: u32) -> u32 {
        let sent = match (self.clockwork, self.last) {
            (Clockwork::Off, _) => raw,
            (Clockwork::Full(first), None) => first,
            (Clockwork::Full(_), Some((last, sent))) => {
                let step = raw.wrapping_sub(last) as i32;
                sent.wrapping_add_signed(if step.unsigned_abs() > 250 { 10 } else { step })
            }
            (Clockwork::Restart, last) => {
                if raw == 0 || last.is_none() {
                    self.base = raw;
                }
                raw.wrapping_sub(self.base)
            }
        };
        self.last = Some((raw, sent));
        sent
    }
}
