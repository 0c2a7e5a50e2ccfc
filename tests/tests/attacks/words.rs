//! Words of others that are made to steer a terminal or to hide what they say.

use std::time::Duration;

use xp2p_proto::camera::{Camera, CameraError};
use xp2p_proto::register::{
    BINDING_LABEL, Introduction, Message, MessageReader, RegisterClient, SERVER_ALPN,
};
use xp2p_proto::request::printable;
use xp2p_proto::server::ServerEvent;
use xp2p_proto::viewer::ViewerEvent;
use xp2p_tests::sim::HostConfig;
use xp2p_tests::world::{World, WorldConfig, camera_config, secret};

use crate::honest::Honest;
use crate::stranger::Stranger;

/// Clears the screen, sets the title of the window, goes back to the beginning of the line, turns what follows around.
const STEERS: &str = "\u{1b}[2J\u{1b}]0;owned\u{7}\r\u{9b}31m\u{202e}door";

#[test]
fn the_parting_words_of_a_camera_steer_no_terminal() {
    let mut world = World::new(WorldConfig::new(2700));
    world.run(Duration::from_secs(1));
    world.watch();
    world.run(Duration::from_secs(3));
    world.sim.with(world.camera, |camera, now| {
        let viewer = camera.viewers()[0].viewer;
        camera.kick(now, viewer, STEERS);
    });
    world.run(Duration::from_secs(2));
    let words = |e: &ViewerEvent| match e {
        ViewerEvent::Disconnect { reason, .. }
        | ViewerEvent::Close { reason, .. }
        | ViewerEvent::Reconnecting { reason, .. } => Some(reason.clone()),
        _ => None,
    };
    let told: Vec<String> = world.events.iter().filter_map(|(_, e)| words(e)).collect();
    assert!(told.iter().any(|reason| reason.contains("door")), "nothing was told: {told:?}");
    assert!(told.iter().all(|reason| reason.chars().all(printable)), "{told:?}");
}

/// A camera of ours does not take such a name, and a server registers nobody who says one.
#[test]
fn a_device_name_that_steers_a_terminal_is_refused() {
    let mut config = camera_config(2701);
    config.name = STEERS.to_owned();
    let mut honest = Honest::watching(2701);
    let now = honest.world.sim.now();
    assert_eq!(Camera::new(config, now).err(), Some(CameraError::Name));

    let (server, key) = (honest.world.server, honest.world.sim.machine(honest.world.server).key());
    let at = honest.world.sim.addr(server);
    let liar = secret(66);
    let host = HostConfig::new("liar", std::net::Ipv4Addr::new(192, 0, 2, 66));
    let host = honest.world.sim.add_host(host, Stranger::new(liar.clone(), 2701, now));
    honest.world.sim.events(server);
    let conn = honest.world.sim.with(host, |s, now| s.connect_at(now, key, at, SERVER_ALPN));
    honest.world.run(Duration::from_secs(1));
    let binding = honest.world.sim.machine(host).export(conn, BINDING_LABEL);
    let who = Introduction { name: STEERS, product: "product", ..Introduction::of_peer(&liar, None) };
    let (_, words) = RegisterClient::new(who, key, &binding);
    let stream = honest.world.sim.with(host, |s, _| s.say(conn, words, false)).expect("a stream");
    honest.world.run(Duration::from_secs(1));
    let heard = honest.world.sim.machine(host).heard[&(conn, stream)].clone();
    let answer = MessageReader::default().push(&heard).expect("an answer");
    assert!(!answer.iter().any(|m| matches!(m, Message::Registered(_))), "{answer:?}");
    let events = honest.world.sim.events(server);
    assert!(!events.iter().any(|e| matches!(e, ServerEvent::CameraRegistered { .. })), "{events:?}");
    let reasons: Vec<&String> = events
        .iter()
        .filter_map(|e| match e {
            ServerEvent::RegistrationRefused { reason, .. } => Some(reason),
            _ => None,
        })
        .collect();
    assert!(!reasons.is_empty() && reasons.iter().all(|r| r.chars().all(printable)), "{events:?}");
    honest.assert_unharmed();
}
