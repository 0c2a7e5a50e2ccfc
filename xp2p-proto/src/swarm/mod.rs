//! 1vN: many viewers share one live stream.
//!
//! A scheduler: messages, pieces and time go in; messages, pieces and wishes ("open the origin", "connect to that peer") come
//! out. It knows nothing of sockets or QUIC, so that the same code runs over a link, in the packet simulator and in a
//! message-level simulator with ten thousand viewers.
//!
//! * [`constants`]: every number, with its reason.
//! * [`PieceInfo`], [`Batch`]: what a signer announces; [`HaveMap`], [`Path`]: who has it and how it came.
//! * [`Message`], [`ToTracker`], [`FromTracker`]: what is said; [`codec`]: its bytes.
//! * [`Member`]: one viewer. [`Tracker`]: who introduces them to each other.
//! * [`content`]: how identical pieces come out of an origin that knows nothing of this, and a stream for a player out of
//!   pieces.

pub mod codec;
pub mod constants;
pub mod content;
mod ids;
mod map;
mod member;
mod message;
mod path;
mod piece;
mod quorum;
mod tracker;
mod tracker_message;

pub use ids::{PeerId, StreamId};
pub use map::{HAVE_BITS, HaveMap};
pub use member::{Action, Member, MemberConfig, OriginReason, Played, Snapshot, Stats};
pub use message::{LaneStatus, Message, NO_SOURCE, PieceHead, Status};
pub use path::{MAX_HOPS, Path};
pub use piece::{Batch, Observed, PIECE_HASH_LEN, Payload, PieceInfo, PieceNo, piece_hash};
pub use quorum::Quorum;
pub use tracker::{Tracker, TrackerConfig, TrackerStats};
pub use tracker_message::{Candidate, FromTracker, Misdeed, NatClass, Report, ToTracker, Trust};
