//! From the frames of an encoder to tags: [`FrameMuxer`].
//!
//! Sources: ITU-T H.264 and H.265 Annex B, ISO/IEC 14496-15 sections 5.3.3.1 and 8.3.3.1, ISO/IEC 14496-3, and Annex E
//! of the FLV specification.

mod aac;
mod annexb;
mod avc;
mod bits;
mod error;
mod hevc;
mod sets;
#[cfg(test)]
mod tests;
mod video;

use bytes::Bytes;

pub use self::aac::{AAC_RATES, MAX_AUDIO_CONFIG};
pub use self::bits::MAX_PARAMETER_SET;
pub use self::error::FrameError;
pub use self::sets::{MAX_SETS, SetKind};

use self::video::VideoTrack;
use super::tag::{Tag, TagKind};

/// Bytes of an access unit by default: what readers of tags take by default, less the head and longer start codes.
pub const MAX_VIDEO_FRAME: usize = (4 << 20) - (64 << 10);
/// NAL units of an access unit by default. 600 is the most slices that H.265 allows in a picture.
pub const MAX_NALS: usize = 1024;
/// Bytes of one buffer of sound by default; eight seconds of G.711.
pub const MAX_AUDIO_FRAME: usize = 64 << 10;

/// How much a [`FrameMuxer`] takes at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameLimits {
    /// Bytes of an access unit.
    pub max_video: usize,
    /// NAL units of an access unit.
    pub max_nals: usize,
    /// Bytes of a buffer of sound.
    pub max_audio: usize,
}

impl Default for FrameLimits {
    fn default() -> Self {
        Self { max_video: MAX_VIDEO_FRAME, max_nals: MAX_NALS, max_audio: MAX_AUDIO_FRAME }
    }
}

/// The codings of pictures that [`FrameMuxer::video`] takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VideoKind {
    /// H.264 (AVC).
    H264,
    /// H.265 (HEVC), written with the classic codec id 12.
    H265,
}

/// Width and height of the pictures that belong to a sequence parameter set (a whole NAL unit), as they are shown.
///
/// # Errors
///
/// [`FrameError::ParameterSetEnds`] or [`FrameError::BadField`] if it is none, or the size is 0 or above 65,535.
pub fn picture_size(kind: VideoKind, sps: &[u8]) -> Result<(u16, u16), FrameError> {
    match kind {
        VideoKind::H264 => avc::size(sps),
        VideoKind::H265 => hevc::size(sps),
    }
}

/// The two codings of G.711.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum G711Law {
    /// A-law (PCMA).
    A,
    /// mu-law (PCMU).
    Mu,
}

/// What the data of a [`Frame`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    /// One access unit; see [`FrameMuxer::video`].
    Video(VideoKind),
    /// An AudioSpecificConfig; see [`FrameMuxer::aac_config`]. Its times mean nothing.
    AacConfig,
    /// A raw frame of AAC, or frames in ADTS; see [`FrameMuxer::aac`].
    Aac,
    /// Sound of 8 kHz, mono; see [`FrameMuxer::g711`].
    G711(G711Law),
}

/// What an encoder gave, with its time. A clone shares the data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it is.
    pub kind: FrameKind,
    /// When it is to be shown or heard, in milliseconds. May wrap at 2^32.
    pub pts: u32,
    /// When it is to be decoded, in milliseconds: `pts`, unless pictures are sent in another order than they are
    /// shown (B frames). Not used for sound.
    pub dts: u32,
    /// The data.
    pub data: Bytes,
}

impl Frame {
    /// A frame that is decoded when it is shown.
    pub fn new(kind: FrameKind, pts: u32, data: impl Into<Bytes>) -> Self {
        Self { kind, pts, dts: pts, data: data.into() }
    }
}

/// Makes FLV tags of raw frames, for one channel in one quality.
///
/// Sequence headers come by themselves, when parameter sets are new or changed. After an error the frame is left out
/// and the muxer goes on.
///
/// ```
/// use xp2p_proto::flv::{FrameError, FrameLimits, FrameMuxer, G711Law, VideoKind};
///
/// let mut muxer = FrameMuxer::new(FrameLimits::default());
/// let sets = [0, 0, 0, 1, 0x67, 77, 0x40, 31, 0xe8, 0x80, 0, 0, 0, 1, 0x68, 0xce];
/// let picture = [0, 0, 1, 0x65, 0x88, 0x84, 1];
///
/// assert_eq!(muxer.video(VideoKind::H264, &[0, 0, 1, 0x41, 0x9a], 0, 0), Err(FrameError::NotKeyframe));
/// let tags = muxer.video(VideoKind::H264, &[&sets[..], &picture].concat(), 40, 40)?;
/// assert!(tags[0].is_sequence_header());
/// assert!(tags[1].is_keyframe());
/// assert_eq!(tags[1].body[..], [0x17, 1, 0, 0, 0, 0, 0, 0, 4, 0x65, 0x88, 0x84, 1]);
///
/// let tags = muxer.g711(G711Law::A, &[0xd5; 160], 40)?;
/// assert_eq!(tags[0].timestamp, 40);
/// # Ok::<(), FrameError>(())
/// ```
#[derive(Debug)]
pub struct FrameMuxer {
    limits: FrameLimits,
    video: Option<VideoTrack>,
    video_clock: Clock,
    /// The AudioSpecificConfig for raw frames.
    aac_config: Option<Vec<u8>>,
    /// That of the last sequence header, if no other sound came since.
    aac_sent: Option<Vec<u8>>,
    audio_clock: Clock,
}

impl FrameMuxer {
    /// A muxer that has seen nothing yet.
    pub fn new(limits: FrameLimits) -> Self {
        Self {
            limits,
            video: None,
            video_clock: Clock::new(),
            aac_config: None,
            aac_sent: None,
            audio_clock: Clock::new(),
        }
    }

    /// Takes whatever `frame` is.
    ///
    /// # Errors
    ///
    /// Those of the method for its kind.
    pub fn push(&mut self, frame: &Frame) -> Result<Vec<Tag>, FrameError> {
        match frame.kind {
            FrameKind::Video(kind) => self.video(kind, &frame.data, frame.pts, frame.dts),
            FrameKind::AacConfig => self.aac_config(&frame.data).map(|()| Vec::new()),
            FrameKind::Aac => self.aac(&frame.data, frame.pts),
            FrameKind::G711(law) => self.g711(law, &frame.data, frame.pts),
        }
    }

    /// Takes one access unit (all NAL units of one picture) with start codes of three or four bytes, to be shown at
    /// `pts` and decoded at `dts` milliseconds; the two are the same without B frames.
    ///
    /// The first picture must be a keyframe (H.264: IDR; H.265: IRAP) with its parameter sets, which may also have
    /// come before it in buffers of their own. A buffer without any slice gives no tag: parameter sets in it are
    /// kept, the rest is left out. Parameter sets that change between two keyframes stay with their picture, and go
    /// into a sequence header at the next keyframe.
    ///
    /// # Errors
    ///
    /// [`FrameError`]: the data is no such thing, or comes at a wrong time.
    pub fn video(
        &mut self,
        kind: VideoKind,
        data: &[u8],
        pts: u32,
        dts: u32,
    ) -> Result<Vec<Tag>, FrameError> {
        let track = match &mut self.video {
            Some(track) if track.kind == kind => track,
            other => other.insert(VideoTrack::new(kind)),
        };
        track.push(data, pts, dts, &mut self.video_clock, &self.limits)
    }

    /// Tells the AudioSpecificConfig (ISO/IEC 14496-3 section 1.6.2.1) of the raw frames that follow.
    ///
    /// # Errors
    ///
    /// [`FrameError::AudioConfig`] or [`FrameError::TooLong`].
    pub fn aac_config(&mut self, config: &[u8]) -> Result<(), FrameError> {
        aac::check_config(config)?;
        self.aac_config = Some(config.to_vec());
        Ok(())
    }

    /// Takes AAC to be heard from `pts` milliseconds on: one raw frame, whose configuration
    /// [`aac_config`](Self::aac_config) told before; or one or more whole frames in ADTS, which tell it themselves.
    ///
    /// # Errors
    ///
    /// [`FrameError`]: the data is no such thing, or comes at a wrong time.
    pub fn aac(&mut self, data: &[u8], pts: u32) -> Result<Vec<Tag>, FrameError> {
        self.check_audio(data, pts)?;
        let mut tags = Vec::new();
        if !aac::is_adts(data) {
            let config = self.aac_config.clone().ok_or(FrameError::NoAudioConfig)?;
            self.aac_frame(&mut tags, config, data, pts);
            return Ok(tags);
        }
        for (n, frame) in (0..).zip(aac::split(data)?) {
            // A buffer has at most some thousand frames of 8 to 140 ms.
            let later = n * aac::FRAME_SAMPLES * 1000 / u64::from(frame.rate);
            self.aac_frame(&mut tags, frame.config.to_vec(), frame.data, pts.wrapping_add(later as u32));
        }
        Ok(tags)
    }

    /// Takes G.711 of 8 kHz, mono: a byte for each sample, the first to be heard at `pts` milliseconds.
    ///
    /// # Errors
    ///
    /// [`FrameError`]: nothing or too much of it, or at a wrong time.
    pub fn g711(&mut self, law: G711Law, data: &[u8], pts: u32) -> Result<Vec<Tag>, FrameError> {
        self.check_audio(data, pts)?;
        self.audio_clock.set(pts);
        self.aac_sent = None;
        // 16 bits before coding, mono; the format fixes the rate (Annex E.4.2.1).
        let head = match law {
            G711Law::A => 0x72,
            G711Law::Mu => 0x82,
        };
        Ok(vec![audio_tag(pts, &[head], data)])
    }

    /// The source starts anew: its times may begin again, and its first picture must be a keyframe with its
    /// parameter sets. What [`aac_config`](Self::aac_config) told still holds.
    pub fn restart(&mut self) {
        let aac_config = self.aac_config.take();
        *self = Self { aac_config, ..Self::new(self.limits) };
    }

    fn check_audio(&self, data: &[u8], pts: u32) -> Result<(), FrameError> {
        if data.is_empty() {
            return Err(FrameError::Empty);
        }
        if data.len() > self.limits.max_audio {
            return Err(FrameError::TooLong { len: data.len(), max: self.limits.max_audio });
        }
        self.audio_clock.check(TagKind::Audio, pts)
    }

    fn aac_frame(&mut self, tags: &mut Vec<Tag>, config: Vec<u8>, data: &[u8], pts: u32) {
        if self.aac_sent.as_ref() != Some(&config) {
            tags.push(audio_tag(pts, &[0xaf, 0], &config));
            self.aac_sent = Some(config);
        }
        tags.push(audio_tag(pts, &[0xaf, 1], data));
        self.audio_clock.set(pts);
    }
}

fn audio_tag(timestamp: u32, head: &[u8], data: &[u8]) -> Tag {
    Tag { kind: TagKind::Audio, timestamp, body: Bytes::from([head, data].concat()) }
}

/// The time of the last tag of a track.
#[derive(Debug)]
struct Clock {
    last: Option<u32>,
}

impl Clock {
    fn new() -> Self {
        Self { last: None }
    }

    /// Whether time goes on, by the shorter way around the 32-bit wrap.
    fn check(&self, kind: TagKind, timestamp: u32) -> Result<(), FrameError> {
        match self.last {
            Some(last) if (timestamp.wrapping_sub(last) as i32) < 0 => {
                Err(FrameError::Backwards { kind, timestamp, last })
            }
            _ => Ok(()),
        }
    }

    fn set(&mut self, timestamp: u32) {
        self.last = Some(timestamp);
    }
}
