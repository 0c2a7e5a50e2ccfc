//! What the origin sends, on its way to numbered pieces.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::batches::Batches;
use super::player::Player;
use crate::flv::{FileHeader, Tag};
use crate::swarm::constants::{MAX_OBSERVED, MAX_UNAGREED, OBSERVED_INTERVAL_MS};
use crate::swarm::content::{Aligner, Alignment, Canonical, Clock, Item, PullCutter, Tracks};
use crate::swarm::{Observed, PieceInfo};

/// How long pieces wait for others to be told together.
const OBSERVED_INTERVAL: Duration = Duration::from_millis(OBSERVED_INTERVAL_MS);

/// One connection to the origin.
#[derive(Debug)]
struct Reading {
    canonical: Canonical,
    cutter: PullCutter,
    aligner: Aligner,
    alignment: Option<Alignment>,
}

/// The connections to the origin, one after the other.
#[derive(Debug)]
pub(super) struct Origin {
    tracks: Tracks,
    reading: Option<Reading>,
    /// Number of the present connection.
    connection: u64,
    pub(super) wire_bytes: u64,
    unplaced: u64,
    /// What was cut and not told yet, if it is to be told.
    observed: Option<VecDeque<Observed>>,
    tell_at: Option<Instant>,
}

impl Origin {
    pub(super) fn new(tracks: Tracks) -> Self {
        Self {
            tracks,
            reading: None,
            connection: 0,
            wire_bytes: 0,
            unplaced: 0,
            observed: None,
            tell_at: None,
        }
    }

    /// A connection is about to begin. `known`: the tracks that the stream has, as verified pieces say.
    pub(super) fn open(&mut self, now: Instant, batches: &Batches, known: Option<FileHeader>) {
        self.close();
        self.connection += 1;
        let (mut aligner, mut cutter) = (Aligner::new(), PullCutter::new());
        for batch in batches.recent() {
            aligner.batch(now, batch);
            cutter.batch(batch);
        }
        let tracks = match (self.tracks, known) {
            // To learn which there are would take a second, and the others wait for what comes from here.
            (Tracks::Learnt, Some(header)) => Tracks::Stated(header),
            (tracks, _) => tracks,
        };
        let canonical = Canonical::new(tracks, now);
        self.reading = Some(Reading { canonical, cutter, aligner, alignment: None });
    }

    /// The connection is over.
    pub(super) fn close(&mut self) {
        if let Some(reading) = self.reading.take() {
            self.unplaced += reading.aligner.unplaced();
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.reading.is_some()
    }

    /// Pieces that nobody has signed.
    pub(super) fn unplaced(&self) -> u64 {
        self.unplaced + self.reading.as_ref().map_or(0, |r| r.aligner.unplaced())
    }

    pub(super) fn next(&self) -> Option<Instant> {
        let canonical = self.reading.as_ref().and_then(|r| r.canonical.poll_timeout());
        [canonical, self.tell_at].into_iter().flatten().min()
    }

    /// Begins or stops to keep what is to be told of the pieces that were cut.
    pub(super) fn observe(&mut self, on: bool) {
        if on != self.observed.is_some() {
            self.observed = on.then(VecDeque::new);
            self.tell_at = None;
        }
    }

    /// What is to be told now.
    pub(super) fn observed(&mut self, now: Instant) -> Option<Vec<Observed>> {
        let observed = self.observed.as_mut().filter(|_| self.tell_at.is_some_and(|at| at <= now))?;
        let pieces: Vec<_> = observed.drain(..observed.len().min(MAX_OBSERVED)).collect();
        self.tell_at = (!observed.is_empty()).then_some(now);
        (!pieces.is_empty()).then_some(pieces)
    }

    /// Takes the next tag.
    pub(super) fn push(&mut self, now: Instant, tag: &Tag, player: &mut Player) {
        let Some(reading) = &mut self.reading else { return };
        reading.canonical.push(now, tag);
        self.advance(now, player);
    }

    pub(super) fn handle_timeout(&mut self, now: Instant, player: &mut Player) {
        if let Some(reading) = &mut self.reading {
            reading.canonical.handle_timeout(now);
            self.advance(now, player);
        }
    }

    fn advance(&mut self, now: Instant, player: &mut Player) {
        let connection = self.connection;
        let Some(reading) = &mut self.reading else { return };
        while let Some(item) = reading.canonical.poll() {
            reading.cutter.push(&item);
            while let Some(piece) = reading.cutter.poll() {
                if let Some(observed) = &mut self.observed {
                    if observed.len() >= MAX_UNAGREED {
                        observed.pop_front();
                    }
                    // Each connection counts its runs from 0.
                    let run = connection << 32 | piece.run & u64::from(u32::MAX);
                    observed.push_back(Observed { run, ..piece.observed() });
                    self.tell_at.get_or_insert(now + OBSERVED_INTERVAL);
                }
                reading.aligner.push(now, piece);
            }
            match item {
                Item::Run { run, config } => {
                    player.origin_run(now, Clock::Run { connection, run }, &config);
                    reading.alignment = None;
                }
                Item::Frame(frame) => player.origin_frame(now, frame),
            }
        }
        self.relate(player);
    }

    /// Takes a verified batch.
    pub(super) fn batch(&mut self, now: Instant, batch: &crate::swarm::Batch, player: &mut Player) {
        if let Some(reading) = &mut self.reading {
            reading.aligner.batch(now, batch);
            // What begins a segment of sound alone is known only from the signer.
            reading.cutter.batch(batch);
            while let Some(piece) = reading.cutter.poll() {
                reading.aligner.push(now, piece);
            }
            self.relate(player);
        }
    }

    /// Tells the player how the clocks relate, once that is known.
    fn relate(&mut self, player: &mut Player) {
        let connection = self.connection;
        let Some(reading) = &mut self.reading else { return };
        let alignment = reading.aligner.alignment();
        if alignment != reading.alignment {
            reading.alignment = alignment;
            if let Some(Alignment { run, chain, epoch, offset }) = alignment {
                player.relate(Clock::Run { connection, run }, Clock::Canonical { chain, epoch }, offset);
            }
        }
    }

    /// The next piece whose number is known.
    pub(super) fn poll(&mut self, batches: &Batches) -> Option<(PieceInfo, Bytes)> {
        let aligner = &mut self.reading.as_mut()?.aligner;
        loop {
            let aligned = aligner.poll()?;
            // Forgotten meanwhile: nobody wants it any more.
            if let Some(info) = batches.info(aligned.no) {
                return Some((*info, aligned.content));
            }
        }
    }
}
