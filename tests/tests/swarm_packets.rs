//! Members of a swarm over real QUIC, through NATs, in the simulator.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use xp2p_proto::flv::TagKind;
use xp2p_proto::link::Entropy;
use xp2p_proto::peer::PeerEvent;
use xp2p_proto::server::ServerEvent;
use xp2p_proto::swarm::NatClass;
use xp2p_tests::packets::{Home, Swarm, URL, peer_secret};
use xp2p_tests::poisoner::Poisoner;
use xp2p_tests::sim::LinkConfig;
use xp2p_tests::world::{SERVER, SERVER_KEY, assert_contract, secret};

const SEC: Duration = Duration::from_secs(1);
const HOMES: [Home; 5] = [Home::Public, Home::PortRestricted, Home::Cone, Home::Symmetric, Home::Restricted];

/// Members that come one after the other.
fn gather(swarm: &mut Swarm, count: usize) {
    for n in 0..count {
        swarm.join(HOMES[n % HOMES.len()]);
        swarm.run(Duration::from_millis(700));
    }
}

fn assert_all_whole(swarm: &Swarm) {
    assert_contract(&swarm.sim, swarm.server);
    for n in 0..swarm.watchers.len() {
        assert!(!swarm.watchers[n].shown.is_empty(), "member {n} shows nothing");
        swarm.assert_whole(n);
        if swarm.watchers[n].alive {
            assert_contract(&swarm.sim, swarm.watchers[n].host);
            let newest = swarm.watchers[n].numbers(TagKind::Video).last().copied().unwrap_or(0);
            assert!(
                swarm.newest() - newest < 25 * 4,
                "member {n} is {} pictures behind",
                swarm.newest() - newest
            );
        }
    }
}

/// The member that reads the origin.
fn puller(swarm: &Swarm) -> usize {
    swarm.watchers.iter().position(|w| w.reads_origin()).expect("somebody reads the origin")
}

fn addr() -> std::net::SocketAddr {
    SERVER.parse().expect("an address")
}

#[test]
fn members_behind_all_kinds_of_nat_share_one_stream() {
    let mut swarm = Swarm::new(1);
    gather(&mut swarm, 8);
    let (early, _) = swarm.watch(5 * SEC);
    swarm.run(10 * SEC);
    let (late, most) = swarm.watch(10 * SEC);
    swarm.print();
    assert_all_whole(&swarm);
    println!("early {early:.3} late {late:.3} most {most}");
    assert!(late > 0.8 && late + 0.02 > early, "{early} {late}");
    assert!(most <= 2, "{most} connections to the origin");
    for n in 0..8 {
        let stats = swarm.with(n, |p, _| p.stats());
        assert_eq!(stats.swarm.skips + stats.output_skips as u32, 0, "member {n}");
        assert_eq!(stats.banned + stats.bad_batches, 0, "member {n}");
    }
    assert!(swarm.server_events.iter().any(|e| matches!(e,
        ServerEvent::StreamWanted { url: Some(url), .. } if url == URL)));
}

#[test]
fn few_members_share_too() {
    for (seed, count) in [(2, 3), (3, 4), (4, 5)] {
        let mut swarm = Swarm::new(seed);
        for _ in 0..count {
            swarm.join(Home::Cone);
            swarm.run(SEC);
        }
        swarm.run(10 * SEC);
        let (late, most) = swarm.watch(10 * SEC);
        swarm.print();
        assert_all_whole(&swarm);
        let best = (count - 1) as f64 / count as f64;
        assert!(late > best - 0.03 && most == 1, "{count} members: {late}, {most}");
    }
}

#[test]
fn the_relay_carries_handshakes_only() {
    let mut swarm = Swarm::new(5);
    for home in [Home::Public, Home::Cone, Home::PortRestricted, Home::Restricted, Home::PortRestricted] {
        swarm.join(home);
        swarm.run(SEC);
    }
    swarm.run(10 * SEC);
    let settled = swarm.sim.machine(swarm.server).stats().relayed_bytes;
    let (late, _) = swarm.watch(20 * SEC);
    swarm.print();
    assert_all_whole(&swarm);
    assert!(late > 0.75, "{late}");
    let stats = swarm.sim.machine(swarm.server).stats();
    assert_eq!(stats.relayed_bytes, settled, "the relay is not needed any more");
    let connects: u64 = (0..5).map(|n| swarm.with(n, |p, _| p.stats().connects)).sum();
    println!("{settled} bytes for {connects} connections");
    assert!(settled < connects * 40_000);
}

#[test]
fn a_pair_without_a_direct_path_is_given_up() {
    let mut swarm = Swarm::new(6);
    // Both say that they can be reached, so the tracker introduces them.
    for home in [Home::PortRestricted, Home::Symmetric] {
        swarm.join_with(home, LinkConfig::latency(Duration::from_millis(10)), |c| c.nat = NatClass::Cone);
    }
    swarm.run(20 * SEC);
    swarm.print();
    assert_all_whole(&swarm);
    let relayed = swarm.sim.machine(swarm.server).stats().relayed_bytes;
    assert!(relayed > 0 && relayed < 200_000, "{relayed}");
    for n in 0..2 {
        let stats = swarm.with(n, |p, _| p.stats());
        assert_eq!((stats.direct, stats.swarm.p2p_bytes, stats.swarm.upload_bytes), (0, 0, 0));
        assert!(swarm.with(n, |p, _| p.neighbours()).is_empty() || relayed < 200_000);
    }
}

/// Runs until half a second of a group is out. Everybody has the group before, and whoever begins to read the origin within a second
/// gets the whole of this one.
fn early_in_a_group(swarm: &mut Swarm) {
    while !(12..15).contains(&(swarm.newest() % 50)) {
        swarm.run(Duration::from_millis(20));
    }
}

/// Kills the puller and three others, and checks that nobody else misses a picture.
fn lose_four(swarm: &mut Swarm) {
    let count = swarm.watchers.len();
    let first = puller(swarm);
    let others = (0..count).filter(|n| *n != first && n % 3 == 1).take(3);
    let victims: Vec<usize> = std::iter::once(first).chain(others).collect();
    let skips = |swarm: &mut Swarm, n: usize| {
        let stats = swarm.with(n, |p, _| p.stats());
        u64::from(stats.swarm.skips) + stats.output_skips
    };
    let before: Vec<u64> = (0..count).map(|n| skips(swarm, n)).collect();
    let at = swarm.sim.elapsed();
    victims.iter().for_each(|n| swarm.kill(*n));
    swarm.run(15 * SEC);
    swarm.print();
    for n in 0..count {
        for (t, event) in swarm.watchers[n].events.iter().filter(|(t, _)| *t > at) {
            if matches!(event, PeerEvent::OpenOrigin | PeerEvent::CloseOrigin) {
                println!("{n}: {event:?} after {:?}", *t - at);
            }
        }
    }
    let end = swarm.sim.elapsed();
    for n in (0..count).filter(|n| !victims.contains(n)) {
        swarm.assert_whole_after(n, at);
        assert_eq!(skips(swarm, n), before[n], "member {n} left something out");
        let gap = swarm.watchers[n].longest_gap(at, end);
        assert!(gap < Duration::from_millis(1_000), "member {n}: {gap:?}");
    }
    let (late, most) = swarm.watch(5 * SEC);
    println!("afterwards {late:.3}, {most}");
    assert!(late > 0.7 && most <= 2, "{late} {most}");
}

/// Seed 7 found a member that forgot a missing digest with each one that came after it.
#[test]
fn nobody_notices_that_a_puller_of_two_and_three_others_vanish() {
    let mut swarm = Swarm::new(7);
    gather(&mut swarm, 16);
    swarm.run(15 * SEC);
    lose_four(&mut swarm);
}

#[test]
fn nobody_notices_that_the_only_puller_and_three_others_vanish_early_in_a_group() {
    let mut swarm = Swarm::new(17);
    gather(&mut swarm, 12);
    swarm.run(10 * SEC);
    early_in_a_group(&mut swarm);
    lose_four(&mut swarm);
}

/// Kills all who read the origin, right after a keyframe. Returns the longest gap of the others, and how often they left something
/// out.
fn lose_all_pullers(fills: bool) -> (Duration, u32, u64) {
    let mut swarm = Swarm::new(20);
    swarm.fills = fills;
    gather(&mut swarm, 16);
    swarm.run(15 * SEC);
    // A group has 50 pictures. Those who begin to read the origin now get nothing of the group before.
    while !(2..5).contains(&(swarm.newest() % 50)) {
        swarm.run(Duration::from_millis(20));
    }
    let victims: Vec<usize> = (0..16).filter(|n| swarm.watchers[*n].reads_origin()).collect();
    assert_eq!(victims.len(), 2, "two read the origin for all");
    let before: u32 = (0..16).map(|n| skips(&mut swarm, n)).sum();
    let at = swarm.sim.elapsed();
    victims.iter().for_each(|n| swarm.kill(*n));
    swarm.run(15 * SEC);
    swarm.print();
    let end = swarm.sim.elapsed();
    let left: Vec<usize> = (0..16).filter(|n| !victims.contains(n)).collect();
    let gap = left.iter().map(|n| swarm.watchers[*n].longest_gap(at, end)).max().unwrap_or_default();
    let skips = left.iter().map(|n| skips(&mut swarm, *n)).sum::<u32>() - before;
    if fills {
        assert_all_whole(&swarm);
    }
    (gap, skips, swarm.sim.machine(swarm.server).stats().filled_bytes)
}

fn skips(swarm: &mut Swarm, n: usize) -> u32 {
    let stats = swarm.with(n, |p, _| p.stats());
    stats.swarm.skips + stats.output_skips as u32
}

#[test]
fn the_server_fills_in_what_died_with_all_pullers() {
    let (gap, skips, bytes) = lose_all_pullers(true);
    let (gap_without, skips_without, none) = lose_all_pullers(false);
    println!(
        "longest gap {gap:?}, {skips} skips, {bytes} bytes from the server; without {gap_without:?}, {skips_without} skips"
    );
    assert_eq!((skips, none), (0, 0));
    assert!(skips_without > 0, "otherwise this shows nothing");
    assert!(gap < Duration::from_millis(300), "{gap:?}");
    assert!((1..200_000).contains(&bytes), "{bytes}");
}

#[test]
fn nobody_notices_that_the_only_puller_and_three_others_vanish_late_in_a_group() {
    for (seed, pictures) in [(18, 30), (19, 46)] {
        let mut swarm = Swarm::new(seed);
        gather(&mut swarm, 12);
        swarm.run(10 * SEC);
        while !(pictures..pictures + 3).contains(&(swarm.newest() % 50)) {
            swarm.run(Duration::from_millis(20));
        }
        println!("killed at {:?}", swarm.sim.elapsed());
        lose_four(&mut swarm);
    }
}

#[test]
fn a_poisoner_never_gets_a_byte_to_a_player() {
    let mut swarm = Swarm::new(8);
    gather(&mut swarm, 3);
    let (config, _) = swarm.place(Home::Public, 100);
    let server = (addr(), secret(SERVER_KEY).public());
    let poisoner =
        Poisoner::new(peer_secret(8, 100), Entropy::seeded(99), server, swarm.stream, swarm.sim.now());
    let poisoner = swarm.sim.add_host(config.link(LinkConfig::latency(Duration::from_millis(2))), poisoner);
    swarm.run(SEC);
    gather(&mut swarm, 5);
    swarm.run(20 * SEC);
    swarm.print();
    let sent = swarm.sim.machine(poisoner).sent;
    let corrupt: u64 = (0..8).map(|n| swarm.with(n, |p, _| p.stats().swarm.corrupt_bytes)).sum();
    println!("{sent} wrong pieces, {corrupt} bytes of them arrived");
    assert!(sent > 0 && corrupt > 0, "the poisoner must have been tried");
    assert_all_whole(&swarm);
    let (late, _) = swarm.watch(5 * SEC);
    assert!(late > 0.7, "{late}");
    assert_eq!(swarm.sim.machine(swarm.server).swarm_stats(&swarm.stream).map(|s| s.excluded), Some(1));
}

#[test]
fn without_sharing_not_a_byte_of_a_piece_leaves() {
    let mut swarm = Swarm::new(9);
    for _ in 0..4 {
        swarm.join(Home::Public);
        swarm.run(SEC);
    }
    swarm.run(5 * SEC);
    early_in_a_group(&mut swarm);
    let first = puller(&swarm);
    let others: Vec<usize> = (0..4).filter(|n| *n != first).collect();
    swarm.with(first, |p, now| p.set_sharing(now, false));
    let before = swarm.with(first, |p, _| p.stats().swarm.upload_bytes);
    assert!(before > 0);
    let (me, server) = (swarm.watchers[first].host, swarm.server);
    let sent = |swarm: &Swarm| -> u64 {
        let all = others.iter().map(|n| swarm.sim.bytes_between(me, swarm.watchers[*n].host).bytes);
        all.sum::<u64>() + swarm.sim.bytes_between(me, server).bytes
    };
    // What is in the air still arrives.
    swarm.run(Duration::from_millis(50));
    let in_the_air = sent(&swarm);
    swarm.run(10 * SEC);
    swarm.print();
    assert_eq!(swarm.with(first, |p, _| p.stats().swarm.upload_bytes), before);
    // Status to each of them two times a second, and acknowledgements of what it gets.
    let after = sent(&swarm) - in_the_air;
    assert!(after < 10 * 4 * 4_000, "{after} bytes in 10 s");
    assert_all_whole(&swarm);
    swarm.with(first, |p, now| p.set_sharing(now, true));
}

#[test]
fn a_member_that_changes_its_network_goes_on() {
    let mut swarm = Swarm::new(10);
    for _ in 0..5 {
        swarm.join(Home::Public);
        swarm.run(SEC);
    }
    swarm.run(5 * SEC);
    let reader = puller(&swarm);
    let mover = (0..5).find(|n| *n != reader).expect("another one");
    let at = swarm.sim.elapsed();
    let host = swarm.watchers[mover].host;
    swarm.sim.move_host(host, None, &[IpAddr::V4(Ipv4Addr::new(90, 1, 2, 3))]);
    swarm.collect();
    swarm.run(5 * SEC);
    swarm.print();
    let back = swarm.watchers[mover]
        .events
        .iter()
        .find(|(t, e)| *t > at && matches!(e, PeerEvent::NeighbourConnected { .. }))
        .map(|(t, _)| *t - at);
    println!("neighbours again after {back:?}");
    assert!(back.is_some_and(|b| b < 2 * SEC), "{back:?}");
    let gap = swarm.watchers[mover].longest_gap(at, swarm.sim.elapsed());
    assert!(gap < SEC, "{gap:?}");
    swarm.run(5 * SEC);
    assert_all_whole(&swarm);
    let before = swarm.with(mover, |p, _| p.stats().swarm.p2p_bytes);
    swarm.run(5 * SEC);
    assert!(swarm.with(mover, |p, _| p.stats().swarm.p2p_bytes) > before + 300_000);
}

#[test]
fn a_restart_of_the_server_is_not_noticed() {
    let mut swarm = Swarm::new(11);
    gather(&mut swarm, 5);
    swarm.run(5 * SEC);
    let at = swarm.sim.elapsed();
    swarm.restart_server();
    swarm.run(25 * SEC);
    swarm.print();
    assert_all_whole(&swarm);
    for n in 0..5 {
        let gap = swarm.watchers[n].longest_gap(at, swarm.sim.elapsed());
        assert!(gap < SEC, "member {n}: {gap:?}");
    }
    assert_eq!(swarm.sim.machine(swarm.server).stats().members, 5, "all are back");
}

#[test]
fn a_member_that_leaves_is_gone_at_once_and_its_stream_after_a_minute() {
    let mut swarm = Swarm::new(12);
    swarm.join(Home::Public);
    swarm.join(Home::Cone);
    swarm.run(5 * SEC);
    for n in 0..2 {
        swarm.with(n, |p, now| p.leave(now));
    }
    swarm.run(SEC);
    assert!(swarm.with(0, |p, _| p.is_closed()) || swarm.with(1, |p, _| p.is_closed()));
    let stats = swarm.sim.machine(swarm.server).stats();
    assert_eq!((stats.members, stats.peers, stats.streams), (0, 0, 1));
    swarm.run(61 * SEC);
    assert_eq!(swarm.sim.machine(swarm.server).stats().streams, 0);
    assert!(matches!(swarm.server_events.last(), Some(ServerEvent::StreamUnwanted { .. })));
}

#[test]
fn equal_seeds_give_equal_traces() {
    let run = |seed| {
        let mut swarm = Swarm::new(seed);
        gather(&mut swarm, 5);
        swarm.run(5 * SEC);
        swarm.kill(1);
        swarm.run(5 * SEC);
        swarm.sim.trace_hash()
    };
    let first = run(13);
    assert_eq!(first, run(13));
    assert_ne!(first, run(14));
}
