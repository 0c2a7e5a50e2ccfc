//! What the origin sends, on its way to numbered pieces.

use std::time::Instant;

use bytes::Bytes;

use super::batches::Batches;
use super::player::Player;
use crate::flv::{FileHeader, Tag};
use crate::swarm::PieceInfo;
use crate::swarm::content::{Aligner, Alignment, Canonical, Clock, Item, PullCutter, Tracks};

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
}

impl Origin {
    pub(super) fn new(tracks: Tracks) -> Self {
        Self { tracks, reading: None, connection: 0, wire_bytes: 0, unplaced: 0 }
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
        self.reading.as_ref()?.canonical.poll_timeout()
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
