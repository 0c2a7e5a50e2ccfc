//! What goes wrong.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::dice::Dice;
use crate::sim::{Firewall, NatConfig};
use crate::world::World;

/// Does something bad to the world. Returns what.
pub(super) fn strike(world: &mut World, dice: &mut Dice, nats: &mut u8) -> &'static str {
    let short = dice.millis(200, 4_200);
    match dice.below(12) {
        0 => cut(world, Who::Camera, short),
        1 => cut(world, Who::Viewer, short),
        2 => cut(world, Who::Server, short),
        3 => {
            world.restart_server();
            "server restarted"
        }
        4 => {
            world.restart_camera();
            "camera restarted"
        }
        5 | 6 => change_network(world, dice, nats),
        7 => {
            if let Some(nat) = if dice.below(2) == 0 { world.camera_nat } else { world.viewer_nat } {
                world.sim.flush_nat(nat);
            }
            "NAT flushed"
        }
        8 => {
            // Clocks of people jump; nothing but expiry may depend on them, and nothing expires here.
            let jump = dice.below(2 * 86_400);
            let unix = world.sim.unix_time() + Duration::from_secs(jump);
            match dice.below(3) {
                0 => world.sim.set_unix_time_of(world.camera, unix),
                1 => world.sim.set_unix_time_of(world.viewer, unix),
                _ => world.sim.set_unix_time_of(world.server, unix),
            }
            "a clock jumped"
        }
        9 => {
            let line = dice.line();
            if dice.below(2) == 0 {
                world.sim.set_link(world.camera, line);
            } else {
                world.sim.set_link(world.viewer, line);
            }
            "a line changed"
        }
        10 => without_udp(world, dice, short),
        _ => rubbish(world, dice),
    }
}

enum Who {
    Camera,
    Viewer,
    Server,
}

fn cut(world: &mut World, who: Who, time: Duration) -> &'static str {
    let set = |world: &mut World, cut| match who {
        Who::Camera => world.sim.cut(world.camera, cut),
        Who::Viewer => world.sim.cut(world.viewer, cut),
        Who::Server => world.sim.cut(world.server, cut),
    };
    set(world, true);
    world.run(time);
    set(world, false);
    match who {
        Who::Camera => "camera cut off",
        Who::Viewer => "viewer cut off",
        Who::Server => "server cut off",
    }
}

fn change_network(world: &mut World, dice: &mut Dice, nats: &mut u8) -> &'static str {
    *nats += 1;
    let public = Ipv4Addr::new(192, 0, 2, *nats);
    let nat = world.sim.add_nat(NatConfig::port_restricted(public));
    let inside = [Ipv4Addr::new(10, 77, 0, *nats).into()];
    if dice.below(2) == 0 {
        world.sim.move_host(world.viewer, Some(nat), &inside);
        "viewer moved"
    } else {
        world.sim.move_host(world.camera, Some(nat), &inside);
        "camera moved"
    }
}

fn without_udp(world: &mut World, dice: &mut Dice, time: Duration) -> &'static str {
    let camera = dice.below(2) == 0;
    let set = |world: &mut World, wall: Firewall| {
        if camera {
            world.sim.set_firewall(world.camera, wall);
        } else {
            world.sim.set_firewall(world.viewer, wall);
        }
    };
    set(world, Firewall::Only(Vec::new()));
    // Long enough to go over to TCP in some worlds, and to come back.
    world.run(2 * time);
    set(world, Firewall::Open);
    if camera { "no UDP for the camera" } else { "no UDP for the viewer" }
}

/// Rubbish from anywhere to anyone.
fn rubbish(world: &mut World, dice: &mut Dice) -> &'static str {
    for _ in 0..20 {
        let mut bytes = vec![0; 1 + dice.below(1300) as usize];
        dice.fill(&mut bytes);
        bytes[0] = dice.below(256) as u8; // one byte at least
        let to = match dice.below(3) {
            0 => world.sim.addr(world.camera),
            1 => world.sim.addr(world.viewer),
            _ => world.sim.addr(world.server),
        };
        let from = if dice.below(2) == 0 {
            world.sim.addr(world.server)
        } else {
            "203.0.113.66:666".parse().expect("an address")
        };
        world.sim.inject(from, to, &bytes);
    }
    "rubbish"
}
