//! The sound's track: AAC as it is, or samples that become FLAC.

use bytes::Bytes;
use mp4_atom::{Audio, Codec};

use super::aac::Aac;
use super::flac;

/// The sound of a stream.
#[derive(Clone, Debug)]
pub(super) struct AudioTrack {
    pub(super) coding: Coding,
    /// Ticks of its clock in a second: its samples.
    pub(super) rate: u32,
    pub(super) entry: Codec,
    /// As in the `codecs` parameter (RFC 6381, section 3).
    pub(super) codecs: String,
}

/// How it comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    /// As AAC frames of so many samples.
    Aac { config: Bytes, frame: u32, silence: Option<&'static [u8]> },
    /// As G.711 or linear PCM, of which FLAC is made in blocks of so many samples.
    Samples { channels: u8, block: usize },
}

impl AudioTrack {
    /// Of an AudioSpecificConfig.
    pub(super) fn aac(config: Bytes) -> Option<Self> {
        let aac = Aac::read(&config)?;
        Some(Self {
            coding: Coding::Aac { config, frame: aac.frame, silence: aac.silence },
            rate: aac.rate,
            entry: aac.entry,
            codecs: aac.codecs,
        })
    }

    /// Of the first tag with samples, of which it has `len` in each channel.
    pub(super) fn samples(rate: u32, channels: u8, len: usize) -> Option<Self> {
        let block = flac::block(rate, len);
        Some(Self {
            coding: Coding::Samples { channels, block },
            rate,
            entry: flac::entry(rate, channels, block)?,
            codecs: "flac".to_owned(),
        })
    }

    /// Whether this plays what comes at this rate.
    pub(super) fn takes_samples(&self, rate: u32, channels: u8) -> bool {
        self.rate == rate && matches!(self.coding, Coding::Samples { channels: own, .. } if own == channels)
    }

    /// Whether a player that has one can go on with the other after a new init segment.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        matches!(
            (&self.coding, &other.coding),
            (Coding::Aac { .. }, Coding::Aac { .. }) | (Coding::Samples { .. }, Coding::Samples { .. })
        )
    }
}

/// The part that the sample entries of all sound have.
pub(super) fn sound(rate: u32, channels: u16) -> Audio {
    Audio {
        data_reference_index: 1,
        channel_count: channels,
        sample_size: 16,
        // A rate that 16 bits cannot tell is in the codec's own configuration.
        sample_rate: u16::try_from(rate).unwrap_or_default().into(),
    }
}
