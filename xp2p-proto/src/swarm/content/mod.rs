//! The content of a shared stream: from an origin that knows nothing of this to identical pieces, and back.
//!
//! ```text
//! origin tags -> Canonical -> Cutter -> Signer  -> batches           (who signs)
//! origin tags -> Canonical -> PullCutter -> Aligner -> numbered pieces (who reads the origin for others)
//!                                batches -> Verifier -> Batch
//! verified pieces -> Reader -> Output -> tags for the player         (everyone)
//! ```
//!
//! Viewers of one origin get the same bodies in the same order within a track, and the same time differences. Offset,
//! interleaving, headers and metadata differ, so [`Canonical`] takes them away. Nothing here trusts that it succeeded: a piece
//! counts only if its hash is what a signer announced.

mod align;
mod canonical;
mod cut;
mod digest;
#[cfg(any(test, feature = "sim"))]
pub mod emulator;
mod frame;
mod output;
mod pull;
mod reader;
mod stream_id;
#[cfg(test)]
mod tests;

pub use align::{Aligned, Aligner, Alignment};
pub use canonical::{Canonical, CanonicalStats, Item, Tracks};
pub use cut::{CutPiece, Cutter};
pub use digest::{BatchError, Signer, Verifier};
pub use frame::{Frame, MAX_CONFIG, MAX_FRAME, StreamConfig, Track};
pub use output::{Clock, Output};
pub use pull::PullCutter;
pub use reader::{Content, ReadError, Reader};
pub use stream_id::{StreamNameError, VOLATILE, VOLATILE_PREFIXES};
