//! Members of a swarm over real QUIC in the packet simulator.
//!
//! * [`Swarm`]: a server, an origin, a witness and some members whose every tag is kept, for tests of single behaviours.
//! * `crowd`: the populations and scenarios of [`swarm`](crate::swarm) at this level, for figures.
//! * `home`, `origin`, `witness`, `watcher`: what they are made of.

pub(crate) mod crowd;
mod home;
mod origin;
mod watcher;
mod witness;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use xp2p_proto::flv::{FileHeader, Tag, TagKind};
use xp2p_proto::keys::SecretKey;
use xp2p_proto::link::Entropy;
use xp2p_proto::peer::{Peer, PeerConfig, PeerEvent, PeerServer};
use xp2p_proto::server::{Server, ServerConfig, ServerEvent};
use xp2p_proto::swarm::content::Tracks;
use xp2p_proto::swarm::{StreamId, Trust};

pub use self::crowd::{Middle, Network};
pub use self::home::Home;
pub use self::watcher::Watcher;

use self::origin::{Origin, Reading};
use self::witness::Witness;
use crate::media::{MediaConfig, number_of};
use crate::sim::{HostConfig, HostId, LinkConfig, NatId, Sim};
use crate::world::{SERVER, SERVER_KEY, secret, server_config};

/// Where the origin is said to be.
pub const URL: &str = "http://cdn.example/live/room.flv";
/// How long what the origin sends is on its way.
const ORIGIN_DELAY: Duration = Duration::from_millis(30);
/// Time between two looks at the world.
const STEP: Duration = Duration::from_millis(5);
/// Key of the witness.
const WITNESS_KEY: u8 = 3;
/// One-way delay of the access links.
const ACCESS: Duration = Duration::from_millis(10);

/// The world.
pub struct Swarm {
    /// The network.
    pub sim: Sim,
    /// The server with tracker and relay.
    pub server: HostId<Server>,
    /// The stream.
    pub stream: StreamId,
    /// The members, in the order in which they came.
    pub watchers: Vec<Watcher>,
    /// Events of the server.
    pub server_events: Vec<ServerEvent>,
    origin: Origin,
    /// What the origin has sent, by kind and number.
    made: BTreeMap<(TagKind, u32), Tag>,
    witness: Option<Witness>,
    feed_start: Duration,
    seed: u64,
    /// The origin answers nobody.
    pub origin_down: bool,
    /// The server gets the pieces of the witness, too, and can fill in what the origin has left behind.
    pub fills: bool,
    /// Members that read something else than the origin sends, all of them the same.
    pub forged: BTreeSet<usize>,
}

/// The secret key of member number `n`.
pub fn peer_secret(seed: u64, n: usize) -> SecretKey {
    SecretKey::from_bytes(*blake3::hash(format!("peer {seed} {n}").as_bytes()).as_bytes())
}

/// The key of the witness.
pub fn witness_secret() -> SecretKey {
    secret(WITNESS_KEY)
}

impl Swarm {
    /// A world with an origin of about 1 Mbit/s that has been on the air for some seconds.
    pub fn new(seed: u64) -> Self {
        Self::with_media(seed, MediaConfig::default())
    }

    /// The same with another stream.
    pub fn with_media(seed: u64, media: MediaConfig) -> Self {
        let mut swarm = Self::bare(seed, media, server_config(seed));
        let (stream, now) = (swarm.stream, swarm.sim.now());
        let both = FileHeader { has_audio: media.audio, has_video: true };
        swarm.witness = Some(Witness::new(Tracks::Stated(both), stream, 1 + seed, now));
        swarm.sim.with(swarm.server, |server, now| {
            assert!(server.set_signer(now, stream, Trust::Witness, &[witness_secret().public()]));
        });
        swarm.run(Duration::from_secs(3));
        swarm
    }

    /// A world in which nobody signs the stream, and what two members in different networks read alike counts.
    pub fn unsigned(seed: u64) -> Self {
        let mut config = server_config(seed);
        config.tracking.quorum = true;
        let mut swarm = Self::bare(seed, MediaConfig::default(), config);
        swarm.run(Duration::from_secs(3));
        swarm
    }

    fn bare(seed: u64, media: MediaConfig, config: ServerConfig) -> Self {
        let mut sim = Sim::new(seed);
        let now = sim.now();
        let server = Server::new(config, now).expect("a server");
        let host = HostConfig::new("server", addr(SERVER).ip()).port(20002).link(LinkConfig::latency(ACCESS));
        let server = sim.add_host(host, server);
        let stream = StreamId::of_url(URL).expect("a URL");
        Self {
            sim,
            server,
            stream,
            watchers: Vec::new(),
            server_events: Vec::new(),
            origin: Origin::new(media),
            made: BTreeMap::new(),
            witness: None,
            feed_start: Duration::ZERO,
            seed,
            origin_down: false,
            fills: true,
            forged: BTreeSet::new(),
        }
    }

    /// The configuration of the next member.
    pub fn config(&self, home: Home) -> PeerConfig {
        let n = self.watchers.len();
        let server =
            PeerServer { key: Some(secret(SERVER_KEY).public()), addrs: vec![addr(SERVER)], app_key: None };
        let entropy = Entropy::seeded(self.seed * 1000 + 10 + n as u64);
        let mut config = PeerConfig::new(peer_secret(self.seed, n), entropy, server, self.stream);
        config.url = URL.to_owned();
        config.nat = home.class();
        config
    }

    /// Lets a member join.
    pub fn join(&mut self, home: Home) -> usize {
        self.join_with(home, LinkConfig::latency(ACCESS), |_| {})
    }

    /// The same with a link and a change of its configuration.
    pub fn join_with(&mut self, home: Home, link: LinkConfig, change: impl FnOnce(&mut PeerConfig)) -> usize {
        let n = self.watchers.len();
        let mut config = self.config(home);
        change(&mut config);
        let (host_config, nat) = self.place(home, n);
        let peer = Peer::new(config, self.sim.now()).expect("a peer");
        let host = self.sim.add_host(host_config.link(link), peer);
        self.watchers.push(Watcher::new(host, nat, self.sim.elapsed()));
        self.collect();
        n
    }

    /// A place for host number `n`.
    pub fn place(&mut self, home: Home, n: usize) -> (HostConfig, Option<NatId>) {
        // Each in a network of its own.
        let public = Ipv4Addr::new(81, n as u8 + 1, 0, 7);
        let nat = home.nat(public).map(|nat| self.sim.add_nat(nat));
        let name = format!("peer {n}");
        let config = match nat {
            None => HostConfig::new(name, IpAddr::V4(public)),
            Some(nat) => HostConfig::new(name, IpAddr::V4(Ipv4Addr::new(192, 168, 1, 7))).behind(nat),
        };
        (config, nat)
    }

    /// Takes a member away without a word.
    pub fn kill(&mut self, n: usize) {
        let watcher = &mut self.watchers[n];
        watcher.alive = false;
        watcher.reading = None;
        self.sim.remove(watcher.host);
    }

    /// Calls into a member.
    pub fn with<R>(&mut self, n: usize, f: impl FnOnce(&mut Peer, Instant) -> R) -> R {
        let result = self.sim.with(self.watchers[n].host, f);
        self.collect();
        result
    }

    /// Lets the world run.
    pub fn run(&mut self, time: Duration) {
        let end = self.sim.elapsed() + time;
        while self.sim.elapsed() < end {
            let step = STEP.min(end - self.sim.elapsed());
            self.sim.run_for(step);
            self.make();
            self.deliver();
            self.collect();
        }
    }

    /// A fresh server process with the same identity.
    pub fn restart_server(&mut self) {
        let mut config = server_config(self.seed);
        config.entropy = Entropy::seeded(self.seed * 1000 + 9);
        let mut server = Server::new(config, self.sim.now()).expect("a server");
        let signers = [witness_secret().public()];
        assert!(server.set_signer(self.sim.now(), self.stream, Trust::Witness, &signers));
        self.sim.replace(self.server, server);
    }

    /// The witness stops: nobody signs any more.
    pub fn stop_witness(&mut self) {
        self.witness = None;
    }

    /// What the origin has made since the last time.
    fn make(&mut self) {
        let elapsed = self.sim.elapsed();
        let now = self.sim.now();
        while let Some(tags) = self.origin.next(elapsed.saturating_sub(self.feed_start)) {
            for tag in tags {
                if let Some(number) = number_of(&tag) {
                    self.made.insert((tag.kind, number), tag.clone());
                }
                if let Some(witness) = &mut self.witness {
                    witness.push(now, &tag);
                }
                for (n, watcher) in self.watchers.iter_mut().enumerate() {
                    if let Some(reading) = watcher.reading.as_mut().filter(|_| !self.origin_down) {
                        let forged = self.forged.contains(&n).then(|| forge(&tag));
                        reading.push(elapsed + ORIGIN_DELAY, forged.as_ref().unwrap_or(&tag));
                    }
                }
            }
        }
        let Some(witness) = &mut self.witness else { return };
        let (mut pieces, batches) = witness.poll(now);
        if !self.fills {
            pieces.clear();
        }
        if !batches.is_empty() || !pieces.is_empty() {
            let stream = self.stream;
            self.sim.with(self.server, |server, now| {
                pieces.into_iter().for_each(|(no, content)| server.handle_piece(now, stream, no, content));
                batches.into_iter().for_each(|batch| server.handle_batch(now, stream, batch));
            });
        }
    }

    /// Brings what the origin has sent to those who read it.
    fn deliver(&mut self) {
        let elapsed = self.sim.elapsed();
        for watcher in self.watchers.iter_mut().filter(|w| w.alive) {
            let Some(reading) = &mut watcher.reading else { continue };
            let due: Vec<Tag> = std::iter::from_fn(|| reading.pop(elapsed)).collect();
            if !due.is_empty() {
                self.sim.with(watcher.host, |peer, now| {
                    due.iter().for_each(|tag| peer.handle_origin_tag(now, tag, tag.wire_len() as u64 + 4));
                });
            }
        }
    }

    /// Takes in what has happened.
    pub fn collect(&mut self) {
        let elapsed = self.sim.elapsed();
        self.server_events.extend(self.sim.events(self.server));
        for (n, watcher) in self.watchers.iter_mut().enumerate().filter(|(_, w)| w.alive) {
            for (at, event) in self.sim.timed_events(watcher.host) {
                match event {
                    PeerEvent::Tag(tag) => watcher.shown.push((at, tag)),
                    PeerEvent::OpenOrigin => {
                        watcher.opens += 1;
                        let offset = 1000 * n as u32 + 10_000 * watcher.opens;
                        let mut reading = Reading::new(offset, None);
                        if !self.origin_down {
                            let due = elapsed + ORIGIN_DELAY;
                            let forges = self.forged.contains(&n);
                            self.origin.recent().for_each(|tag| {
                                reading.push(due, forges.then(|| forge(tag)).as_ref().unwrap_or(tag));
                            });
                        }
                        watcher.reading = Some(reading);
                        watcher.events.push((at, PeerEvent::OpenOrigin));
                    }
                    PeerEvent::CloseOrigin => {
                        watcher.reading = None;
                        watcher.events.push((at, PeerEvent::CloseOrigin));
                    }
                    other => watcher.events.push((at, other)),
                }
            }
        }
    }

    /// Members that read the origin at present.
    pub fn origin_connections(&self) -> usize {
        self.watchers.iter().filter(|w| w.reads_origin()).count()
    }

    /// Bytes from others and from the origin, of all members that are there.
    pub fn bytes(&mut self) -> (u64, u64) {
        let mut sum = (0, 0);
        for n in 0..self.watchers.len() {
            if self.watchers[n].alive {
                let stats = self.sim.with(self.watchers[n].host, |p, _| p.stats());
                sum.0 += stats.swarm.p2p_bytes;
                sum.1 += stats.origin_wire_bytes;
            }
        }
        sum
    }

    /// Lets the world run. Part of the bytes that came from other members meanwhile, and the most connections to the origin.
    pub fn watch(&mut self, time: Duration) -> (f64, usize) {
        let (p2p, origin) = self.bytes();
        let mut most = 0;
        for _ in 0..time.as_millis() / 100 {
            self.run(Duration::from_millis(100));
            most = most.max(self.origin_connections());
        }
        let (p2p_after, origin_after) = self.bytes();
        let (p2p, origin) = ((p2p_after - p2p) as f64, (origin_after - origin) as f64);
        (p2p / (p2p + origin), most)
    }

    /// Checks that what came out at member `n` is what the origin sent, in order and without a gap.
    pub fn assert_whole(&self, n: usize) {
        self.assert_whole_after(n, Duration::ZERO);
    }

    /// The same, without a gap from a time on.
    pub fn assert_whole_after(&self, n: usize, from: Duration) {
        let watcher = &self.watchers[n];
        for kind in [TagKind::Video, TagKind::Audio] {
            let numbers = watcher.numbers_after(kind, from);
            let expected: Vec<u32> =
                numbers.first().map_or(0..0, |f| *f..*f + numbers.len() as u32).collect();
            let wrong = numbers.iter().zip(&expected).position(|(a, b)| a != b);
            assert_eq!(
                wrong,
                None,
                "member {n}: {kind:?} {:?}",
                wrong.map(|w| &numbers[w.saturating_sub(3)..])
            );
        }
        let mut last = None;
        let media = |t: &Tag| t.kind != TagKind::Script && !t.is_sequence_header();
        for (at, tag) in watcher.shown.iter().filter(|(_, t)| media(t)) {
            let number = number_of(tag).unwrap_or_else(|| panic!("member {n} at {at:?}: a harmed tag"));
            let made = &self.made[&(tag.kind, number)];
            assert_eq!(made.body, tag.body, "member {n}: tag {number}");
            assert!(last.is_none_or(|l| l <= tag.timestamp), "member {n}: time went back at {at:?}");
            last = Some(tag.timestamp);
        }
    }

    /// How many tags came out at member `n` that the origin never sent.
    pub fn false_tags(&self, n: usize) -> usize {
        let media = |t: &&Tag| t.kind != TagKind::Script && !t.is_sequence_header();
        let made = |t: &Tag| number_of(t).and_then(|number| self.made.get(&(t.kind, number)));
        let shown = self.watchers[n].shown.iter().map(|(_, t)| t);
        shown.filter(media).filter(|t| made(t).is_none_or(|m| m.body != t.body)).count()
    }

    /// The newest picture that the origin has made.
    pub fn newest(&self) -> u32 {
        self.made.keys().rev().find(|(k, _)| *k == TagKind::Video).map_or(0, |(_, n)| *n)
    }

    /// A line for each member, for reading.
    pub fn print(&mut self) {
        let newest = self.newest();
        let relayed = self.sim.machine(self.server).stats();
        println!(
            "{:?}: origin connections {}, relayed {} B, members {}, {:?}",
            self.sim.elapsed(),
            self.origin_connections(),
            relayed.relayed_bytes,
            relayed.members,
            self.sim.machine(self.server).swarm_stats(&self.stream),
        );
        for n in 0..self.watchers.len() {
            if !self.watchers[n].alive {
                println!("  {n}: gone");
                continue;
            }
            let (stats, snapshot) =
                self.sim.with(self.watchers[n].host, |p, now| (p.stats(), p.snapshot(now)));
            let s = stats.swarm;
            println!(
                "  {n}: {} behind {} at {:?}, p2p {} origin {} up {} dup {} bad {} | start {:?} stalls {} ({} ms) skips {}+{} opens {} \
                 ({:?}) pulls {} | con {} direct {} unreach {} ban {} | batches {} bad {} unplaced {} unreadable {} | {} nb {} par \
                 {} lanes {} ch {} slots lat {} lag {} origin {} | relay tx {} rx {}",
                self.watchers[n].numbers(TagKind::Video).last().map_or(0, |l| newest - l),
                self.watchers[n].shown.len(),
                self.watchers[n].shown.first().map(|(at, _)| *at - self.watchers[n].since),
                s.p2p_bytes,
                stats.origin_wire_bytes,
                s.upload_bytes,
                s.duplicate_bytes,
                s.corrupt_bytes,
                s.startup_ms,
                s.stalls,
                s.stall_ms,
                s.skips,
                stats.output_skips,
                s.origin_opens,
                s.origin_reason,
                s.pulls,
                stats.connects,
                stats.direct,
                stats.unreachable,
                stats.banned,
                stats.batches,
                stats.bad_batches,
                stats.unplaced_pieces,
                stats.unreadable_pieces,
                snapshot.neighbours,
                snapshot.parents,
                snapshot.lanes_fed,
                snapshot.children,
                snapshot.slots,
                snapshot.latency_ms,
                snapshot.lag_ms,
                snapshot.origin_open,
                stats.paths.relay_tx,
                stats.paths.relay_rx,
            );
        }
    }
}

/// The same tag with something else in it.
fn forge(tag: &Tag) -> Tag {
    let mut body = tag.body.to_vec();
    let media = tag.kind != TagKind::Script && !tag.is_sequence_header();
    if let Some(last) = body.last_mut().filter(|_| media) {
        *last ^= 1;
    }
    Tag { body: body.into(), ..tag.clone() }
}

fn addr(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}
