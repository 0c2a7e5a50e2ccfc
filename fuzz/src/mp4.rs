//! Whatever tags a camera sends, what a player gets is a sequence of MP4 boxes whose times and sizes hold.

use arbitrary::{Arbitrary, Unstructured};
use bytes::Bytes;
use mp4_atom::{Any, Decode as _};
use xp2p_driver::player::fuzzing::mp4;
use xp2p_proto::flv::{Tag, TagKind};

use crate::tags::{AVC, AnyTag};

#[derive(Arbitrary, Debug)]
struct Input {
    usual: bool,
    config: Vec<AnyTag>,
    before: Vec<AnyTag>,
    after: Vec<AnyTag>,
}

fn tags(tags: Vec<AnyTag>) -> Vec<Tag> {
    tags.into_iter().map(|t| t.0).collect()
}

/// One input.
pub fn run(data: &[u8]) {
    let Ok(input) = Input::arbitrary_take_rest(Unstructured::new(data)) else { return };
    let (mut config, mut before, after) = (tags(input.config), tags(input.before), tags(input.after));
    if input.usual {
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
