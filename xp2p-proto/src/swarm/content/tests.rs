//! A signer and pullers read one emulated origin, each with its own habits.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::emulator::{Arrival, Clockwork, Habits, Rng, Show, ShowConfig, view};
use super::*;
use crate::flv::{FileHeader, Item as FlvItem, TagKind};
use crate::keys::SecretKey;
use crate::swarm::{Batch, Payload, PieceInfo, PieceNo, StreamId};

const CHAIN: u64 = 7;
const CANONICAL: Clock = Clock::Canonical { chain: CHAIN, epoch: 0 };

#[allow(clippy::disallowed_methods)] // any instant will do
fn epoch() -> Instant {
    static EPOCH: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    *EPOCH.get_or_init(Instant::now)
}

fn at(ms: u64) -> Instant {
    epoch() + Duration::from_millis(ms)
}

fn stream() -> StreamId {
    StreamId::of_name("test").unwrap()
}

fn key() -> SecretKey {
    SecretKey::from_bytes([9; 32])
}

/// Plays arrivals into a [`Canonical`] and calls `step` after each, and every 50 ms.
fn canonical(
    tracks: Tracks,
    arrivals: &[Arrival],
    mut step: impl FnMut(u64, Option<Item>),
) -> CanonicalStats {
    let mut canonical = Canonical::new(tracks, at(arrivals[0].at));
    let end = arrivals.last().unwrap().at + 2_000;
    let mut next = 0;
    for now in arrivals[0].at..end {
        while let Some(arrival) = arrivals.get(next).filter(|a| a.at <= now) {
            canonical.push(at(now), &arrival.tag);
            next += 1;
        }
        while canonical.poll_timeout().is_some_and(|t| t <= at(now)) {
            canonical.handle_timeout(at(now));
            assert!(canonical.poll_timeout().is_none_or(|t| t > at(now)), "a timer in the past");
        }
        while let Some(item) = canonical.poll() {
            step(now, Some(item));
        }
        step(now, None);
    }
    canonical.finish();
    while let Some(item) = canonical.poll() {
        step(end, Some(item));
    }
    canonical.stats()
}

/// What a signer made of a show.
struct Signed {
    batches: Vec<(u64, Arc<Batch>)>,
    pieces: BTreeMap<PieceNo, (PieceInfo, Bytes)>,
    stats: CanonicalStats,
}

fn sign(show: &Show, habits: &Habits, seed: u64) -> Signed {
    let mut cutter = Cutter::new();
    let mut signer = Signer::new(key(), stream(), CHAIN);
    let mut signed = Signed { batches: vec![], pieces: BTreeMap::new(), stats: CanonicalStats::default() };
    let stats = canonical(Tracks::Learnt, &view(show, habits, seed), |now, item| {
        item.iter().for_each(|i| cutter.push(i));
        while let Some(piece) = cutter.poll() {
            if let Some(info) = signer.push(at(now), &piece.observed()) {
                signed.pieces.insert(info.no, (info, piece.content));
            }
        }
        while let Some(batch) = signer.poll(at(now)) {
            signed.batches.push((now, batch));
        }
        assert!(signer.poll_timeout().is_none_or(|t| t > at(now)));
    });
    signed.stats = stats;
    signed
}

/// Tells which frame of the show each frame is, by its place in its track.
struct Truth<'a> {
    show: &'a Show,
    queues: [std::collections::VecDeque<usize>; 2],
}

impl<'a> Truth<'a> {
    fn new(show: &'a Show, frames: impl Iterator<Item = usize>) -> Self {
        let mut queues = [std::collections::VecDeque::new(), std::collections::VecDeque::new()];
        for i in frames {
            queues[usize::from(show.frames[i].track == Track::Audio)].push_back(i);
        }
        Self { show, queues }
    }

    fn of(&mut self, frame: &Frame) -> usize {
        let queue = &mut self.queues[usize::from(frame.track == Track::Audio)];
        // Frames may have been dropped.
        loop {
            let i = queue.pop_front().expect("a frame that was never published");
            if self.show.frames[i].body == frame.body {
                return i;
            }
        }
    }
}

/// Canonical time of each frame of the show, as the signer has it.
fn canonical_times(show: &Show, signed: &Signed) -> BTreeMap<usize, i64> {
    let mut truth = Truth::new(show, 0..show.frames.len());
    let mut reader = Reader::new();
    let mut times = BTreeMap::new();
    for (info, content) in signed.pieces.values() {
        reader.push(info, content).unwrap();
        while let Some(content) = reader.poll() {
            if let Content::Frame(frame) = content {
                times.insert(truth.of(&frame), frame.time);
            }
        }
    }
    times
}

/// What a puller made of it.
#[derive(Default)]
struct Pulled {
    numbers: Vec<PieceNo>,
    /// When it was aligned first.
    aligned: Option<u64>,
}

/// Lets a puller read the show while batches come `lag` after they were signed, and checks everything it offers.
fn pull(show: &Show, habits: &Habits, seed: u64, signed: &Signed, lag: u64) -> Pulled {
    let mut cutter = PullCutter::new();
    let mut aligner = Aligner::new();
    let mut verifier = Verifier::new(stream(), vec![key().public()]);
    let mut pulled = Pulled::default();
    let mut next = 0;
    let mut run_now = 0;
    let times = canonical_times(show, signed);
    let arrivals = view(show, habits, seed);
    let mut truth = Truth::new(show, arrivals.iter().filter_map(|a| a.frame));
    // Sound of before a restart that comes after it gets a wrong time from SRS `full` itself.
    let moved = |clockwork: &Clockwork, i: usize, now: u64| {
        let restarted = show.frames.iter().any(|f| f.publication > 0 && f.time < now);
        matches!(clockwork, Clockwork::Full(_)) && restarted && show.frames[i].publication == 0
    };
    canonical(Tracks::Learnt, &arrivals, |now, item| {
        // A few batches from before it came are still about.
        while let Some((when, batch)) = signed.batches.get(next).filter(|(when, _)| when + lag <= now) {
            next += 1;
            if when + lag + 5_000 > arrivals[0].at {
                let batch = verifier.verify(&batch.raw).unwrap();
                cutter.batch(&batch);
                aligner.batch(at(now), &batch);
            }
        }
        match &item {
            Some(Item::Run { run, .. }) => run_now = *run,
            Some(Item::Frame(frame)) => {
                let i = truth.of(frame);
                let publication = u32::from(show.frames[i].publication);
                // A restart that this reader's clock does not show is seen with the next batch.
                let alignment = aligner.alignment().filter(|a| a.run == run_now && a.epoch == publication);
                if let (Some(alignment), Some(time)) = (alignment, times.get(&i)) {
                    let same = frame.time + alignment.offset == *time;
                    assert!(
                        same || moved(&habits.clockwork, i, now),
                        "a wrong place, seed {seed}, {habits:?}"
                    );
                }
            }
            None => {}
        }
        item.iter().for_each(|i| cutter.push(i));
        while let Some(piece) = cutter.poll() {
            aligner.push(at(now), piece);
        }
        while let Some(Aligned { no, content }) = aligner.poll() {
            let (info, true_content) = &signed.pieces[&no];
            assert!(content.verify(info) && content == true_content, "a wrong piece is offered");
            pulled.numbers.push(no);
        }
        if aligner.alignment().is_some() {
            pulled.aligned.get_or_insert(now);
        }
    });
    let mut unique = pulled.numbers.clone();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique.len(), pulled.numbers.len(), "each number once");
    pulled
}

/// How many of the pieces from `from` on, up to those signed 3 s before the end, were offered.
fn share(signed: &Signed, pulled: &Pulled, from: PieceNo) -> f64 {
    let end = signed.batches.last().unwrap().0 - 3_000;
    let batches = signed.batches.iter().filter(|(when, _)| *when < end);
    let wanted: Vec<_> = batches.flat_map(|(_, b)| &b.pieces).map(|p| p.no).filter(|n| *n >= from).collect();
    let got = wanted.iter().filter(|no| pulled.numbers.contains(no)).count();
    got as f64 / wanted.len().max(1) as f64
}

fn first(pulled: &Pulled) -> PieceNo {
    pulled.numbers.iter().copied().min().unwrap_or(0)
}

#[test]
fn readers_with_any_habits_cut_identical_pieces() {
    for seed in 0..40 {
        let mut rng = Rng::new(seed);
        let config = ShowConfig {
            gop: [25, 50, 100][rng.below(3) as usize],
            first_timestamp: [0, 1_000_000, u32::MAX - 5_000][rng.below(3) as usize],
            ..ShowConfig::default()
        };
        let show = Show::new(seed, config);
        let signer = Habits { join: 0, ..Habits::random(&mut rng) };
        let signed = sign(&show, &signer, seed);
        assert_eq!(signed.stats.breaks, 0, "seed {seed} {signer:?}");
        for puller in 0..2 {
            let habits = Habits::random(&mut rng);
            let pulled = pull(&show, &habits, seed * 10 + puller, &signed, rng.below(500));
            let aligned = pulled.aligned.unwrap_or(u64::MAX);
            assert!(aligned < habits.join + 9_500, "seed {seed}: aligned at {aligned}, {habits:?}");
            assert!(share(&signed, &pulled, first(&pulled)) == 1.0, "seed {seed} {habits:?}");
        }
    }
}

#[test]
fn after_a_lost_tag_only_what_is_damaged_is_not_offered() {
    let mut offered = 0.0;
    for seed in 0..12 {
        let mut rng = Rng::new(seed);
        let show = Show::new(seed, ShowConfig { gop: 25, ..ShowConfig::default() });
        let signed = sign(&show, &Habits::default(), seed);
        let habits = Habits { lost: 5, ..Habits::random(&mut rng) };
        let pulled = pull(&show, &habits, seed, &signed, 200);
        // About every third second is hit somewhere.
        offered += share(&signed, &pulled, first(&pulled)) / 12.0;
    }
    assert!((0.5..0.99).contains(&offered), "{offered}");
}

#[test]
fn a_reader_without_sound_offers_nothing() {
    for seed in 0..4 {
        let show = Show::new(seed, ShowConfig::default());
        let signed = sign(&show, &Habits::default(), seed);
        let habits = Habits { video_only: true, ..Habits::random(&mut Rng::new(seed)) };
        assert!(pull(&show, &habits, seed, &signed, 100).numbers.is_empty());
    }
}

#[test]
fn a_picture_that_stands_still_is_never_put_in_a_wrong_place() {
    for seed in 0..20 {
        let mut rng = Rng::new(seed);
        let from = rng.below(4_000);
        let still = Some((from, from + 4_000 + rng.below(6_000)));
        let gop = [25, 50][rng.below(2) as usize];
        let show = Show::new(seed, ShowConfig { still, gop, length: 20_000, ..ShowConfig::default() });
        let signed = sign(&show, &Habits::default(), seed);
        let habits = Habits::random(&mut rng);
        let pulled = pull(&show, &habits, seed, &signed, rng.below(500));
        assert!(pulled.aligned.is_some(), "it moves again, seed {seed}");
    }
}

#[test]
fn a_film_that_is_shown_over_and_over_is_told_apart_or_left_alone() {
    for (film, must) in [(4_000, false), (8_000, true)] {
        for seed in 0..6 {
            let mut rng = Rng::new(seed);
            let show =
                Show::new(seed, ShowConfig { film: Some(film), length: 20_000, ..ShowConfig::default() });
            let signed = sign(&show, &Habits::default(), seed);
            let pulled = pull(&show, &Habits::random(&mut rng), seed, &signed, rng.below(500));
            assert!(!must || pulled.aligned.is_some(), "seed {seed}");
        }
    }
}

#[test]
fn a_publisher_that_starts_anew_begins_an_epoch_and_is_followed() {
    for seed in 0..16 {
        let mut rng = Rng::new(seed);
        let new_config = rng.chance(500);
        let restart = Some(7_000 + rng.below(2_000));
        let show = Show::new(
            seed,
            ShowConfig { gop: 25, restart, new_config, length: 20_000, ..ShowConfig::default() },
        );
        let clockwork = if rng.chance(500) { Clockwork::Off } else { Clockwork::Restart };
        let signed = sign(&show, &Habits { clockwork, ..Habits::default() }, seed);
        assert_eq!(signed.batches.last().unwrap().1.epoch, 1, "seed {seed}");
        let pulled = pull(&show, &Habits::random(&mut rng), seed, &signed, rng.below(500));
        let second = signed.batches.iter().find(|(_, b)| b.epoch == 1).unwrap().1.pieces[0].no;
        assert!(pulled.numbers.iter().any(|n| *n < second), "seed {seed}");
        let late = signed.pieces.values().find(|(i, _)| i.time > 14_500).unwrap().0.no;
        assert!(late > second && share(&signed, &pulled, late) == 1.0, "seed {seed}");
    }
}

#[test]
fn two_pictures_a_second_are_shared() {
    for (signer, puller) in [
        (Clockwork::Off, Clockwork::Off),
        (Clockwork::Full(5), Clockwork::Full(77)),
        (Clockwork::Off, Clockwork::Full(5)),
    ] {
        for sound in [false, true] {
            let show =
                Show::new(1, ShowConfig { fps: 2, gop: 4, sound, length: 20_000, ..ShowConfig::default() });
            let signed = sign(&show, &Habits { clockwork: signer, ..Habits::default() }, 1);
            assert_eq!(signed.stats.breaks, 0);
            let habits = Habits { clockwork: puller, join: 3_000, ..Habits::default() };
            let pulled = pull(&show, &habits, 1, &signed, 200);
            if sound || std::mem::discriminant(&signer) == std::mem::discriminant(&puller) {
                assert!(share(&signed, &pulled, first(&pulled)) == 1.0, "{signer:?} {puller:?} {sound}");
                assert!(pulled.aligned.unwrap() < 8_500, "{:?}", pulled.aligned);
            } else {
                assert!(pulled.numbers.is_empty(), "compressed time is not the signer's");
            }
        }
    }
}

#[test]
fn sound_alone_is_shared() {
    for seed in 0..10 {
        let mut rng = Rng::new(seed);
        let show = Show::new(seed, ShowConfig { fps: 0, ..ShowConfig::default() });
        let signed = sign(&show, &Habits::default(), seed);
        let habits = Habits { join: 1_000 + rng.below(3_000), ..Habits::random(&mut rng) };
        let pulled = pull(&show, &habits, seed, &signed, rng.below(500));
        assert!(pulled.aligned.is_some_and(|a| a < habits.join + 5_000), "seed {seed} {habits:?}");
        assert!(share(&signed, &pulled, first(&pulled)) == 1.0, "seed {seed} {habits:?}");
        let still = Some((0, 20_000));
        let show = Show::new(seed, ShowConfig { fps: 0, still, ..ShowConfig::default() });
        let signed = sign(&show, &Habits::default(), seed);
        assert!(pull(&show, &habits, seed, &signed, 100).numbers.is_empty(), "silence has no borders");
    }
}

/// A viewer that is fed by the origin, by pieces, or by both, as the clock says.
struct Plan {
    /// When each connection to the origin is open.
    origin: Vec<(u64, u64)>,
    /// When pieces come, and how late.
    pieces: (u64, u64),
    lag: u64,
}

/// Plays what `plan` says and gives the player's stream and how often it began anew.
fn play(show: &Show, signed: &Signed, plan: &Plan, habits: &Habits, seed: u64) -> (Vec<FlvItem>, u64) {
    let mut output = Output::new();
    let mut items = Vec::new();
    let mut reader = Reader::new();
    let mut verifier = Verifier::new(stream(), vec![key().public()]);
    let mut batches = signed.batches.iter().peekable();
    let mut pieces = Vec::new();
    let mut connections: Vec<_> = (0..)
        .zip(&plan.origin)
        .map(|(no, (from, to))| {
            let habits = Habits { join: *from, ..habits.clone() };
            let arrivals = view(show, &habits, seed + no);
            let canonical = Canonical::new(Tracks::Learnt, at(*from));
            (no, *to, arrivals.into_iter().peekable(), canonical, PullCutter::new(), Aligner::new(), 0)
        })
        .collect();
    let end = show.frames.last().unwrap().time + 2_000;
    for now in 0..end {
        while let Some((_, batch)) = batches.next_if(|(when, _)| when + plan.lag <= now) {
            let batch = verifier.verify(&batch.raw).unwrap();
            for c in &mut connections {
                c.4.batch(&batch);
                c.5.batch(at(now), &batch);
            }
            pieces.extend(batch.pieces.iter().map(|p| p.no));
        }
        for (no, to, arrivals, canonical, cutter, aligner, run_now) in &mut connections {
            if now >= *to {
                continue; // what a closed connection held back is not complete
            }
            let clock = |run| Clock::Run { connection: *no, run };
            while let Some(arrival) = arrivals.next_if(|a| a.at <= now && now < *to) {
                canonical.push(at(now), &arrival.tag);
            }
            canonical.handle_timeout(at(now));
            while let Some(item) = canonical.poll() {
                cutter.push(&item);
                match item {
                    Item::Run { run, config } => {
                        *run_now = run;
                        output.begin(clock(run), &config, true);
                    }
                    Item::Frame(frame) => output.push(clock(*run_now), &frame),
                }
            }
            while let Some(piece) = cutter.poll() {
                aligner.push(at(now), piece);
            }
            if let Some(alignment) = aligner.alignment() {
                output.relate(clock(alignment.run), CANONICAL, alignment.offset);
            }
        }
        if now >= plan.pieces.0 && now < plan.pieces.1 {
            for no in std::mem::take(&mut pieces) {
                let (info, content) = &signed.pieces[&no];
                let _ = reader.push(info, content);
                while let Some(content) = reader.poll() {
                    match content {
                        Content::Segment { gap, config, .. } => output.begin(CANONICAL, &config, !gap),
                        Content::Frame(frame) => output.push(CANONICAL, &frame),
                    }
                }
            }
        }
        items.extend(std::iter::from_fn(|| output.poll()));
    }
    (items, output.skips())
}

/// Checks that a stream is the show from one of its keyframes on, frame by frame; gives how many frames it has.
fn check_stream(show: &Show, items: &[FlvItem]) -> usize {
    let header = FileHeader { has_audio: true, has_video: true };
    assert_eq!(items[0], FlvItem::Header(header));
    let mut tags = items[1..].iter().map(|i| match i {
        FlvItem::Tag(tag) => tag,
        FlvItem::Header(_) => panic!("a second header"),
    });
    assert!(tags.next().is_some_and(|t| t.is_metadata() && t.timestamp == 0));
    let headers: Vec<_> = tags.by_ref().take(2).collect();
    assert!(headers.iter().all(|t| t.is_sequence_header() && t.timestamp == 0));
    let mut expected = None;
    let mut count = 0;
    for tag in tags {
        assert!(!tag.is_sequence_header(), "the configuration does not change");
        let i = *expected.get_or_insert_with(|| show.frames.iter().position(|f| f.body == tag.body).unwrap());
        let first = i - count;
        let frame = &show.frames[i];
        assert!(
            tag.kind == frame.track.kind() && tag.body == frame.body,
            "frame {count} after {first} is another one"
        );
        let since = frame.time - show.frames[first].time;
        assert_eq!(u64::from(tag.timestamp), since, "frame {count} after {first}");
        expected = Some(i + 1);
        count += 1;
    }
    count
}

#[test]
fn the_player_sees_the_true_stream_from_the_origin() {
    for seed in 0..6 {
        let show = Show::new(seed, ShowConfig { length: 6_000, ..ShowConfig::default() });
        let signed = sign(&show, &Habits::default(), seed);
        let plan = Plan { origin: vec![(1_000, 20_000)], pieces: (0, 0), lag: 0 };
        let habits = Habits::random(&mut Rng::new(seed));
        let (items, skips) = play(&show, &signed, &plan, &habits, seed);
        assert!(check_stream(&show, &items) > 150);
        assert_eq!(skips, 0);
    }
}

#[test]
fn the_player_sees_the_true_stream_from_pieces() {
    let show = Show::new(3, ShowConfig { length: 8_000, ..ShowConfig::default() });
    let signed = sign(&show, &Habits::default(), 3);
    let plan = Plan { origin: vec![], pieces: (3_000, 20_000), lag: 300 };
    let (items, skips) = play(&show, &signed, &plan, &Habits::default(), 3);
    assert!(check_stream(&show, &items) > 500);
    assert_eq!(skips, 0);
    let TagKind::Video = (match &items[4] {
        FlvItem::Tag(tag) => tag.kind,
        FlvItem::Header(_) => panic!(),
    }) else {
        panic!("it begins with a keyframe")
    };
}

#[test]
fn a_change_between_origin_and_peers_is_invisible() {
    for seed in 0..24 {
        let mut rng = Rng::new(seed);
        let show = Show::new(seed, ShowConfig { gop: 25, length: 20_000, ..ShowConfig::default() });
        let signed = sign(&show, &Habits::default(), seed);
        // From the origin, from peers alone, from a second connection to the origin alone.
        let habits = Habits { delay: rng.below(200), ..Habits::random(&mut rng) };
        let plan = Plan {
            origin: vec![(500, 8_000), (11_000, 30_000)],
            pieces: (2_000 + rng.below(2_000), 15_000),
            lag: rng.below(600),
        };
        let (items, skips) = play(&show, &signed, &plan, &habits, seed);
        assert_eq!(skips, 0, "seed {seed} {habits:?}");
        assert!(check_stream(&show, &items) > 1_100, "seed {seed} {habits:?}");
    }
}
