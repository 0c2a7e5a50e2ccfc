//! Access links: latency, jitter, loss, reordering, duplication, bandwidth with a drop-tail queue, MTU.

use std::time::Duration;

use super::rng::Dice;
use super::time::{Nanos, nanos};
use super::trace::DropReason;

/// Largest IP packet of a link unless configured, in bytes (Ethernet).
pub(crate) const DEFAULT_MTU: usize = 1500;

/// Loss in bursts (Gilbert-Elliott): a link is in a good or a bad state and loses with the probability of the
/// state. The state is rolled once per packet, before the packet's own loss.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GilbertElliott {
    /// Probability per packet to go from good to bad.
    pub to_bad: f64,
    /// Probability per packet to go from bad to good.
    pub to_good: f64,
    /// Loss probability in the good state.
    pub loss_good: f64,
    /// Loss probability in the bad state.
    pub loss_bad: f64,
}

/// One direction of an access link. Sizes are those of IP packets: the UDP payload and 28 bytes of IPv4 and UDP
/// header, 48 with IPv6.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PipeConfig {
    /// One-way delay after the packet is on the wire.
    pub latency: Duration,
    /// Further delay, uniform in `0..=jitter`. It never reorders packets: a link is a queue.
    pub jitter: Duration,
    /// Probability that a packet is lost, independent of others.
    pub loss: f64,
    /// Loss in bursts, on top of `loss`.
    pub burst: Option<GilbertElliott>,
    /// Probability that a packet is held back by `reorder_delay`, so that later ones overtake it.
    pub reorder: f64,
    /// How long a reordered packet is held back.
    pub reorder_delay: Duration,
    /// Probability that a packet arrives twice.
    pub duplicate: f64,
    /// Bits per second; `None`: no limit and no queue.
    pub bandwidth: Option<u64>,
    /// Size of the drop-tail queue in bytes, the packet being sent included. A packet always fits on an idle link.
    pub queue_bytes: usize,
    /// Largest IP packet in bytes; larger ones vanish (fragmentation is off and nobody reports it).
    pub mtu: usize,
}

impl Default for PipeConfig {
    /// A perfect wire: no delay, no loss, no limit, MTU 1500.
    fn default() -> Self {
        Self {
            latency: Duration::ZERO,
            jitter: Duration::ZERO,
            loss: 0.0,
            burst: None,
            reorder: 0.0,
            reorder_delay: Duration::from_millis(20),
            duplicate: 0.0,
            bandwidth: None,
            queue_bytes: 256 * 1024,
            mtu: DEFAULT_MTU,
        }
    }
}

/// The access link of a host: away from it and towards it.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct LinkConfig {
    /// From the host to the network.
    pub up: PipeConfig,
    /// From the network to the host.
    pub down: PipeConfig,
}

impl LinkConfig {
    /// Both directions alike.
    #[must_use]
    pub fn symmetric(pipe: PipeConfig) -> Self {
        Self { up: pipe, down: pipe }
    }

    /// A clean link with this one-way latency in both directions.
    #[must_use]
    pub fn latency(latency: Duration) -> Self {
        Self::symmetric(PipeConfig { latency, ..PipeConfig::default() })
    }

    /// Changes both directions, for use after a constructor.
    #[must_use]
    pub fn both(mut self, change: impl Fn(&mut PipeConfig)) -> Self {
        change(&mut self.up);
        change(&mut self.down);
        self
    }
}

/// When a packet comes out of a pipe, and its duplicate if it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Passage {
    pub(crate) at: Nanos,
    pub(crate) duplicated: bool,
}

/// One direction of a link with its state.
#[derive(Debug)]
pub(crate) struct Pipe {
    config: PipeConfig,
    /// When the transmitter has sent all that is queued.
    busy_until: Nanos,
    /// The latest exit of an ordinary packet, which no later one may precede.
    last_exit: Nanos,
    bad: bool,
}

impl Pipe {
    /// One-way delay, without what waits.
    pub(crate) fn latency(&self) -> Nanos {
        nanos(self.config.latency)
    }

    /// # Panics
    /// If the configuration makes no sense (see [`check`]).
    pub(crate) fn new(config: PipeConfig) -> Self {
        check(&config);
        Self { config, busy_until: 0, last_exit: 0, bad: false }
    }

    /// Applies to packets that enter from now on; those in flight keep their time.
    pub(crate) fn configure(&mut self, config: PipeConfig) {
        check(&config);
        self.config = config;
        // Otherwise a link that became faster would have to keep the order behind its slow past.
        self.last_exit = 0;
    }

    /// How long what is queued takes to leave.
    pub(crate) fn backlog(&self, now: Nanos) -> Nanos {
        self.busy_until.saturating_sub(now)
    }

    /// Takes in an IP packet of `size` bytes.
    pub(crate) fn admit(&mut self, now: Nanos, size: usize, dice: &mut Dice) -> Result<Passage, DropReason> {
        let config = &self.config;
        if size > config.mtu {
            return Err(DropReason::Mtu);
        }
        let mut exit = now;
        if let Some(bandwidth) = config.bandwidth {
            let wait = self.busy_until.saturating_sub(now);
            let backlog = u128::from(wait) * u128::from(bandwidth) / BIT_NANOS_PER_BYTE;
            if backlog > 0 && backlog + size as u128 > config.queue_bytes as u128 {
                return Err(DropReason::Queue);
            }
            let send = (size as u128 * BIT_NANOS_PER_BYTE).div_ceil(u128::from(bandwidth));
            exit = now + wait + u64::try_from(send).unwrap_or(u64::MAX / 4);
            self.busy_until = exit;
        }
        // A lost packet has used the wire all the same.
        if dice.chance(config.loss) {
            return Err(DropReason::Loss);
        }
        if let Some(model) = &config.burst {
            let flip = if self.bad { model.to_good } else { model.to_bad };
            if dice.chance(flip) {
                self.bad = !self.bad;
            }
            if dice.chance(if self.bad { model.loss_bad } else { model.loss_good }) {
                return Err(DropReason::Loss);
            }
        }
        exit += nanos(config.latency) + dice.up_to(nanos(config.jitter));
        if dice.chance(config.reorder) {
            exit += nanos(config.reorder_delay);
        } else {
            exit = exit.max(self.last_exit);
            self.last_exit = exit;
        }
        Ok(Passage { at: exit, duplicated: dice.chance(config.duplicate) })
    }
}

/// Nanoseconds times bits per byte: `bytes * this / (bits per second)` is a time in nanoseconds.
const BIT_NANOS_PER_BYTE: u128 = 8 * 1_000_000_000;

fn check(config: &PipeConfig) {
    let probability = |name: &str, p: f64| {
        assert!((0.0..=1.0).contains(&p), "link: `{name}` is a probability in 0..=1, not {p}");
    };
    probability("loss", config.loss);
    probability("reorder", config.reorder);
    probability("duplicate", config.duplicate);
    if let Some(model) = &config.burst {
        probability("to_bad", model.to_bad);
        probability("to_good", model.to_good);
        probability("loss_good", model.loss_good);
        probability("loss_bad", model.loss_bad);
    }
    assert!(config.bandwidth != Some(0), "link: use `Sim::cut` instead of a bandwidth of 0");
    let delay = config.latency + config.jitter + config.reorder_delay;
    assert!(delay < Duration::from_secs(3600), "link: delays of an hour and more are a mistake");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pipe(change: impl FnOnce(&mut PipeConfig)) -> (Pipe, Dice) {
        let mut config = PipeConfig::default();
        change(&mut config);
        (Pipe::new(config), Dice::new(7, 0))
    }

    #[test]
    fn bandwidth_spaces_packets_exactly_and_idle_time_is_not_saved_up() {
        // 8 Mbit/s: one byte per microsecond.
        let (mut pipe, mut dice) = pipe(|c| {
            c.bandwidth = Some(8_000_000);
            c.latency = Duration::from_millis(5);
        });
        let mut at = |now| pipe.admit(now, 1000, &mut dice).unwrap().at;
        assert_eq!(at(0), 6_000_000);
        assert_eq!(at(0), 7_000_000);
        assert_eq!(at(500_000), 8_000_000);
        assert_eq!(at(50_000_000), 56_000_000);
        assert_eq!(at(50_000_000), 57_000_000);
    }

    #[test]
    fn the_queue_drops_its_tail_and_drains_with_the_bandwidth() {
        let (mut pipe, mut dice) = pipe(|c| {
            c.bandwidth = Some(8_000_000);
            c.queue_bytes = 5000;
        });
        let mut admit = |now| pipe.admit(now, 1000, &mut dice).map(|p| p.at);
        for n in 1..=5 {
            assert_eq!(admit(0), Ok(n * 1_000_000));
        }
        assert_eq!(admit(0), Err(DropReason::Queue));
        assert_eq!(admit(999_000), Err(DropReason::Queue));
        assert_eq!(admit(1_000_000), Ok(6_000_000));
        assert_eq!(admit(1_000_000), Err(DropReason::Queue));
    }

    #[test]
    fn a_packet_larger_than_the_queue_passes_an_idle_link() {
        let (mut pipe, mut dice) = pipe(|c| {
            c.bandwidth = Some(8_000_000);
            c.queue_bytes = 10;
        });
        assert!(pipe.admit(0, 1000, &mut dice).is_ok());
        assert_eq!(pipe.admit(0, 1000, &mut dice), Err(DropReason::Queue));
    }

    #[test]
    fn the_mtu_counts_the_whole_packet() {
        let (mut pipe, mut dice) = pipe(|_| ());
        assert!(pipe.admit(0, 1500, &mut dice).is_ok());
        assert_eq!(pipe.admit(0, 1501, &mut dice), Err(DropReason::Mtu));
    }

    #[test]
    fn jitter_delays_but_keeps_the_order() {
        let (mut pipe, mut dice) = pipe(|c| {
            c.latency = Duration::from_millis(10);
            c.jitter = Duration::from_millis(10);
        });
        let mut last = 0;
        let mut delays = Vec::new();
        for now in (0..1000u64).map(|n| n * 1_000_000) {
            let at = pipe.admit(now, 100, &mut dice).unwrap().at;
            assert!(at >= last);
            last = at;
            delays.push(at - now);
        }
        assert!(delays.iter().all(|d| (10_000_000..=20_000_000).contains(d)));
        assert!(delays.iter().min() != delays.iter().max());
    }

    #[test]
    fn loss_reordering_and_duplication_meet_their_rates() {
        let (mut pipe, mut dice) = pipe(|c| {
            c.loss = 0.1;
            c.reorder = 0.2;
            c.duplicate = 0.3;
        });
        let (mut lost, mut late, mut twice) = (0, 0, 0);
        for n in 0..100_000u64 {
            match pipe.admit(n * 1000, 100, &mut dice) {
                Err(reason) => {
                    assert_eq!(reason, DropReason::Loss);
                    lost += 1;
                }
                Ok(passage) => {
                    late += u32::from(passage.at > n * 1000);
                    twice += u32::from(passage.duplicated);
                }
            }
        }
        assert!((9_600..10_400).contains(&lost), "{lost}");
        assert!((17_500..18_500).contains(&late), "{late}");
        assert!((26_400..27_600).contains(&twice), "{twice}");
    }

    #[test]
    fn burst_loss_comes_in_runs_of_the_expected_rate() {
        // Stationary share of bad: 0.01 / (0.01 + 0.1); mean length of a run: 1 / 0.1.
        let (mut pipe, mut dice) = pipe(|c| {
            c.burst = Some(GilbertElliott { to_bad: 0.01, to_good: 0.1, loss_good: 0.0, loss_bad: 1.0 });
        });
        let (mut lost, mut runs, mut before) = (0u32, 0u32, false);
        for n in 0..200_000 {
            let gone = pipe.admit(n, 100, &mut dice).is_err();
            lost += u32::from(gone);
            runs += u32::from(gone && !before);
            before = gone;
        }
        let share = f64::from(lost) / 200_000.0;
        let run = f64::from(lost) / f64::from(runs);
        assert!((0.08..0.102).contains(&share), "{share}");
        assert!((9.0..11.0).contains(&run), "{run}");
    }

    #[test]
    #[should_panic(expected = "`loss` is a probability")]
    fn a_percentage_is_not_a_probability() {
        pipe(|c| c.loss = 5.0);
    }
}
