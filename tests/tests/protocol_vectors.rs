//! The test vectors of docs/PROTOCOL.md are what the program makes and reads.
//!
//! After a change of the protocol: `XP2P_WRITE_VECTORS=1 cargo test -p xp2p-tests --test protocol_vectors`, and say in the
//! commit why old programs may stop working.

#[path = "protocol_vectors/swarm.rs"]
mod swarm;

use std::collections::BTreeMap;

use bytes::Bytes;
use xp2p_proto::flv::{Config, FileHeader, Tag, TagKind};
use xp2p_proto::info::{Capability, Flags, Rights, ServerAddr, Version, Xp2pInfo};
use xp2p_proto::keys::{PublicKey, SecretKey, Ticket, TicketNonce};
use xp2p_proto::live::{Record, RecordReader, StreamHead, StreamKind};
use xp2p_proto::register::{Hello, Message, MessageReader, Registered};
use xp2p_proto::wire::{FlowId, Frame, RefuseReason};

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/PROTOCOL.md");

fn camera() -> SecretKey {
    SecretKey::from_bytes([1; 32])
}

fn server() -> PublicKey {
    SecretKey::from_bytes([2; 32]).public()
}

fn ticket() -> Ticket {
    Ticket::new(&camera().public(), &TicketNonce::of_epoch(&camera(), 0))
}

fn capability() -> Capability {
    Capability::issue(&camera(), Rights::ALL, 0, std::num::NonZeroU64::new(1_800_000_000), *b"serial##")
}

fn info() -> Xp2pInfo {
    let addrs = ["192.0.2.1:20002", "[2001:db8::1]:20002", "server.example:20002"];
    let addrs = addrs.map(|a| a.parse().expect("an address")).to_vec();
    Xp2pInfo::new(camera().public(), ticket(), vec![ServerAddr { key: server(), addrs }], Version::CURRENT)
        .and_then(|i| i.with_lan(vec!["192.168.1.7:4433".parse().expect("an address")]))
        .and_then(|i| i.with_capability(Some(capability())))
        .expect("an xp2pInfo")
}

fn frame(frame: &Frame<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    frame.encode(&mut out);
    assert_eq!(Frame::parse(&out).as_ref(), Ok(frame), "what is made is read");
    out
}

fn message(message: &Message) -> Vec<u8> {
    let bytes = message.encode();
    assert_eq!(MessageReader::default().push(&bytes).as_deref(), Ok(std::slice::from_ref(message)));
    bytes
}

fn record(bytes: &Bytes, expected: &Record) -> Vec<u8> {
    let mut reader = RecordReader::default();
    reader.push(bytes);
    assert_eq!(reader.poll().as_ref(), Ok(&Some(expected.clone())));
    bytes.to_vec()
}

fn vectors() -> BTreeMap<&'static str, Vec<u8>> {
    let flow = FlowId(0x0102_0304_0506_0708);
    let quic = &[0xc0, 1, 2, 3];
    let short = &[0x40, 1, 2, 3];
    let opened = |observed: &str| {
        frame(&Frame::Opened { ticket: ticket(), flow, observed: observed.parse().expect("an address") })
    };
    let payload = info().to_payload();
    assert_eq!(Xp2pInfo::from_payload(&payload, Version::CURRENT, Flags::default()).as_ref(), Ok(&info()));
    assert_eq!(Capability::parse(&capability().to_bytes()), Ok(capability()));
    let tag = |kind, body: &'static [u8]| Some(Tag { kind, timestamp: 0, body: Bytes::from_static(body) });
    let config = Config {
        header: FileHeader { has_audio: true, has_video: true },
        metadata: None,
        video: tag(TagKind::Video, &[0x17, 0, 0, 0, 0, 1, 0x4d, 0x40, 0x1f]),
        audio: tag(TagKind::Audio, &[0xaf, 0, 0x11, 0x90]),
    };
    let head = StreamHead { kind: StreamKind::Video, request: 3, number: 300, config: 1 };
    assert_eq!(StreamHead::parse(&head.encode()), Ok(Some((head, head.encode().len()))));
    BTreeMap::from([
        ("ticket", ticket().as_bytes().to_vec()),
        ("capability", capability().to_bytes().to_vec()),
        ("info-payload", payload),
        ("open", frame(&Frame::Open { ticket: ticket(), payload: quic })),
        ("forward", frame(&Frame::Forward { flow, payload: short })),
        ("opened-v4", opened("192.0.2.99:4660")),
        ("opened-v6", opened("[2001:db8::99]:4660")),
        ("refused", frame(&Frame::Refused { ticket: ticket(), reason: RefuseReason::UnknownTicket })),
        ("cookie", frame(&Frame::Cookie { flow, cookie: [0xaa; 16] })),
        ("cookie-echo", frame(&Frame::CookieEcho { flow, cookie: [0xaa; 16] })),
        ("unknown-flow", frame(&Frame::UnknownFlow { flow })),
        (
            "register-hello",
            message(&Message::Hello(Hello {
                app_id: "app".into(),
                ticket: ticket(),
                nonce: TicketNonce::of_epoch(&camera(), 0),
                product: "product".into(),
                name: "device".into(),
            })),
        ),
        ("register-challenge", message(&Message::Challenge([0xcc; 32]))),
        (
            "register-registered",
            message(&Message::Registered(Registered {
                observed: "192.0.2.99:4660".parse().expect("an address"),
                keep_alive_ms: 3000,
                max_flows: 64,
            })),
        ),
        ("live-head", head.encode().to_vec()),
        ("live-config", record(&Record::encode_config(1, &config), &Record::Config { id: 1, config })),
        ("live-end", record(&Record::encode_end(301), &Record::End { streams: 301 })),
    ])
}

fn hex(bytes: &[u8]) -> String {
    bytes.chunks(32).map(|line| line.iter().map(|b| format!("{b:02x}")).collect::<String>() + "\n").collect()
}

#[test]
fn the_document_holds_the_vectors_of_the_program() {
    let text = std::fs::read_to_string(DOCUMENT).expect("the document");
    let mut vectors = vectors();
    vectors.extend(swarm::vectors());
    let mut found = BTreeMap::new();
    let mut rewritten = String::new();
    let mut rest = text.as_str();
    while let Some((before, after)) = rest.split_once("```vector ") {
        let (name, after) = after.split_once('\n').expect("a name");
        let (body, after) = after.split_once("```").expect("an end");
        found.insert(name.to_owned(), body.split_whitespace().collect::<String>());
        let expected = vectors.get(name).unwrap_or_else(|| panic!("nothing makes the vector {name}"));
        rewritten += &format!("{before}```vector {name}\n{}```", hex(expected));
        rest = after;
    }
    rewritten += rest;
    if std::env::var_os("XP2P_WRITE_VECTORS").is_some() {
        std::fs::write(DOCUMENT, rewritten).expect("the document can be written");
        return;
    }
    for (name, bytes) in vectors {
        let expected: String = hex(&bytes).split_whitespace().collect();
        assert_eq!(found.get(name), Some(&expected), "vector {name}");
    }
}
