use jiff::tz::{TimeZone, offset};

use super::*;
use crate::records::RecordsDir;
use crate::records::testing::{TempDir, inter, key, mux};

/// Recordings of a second with these names.
fn recorded(names: &[&str]) -> (TempDir, RecordsDir) {
    let dir = TempDir::new();
    for name in names {
        std::fs::write(dir.path().join(name), mux(&[key(0), inter(1_000)])).unwrap();
    }
    let storage = RecordsDir::open(dir.path()).unwrap();
    (dir, storage)
}

fn days(storage: &dyn Storage, year: u16, month: u8, zone: &TimeZone) -> Vec<u8> {
    month_mask(storage, 0, YearMonth::new(year, month).unwrap(), zone).unwrap().days().collect()
}

#[test]
fn a_month_begins_and_ends_at_midnight() {
    let (_dir, storage) = recorded(&[
        "2026-10-31T23-59-58.000Z.flv", // over a millisecond before midnight
        "2026-11-01T00-00-00.000Z.flv",
        "2026-11-30T23-59-58.999Z.flv",
        "2026-12-01T00-00-00.000Z.flv",
    ]);
    assert_eq!(days(&storage, 2026, 10, &TimeZone::UTC), [31]);
    assert_eq!(days(&storage, 2026, 11, &TimeZone::UTC), [1, 30]);
    assert_eq!(days(&storage, 2026, 12, &TimeZone::UTC), [1]);
    assert!(days(&storage, 2025, 11, &TimeZone::UTC).is_empty());
}

#[test]
fn a_recording_over_midnight_counts_for_both_days_and_both_months() {
    let (_dir, storage) = recorded(&["2026-12-31T23-59-59.500Z.flv"]);
    assert_eq!(days(&storage, 2026, 12, &TimeZone::UTC), [31]);
    assert_eq!(days(&storage, 2027, 1, &TimeZone::UTC), [1]);
}

#[test]
fn february_has_29_days_in_leap_years_only() {
    let (_dir, storage) = recorded(&[
        "2027-02-28T12-00-00Z.flv",
        "2027-03-01T12-00-00Z.flv",
        "2028-02-29T12-00-00Z.flv",
        "2028-03-01T12-00-00Z.flv",
    ]);
    assert_eq!(days(&storage, 2027, 2, &TimeZone::UTC), [28]);
    assert_eq!(days(&storage, 2027, 3, &TimeZone::UTC), [1]);
    assert_eq!(days(&storage, 2028, 2, &TimeZone::UTC), [29]);
    assert_eq!(days(&storage, 2028, 3, &TimeZone::UTC), [1]);
}

#[test]
fn days_are_those_of_the_clock_on_the_wall() {
    let (_dir, storage) = recorded(&["2026-11-30T20-00-00Z.flv"]);
    assert_eq!(days(&storage, 2026, 12, &TimeZone::fixed(offset(8))), [1]);
    assert!(days(&storage, 2026, 11, &TimeZone::fixed(offset(8))).is_empty());
    assert_eq!(days(&storage, 2026, 11, &TimeZone::fixed(offset(-8))), [30]);
}

#[test]
fn the_first_and_the_last_month_there_can_be_are_answered() {
    let (_dir, storage) = recorded(&["1970-01-01T00-00-00Z.flv"]);
    assert_eq!(days(&storage, 1970, 1, &TimeZone::UTC), [1]);
    for hours in [-12, 0, 12] {
        assert!(days(&storage, 9999, 12, &TimeZone::fixed(offset(hours))).is_empty());
    }
}

#[test]
fn the_record_index_rounds_outward_to_seconds_and_knows_one_kind() {
    let (_dir, storage) = recorded(&["2026-11-24T02-04-30.600Z.flv"]);
    let index = |kind| {
        let (start_time, end_time) = (1_795_485_000, 1_795_486_000);
        let text = list(&storage, 0, BuiltIn::RecordIndex { start_time, end_time, kind }).unwrap();
        RecordIndex::parse(text.as_bytes()).unwrap().video_list
    };
    let entry = RecordEntry { kind: 0, start_time: 1_795_485_870, end_time: 1_795_485_872 };
    assert_eq!(index(None), std::slice::from_ref(&entry));
    assert_eq!(index(Some(0)), [entry]);
    assert_eq!(index(Some(1)), []);
}

#[test]
fn the_file_list_holds_the_type_that_was_asked_for() {
    let (_dir, storage) = recorded(&["2026-11-24T02-04-30Z.flv", "2026-11-24T02-04-30Z.jpg"]);
    let names = |file_type, end_time| {
        let command = BuiltIn::FileList { start_time: 1_795_485_000, end_time, file_type };
        let text = list(&storage, 0, command).unwrap();
        let files = FileList::parse(text.as_bytes()).unwrap().file_list;
        files.into_iter().map(|f| (f.file_type, f.file_name)).collect::<Vec<_>>()
    };
    let video = (FileType::Video.number(), "2026-11-24T02-04-30Z.flv".to_owned());
    let picture = (FileType::Picture.number(), "2026-11-24T02-04-30Z.jpg".to_owned());
    assert_eq!(names(FileType::Video, 1_795_486_000), [video]);
    assert_eq!(names(FileType::Picture, 1_795_486_000), [picture]);
    assert_eq!(names(FileType::Video, 1_795_485_870), []);
    assert_eq!(names(FileType::Picture, 1_795_485_870), []);
}

#[test]
fn other_commands_are_no_listing() {
    let (_dir, storage) = recorded(&[]);
    assert!(!is_listing(&BuiltIn::NvrList));
    assert!(is_listing(&BuiltIn::MonthRecord(YearMonth::new(2026, 11).unwrap())));
    assert_eq!(list(&storage, 0, BuiltIn::NvrList).unwrap_err().kind(), io::ErrorKind::Unsupported);
}
