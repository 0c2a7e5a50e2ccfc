//! A simulation repeats byte for byte.

use std::time::Duration;

use super::*;
use crate::sim::{GilbertElliott, LinkConfig, NatConfig};

/// A busy little world with everything that draws lots.
fn run(seed: u64, payload: u8) -> String {
    let mut sim = Sim::new(seed);
    let link = LinkConfig::latency(Duration::from_millis(10)).both(|pipe| {
        pipe.jitter = Duration::from_millis(5);
        pipe.loss = 0.1;
        pipe.reorder = 0.1;
        pipe.duplicate = 0.1;
        pipe.bandwidth = Some(1_000_000);
        pipe.queue_bytes = 4000;
        pipe.burst = Some(GilbertElliott { to_bad: 0.05, to_good: 0.3, loss_good: 0.0, loss_bad: 0.5 });
    });
    let nat = sim.add_nat(NatConfig::symmetric(ip4("198.51.100.1")));
    let server = public(&mut sim, "203.0.113.1");
    let server_addr = sim.addr(server);
    let hosts: Vec<Id> = (2..10)
        .map(|n| {
            let addr = ip(&format!("192.168.1.{n}"));
            add(&mut sim, HostConfig::new("h", addr).behind(nat).link(link))
        })
        .collect();
    for round in 0..50u8 {
        for host in &hosts {
            send(&mut sim, *host, server_addr, b"ping");
            send(&mut sim, *host, server_addr, &[payload; 300]);
            send(&mut sim, *host, server_addr, &[round]);
        }
        sim.run_for(Duration::from_millis(7));
    }
    sim.run_for(Duration::from_secs(1));
    assert!(sim.traffic(server).received.packets > 500);
    sim.trace_hash()
}

#[test]
fn equal_seeds_give_equal_traces_and_others_do_not() {
    let first = run(1, 0);
    assert_eq!(first.len(), 64);
    assert_eq!(first, run(1, 0));
    assert_ne!(first, run(2, 0));
    assert_ne!(first, run(1, 1), "the bytes count too");
}

#[test]
fn looking_changes_nothing_and_the_tail_keeps_the_latest() {
    let mut sim = Sim::new(1);
    let a = public(&mut sim, "203.0.113.1");
    let b = public(&mut sim, "203.0.113.2");
    let b_addr = sim.addr(b);
    let empty = sim.trace_hash();
    for _ in 0..1000 {
        send(&mut sim, a, b_addr, b"x");
    }
    let sent = sim.trace_hash();
    assert_ne!(sent, empty);
    assert_eq!(sent, sim.trace_hash());
    sim.run_for(Duration::from_millis(1));
    assert_ne!(sent, sim.trace_hash());
    let tail: Vec<_> = sim.trace_tail().collect();
    assert_eq!(tail.last().unwrap().id, 999);
    assert!(tail.len() < 1000);
    assert!(tail.last().unwrap().to_string().contains("203.0.113.1:1000 -> 203.0.113.2:1000 1 B Delivered"));
}

/// Not a benchmark, but far from it if something per packet becomes slow.
#[test]
fn a_hundred_hosts_exchange_a_quarter_of_a_million_packets() {
    let mut sim = Sim::new(1);
    let server = public(&mut sim, "203.0.113.1");
    let server_addr = sim.addr(server);
    let hosts: Vec<Id> = (0..100u8)
        .map(|n| {
            let nat = sim.add_nat(NatConfig::port_restricted(Ipv4Addr::new(198, 51, 100, n)));
            private(&mut sim, nat, "192.168.1.2")
        })
        .collect();
    for _ in 0..1250 {
        for host in &hosts {
            sim.with(*host, |probe, _| probe.send(server_addr, b"ping"));
        }
        sim.run_for(Duration::from_millis(1));
        sim.events(server);
    }
    assert_eq!(sim.traffic(server).received.packets, 125_000);
    assert_eq!(sim.traffic(server).sent.packets, 125_000);
    assert_eq!(sim.traffic(server).dropped_total(), 0);
    assert_eq!(sim.in_flight(), 0);
}
