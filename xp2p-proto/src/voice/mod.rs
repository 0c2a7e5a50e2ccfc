//! Voice: sound that is simple enough to make and to understand without a codec library.
//!
//! * [`PcmTagger`] cuts a stream of samples into FLV audio tags, as linear PCM or G.711: the way to the camera.
//! * [`VoiceDecoder`] makes samples of such tags again: the way back.
//! * [`g711`] is the coder of telephony, both laws.
//! * [`wav_header`] and [`WavReader`] are for files and pipes at either end.
//!
//! Samples are 16-bit signed, and those of two channels are interleaved, left first. AAC, Opus and the like are
//! told but not decoded.
//!
//! Sources: ITU-T G.711; "Adobe Flash Video File Format Specification" version 10.1, Annex E.4.2; "Multimedia
//! Programming Interface and Data Specifications 1.0" (RIFF WAVE).
//!
//! ```
//! use xp2p_proto::voice::{DEFAULT_CHUNK, Decoded, PcmFormat, PcmTagger, VoiceCodec, VoiceDecoder};
//!
//! let mut tagger = PcmTagger::new(VoiceCodec::Pcm, PcmFormat::TELEPHONE, DEFAULT_CHUNK)?;
//! let tags = tagger.push(&[7; 700]); // 87.5 ms
//! assert_eq!(tags.iter().map(|t| t.timestamp).collect::<Vec<_>>(), [0, 40]);
//! let rest = tagger.finish().ok_or("60 samples were left")?;
//! assert_eq!(rest.timestamp, 80);
//!
//! let samples = vec![7; 60];
//! assert_eq!(VoiceDecoder::default().decode(&rest)?, Decoded::Samples { rate: 8000, channels: 1, samples });
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod decode;
pub mod g711;
mod pcm;
mod wav;

pub use decode::{Decoded, MAX_TAG_SAMPLES, VoiceDecoder, VoiceError};
pub use pcm::{DEFAULT_CHUNK, MAX_CHUNK, MIN_CHUNK, PcmFormat, PcmTagger, TaggerError, VoiceCodec};
pub use wav::{
    MAX_BEFORE_DATA, MAX_FORMAT_CHUNK, WAV_HEADER_LEN, WavEnd, WavError, WavFormat, WavReader, wav_header,
};

/// The lowest sampling rate that is believed, in samples per second. Less is no voice but a damaged header.
pub const MIN_RATE: u32 = 1_000;

/// The highest sampling rate that is believed, in samples per second.
pub const MAX_RATE: u32 = 192_000;
