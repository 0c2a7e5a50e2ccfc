//! Writing a live stream.

use std::time::Duration;

use xp2p_proto::flv::Tag;

use super::T;
use crate::records::testing::{TempDir, avc, clip, demux, drain, inter, key, mux, place, sound};
use crate::records::{FileKind, Recorder, RecorderConfig, RecordsDir, Storage, is_frame, listing};

const SEGMENT: RecorderConfig = RecorderConfig { cap: 4 << 30, segment: Duration::from_secs(4) };

/// Starts since [`T`] and tags of the files of a channel.
fn files(dir: &TempDir, channel: u32) -> Vec<(u64, Vec<Tag>)> {
    let entries = listing::list(dir.path(), channel, FileKind::Video).unwrap();
    entries.into_iter().map(|e| (e.start - T, demux(std::fs::read(e.path).unwrap()))).collect()
}

fn starts(dir: &TempDir, channel: u32) -> Vec<u64> {
    files(dir, channel).into_iter().map(|(start, _)| start).collect()
}

/// Records tags that come when their timestamps tell.
fn record<'a>(dir: &TempDir, tags: impl IntoIterator<Item = &'a Tag>) {
    let mut recorder = Recorder::new(dir.path(), 0, SEGMENT);
    for tag in tags {
        recorder.push(T + u64::from(tag.timestamp), tag).unwrap();
    }
    recorder.finish().unwrap();
}

#[test]
fn each_file_begins_with_headers_and_a_keyframe_at_time_0() {
    let dir = TempDir::new();
    record(&dir, &clip());
    let files = files(&dir, 0);
    assert_eq!(files.len(), 3); // ten seconds, keyframes every two, segments of four
    for (_, tags) in &files {
        assert!(tags[0].is_metadata() && tags[1].is_sequence_header() && tags[2].is_sequence_header());
        assert!(tags[3].is_keyframe());
        assert!(tags[..4].iter().all(|tag| tag.timestamp == 0));
    }
}

#[test]
fn what_is_recorded_is_played_again_without_loss() {
    let dir = TempDir::new();
    record(&dir, &clip());
    let bodies = |tags: Vec<Tag>| tags.into_iter().filter(is_frame).map(|tag| tag.body).collect::<Vec<_>>();
    let read = drain(
        &mut *RecordsDir::open(dir.path()).unwrap().open_playback(0, T, u64::MAX, None).unwrap().unwrap(),
    );
    let wanted = clip().into_iter().skip_while(|tag| !tag.is_keyframe()).collect();
    assert!(bodies(read.into_iter().map(|r| r.tag).collect()) == bodies(wanted));
}

#[test]
fn nothing_is_written_before_the_first_keyframe() {
    let dir = TempDir::new();
    record(&dir, &[avc(1), inter(0), sound(10), inter(40)]);
    assert!(starts(&dir, 0).is_empty());
}

#[test]
fn the_file_header_tells_the_tracks_that_are_there() {
    let dir = TempDir::new();
    record(&dir, &[sound(0), key(0)]); // the sound came before the file
    record(&dir, &[key(5_000), sound(5_010)]);
    let flags: Vec<u8> = listing::list(dir.path(), 0, FileKind::Video)
        .unwrap()
        .iter()
        .map(|entry| std::fs::read(&entry.path).unwrap()[4])
        .collect();
    assert_eq!(flags, [1, 5]);
}

#[test]
fn a_file_ends_at_the_first_keyframe_after_its_time_only() {
    let dir = TempDir::new();
    record(&dir, &[key(0), key(3_999), inter(4_100), key(5_000), inter(6_000)]);
    let files = files(&dir, 0);
    assert_eq!(files, [(0, vec![key(0), key(3_999), inter(4_100)]), (5_000, files[1].1.clone())]);
    assert_eq!(files[1].1.iter().map(|tag| tag.timestamp).collect::<Vec<_>>(), [0, 1_000]);
}

#[test]
fn a_clock_that_was_set_begins_another_file() {
    let dir = TempDir::new();
    let mut recorder = Recorder::new(dir.path(), 0, SEGMENT);
    recorder.push(T + 100_000, &key(0)).unwrap();
    recorder.push(T + 102_900, &key(1_000)).unwrap(); // within what is borne
    recorder.push(T + 2_000, &inter(1_040)).unwrap();
    recorder.push(T + 2_100, &key(1_100)).unwrap(); // set back
    recorder.push(T + 50_000, &key(1_200)).unwrap(); // set forward
    drop(recorder);
    assert_eq!(starts(&dir, 0), [2_100, 50_000, 100_000]);
}

#[test]
fn a_stream_without_pictures_is_recorded_as_sound_until_a_keyframe_comes() {
    let dir = TempDir::new();
    let mut tags: Vec<Tag> = (0..60).map(|n| sound(n * 100)).collect();
    tags.extend([inter(5_950), key(6_000), sound(6_010)]);
    record(&dir, &tags);
    let files = files(&dir, 0);
    assert_eq!(files.iter().map(|(start, _)| *start).collect::<Vec<_>>(), [4_000, 6_000]);
    assert_eq!(files[0].1.len(), 20);
    assert_eq!(files[1].1.len(), 2);
}

#[test]
fn a_recording_can_be_followed_while_it_is_written() {
    let dir = TempDir::new();
    let mut recorder = Recorder::new(dir.path(), 0, SEGMENT);
    recorder.push(T, &key(0)).unwrap();
    let mut reader =
        RecordsDir::open(dir.path()).unwrap().open_playback(0, T, u64::MAX, None).unwrap().unwrap();
    assert_eq!(drain(&mut *reader).len(), 1);
    // Sound alone, of which little is written at first.
    recorder.push(T + 5_000, &sound(5_000)).unwrap();
    assert_eq!(starts(&dir, 0), [0, 5_000]);
    assert_eq!(drain(&mut *reader).len(), 0);
    recorder.push(T + 5_100, &sound(5_100)).unwrap();
    recorder.finish().unwrap();
    assert_eq!(drain(&mut *reader).iter().map(|r| r.at - T).collect::<Vec<_>>(), [5_000, 5_100]);
}

#[test]
fn a_name_that_is_taken_is_not_written_over() {
    let dir = TempDir::new();
    let taken = place(&dir, T, &[key(7)]);
    record(&dir, &[key(0)]);
    assert_eq!(starts(&dir, 0), [0, 1]);
    assert_eq!(std::fs::read(taken).unwrap(), mux(&[key(7)]));
}

#[test]
fn the_oldest_files_make_room_for_new_ones() {
    let dir = TempDir::new();
    let size = mux(&[key(0)]).len() as u64;
    let config = RecorderConfig { cap: 3 * size, ..SEGMENT };
    let picture = dir.path().join("2000-01-01T00-00-00Z.jpg");
    std::fs::write(&picture, vec![0; 10_000]).unwrap();
    let mut recorder = Recorder::new(dir.path(), 0, config);
    for n in 0..10 {
        recorder.push(T + n * 5_000, &key(n as u32 * 5_000)).unwrap();
    }
    recorder.finish().unwrap();
    assert_eq!(starts(&dir, 0), [35_000, 40_000, 45_000]);
    assert!(picture.exists());
}

#[test]
fn the_newest_file_of_another_channel_stays_but_takes_room() {
    let dir = TempDir::new();
    let size = mux(&[key(0)]).len() as u64;
    let mut other = Recorder::new(dir.path(), 3, SEGMENT);
    for at in [0, 5_000] {
        other.push(T + at, &key(at as u32)).unwrap();
    }
    for at in [10_000, 15_000] {
        place(&dir, T + at, &[key(0)]);
    }
    let mut recorder = Recorder::new(dir.path(), 0, RecorderConfig { cap: 2 * size, ..SEGMENT });
    recorder.push(T + 20_000, &key(0)).unwrap();
    assert_eq!(starts(&dir, 3), [5_000]);
    assert_eq!(starts(&dir, 0), [20_000]);
}

#[test]
fn a_directory_that_cannot_be_written_is_an_error_until_it_can() {
    let dir = TempDir::new();
    let at = dir.path().join("below");
    std::fs::write(&at, b"in the way").unwrap();
    let mut recorder = Recorder::new(&at, 0, SEGMENT);
    recorder.push(T, &key(0)).unwrap_err();
    recorder.push(T + 40, &inter(40)).unwrap();
    recorder.push(u64::MAX, &key(50)).unwrap_err();
    std::fs::remove_file(&at).unwrap();
    recorder.push(u64::MAX, &key(60)).unwrap_err(); // no such time
    recorder.push(T + 80, &key(80)).unwrap();
    recorder.finish().unwrap();
    let storage = RecordsDir::open(&at).unwrap();
    assert_eq!(storage.spans(0, 0, u64::MAX).unwrap()[0].start, T + 80);
}
