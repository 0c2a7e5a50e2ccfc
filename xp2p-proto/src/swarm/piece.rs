//! Pieces and the batches that announce them.

use bytes::Bytes;

use super::constants::LANES;

/// Bytes of the hash by which a piece is known: the first 16 of its BLAKE3 hash.
pub const PIECE_HASH_LEN: usize = 16;

/// The hash by which a piece with this content is known.
pub fn piece_hash(content: &[u8]) -> [u8; PIECE_HASH_LEN] {
    let mut hash = [0; PIECE_HASH_LEN];
    // The output is longer than any length asked for.
    blake3::Hasher::new().update(content).finalize_xof().fill(&mut hash);
    hash
}

/// The number of a piece. The signer counts the pieces of a stream without gaps, over all segments and epochs.
pub type PieceNo = u64;

/// What a digest batch says about one piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PieceInfo {
    /// Its number.
    pub no: PieceNo,
    /// The number of its segment; the signer counts segments without gaps, too.
    pub segment: u64,
    /// Its place in its segment, from 0. Piece 0 begins with the configuration and a keyframe.
    pub index: u16,
    /// Canonical time of its first frame in ms since the signer began.
    pub time: u64,
    /// Canonical time in ms when its last byte is known at the origin. Not before `time`.
    pub end: u64,
    /// Bytes of its content.
    pub len: u16,
    /// First 16 bytes of BLAKE3 over its content.
    pub hash: [u8; PIECE_HASH_LEN],
}

impl PieceInfo {
    /// The substream (lane) that carries the piece. The segment's number shifts it, so that the large pieces of keyframes
    /// do not always fall on the same lanes.
    pub fn lane(&self) -> usize {
        // An odd multiplier spreads consecutive segments over all lanes.
        let shift = self.segment.wrapping_mul(5);
        // Less than LANES, so it fits.
        (u64::from(self.index).wrapping_add(shift) % LANES as u64) as usize
    }

    /// Whether playing can begin here.
    pub fn starts_segment(&self) -> bool {
        self.index == 0
    }
}

/// A piece that a reader of the origin has cut, without its content: it has no number yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observed {
    /// The run it is of, as its reader counts.
    pub run: u64,
    /// Its place in its segment, from 0.
    pub index: u16,
    /// Time of its first frame in ms, as the run counts.
    pub time: i64,
    /// Time of its last frame in ms.
    pub end: i64,
    /// Bytes of its content, at most [`MAX_PIECE`](super::constants::MAX_PIECE).
    pub len: u16,
    /// First 16 bytes of BLAKE3 over its content.
    pub hash: [u8; PIECE_HASH_LEN],
}

impl Observed {
    /// Whether a segment begins with it.
    pub fn starts_segment(&self) -> bool {
        self.index == 0
    }
}

/// A digest batch: the pieces that a signer has made since the last one. At most [`MAX_BATCH_PIECES`] of them.
///
/// [`MAX_BATCH_PIECES`]: super::constants::MAX_BATCH_PIECES
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The signer's run: a new one starts all numbers anew.
    pub chain: u64,
    /// Its number, without gaps.
    pub no: u64,
    /// Changes when the publisher restarts; pieces of different epochs have nothing to do with each other.
    pub epoch: u32,
    /// The signer's canonical time in ms when it signed.
    pub edge: u64,
    /// The pieces, in order.
    pub pieces: Vec<PieceInfo>,
    /// The signed bytes as they came, to be passed on. Empty in simulations of the scheduler alone.
    pub raw: Bytes,
}

impl Batch {
    /// The number after its last piece; `None` if it is empty.
    pub fn end(&self) -> Option<PieceNo> {
        self.pieces.last().map(|p| p.no + 1)
    }
}

/// The content of a piece, as far as a scheduler needs to know it.
pub trait Payload: Clone {
    /// Whether it is what `info` announces.
    fn verify(&self, info: &PieceInfo) -> bool;

    /// Its length in bytes.
    fn len(&self) -> usize;

    /// Whether it is empty.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Payload for Bytes {
    fn verify(&self, info: &PieceInfo) -> bool {
        self.as_ref().len() == usize::from(info.len) && piece_hash(self) == info.hash
    }

    fn len(&self) -> usize {
        self.as_ref().len()
    }
}
