//! What a member of a swarm tells its application.

use std::net::SocketAddr;

use crate::flv::{FileHeader, Tag};
use crate::keys::PublicKey;
use crate::link::{PathInfo, PathTotals};
use crate::swarm::{PeerId, Stats, Trust};

/// News of a [`Peer`](super::Peer).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PeerEvent {
    /// It is registered at its server.
    Registered {
        /// Where the server sees it.
        observed: SocketAddr,
    },
    /// The server has shown its key for the first time.
    ServerKey {
        /// The key.
        key: PublicKey,
    },
    /// The server cannot be reached (any more); it will be tried again.
    ServerLost {
        /// Why.
        reason: String,
    },
    /// The server does not want this member.
    RegistrationRefused {
        /// Why.
        reason: String,
    },
    /// The tracker has let it in, or the signers have changed.
    Tracked {
        /// How far what comes from others may be relied on.
        trust: Trust,
        /// Number of signers at present. Without one nothing is shared.
        signers: usize,
    },
    /// The tracker does not take it in; it will ask again.
    TrackerRefused {
        /// Why.
        reason: String,
    },
    /// Read the origin, and give what comes to [`Peer::handle_origin_tag`](super::Peer::handle_origin_tag).
    OpenOrigin,
    /// Read the origin no longer.
    CloseOrigin,
    /// The player's stream begins, or begins anew.
    Header(FileHeader),
    /// The next tag for the player.
    Tag(Tag),
    /// Another member is a neighbour now: the way to it is direct.
    NeighbourConnected {
        /// Which.
        peer: PeerId,
    },
    /// A neighbour is gone.
    NeighbourGone {
        /// Which.
        peer: PeerId,
        /// Why.
        reason: String,
    },
}

/// Counters of a [`Peer`](super::Peer).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PeerStats {
    /// Those of the scheduler.
    pub swarm: Stats,
    /// Bytes read from the origin, as the driver counts them.
    pub origin_wire_bytes: u64,
    /// Connections to others that were begun here.
    pub connects: u64,
    /// Connections, whoever began them, that became direct.
    pub direct: u64,
    /// Of `connects`: given up without a direct path.
    pub unreachable: u64,
    /// Neighbours that were banned because they broke the protocol or sent what no signer has signed.
    pub banned: u64,
    /// Connections of others that were refused because of a limit.
    pub refused_connections: u64,
    /// Digest batches that were verified.
    pub batches: u64,
    /// Digest batches that were refused, whoever sent them.
    pub bad_batches: u64,
    /// Messages of the tracker that made no sense.
    pub bad_tracker_messages: u64,
    /// Messages to the tracker that were dropped because it could not be reached.
    pub tracker_drops: u64,
    /// Pieces of the origin that nobody has signed.
    pub unplaced_pieces: u64,
    /// Pieces that could not be read, although they are what was signed.
    pub unreadable_pieces: u64,
    /// How often the player's stream began anew at a keyframe.
    pub output_skips: u64,
    /// UDP payload bytes of all connections to others, by kind of path.
    pub paths: PathTotals,
}

/// A neighbour, for display.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NeighbourInfo {
    /// Which.
    pub peer: PeerId,
    /// Whether this side began the connection.
    pub outgoing: bool,
    /// Whether there is a direct path; before, it is no neighbour of the scheduler.
    pub direct: bool,
    /// Its paths.
    pub paths: Vec<PathInfo>,
    /// Bytes by kind of path.
    pub totals: PathTotals,
}
