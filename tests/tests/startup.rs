//! How fast the first picture comes, and which pairs of NATs end up with a direct path.

use std::net::Ipv4Addr;
use std::time::Duration;

use xp2p_proto::link::PathKind;
use xp2p_tests::sim::NatConfig;
use xp2p_tests::world::{World, WorldConfig, assert_contract, twice};

/// Round trip over the relay.
const RELAY_RTT: Duration = Duration::from_millis(80);

type Kind = fn(Ipv4Addr) -> NatConfig;

const KINDS: [(&str, Kind); 4] = [
    ("full cone", NatConfig::full_cone),
    ("address-restricted", NatConfig::address_restricted),
    ("port-restricted", NatConfig::port_restricted),
    ("symmetric", NatConfig::symmetric),
];

fn world(seed: u64, camera: Kind, viewer: Kind) -> World {
    let mut config = WorldConfig::new(seed);
    config.camera_nat = Some(camera(Ipv4Addr::new(198, 51, 100, 7)));
    config.viewer_nat = Some(viewer(Ipv4Addr::new(198, 51, 100, 99)));
    let mut world = World::new(config);
    world.run(Duration::from_secs(1));
    world
}

/// What theory says: an end-to-end mapping that changes with the destination cannot be told to a peer whose filter
/// looks at the port.
fn can_be_punched(a: usize, b: usize) -> bool {
    !matches!((a.min(b), a.max(b)), (2 | 3, 3))
}

#[test]
fn every_pair_of_nats_starts_in_time_and_takes_the_way_that_theory_allows() {
    twice(|| {
        println!("{:>20} {:>20}  byte  keyframe  direct (round trips of the relay)", "camera", "viewer");
        for (a, (camera_name, camera)) in KINDS.into_iter().enumerate() {
            for (b, (viewer_name, viewer)) in KINDS.into_iter().enumerate() {
                let mut world = world(10 + (a * 4 + b) as u64, camera, viewer);
                let key = world.watch();
                world.run(Duration::from_secs(8));
                let stats = world.sim.with(world.viewer, |v, _| v.stream_stats(key)).expect("a stream");
                let rounds = |time: Duration| time.as_secs_f64() / RELAY_RTT.as_secs_f64();
                let byte = rounds(stats.first_byte.expect("an answer"));
                let keyframe = rounds(stats.first_keyframe.expect("a keyframe"));
                let direct = world.direct_after().map(rounds);
                println!("{camera_name:>20} {viewer_name:>20}  {byte:4.2}  {keyframe:8.2}  {direct:.2?}");
                assert!(byte <= 2.05, "first byte after {byte} round trips");
                assert!(keyframe <= 3.0, "first keyframe after {keyframe} round trips");
                let kind = world.sim.with(world.viewer, |v, _| {
                    v.paths(key.service).into_iter().find(|p| p.selected).map(|p| p.kind)
                });
                if can_be_punched(a, b) {
                    assert!(direct.is_some_and(|d| d <= 4.0), "direct after {direct:?} round trips");
                    assert_eq!(kind, Some(PathKind::Direct));
                } else {
                    assert_eq!(direct, None);
                    assert_eq!(kind, Some(PathKind::Relay));
                }
                assert_eq!(world.harmed, 0);
                let end = world.sim.elapsed();
                let gap = world.longest_gap(end - Duration::from_secs(6), end);
                assert!(gap < Duration::from_millis(200), "a gap of {gap:?}");
                assert_contract(&world.sim, world.camera);
                assert_contract(&world.sim, world.viewer);
                assert_contract(&world.sim, world.server);
            }
        }
    });
}

#[test]
fn a_viewer_who_joins_late_sees_a_whole_group_from_its_keyframe_on() {
    twice(|| {
        let mut world = world(40, NatConfig::port_restricted, NatConfig::port_restricted);
        // In the middle of a group.
        world.run(Duration::from_millis(1700));
        world.watch();
        world.run(Duration::from_secs(4));
        assert!(world.shown[0].key);
        let numbers: Vec<u32> = world.shown.iter().map(|s| s.number).collect();
        let expected: Vec<u32> = (numbers[0]..).take(numbers.len()).collect();
        assert_eq!(numbers, expected, "nothing is left out and nothing comes twice");
    });
}
