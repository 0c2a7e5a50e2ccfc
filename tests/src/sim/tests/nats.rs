//! Who reaches whom through which NAT.

use std::time::Duration;

use super::*;
use crate::sim::{DropReason, NatConfig, PortAllocation};

const KINDS: [fn(Ipv4Addr) -> NatConfig; 4] =
    [NatConfig::full_cone, NatConfig::address_restricted, NatConfig::port_restricted, NatConfig::symmetric];

#[test]
fn each_kind_lets_in_exactly_whom_it_should() {
    // For a host that has sent to (S, 1000) only: does a packet to that mapping get in from ...
    // (S, 1000), (S, 2000), (T, 1000)?
    let expected = [[true, true, true], [true, true, false], [true, false, false], [true, false, false]];
    for (kind, expected) in KINDS.iter().zip(expected) {
        let mut sim = Sim::new(1);
        let nat = sim.add_nat(kind(ip4("198.51.100.1")));
        let inner = private(&mut sim, nat, "192.168.1.2");
        let server = add(&mut sim, HostConfig::new("s", ip("203.0.113.1")).port(1000).extra_port(2000));
        let third = public(&mut sim, "203.0.113.2");
        let server_addr = sim.addr(server);
        let mapped = reaches(&mut sim, inner, server_addr, server).unwrap();
        assert_eq!(mapped.ip(), ip("198.51.100.1"));
        assert_eq!(sim.mapped_addr(inner, server_addr), Some(mapped));

        let got = |sim: &mut Sim, from: Id, port: u16| {
            sim.events(inner);
            sim.with(from, |probe, _| probe.send_from(Some(sa(&format!("0.0.0.0:{port}"))), mapped, b"in"));
            sim.run_for(Duration::from_secs(1));
            !sim.events(inner).is_empty()
        };
        let actual = [got(&mut sim, server, 1000), got(&mut sim, server, 2000), got(&mut sim, third, 1000)];
        assert_eq!(actual, expected, "{:?}", kind(ip4("198.51.100.1")));
        let filtered = sim.traffic(server).dropped(DropReason::NatFiltered)
            + sim.traffic(third).dropped(DropReason::NatFiltered);
        assert_eq!(filtered, expected.iter().filter(|let_in| !**let_in).count() as u64);
    }
}

#[test]
fn only_the_symmetric_kind_maps_by_destination() {
    for (kind, same) in KINDS.iter().zip([true, true, true, false]) {
        let mut sim = Sim::new(1);
        let nat = sim.add_nat(kind(ip4("198.51.100.1")));
        let inner = private(&mut sim, nat, "192.168.1.2");
        let s = public(&mut sim, "203.0.113.1");
        let t = public(&mut sim, "203.0.113.2");
        let (s_addr, t_addr) = (sim.addr(s), sim.addr(t));
        let to_s = reaches(&mut sim, inner, s_addr, s).unwrap();
        let to_t = reaches(&mut sim, inner, t_addr, t).unwrap();
        assert_eq!(to_s == to_t, same);
        assert_eq!(reaches(&mut sim, inner, s_addr, s), Some(to_s), "a live mapping stays");
    }
}

/// Both learn the mapping that the other has towards a public server, then both send three times to it and to
/// every source that they hear from.
fn punch(a_kind: fn(Ipv4Addr) -> NatConfig, b_kind: fn(Ipv4Addr) -> NatConfig) -> bool {
    let mut sim = Sim::new(5);
    let nat_a = sim.add_nat(a_kind(ip4("198.51.100.1")));
    let nat_b = sim.add_nat(b_kind(ip4("198.51.100.2")));
    let a = private(&mut sim, nat_a, "192.168.1.2");
    let b = private(&mut sim, nat_b, "192.168.1.2");
    let server = public(&mut sim, "203.0.113.1");
    let server_addr = sim.addr(server);
    let mut a_mapped = reaches(&mut sim, a, server_addr, server).unwrap();
    let mut b_mapped = reaches(&mut sim, b, server_addr, server).unwrap();
    let (mut a_hears, mut b_hears) = (false, false);
    for _ in 0..3 {
        if let Some(seen) = reaches(&mut sim, a, b_mapped, b) {
            b_hears = true;
            a_mapped = seen;
        }
        if let Some(seen) = reaches(&mut sim, b, a_mapped, a) {
            a_hears = true;
            b_mapped = seen;
        }
    }
    a_hears && b_hears
}

#[test]
fn hole_punching_works_for_exactly_the_known_pairs() {
    // Rows and columns: full cone, address-restricted, port-restricted, symmetric.
    let expected = [
        [true, true, true, true],
        [true, true, true, true],
        [true, true, true, false],
        [true, true, false, false],
    ];
    for (a, row) in KINDS.iter().zip(expected) {
        for (b, works) in KINDS.iter().zip(row) {
            assert_eq!(punch(*a, *b), works, "{:?} with {:?}", a(ip4("0.0.0.1")), b(ip4("0.0.0.2")));
        }
    }
}

#[test]
fn an_early_inbound_packet_changes_no_mapping() {
    for kind in KINDS {
        let mut sim = Sim::new(1);
        let nat = sim.add_nat(kind(ip4("198.51.100.1")).allocation(PortAllocation::Preserving));
        let inner = add(&mut sim, HostConfig::new("inner", ip("192.168.1.2")).port(4433).behind(nat));
        let server = public(&mut sim, "203.0.113.1");
        let peer = public(&mut sim, "203.0.113.2");
        // The peer hits the port that the NAT is about to give out, before and after it does.
        send(&mut sim, peer, sa("198.51.100.1:4433"), b"early");
        sim.run_for(Duration::from_secs(1));
        assert_eq!(sim.traffic(peer).dropped(DropReason::NatUnmapped), 1);
        let server_addr = sim.addr(server);
        let first = reaches(&mut sim, inner, server_addr, server).unwrap();
        assert_eq!(first, sa("198.51.100.1:4433"));
        send(&mut sim, peer, first, b"early");
        sim.run_for(Duration::from_secs(1));
        assert_eq!(reaches(&mut sim, inner, server_addr, server), Some(first));
    }
}

#[test]
fn a_mapping_lives_from_the_last_outbound_packet_and_inbound_ones_do_not_refresh_it() {
    let mut sim = Sim::new(1);
    let timeout = Duration::from_secs(30);
    let nat = sim.add_nat(NatConfig::port_restricted(ip4("198.51.100.1")).mapping_timeout(timeout));
    let inner = private(&mut sim, nat, "192.168.1.2");
    let server = public(&mut sim, "203.0.113.1");
    let server_addr = sim.addr(server);
    let mapped = reaches(&mut sim, inner, server_addr, server).unwrap();
    sim.run_for(Duration::from_secs(20));
    assert_eq!(reaches(&mut sim, inner, server_addr, server), Some(mapped), "still the same");
    sim.run_for(Duration::from_secs(28));
    // 29 s after the last one out.
    assert!(reaches(&mut sim, server, mapped, inner).is_some());
    // 30 s: the last moment. `reaches` has let a second pass.
    assert!(reaches(&mut sim, server, mapped, inner).is_some());
    assert!(reaches(&mut sim, server, mapped, inner).is_none());
    assert_eq!(sim.traffic(server).dropped(DropReason::NatUnmapped), 1);
    assert_eq!(sim.mapped_addr(inner, server_addr), None);
    let again = reaches(&mut sim, inner, server_addr, server).unwrap();
    assert_ne!(again, mapped, "a random port is very unlikely to be the same");
}

#[test]
fn a_filter_entry_expires_on_its_own() {
    let mut sim = Sim::new(1);
    let nat =
        sim.add_nat(NatConfig::port_restricted(ip4("198.51.100.1")).mapping_timeout(Duration::from_secs(30)));
    let inner = private(&mut sim, nat, "192.168.1.2");
    let s = public(&mut sim, "203.0.113.1");
    let t = public(&mut sim, "203.0.113.2");
    let (s_addr, t_addr) = (sim.addr(s), sim.addr(t));
    let mapped = reaches(&mut sim, inner, s_addr, s).unwrap();
    sim.run_for(Duration::from_secs(20));
    assert_eq!(reaches(&mut sim, inner, t_addr, t), Some(mapped));
    sim.run_for(Duration::from_secs(10));
    assert!(reaches(&mut sim, s, mapped, inner).is_none(), "32 s since a packet to S");
    assert!(reaches(&mut sim, t, mapped, inner).is_some(), "12 s since a packet to T");
}

fn ports(sim: &mut Sim, inner: Id, count: u8) -> Vec<Option<u16>> {
    (0..count)
        .map(|n| {
            let host = public(sim, &format!("203.0.113.{}", n + 1));
            let addr = sim.addr(host);
            reaches(sim, inner, addr, host).map(|seen| seen.port())
        })
        .collect()
}

#[test]
fn ports_are_given_out_in_the_configured_way() {
    let run = |allocation| {
        let mut sim = Sim::new(3);
        let nat = sim.add_nat(NatConfig::symmetric(ip4("198.51.100.1")).allocation(allocation));
        let inner = private(&mut sim, nat, "192.168.1.2");
        let ports = ports(&mut sim, inner, 6);
        (ports, sim.traffic(inner).dropped(DropReason::NatExhausted))
    };
    let (sequential, _) = run(PortAllocation::Sequential);
    let sequential: Vec<u16> = sequential.into_iter().flatten().collect();
    assert_eq!(sequential.len(), 6);
    assert!(sequential.windows(2).all(|pair| pair[1] == pair[0] + 1), "{sequential:?}");

    let (preserving, _) = run(PortAllocation::Preserving);
    assert_eq!(preserving[..2], [Some(1024), Some(1025)], "port 1000 is below what NATs give out");

    let (random, _) = run(PortAllocation::Random);
    let random: Vec<u16> = random.into_iter().flatten().collect();
    assert!(random.windows(2).all(|pair| pair[1].abs_diff(pair[0]) > 1), "{random:?}");

    let (pool, exhausted) = run(PortAllocation::Pool { first: 5000, count: 4 });
    let mut given: Vec<u16> = pool.iter().copied().flatten().collect();
    given.sort_unstable();
    assert_eq!(given, [5000, 5001, 5002, 5003]);
    assert_eq!(pool[4..], [None, None]);
    assert_eq!(exhausted, 2);
}

#[test]
fn a_small_pool_gives_expired_ports_out_again() {
    let mut sim = Sim::new(3);
    let pool = PortAllocation::Pool { first: 65_534, count: 2 };
    let nat = sim.add_nat(NatConfig::symmetric(ip4("198.51.100.1")).allocation(pool));
    let inner = private(&mut sim, nat, "192.168.1.2");
    let server = add(&mut sim, HostConfig::new("s", ip("203.0.113.100")).port(1000));
    let server_addr = sim.addr(server);
    assert_eq!(ports(&mut sim, inner, 3)[2], None);
    sim.run_for(Duration::from_secs(120));
    assert!(reaches(&mut sim, inner, server_addr, server).is_some());
}

#[test]
fn hosts_behind_one_nat_talk_over_the_lan_and_through_a_hairpin_only_if_there_is_one() {
    for hairpin in [false, true] {
        let mut config = NatConfig::port_restricted(ip4("198.51.100.1"));
        config.hairpin = hairpin;
        let lan = config.lan_latency;
        let mut sim = Sim::new(1);
        let nat = sim.add_nat(config);
        let slow = crate::sim::LinkConfig::latency(Duration::from_millis(50));
        let a = add(&mut sim, HostConfig::new("a", ip("192.168.1.2")).port(1000).behind(nat).link(slow));
        let b = add(&mut sim, HostConfig::new("b", ip("192.168.1.3")).port(1000).behind(nat).link(slow));
        let server = public(&mut sim, "203.0.113.1");
        let (a_addr, b_addr, server_addr) = (sim.addr(a), sim.addr(b), sim.addr(server));

        let sent = sim.elapsed();
        assert_eq!(reaches(&mut sim, a, b_addr, b), Some(a_addr));
        send(&mut sim, b, a_addr, b"timed");
        let sent = sent + Duration::from_secs(1);
        sim.run_for(Duration::from_millis(1));
        assert_eq!(sim.timed_events(a)[0].0, sent + lan);

        let a_mapped = reaches(&mut sim, a, server_addr, server).unwrap();
        let b_mapped = reaches(&mut sim, b, server_addr, server).unwrap();
        reaches(&mut sim, a, b_mapped, b);
        let seen = reaches(&mut sim, b, a_mapped, a);
        assert_eq!(seen, hairpin.then_some(b_mapped));
        assert_eq!(sim.traffic(b).dropped(DropReason::Hairpin), u64::from(!hairpin));
    }
}

#[test]
fn the_same_private_address_behind_another_nat_is_another_host() {
    let mut sim = Sim::new(1);
    let nat_a = sim.add_nat(NatConfig::full_cone(ip4("198.51.100.1")));
    let nat_b = sim.add_nat(NatConfig::full_cone(ip4("198.51.100.2")));
    let a = private(&mut sim, nat_a, "192.168.1.2");
    let twin = private(&mut sim, nat_b, "192.168.1.3");
    let b = private(&mut sim, nat_b, "192.168.1.4");
    let twin_addr = sim.addr(twin);
    assert!(reaches(&mut sim, b, twin_addr, twin).is_some());
    assert!(reaches(&mut sim, a, twin_addr, twin).is_none());
    assert_eq!(sim.traffic(a).dropped(DropReason::NoRoute), 1);
}

#[test]
fn two_nats_in_a_row_translate_twice() {
    let mut sim = Sim::new(1);
    let carrier = sim.add_nat(NatConfig::port_restricted(ip4("198.51.100.1")).hairpin());
    let home = sim.add_nat(NatConfig::full_cone(ip4("100.64.0.2")).behind(carrier));
    let other_home = sim.add_nat(NatConfig::full_cone(ip4("100.64.0.3")).behind(carrier));
    let inner = private(&mut sim, home, "192.168.1.2");
    let neighbour = private(&mut sim, other_home, "192.168.1.2");
    let server = public(&mut sim, "203.0.113.1");
    let third = public(&mut sim, "203.0.113.2");
    let server_addr = sim.addr(server);
    let mapped = reaches(&mut sim, inner, server_addr, server).unwrap();
    assert_eq!(mapped.ip(), ip("198.51.100.1"));
    assert!(reaches(&mut sim, server, mapped, inner).is_some());
    assert!(reaches(&mut sim, third, mapped, inner).is_none());
    // The neighbour gets there inside the carrier's network: the home NAT is a full cone.
    let inside = sim.mapped_addr(inner, server_addr).unwrap();
    assert_eq!(inside.ip(), ip("100.64.0.2"));
    let seen = reaches(&mut sim, neighbour, inside, inner).unwrap();
    assert_eq!(seen.ip(), ip("100.64.0.3"));
    // And through the carrier's hairpin, once the carrier's filter knows both.
    let neighbour_mapped = reaches(&mut sim, neighbour, server_addr, server).unwrap();
    reaches(&mut sim, inner, neighbour_mapped, neighbour);
    assert_eq!(reaches(&mut sim, neighbour, mapped, inner), Some(neighbour_mapped));
}

#[test]
fn a_flushed_or_renumbered_nat_forgets_its_mappings() {
    let mut sim = Sim::new(1);
    let nat = sim.add_nat(NatConfig::full_cone(ip4("198.51.100.1")));
    let inner = private(&mut sim, nat, "192.168.1.2");
    let server = public(&mut sim, "203.0.113.1");
    let server_addr = sim.addr(server);
    let first = reaches(&mut sim, inner, server_addr, server).unwrap();
    assert!(reaches(&mut sim, server, first, inner).is_some());
    sim.flush_nat(nat);
    assert!(reaches(&mut sim, server, first, inner).is_none());
    let second = reaches(&mut sim, inner, server_addr, server).unwrap();
    assert_eq!(second.ip(), first.ip());
    sim.change_nat_public_ip(nat, ip4("198.51.100.9"));
    assert!(reaches(&mut sim, server, second, inner).is_none());
    assert_eq!(sim.traffic(server).dropped(DropReason::NoRoute), 1);
    let moved = SocketAddr::new(ip("198.51.100.9"), second.port());
    assert!(
        reaches(&mut sim, server, moved, inner).is_none(),
        "the port does not live on at the new address"
    );
    let third = reaches(&mut sim, inner, server_addr, server).unwrap();
    assert_eq!(third.ip(), ip("198.51.100.9"));
    assert!(reaches(&mut sim, server, third, inner).is_some());
}
