//! What is simulated: every number in one place, with its reason.

use serde::Serialize;
use xp2p_proto::swarm::NatClass;
use xp2p_proto::swarm::constants::BATCH_INTERVAL;

use super::queue::{MS, Nanos, SECOND};

/// What happens during a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Scenario {
    /// Nobody misbehaves, and viewers stay for eight minutes as usual.
    Calm,
    /// Viewers stay for a minute only.
    Churn,
    /// A tenth watches, the others come within 30 s.
    Flash,
    /// 30 % of the viewers, all of one or two regions, vanish at once at half-time.
    Region,
    /// All who read the origin die in one instant, three times.
    Pullers,
    /// The origin is away for 5 s.
    Origin,
    /// A fifth takes and never gives, a tenth sends rubbish.
    Abuse,
    /// The uplinks carry 1.1 times the stream on average.
    Tight,
    /// The tracker cannot be reached for 30 s.
    Tracker,
}

impl Scenario {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Calm,
        Self::Churn,
        Self::Flash,
        Self::Region,
        Self::Pullers,
        Self::Origin,
        Self::Abuse,
        Self::Tight,
        Self::Tracker,
    ];

    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Calm => "calm",
            Self::Churn => "churn",
            Self::Flash => "flash",
            Self::Region => "region",
            Self::Pullers => "pullers",
            Self::Origin => "origin",
            Self::Abuse => "abuse",
            Self::Tight => "tight",
            Self::Tracker => "tracker",
        }
    }
}

/// What is simulated between the members.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Messages over connections of given speed and delay.
    Message,
    /// Packets of real QUIC connections.
    Packet,
}

impl Level {
    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Packet => "packet",
        }
    }
}

/// What to run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Config {
    /// Viewers.
    pub viewers: usize,
    /// Simulated time in seconds.
    pub seconds: u64,
    /// What happens.
    pub scenario: Scenario,
    /// What is between the members.
    pub level: Level,
    /// Where all luck comes from.
    pub seed: u64,
    /// How late the witness is, in ms; `None`: drawn from the seed.
    pub witness_lag: Option<u64>,
    /// Whether a broken invariant ends the run with a panic. Otherwise it is counted and reported.
    pub strict: bool,
    /// The numbers of the model.
    pub model: Model,
}

impl Config {
    /// The usual settings of a scenario.
    pub fn new(viewers: usize, seconds: u64, scenario: Scenario, seed: u64) -> Self {
        let model = Model::of(scenario);
        Self {
            viewers,
            seconds,
            scenario,
            level: Level::Message,
            seed,
            witness_lag: None,
            strict: true,
            model,
        }
    }

    /// Whether the origin signs what it sends. A witness stands at the tracker and is away when that is: sharing then pauses.
    pub fn source_signs(&self) -> bool {
        self.scenario == Scenario::Tracker
    }

    /// Makes as many misbehave as in [`Scenario::Abuse`], whatever else happens.
    pub fn with_abuse(&mut self) {
        let abuse = Model::of(Scenario::Abuse);
        (self.model.freeloaders, self.model.poisoners) = (abuse.freeloaders, abuse.poisoners);
    }

    /// The plan of the run.
    pub fn plan(&self) -> Plan {
        Plan::new(self)
    }
}

/// When things happen, in ns.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The first viewer comes.
    pub start: Nanos,
    /// Those who are there first have come.
    pub ramp_end: Nanos,
    /// Steady figures count from here.
    pub steady: Nanos,
    /// The flash crowd.
    pub flash: Option<(Nanos, Nanos)>,
    /// When the scenario's event happens, or its first one.
    pub events: Vec<Nanos>,
    /// How long figures after an event are taken.
    pub window: Nanos,
    /// The end of the run.
    pub end: Nanos,
}

impl Plan {
    fn new(config: &Config) -> Self {
        let end = config.seconds.max(20) * SECOND;
        // The stream runs before anybody watches.
        let start = 3 * SECOND;
        // A run of ten minutes has half a minute of arrivals and as much to settle; shorter runs have less.
        let ramp_end = start + (end / 10).clamp(5 * SECOND, 30 * SECOND);
        let settled = ramp_end + (end / 6).clamp(10 * SECOND, 30 * SECOND);
        let mut plan = Self {
            start,
            ramp_end,
            steady: settled,
            flash: None,
            events: Vec::new(),
            window: (30 * SECOND).min(end / 4),
            end,
        };
        let rest = end - settled;
        match config.scenario {
            Scenario::Flash => {
                let length = (30 * SECOND).min(end / 4);
                plan.flash = Some((settled, settled + length));
                plan.steady = settled + length + 10 * SECOND;
            }
            Scenario::Region | Scenario::Origin | Scenario::Tracker => {
                plan.events.push((end / 2).max(settled));
            }
            Scenario::Pullers => {
                plan.events.extend((0..3).map(|i| settled + rest * (2 * i + 1) / 6));
                plan.window = plan.window.min(rest / 6);
            }
            Scenario::Calm | Scenario::Churn | Scenario::Abuse | Scenario::Tight => {}
        }
        plan
    }

    /// When the origin is away.
    pub(crate) fn origin_away(&self, config: &Config) -> Option<(Nanos, Nanos)> {
        let at = self.events.first().filter(|_| config.scenario == Scenario::Origin)?;
        Some((*at, *at + config.model.origin_outage * MS))
    }
}

/// The numbers of the model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Model {
    /// Bit/s of the stream: a usual camera at 1080p.
    pub rate: u64,
    /// Frames a second.
    pub fps: u64,
    /// Seconds from keyframe to keyframe: what encoders for live streams are told.
    pub gop_s: u64,
    /// Bytes of a keyframe on average, about 14 % of its group.
    pub keyframe: f64,
    /// How much frame sizes vary: the standard deviation of a frame's logarithm.
    pub frame_sigma: f64,

    /// How far a viewer is behind the origin when it reads it: CDN and access line, in ms.
    pub origin_delay: (f64, f64),
    /// Opening the origin: DNS, TCP, TLS, request; in ms.
    pub origin_setup: (f64, f64),

    /// Longest time between batches, in ms: what the signer promises.
    pub batch_every: u64,
    /// How late the witness may be: drawn once for each run, in ms. Its own clock is late by as much, because it knows no
    /// other edge than the one it sees.
    pub witness_lag: (f64, f64),

    /// Mean uplink as a multiple of the stream's rate.
    pub uplink_mean: f64,
    /// Least and most uplink in bit/s: bad mobile networks and fibre.
    pub uplink_range: (f64, f64),
    /// How unequal uplinks are: the standard deviation of the logarithm.
    pub uplink_sigma: f64,
    /// What a member believes of its uplink, as a part of the truth: measuring errs, mostly to the low side.
    pub uplink_belief: (f64, f64),
    /// Part of the members whose user limits the upload to half of the uplink.
    pub limited: f64,
    /// Bit/s of every downlink.
    pub downlink: u64,
    /// Bytes of UDP, IP and QUIC around what is sent, per packet.
    pub packet_overhead: u64,
    /// Bytes in a packet.
    pub packet: u64,

    /// Parts of the four kinds of networks, public first.
    pub nats: [f64; 4],
    /// Part of the connections that fail though they should not.
    pub connect_failure: f64,
    /// How long it takes to know that a connection failed, in ms.
    pub connect_timeout: u64,
    /// Setting up a connection, in round trips: what QUIC and punching need.
    pub connect_rtts: (f64, f64),
    /// Parts of the regions.
    pub regions: [f64; 5],
    /// Round trip within a region, in ms: the two access lines.
    pub rtt_inside: (f64, f64),
    /// Round trip between regions, in ms.
    pub rtt_between: (f64, f64),
    /// The round trip to the tracker, in ms, by region: it stands in the first.
    pub rtt_tracker: [f64; 5],
    /// Mean jitter in ms; exponential.
    pub jitter: f64,
    /// Part of the packets that are lost and come a round trip and `retransmit` later.
    pub loss: f64,
    /// How long after a round trip a loss is noticed, in ms.
    pub retransmit: u64,
    /// How long a dead neighbour or tracker goes unnoticed by the transport, in ms.
    pub idle_timeout: u64,

    /// Mean time that a viewer stays, in s; exponential.
    pub stay: f64,
    /// Part of the leaving that is a crash.
    pub crash: f64,
    /// Mean time until another one takes the place of who left, in s.
    pub replace: f64,
    /// Part of the members that accept children and never send.
    pub freeloaders: f64,
    /// Part of the members that send rubbish.
    pub poisoners: f64,
    /// How much of what they send is rubbish.
    pub poison: f64,
    /// Part of the members that report innocents.
    pub liars: f64,
    /// How often a liar lies, in ms.
    pub lie_every: u64,
    /// Part of the viewers that vanishes in [`Scenario::Region`].
    pub vanish: f64,
    /// How long the origin is away in [`Scenario::Origin`], in ms.
    pub origin_outage: u64,
    /// How long the tracker is away in [`Scenario::Tracker`], in ms.
    pub tracker_outage: u64,
}

impl Model {
    /// The model of a scenario.
    pub fn of(scenario: Scenario) -> Self {
        let mut model = Self {
            rate: 2_000_000,
            fps: 25,
            gop_s: 2,
            keyframe: 70_000.0,
            frame_sigma: 0.25,
            origin_delay: (20.0, 60.0),
            origin_setup: (80.0, 120.0),
            batch_every: BATCH_INTERVAL.as_millis() as u64,
            witness_lag: (0.0, 500.0),
            uplink_mean: 1.8,
            uplink_range: (500_000.0, 20_000_000.0),
            uplink_sigma: 0.8,
            uplink_belief: (0.75, 1.05),
            limited: 0.05,
            downlink: 30_000_000,
            packet_overhead: 55,
            packet: 1200,
            nats: [0.15, 0.45, 0.20, 0.20],
            connect_failure: 0.03,
            connect_timeout: 3000,
            connect_rtts: (1.5, 2.5),
            regions: [0.30, 0.25, 0.20, 0.15, 0.10],
            rtt_inside: (15.0, 30.0),
            rtt_between: (40.0, 180.0),
            rtt_tracker: [20.0, 50.0, 90.0, 130.0, 170.0],
            jitter: 2.0,
            loss: 0.01,
            retransmit: 50,
            idle_timeout: 10_000,
            stay: 480.0,
            crash: 0.5,
            replace: 1.0,
            freeloaders: 0.05,
            poisoners: 0.03,
            poison: 0.3,
            liars: 0.01,
            lie_every: 5000,
            vanish: 0.3,
            origin_outage: 5000,
            tracker_outage: 30_000,
        };
        match scenario {
            Scenario::Calm => (model.freeloaders, model.poisoners, model.liars) = (0.0, 0.0, 0.0),
            Scenario::Churn => model.stay = 60.0,
            Scenario::Abuse => (model.freeloaders, model.poisoners) = (0.2, 0.1),
            Scenario::Tight => model.uplink_mean = 1.1,
            Scenario::Flash | Scenario::Region | Scenario::Pullers | Scenario::Origin | Scenario::Tracker => {
            }
        }
        model
    }

    /// Bytes on the wire of a message or piece of `len` bytes.
    pub(crate) fn on_wire(&self, len: u64) -> u64 {
        len + self.packets(len) * self.packet_overhead
    }

    pub(crate) fn packets(&self, len: u64) -> u64 {
        len.div_ceil(self.packet).max(1)
    }

    /// The kinds of networks, in the order of [`Model::nats`].
    pub(crate) const NATS: [NatClass; 4] =
        [NatClass::Public, NatClass::Cone, NatClass::Restricted, NatClass::Symmetric];
}

/// Time that `bytes` take at `rate` bit/s.
pub(crate) fn transmission(bytes: u64, rate: u64) -> Nanos {
    bytes * 8 * SECOND / rate.max(1)
}

/// Milliseconds as time.
pub(crate) fn millis(ms: f64) -> Nanos {
    (ms.max(0.0) * MS as f64) as Nanos
}
