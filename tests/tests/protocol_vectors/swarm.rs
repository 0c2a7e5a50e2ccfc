//! Vectors of sections 15 and 16, sharing a live stream.

use std::time::Instant;

use bytes::Bytes;
use xp2p_proto::flv::FileHeader;
use xp2p_proto::keys::SecretKey;
use xp2p_proto::peer::{DoorTag, MembershipToken};
use xp2p_proto::swarm::codec::{Parsed, ParsedFromTracker};
use xp2p_proto::swarm::content::{Cutter, Frame, Item, Signer, StreamConfig, Track, Verifier};
use xp2p_proto::swarm::{
    Candidate, FromTracker, HaveMap, LaneStatus, Message, NatClass, Observed, Path, PeerId, PieceHead,
    Status, StreamId, ToTracker, Trust,
};

fn stream() -> StreamId {
    StreamId::of_url("https://cdn.example/live/room.flv?txSecret=1&quality=high").expect("a URL")
}

/// A piece and the batch that announces it.
fn piece_and_batch() -> (Bytes, Bytes) {
    let tracks = FileHeader { has_audio: true, has_video: true };
    let video = Some(Bytes::from_static(&[0x17, 0, 0, 0, 0, 1, 0x4d, 0x40, 0x1f]));
    let config = StreamConfig { tracks, video, audio: Some(Bytes::from_static(&[0xaf, 0, 0x11, 0x90])) };
    let key = Frame::new(Track::Video, 40, Bytes::from_static(&[0x17, 1, 0, 0, 0, 0x65]));
    let sound = Frame::new(Track::Audio, 63, Bytes::from_static(&[0xaf, 1, 0x21]));
    let mut cutter = Cutter::new();
    for item in [Item::Run { run: 0, config }, Item::Frame(key), Item::Frame(sound)] {
        cutter.push(&item);
    }
    cutter.finish();
    let piece = cutter.poll().expect("a piece");
    let now = Instant::now();
    let key = SecretKey::from_bytes([1; 32]);
    let public = key.public();
    let mut signer = Signer::new(key, stream(), 1_800_000_000_000);
    signer.push(now, &piece.observed()).expect("a number");
    let batch = signer.poll(now).expect("a batch");
    assert_eq!(Verifier::new(stream(), vec![public]).verify(&batch.raw).as_ref(), Ok(&batch));
    (piece.content, batch.raw.clone())
}

fn message(message: &Message) -> Vec<u8> {
    let mut out = Vec::new();
    message.encode(&mut out);
    assert_eq!(Parsed::parse(&out.clone().into()), Ok(Parsed::Message(message.clone())));
    out
}

/// What shows that the holder of key `03` is a member of the swarm of a camera's stream.
fn token() -> Vec<u8> {
    let [camera, server, member] = [1, 2, 3].map(|n| SecretKey::from_bytes([n; 32]));
    let door = DoorTag::of(&camera.public(), 0);
    let token = MembershipToken::issue(&server, &stream(), &member.public(), door, 1_800_000_000);
    let bytes = token.to_bytes().to_vec();
    let read = MembershipToken::parse(&bytes).expect("what is made is read");
    assert!(read.is_signed_by(&server.public(), &stream(), &member.public()));
    assert_eq!((read.door(), read.expiry()), (door, 1_800_000_000));
    bytes
}

/// The vectors.
pub(crate) fn vectors() -> Vec<(&'static str, Vec<u8>)> {
    let (piece, batch) = piece_and_batch();
    let path = Path::from_hops(&[0x0102_0304, 0xa1a2_a3a4]).expect("a path");
    let head = PieceHead { no: 1000, pushed: true, path };
    let mut head_bytes = Vec::new();
    head.encode(&mut head_bytes);
    assert_eq!(PieceHead::parse(&head_bytes), Ok(head));
    let lane = LaneStatus { lag: 300, depth: 2, spare: 1, min_value: 255 };
    let mut lanes = [lane; 8];
    lanes[7] = LaneStatus::NONE;
    let have = HaveMap::from_parts(1001, 0b1011);
    let status = Status { have, batch: 70, backlog: 12, origin_fed: false, lanes };
    let contact = Bytes::from_static(b"contact");
    let join = ToTracker::Join { nat: NatClass::Cone, slots: 9, may_pull: true, contact: contact.clone() };
    let read = Observed { run: 1, index: 3, time: 2_040, end: 2_120, len: 700, hash: [0x5a; 16] };
    let early = Observed { index: 4, time: -40, end: 0, len: 8_192, ..read };
    let peer = PeerId(0x0102_0304_0506_0708);
    let candidate = Candidate { peer, nat: NatClass::Public, origin_fed: true, contact };
    let candidates = vec![candidate.clone()];
    let welcome = FromTracker::Welcome { edge: Some(90_000), trust: Trust::Witness, candidates };
    let meet = FromTracker::Meet { begin: false, candidate };
    vec![
        ("swarm-stream", stream().as_bytes().to_vec()),
        ("swarm-piece", piece.to_vec()),
        ("swarm-batch", batch.to_vec()),
        ("swarm-piece-head", head_bytes),
        ("swarm-status", message(&Message::Status(Box::new(status)))),
        ("swarm-accept", message(&Message::Accept { lane: 3, path })),
        ("swarm-evict", message(&Message::Evict { lane: 3, alternative: Some(peer) })),
        ("swarm-way", message(&Message::Way { lane: 3, path })),
        ("swarm-lost", message(&Message::Lost { lane: 3, hops: 2 })),
        ("swarm-request", message(&Message::Request { piece: 1000, slack: 850 })),
        ("swarm-join", to_tracker(join)),
        ("swarm-observed", to_tracker(ToTracker::Observed(vec![read, early]))),
        ("swarm-meet", from_tracker(meet)),
        ("swarm-welcome", from_tracker(welcome)),
        ("swarm-token", token()),
    ]
}

fn to_tracker(message: ToTracker) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.encode(&mut bytes);
    assert_eq!(ToTracker::parse(&bytes.clone().into()), Ok(message));
    bytes
}

fn from_tracker(message: FromTracker) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.encode(&mut bytes);
    let parsed = ParsedFromTracker::parse(&bytes.clone().into());
    assert_eq!(parsed, Ok(ParsedFromTracker::Message(message)));
    bytes
}
