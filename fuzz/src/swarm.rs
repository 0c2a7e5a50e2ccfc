//! A swarm of five in the simulator, one of which says whatever the input says: to the tracker, to the others, in messages and in
//! pieces.
//!
//! Whatever that is: nobody shows a tag that the origin never sent, or one twice or in another order; everybody has a picture
//! again soon after it is quiet; nobody panics or is busy; and all leave when asked.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use arbitrary::{Arbitrary, Unstructured};
use xp2p_proto::flv::TagKind;
use xp2p_proto::link::Entropy;
use xp2p_proto::peer::Peer;
use xp2p_proto::server::Server;
use xp2p_proto::swarm::{HaveMap, LaneStatus, Message, PieceHead, Status};
use xp2p_tests::media::MediaConfig;
use xp2p_tests::packets::{Home, Swarm, peer_secret};
use xp2p_tests::poisoner::Poisoner;
use xp2p_tests::sim::{HostConfig, HostId, LinkConfig};
use xp2p_tests::world::{ACCESS, SERVER, SERVER_KEY, assert_contract, secret};

use crate::ops::{Blob, rest};

/// Members that keep the rules.
const HONEST: usize = 4;
/// Most operations.
const MAX_OPS: usize = 32;
/// Longest time between two operations, in ms.
const MAX_PAUSE: u16 = 2_000;
/// After the last operation all have a picture again within this time.
const RECOVERS_WITHIN: Duration = Duration::from_secs(15);

#[derive(Arbitrary, Debug)]
enum Op<'a> {
    Pass(u16),
    Say {
        to: u8,
        framed: bool,
        bytes: Blob<'a>,
    },
    Send {
        to: u8,
        close: bool,
        bytes: Blob<'a>,
    },
    Tell {
        framed: bool,
        bytes: Blob<'a>,
    },
    /// A status that makes it attractive.
    Status {
        to: u8,
        end: u8,
        map: u64,
        lag: u8,
        depth: u8,
        spare: u8,
        origin: bool,
    },
    /// A piece with any content.
    Piece {
        to: u8,
        no: u8,
        pushed: bool,
        content: Blob<'a>,
    },
    Subscribe {
        to: u8,
        lane: u8,
        from: u8,
    },
    Request {
        to: u8,
        piece: u8,
    },
    /// It goes on as a poisoner of its own accord.
    Poison(bool),
    /// Another member comes and goes: less than a second, or for good.
    Kill(u8),
}

/// One input.
pub fn run(data: &[u8]) {
    let mut u = Unstructured::new(data);
    let Ok(seed) = u.arbitrary::<u8>() else { return };
    let media = MediaConfig { bitrate: 150_000, keyframe: 6_000, fps: 10, gop: 20, audio: true };
    let mut swarm = Swarm::with_media(u64::from(seed % 4), media);
    swarm.sim.set_untraced();
    for home in [Home::Public, Home::Cone, Home::PortRestricted, Home::Restricted] {
        swarm.join(home);
        swarm.run(Duration::from_millis(200));
    }
    let wild = wild(&mut swarm);
    swarm.run(Duration::from_secs(3));
    for op in rest(&mut u, MAX_OPS) {
        act(&mut swarm, wild, &op);
        swarm.run(Duration::from_millis(10));
    }
    swarm.sim.with(wild, |w, _| w.told_only = true);
    let end = swarm.sim.elapsed() + RECOVERS_WITHIN;
    // What the last operation does needs some time to show.
    swarm.run(Duration::from_secs(2));
    while swarm.sim.elapsed() < end && !all_show(&swarm) {
        swarm.run(Duration::from_secs(1));
    }
    check(&swarm);
    close(&mut swarm, wild);
}

/// The member that says anything.
fn wild(swarm: &mut Swarm) -> HostId<Poisoner> {
    let server: SocketAddr = SERVER.parse().expect("an address");
    let key = peer_secret(99, 0);
    let (stream, now) = (swarm.stream, swarm.sim.now());
    let mut wild =
        Poisoner::new(key, Entropy::seeded(99), (server, secret(SERVER_KEY).public()), stream, now);
    wild.told_only = true;
    let host =
        HostConfig::new("wild", IpAddr::V4(Ipv4Addr::new(82, 1, 0, 7))).link(LinkConfig::latency(ACCESS));
    swarm.sim.add_host(host, wild)
}

fn act(swarm: &mut Swarm, wild: HostId<Poisoner>, op: &Op<'_>) {
    let newest = u64::from(swarm.newest());
    let say = |swarm: &mut Swarm, to: u8, message: &Message| {
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        tell(swarm, wild, to, |w, conn| w.say_bytes(conn, &bytes, true));
    };
    // Numbers near those of the pieces that there are.
    let near = |n: u8| (newest + u64::from(n)).saturating_sub(100);
    match *op {
        Op::Pass(ms) => swarm.run(Duration::from_millis(u64::from(ms % MAX_PAUSE))),
        Op::Say { to, framed, bytes } => tell(swarm, wild, to, |w, conn| w.say_bytes(conn, &bytes, framed)),
        Op::Send { to, close, bytes } => tell(swarm, wild, to, |w, conn| w.send_bytes(conn, &bytes, close)),
        Op::Tell { framed, bytes } => swarm.sim.with(wild, |w, _| w.tell_tracker(&bytes, framed)),
        Op::Status { to, end, map, lag, depth, spare, origin } => {
            let lane = LaneStatus { lag: lag.into(), depth: depth % 8, spare, min_value: 0 };
            let have = HaveMap::from_parts(near(end), u128::from(map) | u128::from(map) << 64);
            let status = Status { have, batch: 0, backlog: 0, origin_fed: origin, lanes: [lane; 8] };
            say(swarm, to, &Message::Status(Box::new(status)));
        }
        Op::Piece { to, no, pushed, content } => {
            let head = PieceHead { no: near(no), pushed, path: xp2p_proto::swarm::Path::EMPTY };
            let mut bytes = vec![2];
            head.encode(&mut bytes);
            bytes.extend_from_slice(&content);
            tell(swarm, wild, to, |w, conn| w.send_bytes(conn, &bytes, true));
        }
        Op::Subscribe { to, lane, from } => {
            say(swarm, to, &Message::Subscribe { lane: lane % 8, from: near(from), value: lane });
        }
        Op::Request { to, piece } => {
            say(swarm, to, &Message::Request { piece: near(piece), slack: 500 });
        }
        Op::Poison(on) => swarm.sim.with(wild, |w, _| w.told_only = !on),
        Op::Kill(n) => {
            // Two stay, so that there is somebody to harm.
            let n = usize::from(n) % HONEST;
            if n >= 2 && swarm.watchers[n].alive {
                swarm.kill(n);
            }
        }
    }
}

fn tell(
    swarm: &mut Swarm,
    wild: HostId<Poisoner>,
    to: u8,
    what: impl FnOnce(&mut Poisoner, xp2p_proto::link::ConnId),
) {
    swarm.sim.with(wild, |w, _| {
        let victims = w.victims();
        if let Some(conn) = victims.get(usize::from(to) % victims.len().max(1)) {
            what(w, *conn);
        }
    });
}

/// Whether everybody has had a picture just now.
fn all_show(swarm: &Swarm) -> bool {
    let just_now = |at: &Duration| swarm.sim.elapsed() - *at < Duration::from_secs(1);
    swarm.watchers.iter().filter(|w| w.alive).all(|w| w.shown.last().is_some_and(|(at, _)| just_now(at)))
}

fn check(swarm: &Swarm) {
    for n in 0..HONEST {
        assert_eq!(swarm.false_tags(n), 0, "member {n} showed what the origin never sent");
        for kind in [TagKind::Video, TagKind::Audio] {
            let numbers = swarm.watchers[n].numbers(kind);
            let back = numbers.windows(2).find(|w| w[1] <= w[0]);
            assert_eq!(back, None, "member {n} showed {kind:?} twice or out of order");
        }
        if swarm.watchers[n].alive {
            let last = swarm.watchers[n].shown.last().map(|(at, _)| *at);
            assert!(all_show(swarm), "member {n} shows nothing since {last:?} of {:?}", swarm.sim.elapsed());
            assert_contract(&swarm.sim, swarm.watchers[n].host);
        }
    }
    assert_contract(&swarm.sim, swarm.server);
}

fn close(swarm: &mut Swarm, wild: HostId<Poisoner>) {
    let hosts: Vec<HostId<Peer>> = swarm.watchers.iter().filter(|w| w.alive).map(|w| w.host).collect();
    swarm.sim.remove(wild);
    for host in &hosts {
        swarm.sim.with(*host, |p, now| p.leave(now));
    }
    let server: HostId<Server> = swarm.server;
    swarm.sim.with(server, |s, now| s.shutdown(now));
    let closed = swarm.sim.run_until(Duration::from_secs(30), |sim| {
        hosts.iter().all(|h| sim.machine(*h).is_closed()) && sim.machine(server).is_closed()
    });
    assert!(closed, "somebody does not leave");
}
