//! From tags to fragments.

use bytes::Bytes;
use xp2p_proto::flv::{Tag, TagKind, VideoKind, VideoPacket};

use super::clock::{Pace, Unwrapped};
use super::fragment::{Sample, fragment};
use super::init;
use super::shape::{Shape, payload};
use super::sounds::Sounds;
use super::video::kind;

/// Tags of which one pair of fragments is made at most. As many are there at once only when a player begins or is slow.
const MAX_GROUP: usize = 64;
/// Bytes of such a group.
const MAX_GROUP_BYTES: usize = 4 << 20;

/// Gathers samples and makes fragments of them.
#[derive(Debug, Default)]
pub(super) struct Muxer {
    /// Of the last fragment.
    number: u32,
    time: Unwrapped,
    pictures: Option<Pictures>,
    sounds: Option<Sounds>,
    tags: usize,
    bytes: usize,
}

#[derive(Debug)]
struct Pictures {
    kind: VideoKind,
    /// What they are coded under.
    record: Bytes,
    /// Decoding time and sample of those that wait. All durations are to be made.
    waiting: Vec<(u64, Sample)>,
    last: Option<u64>,
    /// Up to when the last one may be followed by another, see [`Pace`].
    reach: Option<u64>,
    pace: Pace,
    /// Nothing can be decoded before a keyframe.
    wait_key: bool,
}

impl Muxer {
    /// Takes over the tracks of a shape and gives the init segment. What waits has to be
    /// [flushed](Self::flush) before.
    pub(super) fn configure(&mut self, shape: &Shape) -> Result<Bytes, mp4_atom::Error> {
        self.pictures = shape.video.track().map(|video| {
            let old = self.pictures.take();
            Pictures {
                kind: video.kind,
                record: video.record.clone(),
                waiting: Vec::new(),
                last: old.as_ref().and_then(|p| p.last),
                reach: old.as_ref().and_then(|p| p.reach),
                wait_key: old.as_ref().is_none_or(|p| p.wait_key || p.record != video.record),
                pace: old.map(|p| p.pace).unwrap_or_default(),
            }
        });
        let mut audio = shape.audio.track();
        self.sounds = audio.and_then(|track| Sounds::new(track, self.sounds.take()));
        audio = audio.filter(|_| self.sounds.is_some());
        init::segment(shape.video.track(), audio).map(Bytes::from)
    }

    /// Takes in the next tag. What cannot be used is left out.
    pub(super) fn take(&mut self, tag: &Tag) {
        self.tags += 1;
        match tag.kind {
            TagKind::Video => self.take_video(tag),
            TagKind::Audio => self.take_audio(tag),
            TagKind::Script => {}
        }
    }

    fn take_video(&mut self, tag: &Tag) {
        let (Some(pictures), Ok(head)) = (&mut self.pictures, tag.video_head()) else { return };
        // Of several tracks in one body nothing says here where the first one ends.
        let alone = head.track.is_none_or(|t| t.id == 0 && !t.more);
        if head.packet != VideoPacket::CodedFrames || kind(head.codec) != Some(pictures.kind) || !alone {
            return;
        }
        let sync = head.frame_type.is_key();
        let data = payload(tag, head.payload);
        if data.is_empty() || pictures.wait_key && !sync {
            return;
        }
        pictures.wait_key = false;
        let time = self.time.at(tag.timestamp).max(pictures.last.unwrap_or_default());
        if let Some(last) = pictures.last.replace(time) {
            pictures.pace.saw(distance(last, time));
        }
        // Nothing is shown before the beginning of time.
        let earliest = i32::try_from(time).map_or(i32::MIN, |time| -time);
        let composition = head.composition_time.max(earliest);
        self.bytes += data.len();
        pictures.waiting.push((time, Sample { duration: 0, composition, sync, data }));
        if let Some(sounds) = &mut self.sounds {
            self.bytes += sounds.saw_picture(time);
        }
    }

    fn take_audio(&mut self, tag: &Tag) {
        if let Some(sounds) = &mut self.sounds {
            let shown = self.pictures.as_ref().and_then(|p| p.last);
            self.bytes += sounds.take(tag, &mut self.time, shown);
        }
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.pictures.as_ref().is_none_or(|p| p.waiting.is_empty())
            && self.sounds.as_ref().is_none_or(Sounds::is_empty)
    }

    /// Whether what waits should go before more is taken.
    pub(super) fn is_full(&self) -> bool {
        self.tags >= MAX_GROUP || self.bytes >= MAX_GROUP_BYTES
    }

    /// Fragments of what waits.
    pub(super) fn flush(&mut self) -> Result<Vec<Bytes>, mp4_atom::Error> {
        (self.tags, self.bytes) = (0, 0);
        let mut parts = Vec::new();
        if let Some((start, samples)) = self.pictures.as_mut().and_then(Pictures::flush) {
            self.number = self.number.wrapping_add(1);
            parts.extend(fragment(self.number, init::VIDEO, start, samples)?);
        }
        if let Some((start, samples)) = self.sounds.as_mut().and_then(Sounds::flush) {
            self.number = self.number.wrapping_add(1);
            parts.extend(fragment(self.number, init::AUDIO, start, samples)?);
        }
        Ok(parts)
    }
}

impl Pictures {
    fn flush(&mut self) -> Option<(u64, Vec<Sample>)> {
        let mut waiting = std::mem::take(&mut self.waiting);
        let (time, first) = waiting.first_mut()?;
        // Behind a pause this one would be taken for a seam. Decoded earlier, and shown when it should be, it is none.
        let start = self.reach.map_or(*time, |reach| reach.min(*time));
        let earlier = i32::try_from(*time - start).unwrap_or(i32::MAX);
        first.composition = first.composition.saturating_add(earlier);
        *time = start;
        let mut waiting = waiting.into_iter().peekable();
        let mut samples = Vec::with_capacity(waiting.len());
        while let Some((time, mut sample)) = waiting.next() {
            sample.duration = match waiting.peek() {
                Some((next, _)) => distance(time, *next),
                // Only of the newest one it is not known.
                None => {
                    let guess = self.pace.guess();
                    self.reach = Some(time.saturating_add(u64::from(guess) * Pace::REACH));
                    guess
                }
            };
            samples.push(sample);
        }
        Some((start, samples))
    }
}

fn distance(from: u64, to: u64) -> u32 {
    u32::try_from(to.saturating_sub(from)).unwrap_or(u32::MAX)
}
