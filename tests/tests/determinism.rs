//! The same seed gives the same packets, byte for byte.

use std::net::Ipv4Addr;
use std::time::Duration;

use xp2p_tests::sim::{LinkConfig, NatConfig};
use xp2p_tests::world::{ACCESS, World, WorldConfig};

fn run(seed: u64) -> String {
    let mut config = WorldConfig::new(seed);
    config.camera_nat = Some(NatConfig::port_restricted(Ipv4Addr::new(198, 51, 100, 7)));
    config.viewer_nat = Some(NatConfig::symmetric(Ipv4Addr::new(198, 51, 100, 99)));
    config.camera_link = LinkConfig::latency(ACCESS).both(|p| {
        p.loss = 0.02;
        p.jitter = Duration::from_millis(5);
        p.reorder = 0.01;
        p.duplicate = 0.01;
    });
    let mut world = World::new(config);
    world.watch();
    world.run(Duration::from_secs(5));
    world.sim.cut(world.viewer, true);
    world.run(Duration::from_secs(1));
    world.sim.cut(world.viewer, false);
    world.run(Duration::from_secs(3));
    world.restart_server();
    world.run(Duration::from_secs(5));
    world.sim.trace_hash()
}

#[test]
fn equal_seeds_give_equal_traces_and_others_do_not() {
    let first = run(300);
    assert_eq!(first, run(300));
    assert_ne!(first, run(301));
}
