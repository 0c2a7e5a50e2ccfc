//! Luck.

use std::net::Ipv4Addr;
use std::time::Duration;

use rand_chacha::ChaCha12Rng;
use rand_core::{Rng, SeedableRng};

use crate::sim::{LinkConfig, NatConfig, PortAllocation};

/// All luck of one world.
pub(super) struct Dice(ChaCha12Rng);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(ChaCha12Rng::seed_from_u64(seed))
    }

    /// A number below `n`.
    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.0.next_u64() % n
    }

    pub(super) fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }

    pub(super) fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.below(to - from))
    }

    /// A router of any kind, or none.
    pub(super) fn nat(&mut self, last: u8) -> Option<NatConfig> {
        let public = Ipv4Addr::new(198, 51, 100, last);
        let nat = match self.below(7) {
            0 => return None,
            1 => NatConfig::full_cone(public),
            2 => NatConfig::address_restricted(public),
            3 => NatConfig::port_restricted(public),
            4 => NatConfig::port_restricted(public).allocation(PortAllocation::Preserving),
            5 => NatConfig::symmetric(public).allocation(PortAllocation::Sequential),
            _ => NatConfig::symmetric(public),
        };
        Some(if self.below(4) == 0 { nat.mapping_timeout(Duration::from_secs(20)) } else { nat })
    }

    /// A line of any kind that a picture of the usual size gets through.
    pub(super) fn line(&mut self) -> LinkConfig {
        let latency = self.millis(1, 81);
        let (loss, jitter, reorder, twice) = (self.below(4), self.below(10), self.below(3), self.below(3));
        let slow = self.below(4) == 0;
        LinkConfig::latency(latency).both(|p| {
            p.loss = loss as f64 / 100.0;
            p.jitter = Duration::from_millis(jitter);
            p.reorder = reorder as f64 / 100.0;
            p.duplicate = twice as f64 / 100.0;
            p.bandwidth = slow.then_some(3_000_000);
        })
    }
}
