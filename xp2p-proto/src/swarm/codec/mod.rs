//! The bytes of what members and the tracker say.
//!
//! Every message has one form only: what is parsed and printed again is the same bytes. A message is framed by whatever
//! carries it, so its end is known.

pub(super) mod field;
mod peer;
mod tracker;

pub use field::{CodecError, CodecReason, MAX_VARINT};
pub use peer::{Parsed, piece_head};
pub use tracker::ParsedFromTracker;
