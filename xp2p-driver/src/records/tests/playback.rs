//! Reading a range from its start to its end.

use xp2p_proto::flv::Tag;

use super::T;
use crate::records::testing::{TempDir, avc, clip, drain, inter, key, mux, pieces, place, sound};
use crate::records::{PIECE_BYTES, PIECE_MS, RecordReader, Recorded, RecordsDir, Storage, is_frame};

fn play(dir: &TempDir, from: u64, to: u64) -> Box<dyn RecordReader> {
    RecordsDir::open(dir.path()).unwrap().open_playback(0, from, to, None).unwrap().unwrap()
}

/// Times of frames since [`T`].
fn frames(read: &[Recorded]) -> Vec<u64> {
    read.iter().filter(|r| is_frame(&r.tag)).map(|r| r.at - T).collect()
}

fn two_seconds() -> [Tag; 5] {
    [avc(1), key(0), inter(500), key(1_000), inter(1_500)]
}

#[test]
fn files_follow_each_other_in_order_with_times_that_go_on() {
    let dir = TempDir::new();
    place(&dir, T + 2_000, &two_seconds());
    place(&dir, T, &two_seconds());
    let read = drain(&mut *play(&dir, T, T + 60_000));
    let starts = [T, T + 2_000].into_iter();
    let wanted: Vec<Recorded> = starts
        .flat_map(|start| two_seconds().map(|tag| Recorded { at: start + u64::from(tag.timestamp), tag }))
        .collect();
    assert_eq!(read, wanted);
}

#[test]
fn a_real_recording_is_read_tag_by_tag_from_its_first_keyframe() {
    let dir = TempDir::new();
    place(&dir, T, &clip());
    let read = drain(&mut *play(&dir, T, u64::MAX)).into_iter().map(|r| r.tag);
    // Headers come with the time of the first keyframe; the sound before it is left out.
    let tags = clip();
    let (before, from_key) = tags.split_at(tags.iter().position(Tag::is_keyframe).unwrap());
    let headers = before.iter().filter(|tag| !is_frame(tag));
    let headers = headers.map(|tag| Tag { timestamp: from_key[0].timestamp, ..tag.clone() });
    let wanted = headers.chain(from_key.iter().cloned());
    assert!(read.eq(wanted)); // too long to be shown
}

#[test]
fn the_end_of_the_range_is_not_played() {
    let dir = TempDir::new();
    place(&dir, T, &two_seconds());
    place(&dir, T + 2_000, &two_seconds());
    assert_eq!(frames(&drain(&mut *play(&dir, T, T + 1_000))), [0, 500]);
    assert_eq!(frames(&drain(&mut *play(&dir, T, T + 1_001))), [0, 500, 1_000]);
    assert_eq!(frames(&drain(&mut *play(&dir, T, T + 2_001))), [0, 500, 1_000, 1_500, 2_000]);
}

#[test]
fn pieces_end_after_a_second_or_when_they_are_large() {
    let dir = TempDir::new();
    let big = |timestamp| Tag {
        body: [&[0x27, 1, 0, 0, 0][..], &[7; 100_000]].concat().into(),
        ..inter(timestamp)
    };
    place(&dir, T, &[key(0), inter(999), inter(1_000), big(1_100), big(1_200), big(1_300), big(1_400)]);
    let pieces = pieces(&mut *play(&dir, T, u64::MAX), false);
    assert_eq!(pieces.iter().map(Vec::len).collect::<Vec<_>>(), [2, 4, 1]);
    for piece in pieces {
        assert!(piece[piece.len() - 1].at < piece[0].at + PIECE_MS);
        let (_, all_but_last) = piece.split_last().unwrap();
        assert!(all_but_last.iter().map(|r| r.tag.wire_len()).sum::<usize>() < PIECE_BYTES);
    }
}

#[test]
fn keys_only_gives_headers_and_keyframes() {
    let dir = TempDir::new();
    place(&dir, T, &[avc(1), key(0), sound(20), inter(500), key(1_000), inter(1_500), avc(2)]);
    place(&dir, T + 2_000, &two_seconds());
    let read = pieces(&mut *play(&dir, T, u64::MAX), true).concat();
    assert!(read.iter().all(|r| r.tag.is_keyframe() || r.tag.is_sequence_header()));
    assert_eq!(frames(&read), [0, 1_000, 2_000, 3_000]);
    assert_eq!(read.len(), 4 + 3);
}

#[test]
fn all_tags_after_keys_only_go_on_behind_the_last_keyframe() {
    let dir = TempDir::new();
    place(&dir, T, &[key(0), inter(500), key(1_000), inter(1_500), inter(1_600)]);
    let mut reader = play(&dir, T, u64::MAX);
    assert_eq!(frames(&reader.read(true).unwrap()), [0]);
    assert_eq!(frames(&reader.read(true).unwrap()), [1_000]);
    assert!(frames(&reader.read(true).unwrap()).is_empty());
    assert_eq!(frames(&drain(&mut *reader)), [1_500, 1_600]);
}

#[test]
fn a_file_that_grows_is_read_on_at_whole_tags() {
    let dir = TempDir::new();
    let tags = [key(0), inter(40), key(80), inter(120)];
    let path = place(&dir, T, &tags[..1]);
    let mut reader = play(&dir, T, u64::MAX);
    assert_eq!(frames(&drain(&mut *reader)), [0]);
    let bytes = mux(&tags);
    std::fs::write(&path, &bytes[..bytes.len() - 10]).unwrap();
    assert_eq!(frames(&drain(&mut *reader)), [40, 80]);
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(frames(&drain(&mut *reader)), [120]);
    place(&dir, T + 1_000, &tags);
    assert_eq!(frames(&drain(&mut *reader)), [1_000, 1_040, 1_080, 1_120]);
}

#[test]
fn a_file_that_is_just_being_begun_is_not_passed_over() {
    let dir = TempDir::new();
    place(&dir, T, &[key(0)]);
    let mut reader = play(&dir, T, u64::MAX);
    let path = place(&dir, T + 1_000, &[]);
    std::fs::write(&path, b"").unwrap();
    assert_eq!(frames(&drain(&mut *reader)), [0]);
    place(&dir, T + 1_000, &[key(0)]);
    assert_eq!(frames(&drain(&mut *reader)), [1_000]);
}

#[test]
fn an_empty_or_foreign_file_among_others_does_not_stop_playback() {
    let dir = TempDir::new();
    place(&dir, T, &[key(0)]);
    std::fs::write(place(&dir, T + 1_000, &[]), b"").unwrap();
    std::fs::write(place(&dir, T + 2_000, &[]), b"not at all a recording").unwrap();
    place(&dir, T + 3_000, &[key(0)]);
    assert_eq!(frames(&drain(&mut *play(&dir, T, u64::MAX))), [0, 3_000]);
}

#[test]
fn damage_ends_a_file_and_the_next_one_is_played() {
    let dir = TempDir::new();
    let path = place(&dir, T, &[key(0), inter(40), inter(80)]);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[mux(&[key(0)]).len()] = 0xff; // the type of the second tag
    std::fs::write(&path, bytes).unwrap();
    place(&dir, T + 1_000, &[key(0)]);
    assert_eq!(frames(&drain(&mut *play(&dir, T, u64::MAX))), [0, 1_000]);
}

#[test]
fn a_file_removed_or_cut_while_it_is_read_does_not_stop_playback() {
    let dir = TempDir::new();
    let paths: Vec<_> = (0..4_u64).map(|n| place(&dir, T + n * 2_000, &two_seconds())).collect();
    let mut reader = play(&dir, T, u64::MAX);
    assert_eq!(frames(&reader.read(false).unwrap()), [0, 500]);
    std::fs::OpenOptions::new().write(true).open(&paths[0]).unwrap().set_len(40).unwrap();
    std::fs::remove_file(&paths[1]).unwrap();
    assert_eq!(frames(&reader.read(false).unwrap()), [4_000, 4_500]);
    std::fs::remove_file(&paths[2]).unwrap();
    let rest = frames(&drain(&mut *reader));
    assert!(rest.ends_with(&[6_000, 6_500, 7_000, 7_500]), "{rest:?}");
}

#[test]
fn a_directory_removed_while_it_is_read_is_an_error() {
    let dir = TempDir::new();
    place(&dir, T, &[key(0)]);
    let mut reader = play(&dir, T, u64::MAX);
    assert_eq!(frames(&reader.read(false).unwrap()), [0]);
    std::fs::remove_dir_all(dir.path()).unwrap();
    reader.read(false).unwrap_err();
    reader.seek(T).unwrap_err();
}
