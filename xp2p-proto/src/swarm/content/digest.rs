//! Digest batches: what a signer says about the pieces it has made.
//!
//! | field | bytes |
//! |---|---|
//! | format, 1 | 1 |
//! | stream id | 16 |
//! | chain | 8 |
//! | number of the batch | varint |
//! | epoch | varint |
//! | edge, ms | varint |
//! | first 16 bytes of BLAKE3 over the batch before it, zero for number 0 | 16 |
//! | number of the first piece, its segment, its index | varint each |
//! | number of pieces, 1 to 64 | 1 |
//! | of each piece: flags (1: a segment begins; 2: it is of full length) | 1 |
//! | its time after that of the piece before (of the first piece: in full), ms | varint |
//! | its end after its time, ms | varint |
//! | its length, unless it is full | varint |
//! | its hash | 16 |
//! | Ed25519 signature over `xp2p swarm batch v1`, a zero byte, and all of the above | 64 |
//!
//! The flag of the first piece says the same as its index. At 2 Mbit/s all this is about 0.8 % of the stream.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use thiserror::Error;

use crate::keys::{PublicKey, SIGNATURE_LEN, SecretKey};
use crate::swarm::codec::field::{
    CodecError, CodecReason, Field, MAX_VARINT, array, byte, long, put_varint, refuse, varint, whole,
};
use crate::swarm::constants::{BATCH_INTERVAL, MAX_BATCH, MAX_BATCH_PIECES, MAX_PIECE};
use crate::swarm::piece::{PIECE_HASH_LEN, piece_hash};
use crate::swarm::{Batch, Observed, PieceInfo, PieceNo, StreamId};

/// What every signature covers first, so that it is good for nothing else.
const CONTEXT: &[u8] = b"xp2p swarm batch v1\0";
const FORMAT: u8 = 1;
const NEW_SEGMENT: u8 = 1;
const FULL: u8 = 2;
/// How many batches a verifier remembers: 64 s at the usual pace.
const REMEMBERED: usize = 256;

fn sign_input(content: &[u8]) -> Vec<u8> {
    [CONTEXT, content].concat()
}

/// Numbers pieces and signs batches of them.
#[derive(Debug)]
pub struct Signer {
    key: SecretKey,
    stream: StreamId,
    chain: u64,
    next_batch: u64,
    previous: [u8; PIECE_HASH_LEN],
    last_signed: Option<Instant>,
    last: Option<PieceInfo>,
    epoch: u32,
    clock: Option<SignerClock>,
    /// Pieces to be signed, each with its epoch.
    waiting: VecDeque<(u32, PieceInfo)>,
}

/// How a run's time becomes canonical.
#[derive(Clone, Copy, Debug)]
struct SignerClock {
    run: u64,
    /// Canonical time less the run's.
    shift: i64,
    /// Canonical end of the newest piece, and when it came.
    newest: (u64, Instant),
}

impl SignerClock {
    /// Canonical time at `now`: it goes on from the newest piece.
    fn edge(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.newest.1).as_millis();
        self.newest.0.saturating_add(u64::try_from(since).unwrap_or(u64::MAX)).min(MAX_VARINT)
    }

    fn canonical(&self, time: i64) -> u64 {
        u64::try_from(time.saturating_add(self.shift)).unwrap_or(0)
    }
}

impl Signer {
    /// A signer that has signed nothing. `chain` has to be larger than that of every run of a signer of this stream
    /// before: the unix time in ms at which this one began is good.
    pub fn new(key: SecretKey, stream: StreamId, chain: u64) -> Self {
        Self {
            key,
            stream,
            chain: chain.min(MAX_VARINT),
            next_batch: 0,
            previous: [0; PIECE_HASH_LEN],
            last_signed: None,
            last: None,
            epoch: 0,
            clock: None,
            waiting: VecDeque::new(),
        }
    }

    /// Takes the next piece of a [`Cutter`](super::Cutter) and gives it its number. `None` for pieces before the first
    /// beginning of a segment. Call [`poll`](Self::poll) until it is `None` afterwards.
    pub fn push(&mut self, now: Instant, piece: &Observed) -> Option<PieceInfo> {
        if piece.starts_segment() {
            self.set_clock(now, piece);
        }
        let clock = self.clock.as_mut()?;
        let time = clock.canonical(piece.time);
        let end = clock.canonical(piece.end).max(time);
        clock.newest = (end.max(clock.newest.0), now);
        let info = PieceInfo {
            no: self.last.map_or(0, |l| l.no + 1),
            segment: self.last.map_or(0, |l| l.segment + u64::from(piece.starts_segment())),
            index: piece.index,
            time,
            end,
            len: piece.len,
            hash: piece.hash,
        };
        self.last = Some(info);
        self.waiting.push_back((self.epoch, info));
        Some(info)
    }

    /// The next batch, if one is due: when [`BATCH_INTERVAL`] has passed since the last one, or enough pieces for a whole
    /// one wait.
    pub fn poll(&mut self, now: Instant) -> Option<Arc<Batch>> {
        let epoch = self.waiting.front()?.0;
        let count = self.waiting.iter().take(MAX_BATCH_PIECES).take_while(|(e, _)| *e == epoch).count();
        if count < MAX_BATCH_PIECES && self.due().is_some_and(|due| now < due) {
            return None;
        }
        let pieces: Vec<_> = self.waiting.drain(..count).map(|(_, info)| info).collect();
        let edge = self.clock.map_or(0, |c| c.edge(now));
        self.last_signed = Some(now);
        Some(Arc::new(self.sign(epoch, edge, pieces)))
    }

    /// When to call [`poll`](Self::poll) again.
    pub fn poll_timeout(&self) -> Option<Instant> {
        (!self.waiting.is_empty()).then(|| self.due()).flatten()
    }

    /// Canonical time at `now`; `None` before the first piece.
    pub fn edge(&self, now: Instant) -> Option<u64> {
        Some(self.clock?.edge(now))
    }

    fn due(&self) -> Option<Instant> {
        self.last_signed.map(|at| at + BATCH_INTERVAL)
    }

    /// A new run, or a time before that of the last piece, begins an epoch. Canonical time goes on as the clock does.
    fn set_clock(&mut self, now: Instant, piece: &Observed) {
        let last_time = self.last.map_or(0, |l| l.time);
        if self.clock.is_some_and(|c| c.run == piece.run && c.canonical(piece.time) >= last_time) {
            return;
        }
        let start = self.clock.map_or(0, |c| c.edge(now));
        self.epoch = self.epoch.wrapping_add(u32::from(self.clock.is_some()));
        let shift = i64::try_from(start).unwrap_or(i64::MAX).saturating_sub(piece.time);
        self.clock = Some(SignerClock { run: piece.run, shift, newest: (start, now) });
    }

    fn sign(&mut self, epoch: u32, edge: u64, pieces: Vec<PieceInfo>) -> Batch {
        let mut batch =
            Batch { chain: self.chain, no: self.next_batch, epoch, edge, pieces, raw: Bytes::new() };
        let mut raw = encode(&self.stream, &self.previous, &batch);
        let signature = self.key.sign(&sign_input(&raw));
        raw.extend_from_slice(&signature);
        batch.raw = raw.into();
        self.previous = piece_hash(&batch.raw);
        self.next_batch += 1;
        batch
    }
}

/// The bytes of a batch up to its signature.
fn encode(stream: &StreamId, previous: &[u8; PIECE_HASH_LEN], batch: &Batch) -> Vec<u8> {
    let mut out = Vec::with_capacity(MAX_BATCH);
    out.push(FORMAT);
    out.extend_from_slice(stream.as_bytes());
    out.extend_from_slice(&batch.chain.to_be_bytes());
    put_varint(&mut out, batch.no);
    put_varint(&mut out, batch.epoch.into());
    put_varint(&mut out, batch.edge);
    out.extend_from_slice(previous);
    let first = batch.pieces.first();
    put_varint(&mut out, first.map_or(0, |p| p.no));
    put_varint(&mut out, first.map_or(0, |p| p.segment));
    put_varint(&mut out, first.map_or(0, |p| p.index.into()));
    // At most MAX_BATCH_PIECES.
    out.push(batch.pieces.len() as u8);
    let mut time = 0;
    for piece in &batch.pieces {
        let full = usize::from(piece.len) == MAX_PIECE;
        let new = piece.starts_segment();
        out.push(if new { NEW_SEGMENT } else { 0 } | if full { FULL } else { 0 });
        put_varint(&mut out, piece.time.saturating_sub(time));
        put_varint(&mut out, piece.end.saturating_sub(piece.time));
        if !full {
            put_varint(&mut out, piece.len.into());
        }
        out.extend_from_slice(&piece.hash);
        time = piece.time;
    }
    out
}

/// Why a batch is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BatchError {
    /// It cannot be read.
    #[error("the digest batch is malformed: {0}")]
    Malformed(#[from] CodecError),
    /// It is of another stream.
    #[error("the digest batch is of another stream ({0:?})")]
    OtherStream(StreamId),
    /// None of the trusted keys signed it.
    #[error("the digest batch is not signed by a key that is trusted")]
    Signature,
    /// It is known already. No fault of whoever sent it.
    #[error("digest batch {no} is known already")]
    Known {
        /// Its number.
        no: u64,
    },
    /// It is of a run of the signer that ended.
    #[error("the digest batch is of chain {found}, which ended when chain {newest} began")]
    OldChain {
        /// Its chain.
        found: u64,
        /// The newest chain.
        newest: u64,
    },
    /// It is so old that its place is forgotten. No fault of whoever sent it.
    #[error("digest batch {no} is too old, the newest is {newest}")]
    TooOld {
        /// Its number.
        no: u64,
        /// Number of the newest one.
        newest: u64,
    },
    /// The signer signed two batches of one number, or one that does not continue the batch before it.
    #[error("digest batch {no} contradicts another one of its signer")]
    Contradicts {
        /// Its number.
        no: u64,
    },
}

/// What a batch has to agree with.
#[derive(Clone, Copy, Debug)]
struct Place {
    hash: [u8; PIECE_HASH_LEN],
    previous: [u8; PIECE_HASH_LEN],
    epoch: u32,
    first: PieceInfo,
    last: PieceInfo,
}

impl Place {
    /// Whether a batch may stand before `later`, with others between them or, if `next`, none.
    fn may_precede(&self, later: &Self, next: bool) -> bool {
        let (last, first) = (&self.last, &later.first);
        let grows = last.no < first.no
            && last.segment <= first.segment
            && last.time <= first.time
            && self.epoch <= later.epoch;
        if !next {
            return grows;
        }
        let segment = last.segment + u64::from(first.index == 0);
        let index = first.index == 0 || Some(first.index) == last.index.checked_add(1);
        grows
            && later.previous == self.hash
            && first.no == last.no + 1
            && first.segment == segment
            && index
            && (self.epoch == later.epoch || first.index == 0)
    }
}

/// Reads signed batches of one stream, whoever passed them on and in whatever order.
#[derive(Debug)]
pub struct Verifier {
    stream: StreamId,
    keys: Vec<PublicKey>,
    chain: u64,
    known: BTreeMap<u64, Place>,
}

impl Verifier {
    /// A verifier that believes the holders of `keys`, which come from the tracker, an xp2pInfo or the URL, never from a
    /// peer.
    pub fn new(stream: StreamId, keys: Vec<PublicKey>) -> Self {
        Self { stream, keys, chain: 0, known: BTreeMap::new() }
    }

    /// Reads and checks a batch: its signature, and that it agrees with all other batches that are known. A batch of a
    /// newer chain makes those of older ones void.
    ///
    /// # Errors
    ///
    /// See [`BatchError`]. [`Known`](BatchError::Known), [`TooOld`](BatchError::TooOld) and
    /// [`OldChain`](BatchError::OldChain) can come from honest peers.
    pub fn verify(&mut self, raw: &Bytes) -> Result<Arc<Batch>, BatchError> {
        let hash = piece_hash(raw);
        // Cheap, because each batch comes from several neighbours.
        if let Some((no, _)) = self.known.iter().rev().find(|(_, place)| place.hash == hash) {
            return Err(BatchError::Known { no: *no });
        }
        if raw.len() > MAX_BATCH {
            let (found, max) = (raw.len() as u64, MAX_BATCH as u64);
            let reason = CodecReason::TooLarge { what: "a batch", found, max };
            return Err(CodecError { offset: MAX_BATCH, reason }.into());
        }
        let Parsed { stream, previous, mut batch, signed, signature } = whole(raw, parse)?;
        if stream != self.stream {
            return Err(BatchError::OtherStream(stream));
        }
        if batch.chain < self.chain {
            return Err(BatchError::OldChain { found: batch.chain, newest: self.chain });
        }
        let input = sign_input(raw.get(..signed).unwrap_or_default());
        if !self.keys.iter().any(|key| key.verify(&input, &signature)) {
            return Err(BatchError::Signature);
        }
        if batch.chain > self.chain {
            self.chain = batch.chain;
            self.known.clear();
        }
        let no = batch.no;
        let (Some(first), Some(last)) = (batch.pieces.first(), batch.pieces.last()) else {
            return Err(BatchError::Contradicts { no }); // `parse` refuses it
        };
        let place = Place { hash, previous, epoch: batch.epoch, first: *first, last: *last };
        self.agree(no, &place)?;
        self.known.insert(no, place);
        while self.known.len() > REMEMBERED {
            self.known.pop_first();
        }
        batch.raw = raw.clone();
        Ok(Arc::new(batch))
    }

    /// Chain of the newest run of a signer; 0 before the first batch.
    pub fn chain(&self) -> u64 {
        self.chain
    }

    /// Number of the newest batch of the chain.
    pub fn newest(&self) -> Option<u64> {
        self.known.last_key_value().map(|(no, _)| *no)
    }

    fn agree(&self, no: u64, place: &Place) -> Result<(), BatchError> {
        let before = self.known.range(..no).next_back();
        let after = self.known.range(no..).next();
        if before.is_none() && self.known.len() >= REMEMBERED {
            let newest = self.newest().unwrap_or(no);
            return Err(BatchError::TooOld { no, newest });
        }
        let good = self.begins(no, place)
            && before.is_none_or(|(b, p)| p.may_precede(place, b + 1 == no))
            && after.is_none_or(|(a, p)| *a != no && place.may_precede(p, no + 1 == *a));
        if good { Ok(()) } else { Err(BatchError::Contradicts { no }) }
    }

    /// Only the first batch has none before it.
    fn begins(&self, no: u64, place: &Place) -> bool {
        no != 0 || (place.previous == [0; PIECE_HASH_LEN] && place.first.no == 0 && place.first.segment == 0)
    }
}

struct Parsed {
    stream: StreamId,
    previous: [u8; PIECE_HASH_LEN],
    batch: Batch,
    /// Bytes before the signature.
    signed: usize,
    signature: [u8; SIGNATURE_LEN],
}

fn parse(input: &[u8]) -> Field<'_, Parsed> {
    let (rest, format) = byte(input)?;
    if format != FORMAT {
        return refuse(input, CodecReason::Value { what: "the format of a batch", found: format });
    }
    let (rest, stream) = array(rest)?;
    let (rest, chain) = long(rest)?;
    let (rest, no) = varint("the number of a batch", MAX_VARINT - 1, rest)?;
    let (rest, epoch) = varint("an epoch", u32::MAX.into(), rest)?;
    let (rest, edge) = varint("an edge", MAX_VARINT, rest)?;
    let (rest, previous) = array(rest)?;
    // Low enough that counting on from here never overflows.
    let (rest, first) = varint("the number of a piece", MAX_VARINT - 2 * MAX_BATCH_PIECES as u64, rest)?;
    let (rest, segment) = varint("a segment", MAX_VARINT - 2 * MAX_BATCH_PIECES as u64, rest)?;
    let (rest, index) = varint("an index", u16::MAX.into(), rest)?;
    let count_at = rest;
    let (mut rest, count) = byte(rest)?;
    if count == 0 || usize::from(count) > MAX_BATCH_PIECES {
        return refuse(count_at, CodecReason::Value { what: "the number of pieces", found: count });
    }
    let mut pieces: Vec<PieceInfo> = Vec::with_capacity(count.into());
    for _ in 0..count {
        let place = match pieces.last() {
            None => PiecePlace::First { no: first, segment, index: index as u16 }, // at most u16::MAX
            Some(last) => PiecePlace::After(last),
        };
        let (after, info) = piece(&place, edge, rest)?;
        pieces.push(info);
        rest = after;
    }
    let signed = input.len() - rest.len();
    let (rest, signature) = array(rest)?;
    // At most u32::MAX.
    let batch = Batch { chain, no, epoch: epoch as u32, edge, pieces, raw: Bytes::new() };
    Ok((rest, Parsed { stream: StreamId::from_bytes(stream), previous, batch, signed, signature }))
}

/// Where a piece stands.
enum PiecePlace<'a> {
    First { no: PieceNo, segment: u64, index: u16 },
    After(&'a PieceInfo),
}

fn piece<'a>(place: &PiecePlace<'_>, edge: u64, input: &'a [u8]) -> Field<'a, PieceInfo> {
    let (rest, flags) = byte(input)?;
    let bad_flags = CodecReason::Value { what: "the flags of a piece", found: flags };
    if flags & !(NEW_SEGMENT | FULL) != 0 {
        return refuse(input, bad_flags);
    }
    let new = flags & NEW_SEGMENT != 0;
    let (no, segment, index, before) = match place {
        PiecePlace::First { no, segment, index } => (*no, *segment, Some(*index), 0),
        PiecePlace::After(last) if new => (last.no + 1, last.segment + 1, Some(0), last.time),
        PiecePlace::After(last) => (last.no + 1, last.segment, last.index.checked_add(1), last.time),
    };
    let Some(index) = index.filter(|i| (*i == 0) == new) else { return refuse(input, bad_flags) };
    // Neither time is beyond the edge, so nothing overflows.
    let (rest, step) = varint("the time of a piece", edge.saturating_sub(before), rest)?;
    let time = before + step;
    let (rest, length) = varint("the end of a piece", edge.saturating_sub(time), rest)?;
    let (rest, len) = if flags & FULL != 0 {
        (rest, MAX_PIECE as u64)
    } else {
        let (after, len) = varint("the length of a piece", MAX_PIECE as u64 - 1, rest)?;
        if len == 0 {
            return refuse(rest, CodecReason::Value { what: "the length of a piece", found: 0 });
        }
        (after, len)
    };
    let (rest, hash) = array(rest)?;
    let end = time + length;
    // At most MAX_PIECE.
    Ok((rest, PieceInfo { no, segment, index, time, end, len: len as u16, hash }))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn now() -> Instant {
        #[expect(clippy::disallowed_methods, reason = "a test needs some first instant")]
        Instant::now()
    }

    fn stream() -> StreamId {
        StreamId::from_bytes([3; 16])
    }

    fn key(n: u8) -> SecretKey {
        SecretKey::from_bytes([n; 32])
    }

    fn cut(run: u64, index: u16, time: i64, len: usize) -> Observed {
        let hash = piece_hash(&vec![time as u8; len]);
        Observed { run, index, time, end: time + 30, len: len as u16, hash }
    }

    /// Batches of `seconds` at 2 Mbit/s, segments of 2 s.
    fn sign(signer: &mut Signer, start: Instant, seconds: i64) -> Vec<Arc<Batch>> {
        let mut batches = Vec::new();
        for ms in (0..seconds * 1_000).step_by(30) {
            let now = start + Duration::from_millis(ms as u64);
            let len = if ms % 120 == 90 { 6_000 } else { 8_192 };
            signer.push(now, &cut(0, (ms % 1_980 / 30) as u16, ms - 500, len));
            batches.extend(std::iter::from_fn(|| signer.poll(now)));
            assert!(signer.poll_timeout().is_none_or(|t| t > now));
        }
        batches
    }

    fn verifier() -> Verifier {
        Verifier::new(stream(), vec![key(8).public(), key(9).public()])
    }

    #[test]
    fn what_is_signed_is_read_in_any_order() {
        let mut signer = Signer::new(key(9), stream(), 5);
        let batches = sign(&mut signer, now(), 10);
        let mut verifier = verifier();
        for batch in batches.iter().rev() {
            assert_eq!(verifier.verify(&batch.raw).as_ref(), Ok(batch));
            assert_eq!(verifier.verify(&batch.raw), Err(BatchError::Known { no: batch.no }));
        }
        assert_eq!((verifier.chain(), verifier.newest()), (5, Some(batches.len() as u64 - 1)));
        let pieces: Vec<_> = batches.iter().flat_map(|b| &b.pieces).collect();
        assert!(pieces.iter().zip(0..).all(|(p, no)| p.no == no), "numbers have no gaps");
        assert_eq!(pieces[66].segment, 1);
        assert_eq!(pieces[0].time, 0, "canonical time begins with the signer");
        assert!(batches.iter().all(|b| b.pieces.iter().all(|p| p.end <= b.edge)));
    }

    #[test]
    fn batches_cost_less_than_one_percent() {
        let mut signer = Signer::new(key(9), stream(), 1_795_000_000_000);
        let batches = sign(&mut signer, now(), 60);
        let signed: usize = batches.iter().map(|b| b.raw.len()).sum();
        let content: usize = batches.iter().flat_map(|b| &b.pieces).map(|p| usize::from(p.len)).sum();
        let share = signed as f64 / content as f64;
        assert!(share < 0.009, "{share}");
    }

    #[test]
    fn full_batches_do_not_wait_and_others_do() {
        let mut signer = Signer::new(key(9), stream(), 5);
        let start = now();
        for i in 0..150 {
            signer.push(start, &cut(0, i, i.into(), 100));
        }
        let sizes: Vec<_> = std::iter::from_fn(|| signer.poll(start)).map(|b| b.pieces.len()).collect();
        assert_eq!(sizes, [64, 64], "the rest is not due");
        assert_eq!(signer.poll_timeout(), Some(start + BATCH_INTERVAL));
        assert_eq!(signer.poll(start + BATCH_INTERVAL).map(|b| b.pieces.len()), Some(22));
        assert_eq!(signer.poll_timeout(), None);
    }

    #[test]
    fn a_run_or_a_time_before_the_last_one_begins_an_epoch() {
        let mut signer = Signer::new(key(9), stream(), 5);
        let start = now();
        assert_eq!(signer.push(start, &cut(0, 3, 0, 10)), None, "its beginning was not seen");
        signer.push(start, &cut(0, 0, 1_000, 10));
        let later = start + Duration::from_millis(700);
        let info = signer.push(later, &cut(1, 0, 50_000, 10)).unwrap();
        assert_eq!((info.no, info.segment, info.time), (1, 1, 730), "time goes on as the clock does");
        let info = signer.push(later, &cut(1, 0, 49_000, 10)).unwrap();
        assert_eq!((info.no, info.segment, info.time), (2, 2, 760));
        let epochs: Vec<_> = (0..3)
            .filter_map(|i| signer.poll(later + BATCH_INTERVAL * i))
            .map(|b| (b.epoch, b.pieces.len()))
            .collect();
        assert_eq!(epochs, [(0, 1), (1, 1), (2, 1)]);
    }

    #[test]
    fn no_byte_can_be_changed() {
        let mut signer = Signer::new(key(9), stream(), 5);
        let raw = sign(&mut signer, now(), 1)[1].raw.clone();
        let mut verifier = verifier();
        for i in 0..raw.len() {
            let mut bad = raw.to_vec();
            bad[i] ^= 1;
            assert!(verifier.verify(&bad.into()).is_err(), "byte {i}");
            assert!(verifier.verify(&raw.slice(..i)).is_err());
        }
        assert!(verifier.verify(&raw).is_ok());
    }

    #[test]
    fn what_does_not_belong_here_is_refused_with_the_reason() {
        let start = now();
        let mut signer = Signer::new(key(9), stream(), 5);
        let batches = sign(&mut signer, start, 2);
        let mut other = Signer::new(key(9), StreamId::from_bytes([4; 16]), 5);
        let stray = sign(&mut other, start, 1)[0].raw.clone();
        let mut verifier = verifier();
        assert!(matches!(verifier.verify(&stray), Err(BatchError::OtherStream(_))));
        let stray = sign(&mut Signer::new(key(7), stream(), 5), start, 1)[0].raw.clone();
        assert_eq!(verifier.verify(&stray), Err(BatchError::Signature));
        for batch in &batches[..3] {
            verifier.verify(&batch.raw).unwrap();
        }
        // The same number again, and a successor of something else.
        let mut fork = Signer::new(key(8), stream(), 5);
        fork.push(start, &cut(0, 0, 99, 50));
        let fork = sign(&mut fork, start, 2);
        assert_eq!(verifier.verify(&fork[2].raw), Err(BatchError::Contradicts { no: 2 }));
        assert_eq!(verifier.verify(&fork[3].raw), Err(BatchError::Contradicts { no: 3 }));
        // A newer run of the signer, and then the old one again.
        let newer = sign(&mut Signer::new(key(9), stream(), 6), start, 1);
        verifier.verify(&newer[0].raw).unwrap();
        let old = BatchError::OldChain { found: 5, newest: 6 };
        assert_eq!(verifier.verify(&batches[3].raw), Err(old));
    }

    #[test]
    fn old_batches_are_forgotten_and_stay_so() {
        let mut signer = Signer::new(key(9), stream(), 5);
        let batches = sign(&mut signer, now(), 90);
        let mut verifier = verifier();
        for batch in &batches {
            verifier.verify(&batch.raw).unwrap();
        }
        let newest = batches.len() as u64 - 1;
        assert_eq!(verifier.verify(&batches[3].raw), Err(BatchError::TooOld { no: 3, newest }));
        assert_eq!(verifier.known.len(), REMEMBERED);
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(bytes in prop::collection::vec(prop_oneof![any::<u8>(), 0..4_u8], 0..400)) {
            let mut bytes = bytes;
            if let Some(first) = bytes.first_mut() {
                *first = FORMAT;
            }
            if let Ok(parsed) = whole(&bytes, parse) {
                let mut again = encode(&parsed.stream, &parsed.previous, &parsed.batch);
                again.extend_from_slice(&parsed.signature);
                prop_assert_eq!(again, bytes, "one form only");
            }
        }
    }
}
