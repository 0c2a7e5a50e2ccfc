//! What a member is told at the start.

use std::time::Duration;

use bytes::Bytes;

use crate::swarm::constants::{DEFAULT_RATE, DEFAULT_UPLINK, TARGET_LATENCY};
use crate::swarm::{NatClass, PeerId};

/// The settings of a [`Member`](super::Member).
#[derive(Clone, Debug)]
pub struct MemberConfig {
    /// Its id.
    pub id: PeerId,
    /// Randomness of its own; the same seed and inputs give the same outputs.
    pub seed: [u8; 32],
    /// What its network lets others do.
    pub nat: NatClass,
    /// How others reach it, opaque here.
    pub contact: Bytes,
    /// What its uplink is believed to carry, in bit/s.
    pub uplink: u64,
    /// Most that may be uploaded, in bit/s over any second; `None`: no limit.
    pub upload_limit: Option<u64>,
    /// Whether it passes pieces on at all (not on metered links).
    pub share: bool,
    /// Whether it takes pieces from others; otherwise it stays with the origin.
    pub use_peers: bool,
    /// Whether it may be asked to read the origin for others.
    pub may_pull: bool,
    /// How far behind the origin it plays.
    pub target: Duration,
    /// The stream's rate in bit/s, until it is known.
    pub rate: u64,
}

impl MemberConfig {
    /// The usual settings.
    pub fn new(id: PeerId, seed: [u8; 32]) -> Self {
        Self {
            id,
            seed,
            nat: NatClass::Unknown,
            contact: Bytes::new(),
            uplink: DEFAULT_UPLINK,
            upload_limit: None,
            share: true,
            use_peers: true,
            may_pull: true,
            target: TARGET_LATENCY,
            rate: DEFAULT_RATE,
        }
    }
}
