//! Lengths and keyframes of single files.

use proptest::prelude::*;
use xp2p_proto::flv::Tag;

use super::T;
use crate::records::cache::{Cache, open};
use crate::records::index::{MAX_POINTS, elapsed};
use crate::records::testing::{TempDir, avc, clip, inter, key, mux, place, sound};

/// Time of the place to start at or before `at`, looked for with a new cache.
fn found(dir: &TempDir, tags: &[Tag], at: u64) -> Option<u64> {
    let path = place(dir, T, tags);
    let index = Cache::default().index(&path, Some(at)).unwrap().unwrap();
    let mut file = open(&path, 4096).unwrap().unwrap();
    index.find(&mut file, at).unwrap().map(|point| point.elapsed)
}

#[test]
fn the_length_is_from_the_first_to_the_last_frame() {
    let dir = TempDir::new();
    let length = |tags: &[Tag]| Cache::default().length(&place(&dir, T, tags)).unwrap().map(|(_, ms)| ms);
    assert_eq!(length(&[avc(1), key(500), inter(900)]), Some(400));
    assert_eq!(length(&[key(0xffff_ff00), inter(0x100)]), Some(0x200)); // the 32 bits wrap
    assert_eq!(length(&[key(7)]), Some(0));
    assert_eq!(length(&[avc(1)]), None);
    assert_eq!(length(&[]), None);
    assert_eq!(length(&[&[key(0), inter(40)][..], &vec![avc(1); 100]].concat()), Some(40));
}

#[test]
fn a_small_step_back_is_not_49_days() {
    assert_eq!(elapsed(1_000, 960), 0);
    assert_eq!(elapsed(0, 0xefff_ffff), 0xefff_ffff);
}

#[test]
fn a_file_cut_anywhere_has_its_whole_frames_only() {
    let dir = TempDir::new();
    let tags = [avc(1), key(0), inter(40), key(80), inter(120)];
    let path = place(&dir, T, &tags);
    let bytes = std::fs::read(&path).unwrap();
    let cache = Cache::default();
    for cut in (0..=bytes.len()).rev() {
        std::fs::write(&path, &bytes[..cut]).unwrap();
        // A tag counts once all of it is there, with or without the length behind it.
        let whole = (0..=tags.len()).rev().find(|n| mux(&tags[..*n]).len() <= cut + 4).unwrap_or(0);
        let wanted = tags[..whole].iter().skip(1).next_back().map(|tag| u64::from(tag.timestamp));
        assert_eq!(cache.length(&path).unwrap().map(|(_, ms)| ms), wanted, "cut at {cut}");
    }
}

#[test]
fn what_grew_is_read_on_and_what_was_exchanged_is_read_anew() {
    let dir = TempDir::new();
    let path = place(&dir, T, &[key(0), inter(40)]);
    let cache = Cache::default();
    let last = || cache.index(&path, None).unwrap().unwrap().last();
    assert_eq!(last(), Some(40));
    place(&dir, T, &[key(0), inter(40), key(80)]);
    assert_eq!(last(), Some(80));
    place(&dir, T, &[key(500), inter(510), inter(520), inter(530)]);
    assert_eq!(last(), Some(30));
    std::fs::remove_file(&path).unwrap();
    assert!(cache.index(&path, None).unwrap().is_none());
    assert!(cache.length(&path).unwrap().is_none());
}

#[test]
fn more_keyframes_than_are_remembered_are_found_all_the_same() {
    let dir = TempDir::new();
    let count = MAX_POINTS as u32 + 100;
    let tags: Vec<Tag> = (0..count).map(|n| key(n * 1_000)).collect();
    for n in [0, 1, 2, 3, 2_001, u64::from(count) - 1] {
        assert_eq!(found(&dir, &tags, n * 1_000 + 999), Some(n * 1_000));
    }
}

#[test]
fn sound_serves_only_where_there_is_no_picture() {
    let dir = TempDir::new();
    assert_eq!(found(&dir, &[sound(0), sound(20), sound(40)], 30), Some(20));
    assert_eq!(found(&dir, &[sound(0), sound(20), key(40), sound(60)], 30), Some(40));
    assert_eq!(found(&dir, &[inter(0), inter(40)], 30), None);
}

#[test]
fn headers_valid_at_a_keyframe_are_found_with_it() {
    let dir = TempDir::new();
    let path = place(&dir, T, &clip());
    let index = Cache::default().index(&path, None).unwrap().unwrap();
    let mut file = open(&path, 4096).unwrap().unwrap();
    let point = index.find(&mut file, 5_000).unwrap().unwrap();
    let kinds = point.config.map(|at| file.tag(at).unwrap().unwrap().0);
    assert!(kinds[0].is_metadata() && kinds[1].is_sequence_header() && kinds[2].is_sequence_header());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_keyframe_at_or_before_any_time_is_found(
        steps in prop::collection::vec((0_u32..1_500, any::<bool>()), 1..60),
        base: u32,
        at in 0_u64..60_000,
    ) {
        let (mut time, mut tags, mut keys) = (0, vec![avc(1), key(base)], vec![0]);
        for (step, is_key) in steps {
            time += step;
            let timestamp = base.wrapping_add(time);
            tags.push(if is_key { key(timestamp) } else { inter(timestamp) });
            keys.extend(is_key.then_some(u64::from(time)));
        }
        let wanted = keys.into_iter().rfind(|key| *key <= at);
        prop_assert_eq!(found(&TempDir::new(), &tags, at), wanted);
    }

    #[test]
    fn no_damage_panics(at in 0_usize..1_500, with: u8, seek in 0_u64..2_000) {
        let dir = TempDir::new();
        let path = place(&dir, T, &[avc(1), key(0), inter(40), sound(50), key(1_000), inter(1_040)]);
        let mut bytes = std::fs::read(&path).unwrap();
        let at = at % bytes.len();
        bytes[at] = with;
        std::fs::write(&path, bytes).unwrap();
        let cache = Cache::default();
        cache.length(&path).unwrap();
        if let Some(index) = cache.index(&path, Some(seek)).unwrap() {
            index.find(&mut open(&path, 64).unwrap().unwrap(), seek).unwrap();
        }
    }
}
