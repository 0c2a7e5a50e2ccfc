//! Live media on its way from a camera to a viewer.
//!
//! The request is a bidirectional stream. What answers it is spread over several streams, so that a lost packet
//! holds up as little as possible and old pictures can be given up:
//!
//! * the response stream carries [`Record`]s: the decoder configurations, each with an id;
//! * each group of pictures has a unidirectional stream of its own ([`StreamHead`], then tags);
//! * sound has one that lives long, and is never held up or given up with the pictures.
//!
//! [`Feed`] is a camera's side of one channel and quality, [`Sender`] what it owes to one viewer, [`Receiver`] puts
//! the streams together again.

mod feed;
mod interleave;
mod lane;
mod receiver;
mod sender;
mod wire;

pub use self::feed::{Feed, Packet, PushError, Pushed};
pub use self::receiver::{LiveItem, MAX_EARLY, MAX_HELD, Receiver, ReceiverStats};
pub use self::sender::{Pace, Sender, SenderConfig, SenderStats};
pub use self::wire::{LATE, MAX_HEAD, MAX_RECORD, Record, RecordReader, StreamHead, StreamKind, WireError};
