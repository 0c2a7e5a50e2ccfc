//! The core without a runtime: one thread, one socket, and the loop that every driver is at heart. It watches a camera and
//! tells when the first keyframe came and how many tags.
//!
//! ```sh
//! cargo run -p xp2p-proto --example plain_loop -- "$(cat door.info)" 10
//! ```
//!
//! `door.info` holds an xp2pInfo, as `xp2p camera` and the example `camera` of `xp2p-smol` print it.
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "clock, arguments and sockets are kept out of the core, and this is what is around it"
)]

use std::error::Error;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, ToSocketAddrs as _, UdpSocket};
use std::time::{Duration, Instant};

use xp2p_proto::info::Xp2pInfo;
use xp2p_proto::keys::SecretKey;
use xp2p_proto::link::Entropy;
use xp2p_proto::live::LiveItem;
use xp2p_proto::machine::{Datagram, Machine as _};
use xp2p_proto::request::Live;
use xp2p_proto::viewer::{ServiceConfig, Viewer, ViewerConfig, ViewerEvent};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [info, seconds] = args.as_slice() else { return Err("usage: plain_loop XP2PINFO SECONDS".into()) };
    let info = Xp2pInfo::parse(info)?;
    let start = Instant::now();
    let end = start + Duration::from_secs(seconds.parse()?);

    // What the core does not do by itself: look up names, open sockets, find randomness, know its own address.
    let mut servers = Vec::new();
    for addr in info.servers().iter().flat_map(|s| &s.addrs) {
        servers.extend(addr.to_string().to_socket_addrs()?);
    }
    let first = *servers.first().ok_or("the camera's servers have no address")?;
    // One socket has one family here; a driver that has both reaches more cameras directly.
    servers.retain(|s| s.is_ipv4() == first.is_ipv4());
    let socket = UdpSocket::bind(if first.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
    let port = socket.local_addr()?.port();
    let local = SocketAddr::new(own_address(first)?.ip(), port);

    let mut config = ViewerConfig::new(SecretKey::from_bytes(random()?), Entropy::from_os(random()?));
    // The standard library cannot set "don't fragment", without which probing for larger packets means nothing.
    config.path_mtu_discovery = false;
    let mut viewer = Viewer::new(config)?;
    viewer.set_local_addresses(start, &[local]);
    let service = viewer.start_service(start, ServiceConfig { info, servers, tcp: Vec::new() })?;
    viewer.start_live(start, service, Live::default())?;

    let (mut first_keyframe, mut tags) = (None, 0u64);
    let mut packet = vec![0; 65_536];
    loop {
        // Drain: packets and events, until there is neither.
        let now = Instant::now();
        loop {
            send(&mut viewer, &socket, now);
            let Some(event) = viewer.poll_event() else { break };
            match event {
                ViewerEvent::Media { item: LiveItem::Tag(tag), .. } => {
                    tags += 1;
                    if tag.is_keyframe() && first_keyframe.is_none() {
                        println!("first keyframe after {} ms", (now - start).as_millis());
                        first_keyframe = Some(now);
                    }
                }
                ViewerEvent::Media { .. } => {}
                ViewerEvent::Disconnect { reason, .. } | ViewerEvent::Close { reason, .. } => {
                    return Err(reason.into());
                }
                other => eprintln!("{other:?}"),
            }
        }
        if now >= end {
            break;
        }
        // Wait: for a packet, or for the time that the machine wants to be woken at.
        let wake = viewer.poll_timeout().map_or(end, |at| at.min(end));
        // The system does not know a timeout of zero.
        let wait = wake.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        socket.set_read_timeout(Some(wait))?;
        let received = socket.recv_from(&mut packet);
        let now = Instant::now();
        match received {
            Ok((size, remote)) => {
                let payload = packet[..size].into();
                viewer.handle_datagram(now, Datagram { local, remote, ecn: None, payload });
            }
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            // The last kind is how Windows tells that an earlier packet did not arrive.
            Err(e) if matches!(e.kind(), ErrorKind::Interrupted | ErrorKind::ConnectionReset) => {}
            Err(e) => return Err(e.into()),
        }
        if viewer.poll_timeout().is_some_and(|at| at <= now) {
            viewer.handle_timeout(now);
        }
    }

    // Goodbye, so that the camera does not wait for us.
    let now = Instant::now();
    viewer.shutdown(now);
    send(&mut viewer, &socket, now);
    println!("{tags} tags");
    if first_keyframe.is_some() { Ok(()) } else { Err("no picture came".into()) }
}

/// Sends everything that the machine has to send.
fn send(viewer: &mut Viewer, socket: &UdpSocket, now: Instant) {
    let mut buf = Vec::new();
    while let Some(transmit) = viewer.poll_transmit(now, &mut buf) {
        for datagram in buf.chunks(transmit.segment_size.unwrap_or(buf.len()).max(1)) {
            // A packet that cannot be sent is a packet that is lost: some of the camera's addresses lead nowhere from
            // here, those of the other family among them.
            let _ = socket.send_to(datagram, transmit.remote);
        }
        buf.clear();
    }
}

/// The address of this host on the way to `remote`. Nothing is sent.
fn own_address(remote: SocketAddr) -> io::Result<SocketAddr> {
    let socket = UdpSocket::bind(if remote.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
    socket.connect(remote)?;
    socket.local_addr()
}

/// Fresh randomness of the operating system.
fn random() -> io::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes)
}
