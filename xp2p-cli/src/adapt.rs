//! The bit rate of an encoder of ours, by what viewers can take.

use std::time::{Duration, Instant};

use xp2p_proto::camera::Watermark;

/// Rate of pictures in kbit/s while nobody is in trouble.
pub(crate) const FULL_KBIT: u32 = 2000;
/// Below this pictures are not worth their name.
const LEAST_KBIT: u32 = 200;
/// A new rate costs a new encoder, and a moment without pictures: not more often than this.
const PAUSE: Duration = Duration::from_secs(8);
/// After so long without trouble more is tried.
const CALM: Duration = Duration::from_secs(45);
/// What of a viewer's bandwidth pictures may take.
const SHARE: f64 = 0.8;

/// Chooses the bit rate.
#[derive(Debug)]
pub(crate) struct Adapter {
    kbit: u32,
    changed: Instant,
    trouble: Instant,
}

impl Adapter {
    pub(crate) fn new(now: Instant) -> Self {
        Self { kbit: FULL_KBIT, changed: now, trouble: now }
    }

    pub(crate) fn kbit(&self) -> u32 {
        self.kbit
    }

    /// More or less waits for a viewer. Returns the new rate if there is one.
    pub(crate) fn congestion(
        &mut self,
        now: Instant,
        mark: Watermark,
        bandwidth: Option<u64>,
    ) -> Option<u32> {
        if mark < Watermark::Warn {
            return None;
        }
        self.trouble = now;
        let lower = f64::from(self.kbit) * 0.7;
        let fits = bandwidth.map_or(lower, |bits| bits as f64 * SHARE / 1000.0);
        // Casts saturate.
        self.change(now, (lower.min(fits) as u32).max(LEAST_KBIT))
    }

    /// To be called now and then. Returns the new rate if there is one.
    pub(crate) fn tick(&mut self, now: Instant) -> Option<u32> {
        if now.saturating_duration_since(self.trouble) < CALM {
            return None;
        }
        self.trouble = now;
        self.change(now, (self.kbit + self.kbit / 3).min(FULL_KBIT))
    }

    fn change(&mut self, now: Instant, kbit: u32) -> Option<u32> {
        if kbit == self.kbit || now.saturating_duration_since(self.changed) < PAUSE {
            return None;
        }
        self.kbit = kbit;
        self.changed = now;
        Some(kbit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_falls_at_once_with_trouble_and_comes_back_slowly() {
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        let mut adapter = Adapter::new(start);
        assert_eq!(adapter.congestion(at(9), Watermark::Low, Some(100_000)), None);
        assert_eq!(adapter.congestion(at(10), Watermark::High, Some(1_000_000)), Some(800));
        assert_eq!(adapter.congestion(at(12), Watermark::High, Some(100_000)), None, "not so soon again");
        assert_eq!(adapter.congestion(at(20), Watermark::Warn, None), Some(560));
        assert_eq!(adapter.congestion(at(30), Watermark::Warn, Some(10_000)), Some(LEAST_KBIT));
        assert_eq!(adapter.tick(at(60)), None);
        assert_eq!(adapter.tick(at(76)), Some(266));
        let mut now = 76;
        while adapter.kbit() < FULL_KBIT {
            now += 45;
            assert!(adapter.tick(at(now)).is_some());
            assert!(now < 1000);
        }
        assert_eq!(adapter.tick(at(now + 100)), None, "no more than the full rate");
    }
}
