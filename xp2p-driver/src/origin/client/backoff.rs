//! Pauses between attempts.

use std::time::Duration;

use crate::runtime::Runtime;

/// The first pause.
pub const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Pauses that grow from [`FIRST_PAUSE`] by doubling to [`LONGEST_PAUSE`], each shortened by up to half at random: many
/// that lost one origin in one instant do not come back in one instant.
#[derive(Debug, Clone)]
pub struct Backoff {
    next: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { next: FIRST_PAUSE }
    }
}

impl Backoff {
    /// How long to wait now. Not shorter than what the origin asked for, up to [`LONGEST_PAUSE`].
    pub fn pause<R: Runtime>(&mut self, runtime: &R, retry_after: Option<Duration>) -> Duration {
        // Without randomness the whole pause is right as well.
        let random = runtime.random::<4>().map_or(u32::MAX, u32::from_ne_bytes);
        let own = self.step(random);
        retry_after.map_or(own, |asked| own.max(asked.min(LONGEST_PAUSE)))
    }

    /// It has worked: the next pause is the first again.
    pub fn reset(&mut self) {
        self.next = FIRST_PAUSE;
    }

    fn step(&mut self, random: u32) -> Duration {
        let whole = self.next;
        self.next = whole.saturating_mul(2).min(LONGEST_PAUSE);
        whole.mul_f64(0.5 + 0.5 * f64::from(random) / f64::from(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_begin_anew_after_a_success() {
        let mut backoff = Backoff::default();
        let whole: Vec<f32> = (0..8).map(|_| backoff.step(u32::MAX).as_secs_f32()).collect();
        assert_eq!(whole, [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]);
        backoff.reset();
        assert_eq!(backoff.step(0), FIRST_PAUSE / 2);
        let middle = backoff.step(u32::MAX / 2).as_secs_f32();
        assert!((0.74..0.76).contains(&middle), "{middle}");
    }
}
