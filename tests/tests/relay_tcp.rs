//! UDP that does not get through: the relay over TCP, and the way back.

use std::time::Duration;

use xp2p_proto::link::{PathKind, UDP_PATIENCE};
use xp2p_proto::viewer::ViewerEvent;
use xp2p_proto::wire::Kind;
use xp2p_tests::sim::{Firewall, NatConfig, TapAction};
use xp2p_tests::world::{SERVER, World, WorldConfig, assert_contract, twice};

/// A picture over TCP must be there by then.
const FIRST_PICTURE: Duration = Duration::from_secs(4);
/// UDP must be used again by then.
const BACK: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Blocked {
    Viewer,
    Camera,
    Both,
}

impl Blocked {
    fn viewer(self) -> bool {
        self != Self::Camera
    }

    fn camera(self) -> bool {
        self != Self::Viewer
    }
}

fn port() -> u16 {
    SERVER.parse::<std::net::SocketAddr>().expect("an address").port()
}

fn set_udp(world: &mut World, blocked: Blocked, works: bool) {
    let wall = if works { Firewall::Open } else { Firewall::Only(Vec::new()) };
    if blocked.viewer() {
        world.sim.set_firewall(world.viewer, wall.clone());
    }
    if blocked.camera() {
        world.sim.set_firewall(world.camera, wall);
    }
}

fn blocked_world(config: WorldConfig, blocked: Blocked) -> World {
    let mut world = World::new(config);
    world.sim.listen_tcp(world.server, port(), true);
    if blocked.camera() {
        // A fresh camera that has never had UDP.
        set_udp(&mut world, blocked, false);
        world.restart_camera();
    } else {
        set_udp(&mut world, blocked, false);
    }
    world.run(Duration::from_secs(3));
    world
}

fn selected(world: &mut World, key: xp2p_proto::viewer::StreamKey) -> Option<PathKind> {
    let paths = world.sim.with(world.viewer, |v, _| v.paths(key.service));
    paths.into_iter().find(|p| p.selected).map(|p| p.kind)
}

fn nat(config: &mut WorldConfig) {
    config.viewer_nat = Some(NatConfig::symmetric("198.51.100.50".parse().expect("an address")));
    config.camera_nat = Some(NatConfig::symmetric("198.51.100.60".parse().expect("an address")));
}

#[test]
fn a_picture_comes_over_tcp_whoever_is_blocked_and_udp_is_used_again_when_it_returns() {
    for (seed, blocked) in [(1, Blocked::Viewer), (2, Blocked::Camera), (3, Blocked::Both)] {
        for natted in [false, true] {
            twice(|| {
                let mut config = WorldConfig::new(seed);
                if natted {
                    nat(&mut config);
                }
                let mut world = blocked_world(config, blocked);
                let key = world.watch();
                let start = world.viewer_start;
                // Not always at the same moment between two questions whether UDP is back.
                world.run(
                    Duration::from_secs(10)
                        + Duration::from_millis(450) * (2 * seed as u32 + u32::from(natted)),
                );
                let first = world.shown.first().expect("a picture").at - start;
                println!("{blocked:?} natted={natted}: first picture after {} ms", first.as_millis());
                assert!(first <= FIRST_PICTURE, "{blocked:?}: first picture after {first:?}");
                if blocked.viewer() {
                    assert!(first >= UDP_PATIENCE, "{blocked:?}: TCP before UDP had its time");
                    assert_eq!(selected(&mut world, key), Some(PathKind::RelayTcp), "{blocked:?}");
                    let told =
                        world.time_of(|e| matches!(e, ViewerEvent::Path { kind: PathKind::RelayTcp, .. }));
                    assert!(told.is_some(), "{:?}", world.events);
                } else {
                    assert_eq!(selected(&mut world, key), Some(PathKind::Relay), "{blocked:?}");
                }
                let clients = usize::from(blocked.viewer()) + usize::from(blocked.camera());
                assert_eq!(world.sim.tcp_connections(world.server), clients);
                assert_eq!(world.harmed, 0);
                // The stream keeps up.
                let late = world.shown_after(start + Duration::from_secs(6)).map(|s| world.delay(s)).max();
                assert!(late.expect("pictures") < Duration::from_millis(500), "{blocked:?}: {late:?}");

                let returned = world.sim.elapsed();
                set_udp(&mut world, blocked, true);
                let back = world.run_until(BACK, |world| {
                    world.sim.tcp_connections(world.server) == 0
                        || world.sim.bytes_between(world.viewer, world.server).packets > 0
                            && !world.sim.machine(world.viewer).is_over_tcp()
                            && !world.sim.machine(world.camera).is_over_tcp()
                });
                let after = world.sim.elapsed() - returned;
                assert!(back, "{blocked:?}: still on TCP after {after:?}");
                println!("{blocked:?} natted={natted}: off TCP {} ms after UDP returned", after.as_millis());
                world.run(Duration::from_secs(30));
                assert_eq!(world.sim.tcp_connections(world.server), 0, "{blocked:?}");
                assert_eq!(
                    world.sim.machine(world.server).stats().tcp.accepted,
                    clients as u64,
                    "{blocked:?}"
                );
                let kind = selected(&mut world, key);
                assert_eq!(
                    kind,
                    Some(if natted { PathKind::Relay } else { PathKind::Direct }),
                    "{blocked:?}"
                );
                let gap = world.longest_gap(start + Duration::from_secs(5), world.sim.elapsed());
                println!("{blocked:?} natted={natted}: longest gap {} ms", gap.as_millis());
                assert!(gap < Duration::from_secs(1), "{blocked:?}: a gap of {gap:?}");
                assert_contract(&world.sim, world.viewer);
                assert_contract(&world.sim, world.camera);
                assert_contract(&world.sim, world.server);
            });
        }
    }
}

#[test]
fn udp_that_is_lost_while_watching_is_replaced_by_tcp() {
    for (seed, blocked) in [(11, Blocked::Viewer), (12, Blocked::Camera), (13, Blocked::Both)] {
        twice(|| {
            let mut config = WorldConfig::new(seed);
            nat(&mut config);
            let mut world = World::new(config);
            world.sim.listen_tcp(world.server, port(), true);
            world.run(Duration::from_secs(1));
            let key = world.watch();
            world.run(Duration::from_secs(5));
            assert_eq!(selected(&mut world, key), Some(PathKind::Relay));
            assert_eq!(world.sim.tcp_connections(world.server), 0, "no TCP where UDP works");
            let cut = world.sim.elapsed();
            set_udp(&mut world, blocked, false);
            world.run(Duration::from_secs(12));
            let gap = world.longest_gap(cut, world.sim.elapsed());
            println!("{blocked:?}: UDP lost while watching: a gap of {} ms", gap.as_millis());
            assert!(gap < Duration::from_secs(6), "{blocked:?}: a gap of {gap:?}");
            assert!(
                world.shown_after(world.sim.elapsed() - Duration::from_secs(1)).count() > 15,
                "{blocked:?}"
            );
        });
    }
}

#[test]
fn a_server_that_restarts_is_found_again_over_tcp() {
    twice(|| {
        let mut world = blocked_world(WorldConfig::new(21), Blocked::Both);
        world.watch();
        world.run(Duration::from_secs(5));
        assert!(!world.shown.is_empty());
        let restarted = world.sim.elapsed();
        world.restart_server();
        world.run(Duration::from_secs(15));
        let gap = world.longest_gap(restarted, world.sim.elapsed());
        println!("server restart over TCP: a gap of {} ms", gap.as_millis());
        assert!(gap < Duration::from_secs(6), "a gap of {gap:?}");
        assert_eq!(world.sim.tcp_connections(world.server), 2);
    });
}

#[test]
fn no_tcp_is_used_where_udp_works_or_the_camera_is_just_away() {
    twice(|| {
        let mut world = World::new(WorldConfig::new(31));
        world.sim.listen_tcp(world.server, port(), true);
        world.run(Duration::from_secs(1));
        world.watch();
        world.run(Duration::from_secs(20));
        assert_eq!(world.sim.machine(world.server).stats().tcp.accepted, 0);
        // The camera is gone: the server still answers, so there is nothing that TCP could help.
        world.sim.cut(world.camera, true);
        world.run(Duration::from_secs(20));
        assert_eq!(world.sim.machine(world.server).stats().tcp.accepted, 0);
    });
}

#[test]
fn without_a_relay_over_tcp_udp_is_found_again_as_before() {
    twice(|| {
        let mut world = World::new(WorldConfig::new(41));
        set_udp(&mut world, Blocked::Viewer, false);
        world.run(Duration::from_secs(1));
        world.watch();
        world.run(Duration::from_secs(8));
        assert!(world.shown.is_empty());
        set_udp(&mut world, Blocked::Viewer, true);
        let shown = world.run_until(BACK, |world| !world.shown.is_empty());
        assert!(shown, "{:?}", world.events);
    });
}

#[test]
fn a_firewall_that_drops_quic_alone_makes_a_camera_stay_on_tcp() {
    twice(|| {
        let mut config = WorldConfig::new(51);
        nat(&mut config);
        let mut world = World::new(config);
        world.sim.listen_tcp(world.server, port(), true);
        // Frames and STUN pass, QUIC packets to and from the server do not.
        let server: std::net::SocketAddr = SERVER.parse().expect("an address");
        world.sim.set_tap(move |packet| {
            let is_quic = packet.payload.first().is_some_and(|b| Kind::of(*b) == Kind::Quic);
            match is_quic && (packet.dst == server || packet.src == server) {
                true => TapAction::Drop,
                false => TapAction::Pass,
            }
        });
        world.restart_camera();
        world.run(Duration::from_secs(4));
        assert_eq!(world.sim.machine(world.server).stats().cameras, 1);
        assert!(world.sim.machine(world.camera).is_over_tcp());
        world.watch();
        world.run(Duration::from_secs(60));
        let start = world.viewer_start;
        // Each attempt to return costs nothing but itself, and they get rare.
        let gap = world.longest_gap(start + Duration::from_secs(2), world.sim.elapsed());
        println!("QUIC filtered: longest gap {} ms", gap.as_millis());
        assert!(gap < Duration::from_secs(2), "a gap of {gap:?}");
        let stats = world.sim.machine(world.server).stats();
        assert_eq!((stats.cameras, stats.tcp.accepted), (1, 1), "the connection was kept");
        // One of the start, one of the restart, one for each of few attempts to return: after 3, 6, 12 and 24 s.
        assert!(stats.registered <= 6, "{stats:?}");
    });
}
