//! The populations and scenarios of [`swarm`](crate::swarm) with real QUIC: every viewer is a [`Peer`] behind a NAT of its
//! class, on an access line of its rate, that finds the others through a real [`Server`].
//!
//! * `viewer`, `play`: a viewer, and what must hold of what comes out at its player.
//! * `place`: its line, its NAT, and how far it is from the others.
//! * `feed`: the origin, the witness and what they give to whom.
//! * `life`: coming, going, and the scenario's events.
//! * `figures`, `network`: what is measured.
//!
//! Differences to the level of messages: the origin's bytes do not share the downlink with those of other members; nobody
//! looks for circles of parents; useful bytes are those that were played; messages count with all that is on the wire
//! besides pieces and the headers that these would need.

mod feed;
mod figures;
mod life;
mod network;
mod place;
mod play;
mod viewer;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use xp2p_proto::flv::{FileHeader, Tag};
use xp2p_proto::server::Server;
use xp2p_proto::swarm::content::Tracks;
use xp2p_proto::swarm::{StreamId, Trust};

pub use self::network::{Middle, Network};

use self::life::Event;
use self::viewer::Viewer;
use super::origin::Origin;
use super::witness::Witness;
use super::{URL, addr, witness_secret};
use crate::media::MediaConfig;
use crate::sim::{HostConfig, HostId, Sim};
use crate::swarm::measure::Measure;
use crate::swarm::model::millis;
use crate::swarm::population::Population;
use crate::swarm::queue::{MS, Nanos, SECOND};
use crate::swarm::random::Random;
use crate::swarm::report::Outcome;
use crate::swarm::{Config, Model, Plan, scenario};
use crate::world::{SERVER, server_config};

/// Time between two looks at the world.
const STEP: Duration = Duration::from_millis(5);
/// Violations that are told.
const MAX_VIOLATIONS: usize = 20;

/// The world.
pub(crate) struct Crowd {
    config: Config,
    plan: Plan,
    sim: Sim,
    now: Nanos,
    server: HostId<Server>,
    stream: StreamId,
    origin: Origin,
    /// Pictures are so far apart.
    frame: Nanos,
    witness: Witness,
    witness_lag: Nanos,
    witness_bytes: u64,
    /// What is on its way to the witness.
    to_witness: VecDeque<(Nanos, Tag)>,
    origin_away: Option<(Nanos, Nanos)>,
    population: Population,
    viewers: Vec<Viewer>,
    alive: Vec<u32>,
    agenda: BTreeMap<(Nanos, u64), Event>,
    planned: u64,
    random: Random,
    measure: Measure,
    network: Network,
    /// Bytes on the wire that were accounted, of the server.
    server_wire: u64,
    /// Bytes on the wire that were neither pieces nor counted as messages yet.
    wire_balance: i64,
    stages: Vec<viewer::Stages>,
    violations: Vec<String>,
    broken: u64,
}

/// Runs a scenario with packets; `progress` hears of every simulated second.
pub(crate) fn run(config: &Config, mut progress: impl FnMut(u64)) -> Outcome {
    let mut crowd = Crowd::new(config);
    crowd.run(&mut progress);
    crowd.outcome()
}

impl Crowd {
    fn new(config: &Config) -> Self {
        let plan = config.plan();
        let model = &config.model;
        let mut random = Random::new(config.seed, 1);
        let drawn = random.range(model.witness_lag);
        let witness_lag = config.witness_lag.map_or(millis(drawn), |ms| ms * MS);
        let mut sim = Sim::new(config.seed);
        sim.set_untraced();
        let population = Population::new(model, config.seed);
        place::set_distances(&mut sim, model, config.seed);
        let now = sim.now();
        let server = Server::new(server_config(config.seed), now).expect("a server");
        let server =
            sim.add_host(HostConfig::new("server", addr(SERVER).ip()).port(addr(SERVER).port()), server);
        let stream = StreamId::of_url(URL).expect("a URL");
        let tracks = Tracks::Stated(FileHeader { has_audio: true, has_video: true });
        let mut crowd = Self {
            origin: Origin::new(media(model)),
            frame: SECOND / model.fps,
            witness: Witness::new(tracks, stream, 1 + config.seed, now),
            witness_lag,
            witness_bytes: 0,
            to_witness: VecDeque::new(),
            origin_away: plan.origin_away(config),
            population,
            viewers: Vec::new(),
            alive: Vec::new(),
            agenda: BTreeMap::new(),
            planned: 0,
            random,
            measure: Measure::new(scenario::windows(config, &plan)),
            network: Network::default(),
            server_wire: 0,
            wire_balance: 0,
            stages: Vec::new(),
            violations: Vec::new(),
            broken: 0,
            config: config.clone(),
            plan,
            sim,
            now: 0,
            server,
            stream,
        };
        crowd.sim.with(server, |server, now| {
            assert!(server.set_signer(now, stream, Trust::Witness, &[witness_secret().public()]));
        });
        for (at, what) in scenario::agenda(config, &crowd.plan) {
            crowd.at(at, what.map_or(Event::Join, Event::Scenario));
        }
        crowd.at(SECOND, Event::Second(1));
        crowd
    }

    /// Plans something.
    fn at(&mut self, at: Nanos, event: Event) {
        self.agenda.insert((at, self.planned), event);
        self.planned += 1;
    }

    fn run(&mut self, progress: &mut impl FnMut(u64)) {
        while self.now < self.plan.end {
            self.sim.run_for(STEP);
            self.now = self.sim.elapsed().as_nanos() as Nanos;
            self.make();
            while let Some(entry) = self.agenda.first_entry()
                && entry.key().0 <= self.now
            {
                let event = entry.remove();
                if let Event::Second(second) = event {
                    progress(u64::from(second));
                }
                self.handle(event);
            }
            self.deliver();
            self.collect();
        }
        self.end();
    }

    fn violation(&mut self, text: &str) {
        let text = format!("seed {} at {:.3} s: {text}", self.config.seed, self.now as f64 / SECOND as f64);
        assert!(!self.config.strict, "{text}");
        self.broken += 1;
        if self.violations.len() < MAX_VIOLATIONS {
            self.violations.push(text);
        }
    }

    fn outcome(self) -> Outcome {
        Outcome {
            steady: self.plan.steady,
            measure: self.measure,
            witness_lag: self.witness_lag,
            witness_bytes: self.witness_bytes,
            members: self.viewers.len(),
            circle_seconds: 0,
            anomalies: BTreeMap::new(),
            broken: self.broken,
            violations: self.violations,
            events: self.network.packets,
            network: Some(self.network),
            config: self.config,
        }
    }
}

/// The stream of the model, as tags.
fn media(model: &Model) -> MediaConfig {
    MediaConfig {
        bitrate: model.rate as u32,
        keyframe: model.keyframe as usize,
        fps: model.fps as u32,
        gop: (model.fps * model.gop_s) as u32,
        // Members would wait up to a second for a track that never comes.
        audio: true,
    }
}
