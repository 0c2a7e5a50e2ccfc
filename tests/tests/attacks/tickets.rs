//! The ticket of a camera, registered by somebody else.

use std::time::Duration;

use xp2p_proto::keys::{SecretKey, Ticket, TicketNonce};
use xp2p_proto::register::{
    BINDING_LABEL, Introduction, Message, MessageReader, RefuseCode, RegisterClient, SERVER_ALPN,
};
use xp2p_proto::server::ServerEvent;
use xp2p_tests::sim::HostConfig;
use xp2p_tests::world::{CAMERA_KEY, secret};

use crate::honest::Honest;
use crate::stranger::Stranger;

type Try = (&'static str, Vec<u8>, RefuseCode);

/// What a thief sends: the hello and the proof of an honest camera, changed.
fn registration(thief: &SecretKey, binding: &[u8; 32], server: xp2p_proto::keys::PublicKey) -> [Try; 4] {
    let of = |key: &SecretKey, binding: &[u8; 32]| {
        RegisterClient::new(Introduction::of_peer(key, None), server, binding).1
    };
    let owner = secret(CAMERA_KEY);
    let stolen = Ticket::new(&owner.public(), &TicketNonce::of_epoch(&owner, 0));
    // Its own proof, and the ticket of another in front of it: nonce and key do not lead to that.
    let mut renamed = of(thief, binding);
    let own = Ticket::new(&thief.public(), &TicketNonce::of_epoch(thief, 0));
    let at = renamed.windows(16).position(|w| w == own.as_bytes()).expect("the ticket");
    renamed[at..at + 16].copy_from_slice(stolen.as_bytes());
    // With the nonce of the owner as well, as an eavesdropper at the server could know it.
    let mut with_nonce = renamed.clone();
    let nonce = TicketNonce::of_epoch(&owner, 0);
    with_nonce[at + 16..at + 32].copy_from_slice(nonce.as_bytes());
    // What the owner has said on another connection, word for word.
    let replayed = of(&owner, &[4; 32]);
    [
        ("another's ticket", renamed, RefuseCode::WrongTicket),
        ("another's ticket and nonce", with_nonce, RefuseCode::WrongTicket),
        ("the owner's own words", replayed, RefuseCode::WrongTicket),
        ("its own, of another connection", of(thief, &[4; 32]), RefuseCode::WrongSignature),
    ]
}

#[test]
fn nobody_registers_the_ticket_of_another_camera() {
    let mut honest = Honest::relayed(2600);
    let (server, key) = (honest.world.server, honest.world.sim.machine(honest.world.server).key());
    let at = honest.world.sim.addr(server);
    let now = honest.world.sim.now();
    let thief = secret(66);
    let config = HostConfig::new("thief", std::net::Ipv4Addr::new(192, 0, 2, 66));
    let host = honest.world.sim.add_host(config, Stranger::new(thief.clone(), 2600, now));
    honest.world.sim.events(server);
    for n in 0..4 {
        let conn = honest.world.sim.with(host, |s, now| s.connect_at(now, key, at, SERVER_ALPN));
        honest.world.run(Duration::from_secs(1));
        let binding = honest.world.sim.machine(host).export(conn, BINDING_LABEL);
        let tries = registration(&thief, &binding, key);
        let (what, words, expected) = &tries[n];
        let stream = honest.world.sim.with(host, |s, _| s.say(conn, words.clone(), false)).expect("a stream");
        honest.world.run(Duration::from_secs(1));
        let heard = honest.world.sim.machine(host).heard[&(conn, stream)].clone();
        let answer = MessageReader::default().push(&heard).expect("an answer");
        println!("{what}: {answer:?}");
        assert!(
            matches!(&answer[..], [Message::Refused { code, .. }] if code == expected),
            "{what}: {answer:?}"
        );
        // The operator sees it.
        let events = honest.world.sim.events(server);
        let told = |e: &ServerEvent| matches!(e, ServerEvent::RegistrationRefused { key, .. } if *key == thief.public());
        assert!(events.iter().any(told), "{what}: {events:?}");
    }
    // The relay goes on to the camera whose ticket it is.
    let newcomer = honest.another_viewer(1);
    honest.world.run(Duration::from_secs(4));
    honest.assert_sees(newcomer);
    honest.assert_unharmed();
}
