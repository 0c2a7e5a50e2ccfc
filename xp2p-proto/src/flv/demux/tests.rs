use proptest::prelude::*;

use super::*;
use crate::flv::testing::{aac_config, avc_config, cut, inter, key, metadata, mux, pieces, sound, tag, tags};
use crate::flv::{AudioCodec, AudioPacket, VideoCodec, VideoPacket};

static CLIP: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/clip.flv"));

const FILE: Item = Item::Header(FileHeader { has_audio: true, has_video: true });

fn strict() -> Limits {
    Limits { strict: true, ..Limits::default() }
}

/// Everything that a demuxer tells about an input.
#[derive(Debug, PartialEq)]
struct Outcome {
    items: Vec<Item>,
    end: Result<(), FlvError>,
    skipped: u64,
    searches: u64,
    wrong_sizes: u64,
    offset: u64,
}

impl Outcome {
    fn tags(&self) -> Vec<Tag> {
        let tag = |item: &Item| match item {
            Item::Tag(tag) => Some(tag.clone()),
            Item::Header(_) => None,
        };
        self.items.iter().filter_map(tag).collect()
    }
}

fn drain(demuxer: &mut Demuxer, items: &mut Vec<Item>) -> Result<(), FlvError> {
    while let Some(item) = demuxer.poll()? {
        items.push(item);
    }
    Ok(())
}

fn read_pieces(limits: Limits, pieces: impl IntoIterator<Item = Bytes>) -> Outcome {
    let mut demuxer = Demuxer::new(limits);
    let mut items = Vec::new();
    let all = || {
        for piece in pieces {
            demuxer.push(piece)?;
            drain(&mut demuxer, &mut items)?;
        }
        demuxer.finish()?;
        drain(&mut demuxer, &mut items)?;
        demuxer.finish()
    };
    let end = all();
    if let Err(error) = end {
        assert_eq!(demuxer.poll(), Err(error), "an error is returned again");
        assert_eq!(demuxer.push(Bytes::from_static(b"x")), Err(error));
        assert_eq!(demuxer.finish(), Err(error));
    }
    Outcome {
        items,
        end,
        skipped: demuxer.skipped(),
        searches: demuxer.searches(),
        wrong_sizes: demuxer.wrong_sizes(),
        offset: demuxer.offset(),
    }
}

fn read(limits: Limits, input: &[u8]) -> Outcome {
    read_pieces(limits, [Bytes::copy_from_slice(input)])
}

/// A small film: 13 bytes of header, then metadata, configuration and three media tags.
fn film() -> Vec<Tag> {
    vec![metadata(0, 1), avc_config(0, 1), aac_config(0, 1), key(0, 300), sound(10), inter(40, 700)]
}

/// Where the tag with this index begins.
fn at(tags: &[Tag], index: usize) -> usize {
    13 + tags[..index].iter().map(|t| t.wire_len() + 4).sum::<usize>()
}

#[test]
fn the_clip_has_the_tags_that_ffprobe_counts() {
    let outcome = read(strict(), CLIP);
    assert_eq!(outcome.end, Ok(()));
    assert_eq!(outcome.offset, CLIP.len() as u64);
    assert_eq!(outcome.items[0], FILE);
    let tags = outcome.tags();
    let count = |f: &dyn Fn(&Tag) -> bool| tags.iter().filter(|t| f(t)).count();
    let pictures = count(&|t| t.video_head().is_ok_and(|h| h.packet == VideoPacket::CodedFrames));
    assert_eq!(pictures, 250);
    assert_eq!(count(&Tag::is_keyframe), 5);
    assert_eq!(count(&|t| t.kind == TagKind::Video && t.is_sequence_header()), 1);
    assert_eq!(count(&|t| t.kind == TagKind::Audio && t.is_sequence_header()), 1);
    assert_eq!(count(&|t| t.audio_head().is_ok_and(|h| h.packet == AudioPacket::CodedFrames)), 470);
    assert_eq!(count(&Tag::is_metadata), 1);
    assert!(tags[0].is_metadata());
    for tag in &tags {
        match tag.kind {
            TagKind::Video => {
                let head = tag.video_head().unwrap();
                assert_eq!((head.codec, head.composition_time), (VideoCodec::Avc, 0), "no B-frames");
            }
            TagKind::Audio => assert_eq!(tag.audio_head().unwrap().codec, AudioCodec::Aac),
            TagKind::Script => {}
        }
    }
    let keys: Vec<u32> = tags.iter().filter(|t| t.is_keyframe()).map(|t| t.timestamp).collect();
    assert!(keys.windows(2).all(|w| w[1] - w[0] == 2000), "{keys:?}");
}

#[test]
fn the_clip_can_be_written_again_byte_for_byte() {
    let tags = read(strict(), CLIP).tags();
    assert!(mux(&tags) == CLIP, "the written file differs");
}

#[test]
fn the_clip_in_single_bytes_gives_the_same_tags() {
    let start = &CLIP[..20_000];
    let whole = read(Limits::default(), start);
    assert_eq!(read_pieces(Limits::default(), cut(start, &[1])), whole);
    assert!(whole.items.len() > 10);
}

#[test]
fn a_body_in_one_chunk_is_a_slice_of_it() {
    let input = Bytes::from(mux(&film()));
    let chunk = input.as_ptr_range();
    let outcome = read_pieces(strict(), [input.clone()]);
    assert_eq!(outcome.tags(), film());
    for tag in outcome.tags() {
        let body = tag.body.as_ptr_range();
        assert!(chunk.contains(&body.start) && body.end <= chunk.end, "copied: {tag:?}");
    }
}

#[test]
fn a_body_in_two_chunks_is_whole() {
    let input = mux(&[key(0, 4000)]);
    let outcome = read_pieces(strict(), cut(&input, &[1500]));
    assert_eq!(outcome.tags(), [key(0, 4000)]);
}

#[test]
fn empty_tags_are_tags() {
    let film = [tag(TagKind::Audio, 7, &[]), tag(TagKind::Video, 8, &[]), tag(TagKind::Script, 9, &[])];
    for pieces in [&[1][..], &[1000]] {
        let outcome = read_pieces(strict(), cut(&mux(&film), pieces));
        assert_eq!((outcome.end, outcome.tags()), (Ok(()), film.to_vec()));
    }
}

#[test]
fn a_file_of_a_header_only_is_empty() {
    assert_eq!(read(strict(), &mux(&[])).items, [FILE]);
    assert_eq!(read(strict(), &mux(&[])).end, Ok(()));
    // Some writers leave even the first repeated length to the first tag.
    assert_eq!(read(Limits::default(), &mux(&[])[..9]).end, Ok(()));
    assert_eq!(
        read(strict(), &mux(&[])[..9]).end,
        Err(FlvError::Truncated { offset: 9, missing: 4 }),
        "strict readers want it"
    );
}

#[test]
fn the_header_flags_are_told() {
    for (flags, has_audio, has_video) in
        [(0, false, false), (1, false, true), (4, true, false), (5, true, true)]
    {
        let mut input = mux(&[]);
        input[4] = flags;
        assert_eq!(read(strict(), &input).items, [Item::Header(FileHeader { has_audio, has_video })]);
    }
}

#[test]
fn what_is_not_flv_is_refused_at_its_third_byte() {
    let refused = Err(FlvError::NotFlv { found: *b"HTT" });
    assert_eq!(read(Limits::default(), b"HTTP/1.1 404 Not Found").end, refused);
    let mut demuxer = Demuxer::new(Limits::default());
    demuxer.push(Bytes::from_static(b"HT")).unwrap();
    assert_eq!(demuxer.poll(), Ok(None));
    demuxer.push(Bytes::from_static(b"T")).unwrap();
    assert_eq!(demuxer.poll().map(|_| ()), refused);
}

#[test]
fn other_versions_are_refused() {
    let mut input = mux(&film());
    for version in [0, 2, 255] {
        input[3] = version;
        assert_eq!(read(Limits::default(), &input).end, Err(FlvError::Version { version }));
    }
}

#[test]
fn a_longer_file_header_is_skipped_and_a_wrong_length_refused() {
    for extra in [1_usize, 500, MAX_DATA_OFFSET as usize - 9] {
        let mut input = mux(&film());
        input[5..9].copy_from_slice(&(9 + extra as u32).to_be_bytes());
        input.splice(9..9, vec![9; extra]);
        for pieces in [&[1][..], &[100_000]] {
            let outcome = read_pieces(strict(), cut(&input, pieces));
            assert_eq!((outcome.end, outcome.tags()), (Ok(()), film()));
        }
        let short = read(Limits::default(), &input[..9 + extra - 1]);
        assert_eq!(short.end, Err(FlvError::Truncated { offset: 8 + extra as u64, missing: 5 }));
    }
    for found in [0, 8, MAX_DATA_OFFSET + 1, u32::MAX] {
        let mut input = mux(&film());
        input[5..9].copy_from_slice(&found.to_be_bytes());
        assert_eq!(read(Limits::default(), &input).end, Err(FlvError::DataOffset { found }));
    }
}

#[test]
fn strict_errors_name_the_byte() {
    let film = film();
    let good = mux(&film);
    let third = at(&film, 3);
    let damaged = |index: usize, value: u8| {
        let mut input = good.clone();
        input[index] = value;
        let outcome = read(strict(), &input);
        assert_eq!(outcome.tags(), film[..3], "what comes before the damage is good");
        outcome.end
    };
    let offset = third as u64;
    assert_eq!(damaged(third, 10), Err(FlvError::TagType { offset, found: 10 }));
    assert_eq!(damaged(third, 0x49), Err(FlvError::TagType { offset, found: 0x49 }));
    assert_eq!(damaged(third, 0x29), Err(FlvError::Encrypted { offset }));
    assert_eq!(damaged(third + 8, 1), Err(FlvError::StreamId { offset, found: 0x01_0000 }));
    let size = 0x70_0000 + film[3].body.len();
    assert_eq!(damaged(third + 1, 0x70), Err(FlvError::TagTooLarge { offset, size, limit: 4 << 20 }));
    let expected = film[2].wire_len() as u32;
    let found = expected + 0x0100_0000;
    assert_eq!(damaged(third - 4, 1), Err(FlvError::PreviousTagSize { offset: offset - 4, found, expected }));
}

#[test]
fn the_largest_tag_allowed_passes_and_one_byte_more_does_not() {
    let limits = Limits { max_tag_size: 1000, ..strict() };
    let fits = key(0, 995);
    assert_eq!(read(limits, &mux(std::slice::from_ref(&fits))).tags(), [fits]);
    let error = FlvError::TagTooLarge { offset: 13, size: 1001, limit: 1000 };
    assert_eq!(read(limits, &mux(&[key(0, 996)])).end, Err(error));
}

#[test]
fn a_tag_too_large_is_skipped_when_not_strict() {
    let limits = Limits { max_tag_size: 1000, ..Limits::default() };
    let film = [sound(0), key(0, 5000), sound(20), sound(40)];
    let outcome = read(limits, &mux(&film));
    assert_eq!(outcome.tags(), [sound(0), sound(20), sound(40)]);
    assert_eq!((outcome.end, outcome.searches), (Ok(()), 1));
    assert_eq!(outcome.skipped, film[1].wire_len() as u64 + 4);
}

#[test]
fn a_limit_on_the_buffer_below_the_largest_tag_is_raised() {
    let limits = Limits { max_tag_size: 200_000, max_buffered: 10, ..strict() };
    let outcome = read_pieces(limits, cut(&mux(&[key(0, 199_995)]), &[64 << 10]));
    assert_eq!((outcome.end, outcome.tags().len()), (Ok(()), 1));
    let limits = Limits { max_tag_size: usize::MAX, max_buffered: 0, ..strict() };
    assert_eq!(Demuxer::new(limits).limits.max_tag_size, MAX_BODY);
}

#[test]
fn a_full_buffer_refuses_and_takes_the_same_bytes_after_polling() {
    let limits = Limits { max_tag_size: 1000, max_buffered: 66_536, ..strict() };
    let mut demuxer = Demuxer::new(limits);
    let film: Vec<Tag> = (0..200).map(|i| key(i, 900)).collect();
    let input = Bytes::from(mux(&film));
    demuxer.push(input.slice(..66_000)).unwrap();
    let next = input.slice(66_000..67_000);
    let full = FlvError::BufferFull { offset: 66_000, pushed: 1000, limit: 66_536 };
    assert_eq!(demuxer.push(next.clone()), Err(full));
    assert_eq!(demuxer.buffered(), 66_000);
    let mut items = Vec::new();
    drain(&mut demuxer, &mut items).unwrap();
    demuxer.push(next).unwrap();
    drain(&mut demuxer, &mut items).unwrap();
    demuxer.push(input.slice(67_000..120_000)).unwrap();
    drain(&mut demuxer, &mut items).unwrap();
    demuxer.push(input.slice(120_000..)).unwrap();
    drain(&mut demuxer, &mut items).unwrap();
    demuxer.finish().unwrap();
    assert_eq!(items[0], FILE);
    assert!(items[1..].iter().eq(film.into_iter().map(Item::Tag).collect::<Vec<_>>().iter()));
}

#[test]
fn a_truncated_end_is_told_at_every_byte() {
    let film = film();
    let good = mux(&film);
    for n in 0..good.len() {
        let whole = (0..=film.len()).rev().find(|i| at(&film, *i) <= n);
        // After the last byte of a body its repeated length may be missing altogether.
        let complete = whole.is_some_and(|i| at(&film, i) == n)
            || (0..film.len()).any(|i| at(&film, i + 1) - 4 == n)
            || n == 9;
        let outcome = read(Limits::default(), &good[..n]);
        if complete {
            assert_eq!(outcome.end, Ok(()), "{n}");
        } else {
            let Err(FlvError::Truncated { offset, missing }) = outcome.end else {
                panic!("{n}: {:?}", outcome.end)
            };
            assert_eq!(offset, n as u64);
            assert!(missing > 0 && n + missing <= good.len(), "{n}: {missing}");
        }
        let bodies = (0..film.len()).filter(|i| at(&film, i + 1) - 4 <= n).count();
        assert_eq!(outcome.tags(), film[..bodies], "{n}");
    }
}

#[test]
fn strict_wants_the_last_repeated_length() {
    let good = mux(&film());
    let short = &good[..good.len() - 4];
    let offset = short.len() as u64;
    assert_eq!(read(strict(), short).end, Err(FlvError::Truncated { offset, missing: 4 }));
    assert_eq!(read(Limits::default(), short).end, Ok(()));
}

#[test]
fn pushing_after_the_end_is_refused() {
    let mut demuxer = Demuxer::new(strict());
    demuxer.push(mux(&film()).into()).unwrap();
    drain(&mut demuxer, &mut Vec::new()).unwrap();
    demuxer.finish().unwrap();
    let offset = demuxer.offset();
    assert_eq!(demuxer.push(Bytes::from_static(b"x")), Err(FlvError::Finished { offset }));
    assert_eq!(demuxer.finish(), Ok(()));
}

#[test]
fn writers_of_zero_as_the_repeated_length_are_read() {
    let film = film();
    let mut input = mux(&film);
    for i in 1..=film.len() {
        let end = at(&film, i);
        input[end - 4..end].fill(0);
    }
    let outcome = read(Limits::default(), &input);
    assert_eq!((outcome.end, outcome.tags()), (Ok(()), film.clone()));
    assert_eq!((outcome.searches, outcome.skipped), (0, 0));
    assert_eq!(outcome.wrong_sizes, film.len() as u64 - 1, "nothing follows the last one");
}

#[test]
fn garbage_between_tags_is_skipped() {
    let film = film();
    let good = mux(&film);
    for index in 0..film.len() {
        for garbage in [&[0_u8; 40][..], &[0xff; 3], &[9; 100], b"FLV FLV\x01 nonsense", &[8, 0, 0, 0, 0, 0]]
        {
            let mut input = good.clone();
            let at = at(&film, index);
            input.splice(at..at, garbage.iter().copied());
            let outcome = read(Limits::default(), &input);
            assert_eq!((outcome.end, outcome.tags()), (Ok(()), film.clone()), "{index} {garbage:x?}");
            assert_eq!((outcome.skipped, outcome.searches), (garbage.len() as u64, 1));
        }
    }
}

#[test]
fn an_empty_tag_is_too_weak_a_proof_to_end_a_search() {
    let film = film();
    let mut input = mux(&film);
    let third = at(&film, 3);
    let garbage = [0xff, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 11];
    input.splice(third..third, garbage);
    let outcome = read(Limits::default(), &input);
    assert_eq!((outcome.end, outcome.tags()), (Ok(()), film));
    assert_eq!(outcome.skipped, garbage.len() as u64);
}

#[test]
fn a_damaged_tag_costs_that_tag_only() {
    let film = film();
    let mut input = mux(&film);
    let third = at(&film, 3);
    input[third] = 0xee;
    let outcome = read(Limits::default(), &input);
    let rest: Vec<Tag> = film.iter().enumerate().filter(|(i, _)| *i != 3).map(|(_, t)| t.clone()).collect();
    assert_eq!((outcome.end, outcome.tags()), (Ok(()), rest));
    assert_eq!(outcome.skipped, film[3].wire_len() as u64 + 4);
}

#[test]
fn lost_bytes_inside_a_body_cost_up_to_the_next_tag() {
    let film: Vec<Tag> = (0..6).map(|i| key(i * 40, 500)).collect();
    let mut input = mux(&film);
    let hole = at(&film, 2) + 100;
    input.drain(hole..hole + 50);
    let outcome = read(Limits::default(), &input);
    assert_eq!(outcome.end, Ok(()));
    let tags = outcome.tags();
    assert_eq!(tags[..2], film[..2]);
    assert_eq!(tags[tags.len() - 2..], film[4..], "back in step after the tag that the hole reached into");
    assert_eq!(outcome.searches, 1);
}

#[test]
fn an_encrypted_tag_is_skipped_when_not_strict() {
    let film = film();
    let mut input = mux(&film);
    input[at(&film, 4)] = 0x28;
    let outcome = read(Limits::default(), &input);
    assert_eq!((outcome.end, outcome.tags().len()), (Ok(()), film.len() - 1));
}

#[test]
fn joined_files_are_read_through() {
    let film = film();
    let input = [mux(&film), mux(&film)].concat();
    let outcome = read(Limits::default(), &input);
    assert_eq!(outcome.items.iter().filter(|i| **i == FILE).count(), 2);
    assert_eq!((outcome.end, outcome.tags()), (Ok(()), [film.clone(), film].concat()));
    assert_eq!(outcome.skipped, 0);
}

#[test]
fn a_search_ends_at_the_byte_after_max_skip() {
    let film = film();
    let start = at(&film, 2) as u64;
    let damaged = |garbage: usize| {
        let mut input = mux(&film);
        let at = at(&film, 2);
        input.splice(at..at, vec![0xff; garbage]);
        input
    };
    let limits = Limits { max_skip: 100, ..Limits::default() };
    assert_eq!(read(limits, &damaged(100)).tags(), film);
    let lost = Err(FlvError::Lost { offset: start + 101, skipped: 101 });
    for pieces in [&[1][..], &[7], &[100_000]] {
        assert_eq!(read_pieces(limits, cut(&damaged(101), pieces)).end, lost);
        assert_eq!(read_pieces(limits, cut(&damaged(5000), pieces)).end, lost);
    }
    // Each search has its own allowance.
    let film: Vec<Tag> = (0..10).map(|i| key(i, 10)).collect();
    let mut input = mux(&film);
    for i in (1..10).rev() {
        let at = at(&film, i);
        input.splice(at..at, [0xff; 90]);
    }
    let outcome = read(limits, &input);
    assert_eq!((outcome.tags(), outcome.skipped, outcome.searches), (film, 810, 9));
}

#[test]
fn a_false_tag_at_the_end_of_a_search_does_not_hide_the_true_one_behind_it() {
    let film = film();
    let mut input = mux(&film);
    let last = at(&film, 5);
    // Looks like a tag of 65,536 bytes, which never arrive.
    input.splice(last..last, [0xff, 9, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let outcome = read(Limits::default(), &input);
    assert_eq!((outcome.end, outcome.tags()), (Ok(()), film));
    assert_eq!(outcome.skipped, 12);
}

#[test]
fn an_input_that_ends_while_searching_is_no_error() {
    let film = film();
    let mut input = mux(&film);
    input.extend_from_slice(&[9; 30]);
    let outcome = read(Limits::default(), &input);
    assert_eq!((outcome.end, outcome.tags()), (Ok(()), film));
    assert_eq!(outcome.skipped, 30);
}

proptest! {
    #[test]
    fn tags_come_back_however_the_file_is_cut(tags in tags(3000), pieces in pieces(), strict in any::<bool>()) {
        let limits = Limits { strict, ..Limits::default() };
        let outcome = read_pieces(limits, cut(&mux(&tags), &pieces));
        prop_assert_eq!(outcome.end, Ok(()));
        prop_assert_eq!(outcome.tags(), tags);
        prop_assert_eq!((outcome.skipped, outcome.searches, outcome.wrong_sizes), (0, 0, 0));
    }

    #[test]
    fn damage_is_answered_alike_however_the_file_is_cut(
        tags in tags(600),
        pieces in pieces(),
        hits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3_u8, 0..60_usize), 0..6),
        end in any::<prop::sample::Index>(),
        truncate in any::<bool>(),
        strict in any::<bool>(),
        max_skip in prop_oneof![0..50_u64, Just(u64::MAX)],
    ) {
        let mut input = mux(&tags);
        for (index, value, kind, len) in hits {
            let at = index.index(input.len());
            match kind {
                0 => input[at] = value,
                1 => { input.splice(at..at, vec![value; len]); }
                _ => { input.drain(at..input.len().min(at + len)); }
            }
            if input.is_empty() {
                break;
            }
        }
        if truncate && !input.is_empty() {
            input.truncate(end.index(input.len()));
        }
        let limits = Limits { strict, max_skip, max_tag_size: 1000, ..Limits::default() };
        let whole = read(limits, &input);
        prop_assert_eq!(&read_pieces(limits, cut(&input, &pieces)), &whole);
        if strict {
            prop_assert_eq!(whole.skipped + whole.searches + whole.wrong_sizes, 0);
        }
        if whole.end.is_ok() {
            prop_assert_eq!(whole.offset, input.len() as u64 - u64::from(left_over(&limits, &input)));
        }
    }

    #[test]
    fn the_clip_is_read_alike_however_it_is_cut(pieces in pieces(), from in 0..CLIP.len() - 80_000) {
        // A header and then the file from anywhere: it has to find the next tag.
        let input = [&CLIP[..13], &CLIP[from..from + 80_000]].concat();
        let whole = read(Limits::default(), &input);
        prop_assert_eq!(&read_pieces(Limits::default(), cut(&input, &pieces)), &whole);
        let all = read(strict(), CLIP).tags();
        prop_assert!(whole.tags().len() > 10, "{} tags found", whole.tags().len());
        for tag in whole.tags() {
            prop_assert!(all.contains(&tag), "no such tag in the clip: {:?} at {}", tag.kind, tag.timestamp);
        }
    }

    #[test]
    fn any_bytes_are_read_without_panic(input in prop::collection::vec(any::<u8>(), 0..2000), strict in any::<bool>()) {
        let file = [&mux(&[])[..], &input].concat();
        let limits = Limits { strict, ..Limits::default() };
        let outcome = read(limits, &file);
        prop_assert_eq!(&outcome.items[0], &FILE);
        read(limits, &input);
    }
}

/// Bytes that [`Demuxer::finish`] accepts unread: a last repeated length that is wrong.
fn left_over(limits: &Limits, input: &[u8]) -> u8 {
    let mut demuxer = Demuxer::new(*limits);
    demuxer.push(Bytes::copy_from_slice(input)).unwrap();
    drain(&mut demuxer, &mut Vec::new()).unwrap();
    demuxer.finish().unwrap();
    drain(&mut demuxer, &mut Vec::new()).unwrap();
    demuxer.buffered() as u8
}
