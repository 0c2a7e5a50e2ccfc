//! A camera, a server and a viewer in one simulated world, as most tests need them.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use xp2p_proto::camera::{Camera, CameraConfig, CameraServer};
use xp2p_proto::info::{Rights, Xp2pInfo};
use xp2p_proto::keys::SecretKey;
use xp2p_proto::link::{Entropy, PathKind};
use xp2p_proto::live::LiveItem;
use xp2p_proto::machine::Machine;
use xp2p_proto::request::{Live, Quality};
use xp2p_proto::server::{Server, ServerConfig};
use xp2p_proto::viewer::{ServiceConfig, ServiceId, StreamKey, Viewer, ViewerConfig, ViewerEvent};

use crate::app::App;
use crate::media::{Media, MediaConfig, number_of};
use crate::sim::{HostConfig, HostId, LinkConfig, NatConfig, NatId, Sim};

/// Address of the server.
pub const SERVER: &str = "203.0.113.1:20002";
/// One-way delay of each host's access link: 40 ms one way and 80 ms there and back over the relay, 40 ms directly.
pub const ACCESS: Duration = Duration::from_millis(10);

/// What the world is made of.
#[derive(Debug, Clone)]
pub struct WorldConfig {
    /// Seed of everything.
    pub seed: u64,
    /// NAT in front of the camera.
    pub camera_nat: Option<NatConfig>,
    /// NAT in front of the viewer.
    pub viewer_nat: Option<NatConfig>,
    /// The camera's link.
    pub camera_link: LinkConfig,
    /// The viewer's link.
    pub viewer_link: LinkConfig,
    /// What the camera shows.
    pub media: MediaConfig,
}

impl WorldConfig {
    /// Everybody on the public network.
    pub fn new(seed: u64) -> Self {
        let link = LinkConfig::latency(ACCESS);
        Self {
            seed,
            camera_nat: None,
            viewer_nat: None,
            camera_link: link,
            viewer_link: link,
            media: MediaConfig::default(),
        }
    }
}

/// A picture that came out at the viewer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shown {
    /// When, since the start of the world.
    pub at: Duration,
    /// Its number at the source.
    pub number: u32,
    /// Its time at the source, since the start of the feed.
    pub timestamp: u32,
    /// Whether it is a keyframe.
    pub key: bool,
}

/// The world and what happened in it.
pub struct World {
    /// The network.
    pub sim: Sim,
    /// The server.
    pub server: HostId<Server>,
    /// The camera.
    pub camera: HostId<Camera>,
    /// The viewer.
    pub viewer: HostId<Viewer>,
    /// The camera's NAT.
    pub camera_nat: Option<NatId>,
    /// The viewer's NAT.
    pub viewer_nat: Option<NatId>,
    /// The source of the camera.
    pub media: Media,
    /// When the feed began.
    pub feed_start: Duration,
    /// Pictures in the order they came out.
    pub shown: Vec<Shown>,
    /// Sounds that came out.
    pub sounds: usize,
    /// Tags whose content was harmed. Always 0 unless something is very wrong.
    pub harmed: usize,
    /// Other events of the viewer.
    pub events: Vec<(Duration, ViewerEvent)>,
    /// When the viewer started.
    pub viewer_start: Duration,
    /// The camera's application.
    pub app: App,
    change: Box<dyn Fn(&mut CameraConfig)>,
    media_config: MediaConfig,
    restarts: u64,
    server_restarts: u64,
    seed: u64,
}

/// The secret keys of a world.
pub fn secret(n: u8) -> SecretKey {
    SecretKey::from_bytes([n; 32])
}

/// Number of the camera's key.
pub const CAMERA_KEY: u8 = 1;
/// Number of the server's key.
pub const SERVER_KEY: u8 = 2;

fn addr(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

/// A camera's configuration in this world.
pub fn camera_config(seed: u64) -> CameraConfig {
    let server = CameraServer {
        key: Some(secret(SERVER_KEY).public()),
        addrs: vec![addr(SERVER)],
        advertised: vec![addr(SERVER).into()],
        tcp_port: None,
        app_key: None,
    };
    let mut config = CameraConfig::new(secret(CAMERA_KEY), Entropy::seeded(seed * 8 + 1), vec![server]);
    config.product = "product".to_owned();
    config.name = "device".to_owned();
    config
}

/// A server's configuration in this world: open to all.
pub fn server_config(seed: u64) -> ServerConfig {
    let mut config = ServerConfig::new(secret(SERVER_KEY), Entropy::seeded(seed * 8 + 2), addr(SERVER));
    config.admission = xp2p_proto::register::Admission::Open;
    config
}

/// A viewer's configuration in this world.
pub fn viewer_config(seed: u64) -> ViewerConfig {
    ViewerConfig::new(secret(100 + (seed % 100) as u8), Entropy::seeded(seed * 8 + 3))
}

impl World {
    /// Builds the world and lets the camera register; the feed has begun.
    pub fn new(config: WorldConfig) -> Self {
        Self::with_camera(config, |_| {})
    }

    /// The same with a change to the camera's configuration.
    pub fn with_camera(config: WorldConfig, change: impl Fn(&mut CameraConfig) + 'static) -> Self {
        let seed = config.seed;
        let mut sim = Sim::new(seed);
        let now = sim.now();
        let server = Server::new(server_config(seed), now).expect("a server");
        let host = HostConfig::new("server", ip("203.0.113.1")).port(20002).link(LinkConfig::latency(ACCESS));
        let server = sim.add_host(host, server);
        let camera_nat = config.camera_nat.map(|nat| sim.add_nat(nat));
        let viewer_nat = config.viewer_nat.map(|nat| sim.add_nat(nat));
        let mut camera_config = camera_config(seed);
        change(&mut camera_config);
        let camera = Camera::new(camera_config, now).expect("a camera");
        let camera = sim.add_host(
            host_behind("camera", "198.51.100.7", "192.168.1.7", camera_nat).link(config.camera_link),
            camera,
        );
        let viewer = Viewer::new(viewer_config(seed)).expect("a viewer");
        let viewer = sim.add_host(
            host_behind("viewer", "198.51.100.99", "10.0.0.99", viewer_nat).link(config.viewer_link),
            viewer,
        );
        let mut world = Self {
            sim,
            server,
            camera,
            viewer,
            camera_nat,
            viewer_nat,
            media: Media::new(config.media),
            feed_start: Duration::ZERO,
            shown: Vec::new(),
            sounds: 0,
            harmed: 0,
            events: Vec::new(),
            viewer_start: Duration::ZERO,
            app: App::default(),
            change: Box::new(change),
            media_config: config.media,
            restarts: 0,
            server_restarts: 0,
            seed,
        };
        world.sim.run_for(Duration::from_millis(500));
        world.feed_start = world.sim.elapsed();
        world
    }

    /// The seed of everything.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The camera's xp2pInfo with all rights.
    pub fn info(&mut self) -> Xp2pInfo {
        self.sim
            .with(self.camera, |camera, _| camera.xp2p_info(Rights::ALL, None))
            .expect("all server keys known")
    }

    /// Starts to watch with the camera's own xp2pInfo.
    pub fn watch(&mut self) -> StreamKey {
        let info = self.info();
        self.watch_with(info)
    }

    /// Starts to watch with any xp2pInfo.
    pub fn watch_with(&mut self, info: Xp2pInfo) -> StreamKey {
        self.viewer_start = self.sim.elapsed();
        start_watching(&mut self.sim, self.viewer, info).1
    }

    /// Runs for a time, feeding the camera and collecting what the viewer shows.
    pub fn run(&mut self, time: Duration) {
        let end = self.sim.elapsed() + time;
        self.run_while(end, |_| true);
    }

    /// Runs until `done` says so, at most for `time`. Returns whether it did.
    pub fn run_until(&mut self, time: Duration, mut done: impl FnMut(&Self) -> bool) -> bool {
        let end = self.sim.elapsed() + time;
        self.run_while(end, |world| !done(world));
        done(self)
    }

    fn run_while(&mut self, end: Duration, mut go_on: impl FnMut(&Self) -> bool) {
        while self.sim.elapsed() < end && go_on(self) {
            let due = self.feed_start + Duration::from_millis(u64::from(self.media.next_time()));
            let next = due.min(end).min(self.sim.elapsed() + Duration::from_millis(5));
            self.sim.run_for(next.saturating_sub(self.sim.elapsed()));
            if self.sim.elapsed() >= due {
                let tags = self.media.next_tags();
                self.sim.with(self.camera, |camera, now| {
                    for tag in &tags {
                        camera.push_tag(now, 0, Quality::High, tag).expect("the source is in order");
                    }
                });
            }
            self.serve();
            self.collect();
        }
    }

    /// Lets the camera's application answer.
    pub fn serve(&mut self) {
        loop {
            let events = self.sim.events(self.camera);
            if events.is_empty() {
                return;
            }
            let app = &mut self.app;
            self.sim.with(self.camera, |camera, now| {
                events.into_iter().for_each(|event| app.handle(camera, now, event));
            });
        }
    }

    /// Takes in what the viewer has shown since the last time.
    pub fn collect(&mut self) {
        for (at, event) in self.sim.timed_events(self.viewer) {
            let ViewerEvent::Media { item, .. } = &event else {
                self.events.push((at, event));
                continue;
            };
            let LiveItem::Tag(tag) = item else { continue };
            match (number_of(tag), tag.kind) {
                (None, _) => self.harmed += 1,
                (Some(number), xp2p_proto::flv::TagKind::Video) => {
                    let key = tag.is_keyframe();
                    self.shown.push(Shown { at, number, timestamp: tag.timestamp, key });
                }
                (Some(_), _) => self.sounds += 1,
            }
        }
    }

    /// Time from the start of the viewer to an event that `wanted` picks.
    pub fn time_of(&self, wanted: impl Fn(&ViewerEvent) -> bool) -> Option<Duration> {
        self.events.iter().find(|(_, e)| wanted(e)).map(|(at, _)| *at - self.viewer_start)
    }

    /// Time from the start of the viewer to the direct path.
    pub fn direct_after(&self) -> Option<Duration> {
        self.time_of(|e| matches!(e, ViewerEvent::Path { kind: PathKind::Direct, .. }))
    }

    /// Age of a picture when it came out: how long after it was fed to the camera.
    pub fn delay(&self, shown: &Shown) -> Duration {
        shown.at.saturating_sub(self.feed_start + Duration::from_millis(u64::from(shown.timestamp)))
    }

    /// Pictures that came out after `from`.
    pub fn shown_after(&self, from: Duration) -> impl Iterator<Item = &Shown> {
        self.shown.iter().filter(move |s| s.at >= from)
    }

    /// Longest time without a picture between two times.
    pub fn longest_gap(&self, from: Duration, to: Duration) -> Duration {
        let times = self.shown.iter().map(|s| s.at).filter(|at| (from..=to).contains(at));
        let times: Vec<Duration> = [from].into_iter().chain(times).chain([to]).collect();
        times.windows(2).map(|w| w[1] - w[0]).max().unwrap_or_default()
    }

    /// A fresh camera process with the same identity.
    pub fn restart_camera(&mut self) {
        let mut config = camera_config(self.seed);
        (self.change)(&mut config);
        self.restarts += 1;
        config.entropy = Entropy::seeded(self.seed * 8 + 5 + (self.restarts - 1) * 1_000_000);
        let camera = Camera::new(config, self.sim.now()).expect("a camera");
        self.sim.replace(self.camera, camera);
        // The new process shows from its next keyframe on.
        self.media = Media::new(self.media_config);
        self.feed_start = self.sim.elapsed();
    }

    /// A fresh server process with the same identity.
    pub fn restart_server(&mut self) {
        let mut config = server_config(self.seed);
        config.entropy = Entropy::seeded(self.seed * 8 + 6 + self.server_restarts * 1_000_000);
        self.server_restarts += 1;
        let server = Server::new(config, self.sim.now()).expect("a server");
        self.sim.replace(self.server, server);
    }
}

/// Starts a service and a live stream on a viewer.
pub fn start_watching(sim: &mut Sim, viewer: HostId<Viewer>, info: Xp2pInfo) -> (ServiceId, StreamKey) {
    sim.with(viewer, |viewer, now: Instant| {
        let service = viewer.start_service(now, ServiceConfig::of_addresses(info)).expect("a service");
        let live = Live { channel: 0, quality: Quality::High, ..Live::default() };
        let stream = viewer.start_live(now, service, live).expect("a stream");
        (service, stream)
    })
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an IP")
}

fn host_behind(name: &str, public: &str, private: &str, nat: Option<NatId>) -> HostConfig {
    match nat {
        None => HostConfig::new(name, ip(public)),
        Some(nat) => HostConfig::new(name, ip(private)).behind(nat),
    }
}

thread_local! {
    /// Trace hashes of the worlds that have ended on this thread.
    static TRACES: std::cell::RefCell<Vec<String>> = const { std::cell::RefCell::new(Vec::new()) };
}

impl Drop for World {
    fn drop(&mut self) {
        TRACES.with_borrow_mut(|traces| traces.push(self.sim.trace_hash()));
    }
}

/// Runs a scenario two times. Every world in it must have sent the same packets at the same times both times.
pub fn twice(scenario: impl Fn()) {
    let run = || {
        TRACES.with_borrow_mut(Vec::clear);
        scenario();
        TRACES.with_borrow(Vec::clone)
    };
    let first = run();
    assert!(!first.is_empty(), "the scenario has no world");
    assert_eq!(first, run(), "the second run was another one");
}

/// Checks of the contract that hold for every machine after a run.
pub fn assert_contract<M: Machine + 'static>(sim: &Sim, host: HostId<M>) {
    assert_eq!(sim.rearms(host), 0, "a timer was still due right after it was handled");
}
