//! The muxer as its users see it.

use proptest::prelude::*;

use super::aac::tests::adts;
use super::hevc::tests::{VPS, write_sps};
use super::*;
use crate::flv::{AudioCodec, VideoCodec, VideoPacket};

const SPS: [u8; 8] = [0x67, 77, 0x40, 31, 0xe8, 0x80, 0x50, 0x17];
const PPS: [u8; 2] = [0x68, 0xce];
const IDR: [u8; 4] = [0x65, 0x88, 0x84, 1];
const SLICE: [u8; 3] = [0x41, 0x9a, 0x22];

fn muxer() -> FrameMuxer {
    FrameMuxer::new(FrameLimits::default())
}

fn unit(nals: &[&[u8]]) -> Vec<u8> {
    nals.iter().flat_map(|nal| [&[0, 0, 0, 1][..], nal].concat()).collect()
}

fn h264(muxer: &mut FrameMuxer, nals: &[&[u8]], at: u32) -> Result<Vec<Tag>, FrameError> {
    muxer.video(VideoKind::H264, &unit(nals), at, at)
}

/// The NAL units of a tag.
fn body(nals: &[&[u8]]) -> Vec<u8> {
    nals.iter().flat_map(|nal| [&(nal.len() as u32).to_be_bytes()[..], nal].concat()).collect()
}

#[test]
fn sets_and_delimiters_go_out_of_pictures_and_the_rest_stays() {
    let mut muxer = muxer();
    let sei = [6, 5, 1, 7, 0x80];
    let tags = h264(&mut muxer, &[&[9, 0x10], &SPS, &PPS, &sei, &IDR], 10).unwrap();
    assert_eq!(tags.len(), 2);
    assert!(tags[0].is_sequence_header() && tags[1].is_keyframe());
    assert_eq!(tags[1].body[5..], body(&[&sei, &IDR]));
    let tags = h264(&mut muxer, &[&[9, 0x30], &SLICE, &SLICE], 50).unwrap();
    assert_eq!((tags.len(), tags[0].timestamp, tags[0].body[0]), (1, 50, 0x27));
    assert_eq!(tags[0].body[5..], body(&[&SLICE, &SLICE]));
    let again = h264(&mut muxer, &[&SPS, &PPS, &IDR], 90).unwrap();
    assert_eq!(again.len(), 1, "the same sets are no news");
}

#[test]
fn sets_may_come_in_buffers_of_their_own() {
    let mut muxer = muxer();
    assert_eq!(h264(&mut muxer, &[&SPS], 0), Ok(vec![]));
    assert_eq!(
        h264(&mut muxer, &[&IDR], 0),
        Err(FrameError::NoParameterSets { missing: SetKind::Pps }),
        "half of them are not enough"
    );
    assert_eq!(h264(&mut muxer, &[&PPS], 0), Ok(vec![]));
    assert_eq!(h264(&mut muxer, &[&SLICE], 0), Err(FrameError::NotKeyframe));
    assert_eq!(h264(&mut muxer, &[&IDR], 0).unwrap().len(), 2);
}

#[test]
fn changed_sets_make_a_sequence_header_at_a_keyframe_and_stay_in_band_before() {
    let mut muxer = muxer();
    h264(&mut muxer, &[&SPS, &PPS, &IDR], 0).unwrap();
    let other = [0x68, 0xcf];
    let tags = h264(&mut muxer, &[&PPS, &other, &SLICE], 40).unwrap();
    assert_eq!(tags.len(), 1);
    assert_eq!(tags[0].body[5..], body(&[&other, &SLICE]));
    let tags = h264(&mut muxer, &[&IDR], 80).unwrap();
    assert!(tags[0].is_sequence_header() && tags[0].body.ends_with(&other));
}

#[test]
fn ids_that_count_up_do_not_pile_up() {
    let mut muxer = muxer();
    for n in 0..100_u32 {
        // Ids 1 to 6 are three or five bits of Exp-Golomb; the rest does not matter.
        let id = (n % 6 + 2).to_be_bytes()[3];
        let code = if id < 4 { id << 5 } else { id << 3 };
        let sets: [&[u8]; 2] = [&[0x67, 77, 0x40, 31, code | 1, 0x80], &[0x68, code | 1]];
        let tags = h264(&mut muxer, &[sets[0], sets[1], &IDR], n).unwrap();
        assert_eq!((tags.len(), tags[0].body.len()), (2, 5 + 6 + 2 + 6 + 3 + 2));
    }
}

#[test]
fn time_goes_forward_and_pictures_are_shown_after_they_are_decoded() {
    let mut muxer = muxer();
    h264(&mut muxer, &[&SPS, &PPS, &IDR], u32::MAX - 10).unwrap();
    let back = FrameError::Backwards { kind: TagKind::Video, timestamp: u32::MAX - 11, last: u32::MAX - 10 };
    assert_eq!(h264(&mut muxer, &[&SLICE], u32::MAX - 11), Err(back));
    let tags = muxer.video(VideoKind::H264, &unit(&[&SLICE]), 70, 30).unwrap();
    assert_eq!((tags[0].timestamp, tags[0].video_head().unwrap().composition_time), (30, 40));
    let early = muxer.video(VideoKind::H264, &unit(&[&SLICE]), 39, 40);
    assert_eq!(early, Err(FrameError::Composition { pts: 39, dts: 40 }));
    muxer.restart();
    assert_eq!(h264(&mut muxer, &[&SLICE], 0), Err(FrameError::NotKeyframe));
    assert_eq!(h264(&mut muxer, &[&SPS, &PPS, &IDR], 0).unwrap().len(), 2);
}

#[test]
fn two_pictures_and_too_much_are_refused() {
    let mut muxer = FrameMuxer::new(FrameLimits { max_video: 64, max_nals: 4, max_audio: 8 });
    let two = h264(&mut muxer, &[&SPS, &PPS, &IDR, &[9, 16]], 0);
    assert_eq!(two, Err(FrameError::SecondPicture { offset: 12 + 6 + 8 + 4 }));
    assert_eq!(h264(&mut muxer, &[&SLICE[..]; 5], 0), Err(FrameError::TooManyNals { max: 4 }));
    assert_eq!(h264(&mut muxer, &[&[0x65; 61]], 0), Err(FrameError::TooLong { len: 65, max: 64 }));
    assert_eq!(muxer.g711(G711Law::A, &[1; 9], 0), Err(FrameError::TooLong { len: 9, max: 8 }));
    assert_eq!(muxer.g711(G711Law::A, &[], 0), Err(FrameError::Empty));
    assert_eq!(muxer.aac(&[], 0), Err(FrameError::Empty));
}

#[test]
fn h265_has_codec_id_12_and_three_kinds_of_sets() {
    let mut muxer = muxer();
    let sps = write_sps(0, "010", "11");
    let (pps, cra, slice) = ([0x44, 1, 0xc1], [0x2a, 1, 0xaf], [2, 1, 0xd0]);
    let mut push = |nals: &[&[u8]]| muxer.video(VideoKind::H265, &unit(nals), 0, 0);
    assert_eq!(push(&[&slice]), Err(FrameError::NotKeyframe));
    assert_eq!(push(&[&sps, &pps, &cra]), Err(FrameError::NoParameterSets { missing: SetKind::Vps }));
    let tags = push(&[&[0x46, 1, 0x10], &VPS, &sps, &pps, &cra]).unwrap();
    let heads: Vec<_> = tags.iter().map(|t| t.video_head().unwrap()).collect();
    assert_eq!((heads[0].codec, heads[0].packet), (VideoCodec::Hevc, VideoPacket::SequenceStart));
    assert_eq!((tags[1].body[0], &tags[1].body[5..]), (0x1c, &body(&[&cra])[..]));
    assert_eq!(push(&[&slice]).unwrap()[0].body[..2], [0x2c, 1]);
    assert_eq!(push(&[&[2]]), Err(FrameError::ShortNal { offset: 4 }));
    // Another codec begins like the first one.
    assert_eq!(h264(&mut muxer, &[&SLICE], 1), Err(FrameError::NotKeyframe));
    assert_eq!(h264(&mut muxer, &[&SPS, &PPS, &IDR], 1).unwrap().len(), 2);
}

#[test]
fn raw_aac_needs_its_config_once() {
    let mut muxer = muxer();
    assert_eq!(muxer.aac(&[0x21, 0x10], 0), Err(FrameError::NoAudioConfig));
    muxer.aac_config(&[0x12, 0x10]).unwrap();
    let tags = muxer.aac(&[0x21, 0x10], 0).unwrap();
    assert_eq!(
        (&tags[0].body[..], &tags[1].body[..]),
        (&[0xaf, 0, 0x12, 0x10][..], &[0xaf, 1, 0x21, 0x10][..])
    );
    assert_eq!(muxer.aac(&[0x21, 0x10], 23).unwrap().len(), 1);
    muxer.aac_config(&[0x11, 0x90]).unwrap();
    assert_eq!(muxer.aac(&[0x21, 0x10], 46).unwrap().len(), 2, "another config is news");
    let back = FrameError::Backwards { kind: TagKind::Audio, timestamp: 45, last: 46 };
    assert_eq!(muxer.aac(&[0x21, 0x10], 45), Err(back));
}

#[test]
fn adts_frames_of_one_buffer_follow_each_other_in_time() {
    let mut muxer = muxer();
    let tags = muxer.aac(&adts(&[1, 2]).repeat(3), 100).unwrap();
    let times: Vec<u32> = tags.iter().map(|t| t.timestamp).collect();
    assert_eq!(times, [100, 100, 164, 228]);
    assert_eq!(tags[0].body[..], [0xaf, 0, 0x14, 0x08]);
    assert!(tags[1..].iter().all(|t| t.body[..] == [0xaf, 1, 1, 2]));
}

#[test]
fn g711_is_told_by_its_law() {
    let mut muxer = muxer();
    muxer.aac(&adts(&[1]), 0).unwrap();
    for (law, codec) in [(G711Law::A, AudioCodec::G711A), (G711Law::Mu, AudioCodec::G711U)] {
        let tags = muxer.g711(law, &[0xd5; 160], 20).unwrap();
        let head = tags[0].audio_head().unwrap();
        assert_eq!((head.codec, head.rate, head.channels, head.payload), (codec, 8_000, 1, 1));
        assert_eq!((tags.len(), tags[0].body.len()), (1, 161));
    }
    assert_eq!(muxer.aac(&adts(&[1]), 20).unwrap().len(), 2, "its header comes again after other sound");
}

/// Bytes with many start codes and parameter sets in them.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let sps = write_sps(2, "010", "11");
    let piece = prop_oneof![
        Just(vec![0, 0, 1]),
        Just(unit(&[&SPS])),
        Just(unit(&[&PPS])),
        Just(unit(&[&IDR])),
        Just(unit(&[&VPS])),
        Just(unit(&[&sps])),
        Just(unit(&[&[0x44, 1, 0xc1]])),
        Just(unit(&[&[0x26, 1, 0xaf]])),
        Just(adts(&[1, 2, 3])),
        prop::collection::vec(any::<u8>(), 0..12),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|all| all.concat())
}

proptest! {
    #[test]
    fn any_set_has_a_size_or_none(
        h265: bool,
        head in prop::sample::select(vec![vec![], vec![0x67, 100, 0, 30], vec![0x67, 77, 0, 30], write_sps(0, "010", "11")]),
        rest in prop::collection::vec(any::<u8>(), 0..60),
        len in 0..80_usize,
    ) {
        let mut sps = [head, rest].concat();
        sps.truncate(len);
        if let Ok((width, height)) = picture_size(if h265 { VideoKind::H265 } else { VideoKind::H264 }, &sps) {
            prop_assert!(width > 0 && height > 0);
        }
    }

    #[test]
    fn any_frames_are_answered_and_tags_go_forward_in_time(
        frames in prop::collection::vec((0..6_u8, hostile(), any::<u16>(), any::<bool>()), 0..12),
    ) {
        let mut muxer = muxer();
        let mut last = [0; 2];
        for (kind, data, pts, late) in frames {
            let kind = match kind {
                0 => FrameKind::Video(VideoKind::H264),
                1 => FrameKind::Video(VideoKind::H265),
                2 => FrameKind::AacConfig,
                3 => FrameKind::Aac,
                4 => FrameKind::G711(G711Law::A),
                _ => FrameKind::G711(G711Law::Mu),
            };
            let mut frame = Frame::new(kind, u32::from(pts), data);
            frame.dts -= u32::from(late && pts > 0);
            for tag in muxer.push(&frame).unwrap_or_default() {
                let last = &mut last[usize::from(tag.kind == TagKind::Video)];
                prop_assert!(tag.timestamp >= *last);
                *last = tag.timestamp;
                prop_assert!(tag.video_head().is_ok() || tag.audio_head().is_ok());
            }
        }
    }
}
