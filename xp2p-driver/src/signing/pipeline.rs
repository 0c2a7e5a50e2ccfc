//! From tags to signed pieces, without a task.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use xp2p_proto::flv::Tag;
use xp2p_proto::keys::SecretKey;
use xp2p_proto::swarm::content::{Canonical, CutPiece, Cutter, Item, Signer, Tracks};
use xp2p_proto::swarm::{Batch, PIECE_HASH_LEN, PieceNo, StreamId};

/// Beginnings of segments that are remembered, to know them again after a new connection to the origin: what an origin keeps
/// for newcomers is rarely more than a few groups of pictures.
const REMEMBERED: usize = 16;
/// How long known beginnings are passed over then. A still picture repeats itself, and must not be passed over for ever.
const MAX_SKIP: Duration = Duration::from_secs(5);

/// What a [`Pipeline`] gives.
#[derive(Debug, Clone)]
pub enum Signed {
    /// A piece, of all ids of the stream alike.
    Piece {
        /// Its number.
        no: PieceNo,
        /// Its content.
        content: Bytes,
    },
    /// A digest batch.
    Batch {
        /// The id under which it is signed.
        stream: StreamId,
        /// The batch.
        batch: Arc<Batch>,
    },
}

/// Makes signed pieces of the tags of one stream.
#[derive(Debug)]
pub struct Pipeline {
    canonical: Canonical,
    cutter: Cutter,
    /// One for each id: the id is part of what is signed. They number pieces alike, because they see the same ones.
    signers: Vec<(StreamId, Signer)>,
    /// Number of the first run of this connection, and of the newest.
    runs: (u64, u64),
    /// Hashes of the first pieces of the newest segments.
    beginnings: VecDeque<[u8; PIECE_HASH_LEN]>,
    /// Segments that were signed before are passed over until then.
    skip_until: Option<Instant>,
    out: VecDeque<Signed>,
}

impl Pipeline {
    /// A pipeline that has seen nothing. `chain` has to grow with every run of a signer of this stream: unix time in ms.
    pub fn new(key: &SecretKey, streams: &[StreamId], chain: u64, now: Instant) -> Self {
        let signer = |stream: &StreamId| (*stream, Signer::new(key.clone(), *stream, chain));
        Self {
            canonical: Canonical::new(Tracks::Learnt, now),
            cutter: Cutter::new(),
            signers: streams.iter().map(signer).collect(),
            runs: (0, 0),
            beginnings: VecDeque::new(),
            skip_until: None,
            out: VecDeque::new(),
        }
    }

    /// Takes the next tag.
    pub fn push(&mut self, now: Instant, tag: &Tag) {
        self.canonical.push(now, tag);
        self.advance(now);
    }

    /// What follows is of a new connection. What the old one has begun is not complete and is dropped; what the new one
    /// repeats is passed over.
    pub fn restart(&mut self, now: Instant) {
        self.canonical = Canonical::new(Tracks::Learnt, now);
        self.cutter = Cutter::new();
        let next = self.runs.1.saturating_add(1);
        self.runs = (next, next);
        self.skip_until = Some(now + MAX_SKIP);
    }

    /// Lets go what has waited long enough.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.canonical.handle_timeout(now);
        self.advance(now);
    }

    /// When to call [`handle_timeout`](Self::handle_timeout).
    pub fn poll_timeout(&self) -> Option<Instant> {
        let signers = self.signers.iter().filter_map(|(_, signer)| signer.poll_timeout());
        self.canonical.poll_timeout().into_iter().chain(signers).min()
    }

    /// What is ready: pieces always before the batches that announce them.
    pub fn poll(&mut self) -> Option<Signed> {
        self.out.pop_front()
    }

    fn advance(&mut self, now: Instant) {
        while let Some(mut item) = self.canonical.poll() {
            if let Item::Run { run, .. } = &mut item {
                // The runs of a connection count from 0, and a number that comes again would not be a new one to the signer.
                *run = run.saturating_add(self.runs.0);
                self.runs.1 = *run;
            }
            self.cutter.push(&item);
            while let Some(piece) = self.cutter.poll() {
                self.piece(now, piece);
            }
        }
        for (stream, signer) in &mut self.signers {
            while let Some(batch) = signer.poll(now) {
                self.out.push_back(Signed::Batch { stream: *stream, batch });
            }
        }
    }

    fn piece(&mut self, now: Instant, piece: CutPiece) {
        if piece.segment_start() {
            let again = self.beginnings.contains(&piece.hash);
            if self.skip_until.is_some_and(|until| !again || now >= until) {
                self.skip_until = None;
            }
            if self.beginnings.len() >= REMEMBERED {
                self.beginnings.pop_front();
            }
            self.beginnings.push_back(piece.hash);
        }
        if self.skip_until.is_some() {
            return;
        }
        let mut no = None;
        for (_, signer) in &mut self.signers {
            no = signer.push(now, &piece.observed()).map(|info| info.no).or(no);
        }
        self.out.extend(no.map(|no| Signed::Piece { no, content: piece.content }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use xp2p_proto::flv::TagKind;
    use xp2p_proto::swarm::content::Verifier;
    use xp2p_proto::swarm::piece_hash;

    const MS: Duration = Duration::from_millis(1);

    fn ids() -> [StreamId; 2] {
        ["http://localhost:1/live/a.flv", "http://127.0.0.1:1/live/a.flv"]
            .map(|url| StreamId::of_url(url).unwrap())
    }

    fn key() -> SecretKey {
        SecretKey::from_bytes([1; 32])
    }

    /// Video of 25 pictures per second, a keyframe each second, the first `from` ms left out.
    fn feed(pipeline: &mut Pipeline, start: Instant, from: u32, to: u32) -> Vec<Signed> {
        let video = |timestamp, body: Vec<u8>| Tag { kind: TagKind::Video, timestamp, body: body.into() };
        pipeline.push(start, &video(from, vec![0x17, 0, 0, 0, 0, 1, 77, 0, 31]));
        let mut out = Vec::new();
        for time in (from..to).step_by(40) {
            let mut body = vec![if time % 1000 == 0 { 0x17 } else { 0x27 }, 1, 0, 0, 0];
            body.extend_from_slice(&time.to_be_bytes());
            let now = start + MS * (time - from);
            pipeline.push(now, &video(time, body));
            while pipeline.poll_timeout().is_some_and(|at| at <= now) {
                pipeline.handle_timeout(now);
            }
            out.extend(std::iter::from_fn(|| pipeline.poll()));
        }
        out
    }

    fn pieces(signed: &[Signed]) -> Vec<(PieceNo, Bytes)> {
        signed
            .iter()
            .filter_map(|s| match s {
                Signed::Piece { no, content } => Some((*no, content.clone())),
                Signed::Batch { .. } => None,
            })
            .collect()
    }

    /// Checks all batches of one id, and returns what they announce.
    fn announced(verifier: &mut Verifier, id: StreamId, signed: &[Signed]) -> Vec<(PieceNo, [u8; 16], u32)> {
        let mut all = Vec::new();
        for one in signed {
            if let Signed::Batch { stream, batch } = one
                && *stream == id
            {
                let batch = verifier.verify(&batch.raw).expect("a good batch");
                all.extend(batch.pieces.iter().map(|p| (p.no, p.hash, batch.epoch)));
            }
        }
        all
    }

    #[test]
    fn each_id_has_batches_of_its_own_for_the_same_pieces() {
        let start = Instant::now();
        let mut pipeline = Pipeline::new(&key(), &ids(), 5, start);
        let signed = feed(&mut pipeline, start, 0, 4000);
        let pieces = pieces(&signed);
        assert!(pieces.len() > 15, "{}", pieces.len());
        assert!(pieces.iter().enumerate().all(|(i, (no, _))| *no == i as u64));
        for id in ids() {
            let mut verifier = Verifier::new(id, vec![key().public()]);
            let all = announced(&mut verifier, id, &signed);
            assert!(all.len() + 4 > pieces.len(), "{} of {}", all.len(), pieces.len());
            for ((no, hash, _), (n, content)) in all.iter().zip(&pieces) {
                assert_eq!((*no, *hash), (*n, piece_hash(content)));
            }
        }
    }

    #[test]
    fn a_new_connection_goes_on_in_a_new_epoch_and_repeats_nothing() {
        let start = Instant::now();
        let mut pipeline = Pipeline::new(&key(), &ids(), 5, start);
        let mut signed = feed(&mut pipeline, start, 0, 3500);
        let before = pieces(&signed).len();
        let later = start + MS * 4000;
        pipeline.restart(later);
        // The origin begins with the keyframe of 3 s, most of whose group was signed.
        signed.extend(feed(&mut pipeline, later, 3000, 6000));
        let all = pieces(&signed);
        assert!(all.len() > before + 5);
        assert!(all.iter().enumerate().all(|(i, (no, _))| *no == i as u64), "no number is missing");
        let mut contents: Vec<_> = all.iter().map(|(_, content)| content).collect();
        contents.sort_unstable();
        contents.dedup();
        assert_eq!(contents.len(), all.len(), "nothing comes twice");
        let id = ids()[0];
        let mut verifier = Verifier::new(id, vec![key().public()]);
        let epochs: Vec<u32> = announced(&mut verifier, id, &signed).iter().map(|(.., e)| *e).collect();
        assert_eq!((epochs.first(), epochs.last()), (Some(&0), Some(&1)));
    }

    #[test]
    fn a_still_picture_is_not_passed_over_for_ever() {
        let start = Instant::now();
        let mut pipeline = Pipeline::new(&key(), &ids(), 5, start);
        feed(&mut pipeline, start, 0, 3500);
        pipeline.restart(start);
        // The same again: everything is known.
        let again = feed(&mut pipeline, start, 0, 2500);
        assert!(pieces(&again).is_empty());
        let later = start + MAX_SKIP;
        pipeline.restart(start);
        assert!(!pieces(&feed(&mut pipeline, later, 0, 2500)).is_empty());
    }
}
