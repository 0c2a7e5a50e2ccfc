//! Streams in, one order out.

use noq_proto::Side;
use proptest::prelude::*;

use super::*;
use crate::flv::FileHeader;
use noq_proto::Dir;

fn tag(kind: TagKind, timestamp: u32, key: bool) -> Tag {
    let head: &[u8] = match (kind, key) {
        (TagKind::Video, true) => &[0x17, 1, 0, 0, 0],
        (TagKind::Video, false) => &[0x27, 1, 0, 0, 0],
        _ => &[0xaf, 1],
    };
    let body = [head, &timestamp.to_be_bytes()[..]].concat();
    Tag { kind, timestamp, body: body.into() }
}

fn config(has_audio: bool) -> Bytes {
    let config = Config { header: FileHeader { has_audio, has_video: true }, ..Config::default() };
    Record::encode_config(1, &config)
}

fn bytes(tags: &[Tag]) -> Bytes {
    tags.iter().flat_map(|t| [&t.header()[..], &t.body[..]].concat()).collect::<Vec<u8>>().into()
}

/// Group `number`: five pictures, 40 ms apart.
fn group(number: u64) -> Vec<Tag> {
    (0..5).map(|i| tag(TagKind::Video, (number * 200) as u32 + i * 40, i == 0)).collect()
}

fn id(number: u64) -> StreamId {
    StreamId::new(Side::Server, Dir::Uni, number)
}

fn receiver(budget_ms: u64) -> Receiver {
    let mut receiver = Receiver::new(Duration::from_millis(budget_ms), Limits::default());
    receiver.accept();
    receiver.response(&config(false)).unwrap();
    receiver
}

fn open(receiver: &mut Receiver, kind: StreamKind, number: u64) -> bool {
    receiver.open(id(number), StreamHead { kind, request: 0, number, config: 1 })
}

fn times(receiver: &mut Receiver, complete: bool) -> Vec<u32> {
    let mut times = Vec::new();
    while let Some(item) = receiver.poll(complete) {
        if let LiveItem::Tag(tag) = item {
            times.push(tag.timestamp);
        }
    }
    times
}

const V: StreamKind = StreamKind::Video;

#[test]
fn a_newer_group_waits_for_the_one_before_it() {
    let mut receiver = receiver(2000);
    for number in [1, 0] {
        assert!(open(&mut receiver, V, number));
    }
    receiver.data(V, 0, bytes(&group(0)[..1])).unwrap();
    assert_eq!(times(&mut receiver, true), [0]);
    receiver.data(V, 1, bytes(&group(1))).unwrap();
    assert_eq!(times(&mut receiver, true), [0u32; 0]);
    receiver.data(V, 0, bytes(&group(0)[1..])).unwrap();
    receiver.end(V, 0, false);
    assert_eq!(times(&mut receiver, true), (1..10).map(|i| i * 40).collect::<Vec<_>>());
}

#[test]
fn a_reset_group_gives_what_it_had_and_makes_room() {
    let mut receiver = receiver(2000);
    open(&mut receiver, V, 0);
    open(&mut receiver, V, 1);
    receiver.data(V, 0, bytes(&group(0)[..2])).unwrap();
    receiver.data(V, 1, bytes(&group(1))).unwrap();
    assert_eq!(times(&mut receiver, true), [0, 40]);
    receiver.end(V, 0, true);
    assert_eq!(times(&mut receiver, true), [200, 240, 280, 320, 360]);
    assert_eq!(receiver.stats().skipped_gops, 1);
}

#[test]
fn a_group_that_stands_still_is_given_up_once_the_budget_is_used() {
    let mut receiver = receiver(500);
    open(&mut receiver, V, 0);
    receiver.data(V, 0, bytes(&group(0)[..1])).unwrap();
    for number in 1..=2 {
        open(&mut receiver, V, number);
    }
    receiver.data(V, 1, bytes(&group(1))).unwrap();
    receiver.end(V, 1, false);
    assert_eq!(times(&mut receiver, true), [0], "the newest picture is 360 ms ahead, within the budget");
    assert!(receiver.take_unwanted().is_empty());
    receiver.data(V, 2, bytes(&group(2))).unwrap();
    assert_eq!(times(&mut receiver, true)[..2], [200, 240]);
    assert_eq!(receiver.take_unwanted(), [id(0)], "the camera is told");
}

#[test]
fn a_missing_number_is_waited_for_until_it_cannot_come() {
    let mut receiver = receiver(2000);
    open(&mut receiver, V, 1);
    receiver.data(V, 1, bytes(&group(1))).unwrap();
    // Nothing was shown yet, so whatever can be shown is better; afterwards order counts.
    assert_eq!(times(&mut receiver, false).len(), 5);
    receiver.end(V, 1, false);
    open(&mut receiver, V, 3);
    receiver.data(V, 3, bytes(&group(3))).unwrap();
    assert_eq!(times(&mut receiver, false), [0u32; 0], "number 2 may still tell its head");
    assert_eq!(times(&mut receiver, true).len(), 5);
}

#[test]
fn tags_wait_for_their_configuration() {
    let mut receiver = Receiver::new(Duration::from_secs(2), Limits::default());
    receiver.accept();
    open(&mut receiver, V, 0);
    receiver.data(V, 0, bytes(&group(0))).unwrap();
    assert_eq!(receiver.poll(true), None);
    receiver.response(&config(false)).unwrap();
    assert!(matches!(receiver.poll(true), Some(LiveItem::Config(_))));
    assert_eq!(times(&mut receiver, true).len(), 5);
}

/// Found by fuzzing, whose model had it that there are none.
#[test]
fn a_script_tag_without_a_body_passes_as_any_other() {
    let mut receiver = receiver(2000);
    assert!(open(&mut receiver, V, 0));
    let script = Tag { kind: TagKind::Script, timestamp: 40, body: Bytes::new() };
    let tags = [tag(TagKind::Video, 0, true), script, tag(TagKind::Video, 80, false)];
    receiver.data(V, 0, bytes(&tags)).unwrap();
    assert!(matches!(receiver.poll(true), Some(LiveItem::Config(_))));
    let mut out = Vec::new();
    while let Some(LiveItem::Tag(tag)) = receiver.poll(true) {
        out.push((tag.kind, tag.timestamp));
    }
    out.sort_by_key(|(_, at)| *at);
    assert_eq!(out, tags.map(|t| (t.kind, t.timestamp)));
}

#[test]
fn before_the_answer_only_so_much_is_read() {
    let mut receiver = Receiver::new(Duration::from_secs(2), Limits::default());
    open(&mut receiver, V, 0);
    let mut read = 0;
    let tags = bytes(&group(0));
    while receiver.wants(V, 0) {
        receiver.data(V, 0, tags.clone()).unwrap();
        read += tags.len();
        assert!(read < MAX_EARLY + 1000);
    }
    assert_eq!(receiver.poll(true), None, "nothing comes out before the camera has said yes");
    receiver.accept();
    assert!(receiver.wants(V, 0));
}

#[test]
fn streams_ahead_of_their_turn_are_held_up_to_a_limit_and_the_current_one_never() {
    let mut receiver = receiver(60_000);
    open(&mut receiver, V, 0);
    receiver.data(V, 0, bytes(&group(0)[..1])).unwrap();
    times(&mut receiver, true);
    open(&mut receiver, V, 1);
    let mut body = vec![0x27, 1, 0, 0, 0];
    body.resize(1 << 20, 0);
    let large = Tag { kind: TagKind::Video, timestamp: 300, body: body.into() };
    let mut read = 0;
    while receiver.wants(V, 1) {
        receiver.data(V, 1, bytes(std::slice::from_ref(&large))).unwrap();
        read += 1;
        assert!(read < 12);
    }
    assert!(read >= 8 && receiver.wants(V, 0), "{read}");
}

#[test]
fn the_end_comes_when_all_streams_of_the_request_are_through() {
    let mut receiver = receiver(2000);
    receiver.response(&Record::encode_end(3)).unwrap();
    for number in 0..2 {
        open(&mut receiver, V, number);
        receiver.data(V, number, bytes(&group(number))).unwrap();
        receiver.end(V, number, false);
    }
    assert_eq!(times(&mut receiver, true).len(), 10);
    assert!(!receiver.is_finished(), "a third stream is on its way");
    receiver.lost_stream();
    assert!(receiver.is_finished());
}

proptest! {
    /// Pieces of six groups in any order between groups, in order within each.
    #[test]
    fn whatever_arrives_first_the_order_is_kept(picks in proptest::collection::vec(0usize..6, 0..400), cut in 1usize..40) {
        let mut receiver = receiver(60_000);
        let mut left: Vec<Bytes> = (0..6).map(|n| bytes(&group(n))).collect();
        for number in 0..6 {
            open(&mut receiver, V, number);
        }
        // As long as nothing was shown, any group may be the first; from then on order counts.
        receiver.data(V, 0, left[0].split_to(group(0)[0].wire_len())).unwrap();
        let mut out = times(&mut receiver, true);
        let all = picks.into_iter().chain((0..6).flat_map(|n| std::iter::repeat_n(n, 200)));
        for pick in all {
            if !left[pick].is_empty() {
                let length = cut.min(left[pick].len());
                let piece = left[pick].split_to(length);
                receiver.data(V, pick as u64, piece).unwrap();
                if left[pick].is_empty() {
                    receiver.end(V, pick as u64, false);
                }
                out.extend(times(&mut receiver, true));
            }
        }
        prop_assert_eq!(out, (0..30).map(|i| i * 40).collect::<Vec<u32>>());
    }
}
