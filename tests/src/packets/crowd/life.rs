//! Coming, going, misbehaving, and the scenario's events.

use xp2p_proto::keys::SecretKey;
use xp2p_proto::link::Entropy;
use xp2p_proto::peer::{Misconduct, Peer, PeerConfig, PeerEvent, PeerServer};
use xp2p_proto::swarm::{Misdeed, OriginReason};

use super::viewer::{Viewer, is_excluded};
use super::{Crowd, place};
use crate::packets::{URL, addr, peer_secret};
use crate::swarm::population::Character;
use crate::swarm::queue::{MS, Nanos, SECOND};
use crate::swarm::{Scenario, scenario};
use crate::world::{SERVER, SERVER_KEY, secret};

/// How long a viewer that has said goodbye is still there to say it.
const GOODBYE: Nanos = 300 * MS;

/// What happens, and to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Event {
    Join,
    Leave(u32),
    /// Its goodbyes are said.
    Left(u32),
    Lie(u32),
    /// The origin takes the connection of this number, or does not.
    OriginAnswers(u32, u32),
    OriginBack,
    Scenario(u32),
    Second(u32),
}

impl Crowd {
    pub(super) fn handle(&mut self, event: Event) {
        match event {
            Event::Join => self.join(),
            Event::Leave(i) => self.leave(i),
            Event::Left(i) => drop(self.sim.remove(self.viewers[i as usize].host)),
            Event::Lie(i) => self.lie(i),
            Event::OriginAnswers(i, epoch) => self.origin_answers(i, epoch),
            Event::OriginBack => self.origin_back(),
            Event::Scenario(_) => self.happen(),
            Event::Second(second) => self.end_second(second),
        }
    }

    fn peer_config(&self, number: u32) -> PeerConfig {
        let server =
            PeerServer { key: Some(secret(SERVER_KEY).public()), addrs: vec![addr(SERVER)], app_key: None };
        let entropy = Entropy::seeded(self.config.seed * 1_000_003 + 10 + u64::from(number));
        let secret: SecretKey = peer_secret(self.config.seed, number as usize);
        let mut config = PeerConfig::new(secret, entropy, server, self.stream);
        config.url = URL.to_owned();
        config
    }

    fn join(&mut self) {
        let i = self.viewers.len() as u32;
        let traits = self.population.draw(&self.config.model, i);
        let mut config = self.peer_config(i);
        config.nat = traits.nat;
        config.uplink = traits.belief;
        config.upload_limit = traits.limit;
        let mut peer = Peer::new(config, self.sim.now()).expect("a peer");
        match traits.character {
            Character::Honest => {}
            Character::Freeloader => peer.misbehave(Misconduct::Freeloads),
            Character::Poisoner => peer.misbehave(Misconduct::Poisons(self.config.model.poison)),
            Character::Liar => self.at(self.now + 5 * SECOND, Event::Lie(i)),
        }
        let host = place::settle(&mut self.sim, &self.config.model, i, &traits);
        let host = self.sim.add_host(host, peer);
        self.viewers.push(Viewer::new(host, traits, self.now));
        self.alive.push(i);
        let stay = (self.random.exponential(self.config.model.stay) * SECOND as f64) as Nanos;
        self.at(self.now + stay, Event::Leave(i));
    }

    /// A viewer has seen enough.
    fn leave(&mut self, i: u32) {
        if !self.viewers[i as usize].alive {
            return;
        }
        if self.random.chance(self.config.model.crash) {
            self.crash(i, true);
            return;
        }
        self.remove(i, true);
        self.sim.with(self.viewers[i as usize].host, |peer, now| peer.leave(now));
        self.at(self.now + GOODBYE, Event::Left(i));
    }

    /// A viewer falls silent. Whether another one comes in its place is told.
    fn crash(&mut self, i: u32, replace: bool) {
        self.remove(i, replace);
        drop(self.sim.remove(self.viewers[i as usize].host));
    }

    fn remove(&mut self, i: u32, replace: bool) {
        self.collect_from(i);
        self.account(i);
        self.note_end(i);
        self.origin_ends(i);
        self.viewers[i as usize].alive = false;
        self.alive.retain(|a| *a != i);
        if replace {
            let after = (self.random.exponential(self.config.model.replace) * SECOND as f64) as Nanos;
            self.at(self.now + after, Event::Join);
        }
    }

    /// A liar reports somebody who did nothing.
    fn lie(&mut self, i: u32) {
        if !self.viewers[i as usize].alive {
            return;
        }
        let host = self.viewers[i as usize].host;
        let neighbours = self.sim.with(host, |peer, _| peer.neighbours());
        if !neighbours.is_empty() {
            let victim = neighbours[self.random.below(neighbours.len())].peer;
            let misdeed = [Misdeed::Silent, Misdeed::Withholds, Misdeed::Corrupt][self.random.below(3)];
            // Some piece of the present group of pictures.
            let piece = (misdeed == Misdeed::Corrupt).then_some(self.now / SECOND * 30);
            self.sim.with(host, |peer, now| peer.accuse(now, victim, misdeed, piece));
        }
        self.at(self.now + super::feed::lie_every(self.config.model.lie_every), Event::Lie(i));
    }

    /// The scenario's event happens.
    fn happen(&mut self) {
        match self.config.scenario {
            Scenario::Region => {
                let here = self.alive.iter().map(|i| (*i, self.viewers[*i as usize].traits.region)).collect();
                let victims = scenario::region_victims(&self.config.model, here, &mut self.random);
                victims.into_iter().for_each(|i| self.crash(i, false));
            }
            Scenario::Pullers => {
                let mut victims = self.alive.clone();
                victims.retain(|i| self.viewers[*i as usize].origin_open);
                victims.into_iter().for_each(|i| self.crash(i, true));
            }
            Scenario::Origin => self.origin_goes(),
            Scenario::Tracker
            | Scenario::Calm
            | Scenario::Churn
            | Scenario::Flash
            | Scenario::Abuse
            | Scenario::Tight => {}
        }
    }

    /// Takes in what has happened.
    pub(super) fn collect(&mut self) {
        drop(self.sim.events(self.server));
        for place in 0..self.alive.len() {
            self.collect_from(self.alive[place]);
        }
    }

    fn collect_from(&mut self, i: u32) {
        let host = self.viewers[i as usize].host;
        for (at, event) in self.sim.timed_events(host) {
            let at = at.as_nanos() as Nanos;
            let viewer = &mut self.viewers[i as usize];
            let since = at.saturating_sub(viewer.joined);
            match event {
                PeerEvent::Tag(tag) => match viewer.play.take(at, &tag, self.frame) {
                    Ok(None) => {}
                    Ok(Some(seen)) => {
                        if seen.first {
                            viewer.started = Some(at);
                        }
                        if viewer.honest() {
                            self.measure.latency.add(seen.latency);
                            self.measure.present.gaps += u32::from(seen.gap);
                        }
                    }
                    Err(text) => self.violation(&format!("viewer {i}: {text}")),
                },
                PeerEvent::OpenOrigin => {
                    self.open_origin(i, at);
                    self.note_reason(i);
                }
                PeerEvent::CloseOrigin => self.origin_ends(i),
                PeerEvent::Registered { .. } => {
                    viewer.stages.registered.get_or_insert(since);
                }
                PeerEvent::Tracked { .. } => {
                    viewer.stages.tracked.get_or_insert(since);
                }
                PeerEvent::NeighbourConnected { .. } => {
                    viewer.stages.neighbour.get_or_insert(since);
                }
                _ => {}
            }
        }
    }

    /// Why a viewer reads the origin tells what the tracker thinks of it.
    pub(super) fn note_reason(&mut self, i: u32) {
        let stats = self.sim.with(self.viewers[i as usize].host, |peer, _| peer.stats());
        let viewer = &mut self.viewers[i as usize];
        let honest = viewer.honest();
        if stats.swarm.origin_reason == OriginReason::Puller {
            self.measure.honest_elected += u32::from(honest);
            self.measure.others_elected += u32::from(!honest);
        }
        if is_excluded(&stats) && !viewer.excluded {
            self.measure.honest_excluded += u32::from(honest);
            self.measure.others_excluded += u32::from(!honest);
            if !honest {
                // It counted until now.
                self.measure.origin(self.now, false, true);
                self.measure.origin_all += 1;
            }
            viewer.excluded = true;
        }
    }
}
