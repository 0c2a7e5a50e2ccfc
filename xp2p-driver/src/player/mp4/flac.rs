//! FLAC of samples: the one coding without loss and licence that all browsers play in MP4.
//!
//! Blocks are as long as the camera's tags, so nothing waits. They are of one length, because not all decoders like
//! streams whose blocks change.

use bytes::Bytes;
use flacenc::bitsink::ByteSink;
use flacenc::component::{BitRepr as _, StreamInfo};
use flacenc::config::Encoder;
use flacenc::constant::MIN_BLOCK_SIZE;
use flacenc::error::{Verified, Verify as _};
use flacenc::source::{Fill as _, FrameBuf};
use mp4_atom::{Codec, Dfla, Flac, FlacMetadataBlock};

use super::audio::sound;

/// The longest block of the streamable subset (RFC 9639, section 7), which decoders of little memory take.
const MAX_BLOCK: usize = 4_608;
/// Frame numbers have 31 bits.
const MAX_FRAME: usize = (1 << 31) - 1;
const BITS: u8 = 16;

/// How long blocks should be for tags of `len` samples: as long, or a whole part of it.
pub(super) fn block(rate: u32, len: usize) -> usize {
    let parts = len.div_ceil(MAX_BLOCK).max(1);
    if len >= MIN_BLOCK_SIZE && len.is_multiple_of(parts) {
        return len / parts;
    }
    // 40 ms.
    (rate as usize / 25).clamp(MIN_BLOCK_SIZE, MAX_BLOCK)
}

/// The sample entry.
pub(super) fn entry(rate: u32, channels: u8, block: usize) -> Option<Codec> {
    let block = u16::try_from(block).ok()?;
    let info = FlacMetadataBlock::StreamInfo {
        minimum_block_size: block,
        maximum_block_size: block,
        // 0: unknown, as is all that only the end of a stream can tell.
        minimum_frame_size: [0; 3].into(),
        maximum_frame_size: [0; 3].into(),
        sample_rate: rate,
        num_channels_minus_one: channels.checked_sub(1)?,
        bits_per_sample_minus_one: BITS - 1,
        number_of_interchannel_samples: 0,
        md5_checksum: vec![0; 16],
    };
    Some(Flac { audio: sound(rate, channels.into()), dfla: Dfla { blocks: vec![info] } }.into())
}

/// Makes blocks of samples.
pub(super) struct FlacEncoder {
    config: Verified<Encoder>,
    info: StreamInfo,
    buffer: FrameBuf,
    /// Samples in each channel of a block.
    block: usize,
    channels: usize,
    /// Samples that do not fill a block yet.
    rest: Vec<i32>,
    number: usize,
}

impl std::fmt::Debug for FlacEncoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FlacEncoder").field("block", &self.block).finish_non_exhaustive()
    }
}

impl FlacEncoder {
    /// `None`: no stream can be so.
    pub(super) fn new(rate: u32, channels: u8, block: usize) -> Option<Self> {
        let mut config = Encoder::default();
        config.block_size = block;
        config.multithread = false;
        // Prediction by a polynomial makes speech as small as it needs to be, at a small part of the work.
        config.subframe_coding.use_lpc = false;
        let channels = usize::from(channels);
        Some(Self {
            config: config.into_verified().ok()?,
            info: StreamInfo::new(rate as usize, channels, BITS.into()).ok()?,
            buffer: FrameBuf::with_size(channels, block).ok()?,
            block,
            channels,
            rest: Vec::new(),
            number: 0,
        })
    }

    /// Samples in each channel that wait.
    pub(super) fn waiting(&self) -> usize {
        self.rest.len() / self.channels
    }

    /// Takes interleaved samples and gives the blocks that are whole. `None`: it cannot go on.
    pub(super) fn push(&mut self, samples: &[i16]) -> Option<Vec<Bytes>> {
        self.rest.extend(samples.iter().copied().map(i32::from));
        let rest = std::mem::take(&mut self.rest);
        // At least MIN_BLOCK_SIZE of one channel, or `new` had refused.
        let mut whole = rest.chunks_exact(self.block * self.channels);
        let blocks = whole.by_ref().map(|samples| self.encode(samples)).collect();
        self.rest = whole.remainder().to_vec();
        blocks
    }

    fn encode(&mut self, samples: &[i32]) -> Option<Bytes> {
        self.buffer.fill_interleaved(samples).ok()?;
        let frame =
            flacenc::encode_fixed_size_frame(&self.config, &self.buffer, self.number, &self.info).ok()?;
        self.number = if self.number == MAX_FRAME { 0 } else { self.number + 1 };
        let mut sink = ByteSink::new();
        frame.write(&mut sink).ok()?;
        Some(sink.into_inner().into())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn blocks_are_as_long_as_tags_or_parts_of_them() {
        for (len, want) in [(320, 320), (160, 160), (32, 32), (8_000, 4_000), (9_216, 4_608)] {
            assert_eq!(block(8_000, len), want);
        }
        for len in [0, 1, 31, 9_217] {
            assert_eq!(block(8_000, len), 320, "{len}");
        }
        assert_eq!(block(44_100, 7), 1_764);
        for rate in [1_000, 192_000] {
            for len in 0..20_000 {
                assert!((MIN_BLOCK_SIZE..=MAX_BLOCK).contains(&block(rate, len)));
            }
        }
    }

    #[test]
    fn what_does_not_fill_a_block_waits() {
        let mut encoder = FlacEncoder::new(8_000, 2, 32).unwrap();
        assert_eq!(encoder.push(&[7; 63]).unwrap().len(), 0);
        assert_eq!(encoder.waiting(), 31);
        let blocks = encoder.push(&[7; 66]).unwrap();
        assert_eq!((blocks.len(), encoder.waiting()), (2, 0));
        // The sync code of fixed block sizes.
        assert!(blocks.iter().all(|b| b.starts_with(&[0xff, 0xf8])));
        assert!(FlacEncoder::new(8_000, 2, 1).is_none());
    }

    proptest! {
        /// The loudest noise is what takes a coder to its limits.
        #[test]
        fn any_sound_is_coded(
            channels in 1..=2_u8,
            len in MIN_BLOCK_SIZE..1_200,
            sound in prop::collection::vec(prop_oneof![Just(i16::MIN), Just(i16::MAX), any::<i16>()], 0..5_000),
        ) {
            let mut encoder = FlacEncoder::new(8_000, channels, len).unwrap();
            let channels = usize::from(channels);
            let sound = &sound[..sound.len() / channels * channels];
            let mut blocks = Vec::new();
            for samples in sound.chunks(700) {
                blocks.extend(encoder.push(samples).unwrap());
            }
            prop_assert_eq!(blocks.len(), sound.len() / channels / len);
            // Noise is stored as it is, behind a few bytes.
            prop_assert!(blocks.iter().all(|b| b.len() <= len * channels * 17 / 8 + 40));
        }
    }
}
