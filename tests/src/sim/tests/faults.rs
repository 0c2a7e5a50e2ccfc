//! Cuts, moves, restarts, clocks, and machines that break their contract.

use std::time::Duration;

use super::*;
use crate::sim::{DropReason, LinkConfig, NatConfig};

const MS: Duration = Duration::from_millis(1);

#[test]
fn a_host_starts_with_the_unix_time_and_its_addresses() {
    let mut sim = Sim::new(1);
    let config = HostConfig::new("a", ip("203.0.113.1")).addr(ip("2001:db8::1")).port(7).extra_port(8);
    let a = sim.add_host(config, Probe::default());
    let addrs = vec![sa("203.0.113.1:7"), sa("[2001:db8::1]:7")];
    assert_eq!(sim.events(a), [Note::Clock(sim.unix_time()), Note::Addrs(addrs)]);
}

#[test]
fn a_clock_jump_reaches_all_or_one_and_leaves_timers_alone() {
    let mut sim = Sim::new(1);
    let a = public(&mut sim, "203.0.113.1");
    let b = public(&mut sim, "203.0.113.2");
    sim.with(a, |probe, now| probe.tick_at = Some(now + 5 * MS));
    let jump = Duration::from_secs(2_000_000_000);
    sim.set_unix_time(jump);
    assert_eq!((sim.events(a), sim.events(b)), (vec![Note::Clock(jump)], vec![Note::Clock(jump)]));
    sim.set_unix_time_of(b, Duration::from_secs(1));
    assert_eq!((sim.events(a), sim.events(b)), (vec![], vec![Note::Clock(Duration::from_secs(1))]));
    sim.run_for(10 * MS);
    assert_eq!(sim.timed_events(a), [(5 * MS, Note::Tick)]);
    assert_eq!(sim.unix_time(), jump + 10 * MS);
}

#[test]
fn timers_fire_at_their_instant_and_can_be_moved_and_cleared() {
    let mut sim = Sim::new(1);
    let a = public(&mut sim, "203.0.113.1");
    let b = public(&mut sim, "203.0.113.2");
    sim.with(a, |probe, now| {
        probe.tick_at = Some(now + 3 * MS);
        probe.every = Some(2 * MS);
    });
    sim.with(b, |probe, now| probe.tick_at = Some(now + 4 * MS));
    sim.with(b, |probe, now| probe.tick_at = Some(now + 6 * MS));
    sim.run_for(7 * MS);
    let ticks = |at: &[u32]| at.iter().map(|n| (*n * MS, Note::Tick)).collect::<Vec<_>>();
    assert_eq!(sim.timed_events(a), ticks(&[3, 5, 7]));
    assert_eq!(sim.timed_events(b), ticks(&[6]));
    sim.with(a, |probe, _| probe.tick_at = None);
    sim.run_for(Duration::from_secs(1));
    assert!(sim.events(a).is_empty());
    assert_eq!(sim.rearms(a), 0);
}

#[test]
fn a_packet_comes_before_a_timer_of_the_same_instant() {
    let mut sim = Sim::new(1);
    let link = LinkConfig::latency(10 * MS);
    let a = add(&mut sim, HostConfig::new("a", ip("203.0.113.1")).port(1000).link(link));
    let b = public(&mut sim, "203.0.113.2");
    let b_addr = sim.addr(b);
    // The packet leaves for its last stage at the very instant of the timer.
    sim.with(b, |probe, now| probe.tick_at = Some(now + 10 * MS));
    send(&mut sim, a, b_addr, b"x");
    sim.run_for(10 * MS);
    let events = sim.timed_events(b);
    assert!(matches!(events[..], [(_, Note::Got(..)), (_, Note::Tick)]), "{events:?}");
    assert!(events.iter().all(|(at, _)| *at == 10 * MS));
}

#[test]
fn a_packet_let_in_for_a_host_that_left_its_network_does_not_turn_round() {
    let mut sim = Sim::new(1);
    // The carrier's mapping outlives the home router's address change, so its target is nobody.
    let carrier = sim.add_nat(NatConfig::full_cone(ip4("198.51.100.1")));
    let home = sim.add_nat(NatConfig::full_cone(ip4("100.64.0.2")).behind(carrier));
    let inner = private(&mut sim, home, "192.168.1.2");
    let server = public(&mut sim, "203.0.113.1");
    let server_addr = sim.addr(server);
    let mapped = reaches(&mut sim, inner, server_addr, server).unwrap();
    sim.change_nat_public_ip(home, ip4("100.64.0.3"));
    assert!(reaches(&mut sim, server, mapped, inner).is_none());
    assert_eq!(sim.traffic(server).dropped(DropReason::NoRoute), 1);
    assert_eq!(sim.mapped_addr(inner, server_addr), None);
    let last = sim.trace_tail().last().unwrap();
    assert_eq!((last.src, last.dst.ip()), (server_addr, ip("100.64.0.2")), "no NAT rewrote it on a way back");
}

#[test]
fn run_until_stops_at_the_step_that_made_it_true_or_at_the_limit() {
    let mut sim = Sim::new(1);
    let link = LinkConfig::latency(10 * MS);
    let a = add(&mut sim, HostConfig::new("a", ip("203.0.113.1")).port(1000).link(link));
    let b = public(&mut sim, "203.0.113.2");
    let b_addr = sim.addr(b);
    send(&mut sim, a, b_addr, b"ping");
    assert!(sim.run_until(Duration::from_secs(1), |sim| sim.traffic(a).received.packets == 1));
    assert_eq!(sim.elapsed(), 20 * MS);
    assert!(!sim.run_until(Duration::from_secs(1), |_| false));
    assert_eq!(sim.elapsed(), Duration::from_millis(1020));
    assert_eq!(sim.in_flight(), 0);
}

#[test]
fn a_cut_link_loses_what_is_on_it_and_works_again_after() {
    let mut sim = Sim::new(1);
    let link = LinkConfig::latency(10 * MS);
    let a = public(&mut sim, "203.0.113.1");
    let b = add(&mut sim, HostConfig::new("b", ip("203.0.113.2")).port(1000).link(link));
    let (a_addr, b_addr) = (sim.addr(a), sim.addr(b));
    send(&mut sim, a, b_addr, b"on the down link");
    send(&mut sim, b, a_addr, b"not sent yet by the time of the cut, but past the check");
    sim.run_for(5 * MS);
    sim.cut(b, true);
    sim.run_for(Duration::from_secs(1));
    assert!(sim.events(b).is_empty());
    assert_eq!(sim.traffic(a).dropped(DropReason::Cut), 1);
    assert!(reaches(&mut sim, a, b_addr, b).is_none());
    assert!(reaches(&mut sim, b, a_addr, a).is_none());
    sim.cut(b, false);
    assert!(reaches(&mut sim, a, b_addr, b).is_some());
    assert!(reaches(&mut sim, b, a_addr, a).is_some());
}

#[test]
fn a_changed_link_applies_to_the_next_packet() {
    let mut sim = Sim::new(1);
    let a = public(&mut sim, "203.0.113.1");
    let b = public(&mut sim, "203.0.113.2");
    let b_addr = sim.addr(b);
    sim.set_link(a, LinkConfig::latency(40 * MS));
    send(&mut sim, a, b_addr, b"slow");
    sim.set_link(a, LinkConfig::latency(10 * MS));
    send(&mut sim, a, b_addr, b"fast");
    sim.run_for(Duration::from_secs(1));
    let times: Vec<Duration> = sim.timed_events(b).iter().map(|(at, _)| *at).collect();
    assert_eq!(times, [10 * MS, 40 * MS]);
}

#[test]
fn a_new_address_is_told_and_kills_the_old_one_with_its_mappings() {
    let mut sim = Sim::new(1);
    let nat = sim.add_nat(NatConfig::full_cone(ip4("198.51.100.1")));
    let inner = private(&mut sim, nat, "192.168.1.2");
    let neighbour = private(&mut sim, nat, "192.168.1.9");
    let server = public(&mut sim, "203.0.113.1");
    let server_addr = sim.addr(server);
    let mapped = reaches(&mut sim, inner, server_addr, server).unwrap();
    let kept = reaches(&mut sim, neighbour, server_addr, server).unwrap();
    sim.change_address(inner, &[ip("192.168.1.3")]);
    assert_eq!(sim.events(inner), [Note::Addrs(vec![sa("192.168.1.3:1000")])]);
    assert!(reaches(&mut sim, server, mapped, inner).is_none());
    assert!(reaches(&mut sim, server, kept, neighbour).is_some(), "others keep theirs");
    assert_eq!(sim.traffic(server).dropped(DropReason::NatUnmapped), 1);
    let again = reaches(&mut sim, inner, server_addr, server).unwrap();
    assert_ne!(again, mapped);
    assert!(reaches(&mut sim, neighbour, sa("192.168.1.2:1000"), inner).is_none());
    assert!(reaches(&mut sim, neighbour, sa("192.168.1.3:1000"), inner).is_some());
}

#[test]
fn a_host_moves_from_its_nat_to_a_public_address_while_a_packet_is_under_way() {
    let mut sim = Sim::new(1);
    let nat = sim.add_nat(NatConfig::full_cone(ip4("198.51.100.1")));
    let link = LinkConfig::latency(10 * MS);
    let config = HostConfig::new("phone", ip("192.168.1.2")).port(1000).behind(nat).link(link);
    let phone = add(&mut sim, config);
    let server = public(&mut sim, "203.0.113.1");
    let server_addr = sim.addr(server);
    let mapped = reaches(&mut sim, phone, server_addr, server).unwrap();
    send(&mut sim, server, mapped, b"late");
    sim.run_for(5 * MS);
    sim.move_host(phone, None, &[ip("203.0.113.50")]);
    sim.run_for(Duration::from_secs(1));
    assert_eq!(sim.events(phone), [Note::Addrs(vec![sa("203.0.113.50:1000")])]);
    assert_eq!(sim.traffic(phone).refused(DropReason::NoAddress), 1);
    assert_eq!(reaches(&mut sim, phone, server_addr, server), Some(sa("203.0.113.50:1000")));
}

#[test]
fn a_restarted_machine_gets_packets_for_the_old_one_only_on_the_same_port() {
    let mut sim = Sim::new(1);
    let link = LinkConfig::latency(10 * MS);
    let a = public(&mut sim, "203.0.113.1");
    let b = add(&mut sim, HostConfig::new("b", ip("203.0.113.2")).port(1000).link(link));
    let b_addr = sim.addr(b);
    sim.with(b, |probe, now| probe.tick_at = Some(now + MS));
    send(&mut sim, a, b_addr, b"old");
    let old = sim.replace(b, Probe::default());
    assert!(old.tick_at.is_some());
    sim.run_for(Duration::from_secs(1));
    let events = sim.events(b);
    assert!(matches!(events[..], [Note::Clock(_), Note::Addrs(_), Note::Got(..)]), "no tick: {events:?}");
    send(&mut sim, a, b_addr, b"old");
    sim.replace_on_ports(b, Probe::default(), &[2000]);
    sim.run_for(Duration::from_secs(1));
    assert_eq!(sim.events(b)[1], Note::Addrs(vec![sa("203.0.113.2:2000")]));
    assert_eq!(sim.traffic(a).dropped(DropReason::NoSocket), 1);
    assert!(reaches(&mut sim, a, sa("203.0.113.2:2000"), b).is_some());
}

#[test]
fn a_removed_host_is_gone_and_its_address_is_free() {
    let mut sim = Sim::new(1);
    let link = LinkConfig::latency(10 * MS);
    let a = public(&mut sim, "203.0.113.1");
    let b = add(&mut sim, HostConfig::new("b", ip("203.0.113.2")).port(1000).link(link));
    let b_addr = sim.addr(b);
    sim.with(b, |probe, now| probe.tick_at = Some(now + 30 * MS));
    send(&mut sim, a, b_addr, b"on the down link");
    sim.run_for(5 * MS);
    sim.remove(b);
    send(&mut sim, a, b_addr, b"nobody there");
    sim.set_unix_time(Duration::from_secs(1_900_000_000));
    sim.run_for(Duration::from_secs(1));
    assert_eq!(sim.traffic(a).dropped(DropReason::Gone), 1);
    assert_eq!(sim.traffic(a).dropped(DropReason::NoRoute), 1);
    let heir = public(&mut sim, "203.0.113.2");
    assert!(reaches(&mut sim, a, b_addr, heir).is_some());
}

#[test]
#[should_panic(expected = "host `gone` was removed")]
fn a_removed_host_cannot_be_used() {
    let mut sim = Sim::new(1);
    let gone = add(&mut sim, HostConfig::new("gone", ip("203.0.113.2")));
    sim.remove(gone);
    sim.events(gone);
}

#[test]
#[should_panic(expected = "is taken")]
fn two_hosts_cannot_share_an_address() {
    let mut sim = Sim::new(1);
    public(&mut sim, "203.0.113.1");
    public(&mut sim, "203.0.113.1");
}

#[test]
#[should_panic(expected = "busy timer: host `spinner`")]
fn a_timer_that_is_always_due_is_caught() {
    let mut sim = Sim::new(1);
    let spinner = add(&mut sim, HostConfig::new("spinner", ip("203.0.113.1")));
    sim.with(spinner, |probe, now| {
        probe.tick_at = Some(now);
        probe.every = Some(Duration::ZERO);
    });
}

#[test]
#[should_panic(expected = "busy timer: host `creeper`")]
fn a_timer_that_creeps_by_nanoseconds_is_caught() {
    let mut sim = Sim::new(1);
    let creeper = add(&mut sim, HostConfig::new("creeper", ip("203.0.113.1")));
    sim.with(creeper, |probe, now| {
        probe.tick_at = Some(now);
        probe.every = Some(Duration::from_nanos(1));
    });
    sim.run_for(Duration::from_secs(1));
}

#[test]
fn many_timers_spread_over_time_are_not_busy() {
    let mut sim = Sim::new(1);
    sim.set_turn_limit(10);
    let a = public(&mut sim, "203.0.113.1");
    sim.with(a, |probe, now| {
        probe.tick_at = Some(now);
        probe.every = Some(Duration::from_micros(101));
    });
    sim.run_for(Duration::from_millis(101));
    assert_eq!(sim.events(a).len(), 1001);
}

#[test]
#[should_panic(expected = "`size` is not what it wrote")]
fn a_transmit_with_a_wrong_size_is_caught() {
    let mut sim = Sim::new(1);
    let a = public(&mut sim, "203.0.113.1");
    sim.with(a, |probe, _| {
        probe.send(sa("203.0.113.1:1"), b"abc");
        probe.outbox[0].0.size = 2;
    });
}

#[test]
#[should_panic(expected = "time stands still")]
fn machines_that_answer_each_other_without_end_are_caught() {
    let mut sim = Sim::new(1);
    let a = public(&mut sim, "203.0.113.1");
    let a_addr = sim.addr(a);
    // Both ends answer, which a probe does only to a `ping`.
    sim.set_tap(|packet| {
        packet.payload.copy_from_slice(b"ping");
        crate::sim::TapAction::Pass
    });
    sim.inject(sa("203.0.113.2:1000"), a_addr, b"ping");
    public(&mut sim, "203.0.113.2");
    sim.run_for(MS);
}
