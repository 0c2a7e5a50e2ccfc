//! The picture's track: what a sequence header says, as a sample entry.

use std::fmt::Write as _;

use bytes::Bytes;
use mp4_atom::{Atom as _, Avc1, Avcc, Codec, Hvc1, Hvcc, Visual};
use xp2p_proto::flv::{VideoCodec, VideoKind, picture_size};

/// Bytes of a configuration record; real ones have less than 1,000.
const MAX_RECORD: usize = 64 << 10;
/// The kind of NAL unit that an SPS is in H.265.
const HEVC_SPS: u8 = 33;

/// The pictures of a stream.
#[derive(Clone, Debug)]
pub(super) struct VideoTrack {
    pub(super) kind: VideoKind,
    /// The record it was made of: the same one again changes nothing.
    pub(super) record: Bytes,
    pub(super) size: (u16, u16),
    pub(super) entry: Codec,
    /// As in the `codecs` parameter (RFC 6381, section 3; ISO/IEC 14496-15, annex E).
    pub(super) codecs: String,
}

/// The kind of a coding that is converted.
pub(super) fn kind(codec: VideoCodec) -> Option<VideoKind> {
    match codec {
        VideoCodec::Avc => Some(VideoKind::H264),
        VideoCodec::Hevc => Some(VideoKind::H265),
        _ => None,
    }
}

impl VideoTrack {
    /// Reads the payload of a sequence header. `None`: it makes no sense.
    pub(super) fn read(kind: VideoKind, record: Bytes) -> Option<Self> {
        if record.len() > MAX_RECORD {
            return None;
        }
        match kind {
            VideoKind::H264 => Self::avc(record),
            VideoKind::H265 => Self::hevc(record),
        }
    }

    fn avc(record: Bytes) -> Option<Self> {
        let avcc = Avcc::decode_body(&mut record.as_ref()).ok()?;
        let size = picture_size(VideoKind::H264, avcc.sequence_parameter_sets.first()?).ok()?;
        let codecs = format!(
            "avc1.{:02X}{:02X}{:02X}",
            avcc.avc_profile_indication, avcc.profile_compatibility, avcc.avc_level_indication
        );
        let entry = Avc1 { visual: visual(size), avcc, ..Avc1::default() }.into();
        Some(Self { kind: VideoKind::H264, record, size, entry, codecs })
    }

    fn hevc(record: Bytes) -> Option<Self> {
        let hvcc = Hvcc::decode_body(&mut record.as_ref()).ok()?;
        let sets = hvcc.arrays.iter().find(|a| a.nal_unit_type == HEVC_SPS)?;
        let size = picture_size(VideoKind::H265, sets.nalus.first()?).ok()?;
        let codecs = hevc_codecs(&hvcc);
        // As hvc1, which Safari wants. Encoders that send their sets in the pictures, too, send the same ones.
        let entry = Hvc1 { visual: visual(size), hvcc, ..Hvc1::default() }.into();
        Some(Self { kind: VideoKind::H265, record, size, entry, codecs })
    }
}

fn visual((width, height): (u16, u16)) -> Visual {
    Visual { data_reference_index: 1, width, height, ..Visual::default() }
}

/// ISO/IEC 14496-15, section E.3.
fn hevc_codecs(hvcc: &Hvcc) -> String {
    let space = match hvcc.general_profile_space {
        1 => "A",
        2 => "B",
        3 => "C",
        _ => "",
    };
    let flags = u32::from_be_bytes(hvcc.general_profile_compatibility_flags).reverse_bits();
    let tier = if hvcc.general_tier_flag { 'H' } else { 'L' };
    let (profile, level) = (hvcc.general_profile_idc, hvcc.general_level_idc);
    let mut text = format!("hvc1.{space}{profile}.{flags:X}.{tier}{level}");
    let constraints = &hvcc.general_constraint_indicator_flags;
    let len = constraints.iter().rposition(|&b| b != 0).map_or(0, |last| last + 1);
    for byte in constraints.iter().take(len) {
        // Writing to a String cannot fail.
        let _ = write!(text, ".{byte:X}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::testing::{AVC_RECORD, HEVC_RECORD};
    use super::*;

    #[test]
    fn a_record_gives_size_and_codecs() {
        let avc = VideoTrack::read(VideoKind::H264, Bytes::from_static(AVC_RECORD)).unwrap();
        assert_eq!((avc.size, avc.codecs.as_str()), ((640, 360), "avc1.64001E"));
        let hevc = VideoTrack::read(VideoKind::H265, Bytes::from_static(HEVC_RECORD)).unwrap();
        assert_eq!((hevc.size, hevc.codecs.as_str()), ((320, 180), "hvc1.1.6.L60.90"));
    }

    #[test]
    fn half_a_record_is_none() {
        for (kind, record) in [(VideoKind::H264, AVC_RECORD), (VideoKind::H265, HEVC_RECORD)] {
            for len in 0..12 {
                assert!(VideoTrack::read(kind, Bytes::from_static(&record[..len])).is_none(), "{len}");
            }
            assert!(VideoTrack::read(kind, vec![1; MAX_RECORD + 1].into()).is_none());
        }
    }
}
