//! From FLV audio tags to samples.

use bytes::Bytes;

use super::{MAX_RATE, MIN_RATE, g711};
use crate::flv::{AudioCodec, AudioPacket, HeadError, Tag};

/// Samples of all channels that one tag may decode to: two minutes of telephone sound, far above what any
/// device puts in a tag.
pub const MAX_TAG_SAMPLES: usize = 1 << 20;

/// The rate that linear PCM with the rate code 0 has nominally.
const CODE_0_RATE: u32 = 5_512;

/// What an audio tag holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// Linear PCM or G.711, decoded.
    Samples {
        /// Samples per second in each channel.
        rate: u32,
        /// 1, or 2 interleaved.
        channels: u8,
        /// 16-bit samples, a whole number of frames; may be empty.
        samples: Vec<i16>,
    },
    /// AAC, which is not decoded here.
    Aac {
        /// AudioSpecificConfig ([`AudioPacket::SequenceStart`]) or a raw frame ([`AudioPacket::CodedFrames`]).
        packet: AudioPacket,
        /// The data, shared with the tag.
        payload: Bytes,
    },
    /// A codec that is not decoded here.
    Other {
        /// Which one.
        codec: AudioCodec,
        /// What the tag is to it.
        packet: AudioPacket,
        /// The data, shared with the tag.
        payload: Bytes,
    },
}

/// Why a tag could not be decoded. Offsets count bytes from the start of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VoiceError {
    /// The tag is no audio tag, or its head makes no sense.
    #[error("not a readable audio tag: {0}")]
    Head(#[from] HeadError),
    /// The body ends inside a frame.
    #[error(
        "the audio body ends inside a frame: the frame at byte {offset} has {found} of {frame} bytes; the sender \
         cuts its sound in the wrong place or tells a wrong format"
    )]
    PartialFrame {
        /// Where the frame begins.
        offset: usize,
        /// Bytes of it that are there.
        found: usize,
        /// Bytes that it should have: those of one sample for each channel.
        frame: usize,
    },
    /// More than [`MAX_TAG_SAMPLES`].
    #[error("the audio tag has {samples} samples; no more than {MAX_TAG_SAMPLES} are decoded")]
    TooLong {
        /// How many there are.
        samples: usize,
    },
    /// Asked of [`VoiceDecoder::new`]: a rate not between [`MIN_RATE`] and [`MAX_RATE`].
    #[error("{rate} samples per second are no rate of sound; take between {MIN_RATE} and {MAX_RATE}")]
    Rate {
        /// The rate.
        rate: u32,
    },
}

/// Decodes audio tags. It keeps nothing between tags, so tags may be lost or come in any order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VoiceDecoder {
    pcm_rate_for_code_0: u32,
}

impl Default for VoiceDecoder {
    /// Takes the rate code 0 of linear PCM for 8,000 samples per second.
    fn default() -> Self {
        Self { pcm_rate_for_code_0: 8_000 }
    }
}

impl VoiceDecoder {
    /// A decoder that takes linear PCM with the rate code 0 for `pcm_rate_for_code_0` samples per second.
    ///
    /// By the standard, the code 0 is 5,512. Sound of 8,000 (or 16,000) has no code in FLV, and devices that send
    /// it as linear PCM write 0; [`VoiceDecoder::default`] takes it for 8,000. The code is not looked at for
    /// G.711, which always has 8,000.
    ///
    /// # Errors
    ///
    /// [`VoiceError::Rate`] if the rate is not between [`MIN_RATE`] and [`MAX_RATE`].
    pub const fn new(pcm_rate_for_code_0: u32) -> Result<Self, VoiceError> {
        if pcm_rate_for_code_0 < MIN_RATE || pcm_rate_for_code_0 > MAX_RATE {
            return Err(VoiceError::Rate { rate: pcm_rate_for_code_0 });
        }
        Ok(Self { pcm_rate_for_code_0 })
    }

    /// Decodes one tag.
    ///
    /// 8-bit PCM (unsigned) is widened to 16 bits. PCM "in the order of the platform" is taken as little-endian.
    ///
    /// # Errors
    ///
    /// [`VoiceError::Head`] if it is no audio tag or the head cannot be read; [`VoiceError::PartialFrame`] and
    /// [`VoiceError::TooLong`] if the payload is PCM or G.711 and does not fit what the head tells.
    pub fn decode(&self, tag: &Tag) -> Result<Decoded, VoiceError> {
        let head = tag.audio_head()?;
        let payload = tag.body.slice(head.payload..); // at most the body's length, as AudioHead promises
        let (bytes, rate) = match (head.codec, head.bits) {
            (AudioCodec::PcmLe | AudioCodec::PcmPlatform, bits) => {
                let rate = if head.rate == CODE_0_RATE { self.pcm_rate_for_code_0 } else { head.rate };
                (usize::from(bits / 8), rate)
            }
            (AudioCodec::G711A | AudioCodec::G711U, _) => (1, head.rate),
            (AudioCodec::Aac, _) => return Ok(Decoded::Aac { packet: head.packet, payload }),
            (codec, _) => return Ok(Decoded::Other { codec, packet: head.packet, payload }),
        };
        let frame = bytes * usize::from(head.channels);
        let found = payload.len() % frame; // 1, 2 or 4: the four codecs have only classic heads
        if found != 0 {
            return Err(VoiceError::PartialFrame { offset: tag.body.len() - found, found, frame });
        }
        let count = payload.len() / bytes;
        if count > MAX_TAG_SAMPLES {
            return Err(VoiceError::TooLong { samples: count });
        }
        let mut samples = Vec::with_capacity(count);
        match head.codec {
            AudioCodec::G711A => g711::decode_alaw_slice(&payload, &mut samples),
            AudioCodec::G711U => g711::decode_mulaw_slice(&payload, &mut samples),
            _ if bytes == 1 => samples.extend(payload.iter().map(|&b| (i16::from(b) - 0x80) << 8)),
            _ => samples.extend(pcm_le(&payload)),
        }
        Ok(Decoded::Samples { rate, channels: head.channels, samples })
    }
}

/// Samples of 16-bit little-endian bytes; a single byte at the end is no sample.
pub(super) fn pcm_le(bytes: &[u8]) -> impl Iterator<Item = i16> + '_ {
    bytes.as_chunks::<2>().0.iter().copied().map(i16::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::flv::TagKind;
    use crate::voice::{DEFAULT_CHUNK, PcmFormat, PcmTagger, VoiceCodec};

    fn audio(body: &[u8]) -> Tag {
        Tag { kind: TagKind::Audio, timestamp: 0, body: Bytes::copy_from_slice(body) }
    }

    fn decode(body: &[u8]) -> Result<Decoded, VoiceError> {
        VoiceDecoder::default().decode(&audio(body))
    }

    fn samples(rate: u32, channels: u8, samples: &[i16]) -> Result<Decoded, VoiceError> {
        Ok(Decoded::Samples { rate, channels, samples: samples.to_vec() })
    }

    #[test]
    fn pcm_of_16_bits_is_signed_little_endian() {
        assert_eq!(decode(&[0x36, 1, 0, 0, 0x80]), samples(11_025, 1, &[1, -32_768]));
        assert_eq!(decode(&[0x3f, 1, 2, 0xff, 0x7f]), samples(44_100, 2, &[0x0201, 32_767]));
        assert_eq!(decode(&[0x0a, 1, 2]), samples(22_050, 1, &[0x0201]), "platform order is little-endian");
        assert_eq!(decode(&[0x36]), samples(11_025, 1, &[]), "nothing is a whole number of frames");
    }

    #[test]
    fn pcm_of_8_bits_is_unsigned_and_becomes_16() {
        assert_eq!(decode(&[0x34, 0, 0x80, 0xff]), samples(11_025, 1, &[-32_768, 0, 32_512]));
        assert_eq!(decode(&[0x35, 0x81, 0x7f]), samples(11_025, 2, &[256, -256]));
    }

    #[test]
    fn rate_code_0_of_pcm_means_what_the_caller_knows() {
        assert_eq!(decode(&[0x32, 1, 0]), samples(8_000, 1, &[1]));
        for rate in [MIN_RATE, 5_512, 16_000, MAX_RATE] {
            let decoder = VoiceDecoder::new(rate).unwrap();
            assert_eq!(decoder.decode(&audio(&[0x32, 1, 0])), samples(rate, 1, &[1]));
            assert_eq!(decoder.decode(&audio(&[0x36, 1, 0])), samples(11_025, 1, &[1]));
            assert_eq!(decoder.decode(&audio(&[0x72, 0xd5])), samples(8_000, 1, &[8]));
        }
        for rate in [0, MIN_RATE - 1, MAX_RATE + 1, u32::MAX] {
            assert_eq!(VoiceDecoder::new(rate), Err(VoiceError::Rate { rate }));
        }
    }

    #[test]
    fn g711_is_8000_whatever_the_rate_code_and_width_say() {
        for first in [0x70, 0x72, 0x7e] {
            assert_eq!(decode(&[first, 0xd5, 0x55, 0x2a]), samples(8_000, 1, &[8, -8, -32_256]));
        }
        for first in [0x81, 0x83, 0x8f] {
            assert_eq!(decode(&[first, 0x80, 0x7f]), samples(8_000, 2, &[32_124, 0]));
        }
    }

    #[test]
    fn a_body_that_ends_inside_a_frame_is_refused_where_the_frame_begins() {
        let cases: [(&[u8], _, _, _); 5] = [
            (&[0x32, 1], 1, 1, 2),
            (&[0x32, 1, 2, 3], 3, 1, 2),
            (&[0x3f, 1, 2, 3, 4, 5, 6, 7], 5, 3, 4),
            (&[0x31, 1, 2, 3], 3, 1, 2),
            (&[0x73, 1], 1, 1, 2),
        ];
        for (body, offset, found, frame) in cases {
            assert_eq!(decode(body), Err(VoiceError::PartialFrame { offset, found, frame }), "{body:x?}");
        }
    }

    #[test]
    fn a_tag_decodes_to_no_more_than_the_limit() {
        let mut body = vec![0x70; 1 + MAX_TAG_SAMPLES];
        let Ok(Decoded::Samples { samples, .. }) = decode(&body) else { panic!("at the limit") };
        assert_eq!(samples.len(), MAX_TAG_SAMPLES);
        body.push(0);
        assert_eq!(decode(&body), Err(VoiceError::TooLong { samples: MAX_TAG_SAMPLES + 1 }));
        body[0] = 0x32;
        body.push(0);
        assert!(matches!(decode(&body), Ok(Decoded::Samples { .. })), "PCM has half as many samples");
    }

    #[test]
    fn other_codecs_are_told_and_handed_on() {
        let aac = |packet, payload: &'static [u8]| Ok(Decoded::Aac { packet, payload: payload.into() });
        assert_eq!(decode(&[0xaf, 0, 0x12, 0x10]), aac(AudioPacket::SequenceStart, &[0x12, 0x10]));
        assert_eq!(decode(&[0xaf, 1, 9]), aac(AudioPacket::CodedFrames, &[9]));
        assert_eq!(decode(b"\x91mp4a\x07"), aac(AudioPacket::CodedFrames, &[7]));
        let opus = Decoded::Other {
            codec: AudioCodec::Opus,
            packet: AudioPacket::CodedFrames,
            payload: Bytes::from_static(&[7]),
        };
        assert_eq!(decode(b"\x91Opus\x07"), Ok(opus));
        let speex = |d| matches!(d, Ok(Decoded::Other { codec: AudioCodec::Speex, .. }));
        assert!(speex(decode(&[0xb2, 1])));
    }

    #[test]
    fn what_is_no_audio_is_refused() {
        assert_eq!(decode(&[]), Err(VoiceError::Head(HeadError::Truncated { offset: 0 })));
        assert_eq!(decode(&[0xaf]), Err(VoiceError::Head(HeadError::Truncated { offset: 1 })));
        let video = Tag { kind: TagKind::Video, ..audio(&[0x32, 0, 0]) };
        let wrong = HeadError::WrongKind { kind: TagKind::Video };
        assert_eq!(VoiceDecoder::default().decode(&video), Err(VoiceError::Head(wrong)));
    }

    proptest! {
        #[test]
        fn any_body_is_answered(
            first in prop_oneof![any::<u8>(), 0x30..=0x3f_u8, 0x70..=0x8f_u8],
            rest in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let body = [&[first][..], &rest].concat();
            match decode(&body) {
                Ok(Decoded::Samples { rate, channels, samples }) => {
                    prop_assert!((MIN_RATE..=MAX_RATE).contains(&rate));
                    prop_assert!(matches!(channels, 1 | 2));
                    prop_assert_eq!(samples.len() % usize::from(channels), 0);
                    let wide = first >> 4 < 4 && first & 2 != 0;
                    prop_assert_eq!(samples.len() * if wide { 2 } else { 1 }, rest.len());
                }
                Ok(Decoded::Aac { payload, .. } | Decoded::Other { payload, .. }) => {
                    prop_assert!(body.ends_with(&payload));
                    prop_assert!(!matches!(first >> 4, 0 | 3 | 7 | 8));
                }
                Err(VoiceError::PartialFrame { offset, found, frame }) => {
                    prop_assert_eq!(offset + found, body.len());
                    prop_assert!(found < frame && (offset - 1) % frame == 0);
                }
                Err(VoiceError::Head(_)) => prop_assert!(matches!(first >> 4, 9 | 10)),
                Err(error) => prop_assert!(false, "{}", error),
            }
        }

        #[test]
        fn pcm_comes_back_exactly(
            rate in prop::sample::select(PcmFormat::RATES.to_vec()),
            channels in 1..=2_u8,
            sound in prop::collection::vec(any::<[i16; 2]>(), 0..5_000),
        ) {
            let sound = sound.into_flattened();
            let format = PcmFormat::new(rate, channels).unwrap();
            let decoder = if rate == 5_512 { VoiceDecoder::new(5_512).unwrap() } else { VoiceDecoder::default() };
            prop_assert_eq!(round_trip(VoiceCodec::Pcm, format, decoder, &sound), sound);
        }

        #[test]
        fn g711_comes_back_within_half_a_step(
            alaw in any::<bool>(),
            channels in 1..=2_u8,
            sound in prop::collection::vec(any::<[i16; 2]>(), 0..5_000),
        ) {
            let sound = sound.into_flattened();
            let codec = if alaw { VoiceCodec::Alaw } else { VoiceCodec::Mulaw };
            let format = PcmFormat::new(8_000, channels).unwrap();
            let back = round_trip(codec, format, VoiceDecoder::default(), &sound);
            prop_assert_eq!(back.len(), sound.len());
            for (&was, &is) in sound.iter().zip(&back) {
                let (was, error) = (i32::from(was).abs(), (i32::from(was) - i32::from(is)).abs());
                // Steps are a 16th of the segment's start; the start of mu-law's segments is 132 lower, and it
                // overloads above 32,636.
                let bound = if alaw { (was / 32).max(8) } else { (was + 132) / 32 + was.saturating_sub(32_636).max(0) };
                prop_assert!(error <= bound, "{}: {} off, {} allowed", was, error, bound);
            }
        }
    }

    fn round_trip(codec: VoiceCodec, format: PcmFormat, decoder: VoiceDecoder, sound: &[i16]) -> Vec<i16> {
        let mut tagger = PcmTagger::new(codec, format, DEFAULT_CHUNK).unwrap();
        let mut tags = tagger.push(sound);
        tags.extend(tagger.finish());
        let mut back = Vec::new();
        for tag in &tags {
            match decoder.decode(tag).unwrap() {
                Decoded::Samples { rate, channels, samples } => {
                    assert_eq!((rate, channels), (format.rate(), format.channels()));
                    back.extend(samples);
                }
                other => panic!("{other:?}"),
            }
        }
        back
    }
}
