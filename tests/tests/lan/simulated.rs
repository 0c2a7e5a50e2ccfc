//! The start without a server, and what liars and moves do to it, in the simulator.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use xp2p_proto::camera::Camera;
use xp2p_proto::info::Xp2pInfo;
use xp2p_proto::keys::SecretKey;
use xp2p_proto::link::PathKind;
use xp2p_proto::request::Live;
use xp2p_proto::viewer::{ServiceConfig, StreamKey, ViewerEvent};
use xp2p_tests::sim::{Firewall, HostConfig, LinkConfig, NatConfig};
use xp2p_tests::world::{SERVER, World, WorldConfig, assert_contract, camera_config, twice};

/// What the issue allows for the first picture.
const FIRST_PICTURE: Duration = Duration::from_millis(300);
/// Round trip over the relay with the links of [`WorldConfig::new`].
const RELAY_RTT: Duration = Duration::from_millis(80);

/// Everybody on one Ethernet.
fn lan(seed: u64, max_viewers: usize) -> World {
    let link = LinkConfig::latency(Duration::from_micros(200));
    let config = WorldConfig { camera_link: link, viewer_link: link, ..WorldConfig::new(seed) };
    let mut world = World::with_camera(config, move |camera| camera.max_viewers = max_viewers);
    world.run(Duration::from_secs(1));
    world
}

/// Starts to watch with servers and addresses of our own choice.
fn watch(world: &mut World, info: Xp2pInfo, servers: Vec<SocketAddr>, near: &[SocketAddr]) -> StreamKey {
    world.viewer_start = world.sim.elapsed();
    world.sim.with(world.viewer, |viewer, now| {
        let service =
            viewer.start_service(now, ServiceConfig { info, servers, tcp: Vec::new() }).expect("a service");
        let stream = viewer.start_live(now, service, Live::default()).expect("a stream");
        assert!(viewer.add_nearby(now, service, near));
        stream
    })
}

fn first_picture(world: &World, key: StreamKey) -> Option<Duration> {
    world.sim.machine(world.viewer).stream_stats(key)?.first_keyframe
}

fn link(world: &mut World, key: StreamKey) -> Option<PathKind> {
    let paths = world.sim.with(world.viewer, |viewer, _| viewer.paths(key.service));
    paths.into_iter().find(|path| path.selected).map(|path| path.kind)
}

fn server() -> SocketAddr {
    SERVER.parse().expect("an address")
}

#[test]
fn without_any_server_the_first_picture_comes_in_time() {
    twice(|| {
        // The viewer knows a server that does not answer, or none, because its name could not be resolved.
        for servers in [vec![server()], Vec::new()] {
            let mut world = lan(700, 4);
            let info = world.info();
            world.sim.remove(world.server);
            let camera = world.sim.addr(world.camera);
            let key = watch(&mut world, info, servers.clone(), &[camera]);
            world.run(Duration::from_secs(10));
            let first = first_picture(&world, key).expect("a picture");
            println!("{} servers, none answers: first picture after {first:?}", servers.len());
            assert!(first < FIRST_PICTURE, "{first:?}");
            assert_eq!(link(&mut world, key), Some(PathKind::Direct));
            let end = world.sim.elapsed();
            assert!(world.longest_gap(end - Duration::from_secs(8), end) < Duration::from_millis(200));
            assert_eq!(world.harmed, 0);
            assert_contract(&world.sim, world.camera);
            assert_contract(&world.sim, world.viewer);
        }
    });
}

#[test]
fn an_address_that_is_found_later_is_tried_at_once() {
    twice(|| {
        let mut world = lan(701, 4);
        let info = world.info();
        world.sim.remove(world.server);
        let key = watch(&mut world, info, vec![server()], &[]);
        world.run(Duration::from_secs(2));
        assert_eq!(first_picture(&world, key), None);
        let camera = world.sim.addr(world.camera);
        let found = world.sim.elapsed() - world.viewer_start;
        world.sim.with(world.viewer, |v, now| v.add_nearby(now, key.service, &[camera]));
        world.run(Duration::from_secs(1));
        let first = first_picture(&world, key).expect("a picture") - found;
        assert!(first < FIRST_PICTURE, "{first:?} after it was found");
    });
}

#[test]
fn who_is_not_in_the_network_waits_no_longer_and_liars_gain_nothing() {
    twice(|| {
        let start = |near: &dyn Fn(&mut World) -> Vec<SocketAddr>| {
            let mut world = World::new(WorldConfig::new(702));
            world.run(Duration::from_secs(1));
            let near = near(&mut world);
            let info = world.info();
            let key = watch(&mut world, info, vec![server()], &near);
            world.run(Duration::from_secs(5));
            let first = first_picture(&world, key).expect("a picture");
            assert_eq!(link(&mut world, key), Some(PathKind::Direct));
            let lost = |e: &ViewerEvent| {
                matches!(e, ViewerEvent::Disconnect { .. } | ViewerEvent::Reconnecting { .. })
            };
            assert_eq!(world.time_of(lost), None, "{:?}", world.events);
            first
        };
        let alone = start(&|_| Vec::new());
        assert!(alone <= RELAY_RTT * 3, "{alone:?}");
        let nobody = start(&|_| vec!["198.51.100.200:4433".parse().expect("an address")]);
        assert_eq!(nobody, alone, "an address where nobody is");
        let liar = start(&|world| {
            // Another camera, nearer than the server.
            let mut config = camera_config(99);
            config.secret = SecretKey::from_bytes([99; 32]);
            let ip: IpAddr = "198.51.100.8".parse().expect("an IP");
            let camera = Camera::new(config, world.sim.now()).expect("a camera");
            let liar = world.sim.add_host(HostConfig::new("liar", ip), camera);
            vec![world.sim.addr(liar)]
        });
        assert_eq!(liar, alone, "an address where somebody else is");
    });
}

#[test]
fn who_leaves_the_network_of_the_camera_goes_on_over_the_server() {
    twice(|| {
        // What is left of the old connection must not take the viewer's own place.
        let mut world = lan(703, 1);
        let info = world.info();
        let camera = world.sim.addr(world.camera);
        // On this link the camera answers before its server does.
        world.sim.set_core_delay(move |a, b| {
            let server = server().ip();
            if a == server || b == server { Duration::from_millis(20) } else { Duration::ZERO }
        });
        let key = watch(&mut world, info, vec![server()], &[camera]);
        world.run(Duration::from_secs(3));
        assert_eq!(world.sim.with(world.viewer, |v, _| v.paths(key.service).len()), 1, "past the server");
        let left = world.sim.elapsed();
        world.sim.set_firewall(world.viewer, Firewall::Only(vec![server()]));
        world.run(Duration::from_secs(5));
        let gap = world.longest_gap(left, world.sim.elapsed());
        println!("a gap of {gap:?} when the viewer leaves the camera's network");
        assert!(gap <= Duration::from_millis(1500), "{gap:?}");
        assert_eq!(link(&mut world, key), Some(PathKind::Relay));
    });
}

#[test]
fn it_can_be_switched_off_and_told_in_the_xp2p_info() {
    twice(|| {
        let config = WorldConfig {
            camera_nat: Some(NatConfig::port_restricted([198, 51, 100, 7].into())),
            ..WorldConfig::new(704)
        };
        let mut world = World::with_camera(config.clone(), |camera| camera.lan_in_info = true);
        assert_eq!(world.info().lan(), ["192.168.1.7:4433".parse().expect("an address")]);
        let mut world = World::new(config);
        let info = world.info();
        assert_eq!(info.lan(), []);
        let mut off = xp2p_tests::world::viewer_config(704);
        off.lan = false;
        let off = xp2p_proto::viewer::Viewer::new(off).expect("a viewer");
        world.sim.replace(world.viewer, off);
        world.sim.with(world.viewer, |viewer, now| {
            let none = ServiceConfig { info: info.clone(), servers: Vec::new(), tcp: Vec::new() };
            assert!(viewer.start_service(now, none).is_err(), "no server, and nowhere else to look");
            let service = ServiceConfig { info, servers: vec![server()], tcp: Vec::new() };
            let service = viewer.start_service(now, service).expect("a service");
            assert!(!viewer.add_nearby(now, service, &[server()]));
        });
    });
}
