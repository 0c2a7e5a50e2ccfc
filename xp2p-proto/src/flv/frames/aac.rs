//! AAC: AudioSpecificConfig (ISO/IEC 14496-3 section 1.6.2.1) and ADTS (section 1.A.2.2).

use super::FrameError;

/// Bytes of an AudioSpecificConfig; real ones have 2 to 7, those with a program config element some dozen.
pub const MAX_AUDIO_CONFIG: usize = 256;
/// Samples in each channel of a frame, for all that ADTS can carry.
pub(super) const FRAME_SAMPLES: u64 = 1024;

const HEADER: usize = 7;
const CRC: usize = 2;

/// Samples per second of AAC by their index (ISO/IEC 14496-3, table 1.18).
pub const AAC_RATES: [u32; 13] =
    [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350];

/// Whether data begins as ADTS does. A raw frame does not: it would begin with the element that ends a frame.
pub(super) fn is_adts(data: &[u8]) -> bool {
    matches!(data, [0xff, second, ..] if second & 0xf6 == 0xf0)
}

/// Looks at the beginning of an AudioSpecificConfig.
pub(super) fn check_config(config: &[u8]) -> Result<(), FrameError> {
    let &[first, second, ..] = config else { return Err(FrameError::AudioConfig { offset: config.len() }) };
    if config.len() > MAX_AUDIO_CONFIG {
        return Err(FrameError::TooLong { len: config.len(), max: MAX_AUDIO_CONFIG });
    }
    let object_type = first >> 3;
    if object_type == 0 {
        return Err(FrameError::AudioConfig { offset: 0 });
    }
    let rate = (first & 7) << 1 | second >> 7;
    // 15 tells that the rate itself follows; type 31 that the type goes on, and the rate is elsewhere.
    if object_type != 31 && (13..15).contains(&rate) {
        return Err(FrameError::AudioConfig { offset: 0 });
    }
    Ok(())
}

/// A frame out of ADTS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AdtsFrame<'a> {
    /// The AudioSpecificConfig that says the same as the header.
    pub(super) config: [u8; 2],
    pub(super) rate: u32,
    /// The frame without its header.
    pub(super) data: &'a [u8],
}

/// Takes a buffer of whole ADTS frames apart.
pub(super) fn split(data: &[u8]) -> Result<Vec<AdtsFrame<'_>>, FrameError> {
    let mut out = Vec::new();
    let mut offset = 0;
    while let Some(rest) = data.get(offset..).filter(|rest| !rest.is_empty()) {
        let (frame, len) = one(rest, offset)?;
        out.push(frame);
        offset += len; // at least HEADER + 1
    }
    Ok(out)
}

fn one(rest: &[u8], offset: usize) -> Result<(AdtsFrame<'_>, usize), FrameError> {
    let bad = |field| FrameError::Adts { offset, field };
    let &[_, b1, b2, b3, b4, b5, b6, ..] = rest else { return Err(bad("header")) };
    if !is_adts(rest) {
        return Err(bad("syncword"));
    }
    let header = if b1 & 1 == 1 { HEADER } else { HEADER + CRC };
    let object_type = (b2 >> 6) + 1;
    let rate_index = b2 >> 2 & 0x0f;
    let &rate = AAC_RATES.get(usize::from(rate_index)).ok_or_else(|| bad("sampling_frequency_index"))?;
    let channels = (b2 & 1) << 2 | b3 >> 6;
    if channels == 0 {
        return Err(bad("channel_configuration"));
    }
    // Frames of several blocks have no counterpart outside of ADTS.
    if b6 & 3 != 0 {
        return Err(bad("number_of_raw_data_blocks_in_frame"));
    }
    let len = usize::from(b3 & 3) << 11 | usize::from(b4) << 3 | usize::from(b5 >> 5);
    let data = rest.get(header..len).filter(|data| !data.is_empty());
    let data = data.ok_or_else(|| bad("aac_frame_length"))?;
    let config = [object_type << 3 | rate_index >> 1, rate_index << 7 | channels << 3];
    Ok((AdtsFrame { config, rate, data }, len))
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A frame of AAC-LC, 16 kHz mono.
    pub(crate) fn adts(payload: &[u8]) -> Vec<u8> {
        let len = payload.len() + HEADER;
        let (high, low) = ((len >> 3) as u8, ((len & 7) as u8) << 5 | 0x1f);
        [&[0xff, 0xf1, 0x60, 0x40 | (len >> 11) as u8, high, low, 0xfc], payload].concat()
    }

    #[test]
    fn several_frames_of_one_buffer_and_their_config() {
        let data = [adts(&[1, 2, 3]), adts(&[4; 300])].concat();
        let frames = split(&data).unwrap();
        assert_eq!(frames[0], AdtsFrame { config: [0x14, 0x08], rate: 16_000, data: &[1, 2, 3] });
        assert_eq!((frames.len(), frames[1].data), (2, &[4; 300][..]));
    }

    #[test]
    fn a_checksum_is_passed_over() {
        let mut data = adts(&[9, 9, 1]);
        data[1] = 0xf0;
        assert_eq!(split(&data).unwrap()[0].data, [1]);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        let good = adts(&[1]);
        let with = |at: usize, byte| {
            let mut bad = [good.clone(), good.clone()].concat();
            bad[good.len() + at] = byte;
            split(&bad).unwrap_err()
        };
        let error = |field| FrameError::Adts { offset: 8, field };
        assert_eq!(with(0, 0xfe), error("syncword"));
        assert_eq!(with(2, 0x74), error("sampling_frequency_index"));
        assert_eq!(with(3, 0), error("channel_configuration"));
        assert_eq!(with(6, 0xfd), error("number_of_raw_data_blocks_in_frame"));
        for byte in [0, 2] {
            assert_eq!(with(4, byte), error("aac_frame_length"));
        }
        assert_eq!(split(&[good.as_slice(), &[0xff]].concat()), Err(error("header")));
    }

    #[test]
    fn a_config_that_cannot_be_one_is_refused() {
        assert_eq!(check_config(&[0x12, 0x10]), Ok(()));
        assert_eq!(check_config(&[0x12]), Err(FrameError::AudioConfig { offset: 1 }));
        assert_eq!(check_config(&[0x02, 0x10]), Err(FrameError::AudioConfig { offset: 0 }));
        assert_eq!(check_config(&[0x16, 0x90]), Err(FrameError::AudioConfig { offset: 0 }));
        assert_eq!(check_config(&[0x12; 257]), Err(FrameError::TooLong { len: 257, max: 256 }));
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(mut data in prop::collection::vec(any::<u8>(), 0..60), sync: bool) {
            if sync {
                data.splice(0..0, [0xff, 0xf1, 0x60, 0x40, 0]);
            }
            if let Ok(frames) = split(&data) {
                prop_assert!(frames.iter().map(|f| f.data.len() + HEADER).sum::<usize>() <= data.len());
            }
            let _ = check_config(&data);
        }
    }
}
