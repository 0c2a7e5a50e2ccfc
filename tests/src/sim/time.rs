//! Virtual time.

use std::time::{Duration, Instant};

/// Nanoseconds since the start of the simulation. `u64` lasts for 584 years.
pub(crate) type Nanos = u64;

/// One virtual millisecond.
pub(crate) const MILLISECOND: Nanos = 1_000_000;

/// Unix time at the start of every simulation: 2027-01-15 08:00:00 UTC.
const UNIX_START: Duration = Duration::from_secs(1_800_000_000);

/// Duration as [`Nanos`], saturating.
pub(crate) fn nanos(duration: Duration) -> Nanos {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The clock of a simulation. It only moves when the world moves it.
#[derive(Debug)]
pub(crate) struct Clock {
    /// `Instant` cannot be made from a number, so one real instant anchors the virtual time line. Only
    /// differences to it are ever looked at, so its value has no influence.
    base: Instant,
    now: Nanos,
    /// Unix time at virtual time zero; moved by clock jumps.
    unix_base: Duration,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self { base: Instant::now(), now: 0, unix_base: UNIX_START }
    }

    pub(crate) fn now(&self) -> Nanos {
        self.now
    }

    pub(crate) fn instant(&self) -> Instant {
        self.base + Duration::from_nanos(self.now)
    }

    /// An instant that a machine asked for. Instants before the start count as the start.
    pub(crate) fn to_nanos(&self, at: Instant) -> Nanos {
        nanos(at.saturating_duration_since(self.base))
    }

    pub(crate) fn advance(&mut self, to: Nanos) {
        debug_assert!(to >= self.now, "virtual time never runs backwards");
        self.now = to;
    }

    pub(crate) fn unix(&self) -> Duration {
        self.unix_base + Duration::from_nanos(self.now)
    }

    /// Makes the unix time `unix` now. Virtual time is not touched.
    ///
    /// # Panics
    /// If `unix` would put the start of the simulation before 1970.
    pub(crate) fn set_unix(&mut self, unix: Duration) {
        self.unix_base = unix
            .checked_sub(Duration::from_nanos(self.now))
            .expect("the unix time must be at least as large as the elapsed simulated time");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unix_time_runs_with_virtual_time_and_jumps_alone() {
        let mut clock = Clock::new();
        let start = clock.unix();
        let before = clock.instant();
        clock.advance(1_500_000_000);
        assert_eq!(clock.unix() - start, Duration::from_millis(1500));
        clock.set_unix(Duration::from_secs(2_000_000_000));
        assert_eq!(clock.unix(), Duration::from_secs(2_000_000_000));
        assert_eq!(clock.instant() - before, Duration::from_millis(1500));
        assert_eq!(clock.to_nanos(before + Duration::from_nanos(7)), 7);
    }
}
