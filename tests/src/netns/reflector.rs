//! What a NAT really does, seen from outside: two addresses with two ports each.
//!
//! This is the question of RFC 5780, asked without the product: the tests of the product stand on its answer.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use super::internet::{Internet, SERVER, SERVER_ALT, SERVER_ALT_V6, SERVER_V6, Site};
use super::nat::Nat;

/// How long to wait for what is on its way. Above the longest way.
const PATIENCE: Duration = Duration::from_millis(250);
/// It is sent that often: lines may lose it.
const TRIES: usize = 3;

/// What was found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Behaviour {
    /// As what the client is seen at address 1 with ports 1 and 2, then at address 2 with both; `None`: it is not seen.
    pub seen: [Option<SocketAddr>; 4],
    /// Whether something from another port of an address comes in that the client has sent something to.
    pub takes_other_port: bool,
    /// Whether something from another address comes in.
    pub takes_other_address: bool,
    /// Shortest round trip to the server.
    pub rtt: Option<Duration>,
}

impl Behaviour {
    /// How many different addresses of the client are seen.
    pub fn mappings(&self) -> usize {
        self.seen.iter().flatten().collect::<BTreeSet<_>>().len()
    }
}

/// The four sockets of the server.
fn reflectors(internet: &Internet, nat: Nat) -> [UdpSocket; 4] {
    let (first, second) = if nat == Nat::Ipv6Only {
        (IpAddr::V6(SERVER_V6), IpAddr::V6(SERVER_ALT_V6))
    } else {
        (SERVER.into(), SERVER_ALT.into())
    };
    internet.server().run(|| {
        [first, first, second, second].map(|ip| {
            let socket = UdpSocket::bind((ip, 0)).expect("a socket");
            socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
            socket
        })
    })
}

/// Sends something from one socket to an address that leads to the other one, until it is there. Returns where it came from.
fn arrives(from: &UdpSocket, remote: SocketAddr, to: &UdpSocket, number: u8) -> Option<SocketAddr> {
    for _ in 0..TRIES {
        // What cannot be sent does not arrive, either.
        let _ = from.send_to(&[number], remote);
        let end = Instant::now() + PATIENCE;
        let mut buffer = [0; 64];
        while Instant::now() < end {
            match to.recv_from(&mut buffer) {
                Ok((1, source)) if buffer[0] == number => return Some(source),
                Ok(_) => {}
                Err(_) => break,
            }
        }
    }
    None
}

/// Finds out how the NAT of `site` behaves.
pub fn probe(internet: &Internet, site: &Site) -> io::Result<Behaviour> {
    let servers = reflectors(internet, site.nat());
    let any = if site.nat() == Nat::Ipv6Only { "[::]:0" } else { "0.0.0.0:0" };
    let socket = || {
        site.client.run(|| {
            let socket = UdpSocket::bind(any)?;
            socket.set_read_timeout(Some(PATIENCE))?;
            io::Result::Ok(socket)
        })
    };
    let client = socket()?;
    let mut behaviour =
        Behaviour { seen: [None; 4], takes_other_port: false, takes_other_address: false, rtt: None };
    for (number, server) in servers.iter().enumerate() {
        behaviour.seen[number] = arrives(&client, server.local_addr()?, server, number as u8);
    }
    // Another socket, which has talked with the first port of the first address only.
    let fresh = socket()?;
    let first = servers[0].local_addr()?;
    if let Some(mapped) = arrives(&fresh, first, &servers[0], 9) {
        behaviour.takes_other_port = arrives(&servers[1], mapped, &fresh, 21).is_some();
        behaviour.takes_other_address = arrives(&servers[2], mapped, &fresh, 22).is_some();
        for _ in 0..TRIES {
            let start = Instant::now();
            let back = arrives(&servers[0], mapped, &fresh, 23)
                .and_then(|_| arrives(&fresh, first, &servers[0], 24));
            if back.is_some() {
                let rtt = start.elapsed();
                behaviour.rtt = Some(behaviour.rtt.map_or(rtt, |old| old.min(rtt)));
            }
        }
    }
    Ok(behaviour)
}

/// Which share of `count` datagrams from the client of `site` to the server is lost.
pub fn loss(internet: &Internet, site: &Site, count: u32) -> io::Result<f64> {
    let server = internet.server().run(|| UdpSocket::bind((SERVER, 0)))?;
    let client = site.client.run(|| UdpSocket::bind("0.0.0.0:0"))?;
    let remote = server.local_addr()?;
    let mut arrived = 0u32;
    // Few at a time: more might overflow a queue, which is another kind of loss.
    for _ in 0..count.div_ceil(100) {
        for _ in 0..100 {
            client.send_to(&[0], remote)?;
        }
        // What is on its way is there after this.
        std::thread::sleep(Duration::from_millis(150));
        server.set_nonblocking(true)?;
        while server.recv_from(&mut [0; 8]).is_ok() {
            arrived += 1;
        }
    }
    Ok(1.0 - f64::from(arrived) / f64::from(count.div_ceil(100) * 100))
}
