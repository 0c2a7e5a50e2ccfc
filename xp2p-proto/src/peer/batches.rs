//! Digest batches: checked before the scheduler sees them, and kept for the pieces of the origin.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::keys::PublicKey;
use crate::swarm::constants::{MAX_BATCH_PIECES, MAX_BATCHES};
use crate::swarm::content::{BatchError, Clock, Verifier};
use crate::swarm::{Batch, PieceInfo, PieceNo, StreamId};

/// For so long after a change of signers nobody is blamed for passing on what the old ones have signed.
const GRACE: Duration = Duration::from_secs(10);
/// Most pieces that are remembered: those of the batches that are.
const MAX_INFOS: usize = MAX_BATCHES * MAX_BATCH_PIECES;

/// What a batch is worth.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Checked {
    /// It is new, and good.
    New(Arc<Batch>),
    /// It is here already, and kept.
    Known(Arc<Batch>),
    /// Of no use, but no fault of whoever sent it.
    Useless,
    /// Nobody may send this.
    Bad,
}

/// Verified batches.
#[derive(Debug)]
pub(super) struct Batches {
    stream: StreamId,
    keys: Vec<PublicKey>,
    verifier: Verifier,
    lenient_until: Option<Instant>,
    recent: VecDeque<Arc<Batch>>,
    /// What was announced, with its epoch.
    infos: BTreeMap<PieceNo, (u32, PieceInfo)>,
    /// The epoch of the piece that was looked for last.
    epoch: u32,
    pub(super) verified: u64,
    pub(super) refused: u64,
}

impl Batches {
    pub(super) fn new(stream: StreamId, keys: Vec<PublicKey>) -> Self {
        Self {
            stream,
            verifier: Verifier::new(stream, keys.clone()),
            keys,
            lenient_until: None,
            recent: VecDeque::new(),
            infos: BTreeMap::new(),
            epoch: 0,
            verified: 0,
            refused: 0,
        }
    }

    /// Number of signers that are believed.
    pub(super) fn signers(&self) -> usize {
        self.keys.len()
    }

    /// Believes these from now on.
    pub(super) fn set_keys(&mut self, now: Instant, keys: Vec<PublicKey>) {
        if keys == self.keys {
            return;
        }
        if !self.keys.is_empty() {
            self.lenient_until = Some(now + GRACE);
        }
        self.verifier = Verifier::new(self.stream, keys.clone());
        self.keys = keys;
        // What the old signers said stays true of the pieces that are here, but nothing continues it.
        self.recent.clear();
        self.infos.clear();
    }

    /// Whose time a piece counts in. One that is not remembered any more is of the same epoch as the one before.
    pub(super) fn clock(&mut self, no: PieceNo) -> Clock {
        if let Some((epoch, _)) = self.infos.get(&no) {
            self.epoch = *epoch;
        }
        Clock::Canonical { chain: self.verifier.chain(), epoch: self.epoch }
    }

    /// What was announced of a piece.
    pub(super) fn info(&self, no: PieceNo) -> Option<&PieceInfo> {
        self.infos.get(&no).map(|(_, info)| info)
    }

    /// The latest batches, oldest first.
    pub(super) fn recent(&self) -> impl Iterator<Item = &Arc<Batch>> {
        self.recent.iter()
    }

    /// Checks a batch that somebody sent.
    pub(super) fn check(&mut self, now: Instant, raw: &Bytes) -> Checked {
        if self.keys.is_empty() {
            // Nobody to believe yet, so nobody to blame.
            return Checked::Useless;
        }
        let chain = self.verifier.chain();
        match self.verifier.verify(raw) {
            Ok(batch) => {
                if chain != batch.chain {
                    self.recent.clear();
                    self.infos.clear();
                }
                self.verified += 1;
                self.keep(batch.clone());
                Checked::New(batch)
            }
            Err(BatchError::Known { no }) => match self.recent.iter().find(|b| b.no == no) {
                Some(batch) => Checked::Known(batch.clone()),
                None => Checked::Useless,
            },
            Err(BatchError::TooOld { .. } | BatchError::OldChain { .. }) => Checked::Useless,
            // Two that are both signed: the signer's fault, not that of whoever passes it on.
            Err(BatchError::Contradicts { .. }) => {
                self.refused += 1;
                Checked::Useless
            }
            Err(_) if self.lenient_until.is_some_and(|at| at > now) => Checked::Useless,
            Err(_) => {
                self.refused += 1;
                Checked::Bad
            }
        }
    }

    fn keep(&mut self, batch: Arc<Batch>) {
        self.infos.extend(batch.pieces.iter().map(|info| (info.no, (batch.epoch, *info))));
        while self.infos.len() > MAX_INFOS {
            self.infos.pop_first();
        }
        let at = self.recent.partition_point(|b| b.no < batch.no);
        self.recent.insert(at, batch);
        if self.recent.len() > MAX_BATCHES {
            self.recent.pop_front();
        }
    }
}
