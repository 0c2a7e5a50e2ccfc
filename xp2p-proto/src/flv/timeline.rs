//! Makes timestamps start near 0 and go forward only.

use super::tag::{Tag, TagKind};

/// How a [`Timeline`] treats time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimelineConfig {
    /// Milliseconds that the first audio or video tag gets. 0 by default.
    pub start: u32,
    /// A step forward of more milliseconds is a jump and is bridged. 10,000 by default.
    pub max_step: u32,
    /// A step back of up to so many milliseconds is no jump: between tracks it is how they were interleaved, within
    /// a track it is flattened. 1,000 by default.
    pub max_back: u32,
    /// Milliseconds from the last tag before a jump to the first after it, as long as a track has not shown the
    /// distance of its own tags. 40 by default.
    pub interval: u32,
}

impl Default for TimelineConfig {
    fn default() -> Self {
        Self { start: 0, max_step: 10_000, max_back: 1_000, interval: 40 }
    }
}

/// Rewrites timestamps: they start near 0, never go back within a track, pass the 32-bit wrap of the source without
/// a seam, and bridge jumps (a file that starts over, a camera that sets its clock) by the length of one frame.
///
/// Both tracks move by the same offset, so they stay in step. Script tags and sequence headers get the current time
/// when theirs does not fit, since many encoders write 0 there; they never make a jump.
///
/// ```
/// use bytes::Bytes;
/// use xp2p_proto::flv::{Tag, TagKind, Timeline, TimelineConfig};
///
/// let mut timeline = Timeline::new(TimelineConfig::default());
/// let times = [5_000, 5_040, 5_080, 0, 40].map(|timestamp| {
///     let body = Bytes::from_static(&[0x27, 1, 0, 0, 0]);
///     timeline.apply(Tag { kind: TagKind::Video, timestamp, body }).timestamp
/// });
/// assert_eq!(times, [0, 40, 80, 120, 160]);
/// ```
#[derive(Clone, Debug)]
pub struct Timeline {
    config: TimelineConfig,
    /// Newest input of the running epoch (the time between two jumps) and the output it maps to.
    anchor: Option<(u32, u64)>,
    tracks: [Track; 2],
    epoch: u64,
    /// The next audio or video tag is a jump, whatever its timestamp.
    restarting: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Track {
    /// Newest output.
    last: Option<u64>,
    /// Newest input and its epoch.
    input: Option<(u32, u64)>,
    /// Distance of its last two tags.
    interval: Option<u32>,
}

impl Timeline {
    /// A timeline at its start.
    pub fn new(config: TimelineConfig) -> Self {
        Self { config, anchor: None, tracks: [Track::default(); 2], epoch: 0, restarting: false }
    }

    /// The tag with its new timestamp (which wraps after 49.7 days as FLV's must).
    pub fn apply(&mut self, mut tag: Tag) -> Tag {
        tag.timestamp = self.position(&tag) as u32; // the wrap is meant
        tag
    }

    /// The new time of a tag in milliseconds, without wrap. Call this once per tag, in order, or
    /// [`apply`](Self::apply).
    pub fn position(&mut self, tag: &Tag) -> u64 {
        let index = match tag.kind {
            TagKind::Script => return self.side_position(tag),
            _ if tag.is_sequence_header() => return self.side_position(tag),
            TagKind::Audio => 0,
            TagKind::Video => 1,
        };
        let track = self.tracks[index]; // two kinds, two tracks
        let ts = tag.timestamp;
        let restarting = std::mem::take(&mut self.restarting);
        let jumped = match self.anchor {
            None => false,
            Some(_) if restarting => true,
            Some((newest, _)) => {
                let own_step = match track.input {
                    Some((input, epoch)) if epoch == self.epoch => distance(input, ts),
                    _ => 0,
                };
                !self.fits(distance(newest, ts)) || own_step < -i64::from(self.config.max_back)
            }
        };
        let out = match self.anchor {
            None => u64::from(self.config.start),
            Some(_) if jumped => {
                self.epoch += 1;
                self.bridge(index)
            }
            // Before the very start of the timeline there is nothing: such a tag starts with the others.
            Some((newest, at)) => at.saturating_add_signed(distance(newest, ts)),
        };
        match self.anchor {
            Some((newest, _)) if !jumped && distance(newest, ts) <= 0 => {}
            _ => self.anchor = Some((ts, out)),
        }
        let out = out.max(track.last.unwrap_or(u64::from(self.config.start)));
        let interval = match (track.last, jumped) {
            (Some(last), false) if out > last => u32::try_from(out - last).ok(),
            _ => None,
        };
        self.tracks[index] =
            Track { last: Some(out), input: Some((ts, self.epoch)), interval: interval.or(track.interval) };
        out
    }

    /// Makes the next audio or video tag follow the last one by one frame, whatever its timestamp says. For a source
    /// that is known to have started anew.
    pub fn restart(&mut self) {
        self.restarting = true;
    }

    fn fits(&self, step: i64) -> bool {
        -i64::from(self.config.max_back) <= step && step <= i64::from(self.config.max_step)
    }

    /// Where a tag of a track goes that comes after a jump: one frame behind both tracks.
    fn bridge(&self, index: usize) -> u64 {
        let interval = |track: &Track| u64::from(track.interval.unwrap_or(self.config.interval));
        self.tracks
            .iter()
            .filter_map(|track| Some(track.last? + interval(track)))
            .max()
            .or_else(|| Some(u64::from(self.config.start) + interval(self.tracks.get(index)?)))
            .unwrap_or_default()
    }

    /// The time of a tag that carries no sound or picture.
    fn side_position(&self, tag: &Tag) -> u64 {
        let Some((newest, at)) = self.anchor else { return u64::from(self.config.start) };
        let step = distance(newest, tag.timestamp);
        if self.fits(step) && step > 0 { at.saturating_add_signed(step) } else { at }
    }
}

/// Milliseconds from one timestamp to another, taking the shorter way around the 32-bit wrap.
fn distance(from: u32, to: u32) -> i64 {
    i64::from(to.wrapping_sub(from) as i32)
}
