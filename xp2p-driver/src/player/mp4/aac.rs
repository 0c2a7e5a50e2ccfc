//! What an AudioSpecificConfig says (ISO/IEC 14496-3, section 1.6.2.1).

use bytes::Bytes;
use mp4_atom::esds::{DecoderConfig, DecoderSpecific, EsDescriptor, SLConfig};
use mp4_atom::{Codec, Decode as _, Esds, Mp4a};
use xp2p_proto::flv::{AAC_RATES, MAX_AUDIO_CONFIG};

use super::audio::sound;

/// An index that says that the rate itself follows, in 24 bits.
const EXPLICIT: u8 = 15;
/// AAC LC, and with SBR and PS: what browsers play.
const LC: u8 = 2;
const SBR: u8 = 5;
const PS: u8 = 29;

/// A frame of silence of AAC LC, of one channel and of two, as web players have long had them to fill gaps with.
const SILENCE: [&[u8]; 2] =
    [&[0x00, 0xc8, 0x00, 0x80, 0x23, 0x80], &[0x21, 0x00, 0x49, 0x90, 0x02, 0x19, 0x00, 0x23, 0x80]];

/// AAC as a track needs it.
#[derive(Clone, Debug)]
pub(super) struct Aac {
    /// Samples per second of the core, in which frames are counted.
    pub(super) rate: u32,
    /// Samples of a frame in that rate.
    pub(super) frame: u32,
    /// A frame of silence, where one is known.
    pub(super) silence: Option<&'static [u8]>,
    pub(super) entry: Codec,
    pub(super) codecs: String,
}

impl Aac {
    /// `None`: it cannot be read, or is nothing that browsers play.
    pub(super) fn read(config: &Bytes) -> Option<Self> {
        if !(2..=MAX_AUDIO_CONFIG).contains(&config.len()) {
            return None;
        }
        let specific = DecoderSpecific::decode(&mut config.as_ref()).ok()?;
        let kind = specific.profile;
        if !matches!(kind, LC | SBR | PS) {
            return None;
        }
        // Five bits of type, four of index, then 24 of rate if the index says so.
        let rate = match specific.freq_index {
            EXPLICIT => bits(config, 9, 24)?,
            index => *AAC_RATES.get(usize::from(index))?,
        };
        if !(1_000..=192_000).contains(&rate) {
            return None;
        }
        let channels = match specific.chan_conf {
            n @ 1..=6 => u16::from(n),
            7 => 8,
            // 0: told by an element in the stream; nobody looks at the number here then.
            _ => 2,
        };
        let short = frame_length_flag(config, kind, specific.freq_index)? == 1;
        let entry = Mp4a {
            audio: sound(rate, channels),
            esds: Esds {
                es_desc: EsDescriptor {
                    dec_config: DecoderConfig {
                        object_type_indication: 0x40, // audio of ISO/IEC 14496-3
                        stream_type: 5,
                        dec_specific: Some(specific),
                        ..DecoderConfig::default()
                    },
                    sl_config: SLConfig::default(),
                    ..EsDescriptor::default()
                },
            },
            btrt: None,
            taic: None,
        };
        let silence = if kind == LC { SILENCE.get(usize::from(channels.saturating_sub(1))) } else { None };
        Some(Self {
            rate,
            silence: silence.copied(),
            frame: if short { 960 } else { 1024 },
            entry: entry.into(),
            codecs: format!("mp4a.40.{kind}"),
        })
    }
}

/// The bit that makes frames 960 samples long, behind rate and channels (and those of SBR).
fn frame_length_flag(config: &[u8], kind: u8, index: u8) -> Option<u32> {
    let mut at = 13 + if index == EXPLICIT { 24 } else { 0 };
    if kind != LC {
        let outer = bits(config, at, 4)?;
        at += 4 + if outer == u32::from(EXPLICIT) { 24 } else { 0 } + 5;
    }
    // Some devices cut the config here, where all that follows is 0.
    Some(bits(config, at, 1).unwrap_or_default())
}

/// Bits of `data`, the highest first.
fn bits(data: &[u8], at: usize, n: usize) -> Option<u32> {
    (at..at + n).try_fold(0, |value, bit| {
        let byte = data.get(bit / 8)?;
        Some(value << 1 | u32::from(byte >> (7 - bit % 8) & 1))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(config: &'static [u8]) -> Option<(u32, u32, String)> {
        Aac::read(&Bytes::from_static(config)).map(|a| (a.rate, a.frame, a.codecs))
    }

    #[test]
    fn rates_and_lengths_are_found() {
        assert_eq!(read(&[0x12, 0x10]), Some((44_100, 1024, "mp4a.40.2".into())));
        assert_eq!(read(&[0x14, 0x08]), Some((16_000, 1024, "mp4a.40.2".into())));
        assert_eq!(read(&[0x14, 0x0c]), Some((16_000, 960, "mp4a.40.2".into())));
        // HE-AAC: 24 kHz, made 48 kHz by SBR.
        assert_eq!(read(&[0x2b, 0x11, 0x88, 0x00]), Some((24_000, 1024, "mp4a.40.5".into())));
        // The rate itself: 0x003e80 behind type 2 and index 15, one channel.
        assert_eq!(read(&[0x17, 0x80, 0x1f, 0x40, 0x08]), Some((16_000, 1024, "mp4a.40.2".into())));
    }

    #[test]
    fn what_browsers_cannot_play_is_none() {
        for config in [&[][..], &[0x12], &[0x0a, 0x10], &[0x16, 0x90], &[0xf8, 0xe6, 0x20], &[0x17, 0x80]] {
            assert_eq!(read(config), None, "{config:x?}");
        }
        assert!(Aac::read(&vec![0x12; 257].into()).is_none());
    }
}
