//! The init segment: what tracks there are.

use mp4_atom::{
    Codec, Dinf, Dref, DrefEntry, Encode as _, FourCC, Ftyp, Hdlr, Mdhd, Mdia, Minf, Moov, Mvex, Mvhd, Smhd,
    Stbl, Stco, Stsd, Tkhd, Trak, Trex, Url, Vmhd,
};

use super::audio::AudioTrack;
use super::video::VideoTrack;

/// Number of the picture's track.
pub(super) const VIDEO: u32 = 1;
/// Number of the sound's track.
pub(super) const AUDIO: u32 = 2;
/// Ticks of the picture's clock in a second: FLV's own, so that its times stay exact.
pub(super) const VIDEO_SCALE: u32 = 1_000;

/// The bytes of ftyp and moov.
pub(super) fn segment(
    video: Option<&VideoTrack>,
    audio: Option<&AudioTrack>,
) -> Result<Vec<u8>, mp4_atom::Error> {
    let ftyp = Ftyp {
        major_brand: FourCC::new(b"iso6"),
        minor_version: 1,
        compatible_brands: [b"iso6", b"isom", b"mp41"].map(FourCC::new).to_vec(),
    };
    let video = video.map(|v| {
        let tkhd = Tkhd { width: v.size.0.into(), height: v.size.1.into(), ..header(VIDEO) };
        let kind = Kind { handler: b"vide", name: "picture", vmhd: Some(Vmhd::default()), smhd: None };
        track(tkhd, VIDEO_SCALE, kind, v.entry.clone())
    });
    let audio = audio.map(|a| {
        let tkhd = Tkhd { volume: 1.into(), ..header(AUDIO) };
        let kind = Kind { handler: b"soun", name: "sound", vmhd: None, smhd: Some(Smhd::default()) };
        track(tkhd, a.rate, kind, a.entry.clone())
    });
    let trak: Vec<Trak> = video.into_iter().chain(audio).collect();
    let trex = trak
        .iter()
        .map(|t| Trex { track_id: t.tkhd.track_id, default_sample_description_index: 1, ..Trex::default() })
        .collect();
    let moov = Moov {
        mvhd: Mvhd { rate: 1.into(), volume: 1.into(), next_track_id: AUDIO + 1, ..Mvhd::default() },
        mvex: Some(Mvex { mehd: None, trex }),
        trak,
        ..Moov::default()
    };
    let mut out = Vec::with_capacity(1_500);
    ftyp.encode(&mut out)?;
    moov.encode(&mut out)?;
    Ok(out)
}

fn header(track_id: u32) -> Tkhd {
    Tkhd { track_id, enabled: true, in_movie: true, ..Tkhd::default() }
}

struct Kind {
    handler: &'static [u8; 4],
    name: &'static str,
    vmhd: Option<Vmhd>,
    smhd: Option<Smhd>,
}

fn track(tkhd: Tkhd, timescale: u32, kind: Kind, entry: Codec) -> Trak {
    let here = Dref { entries: vec![DrefEntry::Url(Url::default())] };
    Trak {
        tkhd,
        mdia: Mdia {
            mdhd: Mdhd { timescale, language: "und".to_owned(), ..Mdhd::default() },
            hdlr: Hdlr { handler: FourCC::new(kind.handler), name: kind.name.to_owned() },
            minf: Minf {
                vmhd: kind.vmhd,
                smhd: kind.smhd,
                dinf: Dinf { dref: here },
                stbl: Stbl {
                    stsd: Stsd { codecs: vec![entry] },
                    // No samples in here, but one of stco and co64 has to be.
                    stco: Some(Stco::default()),
                    ..Stbl::default()
                },
                ..Minf::default()
            },
        },
        ..Trak::default()
    }
}
