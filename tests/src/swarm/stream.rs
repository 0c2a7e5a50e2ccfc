//! The stream: its pieces, when the origin has them, and the batches that announce them.

use std::sync::Arc;

use bytes::Bytes;
use xp2p_proto::swarm::constants::{MAX_BATCH_PIECES, MAX_PIECE, MAX_PIECE_MS};
use xp2p_proto::swarm::{Batch, PIECE_HASH_LEN, Payload, PieceInfo};

use super::model::Model;
use super::queue::{MS, Nanos};
use super::random::Random;

/// The content of a piece, as far as the scheduler needs to know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SimPayload {
    /// The piece that it is, as far as the number goes.
    pub(crate) no: u32,
    /// Its length.
    pub(crate) len: u16,
    /// Whether it is what the origin sent.
    pub(crate) genuine: bool,
}

impl Payload for SimPayload {
    fn verify(&self, info: &PieceInfo) -> bool {
        self.genuine && u64::from(self.no) == info.no && self.len == info.len
    }

    fn len(&self) -> usize {
        usize::from(self.len)
    }
}

/// A piece and when the origin can send its last byte.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cut {
    pub(crate) info: PieceInfo,
    pub(crate) known: Nanos,
}

impl Cut {
    pub(crate) fn payload(&self) -> SimPayload {
        SimPayload { no: self.info.no as u32, len: self.info.len, genuine: true }
    }
}

/// All pieces of a run, in order; piece `no` is at place `no`.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) pieces: Vec<Cut>,
    /// The first piece of each segment.
    segments: Vec<u32>,
}

impl Stream {
    /// The stream until `end`. While `away`, nobody can read the origin: what was sent then is never known, but for the
    /// group of pictures that is under way when it comes back.
    pub(crate) fn new(model: &Model, end: Nanos, away: Option<(Nanos, Nanos)>, random: &mut Random) -> Self {
        let mut stream = Self { pieces: Vec::new(), segments: Vec::new() };
        let frames = model.fps * model.gop_s;
        let gop_bytes = (model.rate / 8 * model.gop_s) as f64;
        let rest = (gop_bytes - model.keyframe) / (frames - 1) as f64;
        let vary = |random: &mut Random| {
            // Nearly normal: the sum of four draws, with a standard deviation of 1.
            let z = ((0..4).map(|_| random.unit()).sum::<f64>() - 2.0) * 3.0_f64.sqrt();
            (model.frame_sigma * z - model.frame_sigma * model.frame_sigma / 2.0).exp()
        };
        for gop in 0..=end / MS / 1000 / model.gop_s {
            let begin = gop * model.gop_s * 1000;
            let (mut from, mut filled, mut last) = (begin, 0_u64, begin);
            let mut cuts = Vec::new();
            for frame in 0..frames {
                let time = begin + frame * 1000 / model.fps;
                if filled > 0 && time - from >= MAX_PIECE_MS {
                    cuts.push((from, last, filled));
                    filled = 0;
                }
                let size = if frame == 0 { model.keyframe } else { rest } * vary(random);
                let mut size = size.max(200.0) as u64;
                while size > 0 {
                    if filled == 0 {
                        from = time;
                    }
                    let part = size.min(MAX_PIECE as u64 - filled);
                    (filled, size) = (filled + part, size - part);
                    if filled == MAX_PIECE as u64 {
                        cuts.push((from, time, filled));
                        filled = 0;
                    }
                }
                last = time;
            }
            if filled > 0 {
                // Only the next keyframe tells that nothing more comes.
                cuts.push((from, begin + model.gop_s * 1000, filled));
            }
            stream.segment(&cuts, begin, away, model.gop_s * 1000);
        }
        stream
    }

    fn segment(&mut self, cuts: &[(u64, u64, u64)], begin: u64, away: Option<(Nanos, Nanos)>, length: u64) {
        let segment = self.segments.len() as u64;
        let first = self.pieces.len();
        for (from, until, len) in cuts {
            let mut known = until * MS;
            if let Some((gone, back)) = away
                && (gone..back).contains(&known)
            {
                // The group that is under way when the origin comes back is sent from its keyframe on.
                if begin * MS < gone || (begin + length) * MS <= back {
                    continue;
                }
                known = back;
            } else if let Some((gone, back)) = away
                && begin * MS < gone
                && known >= back
            {
                // Its group has a hole already.
                continue;
            }
            let no = self.pieces.len() as u64;
            let mut hash = [0; PIECE_HASH_LEN];
            hash[..8].copy_from_slice(&super::random::mix(no + 1).to_le_bytes());
            let index = (self.pieces.len() - first) as u16;
            let info = PieceInfo { no, segment, index, time: *from, end: *until, len: *len as u16, hash };
            self.pieces.push(Cut { info, known });
        }
        if self.pieces.len() > first {
            self.segments.push(first as u32);
        }
    }

    /// The first piece of the newest segment of which the origin has something.
    pub(crate) fn current(&self, now: Nanos) -> u32 {
        let begun = self.segments.partition_point(|first| self.pieces[*first as usize].known <= now);
        self.segments[begun.saturating_sub(1)]
    }

    /// The batches, each with the time at which the signer gives it away.
    pub(crate) fn batches(
        &self,
        model: &Model,
        lag: Nanos,
        chain: u64,
        end: Nanos,
    ) -> Vec<(Nanos, Arc<Batch>)> {
        let mut batches = Vec::new();
        let mut next = 0;
        for tick in 1.. {
            let at = tick * model.batch_every * MS;
            if at > end {
                break;
            }
            loop {
                let new =
                    self.pieces[next..].iter().take_while(|p| p.known + lag <= at).take(MAX_BATCH_PIECES);
                let pieces: Vec<PieceInfo> = new.map(|p| p.info).collect();
                if pieces.is_empty() {
                    break;
                }
                next += pieces.len();
                let edge = at.saturating_sub(lag) / MS;
                let no = batches.len() as u64 + 1;
                let batch = Batch { chain, no, epoch: 1, edge, pieces, raw: Bytes::new() };
                batches.push((at, Arc::new(batch)));
            }
        }
        batches
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::swarm::model::Scenario;
    use crate::swarm::queue::SECOND;

    fn stream(away: Option<(Nanos, Nanos)>) -> Stream {
        Stream::new(&Model::of(Scenario::Calm), 60 * SECOND, away, &mut Random::new(1, 0))
    }

    #[test]
    fn pieces_are_cut_at_8_kib_or_120_ms_and_make_up_the_rate() {
        let stream = stream(None);
        let bytes: u64 = stream.pieces.iter().map(|p| u64::from(p.info.len)).sum();
        assert!((14_500_000..16_500_000).contains(&bytes), "{bytes}");
        let a_second = stream.pieces.len() / 62;
        assert!((28..40).contains(&a_second), "{a_second}");
        for pair in stream.pieces.windows(2) {
            let (a, b) = (pair[0].info, pair[1].info);
            assert_eq!(a.no + 1, b.no);
            assert!(a.time <= b.time && a.end <= b.end && a.time <= a.end && pair[0].known <= pair[1].known);
            assert!(
                b.index == a.index + 1 && a.segment == b.segment
                    || b.index == 0 && b.segment == a.segment + 1
            );
            assert!(usize::from(a.len) <= MAX_PIECE);
        }
        let current = stream.pieces[stream.current(11 * SECOND) as usize];
        assert_eq!((current.info.index, current.info.time), (0, 10_000));
    }

    #[test]
    fn what_the_origin_sent_while_it_was_away_is_never_known() {
        let (gone, back) = (21 * SECOND, 25 * SECOND);
        let stream = stream(Some((gone, back)));
        assert!(stream.pieces.iter().all(|p| p.known < gone || p.known >= back));
        for pair in stream.pieces.windows(2) {
            assert!(pair[0].info.no + 1 == pair[1].info.no && pair[0].known <= pair[1].known);
        }
        let back = stream.pieces.iter().find(|p| p.known >= back).expect("it comes back");
        assert_eq!((back.info.time, back.info.index), (24_000, 0));
    }

    #[test]
    fn batches_announce_every_piece_once_when_the_witness_has_seen_it() {
        let stream = stream(None);
        let model = Model::of(Scenario::Calm);
        let batches = stream.batches(&model, 100 * MS, 7, 60 * SECOND);
        let mut next = 0;
        for (i, (at, batch)) in batches.iter().enumerate() {
            assert_eq!(batch.no, i as u64 + 1);
            for piece in &batch.pieces {
                assert_eq!(piece.no, next);
                assert!(stream.pieces[next as usize].known + 100 * MS <= *at);
                next += 1;
            }
        }
        assert!(next > 60 * 28);
    }
}
