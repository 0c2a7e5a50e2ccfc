use std::sync::Arc;

use bytes::Bytes;
use futures_lite::future::{block_on, poll_once};
use mp4_atom::{Any, Codec, Decode as _, Moof, Moov, Trun};
use proptest::prelude::*;
use xp2p_proto::flv::{AudioCodec, Config, Tag, TagKind, VideoCodec};

use super::body::Mp4Body;
use super::notice::Notice;
use super::start::{Mp4Start, NoMp4, begin};
use super::testing::{aac_config, alaw, audio, avc_config, hevc_config, picture, video};
use crate::player::hub::Hub;

fn configure(hub: &Hub, tags: &[Tag]) {
    let mut config = Config::default();
    tags.iter().for_each(|tag| _ = config.update(tag));
    hub.configure(&Arc::new(config));
}

/// What is known by now.
fn start(hub: &Hub) -> Option<Result<Mp4Start, NoMp4>> {
    block_on(poll_once(begin(hub.subscribe())))
}

fn started(hub: &Hub) -> Mp4Start {
    start(hub).expect("the tracks are known").expect("some can be played")
}

/// The pieces that are there now, and whether that was all.
fn pieces(body: &mut Mp4Body) -> (Vec<Bytes>, bool) {
    let mut out = Vec::new();
    loop {
        match block_on(poll_once(std::future::poll_fn(|cx| body.poll_bytes(cx)))) {
            Some(Some(piece)) => out.push(piece),
            Some(None) => return (out, true),
            None => return (out, false),
        }
    }
}

fn boxes(pieces: &[Bytes]) -> Vec<Any> {
    let bytes = pieces.concat();
    let mut rest = bytes.as_slice();
    let mut out = Vec::new();
    while !rest.is_empty() {
        out.push(Any::decode(&mut rest).expect("a box"));
    }
    out
}

fn moov(boxes: &[Any]) -> &Moov {
    boxes.iter().find_map(|b| if let Any::Moov(moov) = b { Some(moov) } else { None }).expect("a moov")
}

/// Track, start, and the run of each fragment.
fn fragments(boxes: &[Any]) -> Vec<(u32, u64, &Trun)> {
    let of = |moof: &Moof| {
        (moof.traf[0].tfhd.track_id, moof.traf[0].tfdt.as_ref().unwrap().base_media_decode_time)
    };
    let moofs = boxes.iter().filter_map(|b| if let Any::Moof(moof) = b { Some(moof) } else { None });
    moofs.map(|moof| (of(moof).0, of(moof).1, &moof.traf[0].trun[0])).collect()
}

/// Durations and composition offsets.
fn samples(trun: &Trun) -> Vec<(u32, i64)> {
    trun.samples.iter().map(|s| (s.duration.unwrap(), s.cts.unwrap())).collect()
}

/// A hub of H.264 and AAC.
fn usual() -> Hub {
    let hub = Hub::default();
    configure(&hub, &[avc_config(), aac_config()]);
    hub
}

#[test]
fn a_picture_goes_at_once_and_is_not_copied() {
    let hub = usual();
    let mut mp4 = started(&hub);
    assert_eq!(mp4.content_type, "video/mp4; codecs=\"avc1.64001E,mp4a.40.2\"");
    let (init, _) = pieces(&mut mp4.body);
    let init = boxes(&init);
    let tracks = &moov(&init).trak;
    assert!(matches!(&tracks[0].mdia.minf.stbl.stsd.codecs[0], Codec::Avc1(a) if a.visual.width == 640));
    assert!(matches!(&tracks[1].mdia.minf.stbl.stsd.codecs[0], Codec::Mp4a(a) if a.audio.channel_count == 2));
    assert_eq!((tracks[0].mdia.mdhd.timescale, tracks[1].mdia.mdhd.timescale), (1_000, 44_100));

    for (n, (time, composition)) in [(5_000, 80), (5_040, 0), (5_130, 40)].into_iter().enumerate() {
        let tag = picture(time, n == 0, composition, &[n as u8; 100]);
        hub.push(&tag);
        let (parts, over) = pieces(&mut mp4.body);
        assert_eq!((parts.len(), over), (2, false), "boxes and the picture");
        assert_eq!(parts[1].as_ptr(), tag.body[5..].as_ptr());
        let found = boxes(&parts);
        let [(track, at, trun)] = fragments(&found)[..] else { panic!("one fragment") };
        assert_eq!((track, at), (1, u64::from(time - 5_000)));
        assert_eq!(trun.data_offset, Some(parts[0].len() as i32));
        assert_eq!(samples(trun), [([100, 100, 180][n], i64::from(composition))]);
        assert_eq!(trun.samples.get(0).unwrap().flags, Some([0x0200_0000, 0x0101_0000][n.min(1)]));
    }
    let sound = audio(5_135, &[0xaf, 1], &[1, 2, 3]);
    hub.push(&sound);
    let (parts, _) = pieces(&mut mp4.body);
    let found = boxes(&parts);
    assert_eq!(parts[1], [1, 2, 3][..]);
    let [(track, at, trun)] = fragments(&found)[..] else { panic!("one fragment") };
    assert_eq!((track, at, samples(trun)), (2, 135 * 441 / 10, vec![(1_024, 0)]));
}

#[test]
fn what_waits_goes_together_with_its_own_durations() {
    let hub = usual();
    for n in 0..5 {
        hub.push(&picture(n * 40, n == 0, 0, &[1]));
        hub.push(&audio(n * 23, &[0xaf, 1], &[2]));
    }
    hub.push(&picture(260, false, 0, &[1]));
    let mut mp4 = started(&hub);
    let (parts, _) = pieces(&mut mp4.body);
    let found = boxes(&parts);
    let [(1, 0, video), (2, 0, audio)] = fragments(&found)[..] else { panic!("two fragments") };
    assert_eq!(samples(video), [(40, 0), (40, 0), (40, 0), (40, 0), (100, 0), (200, 0)]);
    assert_eq!(samples(audio), [(1_024, 0); 5]);
}

#[test]
fn a_picture_behind_a_pause_is_decoded_early_and_shown_when_it_should_be() {
    let hub = usual();
    let mut mp4 = started(&hub);
    pieces(&mut mp4.body);
    let mut found = Vec::new();
    for (n, time) in [0, 40, 1_040, 1_080, 1_120].into_iter().enumerate() {
        hub.push(&picture(time, n == 0, 40, &[1]));
        let found_now = boxes(&pieces(&mut mp4.body).0);
        let Some(&(1, start, trun)) = fragments(&found_now).first() else { panic!("a picture") };
        let (duration, composition) = samples(trun)[0];
        found.push((start, start + composition as u64, duration));
    }
    let want =
        [(0, 40, 100), (40, 80, 100), (240, 1_080, 1_000), (1_080, 1_120, 1_000), (1_120, 1_160, 1_000)];
    assert_eq!(found, want);
}

#[test]
fn pictures_go_on_with_silence_when_no_sound_comes() {
    for (config, sound) in [(aac_config(), audio(0, &[0xaf, 1], &[7])), (alaw(0, 320), alaw(0, 320))] {
        let hub = Hub::default();
        configure(&hub, &[avc_config(), config]);
        hub.push(&picture(0, true, 0, &[1]));
        hub.push(&sound);
        let mut mp4 = started(&hub);
        let rate = u64::from(moov(&boxes(&pieces(&mut mp4.body).0)).trak[1].mdia.mdhd.timescale);
        let mut end = None;
        for time in (40..5_000).step_by(40) {
            hub.push(&picture(time, false, 0, &[1]));
            let found = boxes(&pieces(&mut mp4.body).0);
            for (track, start, trun) in fragments(&found) {
                if track == 2 {
                    assert_eq!(end.unwrap_or(start), start);
                    end = Some(start + samples(trun).iter().map(|s| u64::from(s.0)).sum::<u64>());
                }
            }
        }
        let end = end.expect("silence") * 1_000 / rate;
        assert!((4_600..=4_750).contains(&end), "{end}");
        // What comes again has its own time.
        hub.push(&Tag { timestamp: 4_960, ..sound });
        let found = boxes(&pieces(&mut mp4.body).0);
        let [(2, start, trun)] = fragments(&found)[..] else { panic!("sound") };
        let last = start + samples(trun).iter().map(|s| u64::from(s.0)).sum::<u64>();
        assert!(last * 1_000 / rate >= 4_960);
    }
}

#[test]
fn another_configuration_begins_anew_in_the_same_body() {
    let hub = usual();
    hub.push(&picture(0, true, 0, &[1]));
    let mut mp4 = started(&hub);
    pieces(&mut mp4.body);
    let mut other = avc_config();
    let mut body = other.body.to_vec();
    body[5 + 3] = 31; // level 3.1
    other.body = body.into();
    configure(&hub, &[other, aac_config()]);
    hub.push(&picture(40, false, 0, &[2]));
    hub.push(&picture(80, true, 0, &[3]));
    let (parts, over) = pieces(&mut mp4.body);
    let found = boxes(&parts);
    assert!(!over && matches!(found[0], Any::Ftyp(_)));
    assert_eq!(moov(&found).trak.len(), 2);
    let [(1, 80, trun)] = fragments(&found)[..] else { panic!("the keyframe only") };
    assert_eq!(samples(trun), [(160, 0)]);

    configure(&hub, &[hevc_config(), aac_config()]);
    hub.push(&picture(120, true, 0, &[4]));
    assert_eq!(pieces(&mut mp4.body), (vec![], true), "another coding: the player has to come again");
}

#[test]
fn old_headers_that_wait_do_not_begin_anything() {
    let hub = usual();
    let subscription = hub.subscribe();
    let mut other = avc_config();
    other.body = [&other.body[..8], &[31], &other.body[9..]].concat().into();
    configure(&hub, &[other, aac_config()]);
    configure(&hub, &[avc_config(), aac_config()]);
    hub.push(&picture(40, true, 0, &[1]));
    let mut mp4 = block_on(begin(subscription)).unwrap();
    let found = boxes(&pieces(&mut mp4.body).0);
    assert_eq!(found.iter().filter(|b| matches!(b, Any::Moov(_))).count(), 1);
    assert_eq!(mp4.content_type, "video/mp4; codecs=\"avc1.64001E,mp4a.40.2\"");
}

#[test]
fn sound_that_tells_nothing_before_it_comes_is_waited_for() {
    let hub = Hub::default();
    assert!(start(&hub).is_none());
    configure(&hub, &[avc_config(), alaw(0, 160)]);
    hub.push(&picture(0, true, 0, &[1]));
    hub.push(&picture(960, false, 0, &[1]));
    assert!(start(&hub).is_none(), "the header says that there is sound");
    hub.push(&alaw(980, 160));
    let mut mp4 = started(&hub);
    assert_eq!(mp4.content_type, "video/mp4; codecs=\"avc1.64001E,flac\"");
    let found = boxes(&pieces(&mut mp4.body).0);
    let [(1, 0, _), (2, 7_840, trun)] = fragments(&found)[..] else { panic!("two fragments") };
    assert_eq!(samples(trun), [(160, 0)]);
}

#[test]
fn sound_that_does_not_come_is_not_waited_for_and_ends_the_body_when_it_does() {
    let hub = Hub::default();
    configure(&hub, &[avc_config()]);
    hub.push(&picture(0, true, 0, &[1]));
    hub.push(&picture(280, false, 0, &[1]));
    assert!(start(&hub).is_none(), "headers are often made before the first sound");
    hub.push(&picture(300, false, 0, &[1]));
    let mut mp4 = started(&hub);
    assert_eq!((mp4.content_type.as_str(), mp4.notices.len()), ("video/mp4; codecs=\"avc1.64001E\"", 0));
    assert!(!pieces(&mut mp4.body).1);
    hub.push(&alaw(340, 160));
    assert_eq!(pieces(&mut mp4.body), (vec![], true));
}

#[test]
fn what_has_no_place_is_left_out_and_the_rest_goes_on() {
    let hub = Hub::default();
    configure(&hub, &[avc_config()]);
    hub.push(&picture(0, true, 0, &[1]));
    hub.push(&audio(0, &[0xb2], &[1, 2, 3]));
    let mut mp4 = started(&hub);
    assert_eq!(mp4.notices, [Notice::SoundCodec(AudioCodec::Speex)]);
    hub.push(&audio(20, &[0x52], &[1, 2, 3]));
    hub.push(&picture(40, false, 0, &[1]));
    let (parts, over) = pieces(&mut mp4.body);
    assert!(!over && fragments(&boxes(&parts)).iter().all(|f| f.0 == 1));

    let hub = Hub::default();
    configure(&hub, &[video(0, &[0x11], &[1]), aac_config()]);
    hub.push(&video(0, &[0x11], &[1]));
    let mp4 = started(&hub);
    assert_eq!(mp4.content_type, "audio/mp4; codecs=\"mp4a.40.2\"");
    assert_eq!(mp4.notices, [Notice::PictureCodec(VideoCodec::Jpeg)]);
}

#[test]
fn a_stream_of_which_nothing_is_left_has_no_mp4() {
    let hub = Hub::default();
    configure(&hub, &[video(0, &[0x11], &[1])]);
    hub.push(&video(0, &[0x11], &[1]));
    hub.push(&audio(0, &[0xb2], &[1]));
    let notices = vec![Notice::PictureCodec(VideoCodec::Jpeg), Notice::SoundCodec(AudioCodec::Speex)];
    let none = start(&hub).unwrap().unwrap_err();
    assert_eq!(none, NoMp4::Nothing(notices));
    assert!(none.to_string().contains("Jpeg") && none.to_string().contains("Speex"), "{none}");
    let hub = Hub::default();
    hub.end();
    assert_eq!(start(&hub).unwrap().unwrap_err(), NoMp4::Ended);
}

/// Heads that make the readers go deep, so that random bytes behind them are read.
fn head() -> impl Strategy<Value = Vec<u8>> {
    let heads: [&[u8]; 16] = [
        &[],
        &[0x17, 0, 0, 0, 0],
        &[0x17, 1, 0, 0, 0],
        &[0x27, 1, 0x80, 0, 0],
        &[0x1c, 0, 0, 0, 0],
        &[0x1c, 1, 0, 0, 0],
        b"\x90hvc1",
        b"\x91hvc1\0\0\0",
        b"\x96\x10avc1\0",
        &[0xaf, 0],
        &[0xaf, 1],
        &[0x72],
        &[0x32],
        &[0x3f],
        b"\x90mp4a",
        b"\x95\x11mp4a\0",
    ];
    prop::sample::select(heads.map(<[u8]>::to_vec).to_vec())
}

/// Records that can be read, whole or changed in one place.
fn any_tag() -> impl Strategy<Value = Tag> {
    let good = prop::sample::select(vec![avc_config(), hevc_config(), aac_config(), alaw(0, 320)]);
    let changed = (good, any::<prop::sample::Index>(), prop::option::of(any::<u8>())).prop_map(
        |(mut tag, at, byte)| {
            let mut body = tag.body.to_vec();
            let at = at.index(body.len());
            match byte {
                Some(byte) => body[at] = byte,
                None if at % 2 == 0 => body.truncate(at),
                None => {}
            }
            tag.body = body.into();
            tag
        },
    );
    let kind = prop::sample::select(vec![TagKind::Audio, TagKind::Video, TagKind::Script]);
    let random = (kind, head(), prop::collection::vec(any::<u8>(), 0..200))
        .prop_map(|(kind, head, rest)| Tag { kind, timestamp: 0, body: [head, rest].concat().into() });
    let time = prop_oneof![4 => 0..500_u32, 1 => any::<u32>()];
    (prop_oneof![1 => changed, 3 => random], time).prop_map(|(tag, timestamp)| Tag { timestamp, ..tag })
}

proptest! {
    #[test]
    fn whatever_a_camera_sends_gives_boxes_that_can_be_read(
        usual: bool,
        mut config in prop::collection::vec(any_tag(), 0..4),
        mut before in prop::collection::vec(any_tag(), 0..20),
        after in prop::collection::vec(any_tag(), 0..40),
    ) {
        if usual {
            config.extend([avc_config(), aac_config()]);
            before.insert(0, picture(0, true, 40, &[1]));
        }
        let hub = Hub::default();
        configure(&hub, &config);
        before.iter().for_each(|tag| hub.push(tag));
        let subscription = hub.subscribe();
        let mut waiting = std::pin::pin!(begin(subscription));
        let early = block_on(poll_once(waiting.as_mut()));
        after.iter().for_each(|tag| hub.push(tag));
        hub.end();
        let Ok(mut mp4) = early.unwrap_or_else(|| block_on(waiting)) else { return Ok(()) };
        let (parts, over) = pieces(&mut mp4.body);
        prop_assert!(over && parts.iter().all(|p| !p.is_empty()));
        let mut next = [0; 2];
        let mut size = None;
        for found in boxes(&parts) {
            match found {
                Any::Ftyp(_) => {}
                // The clock of the sound may change.
                Any::Moov(_) => next[1] = 0,
                Any::Moof(moof) => {
                    let traf = &moof.traf[0];
                    let start = traf.tfdt.as_ref().unwrap().base_media_decode_time;
                    let next = &mut next[traf.tfhd.track_id as usize - 1];
                    prop_assert!(start >= *next);
                    let durations: u64 = traf.trun[0].samples.iter().map(|s| u64::from(s.duration.unwrap())).sum();
                    // That of the last picture is a guess.
                    *next = if traf.tfhd.track_id == 1 { start } else { start + durations };
                    size = Some(traf.trun[0].samples.iter().map(|s| s.size.unwrap() as usize).sum::<usize>());
                }
                Any::Mdat(mdat) => prop_assert_eq!(size.take(), Some(mdat.data.len())),
                other => prop_assert!(false, "{:?}", other),
            }
        }
    }
}
