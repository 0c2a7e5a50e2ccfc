//! How many bytes things take on the wire, without the overhead of packets.

use xp2p_proto::swarm::constants::LANES;
use xp2p_proto::swarm::{Batch, Candidate, FromTracker, Message, PieceHead, ToTracker};

/// A type and a length.
const HEAD: u64 = 2;
/// A number as varint, usually.
const NUMBER: u64 = 3;
/// Address candidates, key and token of a member.
const CANDIDATE: u64 = 60;

fn batch_len(batch: &Batch) -> u64 {
    // Signature, hash of the batch before, numbers and times; hash, times, length and index of each piece.
    64 + 32 + 30 + batch.pieces.len() as u64 * (16 + 7)
}

/// A message between members.
pub(crate) fn message_len(message: &Message) -> u64 {
    HEAD + match message {
        // Number and map, batch, backlog, flag; lag, depth, spare and value of each substream.
        Message::Status(_) => 4 + 16 + NUMBER + 3 + 5 * LANES as u64,
        Message::Subscribe { .. } => 2 + NUMBER,
        Message::Accept { path, .. } => 2 + 4 * path.len() as u64,
        Message::Reject { .. } | Message::Unsubscribe { .. } => 1,
        Message::Way { path, .. } => 3 + 4 * path.len() as u64,
        Message::Lost { .. } => 3,
        Message::Evict { alternative, .. } => 2 + 8 * u64::from(alternative.is_some()),
        Message::Request { .. } => 2 + NUMBER,
        Message::NoHave { .. } | Message::Cancel { .. } | Message::RequestBatch { .. } => NUMBER,
        Message::Batch(batch) => batch_len(batch),
        Message::Bye => 0,
    }
}

/// What goes in front of a piece.
pub(crate) fn head_len(head: &PieceHead) -> u64 {
    // Type, number, length, flag, path.
    HEAD + NUMBER + 2 + 2 + 4 * head.path.len() as u64
}

fn candidates_len(candidates: &[Candidate]) -> u64 {
    1 + candidates.iter().map(|c| CANDIDATE + c.contact.len() as u64).sum::<u64>()
}

/// From a member to the tracker.
pub(crate) fn to_tracker_len(message: &ToTracker) -> u64 {
    HEAD + match message {
        ToTracker::Join { .. } => CANDIDATE + 20,
        ToTracker::Report(_) => 2 * LANES as u64 + 5,
        ToTracker::Bad { piece, .. } => 10 + NUMBER * u64::from(piece.is_some()),
        ToTracker::More { .. } | ToTracker::Origin { .. } => 1,
        ToTracker::RequestBatch { .. } => NUMBER,
        ToTracker::Fill { .. } => 2 * NUMBER,
        ToTracker::Observed(pieces) => 1 + 32 * pieces.len() as u64,
        ToTracker::Rescue | ToTracker::Pong | ToTracker::Leave => 0,
    }
}

/// From the tracker to a member.
pub(crate) fn from_tracker_len(message: &FromTracker) -> u64 {
    HEAD + match message {
        FromTracker::Welcome { candidates, .. } => 10 + candidates_len(candidates),
        FromTracker::Candidates(candidates) => candidates_len(candidates),
        FromTracker::Meet { candidate, .. } => candidates_len(std::slice::from_ref(candidate)),
        FromTracker::Batch(batch) => batch_len(batch),
        FromTracker::Lease { .. } => 1,
        FromTracker::Fill { .. } => 2 * NUMBER,
        FromTracker::Edge(_) => 6,
        FromTracker::Elect | FromTracker::Demote | FromTracker::Ping | FromTracker::Excluded => 0,
    }
}
