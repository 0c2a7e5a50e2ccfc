//! What a member wants done.

use crate::swarm::{Candidate, Message, PeerId, PieceHead, PieceInfo, PieceNo, ToTracker};

/// A wish of a [`Member`](super::Member).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action<P> {
    /// Send a message to a neighbour. Messages to one neighbour keep their order.
    Send {
        /// To whom.
        to: PeerId,
        /// What.
        message: Message,
    },
    /// Send a piece to a neighbour, and tell with [`piece_sent`](super::Member::piece_sent) when it has left.
    SendPiece {
        /// To whom.
        to: PeerId,
        /// What goes in front of it.
        head: PieceHead,
        /// Its content.
        payload: P,
    },
    /// The neighbour does not need a piece any more that was given to be sent. It still has to be told as sent.
    CancelPiece {
        /// To whom it was on its way.
        to: PeerId,
        /// The piece.
        no: PieceNo,
    },
    /// Tell the tracker.
    Tracker(ToTracker),
    /// Connect to another member. Answered by [`peer_connected`](super::Member::peer_connected) or
    /// [`connect_failed`](super::Member::connect_failed).
    Connect(Candidate),
    /// Close the connection to a neighbour. There is no answer.
    Disconnect {
        /// Which.
        peer: PeerId,
    },
    /// Read the origin.
    OpenOrigin,
    /// Read the origin no longer.
    CloseOrigin,
}

/// What the player gets next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Played<P> {
    /// A piece, the one after the last.
    Piece {
        /// What it is.
        info: PieceInfo,
        /// Its content.
        payload: P,
    },
    /// Some pieces are left out: the next one starts a segment.
    Skip,
}
