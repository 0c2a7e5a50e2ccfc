//! What `xp2p probe` says about each kind of NAT, in the simulator.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use xp2p_proto::link::Entropy;
use xp2p_proto::nat::{NatProber, NatReport};
use xp2p_proto::server::Server;
use xp2p_tests::sim::{Firewall, HostConfig, NatConfig, Sim};
use xp2p_tests::world::server_config;

fn probe(nat: Option<NatConfig>, alternative: bool, blocked: bool) -> NatReport {
    let mut sim = Sim::new(1);
    let (main, other): (IpAddr, IpAddr) =
        ("203.0.113.1".parse().expect("an IP"), "203.0.113.2".parse().expect("an IP"));
    let mut config = server_config(1);
    config.local = SocketAddr::new(main, 20002);
    config.alternative = alternative.then(|| SocketAddr::new(other, 20003));
    let server = Server::new(config, sim.now()).expect("a valid value");
    let mut host = HostConfig::new("server", main).port(20002);
    if alternative {
        host = host.addr(other).extra_port(20003);
    }
    if blocked {
        host = host.firewall(Firewall::Only(Vec::new()));
    }
    sim.add_host(host, server);
    let nat = nat.map(|n| sim.add_nat(n));
    let prober = NatProber::new(SocketAddr::new(main, 20002), &Entropy::seeded(1), sim.now());
    let host = match nat {
        Some(nat) => HostConfig::new("prober", Ipv4Addr::new(10, 0, 0, 5)).behind(nat),
        None => HostConfig::new("prober", Ipv4Addr::new(198, 51, 100, 5)),
    };
    let prober = sim.add_host(host, prober);
    sim.run_for(Duration::from_secs(20));
    sim.events(prober).pop().expect("a report")
}

#[test]
fn every_kind_of_nat_is_told_by_its_name() {
    let public = Ipv4Addr::new(198, 51, 100, 1);
    let name = |nat: NatConfig| probe(Some(nat), true, false).name();
    assert_eq!(name(NatConfig::full_cone(public)), "full cone NAT");
    assert_eq!(name(NatConfig::address_restricted(public)), "address-restricted NAT");
    assert_eq!(name(NatConfig::port_restricted(public)), "port-restricted NAT");
    assert_eq!(name(NatConfig::symmetric(public)), "symmetric NAT");
    assert_eq!(probe(None, true, false).name(), "no NAT");
    assert_eq!(probe(None, true, true).name(), "UDP is blocked");
}

#[test]
fn a_server_with_one_address_leaves_the_kind_unknown() {
    let report = probe(Some(NatConfig::port_restricted(Ipv4Addr::new(198, 51, 100, 1))), false, false);
    assert_eq!(report.name(), "NAT of unknown kind");
    assert_eq!(report.public.map(|a| a.ip()), Some(Ipv4Addr::new(198, 51, 100, 1).into()));
    assert!(report.rtt.is_some());
}
