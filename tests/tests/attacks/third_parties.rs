//! Addresses that a peer names as its own, and where nobody asked for anything.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use xp2p_proto::camera::VIEWER_ALPN;
use xp2p_proto::link::ConnId;
use xp2p_proto::machine::Machine as _;
use xp2p_proto::register::SERVER_ALPN;
use xp2p_tests::sim::{HostConfig, HostId, LinkConfig};
use xp2p_tests::world::{ACCESS, World, secret};

use crate::honest::Honest;
use crate::stranger::Stranger;

/// Somebody's network: seven hosts in it are what one peer may name beside itself.
fn victims() -> Vec<SocketAddr> {
    (1..=7_u8).map(|n| SocketAddr::from(([203, 0, 113, 100 + n], 53))).collect()
}

/// Bytes towards the victims in a minute, all and of the one that got most, while `name` makes one side name them.
fn probed(seed: u64, name: impl Fn(&mut World, Vec<SocketAddr>)) -> (Honest, u64, u64) {
    let mut honest = Honest::relayed(seed);
    let ips: Vec<IpAddr> = victims().iter().map(SocketAddr::ip).collect();
    let counts = honest.count_to_each(&ips);
    name(&mut honest.world, victims());
    honest.world.run(Duration::from_secs(60));
    let all = counts.iter().map(|c| c.get()).sum();
    let most = counts.iter().map(|c| c.get()).max().unwrap_or_default();
    println!("{all} bytes in a minute to {} hosts, {most} to one of them", ips.len());
    (honest, all, most)
}

/// Some rounds of at most 9 probes of 1,200 bytes: nothing that anybody would call a flood, and nothing multiplies it.
const FEW: u64 = 100_000;

/// A viewer that has its rights names hosts of others as its own addresses, so that the camera probes them.
#[test]
fn a_viewer_cannot_make_a_camera_flood_others() {
    let (honest, all, most) = probed(2500, |world, mut addrs| {
        addrs.push(world.sim.addr(world.viewer));
        world.sim.with(world.viewer, |v, now| v.set_local_addresses(now, &addrs));
    });
    assert!(all > 0, "nothing was probed: the attack was none");
    assert!(most < FEW, "{most} bytes to one host in a minute");
    honest.assert_unharmed();
}

/// The same of a camera, with its viewers.
#[test]
fn a_camera_cannot_make_its_viewers_flood_others() {
    let (honest, all, most) = probed(2501, |world, mut addrs| {
        addrs.push(world.sim.addr(world.camera));
        world.sim.with(world.camera, |c, now| c.set_local_addresses(now, &addrs));
    });
    assert!(all > 0, "nothing was probed: the attack was none");
    assert!(most < FEW, "{most} bytes to one host in a minute");
    honest.assert_unharmed();
}

/// Somebody who has shown nothing names hosts of others, again and again, to a camera over its relay, to the same camera at its
/// address, and to the server: none of them is probed by any of these.
#[test]
fn a_stranger_makes_nobody_probe_anything() {
    let mut honest = Honest::watching(2502);
    let (stranger, conns) = strangers(&mut honest, 2502);
    let ips: Vec<IpAddr> = victims().iter().map(SocketAddr::ip).collect();
    let counts = honest.count_to_each(&ips);
    honest.world.sim.with(stranger, |s, now| {
        s.set_local_addresses(now, &victims());
        s.punching = conns;
    });
    honest.world.run(Duration::from_secs(10));
    let from_stranger = honest.world.sim.traffic(stranger).sent.bytes;
    let all: u64 = counts.iter().map(|c| c.get()).sum();
    println!("{from_stranger} bytes of the stranger, {all} bytes to those that it has named");
    assert!(from_stranger > 50_000, "it has tried");
    assert_eq!(all, 0);
    honest.assert_unharmed();
}

/// The same of somebody who may watch: what it can bring about is bounded, however often it asks.
#[test]
fn a_viewer_that_names_others_all_the_time_brings_about_little() {
    let mut honest = Honest::watching(2503);
    let (stranger, conns) = strangers(&mut honest, 2503);
    let capability = honest.info.capability().expect("a capability").to_base64();
    let head = format!(
        "GET /ipc.flv?action=live&channel=0&quality=high HTTP/1.1\r\nhost: ipc.p2p.com\r\nx-xp2p-capability: {capability}\r\n\r\n"
    );
    honest.world.sim.with(stranger, |s, _| s.say(conns[0], head, true)).expect("a stream");
    honest.world.run(Duration::from_secs(1));
    let ips: Vec<IpAddr> = victims().iter().map(SocketAddr::ip).collect();
    let counts = honest.count_to_each(&ips);
    honest.world.sim.with(stranger, |s, now| {
        s.set_local_addresses(now, &victims());
        s.punching = vec![conns[0]];
    });
    honest.world.run(Duration::from_secs(60));
    let all: u64 = counts.iter().map(|c| c.get()).sum();
    println!("{all} bytes in a minute to those that it has named");
    assert!(all > 0, "nothing was probed: the attack was none");
    // 150 packets, and 5 more every second.
    assert!(all < 450 * 1_300, "{all} bytes");
    honest.assert_unharmed();
}

/// One that is connected to the camera over the relay and at its address, and to the server.
fn strangers(honest: &mut Honest, seed: u64) -> (HostId<Stranger>, Vec<ConnId>) {
    let now = honest.world.sim.now();
    let host = HostConfig::new("stranger", Ipv4Addr::new(192, 0, 2, 66)).link(LinkConfig::latency(ACCESS));
    let host = honest.world.sim.add_host(host, Stranger::new(secret(66), seed, now));
    let sim = &mut honest.world.sim;
    let (camera, server) = (sim.addr(honest.world.camera), sim.addr(honest.world.server));
    let server_key = sim.machine(honest.world.server).key();
    let (key, ticket) = (*honest.info.camera(), *honest.info.ticket());
    let conns = sim.with(host, |s, now| {
        vec![
            s.connect(now, key, ticket, server),
            s.connect_at(now, key, camera, VIEWER_ALPN),
            s.connect_at(now, server_key, server, SERVER_ALPN),
        ]
    });
    honest.world.run(Duration::from_millis(500));
    assert_eq!(honest.world.sim.machine(host).connected.len(), 3);
    (host, conns)
}
