//! Limits on rates.

use std::time::{Duration, Instant};

/// A token bucket: `rate` per second, up to `burst` at once. Counted in whole units of a billionth, so that nothing is
/// lost or gained by rounding.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bucket {
    rate: u64,
    burst: u64,
    /// Billionths of a unit.
    level: u128,
    at: Instant,
}

impl Bucket {
    const UNIT: u128 = 1_000_000_000;

    /// A full bucket.
    pub(super) fn new(rate: u64, burst: u64, now: Instant) -> Self {
        Self { rate, burst, level: u128::from(burst) * Self::UNIT, at: now }
    }

    /// Takes `amount` out if it is there.
    pub(super) fn take(&mut self, now: Instant, amount: u64) -> bool {
        let passed = now.saturating_duration_since(self.at);
        self.at = self.at.max(now);
        let full = u128::from(self.burst) * Self::UNIT;
        self.level = (self.level + passed.as_nanos() * u128::from(self.rate)).min(full);
        let wanted = u128::from(amount) * Self::UNIT;
        if wanted > self.level {
            return false;
        }
        self.level -= wanted;
        true
    }

    /// Whether it would be full again after `time` without anything taken, so that it may be forgotten.
    pub(super) fn is_stale(&self, now: Instant, time: Duration) -> bool {
        now.saturating_duration_since(self.at) >= time
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        #[expect(clippy::disallowed_methods, reason = "a test needs some first instant")]
        let start = Instant::now();
        let mut bucket = Bucket::new(1000, 500, start);
        assert!(bucket.take(start, 500));
        assert!(!bucket.take(start, 1));
        let mut taken = 0;
        for ms in 1..=2000 {
            if bucket.take(start + Duration::from_millis(ms), 1) {
                taken += 1;
            }
        }
        assert_eq!(taken, 2000);
        assert!(!bucket.take(start + Duration::from_secs(100), 501), "never more than the burst");
        assert!(bucket.take(start + Duration::from_secs(100), 500));
    }
}
