//! Loss, outages, moves and restarts: the picture comes back, and the session with it.

use std::net::Ipv4Addr;
use std::time::Duration;

use xp2p_proto::viewer::ViewerEvent;
use xp2p_tests::sim::{LinkConfig, NatConfig};
use xp2p_tests::world::{ACCESS, World, WorldConfig, twice};

const BUDGET: Duration = Duration::from_secs(2);

fn natted(seed: u64) -> WorldConfig {
    let mut config = WorldConfig::new(seed);
    config.camera_nat = Some(NatConfig::port_restricted(Ipv4Addr::new(198, 51, 100, 7)));
    config.viewer_nat = Some(NatConfig::port_restricted(Ipv4Addr::new(198, 51, 100, 99)));
    config
}

fn watching(config: WorldConfig) -> World {
    let mut world = World::new(config);
    world.run(Duration::from_secs(1));
    world.watch();
    world.run(Duration::from_secs(5));
    assert!(world.shown.len() > 100, "video before anything goes wrong");
    world
}

fn reconnections(world: &World) -> usize {
    world.events.iter().filter(|(_, e)| matches!(e, ViewerEvent::Reconnecting { .. })).count()
}

/// Gap at the viewer from `from` on, and whether video runs again at the end.
fn gap_and_recovery(world: &World, from: Duration) -> (Duration, bool) {
    let end = world.sim.elapsed();
    let gap = world.longest_gap(from, end);
    let last = world.shown.last().map_or(Duration::ZERO, |s| s.at);
    (gap, end - last < Duration::from_millis(300))
}

#[test]
fn five_per_cent_loss_stays_within_the_latency_budget() {
    twice(|| {
        for seed in 0..5 {
            let mut config = natted(100 + seed);
            config.camera_link = LinkConfig::latency(ACCESS).both(|p| p.loss = 0.05);
            let mut world = World::new(config);
            world.run(Duration::from_secs(1));
            world.watch();
            world.run(Duration::from_secs(40));
            let settled = world.sim.elapsed() - Duration::from_secs(35);
            let mut delays: Vec<Duration> = world.shown_after(settled).map(|s| world.delay(s)).collect();
            let count = delays.len();
            delays.sort_unstable();
            let worst = delays[count - 1];
            println!(
                "seed {seed}: {count} of 875 pictures, median {:?}, 99 % {:?}, worst {worst:?}",
                delays[count / 2],
                delays[count * 99 / 100]
            );
            assert!(count > 830, "{count} of 875 pictures came");
            assert!(worst <= BUDGET, "a picture came {worst:?} late");
            assert_eq!(world.harmed, 0);
            assert_eq!(reconnections(&world), 0);
        }
    });
}

#[test]
fn an_outage_of_three_seconds_is_survived_by_the_session() {
    twice(|| {
        for seed in 0..3 {
            let mut world = watching(natted(110 + seed));
            let start = world.sim.elapsed();
            world.sim.cut(world.camera, true);
            world.run(Duration::from_secs(3));
            world.sim.cut(world.camera, false);
            world.run(Duration::from_secs(10));
            let (gap, back) = gap_and_recovery(&world, start);
            println!("seed {seed}: gap {gap:?}");
            assert!(back && gap < Duration::from_secs(6), "gap {gap:?}, running again: {back}");
            assert_eq!(reconnections(&world), 0, "the session goes on");
            let end = world.sim.elapsed();
            let late = world.shown_after(end - Duration::from_secs(3)).map(|s| world.delay(s)).max();
            assert!(late.is_some_and(|d| d < BUDGET), "the delay of the outage does not stay: {late:?}");
        }
    });
}

#[test]
fn a_viewer_that_changes_its_network_keeps_its_session() {
    twice(|| {
        let mut world = watching(natted(120));
        let start = world.sim.elapsed();
        let nat = world.sim.add_nat(NatConfig::port_restricted(Ipv4Addr::new(192, 0, 2, 50)));
        world.sim.move_host(world.viewer, Some(nat), &[Ipv4Addr::new(10, 9, 9, 9).into()]);
        world.run(Duration::from_secs(10));
        let (gap, back) = gap_and_recovery(&world, start);
        println!("viewer moved: gap {gap:?}");
        assert!(back && gap <= Duration::from_secs(2), "gap {gap:?}, running again: {back}");
        assert_eq!(reconnections(&world), 0);
    });
}

#[test]
fn a_camera_that_changes_its_network_keeps_its_sessions() {
    twice(|| {
        let mut world = watching(natted(130));
        let start = world.sim.elapsed();
        let nat = world.sim.add_nat(NatConfig::port_restricted(Ipv4Addr::new(192, 0, 2, 60)));
        world.sim.move_host(world.camera, Some(nat), &[Ipv4Addr::new(10, 8, 8, 8).into()]);
        world.run(Duration::from_secs(10));
        let (gap, back) = gap_and_recovery(&world, start);
        println!("camera moved: gap {gap:?}");
        assert!(back && gap <= Duration::from_secs(2), "gap {gap:?}, running again: {back}");
        assert_eq!(reconnections(&world), 0);
    });
}

#[test]
fn nats_that_forget_everything_cost_two_seconds_at_most() {
    twice(|| {
        for (which, seed) in [("camera", 140), ("viewer", 141)] {
            let mut world = watching(natted(seed));
            let start = world.sim.elapsed();
            let nat = if which == "camera" { world.camera_nat } else { world.viewer_nat };
            world.sim.flush_nat(nat.expect("a NAT"));
            world.run(Duration::from_secs(10));
            let (gap, back) = gap_and_recovery(&world, start);
            println!("NAT of the {which} flushed: gap {gap:?}");
            assert!(back && gap <= Duration::from_secs(2), "gap {gap:?}, running again: {back}");
        }
    });
}

#[test]
fn a_server_outage_is_not_seen_by_a_direct_session() {
    twice(|| {
        let mut world = watching(natted(150));
        let start = world.sim.elapsed();
        world.sim.cut(world.server, true);
        world.run(Duration::from_secs(60));
        world.sim.cut(world.server, false);
        world.run(Duration::from_secs(5));
        let (gap, back) = gap_and_recovery(&world, start);
        println!("server away for 60 s: gap {gap:?}");
        assert!(back && gap < Duration::from_millis(300), "gap {gap:?}");
    });
}

#[test]
fn a_relayed_session_survives_a_restart_of_the_server() {
    twice(|| {
        let mut config = natted(160);
        config.camera_nat = Some(NatConfig::symmetric(Ipv4Addr::new(198, 51, 100, 7)));
        config.viewer_nat = Some(NatConfig::symmetric(Ipv4Addr::new(198, 51, 100, 99)));
        let mut world = watching(config);
        let start = world.sim.elapsed();
        world.restart_server();
        world.run(Duration::from_secs(12));
        let (gap, back) = gap_and_recovery(&world, start);
        println!(
            "server restarted under a relayed session: gap {gap:?}, {} reconnections",
            reconnections(&world)
        );
        assert!(back && gap <= Duration::from_secs(5), "gap {gap:?}, running again: {back}");
    });
}

#[test]
fn a_camera_restart_ends_in_a_new_session_within_seconds() {
    twice(|| {
        for (kind, seed) in [("direct", 170), ("relayed", 171)] {
            let mut config = natted(seed);
            if kind == "relayed" {
                config.camera_nat = Some(NatConfig::symmetric(Ipv4Addr::new(198, 51, 100, 7)));
                config.viewer_nat = Some(NatConfig::symmetric(Ipv4Addr::new(198, 51, 100, 99)));
            }
            let mut world = watching(config);
            let start = world.sim.elapsed();
            world.restart_camera();
            world.run(Duration::from_secs(12));
            let (gap, back) = gap_and_recovery(&world, start);
            println!("camera of a {kind} session restarted: gap {gap:?}");
            assert!(back && gap <= Duration::from_secs(4), "gap {gap:?}, running again: {back}");
        }
    });
}

#[test]
fn a_link_slower_than_the_picture_costs_pictures_and_not_time() {
    twice(|| {
        let mut config = natted(180);
        // 60 % of the bitrate.
        config.camera_link = LinkConfig::latency(ACCESS).both(|p| {
            p.bandwidth = Some(600_000);
            p.queue_bytes = 64 * 1024;
        });
        let mut world = World::new(config);
        world.run(Duration::from_secs(1));
        world.watch();
        world.run(Duration::from_secs(40));
        let settled = world.sim.elapsed() - Duration::from_secs(30);
        let delays: Vec<Duration> = world.shown_after(settled).map(|s| world.delay(s)).collect();
        let worst = delays.iter().max().copied().unwrap_or_default();
        println!("slow link: {} of 750 pictures, worst delay {worst:?}", delays.len());
        assert!(delays.len() > 250, "{} of 750 pictures came", delays.len());
        assert!(worst <= BUDGET + Duration::from_millis(1500), "a picture came {worst:?} late");
    });
}
