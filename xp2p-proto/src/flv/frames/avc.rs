//! H.264: kinds of NAL units (ITU-T H.264 table 7-1), what the decoder's configuration takes from the SPS (7.3.2.1.1),
//! and the AVCDecoderConfigurationRecord (ISO/IEC 14496-15 section 5.3.3.1).

use super::FrameError;
use super::bits::{Bits, rbsp};
use super::sets::{NalKind, ParameterSets, SetKind};

/// Profiles whose SPS tells chroma format and bit depth.
const HIGH_PROFILES: [u8; 13] = [100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135];

/// More macroblocks in a line or column than any level allows.
const MAX_MACROBLOCKS: u32 = 1_023;

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

const SPS: &str = "H.264 SPS";

fn sps(nal: &[u8]) -> Result<Sps, FrameError> {
    let data = rbsp(nal.get(1..).unwrap_or_default());
    sps_head(&mut Bits::new(&data, SPS)).map(|(sps, _)| sps)
}

/// The SPS up to its bit depths, and whether the colour planes are coded apart.
fn sps_head(bits: &mut Bits<'_>) -> Result<(Sps, bool), FrameError> {
    // Eight bits each.
    let profile = [bits.bits(8)? as u8, bits.bits(8)? as u8, bits.bits(8)? as u8];
    let id = bits.ue("seq_parameter_set_id", 31)?;
    let [profile_idc, ..] = profile;
    let mut high = None;
    let mut planes = false;
    if HIGH_PROFILES.contains(&profile_idc) {
        let chroma = bits.ue("chroma_format_idc", 3)?;
        if chroma == 3 {
            planes = bits.bit()? == 1;
        }
        let luma_depth = bits.ue("bit_depth_luma_minus8", 6)?;
        let chroma_depth = bits.ue("bit_depth_chroma_minus8", 6)?;
        // Each is at most 6.
        high = Some([chroma as u8, luma_depth as u8, chroma_depth as u8]);
    }
    Ok((Sps { id, profile, high }, planes))
}

/// Width and height of the pictures as they are shown.
pub(super) fn size(nal: &[u8]) -> Result<(u16, u16), FrameError> {
    let data = rbsp(nal.get(1..).unwrap_or_default());
    let mut bits = Bits::new(&data, SPS);
    let (sps, planes) = sps_head(&mut bits)?;
    let chroma = sps.high.map_or(1, |[chroma, ..]| chroma);
    if sps.high.is_some() {
        bits.skip(1)?;
        if bits.bit()? == 1 {
            for list in 0..if chroma == 3 { 12 } else { 8 } {
                scaling_list(&mut bits, if list < 6 { 16 } else { 64 })?;
            }
        }
    }
    bits.ue("log2_max_frame_num_minus4", 12)?;
    match bits.ue("pic_order_cnt_type", 2)? {
        0 => _ = bits.ue("log2_max_pic_order_cnt_lsb_minus4", 12)?,
        1 => {
            bits.skip(1)?;
            // Signed codes are as long as unsigned ones, and these mean nothing here.
            bits.ue("offset_for_non_ref_pic", u32::MAX)?;
            bits.ue("offset_for_top_to_bottom_field", u32::MAX)?;
            for _ in 0..bits.ue("num_ref_frames_in_pic_order_cnt_cycle", 255)? {
                bits.ue("offset_for_ref_frame", u32::MAX)?;
            }
        }
        _ => {}
    }
    bits.ue("max_num_ref_frames", u32::MAX)?;
    bits.skip(1)?;
    let width = bits.ue("pic_width_in_mbs_minus1", MAX_MACROBLOCKS)?;
    let height = bits.ue("pic_height_in_map_units_minus1", MAX_MACROBLOCKS)?;
    // Interlaced pictures count their height in pairs of lines.
    let lines = 2 - bits.bit()?;
    if lines == 2 {
        bits.skip(1)?;
    }
    bits.skip(1)?;
    let (x, y) = match chroma {
        1 => (2, 2),
        2 => (2, 1),
        _ => (1, 1),
    };
    let unit = if planes { (1, lines) } else { (x, y * lines) };
    let window = bits.window("frame_crop_offset")?;
    // At most 16 * 2 * (MAX_MACROBLOCKS + 1), which fits by far.
    let size = ((width + 1) * 16, (height + 1) * 16 * lines);
    window.shown(size, unit).ok_or_else(|| bits.bad("frame_crop_offset"))
}

/// Passes over a scaling list (section 7.3.2.1.1.1).
fn scaling_list(bits: &mut Bits<'_>, len: u32) -> Result<(), FrameError> {
    if bits.bit()? == 0 {
        return Ok(());
    }
    let (mut last, mut next) = (8, 8);
    for _ in 0..len {
        if next != 0 {
            let code = bits.ue("delta_scale", 510)?;
            // Codes count 0, 1, -1, 2, -2; the sum is meant modulo 256.
            let delta = if code % 2 == 1 { code.div_ceil(2) } else { 256 * 2 - code / 2 };
            next = (last + delta) % 256;
        }
        last = if next == 0 { last } else { next };
    }
    Ok(())
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
    fn the_size_is_that_of_what_is_shown() {
        // All of x264: high profile, interlaced, 4:4:4, 4:2:2, baseline, grey.
        let all: [(&[u8], (u16, u16)); 6] = [
            (
                &[
                    0x67, 0x64, 0x00, 0x1e, 0xac, 0xd9, 0x40, 0xa0, 0x2f, 0xf9, 0x70, 0x11, 0x00, 0x00, 0x03,
                    0x00, 0x01, 0x00, 0x00, 0x03, 0x00, 0x32, 0x0f, 0x16, 0x2d, 0x96,
                ],
                (640, 360),
            ),
            (
                &[
                    0x67, 0x64, 0x00, 0x28, 0xac, 0xd9, 0x40, 0x78, 0x04, 0x4f, 0xde, 0x02, 0x20, 0x00, 0x00,
                    0x03, 0x00, 0x20, 0x00, 0x00, 0x06, 0x43, 0xe2, 0xc5, 0xb2, 0xc0,
                ],
                (1920, 1080),
            ),
            (
                &[
                    0x67, 0xf4, 0x00, 0x28, 0x91, 0x9b, 0x28, 0x0f, 0x00, 0x44, 0xf7, 0x17, 0x80, 0x88, 0x00,
                    0x00, 0x03, 0x00, 0x08, 0x00, 0x00, 0x03, 0x01, 0x90, 0x78, 0xc1, 0x8c, 0xb0,
                ],
                (1918, 1078),
            ),
            (
                &[
                    0x67, 0x7a, 0x00, 0x0d, 0xbc, 0xd9, 0x41, 0x51, 0x9e, 0x22, 0x2f, 0x01, 0x10, 0x00, 0x00,
                    0x03, 0x00, 0x10, 0x00, 0x00, 0x03, 0x03, 0x20, 0xf1, 0x42, 0x99, 0x60,
                ],
                (322, 182),
            ),
            (
                &[
                    0x67, 0x42, 0xc0, 0x0b, 0xd9, 0x02, 0xc4, 0xec, 0x04, 0x40, 0x00, 0x00, 0x03, 0x00, 0x40,
                    0x00, 0x00, 0x0c, 0x83, 0xc5, 0x0a, 0x92,
                ],
                (176, 144),
            ),
            (
                &[
                    0x67, 0x64, 0x00, 0x0b, 0xf3, 0x65, 0x0c, 0x15, 0xe3, 0xe3, 0xf0, 0x16, 0xc8, 0x00, 0x00,
                    0x03, 0x00, 0x08, 0x00, 0x00, 0x03, 0x01, 0x90, 0x78, 0xa1, 0x4c, 0xb0,
                ],
                (178, 146),
            ),
        ];
        for (sps, shown) in all {
            assert_eq!(size(sps), Ok(shown));
            for len in 0..8 {
                assert!(size(&sps[..len]).is_err(), "{len}");
            }
        }
    }

    #[test]
    fn the_size_is_found_behind_scaling_lists_and_orders_of_pictures() {
        let parts = [
            "1",                 // id 0
            "010",               // 4:2:0
            "110",               // 8 bits each
            "1",                 // scaling lists
            "1000010001",        // that ends with its first code, -8
            "11111111111111111", // of 16 codes, all 0
            "000000",            // and six that are not there
            "1",
            "0100",      // order of pictures of type 1
            "1101111",   // with two offsets
            "0100",      // one reference
            "000010100", // 20 macroblocks
            "00110",     // 6 pairs of macroblocks
            "001",       // fields
            "111100100", // 12 lines are cut off below
        ];
        let mut sps = vec![0x67, 100, 0, 30];
        let mut bits = parts.concat() + "01";
        bits.extend(std::iter::repeat_n('0', bits.len().next_multiple_of(8) - bits.len()));
        let byte = |chunk: &[u8]| chunk.iter().fold(0_u8, |all, &c| all << 1 | (c - b'0'));
        sps.extend(bits.as_bytes().chunks(8).map(byte));
        assert_eq!(size(&sps), Ok((320, 180)));
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
