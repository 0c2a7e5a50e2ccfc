//! Links, addresses and sockets on the way from one host to another.

use std::time::Duration;

use super::*;
use crate::sim::{DropReason, Firewall, LinkConfig, NatConfig, PipeConfig, TapAction};

const MS: Duration = Duration::from_millis(1);

#[test]
fn latency_is_exactly_the_sum_of_the_way() {
    let mut sim = Sim::new(1);
    sim.set_core_latency(7 * MS);
    let mut link = LinkConfig::latency(10 * MS);
    link.up.latency = 3 * MS;
    let a = add(&mut sim, HostConfig::new("a", ip("203.0.113.1")).port(1000).link(link));
    let b =
        add(&mut sim, HostConfig::new("b", ip("203.0.113.2")).port(1000).link(LinkConfig::latency(20 * MS)));
    let b_addr = sim.addr(b);
    sim.run_for(5 * MS);
    send(&mut sim, a, b_addr, b"ping");
    sim.run_for(Duration::from_secs(1));
    let a_addr = sim.addr(a);
    // 5 + 3 up + 7 core + 20 down; back: 20 up + 7 core + 10 down.
    assert_eq!(sim.timed_events(b), [(35 * MS, Note::Got(b_addr, a_addr, b"ping".to_vec()))]);
    assert_eq!(sim.timed_events(a), [(72 * MS, Note::Got(a_addr, b_addr, b"pong".to_vec()))]);
    assert_eq!(sim.elapsed(), Duration::from_millis(1005));
}

#[test]
fn the_slower_of_two_links_sets_the_pace() {
    let mut sim = Sim::new(1);
    let pipe = |bandwidth| PipeConfig { bandwidth: Some(bandwidth), ..PipeConfig::default() };
    let host = |name: &str, bandwidth| {
        HostConfig::new(name, ip(name)).port(1000).link(LinkConfig::symmetric(pipe(bandwidth)))
    };
    let a = add(&mut sim, host("203.0.113.1", 80_000_000));
    let b = add(&mut sim, host("203.0.113.2", 8_000_000));
    let b_addr = sim.addr(b);
    // 972 + 28 bytes: 0.1 ms up, 1 ms down.
    for _ in 0..5 {
        send(&mut sim, a, b_addr, &[0; 972]);
    }
    sim.run_for(Duration::from_secs(1));
    let times: Vec<u128> = sim.timed_events(b).iter().map(|(at, _)| at.as_micros()).collect();
    assert_eq!(times, [1100, 2100, 3100, 4100, 5100]);
}

#[test]
fn two_hosts_on_one_access_link_wait_for_each_other() {
    let mut sim = Sim::new(1);
    let pipe = PipeConfig { bandwidth: Some(8_000_000), queue_bytes: 3000, ..PipeConfig::default() };
    let link = LinkConfig::symmetric(pipe);
    let a = add(&mut sim, HostConfig::new("a", ip("203.0.113.1")).port(1000).link(link));
    let b = public(&mut sim, "203.0.113.2");
    let far = public(&mut sim, "203.0.113.3");
    let (a_addr, b_addr, far_addr) = (sim.addr(a), sim.addr(b), sim.addr(far));
    sim.share_link(b, a);
    send(&mut sim, far, a_addr, &[0; 972]);
    send(&mut sim, far, b_addr, &[0; 972]);
    sim.run_for(Duration::ZERO);
    assert_eq!((sim.down_backlog(a), sim.down_backlog(b)), (2 * MS, 2 * MS));
    send(&mut sim, far, a_addr, &[0; 972]);
    send(&mut sim, far, b_addr, &[0; 972]);
    sim.run_for(Duration::from_secs(1));
    let times =
        |events: Vec<(Duration, Note)>| events.iter().map(|(at, _)| at.as_millis()).collect::<Vec<_>>();
    assert_eq!((times(sim.timed_events(a)), times(sim.timed_events(b))), (vec![1, 3], vec![2]));
    assert_eq!(sim.traffic(b).refused(DropReason::Queue), 1, "the queue is one for both");
    // And away from them.
    send(&mut sim, a, far_addr, &[0; 972]);
    send(&mut sim, b, far_addr, &[0; 972]);
    assert_eq!((sim.up_backlog(a), sim.up_backlog(b)), (2 * MS, 2 * MS));
}

#[test]
fn a_full_queue_drops_and_both_sides_count_it() {
    let mut sim = Sim::new(1);
    let down = PipeConfig { bandwidth: Some(8_000_000), queue_bytes: 3000, ..PipeConfig::default() };
    let link = LinkConfig { up: PipeConfig::default(), down };
    let a = public(&mut sim, "203.0.113.1");
    let b = add(&mut sim, HostConfig::new("b", ip("203.0.113.2")).port(1000).link(link));
    let b_addr = sim.addr(b);
    for _ in 0..10 {
        send(&mut sim, a, b_addr, &[0; 972]);
    }
    sim.run_for(Duration::from_secs(1));
    assert_eq!(sim.events(b).len(), 3);
    assert_eq!(sim.traffic(a).dropped(DropReason::Queue), 7);
    assert_eq!(sim.traffic(a).dropped_total(), 7);
    assert_eq!(sim.traffic(b).refused(DropReason::Queue), 7);
    assert_eq!((sim.traffic(a).sent.packets, sim.traffic(a).sent.bytes), (10, 9720));
    assert_eq!(sim.bytes_between(a, b), sim.traffic(b).received);
    assert_eq!(sim.bytes_between(a, b).bytes, 3 * 972);
    assert_eq!(sim.bytes_between(b, a).packets, 0);
}

#[test]
fn the_largest_datagram_is_1472_bytes_over_ipv4_and_1452_over_ipv6() {
    let mut sim = Sim::new(1);
    let a = add(&mut sim, HostConfig::new("a", ip("203.0.113.1")).addr(ip("2001:db8::1")));
    let b = add(&mut sim, HostConfig::new("b", ip("203.0.113.2")).addr(ip("2001:db8::2")));
    for (to, largest) in [("203.0.113.2:4433", 1472), ("[2001:db8::2]:4433", 1452)] {
        send(&mut sim, a, sa(to), &vec![0; largest]);
        send(&mut sim, a, sa(to), &vec![0; largest + 1]);
        sim.run_for(MS);
        let events = sim.events(b);
        assert_eq!(events.len(), 1);
        assert!(
            matches!(&events[0], Note::Got(local, _, bytes) if *local == sa(to) && bytes.len() == largest)
        );
    }
    assert_eq!(sim.traffic(a).dropped(DropReason::Mtu), 2);
}

#[test]
fn a_batch_is_split_into_datagrams_and_the_last_may_be_short() {
    let mut sim = Sim::new(1);
    let a = public(&mut sim, "203.0.113.1");
    let b = public(&mut sim, "203.0.113.2");
    let b_addr = sim.addr(b);
    sim.with(a, |probe, _| {
        probe.send_batch(None, b_addr, b"aaabbbc", Some(3));
        probe.send(b_addr, b"");
    });
    sim.run_for(MS);
    let got: Vec<Vec<u8>> = sim
        .events(b)
        .into_iter()
        .map(|note| match note {
            Note::Got(_, _, bytes) => bytes,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(got, [&b"aaa"[..], b"bbb", b"c", b""]);
}

#[test]
fn the_local_address_of_a_transmit_selects_socket_and_source() {
    let mut sim = Sim::new(1);
    let config = HostConfig::new("a", ip("203.0.113.1")).addr(ip("203.0.113.2")).addr(ip("2001:db8::1"));
    let a = add(&mut sim, config.port(1000).extra_port(2000));
    let b = add(&mut sim, HostConfig::new("b", ip("203.0.113.9")).addr(ip("2001:db8::9")).extra_port(5000));
    let mut source = |local: Option<&str>, to: &str| {
        sim.with(a, |probe, _| probe.send_from(local.map(sa), sa(to), b"x"));
        sim.run_for(MS);
        sim.events(b).into_iter().next().map(|note| match note {
            Note::Got(local, remote, _) if local == sa(to) => remote,
            other => panic!("{other:?}"),
        })
    };
    let v4 = "203.0.113.9:5000";
    let v6 = "[2001:db8::9]:4433";
    assert_eq!(source(None, v4), Some(sa("203.0.113.1:1000")));
    assert_eq!(source(None, v6), Some(sa("[2001:db8::1]:1000")));
    assert_eq!(source(Some("0.0.0.0:2000"), v4), Some(sa("203.0.113.1:2000")));
    assert_eq!(source(Some("[::]:2000"), v6), Some(sa("[2001:db8::1]:2000")));
    assert_eq!(source(Some("203.0.113.2:0"), v4), Some(sa("203.0.113.2:1000")));
    assert_eq!(source(Some("203.0.113.2:2000"), v4), Some(sa("203.0.113.2:2000")));
    assert_eq!(source(Some("203.0.113.3:1000"), v4), None);
    assert_eq!(source(Some("203.0.113.2:1000"), v6), None);
    assert_eq!(source(Some("203.0.113.2:3000"), v4), None);
    assert_eq!(source(None, v4), Some(sa("203.0.113.1:1000")));
    assert_eq!(sim.traffic(a).dropped(DropReason::NoAddress), 2);
    assert_eq!(sim.traffic(a).dropped(DropReason::NoSocket), 1);
}

#[test]
fn loss_duplication_and_reordering_show_end_to_end() {
    let mut sim = Sim::new(9);
    let link = LinkConfig::latency(5 * MS);
    let mut up = link;
    up.up.loss = 0.05;
    up.up.duplicate = 0.02;
    up.up.reorder = 0.03;
    let a = add(&mut sim, HostConfig::new("a", ip("203.0.113.1")).port(1000).link(up));
    let b = add(&mut sim, HostConfig::new("b", ip("203.0.113.2")).port(1000).link(link));
    let b_addr = sim.addr(b);
    const SENT: u32 = 50_000;
    for n in 0..SENT {
        send(&mut sim, a, b_addr, &n.to_le_bytes());
        sim.run_for(MS);
    }
    sim.run_for(Duration::from_secs(1));
    let mut seen = vec![0u32; SENT as usize];
    let (mut overtaken, mut highest) = (0, 0);
    for note in sim.events(b) {
        let Note::Got(_, _, bytes) = note else { panic!("{note:?}") };
        let n = u32::from_le_bytes(bytes.try_into().unwrap());
        seen[n as usize] += 1;
        overtaken += u32::from(n < highest);
        highest = highest.max(n);
    }
    let lost = seen.iter().filter(|n| **n == 0).count();
    let twice = seen.iter().filter(|n| **n == 2).count();
    assert!((2_300..2_700).contains(&lost), "{lost}");
    assert!((850..1_050).contains(&twice), "{twice}");
    assert!((1_300..1_600).contains(&overtaken), "{overtaken}");
    assert_eq!(sim.traffic(a).dropped(DropReason::Loss), lost as u64);
}

#[test]
fn a_firewall_lets_through_only_what_is_listed() {
    let mut sim = Sim::new(1);
    let a = public(&mut sim, "203.0.113.1");
    let b = public(&mut sim, "203.0.113.2");
    let c = public(&mut sim, "203.0.113.3");
    let (a_addr, b_addr, c_addr) = (sim.addr(a), sim.addr(b), sim.addr(c));
    sim.set_firewall(a, Firewall::Only(vec![sa("203.0.113.2:0")]));
    assert!(reaches(&mut sim, a, b_addr, b).is_some());
    assert!(reaches(&mut sim, b, a_addr, a).is_some());
    assert!(reaches(&mut sim, a, c_addr, c).is_none());
    assert!(reaches(&mut sim, c, a_addr, a).is_none());
    sim.set_firewall(a, Firewall::Only(vec![sa("203.0.113.3:999")]));
    assert!(reaches(&mut sim, c, a_addr, a).is_none());
    sim.set_firewall(a, Firewall::Only(Vec::new()));
    assert!(reaches(&mut sim, a, b_addr, b).is_none());
    assert_eq!(sim.traffic(a).dropped(DropReason::Firewall), 2);
    assert_eq!(sim.traffic(a).refused(DropReason::Firewall), 2);
}

#[test]
fn a_stateful_firewall_lets_answers_in_for_two_minutes() {
    let mut sim = Sim::new(1);
    let nat = sim.add_nat(NatConfig::symmetric(ip4("198.51.100.1")));
    let config = HostConfig::new("a", ip("192.168.1.2")).addr(ip("2001:db8::1")).port(1000).behind(nat);
    let a = add(&mut sim, config.firewall(Firewall::Stateful));
    let b = add(&mut sim, HostConfig::new("b", ip("2001:db8::2")).port(1000));
    let a_addr = sa("[2001:db8::1]:1000");
    let b_addr = sim.addr(b);
    assert!(reaches(&mut sim, b, a_addr, a).is_none());
    assert_eq!(reaches(&mut sim, a, b_addr, b), Some(a_addr), "IPv6 is not translated");
    assert!(reaches(&mut sim, b, a_addr, a).is_some());
    sim.run_for(Duration::from_secs(120));
    assert!(reaches(&mut sim, b, a_addr, a).is_none());
}

#[test]
fn injected_datagrams_carry_any_source_and_pass_filters_like_others() {
    let mut sim = Sim::new(1);
    let nat = sim.add_nat(NatConfig::port_restricted(ip4("198.51.100.1")));
    let inner = private(&mut sim, nat, "192.168.1.2");
    let server = public(&mut sim, "203.0.113.1");
    let server_addr = sim.addr(server);
    let mapped = reaches(&mut sim, inner, server_addr, server).unwrap();
    sim.inject(sa("203.0.113.7:1"), mapped, b"filtered");
    sim.inject(server_addr, mapped, b"spoofed");
    sim.run_for(MS);
    let inner_addr = sim.addr(inner);
    assert_eq!(sim.events(inner), [Note::Got(inner_addr, server_addr, b"spoofed".to_vec())]);
    assert_eq!(sim.bytes_between(server, inner).packets, 0);
    assert_eq!(sim.traffic(inner).received.packets, 1);
}

#[test]
fn a_tap_sees_changes_and_takes_what_crosses_the_core() {
    let mut sim = Sim::new(1);
    let nat = sim.add_nat(NatConfig::full_cone(ip4("198.51.100.1")));
    let a = private(&mut sim, nat, "192.168.1.2");
    let b = public(&mut sim, "203.0.113.2");
    let b_addr = sim.addr(b);
    sim.set_tap(move |packet| {
        assert_eq!(packet.src.ip(), ip("198.51.100.1"));
        assert_eq!(packet.dst, b_addr);
        packet.payload[0] = b'X';
        if packet.payload.len() > 3 { TapAction::Drop } else { TapAction::Pass }
    });
    send(&mut sim, a, b_addr, b"abc");
    send(&mut sim, a, b_addr, b"abcd");
    sim.run_for(MS);
    assert!(matches!(&sim.events(b)[..], [Note::Got(_, _, bytes)] if bytes == b"Xbc"));
    assert_eq!(sim.traffic(a).dropped(DropReason::Tap), 1);
    sim.remove_tap();
    assert!(reaches(&mut sim, a, b_addr, b).is_some());
}

/// Another type of machine: only counts bytes.
#[derive(Default)]
struct Sink {
    total: usize,
    news: Option<usize>,
}

impl Machine for Sink {
    type Event = usize;

    fn handle_datagram(&mut self, _now: Instant, datagram: Datagram) {
        self.total += datagram.payload.len();
        self.news = Some(self.total);
    }

    fn handle_timeout(&mut self, _now: Instant) {}

    fn poll_transmit(&mut self, _now: Instant, _buf: &mut Vec<u8>) -> Option<Transmit> {
        None
    }

    fn poll_event(&mut self) -> Option<usize> {
        self.news.take()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    fn set_wall_clock(&mut self, _now: Instant, _unix: Duration) {}

    fn set_local_addresses(&mut self, _now: Instant, _addrs: &[SocketAddr]) {}
}

#[test]
fn machines_of_different_types_share_a_world() {
    let mut sim = Sim::new(1);
    let probe = public(&mut sim, "203.0.113.1");
    let sink: HostId<Sink> = sim.add_host(HostConfig::new("sink", ip("203.0.113.2")), Sink::default());
    let sink_addr = sim.addr(sink);
    send(&mut sim, probe, sink_addr, b"four");
    send(&mut sim, probe, sink_addr, b"fives");
    sim.run_for(MS);
    assert_eq!(sim.events(sink), [4, 9]);
    assert_eq!(sim.machine(sink).total, 9);
    assert_eq!(sim.bytes_between(probe, sink).bytes, 9);
    assert_eq!(sim.remove(sink).total, 9);
}
