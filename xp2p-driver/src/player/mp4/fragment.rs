//! Fragments: moof and mdat, with the media as it came.

use bytes::Bytes;
use mp4_atom::{
    Atom as _, Encode as _, Header, Mdat, Mfhd, Moof, Tfdt, Tfhd, Traf, Trun, TrunEntry, TrunSamples,
};

/// Flags of a sample that others may need, but which needs none itself (ISO/IEC 14496-12, section 8.8.3.1).
const SYNC: u32 = 0x0200_0000;
/// Flags of a sample that needs others.
const NOT_SYNC: u32 = 0x0101_0000;
/// Bytes of an mdat's head whose size fits into 32 bits.
const MDAT_HEAD: usize = 8;

/// One picture or piece of sound.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    /// In ticks of its track, as are all times here.
    pub(super) duration: u32,
    /// From decoding to presentation.
    pub(super) composition: i32,
    pub(super) sync: bool,
    pub(super) data: Bytes,
}

/// The parts of a fragment of one track: first the boxes, then the samples' own bytes.
///
/// Samples follow each other without gaps from `start` on.
pub(super) fn fragment(
    number: u32,
    track_id: u32,
    start: u64,
    samples: Vec<Sample>,
) -> Result<Vec<Bytes>, mp4_atom::Error> {
    let too_large = || mp4_atom::Error::TooLarge(Mdat::KIND);
    let mut entries = Vec::with_capacity(samples.len());
    let mut size = 0_usize;
    for sample in &samples {
        size += sample.data.len(); // both are in memory, so the sum cannot overflow
        entries.push(TrunEntry {
            duration: Some(sample.duration),
            size: Some(u32::try_from(sample.data.len()).map_err(|_| too_large())?),
            flags: Some(if sample.sync { SYNC } else { NOT_SYNC }),
            cts: Some(sample.composition.into()),
        });
    }
    let mut moof = Moof {
        mfhd: Mfhd { sequence_number: number },
        traf: vec![Traf {
            tfhd: Tfhd { track_id, default_base_is_moof: true, ..Tfhd::default() },
            tfdt: Some(Tfdt { base_media_decode_time: start }),
            trun: vec![Trun { data_offset: Some(0), samples: TrunSamples::Explicit(entries) }],
            ..Traf::default()
        }],
    };
    let mut boxes = Vec::with_capacity(128 + 16 * samples.len());
    moof.encode(&mut boxes)?;
    // Now that its length is known, which does not depend on what the offset is.
    let offset = i32::try_from(boxes.len() + MDAT_HEAD).map_err(|_| too_large())?;
    for trun in moof.traf.iter_mut().flat_map(|t| &mut t.trun) {
        trun.data_offset = Some(offset);
    }
    boxes.clear();
    moof.encode(&mut boxes)?;
    u32::try_from(size + MDAT_HEAD).map_err(|_| too_large())?;
    Header { kind: Mdat::KIND, size: Some(size) }.encode(&mut boxes)?;
    let mut parts = Vec::with_capacity(1 + samples.len());
    parts.push(boxes.into());
    parts.extend(samples.into_iter().map(|s| s.data));
    Ok(parts)
}
