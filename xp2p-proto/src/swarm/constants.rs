//! Every number of the swarm, in one place, with its reason.
//!
//! Most come from a study of about a hundred configurations; those that simulations of this code have moved say so.

use std::time::Duration;

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

// Data units.

/// Substreams. Eight spread a keyframe evenly and let a small uplink still feed a child or two.
pub const LANES: usize = 8;
/// Most bytes of a piece. A keyframe kept whole, or 16 KiB, brings pull storms.
pub const MAX_PIECE: usize = 8 * 1024;
/// Most time in one piece, in ms.
pub const MAX_PIECE_MS: u64 = 120;
/// Most pieces that one digest batch may announce.
pub const MAX_BATCH_PIECES: usize = 64;
/// Most bytes of a digest batch: its head, 64 pieces of at most 27 bytes, and a signature.
pub const MAX_BATCH: usize = 2048;
/// Shortest time between two digest batches, unless one is full.
pub const BATCH_INTERVAL: Duration = ms(250);
/// Most bytes that tell how to reach a member.
pub const MAX_CONTACT: usize = 256;
