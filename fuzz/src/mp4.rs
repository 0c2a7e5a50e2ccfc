//! Whatever tags a camera sends, what a player gets is a sequence of MP4 boxes whose times and sizes hold.

use arbitrary::Unstructured;
use bytes::Bytes;
use mp4_atom::{Any, Decode as _};
use xp2p_driver::player::fuzzing::mp4;
use xp2p_proto::flv::{Tag, TagKind};

use crate::ops::rest;
use crate::tags::{AVC, AnyTag};

/// One input.
pub fn run(data: &[u8]) {
    let mut u = Unstructured::new(data);
    let Ok((usual, known, early)) = u.arbitrary::<(bool, u8, u8)>() else { return };
    let mut tags = |most: usize| rest::<AnyTag>(&mut u, most).into_iter().map(|t| t.0).collect::<Vec<Tag>>();
    let (mut config, mut before) = (tags(usize::from(known % 4)), tags(usize::from(early % 32)));
    let after = tags(usize::MAX);
    if usual {
        let tag = |kind, body: &'static [u8]| Tag { kind, timestamp: 0, body: Bytes::from_static(body) };
        config.extend([tag(TagKind::Video, AVC), tag(TagKind::Audio, &[0xaf, 0, 0x12, 0x10])]);
        before.insert(0, tag(TagKind::Video, &[0x17, 1, 0, 0, 40, 1]));
    }
    let Some(pieces) = mp4(&config, &before, &after) else { return };
    assert!(pieces.iter().all(|p| !p.is_empty()));
    check(&pieces.concat());
}

fn check(bytes: &[u8]) {
    let mut rest = bytes;
    let mut starts = [0; 2];
    let mut size = None;
    while !rest.is_empty() {
        match Any::decode(&mut rest).expect("a box") {
            Any::Ftyp(_) => {}
            // The clock of the sound may change.
            Any::Moov(_) => starts[1] = 0,
            Any::Moof(moof) => {
                let [traf] = &moof.traf[..] else { panic!("one track in each fragment") };
                let [trun] = &traf.trun[..] else { panic!("one run in each fragment") };
                let start = traf.tfdt.as_ref().expect("a time").base_media_decode_time;
                let last = &mut starts[traf.tfhd.track_id as usize - 1];
                assert!(start >= *last, "track {}: {start} behind {last}", traf.tfhd.track_id);
                let durations: u64 =
                    trun.samples.iter().map(|s| u64::from(s.duration.expect("a duration"))).sum();
                // That of the last picture is a guess.
                *last = if traf.tfhd.track_id == 1 { start } else { start + durations };
                let sizes = trun.samples.iter().map(|s| s.size.expect("a size") as usize);
                assert_eq!(size.replace(sizes.sum::<usize>()), None, "a fragment without its data");
            }
            Any::Mdat(mdat) => assert_eq!(size.take(), Some(mdat.data.len())),
            other => panic!("an unexpected box: {other:?}"),
        }
    }
    assert_eq!(size, None, "a fragment without its data");
}
