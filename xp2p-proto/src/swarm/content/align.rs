//! Which numbers the pieces have that a reader of the origin cut itself.
//!
//! A piece whose hash and time are those of an announced piece *is* that piece, so nothing wrong can be offered. What has to be
//! found is the difference between the reader's time and canonical time. It is found from a run of pieces with equal hashes and
//! equal time differences, which must
//!
//! * begin with a segment and be at least [`MIN_RUN`] pieces of different times long,
//! * be the only place where the reader's pieces fit into what was announced, as far as both are known,
//! * have a piece that was announced and cut once only within some seconds, while a neighbouring segment is known (so that a
//!   static picture, which repeats everything, would have shown),
//! * put the reader's newest piece near the edge of the stream.
//!
//! While a picture with silence does not change, several places fit; the run then grows until they differ. Once the difference is
//! known, each piece stands for itself: after a lost tag some do not fit, and those are not offered.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::cut::CutPiece;
use crate::swarm::piece::PIECE_HASH_LEN;
use crate::swarm::{Batch, PieceInfo, PieceNo};

/// Least number of pieces in a row, of as many different times, that have to fit. The pieces of one keyframe alone say nothing
/// about how time goes on.
const MIN_RUN: usize = 3;
/// How far from the edge of the stream the reader's newest piece may be, in ms: the delay of the witness, of a batch, of the
/// connection, in either direction.
const NEAR_MS: i64 = 2_500;
/// Beyond this distance from the edge, in ms, a place does not count: a film that is shown over and over fits there, too.
const FAR_MS: i64 = 6_000;
/// How long pieces wait for their batch, and batches for pieces.
const WINDOW: Duration = Duration::from_secs(12);
/// Most own pieces that wait.
const MAX_OWN: usize = 2_048;
/// Most announced pieces that are remembered.
const MAX_ANNOUNCED: usize = 4_096;
/// How many of the newest own segments are tried, in how many places each, and how many pieces far. Beyond that an origin that
/// repeats itself could keep us busy.
const MAX_STARTS: usize = 8;
/// See [`MAX_STARTS`].
const MAX_PLACES: usize = 32;
/// See [`MAX_STARTS`].
const MAX_FIT: usize = 512;
/// Segments in a row that do not fit before the difference is looked for anew.
const MAX_MISSES: u32 = 2;

type Hash = [u8; PIECE_HASH_LEN];

/// How a run's time relates to canonical time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alignment {
    /// The run, as [`Canonical`](super::Canonical) counts.
    pub run: u64,
    /// The signer's chain.
    pub chain: u64,
    /// The epoch of the chain. A new one has another difference, even if the run goes on.
    pub epoch: u32,
    /// Canonical time less the run's, in ms.
    pub offset: i64,
}

/// A piece that was cut here and is what its signer announced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aligned {
    /// Its number.
    pub no: PieceNo,
    /// Its content.
    pub content: Bytes,
}

#[derive(Debug)]
struct Own {
    piece: CutPiece,
    came: Instant,
}

#[derive(Debug)]
struct Announced {
    info: PieceInfo,
    epoch: u32,
    came: Instant,
    /// A piece for it has been given out.
    done: bool,
}

/// Finds the numbers of the pieces of one reader of the origin.
#[derive(Debug, Default)]
pub struct Aligner {
    chain: u64,
    /// The newest epoch.
    epoch: u32,
    announced: BTreeMap<PieceNo, Announced>,
    by_hash: BTreeMap<Hash, Vec<PieceNo>>,
    /// Segments whose first piece is among those announced.
    begun: BTreeSet<u64>,
    /// The newest edge and when it came.
    edge: Option<(u64, Instant)>,
    /// Own pieces without a number, in order.
    own: VecDeque<Own>,
    /// Time of the newest own piece, and its run.
    newest: Option<(u64, i64)>,
    alignment: Option<Alignment>,
    /// That of the run or epoch before, of which pieces or batches are still to come.
    before: Option<Alignment>,
    /// Segments in a row without a place.
    misses: u32,
    out: VecDeque<Aligned>,
    unplaced: u64,
}

impl Aligner {
    /// An aligner that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next piece that was cut here.
    pub fn push(&mut self, now: Instant, piece: CutPiece) {
        if self.newest.is_some_and(|(run, _)| run != piece.run) {
            // A new run has a clock of its own.
            self.end_alignment();
        }
        self.newest = Some((piece.run, piece.end));
        let own = Own { piece, came: now };
        match self.place(&own.piece) {
            Some(numbers) => self.give(&numbers, &own.piece),
            None => self.own.push_back(own),
        }
        self.forget(now);
        self.search(now);
    }

    /// Takes a batch that was verified.
    pub fn batch(&mut self, now: Instant, batch: &Batch) {
        if batch.chain != self.chain {
            *self = Self {
                chain: batch.chain,
                own: std::mem::take(&mut self.own),
                out: std::mem::take(&mut self.out),
                newest: self.newest,
                unplaced: self.unplaced,
                ..Self::default()
            };
        }
        if self.edge.is_none_or(|(edge, _)| edge < batch.edge) {
            self.edge = Some((batch.edge, now));
        }
        if self.epoch < batch.epoch {
            self.epoch = batch.epoch;
            self.end_alignment();
        }
        for info in &batch.pieces {
            let announced = Announced { info: *info, epoch: batch.epoch, came: now, done: false };
            if self.announced.insert(info.no, announced).is_none() {
                self.by_hash.entry(info.hash).or_default().push(info.no);
                if info.starts_segment() {
                    self.begun.insert(info.segment);
                }
            }
        }
        self.settle();
        self.forget(now);
        self.search(now);
    }

    /// The next piece with its number. Each number is given once.
    pub fn poll(&mut self) -> Option<Aligned> {
        self.out.pop_front()
    }

    /// The difference of the clocks, once it is known. `None` again when it no longer holds.
    pub fn alignment(&self) -> Option<Alignment> {
        self.alignment
    }

    /// Own pieces that found no place in time: damaged, or of a signer who saw something else.
    pub fn unplaced(&self) -> u64 {
        self.unplaced
    }

    /// What holds for the newest run and epoch does not hold any more, but older pieces are still to be placed by it.
    fn end_alignment(&mut self) {
        self.before = self.alignment.take().or(self.before);
        self.misses = 0;
    }

    /// The announced pieces that `piece` is; `None`: none of those that are known.
    fn place(&self, piece: &CutPiece) -> Option<Vec<PieceNo>> {
        let of_run = |a: &Alignment| a.run == piece.run;
        [self.alignment, self.before].into_iter().flatten().filter(of_run).find_map(|alignment| {
            let time = piece.time.saturating_add(alignment.offset);
            let fits = |a: &&Announced| {
                i64::try_from(a.info.time) == Ok(time) && usize::from(a.info.len) == piece.content.len()
            };
            let numbers: Vec<_> = self.with_hash(&piece.hash).filter(fits).map(|a| a.info.no).collect();
            (!numbers.is_empty()).then_some(numbers)
        })
    }

    fn with_hash(&self, hash: &Hash) -> impl Iterator<Item = &Announced> {
        self.by_hash.get(hash).into_iter().flatten().filter_map(|no| self.announced.get(no))
    }

    fn give(&mut self, numbers: &[PieceNo], piece: &CutPiece) {
        if piece.segment_start() {
            self.misses = 0;
        }
        for no in numbers {
            if let Some(announced) = self.announced.get_mut(no)
                && !std::mem::replace(&mut announced.done, true)
            {
                self.out.push_back(Aligned { no: *no, content: piece.content.clone() });
            }
        }
    }

    /// Gives own pieces their numbers as far as they can be told.
    fn settle(&mut self) {
        for own in std::mem::take(&mut self.own) {
            match self.place(&own.piece) {
                Some(numbers) => self.give(&numbers, &own.piece),
                None => self.own.push_back(own),
            }
        }
    }

    fn forget(&mut self, now: Instant) {
        let old = |came: Instant| now.saturating_duration_since(came) > WINDOW;
        while let Some(own) = self.own.front()
            && (self.own.len() > MAX_OWN || old(own.came) || self.is_past(&own.piece))
        {
            let missed = self.alignment.is_some_and(|a| a.run == own.piece.run) && own.piece.segment_start();
            self.own.pop_front();
            self.unplaced += 1;
            self.misses += u32::from(missed);
        }
        if self.misses >= MAX_MISSES {
            self.alignment = None;
            self.misses = 0;
        }
        while let Some((no, first)) = self.announced.first_key_value()
            && (self.announced.len() > MAX_ANNOUNCED || old(first.came))
        {
            let (no, PieceInfo { hash, segment, .. }) = (*no, first.info);
            if first.info.starts_segment() {
                self.begun.remove(&segment);
            }
            self.announced.remove(&no);
            if let Some(numbers) = self.by_hash.get_mut(&hash) {
                numbers.retain(|n| *n != no);
                if numbers.is_empty() {
                    self.by_hash.remove(&hash);
                }
            }
        }
    }

    /// Whether the batch of an own piece has surely come by now: the stream was announced well past it.
    fn is_past(&self, piece: &CutPiece) -> bool {
        let alignment = [self.alignment, self.before].into_iter().flatten().find(|a| a.run == piece.run);
        match (alignment, self.announced.last_key_value()) {
            (Some(alignment), Some((_, newest))) => {
                let time = piece.time.saturating_add(alignment.offset).saturating_add(NEAR_MS);
                i64::try_from(newest.info.time).is_ok_and(|t| t > time)
            }
            _ => false,
        }
    }

    /// Looks for the difference of the clocks.
    fn search(&mut self, now: Instant) {
        if self.alignment.is_some() {
            return;
        }
        let Some((run, _)) = self.newest else { return };
        let begins =
            |(i, own): (usize, &Own)| (own.piece.run == run && own.piece.segment_start()).then_some(i);
        let starts = self.own.iter().enumerate().rev().filter_map(begins).take(MAX_STARTS);
        let Some(alignment) = starts.into_iter().find_map(|start| self.fit(now, start)) else { return };
        self.alignment = Some(alignment);
        self.misses = 0;
        self.settle();
    }

    /// The only place where the own pieces from `start` on fit.
    fn fit(&self, now: Instant, start: usize) -> Option<Alignment> {
        let first = &self.own.get(start)?.piece;
        let (_, newest) = self.newest?;
        let (edge, since) = self.edge?;
        let since = i64::try_from(now.saturating_duration_since(since).as_millis()).ok()?;
        let edge = i64::try_from(edge).ok()?.saturating_add(since);
        if self.by_hash.get(&first.hash).is_some_and(|numbers| numbers.len() > MAX_PLACES) {
            return None;
        }
        let mut found = None;
        for place in self.with_hash(&first.hash).filter(|a| a.info.starts_segment() && a.epoch == self.epoch)
        {
            let offset = i64::try_from(place.info.time).ok()?.saturating_sub(first.time);
            let distance = newest.saturating_add(offset).saturating_sub(edge).saturating_abs();
            if distance > FAR_MS {
                continue;
            }
            let Some(run) = self.run_at(start, &place.info, offset) else { continue };
            // Two places fit, or might once more is known.
            if found.replace((run, offset, distance)).is_some() {
                return None;
            }
        }
        let (run, offset, distance) = found?;
        let sure = distance <= NEAR_MS && run.times >= MIN_RUN && run.distinct;
        sure.then_some(Alignment { run: first.run, chain: self.chain, epoch: self.epoch, offset })
    }

    /// How the own pieces from `start` on fit to those announced from `at` on. `None`: they do not.
    fn run_at(&self, start: usize, at: &PieceInfo, offset: i64) -> Option<Run> {
        let first = &self.own.get(start)?.piece;
        let mut run = Run { times: 0, last: None, distinct: false };
        for (own, no) in self.own.iter().skip(start).zip(at.no..).take(MAX_FIT) {
            let Some(Announced { info, epoch, .. }) = self.announced.get(&no) else { break };
            let piece = &own.piece;
            if piece.run != first.run || *epoch != self.epoch {
                break;
            }
            let same = info.hash == piece.hash
                && info.index == piece.index
                && i64::try_from(info.time) == Ok(piece.time.saturating_add(offset));
            if !same {
                return None;
            }
            run.times += usize::from(run.last.replace(piece.time) != Some(piece.time));
            run.distinct = run.distinct || self.is_distinct(info, piece);
        }
        Some(run)
    }

    /// Whether nothing near the piece is like it, although a segment beside its own is known.
    fn is_distinct(&self, info: &PieceInfo, own: &CutPiece) -> bool {
        let announced =
            self.with_hash(&info.hash).filter(|a| a.info.time.abs_diff(info.time) <= FAR_MS.unsigned_abs());
        let cut = self.own.iter().map(|o| &o.piece).filter(|p| {
            p.run == own.run && p.hash == own.hash && p.time.abs_diff(own.time) <= FAR_MS.unsigned_abs()
        });
        announced.count() == 1 && cut.count() == 1 && self.has_neighbour(info)
    }

    /// Whether the beginning of the segment before or after is known.
    fn has_neighbour(&self, info: &PieceInfo) -> bool {
        let begins = |segment: Option<u64>| segment.is_some_and(|s| self.begun.contains(&s));
        begins(info.segment.checked_sub(1)) || begins(info.segment.checked_add(1))
    }
}

/// Pieces in a row that fit.
#[derive(Clone, Copy, Debug)]
struct Run {
    /// How many different times they have.
    times: usize,
    /// Time of the last one.
    last: Option<i64>,
    /// One of them cannot be another one.
    distinct: bool,
}
