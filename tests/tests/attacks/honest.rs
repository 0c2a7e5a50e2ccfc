//! Somebody who watches while others attack: the measure of all of it.

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use xp2p_proto::camera::CameraEvent;
use xp2p_proto::info::Xp2pInfo;
use xp2p_proto::viewer::{Viewer, ViewerEvent};
use xp2p_tests::sim::{HostConfig, HostId, LinkConfig, NatConfig, TapAction};
use xp2p_tests::world::{ACCESS, World, WorldConfig, assert_contract, start_watching, viewer_config};

/// Longest time without a picture that still counts as none: 25 pictures come in a second.
const GAP: Duration = Duration::from_millis(120);

/// Datagrams that are kept as somebody on the path sees them.
const KEPT: usize = 4_000;

/// A datagram on the path.
#[derive(Clone)]
pub(crate) struct Seen {
    pub(crate) src: SocketAddr,
    pub(crate) dst: SocketAddr,
    pub(crate) payload: Vec<u8>,
}

/// A world in which a viewer watches a camera.
pub(crate) struct Honest {
    pub(crate) world: World,
    pub(crate) info: Xp2pInfo,
    /// The first datagrams since the viewer began, as somebody on the path has seen them.
    seen: Rc<RefCell<Vec<Seen>>>,
    since: Duration,
}

impl Honest {
    /// Everybody on the public network; the viewer has been watching for a while, on a direct path.
    pub(crate) fn watching(seed: u64) -> Self {
        Self::of(WorldConfig::new(seed))
    }

    /// Between two NATs that leave nothing but the relay.
    pub(crate) fn relayed(seed: u64) -> Self {
        let mut config = WorldConfig::new(seed);
        config.camera_nat = Some(NatConfig::symmetric(Ipv4Addr::new(198, 51, 100, 7)));
        config.viewer_nat = Some(NatConfig::symmetric(Ipv4Addr::new(198, 51, 100, 99)));
        Self::of(config)
    }

    fn of(config: WorldConfig) -> Self {
        let mut world = World::with_camera(config, |camera| camera.talk = true);
        world.run(Duration::from_secs(1));
        let info = world.info();
        let seen = Rc::<RefCell<Vec<Seen>>>::default();
        let tapped = seen.clone();
        world.sim.set_tap(move |datagram| {
            let mut seen = tapped.borrow_mut();
            if seen.len() < KEPT {
                let payload = datagram.payload.to_vec();
                seen.push(Seen { src: datagram.src, dst: datagram.dst, payload });
            }
            TapAction::Pass
        });
        world.watch_with(info.clone());
        world.run(Duration::from_secs(4));
        assert!(!world.shown.is_empty(), "nobody watches: {:?}", world.events);
        let since = world.sim.elapsed();
        Self { world, info, seen, since }
    }

    /// Datagrams that somebody on the path has seen, of which `wanted` holds.
    pub(crate) fn seen(&self, wanted: impl Fn(&Seen) -> bool) -> Vec<Seen> {
        self.seen.borrow().iter().filter(|s| wanted(s)).cloned().collect()
    }

    /// Counts the bytes of UDP that anybody sends to each of `ips` from now on.
    pub(crate) fn count_to_each(&mut self, ips: &[IpAddr]) -> Vec<Rc<Cell<u64>>> {
        let counts: Vec<(IpAddr, Rc<Cell<u64>>)> = ips.iter().map(|ip| (*ip, Rc::default())).collect();
        let counting = counts.clone();
        self.world.sim.set_tap(move |datagram| {
            if let Some((_, count)) = counting.iter().find(|(ip, _)| *ip == datagram.dst.ip()) {
                count.set(count.get() + datagram.payload.len() as u64);
            }
            TapAction::Pass
        });
        counts.into_iter().map(|(_, count)| count).collect()
    }

    /// The same of one.
    pub(crate) fn count_to(&mut self, ip: IpAddr) -> Rc<Cell<u64>> {
        self.count_to_each(&[ip]).remove(0)
    }

    /// Who has connected to the camera so far, as its application was told.
    pub(crate) fn connected(&self) -> usize {
        let connected = |e: &&CameraEvent| matches!(e, CameraEvent::ViewerConnected { .. });
        self.world.app.events.iter().filter(connected).count()
    }

    /// Status and reason of all refusals so far, as the camera's application was told.
    pub(crate) fn refusals(&self) -> Vec<(u16, String)> {
        let refused = |e: &CameraEvent| match e {
            CameraEvent::Refused { status, reason, .. } => Some((*status, reason.clone())),
            _ => None,
        };
        self.world.app.events.iter().filter_map(refused).collect()
    }

    /// One more viewer comes while the attack goes on. Returns it, for [`assert_sees`](Self::assert_sees).
    pub(crate) fn another_viewer(&mut self, number: u8) -> HostId<Viewer> {
        let sim = &mut self.world.sim;
        let viewer = Viewer::new(viewer_config(50 + u64::from(number))).expect("a viewer");
        let config = HostConfig::new(format!("viewer {number}"), Ipv4Addr::new(198, 51, 101, number));
        let host = sim.add_host(config.link(LinkConfig::latency(ACCESS)), viewer);
        start_watching(sim, host, self.info.clone());
        host
    }

    /// It has a picture by now.
    pub(crate) fn assert_sees(&mut self, viewer: HostId<Viewer>) {
        let events = self.world.sim.events(viewer);
        let pictures = events.iter().filter(|e| matches!(e, ViewerEvent::Media { .. })).count();
        let others: Vec<_> = events.iter().filter(|e| !matches!(e, ViewerEvent::Media { .. })).collect();
        assert!(pictures > 20, "the new viewer sees {pictures} pictures: {others:?}");
    }

    /// Lets the world run, and `act` act every so often.
    pub(crate) fn run(&mut self, time: Duration, every: Duration, mut act: impl FnMut(&mut World)) {
        let end = self.world.sim.elapsed() + time;
        while self.world.sim.elapsed() < end {
            act(&mut self.world);
            self.world.run(every);
        }
    }

    /// The viewer has seen every picture since the attack began, none of them late, none of them harmed.
    pub(crate) fn assert_unharmed(&self) {
        let World { sim, camera, viewer, server, .. } = &self.world;
        let to = sim.elapsed();
        let gap = self.world.longest_gap(self.since, to);
        let shown: Vec<u32> = self.world.shown_after(self.since).map(|s| s.number).collect();
        let late = self.world.shown_after(self.since).map(|s| self.world.delay(s)).max().unwrap_or_default();
        println!("{} pictures in {:?}, longest gap {gap:?}, oldest {late:?}", shown.len(), to - self.since);
        assert!(gap < GAP, "{gap:?} without a picture");
        assert!(shown.windows(2).all(|w| w[1] == w[0] + 1), "pictures are missing: {shown:?}");
        assert!(late < Duration::from_millis(400), "a picture came after {late:?}");
        assert_eq!(self.world.harmed, 0);
        assert_contract(sim, *camera);
        assert_contract(sim, *viewer);
        assert_contract(sim, *server);
    }
}
