//! Going to a time.

use super::T;
use crate::records::testing::{TempDir, avc, clip, drain, inter, key, place, sound};
use crate::records::{RecordReader, RecordsDir, Storage, is_frame};

/// Two files of four seconds with a gap of six between, keyframes every two.
fn two_files() -> TempDir {
    let dir = TempDir::new();
    for start in [T, T + 10_000] {
        place(&dir, start, &[avc(1), key(0), inter(1_000), key(2_000), inter(3_000), inter(4_000)]);
    }
    dir
}

fn play(dir: &TempDir, from: u64, to: u64) -> Box<dyn RecordReader> {
    RecordsDir::open(dir.path()).unwrap().open_playback(0, from, to, None).unwrap().unwrap()
}

/// Time since [`T`] of the first frame after a seek.
fn first(reader: &mut dyn RecordReader, at: u64) -> Option<u64> {
    reader.seek(at).unwrap();
    drain(reader).iter().find(|r| is_frame(&r.tag)).map(|r| r.at - T)
}

#[test]
fn a_seek_goes_to_the_keyframe_at_or_before() {
    let dir = two_files();
    let mut reader = play(&dir, T, u64::MAX);
    for (at, wanted) in
        [(0, 0), (1_999, 0), (2_000, 2_000), (4_000, 2_000), (11_000, 10_000), (13_000, 12_000)]
    {
        assert_eq!(first(&mut *reader, T + at), Some(wanted), "{at}");
    }
}

#[test]
fn after_a_seek_headers_come_first_with_the_time_of_the_keyframe() {
    let dir = two_files();
    let mut reader = play(&dir, T, u64::MAX);
    reader.seek(T + 3_000).unwrap();
    let read = reader.read(false).unwrap();
    assert_eq!(read[0].tag.body, avc(1).body);
    assert_eq!((read[0].at, read[0].tag.timestamp), (T + 2_000, 2_000));
    assert_eq!(read[1].tag, key(2_000));
}

#[test]
fn headers_that_changed_within_a_file_are_those_valid_at_the_keyframe() {
    let dir = TempDir::new();
    place(&dir, T, &[avc(1), key(0), avc(2), key(2_000), key(4_000), avc(3), inter(6_000)]);
    let mut reader = play(&dir, T, u64::MAX);
    for (at, mark) in [(1_000, 1), (3_000, 2), (5_000, 2)] {
        reader.seek(T + at).unwrap();
        assert_eq!(reader.read(false).unwrap()[0].tag.body, avc(mark).body, "{at}");
    }
}

#[test]
fn before_the_first_recording_a_seek_goes_to_its_start() {
    let dir = two_files();
    assert_eq!(first(&mut *play(&dir, T - 60_000, u64::MAX), 0), Some(0));
    assert_eq!(first(&mut *play(&dir, T - 60_000, u64::MAX), T - 1), Some(0));
}

#[test]
fn in_a_gap_a_seek_goes_to_what_follows() {
    let dir = two_files();
    assert_eq!(first(&mut *play(&dir, T, u64::MAX), T + 4_001), Some(10_000));
    assert_eq!(first(&mut *play(&dir, T + 5_000, u64::MAX), T + 9_999), Some(10_000));
}

#[test]
fn after_the_last_recording_there_is_nothing_until_more_is_recorded() {
    let dir = two_files();
    let mut reader = play(&dir, T, u64::MAX);
    assert_eq!(first(&mut *reader, T + 14_001), None);
    place(&dir, T + 20_000, &[key(0)]);
    assert_eq!(drain(&mut *reader)[0].at, T + 20_000);
    assert_eq!(first(&mut *reader, u64::MAX), None);
}

#[test]
fn a_seek_stays_within_the_range() {
    let dir = two_files();
    let mut reader = play(&dir, T + 2_500, T + 12_000);
    assert_eq!(first(&mut *reader, 0), Some(2_000)); // the picture at the start needs it
    assert_eq!(first(&mut *reader, T + 11_999), Some(10_000));
    assert_eq!(first(&mut *reader, T + 12_000), None);
    assert_eq!(first(&mut *reader, T + 10_000), Some(10_000)); // and back again
}

#[test]
fn where_nothing_was_recorded_nothing_is_opened() {
    let dir = two_files();
    let storage = RecordsDir::open(dir.path()).unwrap();
    for (from, to) in [(0, T), (T + 4_001, T + 10_000), (T + 14_001, u64::MAX)] {
        assert!(storage.open_playback(0, from, to, None).unwrap().is_none());
    }
    assert!(storage.open_playback(1, 0, u64::MAX, None).unwrap().is_none());
}

#[test]
fn without_a_keyframe_before_the_first_one_after_serves() {
    let dir = TempDir::new();
    place(&dir, T, &[inter(0), sound(10), inter(40), key(80), inter(120)]);
    assert_eq!(first(&mut *play(&dir, T, u64::MAX), T + 20), Some(80));
}

#[test]
fn sound_alone_can_be_entered_anywhere() {
    let dir = TempDir::new();
    let tags: Vec<_> = (0..200).map(|n| sound(n * 20)).collect();
    place(&dir, T, &tags);
    assert_eq!(first(&mut *play(&dir, T, u64::MAX), T + 2_030), Some(2_020));
}

#[test]
fn of_files_that_overlap_the_later_one_is_entered() {
    let dir = TempDir::new();
    place(&dir, T, &[key(0), key(5_000), inter(9_000)]);
    place(&dir, T + 4_000, &[key(0), inter(3_000)]);
    let mut reader = play(&dir, T, u64::MAX);
    assert_eq!(first(&mut *reader, T + 6_000), Some(4_000));
    assert_eq!(first(&mut *reader, T + 8_000), Some(5_000));
}

#[test]
fn a_file_removed_since_is_passed_over() {
    let dir = two_files();
    let mut reader = play(&dir, T, u64::MAX);
    std::fs::remove_file(dir.path().join("2026-11-24T02-04-30.000Z.flv")).unwrap();
    assert_eq!(first(&mut *reader, T + 1_000), Some(10_000));
}

#[test]
fn a_real_recording_is_entered_at_each_of_its_keyframes() {
    let dir = TempDir::new();
    place(&dir, T, &clip());
    let base = u64::from(clip().iter().find(|tag| is_frame(tag)).unwrap().timestamp);
    let mut reader = play(&dir, T, u64::MAX);
    let keys: Vec<u64> =
        clip().iter().filter(|t| t.is_keyframe()).map(|t| u64::from(t.timestamp) - base).collect();
    assert_eq!(keys.len(), 5);
    for key in keys {
        reader.seek(T + key + 500).unwrap();
        let read = reader.read(false).unwrap();
        assert!(read[0].tag.is_metadata());
        let frame = read.iter().find(|r| is_frame(&r.tag)).unwrap();
        assert!(frame.tag.is_keyframe());
        assert_eq!(frame.at, T + key);
    }
}
