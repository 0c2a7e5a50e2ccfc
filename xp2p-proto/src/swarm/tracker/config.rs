//! What a tracker is told at the start.

use crate::swarm::Trust;

/// The settings of a [`Tracker`](super::Tracker).
#[derive(Clone, Debug)]
pub struct TrackerConfig {
    /// Randomness of its own.
    pub seed: [u8; 32],
    /// Who signs the stream.
    pub trust: Trust,
    /// Most members; others are told to stay with the origin.
    pub max_members: usize,
}

impl TrackerConfig {
    /// The usual settings.
    pub fn new(seed: [u8; 32], trust: Trust) -> Self {
        Self { seed, trust, max_members: 100_000 }
    }
}

/// Numbers of a [`Tracker`](super::Tracker).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrackerStats {
    /// Members at present.
    pub members: usize,
    /// Of these: elected to read the origin.
    pub pullers: usize,
    /// Members that read the origin at present, for whatever reason.
    pub origin_connections: usize,
    /// Leases granted so far.
    pub leases: u64,
    /// Leases denied so far.
    pub denied: u64,
    /// Pieces that the signer's server gave to new pullers so far.
    pub filled: u64,
    /// Members excluded at present.
    pub excluded: usize,
    /// Pullers that were replaced because they did not answer.
    pub failovers: u64,
}
