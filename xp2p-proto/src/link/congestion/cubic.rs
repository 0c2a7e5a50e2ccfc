//! The window of CUBIC (RFC 9438), for as long as somebody else fills the queue of the path.
//!
//! A sender that follows the rate of the path takes more than its share where the queue is short, and less where it is long.
//! Next to flows that fill the queue until packets are lost, only a sender that does the same gets as much as they do. In
//! contrast to CUBIC proper it is told which losses are those of a full queue.

use std::time::{Duration, Instant};

/// RFC 9438 section 4.6.
pub(super) const BETA: f64 = 0.7;
/// The same for a stream that is slower than its path would be alone: with CUBIC's growth it makes for twice the window.
pub(super) const STREAM_BETA: f64 = 0.85;
/// RFC 9438 section 5.1, in packets per cubic second.
const C: f64 = 0.4;
/// What a Reno flow would add per round trip to have the same mean with [`BETA`]: RFC 9438 section 4.3, in packets.
const ALPHA: f64 = 3.0 * (1.0 - BETA) / (1.0 + BETA);
/// The target is at most this multiple of the window: RFC 9438 section 4.2.
const MAX_GROWTH: f64 = 1.5;
/// The window is at least so many packets.
const LEAST_PACKETS: f64 = 4.0;

/// All sizes in bytes.
#[derive(Debug, Clone)]
pub(super) struct Cubic {
    window: f64,
    w_max: f64,
    /// What a Reno flow would have.
    w_est: f64,
    /// Since when the window grows, moved on by the time that the sender had nothing to send.
    epoch: Instant,
    /// Seconds from the epoch until the window is back at `w_max`.
    k: f64,
    updated: Instant,
    /// Packets that were sent before this time tell nothing new when they are lost.
    reduced: Instant,
    /// What is left of the window after a loss.
    beta: f64,
}

impl Cubic {
    /// Begins with a window that has just met a full queue. `beta`: what is left of it each time.
    pub(super) fn new(now: Instant, window: f64, beta: f64, mtu: u64) -> Self {
        let (w_max, k) = (0.0, 0.0);
        let mut cubic =
            Self { window, w_max, w_est: window, epoch: now, k, updated: now, reduced: now, beta };
        cubic.reduce(now, mtu);
        cubic
    }

    pub(super) fn window(&self) -> u64 {
        self.window as u64
    }

    /// Whether the loss of a packet that was sent at `sent` is one that the window has not yet yielded to.
    pub(super) fn is_news(&self, sent: Instant) -> bool {
        sent > self.reduced
    }

    /// The queue has overflown.
    pub(super) fn reduce(&mut self, now: Instant, mtu: u64) {
        // Who is on the way down makes room: RFC 9438 section 4.7.
        self.w_max = if self.window < self.w_max { self.window * (1.0 + BETA) / 2.0 } else { self.window };
        self.window = (self.window * self.beta).max(LEAST_PACKETS * mtu as f64);
        self.w_est = self.window;
        self.k = ((self.w_max - self.window).max(0.0) / mtu as f64 / C).cbrt();
        self.epoch = now;
        self.updated = now;
        self.reduced = now;
    }

    /// So many bytes have been acknowledged. `idle`: the sender has not used the window.
    pub(super) fn on_ack(&mut self, now: Instant, acked: u64, rtt: Duration, mtu: u64, idle: bool) {
        let passed = now.saturating_duration_since(self.updated);
        self.updated = now;
        if idle {
            // RFC 9438 section 5.8.
            self.epoch += passed;
            return;
        }
        let (acked, mtu) = (acked as f64, mtu as f64);
        let t = now.saturating_duration_since(self.epoch).as_secs_f64();
        let at = |t: f64| C * (t - self.k).powi(3) * mtu + self.w_max;
        let alpha = if self.w_est < self.w_max { ALPHA } else { 1.0 };
        self.w_est += alpha * mtu * acked / self.window;
        let target = at(t + rtt.as_secs_f64()).clamp(self.window, self.window * MAX_GROWTH);
        self.window = if at(t) < self.w_est {
            self.window.max(self.w_est)
        } else {
            self.window + (target - self.window) * acked / self.window
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MTU: u64 = 1200;
    const RTT: Duration = Duration::from_millis(100);

    fn start() -> Instant {
        #[expect(clippy::disallowed_methods, reason = "a test needs some first instant")]
        Instant::now()
    }

    /// Round trips with a full window until `done`; the time they took.
    fn grow(cubic: &mut Cubic, now: &mut Instant, done: impl Fn(&Cubic) -> bool) -> f64 {
        let begin = *now;
        while !done(cubic) {
            *now += RTT / 10;
            cubic.on_ack(*now, cubic.window() / 10, RTT, MTU, false);
            assert!(*now - begin < Duration::from_secs(100));
        }
        (*now - begin).as_secs_f64()
    }

    #[test]
    fn it_is_back_where_packets_were_lost_after_k_and_goes_slowly_there() {
        let mut now = start();
        let full = 200.0 * MTU as f64;
        let mut cubic = Cubic::new(now, full, BETA, MTU);
        assert_eq!(cubic.window(), 140 * MTU);
        // RFC 9438 equation 2: `k` is cbrt(60 / 0.4) = 5.3 s, and the last two packets take the last 1.7 s of it.
        let took = grow(&mut cubic, &mut now, |c| c.window as u64 >= (full * 0.99) as u64);
        assert!((3.4..3.9).contains(&took), "{took} s");
        let before = cubic.window;
        grow(&mut cubic, &mut now, |c| c.updated - c.epoch >= Duration::from_secs(6));
        assert!(cubic.window < before * 1.05, "a plateau");
        grow(&mut cubic, &mut now, |c| c.updated - c.epoch >= Duration::from_secs(12));
        assert!(cubic.window > before * 1.5, "then it looks for more");
    }

    #[test]
    fn small_windows_grow_like_those_of_reno() {
        let mut now = start();
        let mut cubic = Cubic::new(now, 12.0 * MTU as f64, 0.5, MTU);
        let took = grow(&mut cubic, &mut now, |c| c.window() >= 12 * MTU);
        // Six packets at 0.53 per round trip, against 2.5 s of the cubic function.
        assert!((0.9..1.6).contains(&took), "{took} s");
    }

    #[test]
    fn the_second_of_two_reductions_makes_room_and_pauses_are_no_growth() {
        let mut now = start();
        let mut cubic = Cubic::new(now, 100_000.0, BETA, MTU);
        let sent = now;
        now += RTT;
        assert!(!cubic.is_news(sent) && cubic.is_news(now));
        cubic.reduce(now, MTU);
        assert!((cubic.w_max - 70_000.0 * 0.85).abs() < 1.0, "{}", cubic.w_max);
        assert!((cubic.window - 49_000.0).abs() < 1.0);
        let before = cubic.window;
        for _ in 0..1000 {
            now += RTT;
            cubic.on_ack(now, 1200, RTT, MTU, true);
        }
        assert!((cubic.window - before).abs() < f64::EPSILON);
        for _ in 0..1000 {
            cubic.reduce(now, MTU);
        }
        assert_eq!(cubic.window(), 4 * MTU);
    }

    #[test]
    fn a_stream_keeps_more_of_the_window() {
        let now = start();
        let left = |beta| Cubic::new(now, 100_000.0, beta, MTU).window();
        assert_eq!((left(BETA), left(STREAM_BETA)), (70_000, 85_000));
    }
}
