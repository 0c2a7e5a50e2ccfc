//! The newest pieces of a stream that is signed in this process, for a member that lacks some: see [`Filling`](super::filling).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::swarm::PieceNo;

/// How long a piece is kept: longer than any group of pictures that is still of use to somebody who plays 2.5 s behind.
const KEEP: Duration = Duration::from_secs(8);
/// Most bytes that are kept of one stream: 8 s of 16 Mbit/s.
const MAX_BYTES: usize = 16 << 20;
/// Most pieces that are kept of one stream.
const MAX_PIECES: usize = 4096;

/// The newest pieces of one stream, in order of their numbers.
#[derive(Debug, Default)]
pub(super) struct Store {
    pieces: VecDeque<(Instant, PieceNo, Bytes)>,
    bytes: usize,
}

impl Store {
    /// Keeps a piece. A number that is not the next one means that the signer has begun anew.
    pub(super) fn push(&mut self, now: Instant, no: PieceNo, content: Bytes) {
        if self.pieces.back().is_some_and(|(_, last, _)| no <= *last) {
            self.pieces.clear();
            self.bytes = 0;
        }
        self.bytes += content.len();
        self.pieces.push_back((now, no, content));
        while let Some((at, _, content)) = self.pieces.front()
            && (self.bytes > MAX_BYTES
                || self.pieces.len() > MAX_PIECES
                || now.saturating_duration_since(*at) > KEEP)
        {
            self.bytes = self.bytes.saturating_sub(content.len());
            self.pieces.pop_front();
        }
    }

    /// Those from `from` up to, but not, `to` that are here.
    pub(super) fn range(&self, from: PieceNo, to: PieceNo) -> impl Iterator<Item = (PieceNo, Bytes)> + '_ {
        let first = self.pieces.partition_point(|(_, no, _)| *no < from);
        self.pieces
            .iter()
            .skip(first)
            .take_while(move |(_, no, _)| *no < to)
            .map(|(_, no, content)| (*no, content.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "a test needs some first instant")]
    fn first_instant() -> Instant {
        Instant::now()
    }

    fn numbers(store: &Store, from: PieceNo, to: PieceNo) -> Vec<PieceNo> {
        store.range(from, to).map(|(no, _)| no).collect()
    }

    #[test]
    fn the_newest_seconds_are_kept() {
        let start = first_instant();
        let mut store = Store::default();
        for no in 0..200 {
            store.push(start + Duration::from_millis(100 * no), no, Bytes::from_static(b"piece"));
        }
        assert_eq!(numbers(&store, 0, u64::MAX), (119..200).collect::<Vec<_>>());
        assert_eq!(numbers(&store, 150, 153), [150, 151, 152]);
        assert_eq!(numbers(&store, 198, 300), [198, 199]);
        assert!(numbers(&store, 160, 150).is_empty());
        assert_eq!(store.bytes, 81 * 5);
    }

    #[test]
    fn no_stream_takes_all_memory() {
        let now = first_instant();
        let mut store = Store::default();
        let large = Bytes::from(vec![0; 1 << 20]);
        (0..40).for_each(|no| store.push(now, no, large.clone()));
        assert_eq!(numbers(&store, 0, 40), (24..40).collect::<Vec<_>>());
        (0..10_000).for_each(|no| store.push(now, 40 + no, Bytes::new()));
        assert_eq!(store.pieces.len(), MAX_PIECES);
    }

    #[test]
    fn a_signer_that_begins_anew_begins_with_an_empty_store() {
        let now = first_instant();
        let mut store = Store::default();
        (0..5).for_each(|no| store.push(now, no, Bytes::from_static(b"old")));
        store.push(now, 0, Bytes::from_static(b"new"));
        assert_eq!(store.range(0, 9).collect::<Vec<_>>(), [(0, Bytes::from_static(b"new"))]);
    }
}
