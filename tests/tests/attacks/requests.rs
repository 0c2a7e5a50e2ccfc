//! What a stranger asks of a camera, and how.

use std::time::Duration;

use bytes::Bytes;
use xp2p_proto::info::{Capability, Right, Rights};
use xp2p_proto::link::ConnId;
use xp2p_tests::sim::{HostConfig, HostId, LinkConfig};
use xp2p_tests::world::{ACCESS, CAMERA_KEY, SERVER, secret};

use crate::honest::Honest;
use crate::stranger::Stranger;

const SEC: Duration = Duration::from_secs(1);

/// A stranger that is connected to the camera of somebody who watches.
fn connected(seed: u64) -> (Honest, HostId<Stranger>, ConnId) {
    let mut honest = Honest::watching(seed);
    let now = honest.world.sim.now();
    let stranger = Stranger::new(secret(66), seed, now);
    let config = HostConfig::new("stranger", std::net::Ipv4Addr::new(192, 0, 2, 66));
    let host = honest.world.sim.add_host(config.link(LinkConfig::latency(ACCESS)), stranger);
    let (camera, ticket) = (*honest.info.camera(), *honest.info.ticket());
    let server = SERVER.parse().expect("an address");
    let conn = honest.world.sim.with(host, |s, now| s.connect(now, camera, ticket, server));
    honest.world.run(SEC);
    assert_eq!(honest.world.sim.machine(host).connected, [conn]);
    (honest, host, conn)
}

fn watching(capability: &str) -> String {
    format!(
        "GET /ipc.flv?action=live&channel=0&quality=high HTTP/1.1\r\nhost: ipc.p2p.com\r\n\
         x-xp2p-capability: {capability}\r\n\r\n"
    )
}

/// A capability that another camera has signed, one whose rights were widened by hand, one of which a bit is wrong, one that has
/// expired, one of an older epoch, none, and nonsense.
#[test]
fn no_capability_but_the_cameras_own_opens_anything() {
    let (mut honest, stranger, conn) = connected(2400);
    let now = honest.world.sim.unix_time().as_secs();
    let issue = |key: u8, rights: Rights, epoch: u32, expiry: u64| {
        Capability::issue(&secret(key), rights, epoch, std::num::NonZeroU64::new(expiry), [7; 8])
    };
    let narrow = issue(CAMERA_KEY, Rights::from(Right::Command), 0, 0);
    let text = |bytes: [u8; 86]| Capability::parse(&bytes).expect("the form is right").to_base64();
    let mut widened = narrow.to_bytes();
    widened[1] = 0x1f;
    let mut flipped = issue(CAMERA_KEY, Rights::ALL, 0, 0).to_bytes();
    flipped[50] ^= 1;
    let mut longer = issue(CAMERA_KEY, Rights::ALL, 0, now - 10).to_bytes();
    longer[6..14].copy_from_slice(&(now + 1_000_000).to_be_bytes());
    let tries = [
        ("of another camera", watching(&issue(9, Rights::ALL, 0, 0).to_base64()), 401),
        ("widened", watching(&text(widened)), 401),
        ("harmed", watching(&text(flipped)), 401),
        ("prolonged", watching(&text(longer)), 401),
        ("expired", watching(&issue(CAMERA_KEY, Rights::ALL, 0, now - 10).to_base64()), 401),
        ("of another epoch", watching(&issue(CAMERA_KEY, Rights::ALL, 3, 0).to_base64()), 401),
        ("for something else", watching(&narrow.to_base64()), 403),
        ("none", watching("").replace("x-xp2p-capability: \r\n", ""), 401),
        ("nonsense", watching("AAAA"), 400),
    ];
    let count = tries.len();
    for (what, head, expected) in tries {
        let stream = honest.world.sim.with(stranger, |s, _| s.say(conn, head, true)).expect("a stream");
        honest.world.run(SEC);
        let machine = honest.world.sim.machine(stranger);
        let answer = machine.answer(conn, stream).unwrap_or_else(|| panic!("{what}: no answer"));
        println!("{what}: {} {:?}", answer.status(), answer.headers.reason);
        assert_eq!(answer.status(), expected, "{what}");
        let heard = machine.heard.get(&(conn, stream)).map_or(0, Vec::len);
        assert!(heard < 1_000, "{what}: {heard} bytes came");
    }
    // Each was told to the application, and none got a picture, a path or an address.
    assert_eq!(honest.refusals().len(), count, "{:?}", honest.refusals());
    let sent = honest.world.sim.bytes_between(honest.world.camera, stranger).bytes;
    assert_eq!(sent, 0, "the camera has sent {sent} bytes directly: it has told where it is");
    honest.assert_unharmed();
}

/// Heads without an end on as many streams as there may be, byte by byte and all at once.
#[test]
fn giant_heads_are_cut_off_at_their_limit() {
    let (mut honest, stranger, conn) = connected(2401);
    let first = "GET /ipc.flv?action=live HTTP/1.1\r\nhost: ";
    let mut streams = 0;
    honest.world.sim.with(stranger, |s, _| {
        while s.never_end(conn, first, Bytes::from_static(&[b'a'; 150])).is_some() {
            streams += 1;
        }
    });
    assert!((32..=128).contains(&streams), "{streams} streams at a time");
    honest.world.run(10 * SEC);
    let machine = honest.world.sim.machine(stranger);
    let poured = machine.poured();
    println!("{streams} streams, {poured} bytes were taken, {} were stopped", machine.stopped.len());
    assert_eq!(machine.stopped.len(), streams, "each is refused");
    // 64 KiB of each, and what was on its way when the refusal came.
    assert!(poured < 8 << 20, "{poured} bytes were taken");
    let refusals = honest.refusals();
    assert_eq!(refusals.len(), streams);
    assert!(refusals.iter().all(|(status, _)| *status == 400), "{refusals:?}");
    honest.assert_unharmed();
}

/// Heads that stop in the middle keep no stream for ever.
#[test]
fn heads_that_never_end_are_given_up() {
    let (mut honest, stranger, conn) = connected(2402);
    honest.world.sim.with(stranger, |s, _| {
        for _ in 0..40 {
            s.say(conn, "GET /ipc.flv?action=live", false).expect("a stream");
        }
    });
    honest.world.run(14 * SEC);
    assert_eq!(honest.world.sim.machine(stranger).stopped.len(), 40);
    honest.world.run(10 * SEC);
    let lost = &honest.world.sim.machine(stranger).lost;
    assert!(lost.iter().any(|why| why.contains("nothing was asked for")), "{lost:?}");
    honest.assert_unharmed();
}

/// Somebody who may talk says a tag of 16 MB: it is refused by its head, before anything of it is kept.
#[test]
fn tag_bombs_are_refused_at_their_head() {
    let (mut honest, stranger, conn) = connected(2403);
    let right = Capability::issue(&secret(CAMERA_KEY), Rights::from(Right::Voice), 0, None, [7; 8]);
    let head = format!(
        "GET /voice?channel=0 HTTP/1.1\r\nhost: ipc.p2p.com\r\nx-xp2p-capability: {}\r\n\r\n",
        right.to_base64()
    );
    let bomb = [head.as_bytes(), &[8, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0]].concat();
    let body = Bytes::from_static(&[0x72; 16_384]);
    let stream = honest.world.sim.with(stranger, |s, _| s.never_end(conn, bomb, body)).expect("a stream");
    honest.world.run(5 * SEC);
    let machine = honest.world.sim.machine(stranger);
    assert!(machine.stopped.contains(&(conn, stream)), "{:?}", machine.stopped);
    // As much as QUIC lets pass before it is told to stop.
    assert!(machine.poured() < 4 << 20, "{} bytes were taken", machine.poured());
    assert_eq!(honest.world.app.talks, [false], "the talk was broken off");
    assert!(honest.world.app.heard.is_empty(), "nothing of it was heard");
    honest.assert_unharmed();
}
