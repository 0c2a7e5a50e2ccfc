//! H.265: kinds of NAL units (ITU-T H.265 table 7-1), what the decoder's configuration takes from the SPS (7.3.2.2 and
//! 7.3.3), and the HEVCDecoderConfigurationRecord (ISO/IEC 14496-15 section 8.3.3.1).

use super::FrameError;
use super::bits::{Bits, Window, rbsp};
use super::sets::{NalKind, ParameterSets, SetKind};

/// The record has three bits for a depth beyond 8.
const MAX_DEPTH: u32 = 7;

/// Bytes before the payload of a NAL unit.
const HEADER: usize = 2;

pub(super) fn kind(nal: &[u8]) -> Option<NalKind> {
    let &[first, second, ..] = nal else { return None };
    let layer = first & 1 | second >> 3;
    Some(match first >> 1 & 0x3f {
        // What enhances the picture (other layers) passes through: decoders of the base layer leave it out.
        _ if layer != 0 => NalKind::Other,
        16..=21 => NalKind::Slice { key: true },
        0..=31 => NalKind::Slice { key: false },
        32 => NalKind::Set(SetKind::Vps),
        33 => NalKind::Set(SetKind::Sps),
        34 => NalKind::Set(SetKind::Pps),
        35 => NalKind::Delimiter,
        // End of sequence, end of bitstream, filler.
        36..=38 => NalKind::Padding,
        _ => NalKind::Other,
    })
}

/// What the record tells of an SPS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sps {
    id: u32,
    /// General profile space, tier and profile; compatibility and constraint flags; level: as written.
    profile_tier_level: [u8; 12],
    temporal_layers: u8,
    temporal_nesting: u8,
    chroma_format: u8,
    luma_depth: u8,
    chroma_depth: u8,
    /// Width and height as coded, and what is cut off them in units of chroma samples.
    coded: (u32, u32),
    window: Window,
}

fn sps(nal: &[u8]) -> Result<Sps, FrameError> {
    let data = rbsp(nal.get(HEADER..).unwrap_or_default());
    let mut bits = Bits::new(&data, "H.265 SPS");
    bits.skip(4)?;
    let sub_layers = bits.field(3, "sps_max_sub_layers_minus1", 6)?;
    let nesting = bits.bit()?;
    let mut profile_tier_level = [0; 12];
    for byte in &mut profile_tier_level {
        *byte = bits.bits(8)? as u8; // eight bits
    }
    sub_layer_profiles(&mut bits, sub_layers)?;
    let id = bits.ue("sps_seq_parameter_set_id", 15)?;
    let chroma = bits.ue("chroma_format_idc", 3)?;
    if chroma == 3 {
        bits.skip(1)?;
    }
    let width = bits.ue("pic_width_in_luma_samples", u32::MAX)?;
    let height = bits.ue("pic_height_in_luma_samples", u32::MAX)?;
    let window = bits.window("conf_win_offset")?;
    let luma_depth = bits.ue("bit_depth_luma_minus8", MAX_DEPTH)?;
    let chroma_depth = bits.ue("bit_depth_chroma_minus8", MAX_DEPTH)?;
    // The bounds above keep each of these below 8.
    Ok(Sps {
        id,
        profile_tier_level,
        temporal_layers: sub_layers as u8 + 1,
        temporal_nesting: nesting as u8,
        chroma_format: chroma as u8,
        luma_depth: luma_depth as u8,
        chroma_depth: chroma_depth as u8,
        coded: (width, height),
        window,
    })
}

/// Width and height of the pictures as they are shown.
pub(super) fn size(nal: &[u8]) -> Result<(u16, u16), FrameError> {
    let sps = sps(nal)?;
    let unit = match sps.chroma_format {
        1 => (2, 2),
        2 => (2, 1),
        _ => (1, 1),
    };
    let field = "pic_width_in_luma_samples";
    let bad = FrameError::BadField { what: "H.265 SPS", field, bit: 0 };
    sps.window.shown(sps.coded, unit).ok_or(bad)
}

/// Passes over profile and level of the temporal sub-layers, of which there are at most 6.
fn sub_layer_profiles(bits: &mut Bits<'_>, sub_layers: u32) -> Result<(), FrameError> {
    let mut len = 0;
    for _ in 0..sub_layers {
        len += 88 * bits.bit()?;
        len += 8 * bits.bit()?;
    }
    if sub_layers > 0 {
        bits.skip(2 * (8 - sub_layers))?;
    }
    bits.skip(len)
}

/// The id of a parameter set.
pub(super) fn set_id(kind: SetKind, nal: &[u8]) -> Result<u32, FrameError> {
    let data = rbsp(nal.get(HEADER..).unwrap_or_default());
    match kind {
        SetKind::Vps => Bits::new(&data, "H.265 VPS").bits(4),
        SetKind::Sps => Ok(sps(nal)?.id),
        SetKind::Pps => Bits::new(&data, "H.265 PPS").ue("pps_pic_parameter_set_id", 63),
    }
}

/// The HEVCDecoderConfigurationRecord.
pub(super) fn record(sets: &ParameterSets) -> Result<Vec<u8>, FrameError> {
    for kind in SetKind::ALL {
        sets.first(kind).ok_or(FrameError::NoParameterSets { missing: kind })?;
    }
    let sps = sps(sets.first(SetKind::Sps).unwrap_or_default())?;
    let mut out = vec![1];
    out.extend_from_slice(&sps.profile_tier_level);
    // No limit of spatial segments, parallelism unknown.
    out.extend_from_slice(&[0xf0, 0, 0xfc]);
    out.extend_from_slice(&[0xfc | sps.chroma_format, 0xf8 | sps.luma_depth, 0xf8 | sps.chroma_depth]);
    // Frame rate unknown; lengths of four bytes.
    out.extend_from_slice(&[0, 0, sps.temporal_layers << 3 | sps.temporal_nesting << 2 | 3]);
    out.push(SetKind::ALL.len() as u8);
    for kind in SetKind::ALL {
        let id = match kind {
            SetKind::Vps => 32,
            SetKind::Sps => 33,
            SetKind::Pps => 34,
        };
        // The array is complete, as it is with all encoders that do not change their sets between keyframes. There
        // are at most MAX_SETS (31) of a kind.
        out.extend_from_slice(&[0x80 | id, 0, sets.count(kind) as u8]);
        sets.write(kind, &mut out);
    }
    Ok(out)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Sets of x265 for 320x180: main profile, level 2.
    pub(crate) const VPS: [u8; 23] = [
        0x40, 0x01, 0x0c, 0x01, 0xff, 0xff, 0x01, 0x60, 0x00, 0x00, 0x03, 0x00, 0x90, 0x00, 0x00, 0x03, 0x00,
        0x00, 0x03, 0x00, 0x3c, 0x95, 0x98,
    ];

    /// Writes an SPS up to its bit depths with `sub_layers` sub-layers that tell profile and level.
    pub(crate) fn write_sps(sub_layers: u32, chroma: &str, depths: &str) -> Vec<u8> {
        let mut bits = format!("0000{sub_layers:03b}1");
        for byte in [0x01_u8, 0x60, 0, 0, 0, 0x90, 0, 0, 0, 0, 0, 0x3c] {
            bits += &format!("{byte:08b}");
        }
        bits += &"11".repeat(sub_layers as usize);
        if sub_layers > 0 {
            bits += &"00".repeat(8 - sub_layers as usize);
        }
        bits += &"1".repeat(96 * sub_layers as usize);
        bits += "1"; // id 0
        bits += chroma;
        bits += "00000000101000001"; // 320 + 1
        bits += "000000010110101"; // 180 + 1
        bits += "1"; // a window: 0, 0, 0, 2
        bits += "111011";
        bits += depths;
        bits += "1";
        while bits.len() % 8 != 0 {
            bits.push('0');
        }
        let mut out = vec![0x42, 1];
        let mut zeros = 0;
        for chunk in bits.as_bytes().chunks(8) {
            let byte = chunk.iter().fold(0_u8, |all, &c| all << 1 | (c - b'0'));
            if zeros == 2 && byte <= 3 {
                out.push(3);
                zeros = 0;
            }
            zeros = if byte == 0 { zeros + 1 } else { 0 };
            out.push(byte);
        }
        out
    }

    #[test]
    fn the_fields_of_an_sps_are_found_behind_sub_layers_and_emulation_prevention() {
        for sub_layers in 0..=6 {
            let found = sps(&write_sps(sub_layers, "010", "0110100")).unwrap();
            assert_eq!((found.chroma_format, found.luma_depth, found.chroma_depth), (1, 2, 1));
            assert_eq!(u32::from(found.temporal_layers), sub_layers + 1);
            assert_eq!(size(&write_sps(sub_layers, "010", "0110100")), Ok((320, 176)));
            assert_eq!(found.profile_tier_level, [1, 0x60, 0, 0, 0, 0x90, 0, 0, 0, 0, 0, 0x3c]);
        }
    }

    #[test]
    fn an_sps_out_of_bounds_is_refused() {
        let bad = FrameError::BadField { what: "H.265 SPS", field: "sps_max_sub_layers_minus1", bit: 4 };
        assert_eq!(sps(&[0x42, 1, 0x0f]), Err(bad));
        let deep = sps(&write_sps(0, "010", "0001001")); // 8 beyond 8
        assert!(matches!(deep, Err(FrameError::BadField { field: "bit_depth_luma_minus8", .. })), "{deep:?}");
        let good = write_sps(3, "010", "11");
        for len in 0..good.len() - 1 {
            assert!(matches!(sps(&good[..len]), Err(FrameError::ParameterSetEnds { .. })), "{len}");
        }
    }

    #[test]
    fn the_record_has_its_three_arrays() {
        let mut sets = ParameterSets::default();
        let sps = write_sps(0, "010", "11");
        let all: [(SetKind, &[u8]); 3] =
            [(SetKind::Vps, &VPS), (SetKind::Sps, &sps), (SetKind::Pps, &[0x44, 1, 0xc1])];
        for (kind, nal) in all {
            let missing = record(&sets);
            assert_eq!(missing, Err(FrameError::NoParameterSets { missing: kind }));
            sets.put(kind, set_id(kind, nal).unwrap(), nal).unwrap();
        }
        let record = record(&sets).unwrap();
        let head = [1, 1, 0x60, 0, 0, 0, 0x90, 0, 0, 0, 0, 0, 0x3c, 0xf0, 0, 0xfc, 0xfd, 0xf8, 0xf8];
        assert!(record.starts_with(&head));
        assert_eq!(record[19..28], [0, 0, 0x0f, 3, 0xa0, 0, 1, 0, 23]);
        assert!(record.ends_with(&[0xa2, 0, 1, 0, 3, 0x44, 1, 0xc1]));
    }

    #[test]
    fn other_layers_are_no_pictures_of_their_own() {
        assert_eq!(kind(&[0x26, 0x01]), Some(NalKind::Slice { key: true }));
        assert_eq!(kind(&[0x02, 0x01]), Some(NalKind::Slice { key: false }));
        assert_eq!(kind(&[0x26, 0x09]), Some(NalKind::Other));
        assert_eq!(kind(&[0x26]), None);
    }
}
