//! What members say to each other.

use std::sync::Arc;

use super::PeerId;
use super::constants::LANES;
use super::map::HaveMap;
use super::path::Path;
use super::piece::{Batch, PieceNo};

/// One substream in a [`Status`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneStatus {
    /// How long after its capture a piece arrives here, in ms (a moving mean).
    pub lag: u16,
    /// Members between the origin and this one; [`NO_SOURCE`] without a parent and without the origin.
    pub depth: u8,
    /// How many more children it would take.
    pub spare: u8,
    /// The smallest value among its children ([`Message::Subscribe`]); 255 without children.
    pub min_value: u8,
}

/// [`LaneStatus::depth`] of a member that has nothing to pass on.
pub const NO_SOURCE: u8 = u8::MAX;

impl LaneStatus {
    /// A lane without a source.
    pub const NONE: Self = Self { lag: u16::MAX, depth: NO_SOURCE, spare: 0, min_value: u8::MAX };
}

/// What a member tells each of its neighbours every 500 ms. It is the keep-alive, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// The pieces it has.
    pub have: HaveMap,
    /// Number of the newest digest batch it has; 0 with none.
    pub batch: u64,
    /// How long what waits in its uplink needs, in ms.
    pub backlog: u16,
    /// Whether it is fed by the origin.
    pub origin_fed: bool,
    /// Its substreams.
    pub lanes: [LaneStatus; LANES],
}

/// A message between two members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// See [`Status`]. On connecting, then every 500 ms.
    Status(Box<Status>),
    /// Asks for every piece of a substream from number `from` on.
    Subscribe {
        /// The substream.
        lane: u8,
        /// The first piece wanted.
        from: PieceNo,
        /// How many children the asker could feed; a more valuable child may take the place of a less valuable one.
        value: u8,
    },
    /// Answers [`Subscribe`](Self::Subscribe): pieces will come.
    Accept {
        /// The substream.
        lane: u8,
        /// The ancestors of the answering member in this substream, itself included.
        path: Path,
    },
    /// Answers [`Subscribe`](Self::Subscribe): no.
    Reject {
        /// The substream.
        lane: u8,
    },
    /// To a child: pieces of this substream come on another way from now on.
    Way {
        /// The substream.
        lane: u8,
        /// As in [`Accept`](Self::Accept).
        path: Path,
    },
    /// To a child: there is no source for this substream until [`Way`](Self::Way) says otherwise.
    Lost {
        /// The substream.
        lane: u8,
        /// Steps from the member whose parent is gone: 1 for its children.
        hops: u8,
    },
    /// Ends a subscription.
    Unsubscribe {
        /// The substream.
        lane: u8,
    },
    /// A parent will stop feeding its child in 3 s.
    Evict {
        /// The substream.
        lane: u8,
        /// Who may have room instead.
        alternative: Option<PeerId>,
    },
    /// Asks for one piece.
    Request {
        /// The piece.
        piece: PieceNo,
        /// How much time is left until it is needed, in ms.
        slack: u16,
    },
    /// Answers [`Request`](Self::Request): I do not have it, or will not send it in time.
    NoHave {
        /// The piece.
        piece: PieceNo,
    },
    /// The piece is not needed any more: I have it.
    Cancel {
        /// The piece.
        piece: PieceNo,
    },
    /// A digest batch, as it was signed.
    Batch(Arc<Batch>),
    /// Asks for the digest batch of this number.
    RequestBatch {
        /// The batch.
        no: u64,
    },
    /// Goodbye: do not wait for me.
    Bye,
}

/// What goes in front of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PieceHead {
    /// The piece.
    pub no: PieceNo,
    /// Whether it comes from a subscription, not from a [`Message::Request`].
    pub pushed: bool,
    /// Who passed it on since the origin, the sender last.
    pub path: Path,
}
