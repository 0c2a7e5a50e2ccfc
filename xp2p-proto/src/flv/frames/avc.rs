//! H.264: kinds of NAL units (ITU-T H.264 table 7-1), what the decoder's configuration takes from the SPS (7.3.2.1.1),
//! and the AVCDecoderConfigurationRecord (ISO/IEC 14496-15 section 5.3.3.1).

use super::FrameError;
use super::bits::{Bits, rbsp};
use super::sets::{NalKind, ParameterSets, SetKind};

/// Profiles whose SPS tells chroma format and bit depth.
const HIGH_PROFILES: [u8; 13] = [100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135];

pub(super) fn kind(first: u8) -> NalKind {
    match first & 0x1f {
        5 => NalKind::Slice { key: true },
        1..=4 => NalKind::Slice { key: false },
        7 => NalKind::Set(SetKind::Sps),
        8 => NalKind::Set(SetKind::Pps),
        9 => NalKind::Delimiter,
        // End of sequence, end of stream, filler: a decoder needs none of them in a tag.
        10..=12 => NalKind::Padding,
        _ => NalKind::Other,
    }
}

/// What the record tells of an SPS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sps {
    id: u32,
    /// Profile, constraint flags, level.
    profile: [u8; 3],
    /// Chroma format and bits per sample beyond 8 of luma and chroma.
    high: Option<[u8; 3]>,
}

fn sps(nal: &[u8]) -> Result<Sps, FrameError> {
    let data = rbsp(nal.get(1..).unwrap_or_default());
    let mut bits = Bits::new(&data, "H.264 SPS");
    // Eight bits each.
    let profile = [bits.bits(8)? as u8, bits.bits(8)? as u8, bits.bits(8)? as u8];
    let id = bits.ue("seq_parameter_set_id", 31)?;
    let [profile_idc, ..] = profile;
    let mut high = None;
    if HIGH_PROFILES.contains(&profile_idc) {
        let chroma = bits.ue("chroma_format_idc", 3)?;
        if chroma == 3 {
            bits.skip(1)?;
        }
        let luma_depth = bits.ue("bit_depth_luma_minus8", 6)?;
        let chroma_depth = bits.ue("bit_depth_chroma_minus8", 6)?;
        // Each is at most 6.
        high = Some([chroma as u8, luma_depth as u8, chroma_depth as u8]);
    }
    Ok(Sps { id, profile, high })
}

/// The id of a parameter set.
pub(super) fn set_id(kind: SetKind, nal: &[u8]) -> Result<u32, FrameError> {
    if kind == SetKind::Sps {
        return Ok(sps(nal)?.id);
    }
    let data = rbsp(nal.get(1..).unwrap_or_default());
    Bits::new(&data, "H.264 PPS").ue("pic_parameter_set_id", 255)
}

/// The AVCDecoderConfigurationRecord.
pub(super) fn record(sets: &ParameterSets) -> Result<Vec<u8>, FrameError> {
    let first = sets.first(SetKind::Sps).ok_or(FrameError::NoParameterSets { missing: SetKind::Sps })?;
    sets.first(SetKind::Pps).ok_or(FrameError::NoParameterSets { missing: SetKind::Pps })?;
    let Sps { profile: [profile, constraints, level], high, .. } = sps(first)?;
    // Version 1; lengths of four bytes.
    let mut out = vec![1, profile, constraints, level, 0xff];
    // At most MAX_SETS (31) of a kind.
    out.push(0xe0 | sets.count(SetKind::Sps) as u8);
    sets.write(SetKind::Sps, &mut out);
    out.push(sets.count(SetKind::Pps) as u8);
    sets.write(SetKind::Pps, &mut out);
    if let Some([chroma, luma_depth, chroma_depth]) = high {
        out.extend_from_slice(&[0xfc | chroma, 0xf8 | luma_depth, 0xf8 | chroma_depth, 0]);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Main profile, level 3.1, as x264 writes it.
    const MAIN: [u8; 8] = [0x67, 77, 0x40, 31, 0xe8, 0x80, 0x50, 0x17];
    /// High profile: 4:2:0, 8 bits.
    const HIGH: [u8; 8] = [0x67, 100, 0, 31, 0xac, 0xd9, 0x40, 0x50];

    fn sets(all: &[(SetKind, &[u8])]) -> ParameterSets {
        let mut sets = ParameterSets::default();
        for &(kind, nal) in all {
            sets.put(kind, set_id(kind, nal).unwrap(), nal).unwrap();
        }
        sets
    }

    #[test]
    fn a_record_of_the_main_profile_ends_after_the_pps() {
        let sets = sets(&[(SetKind::Sps, &MAIN), (SetKind::Pps, &[0x68, 0xce])]);
        let want = [&[1, 77, 0x40, 31, 0xff, 0xe1, 0, 8][..], &MAIN, &[1, 0, 2, 0x68, 0xce]].concat();
        assert_eq!(record(&sets), Ok(want));
    }

    #[test]
    fn a_record_of_the_high_profile_tells_chroma_and_depth() {
        let sets = sets(&[(SetKind::Sps, &HIGH), (SetKind::Pps, &[0x68, 0xce])]);
        assert!(record(&sets).unwrap().ends_with(&[0xce, 0xfd, 0xf8, 0xf8, 0]));
    }

    #[test]
    fn a_set_that_ends_early_or_has_a_wrong_id_is_refused() {
        let ends = FrameError::ParameterSetEnds { what: "H.264 SPS", bit: 16 };
        assert_eq!(set_id(SetKind::Sps, &MAIN[..3]), Err(ends));
        // Id 32 is 000 0010 0001 in Exp-Golomb.
        let bad = FrameError::BadField { what: "H.264 SPS", field: "seq_parameter_set_id", bit: 24 };
        assert_eq!(set_id(SetKind::Sps, &[0x67, 77, 0, 31, 0b0000_0100, 0b0010_0000]), Err(bad));
        let missing = FrameError::NoParameterSets { missing: SetKind::Pps };
        assert_eq!(record(&sets(&[(SetKind::Sps, &MAIN)])), Err(missing));
    }
}
