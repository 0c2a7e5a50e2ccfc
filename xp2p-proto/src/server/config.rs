//! What a server needs to know at construction.

use std::net::SocketAddr;

use crate::keys::SecretKey;
use crate::link::{ConnectError, Entropy};
use crate::register::{Admission, AppKeys};
use crate::server::relay::RelayConfig;
use crate::server::tunnels::TcpRelayConfig;
use crate::swarm::Trust;

/// Limits of the tracker of a [`Server`](super::Server).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrackingConfig {
    /// Most streams at a time; 0: nothing is tracked. Default 1,000.
    pub max_streams: usize,
    /// Most members of one stream. Default 10,000.
    pub max_members: usize,
    /// Most bytes that wait for one member; one that does not take them is dropped. Default 256 KiB.
    pub max_queued: usize,
    /// Most messages per second from one member, and four times as many at once; more are dropped. Default 50.
    pub message_rate: u32,
    /// Who signs streams of which [`Server::set_signer`](super::Server::set_signer) says nothing. Default: a witness.
    pub trust: Trust,
    /// Whether what two members in different networks read alike from an origin counts where nobody signs: the tracker signs it
    /// then, and says [`Trust::Quorum`]. It withstands members that lie alone, not two that do so together. Default false:
    /// such streams are not shared.
    pub quorum: bool,
}

impl Default for TrackingConfig {
    fn default() -> Self {
        Self {
            max_streams: 1_000,
            max_members: 10_000,
            max_queued: 256 * 1024,
            message_rate: 50,
            trust: Trust::Witness,
            quorum: false,
        }
    }
}

/// Configuration of a [`Server`](super::Server).
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Its identity, which cameras and viewers pin.
    pub secret: SecretKey,
    /// All its randomness.
    pub entropy: Entropy,
    /// Who may register cameras.
    pub admission: Admission,
    /// The secrets of those who may, by id.
    pub app_keys: AppKeys,
    /// Limits of the relay.
    pub relay: RelayConfig,
    /// Most cameras. Default 10,000.
    pub max_cameras: usize,
    /// Most members of swarms, whatever they watch. Default 20,000.
    pub max_peers: usize,
    /// Limits of the tracker.
    pub tracking: TrackingConfig,
    /// Limits of the relay over TCP.
    pub tcp: TcpRelayConfig,
    /// The address that the main socket listens on, as clients see it.
    pub local: SocketAddr,
    /// The second socket, for NAT diagnosis only (RFC 5780).
    pub alternative: Option<SocketAddr>,
    /// Most STUN answers per second. Default 1,000.
    pub stun_rate: u32,
    /// Whether the driver's sockets set "don't fragment". Default true.
    pub path_mtu_discovery: bool,
}

impl ServerConfig {
    /// The defaults for one identity.
    pub fn new(secret: SecretKey, entropy: Entropy, local: SocketAddr) -> Self {
        Self {
            secret,
            entropy,
            admission: Admission::LoopbackOnly,
            app_keys: AppKeys::default(),
            relay: RelayConfig::default(),
            tcp: TcpRelayConfig::default(),
            max_cameras: 10_000,
            max_peers: 20_000,
            tracking: TrackingConfig::default(),
            local,
            alternative: None,
            stun_rate: 1_000,
            path_mtu_discovery: true,
        }
    }
}

/// Why a server could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// TLS or QUIC refused the configuration.
    #[error(transparent)]
    Link(ConnectError),
}
