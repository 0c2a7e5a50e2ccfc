//! What round-trip times and losses tell about the queue of a path.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Seconds for which round-trip times count. That is longer than several measurements that a neighbour's queue spoils.
const AGE: u64 = 60;
/// A queue is one that stands for so many acknowledgements: a single one may have waited for something else, such as a late thread.
const STANDING: usize = 4;
/// The longest queue of one second in so many is an exception: it does not count.
const RARE: usize = 10;
/// From this share of the longest queue on it counts as full: what is lost there was most likely dropped for want of room.
const FULL: f64 = 0.6;
/// Below this share of it nothing is dropped for want of room.
const ROOM: f64 = 0.4;
/// A queue below this share of the lowest round-trip time is none: a sender that probes for more builds one as well.
const LEAST_SHARE: u32 = 16;
/// A queue below this is none: timers and threads are not more punctual.
const LEAST_QUEUE: Duration = Duration::from_millis(2);
/// Round-trip times over which their irregularity is averaged; at first all there are.
const NOISE_SAMPLES: u32 = 32;
/// That many regular ones are taken to have come before the first: a start that fills the queue is not regular either. With one, streams
/// beside a CUBIC flow took its queue for chance; with eight, some took chance for a queue.
const NOISE_BEFORE: u32 = 3;
/// A queue below so many times the mean irregularity is none. Of packets that are late at random it is about twice the standard
/// deviation, and the shortest round-trip time of a minute is three or four of these below the mean.
const LEAST_NOISE: f64 = 2.5;
/// Paths with a shorter round-trip time than this are loopback or a network of one's own.
const LEAST_BASE: Duration = Duration::from_millis(1);
/// How much what was lost in a round counts in the next one.
const DECAY: f64 = 0.98;
/// Losses are more than chance from so many standard deviations on.
const DEVIATIONS: f64 = 4.0;

/// The shortest round-trip time within a second, and the longest one with a standing queue.
#[derive(Debug, Clone, Copy)]
struct Second {
    number: u64,
    least: Duration,
    most: Duration,
}

/// Tells losses of a full queue from those that come at any time.
///
/// Who loses a packet because a drop-tail queue is full sees the longest round-trip times on the packets around it. On a link
/// that loses packets at random, as many are lost while the queue is short.
#[derive(Debug, Clone)]
pub(super) struct Queueing {
    start: Instant,
    /// At most [`AGE`] + 1 of them.
    seconds: VecDeque<Second>,
    /// Of all the seconds.
    least: Duration,
    /// Of the seconds before this one, but for the exceptions.
    most: Duration,
    latest: Duration,
    /// Those before the latest one.
    before: [Duration; STANDING - 1],
    /// Mean of how far, in seconds, a round-trip time is off the line through the two before it. A queue grows and shrinks for many
    /// packets in turn; what is late at random, as on Wi-Fi, is so by itself.
    noise: f64,
    /// At most [`NOISE_SAMPLES`].
    noise_samples: u32,
    /// Lost packets and all packets while the queue had room, the older the less.
    ambient: (f64, f64),
    /// Packets of this round, and those of them that were lost from a full queue.
    packets: f64,
    dropped: f64,
}

impl Queueing {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            start: now,
            seconds: VecDeque::new(),
            least: Duration::MAX,
            most: Duration::ZERO,
            latest: Duration::ZERO,
            before: [Duration::ZERO; STANDING - 1],
            noise: 0.0,
            noise_samples: NOISE_BEFORE,
            ambient: (0.0, 0.0),
            packets: 0.0,
            dropped: 0.0,
        }
    }

    /// Acknowledgements have come, of which the newest packet took this long.
    pub(super) fn on_rtt(&mut self, now: Instant, rtt: Duration) {
        let [.., second, last] = self.before;
        if !second.is_zero() {
            let off = rtt.as_secs_f64() + second.as_secs_f64() - 2.0 * last.as_secs_f64();
            self.noise_samples = (self.noise_samples + 1).min(NOISE_SAMPLES);
            self.noise += (off.abs() - self.noise) / f64::from(self.noise_samples);
        }
        let standing = self.before.iter().fold(rtt, |least, before| least.min(*before));
        self.before.rotate_left(1);
        self.before[STANDING - 2] = rtt;
        self.latest = rtt;
        let number = now.saturating_duration_since(self.start).as_secs();
        match self.seconds.back_mut().filter(|second| second.number >= number) {
            Some(second) => {
                second.least = second.least.min(rtt);
                second.most = second.most.max(standing);
                self.least = self.least.min(rtt);
            }
            None => {
                let mut longest: Vec<Duration> = self.seconds.iter().map(|second| second.most).collect();
                longest.sort_unstable_by(|a, b| b.cmp(a));
                self.most = longest.get(longest.len() / RARE).copied().unwrap_or_default();
                self.seconds.push_back(Second { number, least: rtt, most: standing });
                self.seconds.retain(|second| second.number + AGE >= number);
                self.least = self.seconds.iter().map(|second| second.least).min().unwrap_or(rtt);
            }
        }
    }

    /// The round-trip time without any queue, as far as it is known.
    pub(super) fn base(&self) -> Option<Duration> {
        (!self.seconds.is_empty()).then_some(self.least)
    }

    /// The shortest round-trip time within the last `age`, if that is one without a queue.
    pub(super) fn recent_base(&self, now: Instant, age: Duration) -> Option<Duration> {
        let since = now.saturating_duration_since(self.start).saturating_sub(age).as_secs();
        let recent = self.seconds.iter().filter(|second| second.number > since).map(|second| second.least);
        recent.min().filter(|rtt| self.is_empty_at(*rtt))
    }

    /// The shortest queue that is one.
    fn least_queue(&self) -> Duration {
        (self.least / LEAST_SHARE).max(LEAST_QUEUE).max(Duration::from_secs_f64(LEAST_NOISE * self.noise))
    }

    /// Whether a round-trip time is one without a queue.
    pub(super) fn is_empty_at(&self, rtt: Duration) -> bool {
        rtt <= self.least.saturating_add(2 * self.least_queue())
    }

    /// Queue of the latest packet, and the longest one.
    fn queue(&self) -> (Duration, Duration) {
        (self.latest.saturating_sub(self.least), self.most.saturating_sub(self.least))
    }

    fn is_full(&self) -> bool {
        let (queue, longest) = self.queue();
        queue >= longest.mul_f64(FULL).max(self.least_queue())
    }

    fn has_room(&self) -> bool {
        let (queue, longest) = self.queue();
        queue <= longest.mul_f64(ROOM).max(self.least_queue())
    }

    /// So many packets were acknowledged, after [`on_rtt`](Self::on_rtt) was told about them.
    pub(super) fn on_acked(&mut self, packets: f64) {
        self.packets += packets;
        if self.has_room() {
            self.ambient.1 += packets;
        }
    }

    /// A packet was lost.
    pub(super) fn on_lost(&mut self) {
        self.packets += 1.0;
        if self.is_full() {
            self.dropped += 1.0;
        } else if self.has_room() {
            self.ambient.0 += 1.0;
            self.ambient.1 += 1.0;
        }
    }

    /// A round is over.
    pub(super) fn end_round(&mut self) {
        (self.packets, self.dropped) = (0.0, 0.0);
        self.ambient.0 *= DECAY;
        self.ambient.1 *= DECAY;
    }

    /// Whether the queue has overflown in this round: more was lost while it was full than what is lost at any time. Then the
    /// share of the round-trip time that is none of the queue. `in_flight`: packets of a round.
    pub(super) fn overflow(&self, in_flight: f64) -> Option<f64> {
        let (lost, all) = self.ambient;
        // What is certain of a few: some are found to be lost only after the queue has become shorter.
        let lost = (lost - 2.0 * lost.sqrt()).max(0.0);
        // As many as chance makes of so many packets, which is a Poisson distribution.
        let expected = if all > 0.0 { lost / all * self.packets.max(in_flight) } else { 0.0 };
        // There is no line of its own behind this, and a program that is woken up late looks like a queue.
        if self.least < LEAST_BASE {
            return None;
        }
        let overflown = self.dropped > expected + DEVIATIONS * expected.sqrt();
        (overflown && self.is_full()).then(|| self.least.as_secs_f64() / self.latest.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// A path of 100 ms without its queue, on which rounds of ten packets go by.
    struct Path {
        now: Instant,
        queueing: Queueing,
    }

    impl Path {
        fn new() -> Self {
            #[expect(clippy::disallowed_methods, reason = "a test needs some first instant")]
            let now = Instant::now();
            let mut path = Self { now, queueing: Queueing::new(now) };
            path.rounds(10, 0, 0);
            path
        }

        /// So many rounds with a queue of `queue` ms, of whose ten packets `lost` are lost.
        fn rounds(&mut self, count: u32, queue: u32, lost: u32) {
            for _ in 0..count {
                self.queueing.end_round();
                self.now += (100 + queue) * MS;
                for _ in lost..10 {
                    self.queueing.on_rtt(self.now, (100 + queue) * MS);
                }
                self.queueing.on_acked(f64::from(10 - lost));
                (0..lost).for_each(|_| self.queueing.on_lost());
            }
        }

        fn overflow(&self) -> Option<f64> {
            self.queueing.overflow(10.0)
        }
    }

    #[test]
    fn what_is_lost_at_the_top_of_the_queue_is_an_overflow_and_nothing_else_is() {
        let mut path = Path::new();
        assert_eq!(path.overflow(), None, "nothing is lost");
        path.rounds(1, 0, 1);
        assert_eq!(path.overflow(), None, "there is no queue");
        path.rounds(1, 5, 1);
        assert_eq!(path.overflow(), None, "a queue of 5 ms is a probe of our own");
        path.rounds(5, 100, 0);
        assert_eq!(path.overflow(), None, "nothing is lost from the queue");
        path.rounds(1, 40, 1);
        assert_eq!(path.overflow(), None, "the queue was longer without a loss");
        path.rounds(1, 99, 1);
        assert_eq!(path.overflow(), Some(100.0 / 199.0));
        path.queueing.end_round();
        assert_eq!(path.overflow(), None, "that was in the last round");
    }

    #[test]
    fn a_link_that_always_loses_packets_needs_more_losses_for_an_overflow() {
        let mut path = Path::new();
        path.rounds(50, 0, 1);
        for _ in 0..20 {
            // A queue comes and goes, and the link loses as many packets with it as without.
            path.rounds(2, 50, 1);
            assert_eq!(path.overflow(), None);
            path.rounds(2, 0, 1);
        }
        path.rounds(1, 50, 7);
        assert!(path.overflow().is_some(), "so many are lost for another reason");
        // When it loses none any more, it is as before after a while.
        path.rounds(400, 0, 0);
        path.rounds(1, 50, 1);
        assert!(path.overflow().is_some());
    }

    #[test]
    fn a_few_losses_that_are_found_late_do_not_make_a_lossy_link() {
        let mut path = Path::new();
        path.rounds(5, 100, 0);
        path.rounds(1, 0, 3);
        path.rounds(1, 100, 1);
        assert!(path.overflow().is_some());
    }

    #[test]
    fn single_round_trips_that_take_long_do_not_hide_a_short_queue() {
        let mut path = Path::new();
        for _ in 0..40 {
            // A delayed acknowledgement in each second is three times as long as the queue ever is.
            path.rounds(5, 0, 0);
            path.rounds(5, 15, 0);
            path.queueing.on_rtt(path.now, 145 * MS);
        }
        path.rounds(1, 15, 1);
        assert!(path.overflow().is_some());
    }

    #[test]
    fn a_queue_that_was_long_once_does_not_hide_a_short_one() {
        let mut path = Path::new();
        path.rounds(10, 200, 0);
        path.rounds(1, 20, 1);
        assert_eq!(path.overflow(), None, "nobody knows yet that it was an exception");
        path.rounds(300, 20, 0);
        path.rounds(1, 20, 1);
        assert!(path.overflow().is_some());
    }

    #[test]
    fn packets_that_are_late_at_random_are_no_queue() {
        let mut path = Path::new();
        // Up to 40 ms late, without an order, and one of ten is lost.
        let mut late = 7_u32;
        for round in 0..600 {
            path.queueing.end_round();
            for packet in 0..10 {
                late = late.wrapping_mul(1_103_515_245).wrapping_add(12_345);
                path.now += 10 * MS;
                if packet == round % 10 {
                    path.queueing.on_lost();
                    assert_eq!(path.overflow(), None, "round {round}");
                } else {
                    path.queueing.on_rtt(path.now, (100 + (late >> 16) % 40) * MS);
                    path.queueing.on_acked(1.0);
                }
            }
        }
        assert!(path.queueing.is_empty_at(125 * MS), "{:?}", path.queueing);
        // A queue that is longer than all that is one.
        path.rounds(20, 150, 0);
        path.rounds(1, 150, 5);
        assert!(path.overflow().is_some());
    }

    #[test]
    fn loopback_and_the_like_have_no_queue_of_others() {
        let mut path = Path::new();
        path.queueing.on_rtt(path.now, MS / 20);
        path.rounds(1, 100, 5);
        assert_eq!(path.overflow(), None);
    }

    #[test]
    fn round_trip_times_are_forgotten_after_a_minute_and_nothing_grows() {
        let mut path = Path::new();
        path.rounds(200, 50, 0);
        assert_eq!(path.queueing.base(), Some(100 * MS));
        assert!(!path.queueing.is_empty_at(150 * MS) && path.queueing.is_empty_at(110 * MS));
        assert_eq!(
            path.queueing.recent_base(path.now, Duration::from_secs(10)),
            None,
            "the queue was never empty"
        );
        path.rounds(1, 5, 0);
        path.rounds(3, 50, 0);
        assert_eq!(path.queueing.recent_base(path.now, Duration::from_secs(10)), Some(105 * MS));
        path.rounds(1000, 50, 0);
        assert_eq!(path.queueing.base(), Some(150 * MS), "another route is longer");
        assert!(path.queueing.is_empty_at(150 * MS));
        assert!(path.queueing.seconds.len() <= 61);
    }
}
