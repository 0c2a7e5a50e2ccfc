//! The sound on its way to fragments.

use bytes::Bytes;
use xp2p_proto::flv::{AudioCodec, AudioPacket, Tag};
use xp2p_proto::voice::{Decoded, VoiceDecoder};

use super::audio::{AudioTrack, Coding};
use super::clock::{SoundClock, Unwrapped};
use super::flac::FlacEncoder;
use super::fragment::Sample;
use super::shape::payload;

/// Milliseconds of pictures without any sound after which silence is made: players stop where one of two tracks ends,
/// and a camera whose microphone is switched off should not freeze its picture. More than what sound is sent later than
/// its pictures, for then it would find its place taken.
const SILENT: u64 = 1_500;
/// How far silence stays behind the pictures, so that sound that comes again finds room.
const BEHIND: u64 = 250;
/// Most pieces of silence at a time.
const MAX_SILENCE: u64 = 2_048;

/// Lays sound behind sound.
#[derive(Debug)]
pub(super) struct Sounds {
    clock: SoundClock,
    way: Way,
    /// Where those that wait begin.
    start: u64,
    waiting: Vec<Sample>,
    /// Time of the picture before the last sound, or of the first picture.
    heard: Option<u64>,
    /// Milliseconds that sound comes later than pictures of its time.
    skew: u64,
}

#[derive(Debug)]
enum Way {
    /// Frames of so many samples, and a silent one.
    Aac { frame: u32, silence: Option<&'static [u8]> },
    /// Blocks of so many samples in so many channels.
    Flac { encoder: Box<FlacEncoder>, block: u32, channels: u8 },
}

impl Way {
    fn new(track: &AudioTrack) -> Option<Self> {
        Some(match track.coding {
            Coding::Aac { frame, silence, .. } => Self::Aac { frame, silence },
            Coding::Samples { channels, block } => Self::Flac {
                encoder: Box::new(FlacEncoder::new(track.rate, channels, block)?),
                block: u32::try_from(block).ok()?,
                channels,
            },
        })
    }
}

impl Sounds {
    /// Of a track, going on where an older one has come to.
    pub(super) fn new(track: &AudioTrack, old: Option<Self>) -> Option<Self> {
        let way = Way::new(track)?;
        let (heard, skew) = old.as_ref().map_or((None, 0), |old| (old.heard, old.skew));
        let mut clock = old.map_or_else(|| SoundClock::new(track.rate), |old| old.clock);
        clock.change_rate(track.rate);
        Some(Self { clock, way, start: 0, waiting: Vec::new(), heard, skew })
    }

    /// Takes in a tag that comes behind a picture of the time `shown`. Gives the bytes that wait more than before.
    pub(super) fn take(&mut self, tag: &Tag, time: &mut Unwrapped, shown: Option<u64>) -> usize {
        let Ok(head) = tag.audio_head() else { return 0 };
        // Of several tracks in one body nothing says here where the first one ends.
        let alone = head.track.is_none_or(|t| t.id == 0 && !t.more);
        if head.packet != AudioPacket::CodedFrames || !alone {
            return 0;
        }
        let (mut due, len, pieces) = match &mut self.way {
            Way::Aac { frame, .. } => {
                let data = payload(tag, head.payload);
                if head.codec != AudioCodec::Aac || data.is_empty() {
                    return 0;
                }
                (self.clock.samples(time.at(tag.timestamp)), *frame, vec![data])
            }
            Way::Flac { encoder, block, .. } => {
                let Ok(Decoded::Samples { samples, .. }) = VoiceDecoder::default().decode(tag) else {
                    tracing::trace!("a tag of sound that cannot be decoded is left out");
                    return 0;
                };
                let due = self.clock.samples(time.at(tag.timestamp)).saturating_sub(encoder.waiting() as u64);
                (due, *block, encoder.push(&samples).unwrap_or_default())
            }
        };
        let mut bytes = 0;
        for data in pieces {
            bytes += self.put(due, len, data);
            due = due.saturating_add(len.into());
        }
        if let Some(shown) = shown {
            self.heard = Some(shown);
            self.skew = shown.saturating_sub(self.clock.end_ms().unwrap_or(shown));
        }
        bytes
    }

    /// A picture has come: without sound for a while, silence takes its place. Gives the bytes that wait more.
    pub(super) fn saw_picture(&mut self, time: u64) -> usize {
        let heard = *self.heard.get_or_insert(time);
        if time.saturating_sub(heard) < SILENT {
            return 0;
        }
        let until = self.clock.samples(time.saturating_sub(self.skew).saturating_sub(BEHIND));
        let start = self.clock.samples(heard);
        let (len, pieces) = match &mut self.way {
            Way::Aac { silence: None, .. } => return 0,
            Way::Aac { frame, silence: Some(silence) } => {
                let room = self.clock.room(start, until, *frame).min(MAX_SILENCE);
                (*frame, (0..room).map(|_| Bytes::from_static(silence)).collect())
            }
            Way::Flac { encoder, block, channels } => {
                let room = self.clock.room(start, until, *block).min(MAX_SILENCE);
                let mut pieces = Vec::new();
                for _ in 0..room {
                    let silence = vec![0; *block as usize * usize::from(*channels)];
                    pieces.extend(encoder.push(&silence).unwrap_or_default());
                }
                (*block, pieces)
            }
        };
        let mut due = self.clock.end().unwrap_or(start);
        let mut bytes = 0;
        for data in pieces {
            bytes += self.put(due, len, data);
            due = due.saturating_add(len.into());
        }
        bytes
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// What waits, and where it begins.
    pub(super) fn flush(&mut self) -> Option<(u64, Vec<Sample>)> {
        let samples = std::mem::take(&mut self.waiting);
        (!samples.is_empty()).then_some((self.start, samples))
    }

    fn put(&mut self, due: u64, len: u32, data: Bytes) -> usize {
        let Some((start, duration)) = self.clock.place(due, len) else {
            tracing::trace!("a piece of sound comes before its time and is left out");
            return 0;
        };
        if self.waiting.is_empty() {
            self.start = start;
        }
        let bytes = data.len();
        self.waiting.push(Sample { duration, composition: 0, sync: true, data });
        bytes
    }
}
