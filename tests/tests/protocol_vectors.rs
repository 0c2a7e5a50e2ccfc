//! The test vectors of docs/PROTOCOL.md are what the program makes and reads.
//!
//! After a change of the protocol: `XP2P_WRITE_VECTORS=1 cargo test -p xp2p-tests --test protocol_vectors`, and say in the
//! commit why old programs may stop working.

#[path = "protocol_vectors/swarm.rs"]
mod swarm;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use xp2p_proto::camera::{read_seek_marker, seek_marker};
use xp2p_proto::command::{
    self, BuiltIn, CALL_SIGNALS, DeviceInfo, DeviceStatus, DeviceUse, FileEntry, FileList, FileType,
    MonthMask, NvrChannel, NvrList, PlaybackProgress, PlaybackStatus, Ptz, RecordEntry, RecordIndex, Reply,
    SeekTo, Topic, YearMonth,
};
use xp2p_proto::flv::{Config, FileHeader, Limits, Tag, TagKind, TagReader};
use xp2p_proto::info::{Capability, Flags, LanName, Rights, ServerAddr, Version, Xp2pInfo};
use xp2p_proto::keys::{PublicKey, SecretKey, Ticket, TicketNonce};
use xp2p_proto::live::{Record, RecordReader, StreamHead, StreamKind};
use xp2p_proto::register::{
    AppKey, Hello, Introduction, Message, MessageReader, RefuseCode, RegisterClient, Registered,
};
use xp2p_proto::request::{
    CallType, Command, Download, Head, HeadReader, Headers, Live, Playback, Quality, Request, RequestHead,
    ResponseHead, Status, Voice, message_head, message_text,
};
use xp2p_proto::swarm::content::{VOLATILE, VOLATILE_PREFIXES};
use xp2p_proto::voice::{Decoded, MIN_CHUNK, PcmFormat, PcmTagger, VoiceCodec, VoiceDecoder};
use xp2p_proto::wire::{Deframer, FlowId, Frame, RefuseReason, frame_length};

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
    Xp2pInfo::new(
        camera().public(),
        ticket(),
        vec![ServerAddr { key: server(), addrs, tcp_port: None }],
        Version::CURRENT,
    )
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

/// Datagrams on a byte stream.
fn stream(datagrams: &[&[u8]]) -> Vec<u8> {
    let framed = |d: &&[u8]| [&frame_length(d).expect("a length")[..], d].concat();
    let bytes: Vec<u8> = datagrams.iter().flat_map(framed).collect();
    let mut read = Vec::new();
    Deframer::default().push(&bytes, |d| read.push(d.to_vec())).expect("what is made is read");
    assert_eq!(read, datagrams);
    bytes
}

fn message(message: &Message) -> Vec<u8> {
    let bytes = message.encode();
    assert_eq!(MessageReader::default().push(&bytes).as_deref(), Ok(std::slice::from_ref(message)));
    bytes
}

/// What a camera with an app key sends behind its Hello.
fn proof() -> Vec<u8> {
    let key = AppKey::new("app", "a very secret word");
    let (secret, product, name) = (&camera(), "product", "device");
    let who = Introduction { secret, epoch: 0, app_key: Some(&key), product, name, transit: None };
    let (_, sent) = RegisterClient::new(who, server(), &[4; 32]);
    let messages = MessageReader::default().push(&sent).expect("messages");
    let [Message::Hello(_), proof @ Message::Proof { .. }] = &messages[..] else { panic!("{messages:?}") };
    message(proof)
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
    let server = ServerAddr {
        key: server(),
        addrs: vec!["192.0.2.1:20002".parse().expect("an address")],
        tcp_port: Some(443),
    };
    let ported =
        Xp2pInfo::new(camera().public(), ticket(), vec![server], Version::CURRENT).expect("an xp2pInfo");
    let read = Xp2pInfo::from_payload(&ported.to_payload(), Version::CURRENT, Flags::default());
    assert_eq!(read.as_ref(), Ok(&ported));
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
        ("knock", frame(&Frame::Knock)),
        (
            "stream",
            stream(&[&frame(&Frame::Forward { flow, payload: short }), &frame(&Frame::UnknownFlow { flow })]),
        ),
        ("info-payload-tcp-port", ported.to_payload()),
        (
            "register-hello",
            message(&Message::Hello(Hello {
                app_id: "app".into(),
                ticket: ticket(),
                nonce: TicketNonce::of_epoch(&camera(), 0),
                product: "product".into(),
                name: "device".into(),
                transit: None,
            })),
        ),
        ("register-proof", proof()),
        (
            "register-refused",
            message(&Message::Refused { code: RefuseCode::ServerFull, text: "full".to_owned() }),
        ),
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

/// A request's head, read back as the same request.
fn request(request: &Request, change: impl FnOnce(&mut Headers)) -> Vec<u8> {
    let mut head = request.to_head().expect("a request");
    head.headers.capability = Some(capability());
    change(&mut head.headers);
    let bytes = head.to_bytes();
    let read = read_head::<RequestHead>(&bytes);
    assert_eq!((read.0.headers.clone(), read.1), (head.headers, 0));
    assert_eq!(Request::from_head(&read.0).as_ref(), Ok(request));
    bytes
}

fn command(command: Command) -> Vec<u8> {
    request(&Request::Command(command), |_| {})
}

/// A whole answer, read back.
fn answer(head: &ResponseHead, body: &[u8]) -> Vec<u8> {
    let bytes = [&head.to_bytes(), body].concat();
    let (read, rest) = read_head::<ResponseHead>(&bytes);
    assert_eq!((&read, rest), (head, body.len()));
    if let Some(length) = head.headers.content_length {
        assert_eq!(length, body.len() as u64);
    }
    bytes
}

/// An answer of a camera to a command, or of a viewer to a message.
fn reply(json: &str, content_type: Option<&str>) -> Vec<u8> {
    let mut head = ResponseHead::new(Status::Ok);
    head.headers.content_length = Some(json.len() as u64);
    head.headers.content_type = content_type.map(str::to_owned);
    answer(&head, json.as_bytes())
}

/// A head and how many bytes follow it.
fn read_head<T: Head>(bytes: &[u8]) -> (T, usize) {
    let (head, used) = HeadReader::new().push(bytes).expect("a head").expect("a whole head");
    (head, bytes.len() - used)
}

/// A tag as it stands on a stream, read back.
fn tag(tag: &Tag) -> Vec<u8> {
    let bytes = [&tag.header()[..], &tag.body].concat();
    let mut reader = TagReader::new(Limits::default());
    reader.push(Bytes::copy_from_slice(&bytes)).expect("room");
    assert_eq!(reader.poll().as_ref(), Ok(&Some(tag.clone())));
    assert_eq!(reader.finish(), Ok(()));
    bytes
}

/// 5 ms of telephone sound, which decodes to the same samples as near as its coding allows.
fn sound(codec: VoiceCodec) -> Vec<u8> {
    let samples: Vec<i16> = (0..40).map(|i| i * 100).collect();
    let mut tagger = PcmTagger::new(codec, PcmFormat::TELEPHONE, MIN_CHUNK).expect("a tagger");
    let tags = tagger.push(&samples);
    assert_eq!(tags.len(), 1);
    let decoded = VoiceDecoder::default().decode(&tags[0]).expect("sound");
    let Decoded::Samples { rate: 8000, channels: 1, samples: heard } = decoded else { panic!("{decoded:?}") };
    assert_eq!(heard.len(), samples.len());
    assert!(codec != VoiceCodec::Pcm || heard == samples);
    tag(&tags[0])
}

/// The vectors of sections 6 and 8 to 12.
fn conversation() -> BTreeMap<&'static str, Vec<u8>> {
    let live = Request::Live(Live { user_args: Some("a&b \u{e9}".to_owned()), ..Live::default() });
    let status = BuiltIn::DeviceStatus { wanted: DeviceUse::Live, quality: Quality::High };
    let message = message_head(&command::message("ring")).expect("a message");
    let (read, 0) = read_head::<RequestHead>(&message.to_bytes()) else { panic!("there is no body") };
    assert_eq!(message_text(&read).as_deref(), Ok(r#"{"iv_private_cmd":"ring"}"#));
    let played = Playback {
        channel: 0,
        start_time: 1_700_000_000,
        end_time: 1_700_000_060,
        kind: Some(1),
        audio_only: false,
    };
    let marker = seek_marker(30_000);
    assert_eq!(read_seek_marker(&marker), Some(30_000));
    let file = b"a small file";
    let mut fetched = ResponseHead::new(Status::Ok);
    fetched.headers.content_length = Some(file.len() as u64 - 2 + 32);
    fetched.headers.etag = Some("12-1700000000".to_owned());
    let digest = blake3::hash(file);
    BTreeMap::from([
        ("request-live", request(&live, |h| h.latency = Some(Duration::from_secs(2)))),
        ("answer-media", answer(&ResponseHead::media(), &[])),
        ("answer-refusal", answer(&ResponseHead::refusal(Status::TooManyViewers, "3 of 3 viewers"), &[])),
        ("command-request", command(status.to_command(0))),
        ("command-reply", reply(&replies()[0], Some("application/json"))),
        ("command-user", command(Ptz::Up.command(0))),
        ("message", message.to_bytes()),
        ("message-reply", reply(r#"{"status":"0"}"#, None)),
        (
            "playback-request",
            request(&Request::Playback(played), |h| {
                h.position = Some(30_000);
                h.paused = true;
            }),
        ),
        ("playback-seek-marker", tag(&marker)),
        (
            "download-request",
            request(
                &Request::Download(Download {
                    channel: 0,
                    file_name: "2026-11-24T02-04-30.123Z.flv".to_owned(),
                    offset: 2,
                }),
                |_| {},
            ),
        ),
        ("download-answer", answer(&fetched, &[&file[2..], digest.as_bytes()].concat())),
        ("talk-request", request(&Request::Voice(Voice { channel: 0, calltype: CallType::Video }), |_| {})),
        ("talk-pcm-tag", sound(VoiceCodec::Pcm)),
        ("talk-alaw-tag", sound(VoiceCodec::Alaw)),
        ("talk-busy", answer(&ResponseHead::refusal(Status::TalkBusy, "somebody talks already"), &[])),
    ])
}

/// Every built-in command as a request target, read back.
fn commands() -> Vec<String> {
    let (start_time, end_time) = (1_700_000_000, 1_700_000_060);
    let mut all = vec![
        BuiltIn::DeviceStatus { wanted: DeviceUse::Live, quality: Quality::High },
        BuiltIn::DeviceInfo,
        BuiltIn::NvrList,
        BuiltIn::RecordIndex { start_time, end_time, kind: Some(1) },
        BuiltIn::MonthRecord(YearMonth::new(2026, 11).expect("a month")),
        BuiltIn::FileList { start_time, end_time, file_type: FileType::Video },
        BuiltIn::PlaybackPause,
        BuiltIn::PlaybackResume,
        BuiltIn::PlaybackSeek(SeekTo::Progress(30_000)),
        BuiltIn::PlaybackSeek(SeekTo::Time(1_700_000_030)),
        BuiltIn::PlaybackProgress,
        BuiltIn::PlaybackFf { ff: 2 },
        BuiltIn::PlaybackSpeed { speed: 20 },
        BuiltIn::PlaybackRewind { start_time, end_time },
        BuiltIn::RequestIframe,
    ];
    all.extend(CALL_SIGNALS.map(|(signal, _)| BuiltIn::Call(signal)));
    let line = |built_in: &BuiltIn| {
        let target = Request::Command(built_in.to_command(0)).to_head().expect("a request").target();
        let Ok(Request::Command(read)) = Request::parse(&target) else { panic!("{target}") };
        assert_eq!(BuiltIn::from_command(&read), Ok(Some(*built_in)), "what is made is read");
        target
    };
    all.iter().map(line).collect()
}

/// An xp2pInfo without and with a flag.
fn infos() -> Vec<String> {
    [false, true]
        .map(|mjpeg| {
            let info = info().with_flags(Flags { mjpeg });
            let text = info.to_text();
            assert_eq!(Xp2pInfo::parse(&text).as_ref(), Ok(&info), "what is made is read");
            text
        })
        .to_vec()
}

/// Words, so many a line that none is long.
fn words(words: &[&str]) -> Vec<String> {
    words.chunks(12).map(|line| line.join(" ")).collect()
}

/// The text of a command of every topic of the panel, read back.
fn topics() -> Vec<String> {
    let line = |topic: Topic| {
        let Command { cmd, .. } = topic.ask(0);
        assert_eq!(Topic::parse(&cmd), Some((topic, serde_json::json!({}))), "what is made is read");
        cmd
    };
    Topic::ALL.map(line).to_vec()
}

/// Every reply, read back.
fn replies() -> Vec<String> {
    fn json<T: Reply + PartialEq + std::fmt::Debug>(reply: &T) -> String {
        let text = reply.to_json();
        assert_eq!(T::parse(text.as_bytes()).as_ref(), Ok(reply), "what is made is read");
        text
    }
    let (start_time, end_time) = (1_700_000_000, 1_700_000_060);
    vec![
        json(&DeviceStatus { status: 0, app_connect_num: Some(2), max_connect_num: Some(4) }),
        json(&DeviceInfo { product_id: "product".to_owned(), device_name: "device".to_owned() }),
        json(&NvrList {
            channels: vec![NvrChannel { device_name: "door".to_owned(), channel: 0, online: true }],
        }),
        json(&RecordIndex { video_list: vec![RecordEntry { kind: 1, start_time, end_time }] }),
        json(&MonthMask { days: 8320 }),
        json(&FileList {
            file_list: vec![FileEntry {
                file_type: 0,
                file_name: "2023-11-14T22-13-20Z.flv".to_owned(),
                file_size: 1_500_000,
                start_time,
                end_time,
                extra_info: String::new(),
            }],
        }),
        json(&PlaybackStatus { status: 0 }),
        json(&PlaybackProgress { status: 0, progress: 30_000 }),
    ]
}

fn hex(bytes: &[u8]) -> String {
    bytes.chunks(32).map(|line| line.iter().map(|b| format!("{b:02x}")).collect::<String>() + "\n").collect()
}

#[test]
fn the_document_holds_the_vectors_of_the_program() {
    let text = std::fs::read_to_string(DOCUMENT).expect("the document");
    let mut vectors: BTreeMap<_, _> =
        vectors().into_iter().map(|(name, bytes)| (name, hex(&bytes))).collect();
    vectors.extend(swarm::vectors().into_iter().map(|(name, bytes)| (name, hex(&bytes))));
    vectors.extend(conversation().into_iter().map(|(name, bytes)| (name, hex(&bytes))));
    let lines = |lines: Vec<String>| lines.iter().map(|line| format!("{line}\n")).collect::<String>();
    let lines = BTreeMap::from([
        ("commands", lines(commands())),
        ("info", lines(infos())),
        ("lan-name", lines(vec![LanName::new(&camera().public(), &ticket(), *b"nonce...").to_string()])),
        ("replies", lines(replies())),
        ("topics", lines(topics())),
        ("volatile", lines(words(VOLATILE))),
        ("volatile-prefixes", lines(words(VOLATILE_PREFIXES))),
    ]);
    let rewritten = compared(&compared(&text, "vector", &vectors), "lines", &lines);
    if std::env::var_os("XP2P_WRITE_VECTORS").is_some() {
        std::fs::write(DOCUMENT, &rewritten).expect("the document can be written");
        return;
    }
    for (line, (found, expected)) in text.lines().zip(rewritten.lines()).enumerate() {
        assert_eq!(found, expected, "line {}", line + 1);
    }
    assert_eq!(text, rewritten);
}

/// The document with all blocks of a kind as they shall be. Every block must be known, and each of `blocks` be there.
fn compared(text: &str, kind: &str, blocks: &BTreeMap<&str, String>) -> String {
    let start = format!("```{kind} ");
    let (mut found, mut out, mut rest) = (Vec::new(), String::new(), text);
    while let Some((before, after)) = rest.split_once(&start) {
        let (name, after) = after.split_once('\n').expect("a name");
        let (_, after) = after.split_once("```").expect("an end");
        let expected = blocks.get(name).unwrap_or_else(|| panic!("nothing makes {kind} {name}"));
        out += &format!("{before}{start}{name}\n{expected}```");
        found.push(name.to_owned());
        rest = after;
    }
    found.sort_unstable();
    assert_eq!(found, blocks.keys().copied().collect::<Vec<_>>(), "the document must hold each {kind} once");
    out + rest
}
