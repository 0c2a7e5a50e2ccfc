//! What a directory holds.

use super::T;
use crate::records::testing::{TempDir, avc, inter, key, mux, place};
use crate::records::{FileKind, RecordsDir, Span, Storage, listing};

fn names(dir: &TempDir, from: u64, to: u64, kind: FileKind) -> Vec<String> {
    let storage = RecordsDir::open(dir.path()).unwrap();
    storage.files(0, from, to, kind).unwrap().into_iter().map(|file| file.name).collect()
}

#[test]
fn files_are_listed_by_start_with_size_and_seconds_rounded_outward() {
    let dir = TempDir::new();
    place(&dir, T + 5_000, &[key(0), inter(1)]);
    let size = std::fs::metadata(place(&dir, T + 400, &[avc(1), key(0), inter(700)])).unwrap().len();
    let files = RecordsDir::open(dir.path()).unwrap().files(0, T, T + 10_000, FileKind::Video).unwrap();
    let names: Vec<&str> = files.iter().map(|file| &*file.name).collect();
    assert_eq!(names, ["2026-11-24T02-04-30.400Z.flv", "2026-11-24T02-04-35.000Z.flv"]);
    assert_eq!((files[0].size, files[0].start, files[0].end), (size, T / 1000, T / 1000 + 2));
    assert_eq!((files[1].start, files[1].end), (T / 1000 + 5, T / 1000 + 6));
}

#[test]
fn what_is_no_recording_is_passed_over() {
    let dir = TempDir::new();
    let good = place(&dir, T, &[key(0)]);
    place(&dir, T + 1_000, &[]); // nothing but the file header
    let at = |name: &str| dir.path().join(name);
    std::fs::write(at("2026-11-24T02-04-32Z.flv"), b"").unwrap();
    std::fs::write(at("2026-11-24T02-04-33Z.flv"), b"<html>this is not a recording</html>").unwrap();
    std::fs::write(at("2026-11-24T02-04-34Z.flv"), &mux(&[key(0)])[..30]).unwrap();
    std::fs::write(at("notes.flv"), mux(&[key(0)])).unwrap();
    std::fs::create_dir(at("2026-11-24T02-04-35Z.flv")).unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink(&good, at("2026-11-24T02-04-36Z.flv")).unwrap();
    assert_eq!(names(&dir, 0, u64::MAX, FileKind::Video), [good.file_name().unwrap().to_str().unwrap()]);
    let spans = RecordsDir::open(dir.path()).unwrap().spans(0, 0, u64::MAX).unwrap();
    assert_eq!(spans, [Span { kind: 0, start: T, end: T }]);
}

#[test]
fn a_cut_file_is_listed_up_to_its_last_whole_frame() {
    let dir = TempDir::new();
    let path = place(&dir, T, &[key(0), inter(1_000), inter(5_000)]);
    let len = std::fs::metadata(&path).unwrap().len();
    std::fs::OpenOptions::new().write(true).open(path).unwrap().set_len(len - 10).unwrap();
    let spans = RecordsDir::open(dir.path()).unwrap().spans(0, T, T + 1).unwrap();
    assert_eq!(spans, [Span { kind: 0, start: T, end: T + 1_000 }]);
}

#[test]
fn a_range_has_its_start_but_not_its_end() {
    let dir = TempDir::new();
    place(&dir, T, &[key(0), inter(1_000)]);
    let count = |from, to| names(&dir, from, to, FileKind::Video).len();
    assert_eq!(count(T + 1_000, T + 2_000), 1);
    assert_eq!(count(T + 1_001, T + 2_000), 0);
    assert_eq!(count(T - 1_000, T), 0);
    assert_eq!(count(T - 1_000, T + 1), 1);
    assert_eq!(count(T + 400, T + 500), 1);
}

#[test]
fn an_empty_range_holds_nothing() {
    let dir = TempDir::new();
    place(&dir, T, &[key(0), inter(1_000)]);
    let storage = RecordsDir::open(dir.path()).unwrap();
    for (from, to) in [(T + 500, T + 500), (T + 700, T + 300)] {
        assert_eq!(storage.spans(0, from, to).unwrap(), []);
        assert_eq!(storage.files(0, from, to, FileKind::Video).unwrap(), []);
        assert!(storage.open_playback(0, from, to, None).unwrap().is_none());
    }
}

#[test]
fn files_within_a_second_of_each_other_are_one_span() {
    let dir = TempDir::new();
    place(&dir, T, &[key(0), inter(1_000)]);
    place(&dir, T + 2_000, &[key(0), inter(1_000)]);
    place(&dir, T + 4_001, &[key(0)]);
    let spans = RecordsDir::open(dir.path()).unwrap().spans(0, T, T + 60_000).unwrap();
    let span = |start, end| Span { kind: 0, start: T + start, end: T + end };
    assert_eq!(spans, [span(0, 3_000), span(4_001, 4_001)]);
}

#[test]
fn pictures_are_listed_apart_and_by_time() {
    let dir = TempDir::new();
    place(&dir, T, &[key(0)]);
    for name in ["2026-11-24T02-04-30Z.jpg", "2026-11-24T02-04-31Z.PNG", "2026-11-24T02-04-32Z.jpeg"] {
        std::fs::write(dir.path().join(name), b"picture").unwrap();
    }
    let found = names(&dir, T, T + 2_000, FileKind::Picture);
    assert_eq!(found, ["2026-11-24T02-04-30Z.jpg", "2026-11-24T02-04-31Z.PNG"]);
    let files = RecordsDir::open(dir.path()).unwrap().files(0, T, T + 1, FileKind::Picture).unwrap();
    assert_eq!((files[0].size, files[0].start, files[0].end), (7, T / 1000, T / 1000));
    assert_eq!(names(&dir, T, T + 2_000, FileKind::Video), ["2026-11-24T02-04-30.000Z.flv"]);
}

#[test]
fn each_channel_has_its_own_directory() {
    let dir = TempDir::new();
    for sub in ["ch1", "ch12", "ch01", "ch+3", "ch0", "chx", "ch4294967296"] {
        std::fs::create_dir(dir.path().join(sub)).unwrap();
    }
    std::fs::write(dir.path().join("ch7"), b"no directory").unwrap();
    std::fs::write(dir.path().join("ch1/2026-11-24T02-04-30Z.flv"), mux(&[key(0)])).unwrap();
    assert_eq!(listing::channels(dir.path()).unwrap(), [0, 1, 12]);
    let storage = RecordsDir::open(dir.path()).unwrap();
    let spans = |channel| storage.spans(channel, 0, u64::MAX).unwrap().len();
    assert_eq!([0, 1, 2, 7, 12].map(spans), [0, 1, 0, 0, 0]);
}

#[test]
fn a_directory_that_is_none_or_goes_away_is_an_error() {
    let dir = TempDir::new();
    let error = RecordsDir::open(&dir.path().join("missing")).unwrap_err();
    assert!(error.to_string().contains("missing"), "{error}");
    let file = place(&dir, T, &[key(0)]);
    RecordsDir::open(&file).unwrap_err();
    let storage = RecordsDir::open(dir.path()).unwrap();
    std::fs::remove_dir_all(dir.path()).unwrap();
    storage.spans(0, 0, u64::MAX).unwrap_err();
    assert_eq!(storage.spans(1, 0, u64::MAX).unwrap(), []);
}

#[test]
fn a_playback_of_a_kind_finds_what_the_index_lists_under_it() {
    let dir = TempDir::new();
    place(&dir, T, &[key(0), inter(1_000)]);
    let storage = RecordsDir::open(dir.path()).unwrap();
    let listed = |kind: i64| storage.spans(0, T, T + 1_000).unwrap().iter().any(|span| span.kind == kind);
    for kind in [-1, 0, 1, i64::MAX] {
        let opened = storage.open_playback(0, T, T + 1_000, Some(kind)).unwrap();
        assert_eq!(opened.is_some(), listed(kind), "{kind}");
    }
    assert!(listed(0) && !listed(1));
}
