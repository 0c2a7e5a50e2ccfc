//! Readers of one origin, some of whom lie.

use super::*;
use crate::swarm::constants::MAX_PIECE;
use crate::swarm::content::Verifier;
use crate::swarm::{PieceInfo, piece_hash};

const A: PeerId = PeerId(1);
const B: PeerId = PeerId(2);
const C: PeerId = PeerId(3);
/// Time of a piece, and pieces of a segment.
const PIECE_MS: i64 = 100;
const SEGMENT: i64 = 20;

struct Bench {
    quorum: Quorum,
    verifier: Verifier,
    now: Instant,
    signed: Vec<PieceInfo>,
    epochs: Vec<u32>,
    liars: Vec<PeerId>,
    wanted: bool,
}

/// Piece number `n` of the origin, as a reader whose clock shows `offset` more cuts it.
fn piece(n: i64, offset: i64, content: u8) -> Observed {
    let time = n * PIECE_MS + offset;
    let hash = piece_hash(&[content, n as u8, (n >> 8) as u8]);
    Observed { run: 0, index: (n % SEGMENT) as u16, time, end: time + 60, len: MAX_PIECE as u16, hash }
}

impl Bench {
    #[expect(clippy::disallowed_methods, reason = "a test needs some first instant")]
    fn new() -> Self {
        let (key, stream) = (SecretKey::from_bytes([5; 32]), StreamId::from_bytes([6; 16]));
        Self {
            verifier: Verifier::new(stream, vec![key.public()]),
            quorum: Quorum::new(key, stream, 7),
            now: Instant::now(),
            signed: Vec::new(),
            epochs: Vec::new(),
            liars: Vec::new(),
            wanted: false,
        }
    }

    /// Pieces `from` to `to` as they come, told by all of `readers`: who, in which network, how its clock is off, what it says.
    fn run(&mut self, pieces: std::ops::Range<i64>, readers: &[(PeerId, u32, i64, u8)]) {
        for n in pieces {
            self.now += Duration::from_millis(PIECE_MS as u64);
            for (peer, network, offset, content) in readers {
                // Whoever was found out is no reader any more.
                if self.liars.contains(peer) {
                    continue;
                }
                self.quorum.observe(self.now, *peer, *network, &[piece(n, *offset, *content)]);
                self.take();
            }
        }
    }

    fn take(&mut self) {
        while let Some(batch) = self.quorum.poll(self.now) {
            let checked = self.verifier.verify(&batch.raw).expect("a good signature");
            self.signed.extend(&checked.pieces);
            self.epochs.push(checked.epoch);
        }
        self.wanted |= self.quorum.wants_another(self.now);
        for liar in self.quorum.review(self.now) {
            self.quorum.lost(liar);
            self.liars.push(liar);
        }
    }

    /// The numbers of the origin's pieces that were signed, by what they contain.
    fn contents(&self, content: u8) -> Vec<i64> {
        let number = |info: &PieceInfo| (0..2_000).find(|n| piece(*n, 0, content).hash == info.hash);
        self.signed.iter().filter_map(number).collect()
    }

    fn assert_numbered(&self) {
        for (i, info) in self.signed.iter().enumerate() {
            assert_eq!(info.no, i as u64, "numbers have no gaps");
        }
        assert!(self.signed.windows(2).all(|w| w[0].time <= w[1].time), "time does not go back");
    }
}

#[test]
fn what_two_networks_read_alike_is_signed_in_order() {
    let mut bench = Bench::new();
    bench.run(5..200, &[(A, 1, 0, 9), (B, 2, 70_000, 9)]);
    let read = bench.contents(9);
    // From the first beginning of a segment on, less what waits for the next batch.
    assert_eq!(read, (20..20 + read.len() as i64).collect::<Vec<_>>());
    assert!(read.len() >= 178, "{}", read.len());
    bench.assert_numbered();
    assert!(!bench.wanted && bench.liars.is_empty());
    assert!(bench.epochs.iter().all(|e| *e == 0));
}

#[test]
fn one_reader_or_two_in_one_network_are_not_enough() {
    for readers in [vec![(A, 1, 0, 9)], vec![(A, 1, 0, 9), (B, 1, 0, 9)]] {
        let mut bench = Bench::new();
        bench.run(0..200, &readers);
        assert!(bench.signed.is_empty());
        assert_eq!(bench.wanted, readers.len() == 2, "another one is wanted where it would help");
    }
}

#[test]
fn another_reader_goes_on_by_the_same_clock_when_the_leader_is_gone() {
    let mut bench = Bench::new();
    bench.run(0..100, &[(A, 1, 0, 9), (B, 2, 70_000, 9)]);
    // It vanishes; its successor comes 15 pieces later and begins with the newest keyframe.
    bench.run(100..115, &[(B, 2, 70_000, 9)]);
    let cached: Vec<Observed> = (100..115).map(|n| piece(n, -3_000, 9)).collect();
    bench.quorum.observe(bench.now, C, 3, &cached);
    bench.run(115..200, &[(B, 2, 70_000, 9), (C, 3, -3_000, 9)]);
    let read = bench.contents(9);
    assert_eq!(read, (0..read.len() as i64).collect::<Vec<_>>());
    assert!(read.len() >= 198, "{} of {}", read.len(), bench.signed.len());
    bench.assert_numbered();
    assert!(bench.epochs.iter().all(|e| *e == 0), "nothing new has begun");
    for (n, info) in bench.signed.iter().enumerate() {
        assert_eq!(info.time - bench.signed[0].time, n as u64 * PIECE_MS as u64);
    }
}

#[test]
fn one_that_lies_signs_nothing_and_is_found_out_by_a_third() {
    for liar_leads in [true, false] {
        let mut bench = Bench::new();
        let (liar, honest) = if liar_leads { (A, B) } else { (B, A) };
        let mut two = [(liar, 1, 0, 66), (honest, 2, 70_000, 9)];
        two.sort_unstable();
        bench.run(0..60, &two);
        assert!(bench.signed.is_empty());
        assert!(bench.wanted, "a third one is wanted");
        let all = [two[0], two[1], (C, 3, 5, 9)];
        bench.run(60..240, &all);
        assert_eq!(bench.liars, [liar]);
        assert_eq!(bench.contents(66), [0; 0], "nothing of the liar is signed");
        let read = bench.contents(9);
        assert!(read.len() > 100, "{}", read.len());
        bench.assert_numbered();
    }
}

#[test]
fn two_that_lie_together_are_believed() {
    // What such a stream does not promise.
    let mut bench = Bench::new();
    bench.run(0..60, &[(A, 1, 0, 66), (B, 2, 0, 66), (C, 3, 0, 9)]);
    assert!(bench.contents(66).len() > 50);
    assert!(bench.contents(9).is_empty());
}

#[test]
fn a_segment_of_which_something_was_lost_is_not_signed_further() {
    let mut bench = Bench::new();
    let both = [(A, 1, 0, 9), (B, 2, 0, 9)];
    bench.run(0..30, &both);
    bench.run(31..80, &both);
    let read = bench.contents(9);
    let expected: Vec<i64> = (0..30).chain(40..80).collect();
    assert_eq!(read, expected[..read.len()]);
    assert!(read.len() >= 68, "{}", read.len());
    bench.assert_numbered();
}

#[test]
fn readers_that_are_always_the_last_to_tell_are_no_liars() {
    let mut bench = Bench::new();
    bench.run(0..200, &[(A, 1, 0, 9), (B, 2, 70_000, 9), (C, 3, -3_000, 9)]);
    assert_eq!(bench.liars, []);
    assert!(!bench.wanted);
    // Its clock is known all the same: it goes on where the others were.
    bench.quorum.lost(A);
    bench.run(200..260, &[(B, 2, 70_000, 9), (C, 3, -3_000, 9)]);
    let read = bench.contents(9);
    assert_eq!(read, (0..read.len() as i64).collect::<Vec<_>>());
    assert!(read.len() >= 258 && bench.epochs.iter().all(|e| *e == 0));
    bench.assert_numbered();
}

#[test]
fn a_clock_that_jumps_moves_the_stream_nowhere() {
    let mut bench = Bench::new();
    bench.run(0..60, &[(A, 1, 0, 9), (B, 2, 70_000, 9)]);
    // The leader's clock jumps by an hour, in a run that goes on.
    bench.run(60..140, &[(A, 1, 3_600_000, 9), (B, 2, 70_000, 9)]);
    assert!(bench.signed.len() > 120, "{}", bench.signed.len());
    let most = bench.signed.windows(2).map(|w| w[1].time - w[0].time).max();
    assert!(most <= Some(3 * PIECE_MS as u64), "{most:?}");
    bench.assert_numbered();
    assert_eq!(bench.epochs.last(), Some(&1), "a new epoch, and that is all");
    assert_eq!(bench.liars, []);
}

#[test]
fn one_whose_clock_is_a_little_off_does_not_agree() {
    let mut bench = Bench::new();
    bench.run(0..60, &[(A, 1, 0, 9), (B, 2, 70_000, 9)]);
    let before = bench.signed.len();
    bench.run(60..100, &[(A, 1, 0, 9), (B, 2, 70_500, 9)]);
    assert!(bench.signed.len() <= before + 2);
    bench.run(100..300, &[(A, 1, 0, 9), (B, 2, 70_500, 9), (C, 3, 5, 9)]);
    assert_eq!(bench.liars, [B]);
    assert!(bench.signed.len() > before + 150);
    bench.assert_numbered();
}

#[test]
fn readers_that_differ_everywhere_do_not_keep_it_busy_for_ever() {
    // Each has pieces that one other one has, and each begins with one that nobody has.
    let mut bench = Bench::new();
    let told = |contents: [u8; 3]| -> Vec<Observed> {
        contents.iter().zip(1..).map(|(content, n)| piece(n, 0, *content)).collect()
    };
    for (peer, network, contents) in [(A, 1, [1, 7, 8]), (B, 2, [2, 7, 9]), (C, 3, [3, 9, 8])] {
        bench.quorum.observe(bench.now, peer, network, &told(contents));
    }
    for _ in 0..40 {
        bench.now += Duration::from_millis(100);
        for (peer, network) in [(A, 1), (B, 2), (C, 3)] {
            bench.quorum.observe(bench.now, peer, network, &[]);
        }
        bench.take();
    }
    assert!(bench.signed.is_empty(), "no segment has a beginning");
}
