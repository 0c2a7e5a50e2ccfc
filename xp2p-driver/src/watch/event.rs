//! What a watcher tells its application.

use std::net::SocketAddr;

use xp2p_proto::keys::PublicKey;
use xp2p_proto::swarm::{PeerId, Trust};

/// News of a [`Watcher`](super::Watcher). Media goes to its hub.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum WatchEvent {
    /// It is registered at the server of the tracker.
    Registered {
        /// Where the server sees it.
        observed: SocketAddr,
    },
    /// The server has shown its key for the first time: remember it.
    ServerKey {
        /// The key.
        key: PublicKey,
    },
    /// The server cannot be reached (any more); it will be tried again. Meanwhile the origin is read.
    ServerLost {
        /// Why.
        reason: String,
    },
    /// The server or its tracker does not want this watcher. It asks again later.
    Refused {
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
    /// The origin is read from now on.
    OriginOpened,
    /// The origin is not read any more: others have what is needed.
    OriginClosed,
    /// The origin could not be read, or has ended. It will be tried again.
    OriginFailed {
        /// Why.
        reason: String,
        /// The status with which it refused, if it has answered.
        status: Option<u16>,
        /// It has ended the stream in order.
        ended: bool,
    },
    /// The first picture, or the first sound of a stream without pictures, went to the players.
    FirstPicture,
    /// Another viewer is a neighbour now.
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
