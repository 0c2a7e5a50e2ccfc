//! Limits on rates.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Most source addresses whose attempts are counted. When there are more, the counts of all start again.
const MAX_SOURCES: usize = 16 * 1024;
/// A source's count is forgotten after this long.
const SOURCE_AGE: Duration = Duration::from_secs(10);
/// How often forgotten counts are thrown away.
const SWEEP: Duration = Duration::from_secs(10);

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

/// How many attempts each source address may make: so many a second, three times as many at once.
#[derive(Debug)]
pub(super) struct PerSource {
    rate: u64,
    sources: BTreeMap<IpAddr, Bucket>,
    next_sweep: Option<Instant>,
}

impl PerSource {
    pub(super) fn new(rate: u32) -> Self {
        Self { rate: u64::from(rate), sources: BTreeMap::new(), next_sweep: None }
    }

    /// Counts an attempt. Whether it is allowed.
    pub(super) fn take(&mut self, now: Instant, source: IpAddr) -> bool {
        if self.sources.len() >= MAX_SOURCES && !self.sources.contains_key(&source) {
            self.sources.clear();
        }
        self.next_sweep.get_or_insert(now + SWEEP);
        let rate = self.rate;
        self.sources.entry(source).or_insert_with(|| Bucket::new(rate, rate * 3, now)).take(now, 1)
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.next_sweep
    }

    /// Forgets those who have not come for a while.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.next_sweep.is_some_and(|at| at <= now) {
            self.sources.retain(|_, bucket| !bucket.is_stale(now, SOURCE_AGE));
            self.next_sweep = (!self.sources.is_empty()).then(|| now + SWEEP);
        }
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
