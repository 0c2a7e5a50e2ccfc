//! The cutter of a reader who is not the signer.
//!
//! With video it is a [`Cutter`]: borders follow from the content. Without video the signer chose where the first second
//! begins, so the beginning is found by trying: which frame begins a piece that was announced as the first of a segment?

use std::collections::VecDeque;

use super::canonical::Item;
use super::cut::{CutPiece, Cutter};
use super::frame::Frame;
use crate::swarm::piece::PIECE_HASH_LEN;
use crate::swarm::{Batch, PieceInfo};

/// Most frames of sound that are kept to look for a beginning: about 6 s.
const MAX_FRAMES: usize = 300;
/// Announced beginnings that are looked for.
const MAX_HEADS: usize = 8;
/// Announced beginnings in a row that were not cut here before the beginning is looked for anew.
const MAX_MISSES: usize = 4;

/// Cuts canonical frames as the signer did.
#[derive(Debug, Default)]
pub struct PullCutter {
    cutter: Cutter,
    /// What began the run, if it is one of sound alone.
    sound: Option<Item>,
    /// The beginning is known.
    started: bool,
    /// Frames of sound alone, up to now.
    frames: VecDeque<Frame>,
    /// Announced beginnings, the newest last.
    heads: VecDeque<PieceInfo>,
    /// Hashes of the beginnings that were cut here.
    cut: VecDeque<[u8; PIECE_HASH_LEN]>,
    out: VecDeque<CutPiece>,
}

impl PullCutter {
    /// A cutter that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next item of a [`Canonical`](super::Canonical).
    pub fn push(&mut self, item: &Item) {
        match item {
            Item::Run { config, .. } => {
                self.sound = (!config.tracks.has_video).then(|| item.clone());
                self.started = false;
                self.frames.clear();
                self.cut.clear();
                self.cutter.push(item);
            }
            Item::Frame(frame) if self.sound.is_some() => {
                if self.frames.len() >= MAX_FRAMES {
                    self.frames.pop_front();
                }
                self.frames.push_back(frame.clone());
                if self.started {
                    self.cutter.push(item);
                }
            }
            Item::Frame(_) => self.cutter.push(item),
        }
        self.collect();
    }

    /// Takes a batch that was verified. Only streams without video need it.
    pub fn batch(&mut self, batch: &Batch) {
        for info in batch.pieces.iter().filter(|p| p.starts_segment()) {
            if self.heads.len() >= MAX_HEADS {
                self.heads.pop_front();
            }
            self.heads.push_back(*info);
        }
        if self.sound.is_none() {
            return;
        }
        if self.started {
            let missed = self.heads.iter().rev().take_while(|h| !self.cut.contains(&h.hash)).count();
            self.started = missed < MAX_MISSES;
        }
        if !self.started {
            self.look();
        }
    }

    /// The connection is at its end.
    pub fn finish(&mut self) {
        self.cutter.finish();
        self.collect();
    }

    /// The next piece.
    pub fn poll(&mut self) -> Option<CutPiece> {
        self.out.pop_front()
    }

    fn collect(&mut self) {
        while let Some(piece) = self.cutter.poll() {
            if piece.segment_start() {
                if self.cut.len() >= MAX_HEADS {
                    self.cut.pop_front();
                }
                self.cut.push_back(piece.hash);
            }
            self.out.push_back(piece);
        }
    }

    /// Looks for the one frame that begins an announced segment. In silence several do, and none is taken.
    fn look(&mut self) {
        for head in self.heads.iter().rev() {
            let mut fits = (0..self.frames.len()).filter(|start| self.begins(*start, head));
            if let (Some(start), None) = (fits.next(), fits.next()) {
                let Some(run) = &self.sound else { return };
                self.cutter = Cutter::new();
                self.cutter.push(run);
                for frame in self.frames.iter().skip(start) {
                    self.cutter.push(&Item::Frame(frame.clone()));
                }
                self.started = true;
                self.cut.clear();
                break;
            }
        }
        self.collect();
    }

    fn begins(&self, start: usize, head: &PieceInfo) -> bool {
        let mut cutter = Cutter::new();
        self.sound.iter().for_each(|run| cutter.push(run));
        for frame in self.frames.iter().skip(start) {
            cutter.push(&Item::Frame(frame.clone()));
            if let Some(piece) = cutter.poll() {
                return piece.hash == head.hash;
            }
        }
        false
    }
}
