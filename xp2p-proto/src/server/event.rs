//! What a server tells its operator.

use std::net::SocketAddr;

use super::tunnels::TcpRelayStats;
use crate::info::Capability;
use crate::keys::{PublicKey, Ticket};
use crate::swarm::StreamId;

/// News of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServerEvent {
    /// A camera has registered.
    CameraRegistered {
        /// Its ticket.
        ticket: Ticket,
        /// Its key.
        key: PublicKey,
        /// Product id, as the camera says.
        product: String,
        /// Device name, as the camera says.
        name: String,
        /// Where it is seen.
        addr: SocketAddr,
        /// With this it lets the server show it to many viewers.
        transit: Option<Box<Capability>>,
    },
    /// A camera has left or fallen silent.
    CameraGone {
        /// Its ticket.
        ticket: Ticket,
        /// Why.
        reason: String,
    },
    /// A camera is seen at another address than before.
    CameraMoved {
        /// Its ticket.
        ticket: Ticket,
        /// Where it is seen now.
        addr: SocketAddr,
    },
    /// A registration was refused.
    RegistrationRefused {
        /// Who tried.
        key: PublicKey,
        /// From where.
        addr: Option<SocketAddr>,
        /// Why.
        reason: String,
    },
    /// Somebody watches a stream that nobody watched before, or its address has become known only now: a witness may begin.
    StreamWanted {
        /// The stream.
        stream: StreamId,
        /// Where it comes from. `None` if no member has given an address that its id follows from: any other could be that of
        /// another stream.
        url: Option<String>,
    },
    /// Nobody has watched a stream for a while.
    StreamUnwanted {
        /// The stream.
        stream: StreamId,
    },
}

/// Counters of a server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ServerStats {
    /// Cameras registered at present.
    pub cameras: usize,
    /// Members of swarms registered at present.
    pub peers: usize,
    /// Streams tracked at present.
    pub streams: usize,
    /// Members that are in a swarm at present.
    pub members: usize,
    /// Messages of members that were dropped because there were too many, or made no sense.
    pub tracker_drops: u64,
    /// Bytes of pieces so far that members got from here, because the origin had left them behind (headers included).
    pub filled_bytes: u64,
    /// Relay flows at present.
    pub flows: usize,
    /// QUIC connections at present.
    pub connections: usize,
    /// Registrations so far.
    pub registered: u64,
    /// Registrations refused so far.
    pub refused: u64,
    /// Datagrams relayed so far.
    pub relayed_datagrams: u64,
    /// Bytes relayed so far, without our header.
    pub relayed_bytes: u64,
    /// Datagrams that were to be relayed and were dropped because of a limit.
    pub relay_drops: u64,
    /// Frames that could not be parsed or have no meaning at a server.
    pub bad_frames: u64,
    /// STUN requests answered so far.
    pub stun_answers: u64,
    /// STUN requests dropped because there were too many.
    pub stun_drops: u64,
    /// The relay over TCP.
    pub tcp: TcpRelayStats,
    /// Datagrams that were nothing we know.
    pub unknown_datagrams: u64,
}
