//! Congestion control for live video: follows the rate that the path delivers, not the packets that it loses.
//!
//! Wi-Fi and mobile uplinks lose a few per cent at random. A window that halves at each loss (RFC 9002, CUBIC) falls
//! below the rate of a picture on such links. So this controller is of BBR's family: it paces at the highest delivery
//! rate seen lately, keeps about one bandwidth-delay product in flight, and yields only to loss that is more than
//! random ([`LOSS_LIMIT`]). In contrast to noq's BBRv3 it draws no randomness, which the core may not have, and it
//! treats the pauses of a stream that sends less than it could as what they are.
//!
//! Such a sender is a bad neighbour of those that yield to every loss, as most of the internet does: where the queue of the path
//! is short it takes nearly all, where it is long it gets little. So it follows CUBIC while there is a neighbour ([`Cubic`]):
//! from the first packet that is lost from a full queue ([`Queueing`]) until the queue is empty when this sender leaves it alone.

mod cubic;
mod queueing;

use std::any::Any;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use noq_proto::RttEstimator;
use noq_proto::congestion::{Controller, ControllerFactory, ControllerMetrics};

use self::cubic::{BETA, Cubic, STREAM_BETA};
use self::queueing::Queueing;

/// Share of bytes lost in one round trip from which on the path counts as overloaded.
const LOSS_LIMIT: f64 = 0.15;
/// Rounds over which the highest delivery rate holds.
const RATE_ROUNDS: u64 = 10;
/// Round-trip time that the window is made for at least. On loopback and in a wired network packets take less, but programs are
/// not woken up in less, and a window that is too small for that would be taken for a slow path: it would shrink further.
const LEAST_RTT: Duration = Duration::from_millis(1);
/// How long the lowest round-trip time holds.
const MIN_RTT_AGE: Duration = Duration::from_secs(10);
/// How long the queue of the path is let run empty to measure the lowest round-trip time anew.
const PROBE_RTT_TIME: Duration = Duration::from_millis(200);
/// Packets in flight meanwhile. More than two are a queue themselves on a slow path: four take 160 ms at 300 kbit/s.
const PROBE_RTT_PACKETS: u64 = 2;
/// A lowest round-trip time above this is most likely a queue that never ran empty: it is emptied for good then.
const LONG_RTT: Duration = Duration::from_millis(300);
/// Pacing gain while the rate of the path is unknown: doubles it each round.
const STARTUP_GAIN: f64 = 2.77;
/// Pacing gain that empties the queue which the start has built up.
const DRAIN_GAIN: f64 = 0.5;
/// Gains of the probing cycle, one round-trip time each.
const CYCLE: [f64; 8] = [1.25, 0.75, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0];
/// Window as a multiple of the bandwidth-delay product: leaves room for acknowledgements that come in clumps and for
/// holes that wait for a retransmission.
const WINDOW_GAIN: f64 = 2.0;
/// How much of the rate is kept after a round with too much loss.
const LOSS_YIELD: f64 = 0.8;
/// How fast a yielded rate is taken back, per round.
const LOSS_RECOVERY: f64 = 1.05;
/// A sender that has paused within this time sends in bursts, and does not fill the path.
const PAUSE_AGE: Duration = Duration::from_secs(1);
/// How long there is taken to be a neighbour before it is looked again. Doubles each time that it is still there, up to four times
/// this: where the queue is long, looking costs a second of sending.
const RIVAL_AGE: Duration = Duration::from_secs(10);
/// A neighbour that is back within this time had only left the queue empty for a moment.
const SAME_RIVAL: Duration = Duration::from_secs(30);
/// A start is over when packets are lost from a full queue and no more than this share of the round-trip time is none of it.
const STARTUP_FULL: f64 = 0.85;
/// Pacing gain of CUBIC's window: RFC 9002 section 7.7.
const RIVAL_GAIN: f64 = 1.25;
/// Packets whose send state is kept; older ones count without a rate sample.
const MAX_TRACKED: usize = 16 * 1024;

/// Builds the controller of each path.
#[derive(Debug, Clone)]
pub(super) struct LiveConfig {
    /// Bytes in flight before the first acknowledgement.
    pub(super) initial_window: u64,
    /// What is sent comes in bursts: see [`LinkConfig::bursts`](super::LinkConfig::bursts).
    pub(super) bursts: bool,
}

impl ControllerFactory for LiveConfig {
    fn build(self: Arc<Self>, now: Instant, mtu: u16) -> Box<dyn Controller> {
        Box::new(Live::new(&self, now, mtu))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Startup,
    Drain,
    Probe,
    /// The queue of the path is let run empty: window, and until when once no more than that is in flight.
    ProbeRtt {
        window: u64,
        until: Option<Instant>,
    },
}

/// What was known when a packet was sent.
#[derive(Debug, Clone, Copy)]
struct Sent {
    pn: u64,
    at: Instant,
    delivered: u64,
    delivered_at: Instant,
    first_sent: Instant,
    /// There was nothing more to send at that time or shortly before.
    limited: bool,
}

#[derive(Debug, Clone)]
struct Live {
    initial_window: u64,
    bursts: bool,
    mtu: u64,
    phase: Phase,
    sent: VecDeque<Sent>,
    delivered: u64,
    delivered_at: Instant,
    /// When the packet was sent that was acknowledged last.
    first_sent: Instant,
    /// A round ends when a packet is acknowledged that was sent after this much was delivered.
    round_end: u64,
    round: u64,
    round_acked: u64,
    round_lost: u64,
    /// Highest delivery rates in bytes/s and their rounds, falling.
    rates: VecDeque<(u64, f64)>,
    /// Factor below 1 after loss.
    yielding: f64,
    min_rtt: Option<Duration>,
    min_rtt_at: Instant,
    full_rate: f64,
    full_rounds: u32,
    cycle: usize,
    cycle_at: Instant,
    batch: Option<Sent>,
    /// The shortest round-trip time of this batch of acknowledgements: those before it waited at the receiver.
    batch_rtt: Option<Duration>,
    app_limited: bool,
    /// There was nothing more to send; what is delivered by then was sent because of that and not because the path took no more.
    limited_until: Option<u64>,
    /// The latest round-trip time.
    last_rtt: Duration,
    /// When the sender last had nothing more to send, or everything was acknowledged.
    paused_at: Option<Instant>,
    /// It pauses again and again: what is known of the rate is what it sends, not what the path carries.
    bursty: bool,
    queueing: Queueing,
    /// The window next to somebody who fills the queue.
    rival: Option<Cubic>,
    /// When it is looked whether the neighbour is still there, and how long after the last time that is.
    rival_look: (Instant, Duration),
    /// The window at the end of the last neighbourhood.
    rival_before: u64,
    smoothed_rtt: Duration,
    /// Acknowledged since the end of the last batch of acknowledgements.
    batch_acked: u64,
    /// Most bytes in flight in this round and in the last one.
    in_flight: [u64; 2],
}

impl Live {
    fn new(config: &LiveConfig, now: Instant, mtu: u16) -> Self {
        Self {
            initial_window: config.initial_window,
            bursts: config.bursts,
            mtu: u64::from(mtu),
            phase: Phase::Startup,
            sent: VecDeque::new(),
            delivered: 0,
            delivered_at: now,
            first_sent: now,
            round_end: 0,
            round: 0,
            round_acked: 0,
            round_lost: 0,
            rates: VecDeque::new(),
            yielding: 1.0,
            min_rtt: None,
            min_rtt_at: now,
            full_rate: 0.0,
            full_rounds: 0,
            cycle: 2,
            cycle_at: now,
            batch: None,
            batch_rtt: None,
            app_limited: false,
            limited_until: None,
            last_rtt: Duration::ZERO,
            paused_at: None,
            bursty: false,
            queueing: Queueing::new(now),
            rival: None,
            rival_look: (now, RIVAL_AGE),
            rival_before: 0,
            smoothed_rtt: Duration::ZERO,
            batch_acked: 0,
            in_flight: [0; 2],
        }
    }

    /// The rate that the path delivers, in bytes/s.
    fn rate(&self) -> Option<f64> {
        self.rates.front().map(|(_, rate)| *rate)
    }

    /// Bandwidth-delay product in bytes.
    fn bdp(&self) -> Option<f64> {
        Some(self.rate()? * self.yielding * self.min_rtt?.max(LEAST_RTT).as_secs_f64())
    }

    fn add_rate(&mut self, rate: f64) {
        while self.rates.back().is_some_and(|(_, old)| *old <= rate) {
            self.rates.pop_back();
        }
        self.rates.push_back((self.round, rate));
        let round = self.round;
        while self.rates.len() > 1 && self.rates.front().is_some_and(|(at, _)| at + RATE_ROUNDS < round) {
            self.rates.pop_front();
        }
    }

    /// The send state of packet `pn`, and everything before it that will not be asked for again.
    fn take_sent(&mut self, pn: u64) -> Option<Sent> {
        let index = self.sent.binary_search_by_key(&pn, |s| s.pn).ok()?;
        if index == 0 { self.sent.pop_front() } else { self.sent.get(index).copied() }
    }

    fn end_round(&mut self, now: Instant) {
        let total = self.round_acked + self.round_lost;
        self.queueing.end_round();
        self.in_flight = [0, self.in_flight[0]];
        // A single lost packet of a few says nothing.
        let overloaded =
            self.round_lost > 4 * self.mtu && self.round_lost as f64 > LOSS_LIMIT * total.max(1) as f64;
        if overloaded {
            self.yielding = (self.yielding * LOSS_YIELD).max(0.1);
            if self.phase == Phase::Startup {
                self.phase = Phase::Drain;
            }
            let before = now.checked_sub(self.smoothed_rtt).unwrap_or(now);
            if let Some(rival) = self.rival.as_mut().filter(|rival| rival.is_news(before)) {
                rival.reduce(now, self.mtu);
            }
        } else {
            self.yielding = (self.yielding * LOSS_RECOVERY).min(1.0);
        }
        self.round_acked = 0;
        self.round_lost = 0;
        if self.phase == Phase::Startup && !self.app_limited && !self.bursty {
            let rate = self.rate().unwrap_or(0.0);
            if rate > self.full_rate * 1.25 {
                self.full_rate = rate;
                self.full_rounds = 0;
            } else {
                self.full_rounds += 1;
                if self.full_rounds >= 3 {
                    self.phase = Phase::Drain;
                }
            }
        }
    }

    fn advance(&mut self, now: Instant, in_flight: u64) {
        let bdp = self.bdp().unwrap_or(self.initial_window as f64);
        match self.phase {
            Phase::Startup => {}
            Phase::Drain => {
                if in_flight as f64 <= bdp {
                    self.phase = Phase::Probe;
                    self.cycle = 2;
                    self.cycle_at = now;
                }
            }
            Phase::Probe => {
                let step = self.min_rtt.unwrap_or(Duration::from_millis(100)).max(Duration::from_millis(10));
                if now.saturating_duration_since(self.cycle_at) >= step {
                    self.cycle = (self.cycle + 1) % CYCLE.len();
                    self.cycle_at = now;
                }
            }
            Phase::ProbeRtt { window, until: None } => {
                if in_flight <= window {
                    // What was measured before still saw the queue.
                    self.min_rtt = None;
                    // What is sent into an empty queue must have come back.
                    let round = self.rival.as_ref().and(self.queueing.base()).unwrap_or_default() * 3 / 2;
                    self.phase = Phase::ProbeRtt { window, until: Some(now + PROBE_RTT_TIME.max(round)) };
                }
            }
            Phase::ProbeRtt { until: Some(until), .. } => {
                if now >= until
                    && let Some(rtt) = self.min_rtt
                {
                    self.min_rtt_at = now;
                    if let Some(rival) = self.rival.take() {
                        self.rival_before = rival.window();
                        self.rival = Some(rival).filter(|_| !self.queueing.is_empty_at(rtt));
                        self.rival_look = (now, (self.rival_look.1 * 2).min(RIVAL_AGE * 4));
                    }
                    self.phase = if self.full_rounds >= 3 { Phase::Probe } else { Phase::Startup };
                }
            }
        }
        if now.saturating_duration_since(self.min_rtt_at) > MIN_RTT_AGE && self.bursty {
            // The queue of the path runs empty all the time, and there is nothing to give way for.
            self.min_rtt = Some(self.last_rtt);
            self.min_rtt_at = now;
        }
        if self.rival.is_none()
            && now.saturating_duration_since(self.min_rtt_at) > MIN_RTT_AGE
            && self.has_paused(now)
            && self.queueing.base().is_some_and(|base| self.smoothed_rtt <= base * 3 / 2)
            && let Some(rtt) = self.queueing.recent_base(now, MIN_RTT_AGE)
        {
            // The same for a stream that leaves the path pauses, in which its queue has run empty. To hold it up would cost it more
            // than it is worth. One that is faster than its path pauses as well, but its queue is long most of the time.
            self.min_rtt = Some(rtt);
            self.min_rtt_at = now;
        }
        let (since, age) = match self.rival {
            Some(_) => self.rival_look,
            None => (self.min_rtt_at, MIN_RTT_AGE),
        };
        if now.saturating_duration_since(since) > age && !matches!(self.phase, Phase::ProbeRtt { .. }) {
            // Between members, who are many on one uplink, two would be all that they send meanwhile.
            let packets = if self.bursts { 4 } else { PROBE_RTT_PACKETS };
            let least = packets * self.mtu;
            let window = match (&self.rival, self.rate(), self.queueing.base()) {
                // Just what this sender has on its way without a queue: what is still in the queue then is of others.
                (Some(_), Some(rate), Some(base)) => 0.9 * rate * base.as_secs_f64(),
                // Only a path that is kept full hides its lowest round-trip time; others show it all the time.
                _ if self.min_rtt.is_some_and(|rtt| rtt > LONG_RTT) => 0.0,
                _ => 0.5 * bdp,
            };
            self.phase = Phase::ProbeRtt { window: (window as u64).max(least), until: None };
        }
    }

    /// A packet that was sent at `sent` has been lost from a full queue. `base`: the share of the round-trip time that is none of
    /// the queue.
    fn overflow(&mut self, now: Instant, sent: Instant, base: f64) {
        match &mut self.rival {
            Some(rival) if rival.is_news(sent) => rival.reduce(now, self.mtu),
            Some(_) => {}
            None => match self.phase {
                // Its own queue shows a sender that the path carries no more. It must be one that is not there by chance.
                Phase::Startup if base <= STARTUP_FULL => {
                    self.phase = Phase::Drain;
                    self.full_rounds = 3;
                }
                Phase::Startup | Phase::Drain | Phase::ProbeRtt { .. } => {}
                // We alone would not have filled it.
                Phase::Probe => {
                    let (last, age) = self.rival_look;
                    let same = now.saturating_duration_since(last) < SAME_RIVAL;
                    let used = self.in_flight[0].max(self.in_flight[1]);
                    let (window, beta) = match self.window() {
                        // A stream that sends less than it could does not fill its window.
                        window if self.has_paused(now) && used < window * 3 / 4 => (window, STREAM_BETA),
                        // What was won while the queue was empty for a moment is not kept.
                        _ if same && self.rival_before > 0 => (used.min(self.rival_before), BETA),
                        _ => (used, BETA),
                    };
                    self.rival = Some(Cubic::new(now, window as f64, beta, self.mtu));
                    self.rival_look = (now, if same { age } else { RIVAL_AGE });
                }
            },
        }
    }

    /// Whether the sender had nothing to send a moment ago.
    fn has_paused(&self, now: Instant) -> bool {
        self.paused_at.is_some_and(|at| now.saturating_duration_since(at) < PAUSE_AGE)
    }

    /// The window next to a neighbour.
    fn rival_window(&self) -> Option<u64> {
        let rival = self.rival.as_ref().filter(|_| !matches!(self.phase, Phase::ProbeRtt { .. }))?;
        Some(rival.window().max(4 * self.mtu))
    }

    fn gain(&self) -> f64 {
        match self.phase {
            Phase::Startup => STARTUP_GAIN,
            Phase::Drain => DRAIN_GAIN,
            Phase::Probe => CYCLE[self.cycle % CYCLE.len()],
            Phase::ProbeRtt { .. } => 1.0,
        }
    }
}

impl Controller for Live {
    fn on_packet_sent(&mut self, now: Instant, _bytes: u16, pn: u64) {
        if self.sent.is_empty() {
            // After a pause the time without packets must not count as time that delivery took.
            self.first_sent = now;
            self.delivered_at = now;
        }
        if self.sent.len() >= MAX_TRACKED {
            self.sent.pop_front();
        }
        self.sent.push_back(Sent {
            pn,
            at: now,
            delivered: self.delivered,
            delivered_at: self.delivered_at,
            first_sent: self.first_sent,
            limited: self.limited_until.is_some(),
        });
    }

    fn on_ack(
        &mut self,
        now: Instant,
        sent: Instant,
        bytes: u64,
        pn: u64,
        _app_limited: bool,
        estimator: &RttEstimator,
    ) {
        self.smoothed_rtt = estimator.get();
        self.batch_acked += bytes;
        self.delivered += bytes;
        self.delivered_at = now;
        self.round_acked += bytes;
        let rtt = now.saturating_duration_since(sent);
        self.last_rtt = rtt;
        self.batch_rtt = Some(self.batch_rtt.map_or(rtt, |least| least.min(rtt)));
        if self.min_rtt.is_none_or(|min| rtt <= min) {
            self.min_rtt = Some(rtt);
            self.min_rtt_at = now;
        }
        if let Some(state) = self.take_sent(pn)
            && self.batch.is_none_or(|b| b.pn < state.pn)
        {
            self.batch = Some(state);
        }
    }

    fn on_end_acks(&mut self, now: Instant, in_flight: u64, app_limited: bool, _largest: Option<u64>) {
        self.app_limited = app_limited;
        if app_limited || in_flight == 0 {
            self.paused_at = Some(now);
        }
        // Members of a swarm pause all the time, and are paced by other means: see `bursty`.
        if app_limited && !self.bursts {
            self.limited_until = Some(self.delivered + in_flight);
        } else if self.limited_until.is_some_and(|until| self.delivered > until) {
            self.limited_until = None;
        }
        self.bursty = self.bursts && self.has_paused(now);
        let acked = std::mem::take(&mut self.batch_acked);
        let sent = in_flight + acked;
        if let Some(rtt) = self.batch_rtt.take().filter(|_| !self.bursts) {
            self.queueing.on_rtt(now, rtt);
        }
        self.in_flight[0] = self.in_flight[0].max(sent);
        self.queueing.on_acked(acked as f64 / self.mtu as f64);
        if let Some(rival) = &mut self.rival {
            let idle = self.in_flight[0].max(self.in_flight[1]) < rival.window() / 2;
            rival.on_ack(now, acked, self.smoothed_rtt, self.mtu, idle);
        }
        let Some(newest) = self.batch.take() else { return };
        // What is older than the newest acknowledged packet by a lot was lost or acknowledged.
        while self.sent.front().is_some_and(|s| s.pn + 1024 < newest.pn) {
            self.sent.pop_front();
        }
        if in_flight == 0 {
            self.sent.clear();
        }
        self.first_sent = newest.at;
        let sending = newest.at.saturating_duration_since(newest.first_sent);
        let arriving = now.saturating_duration_since(newest.delivered_at);
        let interval = sending.max(arriving);
        let delivered = self.delivered - newest.delivered;
        // A sample over less than the round-trip time is one of clumped acknowledgements.
        if interval >= self.min_rtt.unwrap_or_default() && !interval.is_zero() && delivered > 0 {
            let rate = delivered as f64 / interval.as_secs_f64();
            // A sender that had nothing to send proves no more than what it sent. After a pause the first packets say this only when the
            // next ones are on their way: at 300 kbit/s the rate fell by half with each pause, and keyframes came too late.
            if !(app_limited || newest.limited) || self.rate().is_none_or(|known| rate >= known) {
                self.add_rate(rate);
            }
        }
        if newest.delivered >= self.round_end {
            self.round_end = self.delivered;
            self.round += 1;
            self.end_round(now);
        }
        self.advance(now, in_flight);
    }

    fn on_congestion_event(
        &mut self,
        now: Instant,
        sent: Instant,
        is_persistent_congestion: bool,
        is_ecn: bool,
        _lost_bytes: u64,
        _largest_lost_pn: u64,
    ) {
        if is_persistent_congestion {
            // The path was gone for a while: what was known of it no longer holds.
            self.rates.clear();
            self.min_rtt = None;
            self.yielding = 1.0;
            self.full_rate = 0.0;
            self.full_rounds = 0;
            self.phase = Phase::Startup;
            self.rival = None;
        } else if self.bursts {
            if is_ecn {
                self.yielding = (self.yielding * LOSS_YIELD).max(0.1);
            }
        } else if is_ecn {
            self.overflow(now, sent, 1.0);
        } else if let Some(base) = self.queueing.overflow(self.in_flight[1] as f64 / self.mtu as f64) {
            self.overflow(now, sent, base);
        }
    }

    fn on_packet_lost(&mut self, lost_bytes: u16, _pn: u64, _now: Instant) {
        self.round_lost += u64::from(lost_bytes);
        self.queueing.on_lost();
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.mtu = u64::from(new_mtu);
    }

    fn window(&self) -> u64 {
        let least = 4 * self.mtu;
        if let Phase::ProbeRtt { window, .. } = self.phase {
            return window;
        }
        if let Some(window) = self.rival_window() {
            return window;
        }
        let Some(bdp) = self.bdp() else { return self.initial_window.max(least) };
        match self.phase {
            // The start must be able to grow, and never shrinks below what it began with.
            Phase::Startup => ((STARTUP_GAIN * bdp) as u64).max(self.initial_window),
            Phase::ProbeRtt { window, .. } => window,
            // A path whose rate is only known from a slow stream must still carry a keyframe at once.
            Phase::Drain | Phase::Probe => {
                let floor = if self.app_limited || self.bursty { self.initial_window } else { least };
                ((WINDOW_GAIN * bdp) as u64 + 3 * self.mtu).max(floor)
            }
        }
    }

    fn metrics(&self) -> ControllerMetrics {
        let mut metrics = ControllerMetrics::default();
        metrics.congestion_window = self.window();
        if let (Some(rate), Some(_)) = (self.rate(), self.min_rtt) {
            let rate = rate * self.yielding;
            let mut pace = rate * self.gain();
            if (self.phase == Phase::Startup || self.bursty && self.yielding >= 1.0)
                && let Some(rtt) = self.min_rtt
            {
                // No slower than the first window per round trip.
                pace = pace.max(self.initial_window as f64 / rtt.as_secs_f64().max(0.001));
            }
            if let Some(window) = self.rival_window().filter(|_| !self.smoothed_rtt.is_zero()) {
                pace = RIVAL_GAIN * window as f64 / self.smoothed_rtt.as_secs_f64();
            }
            metrics.pacing_rate = Some((pace as u64).max(self.mtu * 10));
            metrics.bandwidth_estimate = Some((rate * 8.0) as u64);
        }
        metrics
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(self.clone())
    }

    fn initial_window(&self) -> u64 {
        self.initial_window
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}
