//! From samples to FLV audio tags.

use std::time::Duration;

use bytes::{BufMut, BytesMut};

use super::g711;
use crate::flv::{Tag, TagKind};

/// The length of a tag that is usual: short enough not to be heard as delay, long enough that the headers
/// (12 bytes of tag for 320 of G.711) do not matter.
pub const DEFAULT_CHUNK: Duration = Duration::from_millis(40);

/// The shortest tag that may be asked for. Below it, there are more headers than sound.
pub const MIN_CHUNK: Duration = Duration::from_millis(5);

/// The longest tag that may be asked for. This is also what the remainder of a [`PcmTagger`] can hold.
pub const MAX_CHUNK: Duration = Duration::from_secs(1);

/// How a tagger codes, and how a WAV file is coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VoiceCodec {
    /// Linear PCM, 16-bit signed little-endian. FLV sound format 3, WAVE format 1.
    Pcm,
    /// G.711 A-law. FLV sound format 7, WAVE format 6.
    Alaw,
    /// G.711 mu-law. FLV sound format 8, WAVE format 7.
    Mulaw,
}

impl VoiceCodec {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Pcm, Self::Alaw, Self::Mulaw];

    /// The word for it in commands and on the page: `pcm`, `alaw` or `mulaw`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pcm => "pcm",
            Self::Alaw => "alaw",
            Self::Mulaw => "mulaw",
        }
    }

    /// The one that has this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| codec.name() == name)
    }

    /// Bytes of one coded sample.
    pub const fn sample_bytes(self) -> usize {
        match self {
            Self::Pcm => 2,
            Self::Alaw | Self::Mulaw => 1,
        }
    }

    /// The sound format in the head of an FLV audio body (Annex E.4.2.1).
    const fn sound_format(self) -> u8 {
        match self {
            Self::Pcm => 3,
            Self::Alaw => 7,
            Self::Mulaw => 8,
        }
    }
}

/// Rate and channels of 16-bit samples that FLV can carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PcmFormat {
    rate: u32,
    channels: u8,
}

impl PcmFormat {
    /// 8,000 samples per second, one channel: what intercoms speak.
    pub const TELEPHONE: Self = Self { rate: 8_000, channels: 1 };

    /// The rates that [`PcmFormat::new`] takes, in samples per second.
    pub const RATES: [u32; 5] = [5_512, 8_000, 11_025, 22_050, 44_100];

    /// A format.
    ///
    /// # Errors
    ///
    /// [`TaggerError::Rate`] if the rate is none of [`PcmFormat::RATES`], [`TaggerError::Channels`] if there is
    /// neither one channel nor two.
    pub const fn new(rate: u32, channels: u8) -> Result<Self, TaggerError> {
        if !matches!(rate, 5_512 | 8_000 | 11_025 | 22_050 | 44_100) {
            return Err(TaggerError::Rate { rate });
        }
        if !matches!(channels, 1 | 2) {
            return Err(TaggerError::Channels { channels });
        }
        Ok(Self { rate, channels })
    }

    /// Samples per second in each channel.
    pub const fn rate(self) -> u32 {
        self.rate
    }

    /// 1, or 2 interleaved.
    pub const fn channels(self) -> u8 {
        self.channels
    }

    /// The two bits of the head that tell the rate. They have no value for 8,000: devices of this field write
    /// 0 (5,512) for it, and those that read it take 0 for 8,000.
    const fn rate_code(self) -> u8 {
        match self.rate {
            11_025 => 1,
            22_050 => 2,
            44_100 => 3,
            _ => 0,
        }
    }
}

/// Why samples cannot be made tags in the way that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TaggerError {
    /// FLV has no such rate.
    #[error("FLV cannot carry {rate} samples per second; convert to one of {:?}", PcmFormat::RATES)]
    Rate {
        /// The rate that was asked for.
        rate: u32,
    },
    /// FLV has no such number of channels.
    #[error("FLV carries one channel or two, not {channels}; mix them down")]
    Channels {
        /// The number that was asked for.
        channels: u8,
    },
    /// G.711 in FLV is always 8,000 samples per second.
    #[error("G.711 in FLV has 8000 samples per second, not {rate}; convert to 8000 or send PCM")]
    G711Rate {
        /// The rate that was asked for.
        rate: u32,
    },
    /// Not between [`MIN_CHUNK`] and [`MAX_CHUNK`].
    #[error("tags of {chunk:?} are not possible; take between {MIN_CHUNK:?} and {MAX_CHUNK:?}")]
    Chunk {
        /// The length that was asked for.
        chunk: Duration,
    },
}

/// Cuts a stream of samples into FLV audio tags of equal length.
///
/// Time is counted in samples, never summed up in milliseconds, so it does not drift: a tag's timestamp is
/// `start + frames before it * 1000 / rate`, rounded down, and wraps after 49.7 days as those of FLV do.
///
/// PCM at 8,000 samples per second is written with the rate code 0, see [`super::VoiceDecoder::new`]. For G.711
/// the rate code means nothing; 0 is written.
#[derive(Clone, Debug)]
pub struct PcmTagger {
    codec: VoiceCodec,
    format: PcmFormat,
    start: u32,
    /// Samples of all channels in a whole tag.
    chunk_samples: usize,
    /// Head and coded samples of the tag that is being filled; empty or at least one sample.
    body: BytesMut,
    /// Samples of all channels in `body`; below `chunk_samples` between calls.
    held: usize,
    /// Frames (samples of one channel) in the tags that were given out.
    frames: u64,
}

impl PcmTagger {
    /// A tagger whose tags hold `chunk` of sound, rounded down to whole samples; see [`DEFAULT_CHUNK`]. The
    /// first one has the timestamp 0.
    ///
    /// # Errors
    ///
    /// [`TaggerError::G711Rate`] for G.711 with a rate other than 8,000, [`TaggerError::Chunk`] if `chunk` is
    /// not between [`MIN_CHUNK`] and [`MAX_CHUNK`].
    pub fn new(codec: VoiceCodec, format: PcmFormat, chunk: Duration) -> Result<Self, TaggerError> {
        if codec != VoiceCodec::Pcm && format.rate != 8_000 {
            return Err(TaggerError::G711Rate { rate: format.rate });
        }
        if !(MIN_CHUNK..=MAX_CHUNK).contains(&chunk) {
            return Err(TaggerError::Chunk { chunk });
        }
        // 27 frames at least (5 ms of 5,512), 44,100 at most.
        let frames = (chunk.as_micros() * u128::from(format.rate) / 1_000_000) as usize;
        Ok(Self {
            codec,
            format,
            start: 0,
            chunk_samples: frames * usize::from(format.channels),
            body: BytesMut::new(),
            held: 0,
            frames: 0,
        })
    }

    /// Makes the first tag begin at `start` milliseconds instead of 0: for sound that joins a stream.
    #[must_use]
    pub fn starting_at(mut self, start: u32) -> Self {
        self.start = start;
        self
    }

    /// What the tags are.
    pub fn format(&self) -> PcmFormat {
        self.format
    }

    /// How the tags are coded.
    pub fn codec(&self) -> VoiceCodec {
        self.codec
    }

    /// Takes samples, those of two channels interleaved, and gives the tags that are whole now.
    ///
    /// A call may end anywhere, also between left and right. What does not fill a tag is kept for the next call.
    pub fn push(&mut self, mut samples: &[i16]) -> Vec<Tag> {
        let mut tags = Vec::with_capacity((self.held + samples.len()) / self.chunk_samples);
        while !samples.is_empty() {
            let (now, later) = samples.split_at(samples.len().min(self.chunk_samples - self.held));
            samples = later;
            self.code(now);
            if self.held == self.chunk_samples {
                tags.push(self.cut());
            }
        }
        tags
    }

    /// The rest, shorter than a whole tag; `None` if nothing is left.
    ///
    /// Of two channels, a left sample whose right one never came is dropped: it is no frame. Afterwards more can
    /// be pushed; its time goes on behind the rest.
    pub fn finish(&mut self) -> Option<Tag> {
        let odd = self.held % usize::from(self.format.channels);
        self.held -= odd;
        if self.held == 0 {
            self.body.clear();
            return None;
        }
        self.body.truncate(self.body.len() - odd * self.codec.sample_bytes());
        Some(self.cut())
    }

    fn code(&mut self, samples: &[i16]) {
        if self.held == 0 {
            self.body.reserve(1 + self.chunk_samples * self.codec.sample_bytes());
            // 0x02: 16-bit samples. G.711 decodes to such, so it says so too.
            let head = self.codec.sound_format() << 4 | self.format.rate_code() << 2 | 0x02;
            self.body.put_u8(head | (self.format.channels - 1));
        }
        match self.codec {
            VoiceCodec::Pcm => samples.iter().for_each(|&s| self.body.put_i16_le(s)),
            VoiceCodec::Alaw => self.body.extend(samples.iter().copied().map(g711::encode_alaw)),
            VoiceCodec::Mulaw => self.body.extend(samples.iter().copied().map(g711::encode_mulaw)),
        }
        self.held += samples.len();
    }

    fn cut(&mut self) -> Tag {
        let timestamp = self.start.wrapping_add(millis(self.frames, self.format.rate));
        // Overflow would take 13 million years of sound.
        self.frames += (self.held / usize::from(self.format.channels)) as u64;
        self.held = 0;
        Tag { kind: TagKind::Audio, timestamp, body: self.body.split().freeze() }
    }
}

/// The time of a frame in milliseconds, rounded down, modulo 2^32.
fn millis(frames: u64, rate: u32) -> u32 {
    let rate = u64::from(rate);
    // Whole seconds apart, so that no product overflows that is not cut off anyway.
    (frames / rate).wrapping_mul(1_000).wrapping_add(frames % rate * 1_000 / rate) as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::flv::{AudioCodec, MAX_BODY};

    const CODECS: [(VoiceCodec, AudioCodec); 3] = [
        (VoiceCodec::Pcm, AudioCodec::PcmLe),
        (VoiceCodec::Alaw, AudioCodec::G711A),
        (VoiceCodec::Mulaw, AudioCodec::G711U),
    ];

    fn tagger(codec: VoiceCodec, rate: u32, channels: u8) -> PcmTagger {
        PcmTagger::new(codec, PcmFormat::new(rate, channels).unwrap(), DEFAULT_CHUNK).unwrap()
    }

    #[test]
    fn the_head_tells_codec_width_and_channels() {
        for (codec, in_flv) in CODECS {
            for channels in [1, 2] {
                let mut tagger = tagger(codec, 8_000, channels);
                let tag = tagger.push(&[0; 640]).remove(0);
                let head = tag.audio_head().unwrap();
                assert_eq!((head.codec, head.bits, head.channels, head.payload), (in_flv, 16, channels, 1));
                assert_eq!(tag.body.len(), 1 + 320 * usize::from(channels) * codec.sample_bytes());
            }
        }
        assert_eq!(tagger(VoiceCodec::Pcm, 8_000, 1).push(&[0; 320])[0].body[0], 0x32);
        assert_eq!(tagger(VoiceCodec::Alaw, 8_000, 1).push(&[0; 320])[0].body[0], 0x72);
        assert_eq!(tagger(VoiceCodec::Mulaw, 8_000, 2).push(&[0; 640])[0].body[0], 0x83);
    }

    #[test]
    fn the_rate_is_told_where_flv_has_a_code_and_8000_goes_as_code_0() {
        for (rate, told) in
            [(5_512, 5_512), (8_000, 5_512), (11_025, 11_025), (22_050, 22_050), (44_100, 44_100)]
        {
            let mut tagger = tagger(VoiceCodec::Pcm, rate, 1);
            assert!(tagger.push(&[1]).is_empty());
            assert_eq!(tagger.finish().unwrap().audio_head().unwrap().rate, told);
        }
    }

    #[test]
    fn pcm_is_little_endian_with_left_first() {
        let mut tagger = tagger(VoiceCodec::Pcm, 44_100, 2);
        assert!(tagger.push(&[0x0102, -2]).is_empty());
        assert_eq!(tagger.finish().unwrap().body[..], [0x3f, 2, 1, 0xfe, 0xff]);
    }

    #[test]
    fn what_flv_cannot_carry_is_refused() {
        for rate in [0, 5_513, 16_000, 48_000, u32::MAX] {
            assert_eq!(PcmFormat::new(rate, 1), Err(TaggerError::Rate { rate }));
        }
        for channels in [0, 3, 255] {
            assert_eq!(PcmFormat::new(8_000, channels), Err(TaggerError::Channels { channels }));
        }
        for rate in PcmFormat::RATES {
            let format = PcmFormat::new(rate, 1).unwrap();
            let made = PcmTagger::new(VoiceCodec::Alaw, format, DEFAULT_CHUNK).map(|_| ());
            assert_eq!(made, if rate == 8_000 { Ok(()) } else { Err(TaggerError::G711Rate { rate }) });
        }
        let text = TaggerError::Rate { rate: 16_000 }.to_string();
        assert!(text.contains("16000") && text.contains("44100"), "{text}");
    }

    #[test]
    fn the_length_of_a_tag_has_limits() {
        let new = |chunk| PcmTagger::new(VoiceCodec::Pcm, PcmFormat { rate: 44_100, channels: 2 }, chunk);
        let tick = Duration::from_nanos(1);
        for chunk in [Duration::ZERO, MIN_CHUNK - tick, MAX_CHUNK + tick, Duration::MAX] {
            assert_eq!(new(chunk).map(|_| ()), Err(TaggerError::Chunk { chunk }));
        }
        assert_eq!(new(MIN_CHUNK).unwrap().chunk_samples, 440);
        let longest = new(MAX_CHUNK).unwrap().push(&[0; 88_200]).remove(0);
        assert!(longest.body.len() < MAX_BODY);
    }

    /// 40 ms of 5,512 are 220.48 frames, so a sum of rounded times would be 3 s off after an hour.
    #[test]
    fn time_does_not_drift() {
        let mut tagger = tagger(VoiceCodec::Pcm, 5_512, 1);
        let second = [0; 5_512];
        let mut last = None;
        for _ in 0..3_600 {
            last = tagger.push(&second).pop().or(last);
        }
        let rest = tagger.finish().unwrap();
        let frames = 3_600 * 5_512_u64;
        assert_eq!(u64::from(rest.timestamp), frames / 220 * 220 * 1_000 / 5_512);
        assert_eq!(u64::from(last.unwrap().timestamp), (frames / 220 - 1) * 220 * 1_000 / 5_512);
        assert!(tagger.push(&second).first().unwrap().timestamp == 3_600_000, "and goes on behind the rest");
    }

    #[test]
    fn time_begins_where_it_is_told_and_wraps() {
        let mut tagger = tagger(VoiceCodec::Alaw, 8_000, 1).starting_at(u32::MAX - 50);
        let times: Vec<_> = tagger.push(&[0; 960]).iter().map(|t| t.timestamp).collect();
        assert_eq!(times, [u32::MAX - 50, u32::MAX - 10, 29]);
        assert_eq!(millis((1 << 32) * 8 + 8, 8_000), 1);
        assert_eq!(millis(u64::MAX, 44_100), (u128::from(u64::MAX) * 1_000 / 44_100) as u32);
    }

    #[test]
    fn nothing_in_gives_nothing_out() {
        let mut tagger = tagger(VoiceCodec::Pcm, 8_000, 2);
        assert!(tagger.push(&[]).is_empty());
        assert_eq!(tagger.finish(), None);
        assert!(tagger.push(&[5]).is_empty());
        assert_eq!(tagger.finish(), None, "a left sample alone is no sound");
        assert!(tagger.push(&[1, 2, 3]).is_empty());
        assert_eq!(tagger.finish().unwrap().body[..], [0x33, 1, 0, 2, 0], "nor is it left behind for later");
        assert_eq!(tagger.finish(), None);
    }

    proptest! {
        #[test]
        fn the_cut_of_the_input_does_not_show_in_the_tags(
            codec in prop::sample::select(CODECS.map(|(c, _)| c).to_vec()),
            channels in 1..=2_u8,
            samples in prop::collection::vec(any::<i16>(), 0..3_000),
            cuts in prop::collection::vec(1..700_usize, 0..20),
        ) {
            let mut whole = tagger(codec, 8_000, channels);
            let mut want = whole.push(&samples);
            want.extend(whole.finish());

            let mut pieces = tagger(codec, 8_000, channels);
            let mut tags = Vec::new();
            let mut left = &samples[..];
            for cut in cuts {
                let (now, later) = left.split_at(cut.min(left.len()));
                tags.extend(pieces.push(now));
                left = later;
                prop_assert!(pieces.held < pieces.chunk_samples);
            }
            tags.extend(pieces.push(left));
            tags.extend(pieces.finish());
            prop_assert_eq!(&tags, &want);

            for (n, tag) in tags.iter().enumerate() {
                prop_assert_eq!(tag.timestamp, n as u32 * 40);
            }
            let frames = samples.len() / usize::from(channels);
            let bytes: usize = tags.iter().map(|t| t.body.len() - 1).sum();
            prop_assert_eq!(bytes, frames * usize::from(channels) * codec.sample_bytes());
        }
    }
}
