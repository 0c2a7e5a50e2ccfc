//! What a corpus begins with: the vectors of docs/PROTOCOL.md, and what our own encoders make.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use xp2p_proto::flv::{Config, FileHeader, Muxer, Tag, TagKind};
use xp2p_proto::info::{Capability, Right, Rights, ServerAddr, Version, Xp2pInfo};
use xp2p_proto::keys::{KeyFile, SecretKey, Ticket};
use xp2p_proto::live::{Record, StreamHead, StreamKind};
use xp2p_proto::peer::{DoorTag, MembershipToken};
use xp2p_proto::register::{Message as Registration, RefuseCode};
use xp2p_proto::request::{ResponseHead, Status};
use xp2p_proto::stun::{Attribute, CHANGE_IP, Class, Message as Stun};
use xp2p_proto::swarm::content::Signer;
use xp2p_proto::swarm::{
    FromTracker, HaveMap, LaneStatus, Message, NatClass, Observed, Path, PieceHead, Report,
    Status as PeerStatus, StreamId, ToTracker, Trust, piece_hash,
};
use xp2p_proto::voice::wav_header;

use crate::swarm_content::signer;
use crate::tags::AVC;

/// Inputs for every target of a codec; most are of use to one only, and the others learn early what to refuse. Those for the
/// machines are of no shape: a fuzzer reads operations out of any bytes.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = document();
    seeds.extend(info());
    seeds.extend(heads());
    seeds.extend(media());
    seeds.extend(stun());
    seeds.extend(swarm());
    seeds.push(Registration::Draining.encode());
    seeds.push(Registration::Refused { code: RefuseCode::ServerFull, text: "full".to_owned() }.encode());
    // For the targets that read operations: bytes of many lengths that depend on nothing but their number.
    for n in 0..24_u8 {
        let mut bytes = vec![0; 12 << (n % 6)];
        blake3::Hasher::new().update(&[n]).finalize_xof().fill(&mut bytes);
        seeds.push(bytes);
    }
    seeds
}

/// The vectors of the document, in hexadecimal or as lines of text.
fn document() -> Vec<Vec<u8>> {
    let text = include_str!("../../docs/PROTOCOL.md");
    let mut seeds = Vec::new();
    let mut block: Option<(bool, String)> = None;
    for line in text.lines() {
        match &mut block {
            None if line.starts_with("```vector ") => block = Some((true, String::new())),
            None if line.starts_with("```lines ") => block = Some((false, String::new())),
            None => {}
            Some((true, hex)) if line.starts_with("```") => {
                seeds.push(data_encoding::HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).expect("a vector"));
                block = None;
            }
            Some((true, hex)) => hex.extend(line.split_whitespace()),
            Some((false, _)) if line.starts_with("```") => block = None,
            Some((false, _)) => {
                // A name may stand in front of the text.
                seeds.push(line.as_bytes().to_vec());
                seeds.extend(line.find(['{', '[', '/']).map(|at| line.as_bytes()[at..].to_vec()));
                seeds.extend(line.find("action=").map(|at| line.as_bytes()[at..].to_vec()));
            }
        }
    }
    assert!(seeds.len() > 50, "the document has vectors");
    seeds
}

fn info() -> Vec<Vec<u8>> {
    let key = SecretKey::from_bytes([1; 32]);
    let server = ServerAddr {
        key: SecretKey::from_bytes([2; 32]).public(),
        addrs: vec![
            "192.0.2.1:20002".parse().expect("an address"),
            "server.example:1".parse().expect("an address"),
        ],
        tcp_port: Some(443),
    };
    let info = Xp2pInfo::new(key.public(), Ticket::from_bytes([5; 16]), vec![server], Version::CURRENT)
        .expect("an xp2pInfo");
    let capability = Capability::issue(&key, Rights::from(Right::Live), 3, None, [4; 8]);
    let stream = StreamId::from_bytes([7; StreamId::LEN]);
    let token = MembershipToken::issue(&key, &stream, &key.public(), DoorTag::OPEN, 1_800_000_000_000);
    let whole = info.clone().with_capability(Some(capability.clone())).expect("its own capability");
    vec![
        info.to_text().into(),
        info.to_payload(),
        whole.to_text().into(),
        whole.to_payload(),
        capability.to_bytes().to_vec(),
        capability.to_base64().into(),
        token.to_bytes().to_vec(),
        b"[2001:db8::1]:20002".to_vec(),
        b"server.example:20002".to_vec(),
        format!("192.0.2.1:20002#{}", key.public()).into(),
        b"live,command".to_vec(),
        b"2.4.0".to_vec(),
        KeyFile { secret: key, epoch: 3 }.to_text().into(),
    ]
}

fn heads() -> Vec<Vec<u8>> {
    let mut media = ResponseHead::media();
    media.headers.content_length = Some(300);
    vec![
        media.to_bytes(),
        ResponseHead::refusal(Status::TalkBusy, "busy").to_bytes(),
        b"GET /ipc.flv?action=live&channel=0&quality=high HTTP/1.1\r\n\r\n".to_vec(),
        b"GET /download?channel=0&file_name=a%20b.mp4&offset=7 HTTP/1.1\r\nx-xp2p-request: 12\r\n\r\n"
            .to_vec(),
        b"/ipc.flv?action=playback&channel=0&start_time=1700000000&end_time=1700000060".to_vec(),
        b"/voice?channel=0&calltype=video".to_vec(),
        b"/message?text=%7B%22ring%22%3A1%7D".to_vec(),
        b"action=inner_define&channel=0&cmd=get_month_record&time=202311".to_vec(),
        b"action=inner_define&channel=0&cmd=get_file_list&start_time=1&end_time=2&file_type=1".to_vec(),
        b"action=inner_define&channel=0&cmd=playback_seek&progress=5".to_vec(),
        b"http://cdn.example/live/room.flv?txSecret=1&txTime=2&quality=high".to_vec(),
        br#"[{"status":"0","appConnectNum":1}]"#.to_vec(),
        br#"{"file_list":[{"file_type":"1","file_name":"a","start_time":"1","end_time":2}]}"#.to_vec(),
        br#"{"video_list":[{"type":"0","start_time":"1","end_time":"2"}]}"#.to_vec(),
        b"{\"status\":0}\0\n".to_vec(),
    ]
}

fn tag(kind: TagKind, timestamp: u32, body: &[u8]) -> Tag {
    Tag { kind, timestamp, body: Bytes::copy_from_slice(body) }
}

fn media() -> Vec<Vec<u8>> {
    let tags = [
        tag(TagKind::Script, 0, b"\x02\x00\x0aonMetaData\x05"),
        tag(TagKind::Video, 0, AVC),
        tag(TagKind::Audio, 0, &[0xaf, 0, 0x12, 0x10]),
        tag(TagKind::Video, 0, &[0x17, 1, 0, 0, 40, 0, 0, 0, 1, 0x65]),
        tag(TagKind::Audio, 23, &[0xaf, 1, 0x21, 0x10]),
        tag(TagKind::Audio, 40, &[0x72, 0xd5, 0xd5]),
        tag(TagKind::Video, 0x0100_0000, &[0x91, b'h', b'v', b'c', b'1', 0, 0, 1, 7]),
    ];
    let mut muxer = Muxer::new();
    let mut file = muxer.header(FileHeader { has_audio: true, has_video: true }).to_vec();
    tags.iter().for_each(|t| file.extend(muxer.tag(t).concat()));
    let mut damaged = file.clone();
    damaged[40] ^= 0x55;
    let bare: Vec<u8> = tags.iter().flat_map(|t| [&t.header()[..], &t.body].concat()).collect();
    let mut config = Config::default();
    tags.iter().for_each(|t| _ = config.update(t));
    let mut wav = wav_header(8_000, 1, Some(8)).to_vec();
    wav.extend([1, 0, 2, 0, 3, 0, 4, 0]);
    vec![
        file,
        damaged,
        bare,
        wav,
        wav_header(44_100, 2, None).to_vec(),
        Record::encode_config(300, &config).to_vec(),
        [Record::encode_config(1, &Config::default()), Record::encode_end(9)].concat(),
        StreamHead { kind: StreamKind::Video, request: 70, number: 20_000, config: 1 }.encode().to_vec(),
    ]
}

fn stun() -> Vec<Vec<u8>> {
    let v4: SocketAddr = "198.51.100.1:5".parse().expect("an address");
    let v6: SocketAddr = "[2001:db8::1]:5".parse().expect("an address");
    let answer = |class, attributes| Stun { class, transaction: [1; 12], attributes };
    vec![
        Stun::request([1; 12], vec![Attribute::ChangeRequest(CHANGE_IP)]).encode(),
        answer(Class::Success, vec![Attribute::XorMappedAddress(v4), Attribute::OtherAddress(v4)]).encode(),
        answer(Class::Success, vec![Attribute::XorMappedAddress(v6), Attribute::MappedAddress(v4)]).encode(),
        answer(
            Class::Error,
            vec![Attribute::ErrorCode(420, "no".to_owned()), Attribute::UnknownAttributes(vec![7])],
        )
        .encode(),
    ]
}

fn swarm() -> Vec<Vec<u8>> {
    let (key, stream) = signer();
    let lane = LaneStatus { lag: 7, depth: 2, spare: 3, min_value: 0 };
    let have = HaveMap::from_parts(300, u128::MAX);
    let path = Path::EMPTY;
    let mut messages: Vec<Vec<u8>> = [
        Message::Status(Box::new(PeerStatus {
            have,
            batch: 4,
            backlog: 0,
            origin_fed: true,
            lanes: [lane; 8],
        })),
        Message::Subscribe { lane: 1, from: 300, value: 2 },
        Message::Accept { lane: 1, path },
        Message::Reject { lane: 1 },
        Message::Request { piece: 300, slack: 100 },
        Message::NoHave { piece: 300 },
        Message::Cancel { piece: 300 },
    ]
    .iter()
    .map(|m| {
        let mut out = Vec::new();
        m.encode(&mut out);
        out
    })
    .collect();
    let framed: Vec<u8> =
        messages.iter().flat_map(|m| [&(m.len() as u16).to_be_bytes()[..], m].concat()).collect();
    messages.push(framed);
    let mut piece = Vec::new();
    PieceHead { no: 300, pushed: true, path }.encode(&mut piece);
    piece.extend([1, 2, 3]);
    messages.push(piece);
    let report = Report { slots: 9, spare: [1; 8], depth: [2; 8], origin_fed: false, lag: 50, ahead: 10 };
    for message in [
        ToTracker::Join { nat: NatClass::Cone, slots: 4, may_pull: true, contact: vec![1; 49].into() },
        ToTracker::Report(report),
    ] {
        let mut out = Vec::new();
        message.encode(&mut out);
        messages.push(out);
    }
    let signed = batch(key, stream);
    for message in [
        FromTracker::Welcome { edge: Some(300), trust: Trust::Witness, candidates: Vec::new() },
        FromTracker::Lease { granted: true },
        FromTracker::Fill { from: 1, to: 9 },
        FromTracker::Edge(500),
    ] {
        let mut out = Vec::new();
        message.encode(&mut out);
        messages.push(out);
    }
    messages.push(signed);
    messages
}

/// A digest batch of one piece, signed.
fn batch(key: SecretKey, stream: StreamId) -> Vec<u8> {
    let now = Instant::now();
    let mut signer = Signer::new(key, stream, 1);
    let piece = Observed { run: 1, index: 0, time: 5, end: 45, len: 3, hash: piece_hash(&[1, 2, 3]) };
    signer.push(now, &piece);
    signer.poll(now + Duration::from_secs(1)).expect("a batch").raw.to_vec()
}
