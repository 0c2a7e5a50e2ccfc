//! The witness: reads the origin and signs what it saw.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use xp2p_proto::flv::Tag;
use xp2p_proto::swarm::content::{Canonical, Cutter, Signer, Tracks};
use xp2p_proto::swarm::{Batch, PieceNo, StreamId};

use super::witness_secret;

/// Reads the origin and signs what it saw.
pub(super) struct Witness {
    canonical: Canonical,
    cutter: Cutter,
    signer: Signer,
}

impl Witness {
    pub(super) fn new(tracks: Tracks, stream: StreamId, chain: u64, now: Instant) -> Self {
        Self {
            canonical: Canonical::new(tracks, now),
            cutter: Cutter::new(),
            signer: Signer::new(witness_secret(), stream, chain),
        }
    }

    pub(super) fn push(&mut self, now: Instant, tag: &Tag) {
        self.canonical.push(now, tag);
    }

    /// The pieces and the batches that are ready.
    pub(super) fn poll(&mut self, now: Instant) -> (Vec<(PieceNo, Bytes)>, Vec<Arc<Batch>>) {
        self.canonical.handle_timeout(now);
        let (mut pieces, mut batches) = (Vec::new(), Vec::new());
        while let Some(item) = self.canonical.poll() {
            self.cutter.push(&item);
            while let Some(piece) = self.cutter.poll() {
                let info = self.signer.push(now, &piece.observed());
                pieces.extend(info.map(|info| (info.no, piece.content)));
            }
        }
        while let Some(batch) = self.signer.poll(now) {
            batches.push(batch);
        }
        (pieces, batches)
    }
}
