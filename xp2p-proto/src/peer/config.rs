//! What a member of a swarm needs to know at construction.

use std::net::SocketAddr;
use std::time::Duration;

use thiserror::Error;

use super::wire::{MAX_SIGNERS, MAX_URL};
use crate::info::Capability;
use crate::keys::{PublicKey, SecretKey};
use crate::link::{ConnectError, Entropy};
use crate::register::AppKey;
use crate::swarm::constants::{DEFAULT_UPLINK, TARGET_LATENCY};
use crate::swarm::content::Tracks;
use crate::swarm::{NatClass, StreamId};

/// The server whose tracker and relay a [`Peer`](super::Peer) uses.
#[derive(Debug, Clone)]
pub struct PeerServer {
    /// Its key. `None`: the first key that it shows is taken and reported.
    pub key: Option<PublicKey>,
    /// Its addresses, tried one after the other. May be empty until a name is resolved.
    pub addrs: Vec<SocketAddr>,
    /// Admission at this server.
    pub app_key: Option<AppKey>,
}

/// Configuration of a [`Peer`](super::Peer).
#[derive(Debug, Clone)]
pub struct PeerConfig {
    /// Its identity. A fresh one per process and stream will do.
    pub secret: SecretKey,
    /// All its randomness.
    pub entropy: Entropy,
    /// The server that it meets the others at.
    pub server: PeerServer,
    /// The stream.
    pub stream: StreamId,
    /// Where the stream comes from, told to the tracker so that a witness can read it; may be empty. At most 2 KiB.
    pub url: String,
    /// What lets it in, where the tracker lets in only those whom a camera allows to see its stream. The server learns it. Default:
    /// none.
    pub capability: Option<Capability>,
    /// Keys of signers that are known already, from an xp2pInfo or a URL, at most four. With any, those that the tracker names
    /// do not count.
    pub signers: Vec<PublicKey>,
    /// Which tracks the stream has. Default: those that are seen.
    pub tracks: Tracks,
    /// What its network lets others do. Default: unknown.
    pub nat: NatClass,
    /// What its uplink is believed to carry, in bit/s. Default 4,000,000.
    pub uplink: u64,
    /// Most that may be uploaded, in bit/s over any second. Default: no limit.
    pub upload_limit: Option<u64>,
    /// Whether it passes pieces on. Default true.
    pub share: bool,
    /// Whether it takes pieces from others. Default true.
    pub use_peers: bool,
    /// Whether it may be asked to read the origin for others. Default true.
    pub may_pull: bool,
    /// How far behind the origin it plays. Default 2.5 s.
    pub target: Duration,
}

impl PeerConfig {
    /// The defaults for one stream.
    pub fn new(secret: SecretKey, entropy: Entropy, server: PeerServer, stream: StreamId) -> Self {
        Self {
            secret,
            entropy,
            server,
            stream,
            url: String::new(),
            capability: None,
            signers: Vec::new(),
            tracks: Tracks::Learnt,
            nat: NatClass::Unknown,
            uplink: DEFAULT_UPLINK,
            upload_limit: None,
            share: true,
            use_peers: true,
            may_pull: true,
            target: TARGET_LATENCY,
        }
    }

    pub(super) fn check(&self) -> Result<(), PeerError> {
        if self.url.len() > MAX_URL {
            return Err(PeerError::Url(self.url.len()));
        }
        if self.signers.len() > MAX_SIGNERS {
            return Err(PeerError::Signers(self.signers.len()));
        }
        Ok(())
    }
}

/// Why a [`Peer`](super::Peer) could not be made.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PeerError {
    /// The URL is too long.
    #[error("the URL of the origin has {0} bytes; {MAX_URL} are allowed")]
    Url(usize),
    /// Too many keys.
    #[error("{0} keys of signers; {MAX_SIGNERS} are allowed")]
    Signers(usize),
    /// TLS or QUIC refused the configuration.
    #[error(transparent)]
    Link(ConnectError),
}
