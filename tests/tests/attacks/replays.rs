//! What was on the path once is sent again.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use crate::honest::{Honest, Seen};

/// First packets, from the viewer's own address and from elsewhere: no second session comes of them, none of what they may ask for
/// is done twice, and what they have begun is gone after a while.
#[test]
fn first_packets_that_are_sent_again_begin_nothing() {
    let mut honest = Honest::watching(2100);
    let server = honest.world.sim.addr(honest.world.server);
    let opens: Vec<Seen> = honest.seen(|s| s.dst == server && s.payload.first() == Some(&4));
    assert!(!opens.is_empty());
    let elsewhere: SocketAddr = "192.0.2.66:666".parse().expect("an address");
    let mut n = 0_u16;
    honest.run(Duration::from_secs(10), Duration::from_millis(20), |world| {
        for open in &opens {
            n += 1;
            let from =
                if n.is_multiple_of(2) { open.src } else { SocketAddr::new(elsewhere.ip(), 1_000 + n) };
            world.sim.inject(from, open.dst, &open.payload);
        }
    });
    let stats = honest.world.sim.machine(honest.world.server).stats();
    let link = honest.world.sim.machine(honest.world.camera).link_stats();
    println!(
        "{n} packets; the server has {} flows, the camera asked {} to prove their address",
        stats.flows, link.retries
    );
    honest.assert_unharmed();
    assert_eq!(honest.connected(), 1, "nobody else has connected");
    assert_eq!(honest.world.sim.with(honest.world.camera, |c, _| c.viewers().len()), 1);
    honest.world.run(Duration::from_secs(70));
    let stats = honest.world.sim.machine(honest.world.server).stats();
    assert!(stats.flows <= 1, "{} flows are left", stats.flows);
    honest.assert_unharmed();
}

/// Everything of the first seconds once more, in order: requests among it are not done again.
#[test]
fn a_whole_recorded_session_does_nothing_when_it_is_played_back() {
    let mut honest = Honest::relayed(2101);
    let server = honest.world.sim.addr(honest.world.server);
    let recorded: Vec<Seen> = honest.seen(|s| s.dst == server && s.payload.first().is_some_and(|b| *b < 16));
    let senders: BTreeSet<SocketAddr> = recorded.iter().map(|s| s.src).collect();
    assert!(recorded.len() > 500 && senders.len() >= 2, "{} packets of {senders:?}", recorded.len());
    let started = |honest: &Honest| {
        use xp2p_proto::camera::CameraEvent;
        let live = |e: &&CameraEvent| matches!(e, CameraEvent::LiveStarted { .. });
        honest.world.app.events.iter().filter(live).count()
    };
    let before = started(&honest);
    assert_eq!(before, 1);
    let mut next = recorded.iter().cycle();
    honest.run(Duration::from_secs(8), Duration::from_millis(10), |world| {
        for packet in next.by_ref().take(3) {
            world.sim.inject(packet.src, packet.dst, &packet.payload);
        }
    });
    assert_eq!((honest.connected(), started(&honest)), (1, 1));
    honest.assert_unharmed();
}
