//! Each kind of NAT is what its name says, or the tests that use it would prove nothing.

use std::net::UdpSocket;
use std::time::Duration;

use xp2p_tests::netns::internet::{Internet, SERVER, Site};
use xp2p_tests::netns::nat::Nat;
use xp2p_tests::netns::reflector::{Behaviour, loss, probe};
use xp2p_tests::netns::{alone, available};

/// Round trip of a network in one machine, at most. Nothing else runs, but the machine may be busy.
const LOCAL_RTT: Duration = Duration::from_millis(100);

#[test]
fn every_nat_behaves_as_its_kind() {
    let _alone = alone();
    if !available() {
        return;
    }
    let internet = Internet::new();
    println!("{:>18}  ports seen at A1:P1 A1:P2 A2:P1 A2:P2  other port in  other address in", "NAT");
    for nat in Nat::ALL {
        let site = internet.site("probed", nat);
        let found = probe(&internet, &site).expect("sockets");
        let ports: Vec<String> =
            found.seen.iter().map(|s| s.map_or("-".to_owned(), |a| a.port().to_string())).collect();
        println!(
            "{nat:>18}  {:<38} {:>13}  {:>16}  {:.1?}",
            ports.join(" "),
            found.takes_other_port,
            found.takes_other_address,
            found.rtt
        );
        check(nat, &found, &site, &internet);
    }
}

fn check(nat: Nat, found: &Behaviour, site: &Site, internet: &Internet) {
    let filter = (found.takes_other_port, found.takes_other_address);
    let seen = found.seen.iter().flatten().count();
    for addr in found.seen.iter().flatten() {
        assert_eq!(addr.ip(), site.public, "{nat}");
    }
    match nat {
        Nat::Open | Nat::FullCone => {
            assert_eq!((seen, found.mappings(), filter), (4, 1, (true, true)), "{nat}")
        }
        Nat::AddressRestricted => {
            assert_eq!((seen, found.mappings(), filter), (4, 1, (true, false)), "{nat}")
        }
        Nat::PortRestricted | Nat::Double | Nat::Ipv6Only | Nat::Mtu1280 | Nat::Lossy => {
            assert_eq!((seen, found.mappings(), filter), (4, 1, (false, false)), "{nat}");
        }
        Nat::SymmetricRandom | Nat::SymmetricSequential | Nat::SymmetricSmallPool => {
            // Of 64 ports two may be the same by chance.
            assert!(seen == 4 && found.mappings() >= 2 && filter == (false, false), "{nat}: {found:?}");
        }
        Nat::ServerOnly => {
            let [a, b, c, d] = found.seen;
            assert!(a.is_some() && b.is_some() && c.is_none() && d.is_none(), "{nat}: {found:?}");
            assert_eq!(filter, (false, false), "{nat}");
        }
        Nat::UdpBlocked => assert_eq!(seen, 0, "{nat}"),
    }
    let ports: Vec<u16> = found.seen.iter().flatten().map(|a| a.port()).collect();
    match nat {
        Nat::SymmetricSequential => {
            assert!(ports.windows(2).all(|p| p[1] == p[0] + 1), "one after the other: {ports:?}");
        }
        Nat::SymmetricSmallPool => assert!(ports.iter().all(|p| (40_000..40_064).contains(p)), "{ports:?}"),
        Nat::Lossy => {
            let rtt = found.rtt.expect("a round trip");
            assert!(
                rtt >= Duration::from_millis(200) && rtt < Duration::from_millis(200) + LOCAL_RTT,
                "{rtt:?}"
            );
            let lost = loss(internet, site, 2000).expect("sockets");
            println!("{nat:>18}  {:.1} % lost one way", lost * 100.0);
            assert!((0.015..0.05).contains(&lost), "{lost}");
        }
        Nat::Mtu1280 => {
            assert!(passes(internet, site, 1280 - 28), "packets of 1280 bytes pass");
            assert!(!passes(internet, site, 1281 - 28), "larger ones do not, in one piece");
        }
        _ => {}
    }
    if let Some(rtt) = found.rtt.filter(|_| nat != Nat::Lossy) {
        assert!(rtt < LOCAL_RTT, "{nat}: {rtt:?}");
    }
}

/// Whether a datagram with so many bytes of payload, which may not be fragmented, reaches a server.
fn passes(internet: &Internet, site: &Site, len: usize) -> bool {
    let server = internet.server().run(|| UdpSocket::bind((SERVER, 0)).expect("a socket"));
    server.set_read_timeout(Some(Duration::from_millis(500))).expect("a timeout");
    let client = site.client.run(|| UdpSocket::bind("0.0.0.0:0").expect("a socket"));
    // Sets "do not fragment" and does nothing else that matters here.
    noq_udp::UdpSocketState::new((&client).into()).expect("options");
    let remote = server.local_addr().expect("an address");
    // The first one may be too large for what is known of the way, and the answer of the router comes later.
    for _ in 0..3 {
        let _ = client.send_to(&vec![0; len], remote);
        if server.recv_from(&mut [0; 2000]).is_ok_and(|(n, _)| n == len) {
            return true;
        }
    }
    false
}
