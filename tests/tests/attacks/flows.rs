//! The relay's flows: those of others, and too many of one's own.

use std::net::SocketAddr;
use std::time::Duration;

use xp2p_proto::wire::{FORWARD_HEADER_LEN, FlowId, Frame, forward_header, open_header};
use xp2p_tests::world::World;

use crate::honest::{Honest, Seen};

/// A payload that the relay takes for QUIC.
const QUIC: [u8; 1_200] = [0xc5; 1_200];

fn flow_of(packet: &Seen) -> Option<FlowId> {
    match Frame::parse(&packet.payload) {
        Ok(Frame::Forward { flow, .. }) => Some(flow),
        _ => None,
    }
}

/// Flow ids by luck, next to real ones, and real ones that somebody on the path has seen; to the server, and to the camera in the
/// server's name.
#[test]
fn a_guessed_or_overheard_flow_leads_nowhere() {
    let mut honest = Honest::relayed(2200);
    let server = honest.world.sim.addr(honest.world.server);
    let to_server = honest.seen(|s| s.dst == server && flow_of(s).is_some());
    let to_camera = honest.seen(|s| s.src == server && flow_of(s).is_some() && s.dst.ip() != server.ip());
    let real: Vec<FlowId> = to_server.iter().take(50).filter_map(flow_of).collect();
    assert!(!real.is_empty() && !to_camera.is_empty(), "the session goes over the relay");
    let from: SocketAddr = "192.0.2.66:4433".parse().expect("an address");
    let got = honest.count_to(from.ip());
    let before = honest.world.sim.machine(honest.world.server).stats();
    let (mut n, mut sent) = (0_u64, 0);
    honest.run(Duration::from_secs(8), Duration::from_millis(10), |world| {
        for _ in 0..20 {
            n += 1;
            let seen = real[n as usize % real.len()];
            let flow = match n % 3 {
                0 => seen,
                1 => FlowId(seen.0.wrapping_add(n)),
                _ => FlowId(n.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            };
            let payload = [&forward_header(flow)[..], &QUIC[..40]].concat();
            sent += payload.len() as u64;
            world.sim.inject(from, server, &payload);
            // The camera's NAT lets in what seems to come from the server.
            let heard = &to_camera[n as usize % to_camera.len()];
            let forged = [&heard.payload[..FORWARD_HEADER_LEN], &QUIC[..60]].concat();
            world.sim.inject(server, heard.dst, &forged);
        }
    });
    let after = honest.world.sim.machine(honest.world.server).stats();
    let got = got.get();
    println!("{n} guesses, {sent} bytes, {got} bytes back, {} flows", after.flows);
    assert_eq!(after.flows, before.flows, "no flow came of it");
    assert!(got > 0 && got <= 3 * sent, "{got} bytes came back for {sent}");
    honest.assert_unharmed();
    assert_eq!(honest.connected(), 1);
}

/// Somebody who has the ticket opens flow after flow: from one address, and in the name of many.
#[test]
fn a_flood_of_opens_leaves_room_for_those_who_mean_it() {
    let mut honest = Honest::relayed(2201);
    let server = honest.world.sim.addr(honest.world.server);
    let ticket = *honest.info.ticket();
    let open = [&open_header(&ticket)[..], &QUIC].concat();
    let mut n = 0_u32;
    let mut most = 0;
    let mut flood = |world: &mut World| {
        for _ in 0..10 {
            n += 1;
            let port = 1_024 + (n % 60_000) as u16;
            let ip = if n.is_multiple_of(2) { [192, 0, 2, 66] } else { [100, 64, (n >> 8) as u8, n as u8] };
            world.sim.inject(SocketAddr::from((ip, port)), server, &open);
        }
        most = most.max(world.sim.machine(world.server).stats().flows);
    };
    honest.run(Duration::from_secs(10), Duration::from_millis(10), &mut flood);
    let newcomer = honest.another_viewer(1);
    honest.run(Duration::from_secs(5), Duration::from_millis(10), &mut flood);
    honest.assert_sees(newcomer);
    honest.run(Duration::from_secs(75), Duration::from_millis(200), |_| ());
    let stats = honest.world.sim.machine(honest.world.server).stats();
    println!("{n} opens, at most {most} flows, {} dropped, {} left", stats.relay_drops, stats.flows);
    assert!(most <= 512, "{most} flows to one camera");
    assert!(stats.flows <= 2, "{} flows are left", stats.flows);
    honest.assert_unharmed();
}
