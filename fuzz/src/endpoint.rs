//! One machine alone, with arbitrary datagrams at arbitrary times: the viewer, the camera, the server, a member of a swarm.
//!
//! Datagrams are made up, or are its own with changes, thrown back at it from anywhere. It must stay quiet, answer strangers
//! with no more than they sent (the server), and end when asked.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use arbitrary::{Arbitrary, Unstructured};
use xp2p_proto::camera::Camera;
use xp2p_proto::info::Rights;
use xp2p_proto::keys::{Ticket, TicketNonce};
use xp2p_proto::machine::Machine;
use xp2p_proto::peer::{Peer, PeerConfig, PeerServer};
use xp2p_proto::request::{Live, Quality};
use xp2p_proto::server::Server;
use xp2p_proto::swarm::StreamId;
use xp2p_proto::viewer::{ServiceConfig, Viewer};
use xp2p_proto::wire::{Cookie, FlowId, Frame, RefuseReason};
use xp2p_tests::world::{
    CAMERA_KEY, SERVER, SERVER_KEY, camera_config, secret, server_config, viewer_config,
};

use crate::ops::{Blob, rest};
use crate::turns::Alone;

/// Most operations; more of them show nothing new, only later.
const MAX_OPS: usize = 64;
/// Within this time a machine that was asked to end has ended.
const ENDS_WITHIN: Duration = Duration::from_secs(60);

#[derive(Arbitrary, Debug, Clone, Copy)]
enum Who {
    Viewer,
    Camera,
    Server,
    Peer,
}

#[derive(Arbitrary, Debug)]
enum Payload<'a> {
    Raw(Blob<'a>),
    Open {
        right: bool,
        carried: Blob<'a>,
    },
    Forward {
        flow: u64,
        carried: Blob<'a>,
    },
    Opened {
        flow: u64,
        port: u16,
    },
    Refused(u8),
    Cookie {
        flow: u64,
        echo: bool,
        cookie: Cookie,
    },
    UnknownFlow(u64),
    /// One that it sent itself, with a byte changed or the end cut off.
    Own {
        which: u8,
        wrapped: Option<u64>,
        at: u16,
        xor: u8,
        cut: u8,
    },
    /// The first packet of a connection, of a version that may not exist.
    Initial {
        version: u8,
        cid: [u8; 8],
        rest: Blob<'a>,
        full: bool,
    },
}

#[derive(Arbitrary, Debug)]
enum Op<'a> {
    Datagram {
        from: u8,
        payload: Payload<'a>,
    },
    /// Milliseconds.
    Pass(u16),
    /// A clock that jumps, in seconds.
    Clock(u32),
    Addresses(u8),
    /// What the application may do.
    Act(u8),
}

fn addr(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

/// The server, strangers, and who cannot be.
fn remote(n: u8) -> SocketAddr {
    const ODD: [&str; 8] = [
        "203.0.113.66:666",
        "203.0.113.66:0",
        "198.51.100.7:4433",
        "[2001:db8::1]:4433",
        "[100::1]:1",
        "0.0.0.0:1",
        "255.255.255.255:1",
        "[::ffff:203.0.113.1]:20002",
    ];
    if n >= 128 { addr(SERVER) } else { addr(ODD[usize::from(n) % ODD.len()]) }
}

fn ticket() -> Ticket {
    let key = secret(CAMERA_KEY);
    Ticket::new(&key.public(), &TicketNonce::of_epoch(&key, 0))
}

fn bytes(payload: &Payload<'_>, sent: &[(SocketAddr, Vec<u8>)]) -> Vec<u8> {
    let mut out = Vec::new();
    let ticket = ticket();
    match *payload {
        Payload::Raw(bytes) => out.extend_from_slice(&bytes),
        Payload::Open { right, carried } => {
            let ticket = if right { ticket } else { Ticket::from_bytes([9; Ticket::LEN]) };
            Frame::Open { ticket, payload: &carried }.encode(&mut out);
        }
        Payload::Forward { flow, carried } => {
            Frame::Forward { flow: FlowId(flow), payload: &carried }.encode(&mut out)
        }
        Payload::Opened { flow, port } => {
            let observed = SocketAddr::from(([198, 51, 100, 9], port));
            Frame::Opened { ticket, flow: FlowId(flow), observed }.encode(&mut out);
        }
        Payload::Refused(reason) => {
            Frame::Refused { ticket, reason: RefuseReason::from_number(reason) }.encode(&mut out);
        }
        Payload::Cookie { flow, echo, cookie } => {
            let flow = FlowId(flow);
            let frame =
                if echo { Frame::CookieEcho { flow, cookie } } else { Frame::Cookie { flow, cookie } };
            frame.encode(&mut out);
        }
        Payload::UnknownFlow(flow) => Frame::UnknownFlow { flow: FlowId(flow) }.encode(&mut out),
        Payload::Own { which, wrapped, at, xor, cut } => {
            let Some((_, own)) = sent.iter().rev().nth(usize::from(which) % sent.len().max(1)) else {
                return out;
            };
            let mut own = own.clone();
            own.truncate(own.len().saturating_sub(usize::from(cut)));
            let len = own.len().max(1);
            if let Some(byte) = own.get_mut(usize::from(at) % len) {
                *byte ^= xor;
            }
            match wrapped {
                Some(flow) => Frame::Forward { flow: FlowId(flow), payload: &own }.encode(&mut out),
                None => out = own,
            }
        }
        Payload::Initial { version, cid, rest, full } => {
            let version = if version < 128 { 1 } else { u32::from(version) };
            out.push(0xc0);
            out.extend_from_slice(&version.to_be_bytes());
            out.push(8);
            out.extend_from_slice(&cid);
            out.extend_from_slice(&[0, 0, 0x44, 0x90]);
            out.extend_from_slice(&rest);
            if full {
                out.resize(1200, 0);
            }
        }
    }
    out
}

/// One input.
pub fn run(data: &[u8]) {
    let mut u = Unstructured::new(data);
    let Ok(who) = u.arbitrary() else { return };
    let ops: Vec<Op<'_>> = rest(&mut u, MAX_OPS);
    // Nothing looks at this instant but to tell how far another one is away.
    let now = Instant::now();
    match who {
        Who::Viewer => viewer(now, &ops),
        Who::Camera => camera(now, &ops),
        Who::Server => server(now, &ops),
        Who::Peer => peer(now, &ops),
    }
}

fn drive<M: Machine>(
    alone: &mut Alone<M>,
    local: SocketAddr,
    ops: &[Op<'_>],
    mut act: impl FnMut(&mut M, Instant, u8),
) -> u64 {
    let mut received = 0;
    alone.settle();
    for op in ops {
        match op {
            Op::Datagram { from, payload } => {
                let payload = bytes(payload, &alone.sent);
                if !payload.is_empty() {
                    received += payload.len() as u64;
                    alone.receive(local, remote(*from), &payload);
                }
            }
            Op::Pass(ms) => alone.pass(Duration::from_millis(u64::from(*ms))),
            Op::Clock(unix) => alone.machine.set_wall_clock(alone.now, Duration::from_secs(u64::from(*unix))),
            Op::Addresses(n) => {
                let own = SocketAddr::from(([198, 51, 100, *n], 4433));
                let addrs = [own, addr("[2001:db8::7]:4433")];
                alone.machine.set_local_addresses(alone.now, &addrs[..usize::from(*n) % 3]);
            }
            Op::Act(what) => act(&mut alone.machine, alone.now, *what),
        }
        alone.settle();
    }
    received
}

/// What ends, ends in time.
fn ends<M: Machine>(alone: &mut Alone<M>, closed: impl Fn(&M) -> bool) {
    alone.settle();
    let end = alone.now + ENDS_WITHIN;
    while !closed(&alone.machine) && alone.now < end {
        alone.pass(Duration::from_secs(1));
    }
    assert!(closed(&alone.machine), "not closed within {ENDS_WITHIN:?}");
}

fn viewer(now: Instant, ops: &[Op<'_>]) {
    // The xp2pInfo of a camera that knows its server's key.
    let camera = Camera::new(camera_config(1), now).expect("a camera");
    let info = camera.xp2p_info(Rights::ALL, None).expect("the server's key is known");
    let mut viewer = Viewer::new(viewer_config(1)).expect("a viewer");
    let config = ServiceConfig::of_addresses(info);
    let service = viewer.start_service(now, config.clone()).expect("a service");
    let live = Live { channel: 0, quality: Quality::High, ..Live::default() };
    viewer.start_live(now, service, live.clone()).expect("a stream");
    let mut services = vec![service];
    let mut alone = Alone::new(viewer, now);
    drive(&mut alone, addr("198.51.100.99:4433"), ops, |viewer, now, what| match what % 4 {
        0 => viewer.network_changed(now),
        1 => services.extend(viewer.start_service(now, config.clone())),
        2 => services.pop().into_iter().for_each(|id| viewer.stop_service(now, id)),
        _ => services.last().into_iter().for_each(|id| _ = viewer.start_live(now, *id, live.clone())),
    });
    let now = alone.now;
    alone.machine.shutdown(now);
    ends(&mut alone, Viewer::is_closed);
}

fn camera(now: Instant, ops: &[Op<'_>]) {
    let mut alone = Alone::new(Camera::new(camera_config(1), now).expect("a camera"), now);
    drive(&mut alone, addr("198.51.100.7:4433"), ops, |camera, now, what| match what % 3 {
        0 => camera.set_epoch(now, u32::from(what)),
        1 => camera.end_feed(now, 0, Quality::High),
        _ => camera.set_server_addresses(now, 0, &[remote(what)]),
    });
    let now = alone.now;
    alone.machine.shutdown(now);
    ends(&mut alone, Camera::is_closed);
}

fn server(now: Instant, ops: &[Op<'_>]) {
    let mut alone = Alone::new(Server::new(server_config(1), now).expect("a server"), now);
    let received = drive(&mut alone, addr(SERVER), ops, |server, now, what| match what % 3 {
        0 => server.drain(),
        _ => {
            _ = server.set_signer(
                now,
                StreamId::from_bytes([what; StreamId::LEN]),
                xp2p_proto::swarm::Trust::Source,
                &[],
            )
        }
    });
    // Nobody has proven an address: three times what came (RFC 9000 section 8.1), and the goodbye of each connection.
    let goodbyes = alone.machine.stats().connections as u64 * 1500;
    assert!(alone.sent_bytes <= 3 * received + goodbyes, "{} bytes for {received}", alone.sent_bytes);
    let now = alone.now;
    alone.machine.shutdown(now);
    ends(&mut alone, Server::is_closed);
}

fn peer(now: Instant, ops: &[Op<'_>]) {
    let server =
        PeerServer { key: Some(secret(SERVER_KEY).public()), addrs: vec![addr(SERVER)], app_key: None };
    let stream = StreamId::from_bytes([7; StreamId::LEN]);
    let config = PeerConfig::new(secret(50), xp2p_proto::link::Entropy::seeded(5), server, stream);
    let mut alone = Alone::new(Peer::new(config, now).expect("a peer"), now);
    drive(&mut alone, addr("198.51.100.50:4433"), ops, |peer, now, what| match what % 4 {
        0 => peer.set_sharing(now, what & 4 != 0),
        1 => peer.set_use_peers(now, what & 4 != 0),
        2 => peer.set_upload_limit(now, (what & 4 != 0).then_some(u64::from(what) * 1000)),
        _ => peer.set_server_addresses(now, &[remote(what)]),
    });
    let now = alone.now;
    alone.machine.leave(now);
    ends(&mut alone, Peer::is_closed);
}
