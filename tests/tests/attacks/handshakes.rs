//! Handshakes that are begun and left, and connections that never ask for anything.

use std::time::Duration;

use xp2p_proto::camera::VIEWER_ALPN;
use xp2p_tests::sim::{HostConfig, HostId};
use xp2p_tests::world::{World, secret};

use crate::honest::Honest;
use crate::stranger::{Ear, Stranger};

fn crowd(honest: &mut Honest, seed: u64, ear: Ear) -> HostId<Stranger> {
    let now = honest.world.sim.now();
    let mut stranger = Stranger::new(secret(66), seed, now);
    stranger.ear = ear;
    honest.world.sim.add_host(HostConfig::new("crowd", std::net::Ipv4Addr::new(192, 0, 2, 66)), stranger)
}

fn knock(world: &mut World, crowd: HostId<Stranger>) {
    let (key, at) = (world.sim.machine(world.camera).key(), world.sim.addr(world.camera));
    world.sim.with(crowd, |crowd, now| {
        crowd.connect_at(now, key, at, VIEWER_ALPN);
    });
}

/// `ear`: how far they go. The session that is there goes on, and somebody else comes in meanwhile.
fn withstands(seed: u64, ear: Ear) -> (Honest, HostId<Stranger>) {
    let mut honest = Honest::watching(seed);
    let crowd = crowd(&mut honest, seed, ear);
    // A hundred every second.
    honest.run(Duration::from_secs(10), Duration::from_millis(10), |world| knock(world, crowd));
    let newcomer = honest.another_viewer(1);
    honest.run(Duration::from_secs(5), Duration::from_millis(10), |world| knock(world, crowd));
    honest.assert_sees(newcomer);
    honest.assert_unharmed();
    let stats = honest.world.sim.machine(honest.world.camera).link_stats();
    println!(
        "{ear:?}: {} were asked to prove their address, {} refused",
        stats.retries, stats.refused_connections
    );
    (honest, crowd)
}

#[test]
fn half_open_handshakes_of_those_who_do_not_listen_take_no_place() {
    let (honest, _) = withstands(2300, Ear::Deaf);
    let stats = honest.world.sim.machine(honest.world.camera).link_stats();
    assert!(stats.retries > 1_000, "{stats:?}");
    assert_eq!(honest.connected(), 2);
}

#[test]
fn half_open_handshakes_of_those_who_prove_their_address_give_way() {
    let (honest, _) = withstands(2301, Ear::Retries);
    assert_eq!(honest.connected(), 2);
}

#[test]
fn connections_that_ask_for_nothing_give_way_and_are_closed() {
    let (mut honest, crowd) = withstands(2302, Ear::Open);
    assert!(honest.connected() > 500, "{} have connected", honest.connected());
    honest.world.run(Duration::from_secs(25));
    assert_eq!(honest.world.sim.with(honest.world.camera, |c, _| c.viewers().len()), 2, "those who watch");
    let lost = &honest.world.sim.machine(crowd).lost;
    assert!(lost.iter().any(|reason| reason.contains("nothing was asked for")), "{lost:?}");
}
