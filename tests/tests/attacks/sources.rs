//! Datagrams that do not come from where they say.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use xp2p_proto::wire::Kind;

use crate::honest::{Honest, Seen};

/// Somebody who has nothing to do with all of this.
const THIRD: &str = "192.0.2.66";

fn third(port: u16) -> SocketAddr {
    SocketAddr::new(THIRD.parse().expect("an IP"), port)
}

/// First packets to the server, and to the camera itself, in the name of somebody who never asked for anything.
#[test]
fn a_third_party_gets_at_most_three_times_what_was_sent_in_its_name() {
    let mut honest = Honest::watching(2000);
    let server = honest.world.sim.addr(honest.world.server);
    let camera = honest.world.sim.addr(honest.world.camera);
    // As they were on the path: the viewer's way to the camera begins with them.
    let opens: Vec<Seen> = honest.seen(|s| s.dst == server && s.payload.first() == Some(&4));
    assert!(opens.iter().any(|s| s.payload.len() > 1_200), "a first packet over the relay was seen");
    let got = honest.count_to(third(0).ip());
    let (mut sent, mut port) = (0, 1_000);
    honest.run(Duration::from_secs(10), Duration::from_millis(20), |world| {
        for open in &opens {
            port = if port < 60_000 { port + 1 } else { 1_000 };
            let (to, payload) = match port % 2 {
                0 => (server, &open.payload[..]),
                // What is behind the header is what the camera gets without a relay.
                _ => (camera, &open.payload[17..]),
            };
            sent += payload.len() as u64;
            world.sim.inject(third(port), to, payload);
        }
    });
    // What is sent again is sent for at most some seconds.
    honest.world.run(Duration::from_secs(40));
    let got = got.get();
    println!("{sent} bytes in its name, {got} bytes to it");
    assert!(got > 0, "nothing was answered: the attack was none");
    assert!(got <= 3 * sent, "{got} bytes for {sent}");
    honest.assert_unharmed();
}

/// What is on the path is known; sent again in the name of either end, whole or harmed, it changes nothing.
#[test]
fn packets_in_the_name_of_either_end_do_not_disturb_a_session() {
    let mut honest = Honest::watching(2001);
    let viewer = honest.world.sim.addr(honest.world.viewer);
    let camera = honest.world.sim.addr(honest.world.camera);
    let between = |s: &Seen| [s.src, s.dst] == [viewer, camera] || [s.src, s.dst] == [camera, viewer];
    let packets: Vec<Seen> =
        honest.seen(|s| between(s) && s.payload.first().is_some_and(|b| Kind::of(*b) == Kind::Quic));
    assert!(packets.len() > 500, "the session goes directly: {} packets", packets.len());
    let before = honest.world.sim.traffic(honest.world.camera).sent.bytes;
    let mut n = 0;
    honest.run(Duration::from_secs(10), Duration::from_millis(10), |world| {
        for _ in 0..4 {
            n += 1;
            let packet = &packets[n * 7 % packets.len()];
            let mut payload = packet.payload.clone();
            match n % 4 {
                // As it was.
                0 => {}
                // One bit of another place in each.
                1 => {
                    let at = n % payload.len();
                    payload[at] ^= 1 << (n % 8);
                }
                // Something that looks like a stateless reset: the right connection id in front, and a wrong token.
                2 => payload.truncate(43),
                // A version negotiation, which nothing authenticates.
                _ => payload.splice(..5, [0xc0, 0, 0, 0, 0]).for_each(drop),
            }
            world.sim.inject(packet.src, packet.dst, &payload);
        }
    });
    let sent = honest.world.sim.traffic(honest.world.camera).sent.bytes - before;
    println!("{n} packets, and the camera has sent {sent} bytes meanwhile");
    honest.assert_unharmed();
    assert_eq!(honest.connected(), 1);
}

/// Addresses of `100::/64` stand for flows and tunnels inside a machine. Nobody outside gets at them by using one.
#[test]
fn nobody_takes_the_place_of_a_relayed_peer_by_its_inner_address() {
    let mut honest = Honest::relayed(2002);
    let server = honest.world.sim.addr(honest.world.server);
    let packets: Vec<Seen> = honest.seen(|s| s.dst == server && s.payload.first() == Some(&5));
    assert!(packets.len() > 100, "the session goes over the relay");
    let before = honest.world.sim.machine(honest.world.server).stats().unknown_datagrams;
    let mut n = 0;
    honest.run(Duration::from_secs(5), Duration::from_millis(10), |world| {
        n += 1;
        let inner = IpAddr::from([0x0100, 0, 0, 0, 0, 0, 0, 1 + n as u16 % 4]);
        let packet = &packets[n % packets.len()];
        // To the server, which all can reach; both with and without the header of the flow.
        for payload in [&packet.payload[..], &packet.payload[9..]] {
            world.sim.with(world.server, |server_machine, now| {
                use xp2p_proto::machine::{Datagram, Machine as _};
                let payload = payload.into();
                let datagram =
                    Datagram { local: server, remote: SocketAddr::new(inner, 1), ecn: None, payload };
                server_machine.handle_datagram(now, datagram);
            });
        }
    });
    let stats = honest.world.sim.machine(honest.world.server).stats();
    assert_eq!(stats.unknown_datagrams - before, 2 * n as u64, "each was dropped and counted");
    honest.assert_unharmed();
}
