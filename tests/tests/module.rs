//! The plug-ins' module against real server and camera processes on loopback: its life cycle, and each documented code
//! by what the documentation names as its cause.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use futures_lite::future::{block_on, or, zip};
use serde_json::{Value, json};
use xp2p_proto::command::{CommandOutcome, DeviceStatus, Reply};
use xp2p_proto::error::ErrorCode;
use xp2p_proto::info::Xp2pInfo;
use xp2p_proto::link::PathKind;
use xp2p_proto::request::{CallType, Voice};
use xp2p_proto::viewer::Resume;
use xp2p_smol::driver::module::{
    AppParams, ModuleError, ModuleEvent, PlayerEvent, Recorded, Recorder, StreamInfo, StreamKind, VoiceEvent,
    VoiceOptions,
};
use xp2p_smol::driver::viewer::{DownloadEvent, ServiceEvent};
use xp2p_smol::{P2pModule, Smol};
use xp2p_tests::processes::{Process, TempDir, get, run};

const CLIP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/clip.flv");
const START: Duration = Duration::from_secs(15);
const LIVE: &str = "http://XP2P_INFO.xnet/ipc.p2p.com/ipc.flv?action=live&channel=0&quality=high";

/// A server and a camera with a recording and an ear.
struct Home {
    dir: TempDir,
    server: SocketAddr,
    _server: Process,
    camera: Process,
    info: String,
}

impl Home {
    fn new(name: &str) -> Self {
        let dir = TempDir::new(name);
        let path = dir.path();
        assert_eq!(run(path, &["keygen", "-o", "camera.key"], None).0, Some(0));
        std::fs::create_dir(path.join("records")).expect("a directory");
        std::fs::copy(CLIP, path.join("records/2023-11-14T22-13-20Z.flv")).expect("a recording");
        let mut server = Process::start("server", path, &["server", "--listen", "127.0.0.1:0", "--open"]);
        let spec = server.line(START);
        let mut camera = Process::start(
            "camera",
            path,
            &[
                "camera",
                "--key",
                "camera.key",
                "--product",
                "home",
                "--name",
                "door",
                "--server",
                &spec,
                "--input",
                CLIP,
                "--records",
                "records",
                "--voice-out",
                "heard.wav",
                "--max-viewers",
                "4",
            ],
        );
        let info = camera.line(START);
        let server_addr = spec.split('#').next().expect("an address").parse().expect("an address");
        Self { dir, server: server_addr, _server: server, camera, info }
    }

    fn stream(&self) -> StreamInfo {
        StreamInfo {
            url: LIVE.to_owned(),
            product_id: "home".to_owned(),
            device_name: "door".to_owned(),
            xp2p_info: self.info.clone(),
            live_stream_domain: String::new(),
        }
    }
}

fn params() -> AppParams {
    let bind = SocketAddr::from(([127, 0, 0, 1], 0));
    AppParams { bind, ..AppParams::new("wx0", "oauth", "key", "secret", "org.example.app") }
}

fn module() -> P2pModule {
    P2pModule::new(Smol).expect("randomness")
}

fn code<T>(result: Result<T, ModuleError>) -> i32 {
    match result {
        Ok(_) => 0,
        Err(e) => {
            // Each error says something to a person, and its number.
            assert!(e.to_string().len() > 15 && e.to_string().contains(&e.code.number().to_string()), "{e}");
            e.code.number()
        }
    }
}

/// An address where nobody answers, for as long as the socket lives.
fn silent() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let addr = socket.local_addr().expect("an address");
    (socket, addr)
}

async fn within<T>(time: Duration, what: &str, wait: impl Future<Output = T>) -> T {
    let late = async {
        xp2p_smol::driver::runtime::sleep(&Smol, time).await;
        panic!("{what}: not within {time:?}");
    };
    or(wait, late).await
}

/// -2000, -2002, -2003, -2201, -2202, -2301, -2404: what needs no camera.
#[test]
fn the_life_cycle_and_its_codes() {
    block_on(async {
        let module = module();
        assert_eq!(module.uuid().len(), 32, "there before init");
        assert!(!module.check_can_retry());
        // -2002: everything before init.
        assert_eq!(code(module.reset_p2p().await), -2002);
        assert_eq!(code(module.check_reset().await), -2002);
        assert_eq!(code(module.start_p2p_service("a", StreamInfo::default()).await), -2002);
        assert_eq!(code(module.stop_p2p_service("a").await), -2002);
        // -2000: each field.
        for missing in 0..5 {
            let mut bad = params();
            let fields = [
                &mut bad.appid,
                &mut bad.app_oauth_id,
                &mut bad.app_key,
                &mut bad.app_secret_key,
                &mut bad.app_package,
            ];
            fields.into_iter().nth(missing).expect("five").clear();
            assert_eq!(code(module.init(bad).await), -2000);
        }
        // -2301: the port of the local server is taken.
        let taken = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let player = taken.local_addr().expect("an address");
        assert_eq!(code(module.init(AppParams { player, ..params() }).await), -2301);
        // -2404: no socket can be had at an address that is not ours (RFC 5737).
        let bind = SocketAddr::from(([192, 0, 2, 1], 0));
        assert_eq!(code(module.init(AppParams { bind, ..params() }).await), -2404);
        // -2202 of init, and -2201 while it probes; the UUID is there all the same.
        let (_keep, server) = silent();
        let probed = AppParams { probe_server: Some(server), ..params() };
        let again = async {
            xp2p_smol::driver::runtime::sleep(&Smol, Duration::from_millis(300)).await;
            module.init(params()).await
        };
        let (first, second) = zip(module.init(probed), again).await;
        assert_eq!((code(first), code(second)), (-2202, -2201));
        assert!(matches!(
            module.events().try_recv(),
            Ok(ModuleEvent::NatError { errcode: ErrorCode::ProbeFailed, errmsg }) if errmsg.contains("did not answer")
        ));
        assert!(!module.check_can_retry(), "init has failed");
        assert_eq!(code(module.reset_p2p().await), -2002);
        // 0, -2003.
        assert_eq!(code(module.init(params()).await), 0);
        assert_eq!(code(module.init(params()).await), -2003);
        assert!(matches!(module.player_events().recv().await, Ok(PlayerEvent::Ready { .. })));
        module.destroy().await;
        assert_eq!(code(module.service("a")), -2002);
        assert_eq!(code(module.init(params()).await), 0, "init may come again");
        module.destroy().await;
    });
}

/// `natChanged`, `resetP2P` with -2201, and what `check_reset` mends.
#[test]
fn the_probe_is_told_and_can_be_repeated() {
    let mut home = Home::new("module-probe");
    block_on(async {
        let module = module();
        let bind = SocketAddr::from(([0, 0, 0, 0], 0));
        module.init(AppParams { probe_server: Some(home.server), bind, ..params() }).await.expect("init");
        let event = module.events().recv().await.expect("an event");
        let ModuleEvent::NatChanged(report) = event else { panic!("{event:?}") };
        assert!(!report.is_blocked());
        let (first, second) = zip(module.reset_p2p(), module.reset_p2p()).await;
        assert_eq!((code(first), code(second)), (0, -2201));
        assert!(matches!(module.check_reset().await, Ok(false)), "nothing has failed");
        assert!(module.check_can_retry());
        // The server is gone: the probe fails, and can be mended only when there is a server.
        home._server.stop();
        home._server.wait(START);
        assert_eq!(code(module.reset_p2p().await), -2202);
        assert!(!module.check_can_retry());
        assert_eq!(code(module.check_reset().await), -2202);
        module.destroy().await;
    });
    home.camera.stop();
}

/// -2000, -2001, -2005, -2401, -2402, -2403 of services.
#[test]
fn services_and_their_codes() {
    let mut home = Home::new("module-services");
    block_on(async {
        let module = module();
        module.init(AppParams { patience: Duration::from_secs(3), ..params() }).await.expect("init");
        let start = async |id: &str, info: StreamInfo| code(module.start_p2p_service(id, info).await);
        let with = |change: &dyn Fn(&mut StreamInfo)| {
            let mut info = home.stream();
            change(&mut info);
            info
        };
        assert_eq!(start("", home.stream()).await, -2000);
        assert_eq!(start("a", with(&|i| i.url.clear())).await, -2000);
        assert_eq!(start("a", with(&|i| i.url = "ftp://example.org/ipc.flv".to_owned())).await, -2000);
        assert_eq!(start("a", with(&|i| i.url = LIVE.replace("quality=high", "quality=best"))).await, -2000);
        assert_eq!(start("a", with(&|i| i.url.push_str("&_token=1"))).await, -2000, "internal keys");
        assert_eq!(start("a", with(&|i| i.xp2p_info.clear())).await, -2001);
        assert_eq!(start("a", with(&|i| i.xp2p_info = "XP2Pnonsense%2.4.0".to_owned())).await, -2001);
        let parsed = Xp2pInfo::parse(&home.info).expect("an xp2pInfo");
        let old = Xp2pInfo::new(
            *parsed.camera(),
            *parsed.ticket(),
            parsed.servers().to_vec(),
            "2.2.9".parse().expect("a version"),
        )
        .expect("an xp2pInfo");
        assert_eq!(start("a", with(&|i| i.xp2p_info = old.to_text())).await, -2005);
        // Decision 21: it is another device than the one that is wanted; both names are told.
        let other = module.start_p2p_service("a", with(&|i| i.device_name = "garage".to_owned())).await;
        let other = other.expect_err("another device");
        assert_eq!(other.code.number(), -2001);
        assert!(other.message.contains("home/door") && other.message.contains("home/garage"), "{other}");
        assert_eq!(code(module.service("a")), -2403, "a start that failed leaves nothing");

        assert_eq!(start("a", home.stream()).await, 0);
        assert_eq!(start("a", home.stream()).await, -2401);
        // Several devices at once; here the same one under another id.
        assert_eq!(start("home/door", home.stream()).await, 0);
        let service = module.service("a").expect("a service");
        // `_crypto=off` is accepted and ignored.
        assert_eq!(code(service.start_stream(Some("ipc.flv?action=live&_crypto=off")).await), 0);
        assert_eq!(code(service.start_stream(None).await), -2401, "one stream of a type");
        assert_eq!(code(service.start_stream(Some("ipc.flv?action=dance")).await), -2000);
        assert_eq!(code(service.stop_stream(StreamKind::Playback).await), -2403);
        assert_eq!(code(service.stop_stream(StreamKind::Live).await), 0);
        assert_eq!(code(service.send_command("action=nonsense", None).await), -2000);
        assert_eq!(code(service.stop_voice()), -2403);
        assert_eq!(code(module.stop_p2p_service("a").await), 0);
        assert_eq!(code(module.stop_p2p_service("a").await), -2403);
        assert_eq!(code(service.start_stream(None).await), -2403, "the service was stopped");
        assert_eq!(code(service.send_command("action=user_define&channel=0&cmd=x", None).await), -2403);

        // The camera is gone without a goodbye: -2402 once patience is over; those that run get `disconnect`.
        home.camera.stop();
        home.camera.wait(START);
        let running = module.service("home/door").expect("a service");
        assert_eq!(start("b", home.stream()).await, -2402);
        let ended = within(Duration::from_secs(60), "disconnect", async {
            loop {
                match running.events().recv().await.expect("an event") {
                    ServiceEvent::Disconnect { code, .. } => return code,
                    _ => continue,
                }
            }
        });
        assert_eq!(ended.await, ErrorCode::StreamStartFailed);
        module.destroy().await;
    });
}

/// A recorder that yields a tone, pauses, and reaches its longest recording once.
struct Tone {
    left: Vec<Recorded>,
    renewed: bool,
}

impl Tone {
    fn new() -> Self {
        let tone = || Recorded::Samples((0..4_000).map(|i| ((i * 37) % 2_000) as i16).collect());
        let left = vec![
            Recorded::Ended,
            tone(),
            Recorded::LimitReached,
            Recorded::Resumed,
            Recorded::Paused { in_interruption: true },
            tone(),
        ];
        Self { left, renewed: false }
    }
}

impl Recorder for Tone {
    fn read(&mut self) -> io::Result<Recorded> {
        assert!(self.left.len() > 2 || self.renewed, "it begins anew before it goes on");
        Ok(self.left.pop().unwrap_or(Recorded::Ended))
    }

    fn renew(&mut self) -> io::Result<()> {
        self.renewed = true;
        Ok(())
    }
}

/// Everything at once over one link: live and playback, quality switch, commands, players, talk, download.
#[test]
fn one_link_carries_the_whole_conversation() {
    let mut home = Home::new("module-all");
    block_on(async {
        let module = module();
        module.init(params()).await.expect("init");
        let (service, kind, hub, url) =
            module.start_p2p_service_with_stream("home/door", home.stream()).await.expect("a stream");
        assert_eq!(kind, StreamKind::Live);
        // Nothing is lost between subscribing and the first event.
        let events = service.events();
        let mut names = Vec::new();
        within(START, "a first picture", async {
            while hub.subscribe().next_tag().await.is_none_or(|t| !t.is_keyframe()) {
                xp2p_smol::driver::runtime::sleep(&Smol, Duration::from_millis(20)).await;
            }
        })
        .await;
        // The picture comes another way than what is told of it, and may be sooner.
        within(START, "what is told of it", async {
            while names.last() != Some(&"parsed") {
                names.push(match events.recv().await.expect("an event") {
                    ServiceEvent::Connected { .. } => "connected",
                    ServiceEvent::Request { .. } => "request",
                    ServiceEvent::Parsed { status, headers, .. } => {
                        assert_eq!((status, headers.content_type.as_deref()), (200, Some("video/x-flv")));
                        "parsed"
                    }
                    _ => continue,
                });
            }
        })
        .await;
        assert_eq!(names, ["connected", "request", "parsed"]);

        // A playback beside it, and another quality on the same link.
        let playback = "ipc.flv?action=playback&channel=0&start_time=1700000000&end_time=1700000009";
        let (kind, recording, playback_url) = service.start_stream(Some(playback)).await.expect("a playback");
        assert_eq!(kind, StreamKind::Playback);
        assert!(
            within(START, "a recording", async { recording.subscribe().next_tag().await }).await.is_some()
        );
        service.stop_stream(StreamKind::Live).await.expect("stopped");
        let switched = service.start_stream(Some("ipc.flv?action=live&channel=0&quality=standard")).await;
        let (_, live, live_url) = switched.expect("another quality");
        assert!(
            within(START, "the other quality", async { live.subscribe().next_tag().await }).await.is_some()
        );
        assert!(!events_contain(&events, |e| matches!(e, ServiceEvent::Connected { .. })), "no new link");

        // Players find both; the local server can be reset below them.
        assert_ne!(live_url, playback_url);
        assert!(live_url.contains("/home%2Fdoor/ipc.flv?"), "{live_url}");
        assert!(play(&live_url).starts_with(b"FLV"));
        assert!(play(&playback_url).starts_with(b"FLV"));
        let news = module.player_events();
        assert!(matches!(news.recv().await, Ok(PlayerEvent::Ready { .. })));
        for _ in 0..2 {
            let pulled = within(START, "playerStartPull", news.recv()).await;
            assert_eq!(pulled, Ok(PlayerEvent::StartPull { id: "home/door".to_owned() }));
            let closed = within(START, "playerClose", news.recv()).await;
            assert_eq!(closed, Ok(PlayerEvent::Close { id: "home/door".to_owned() }));
        }
        module.reset_player().expect("reset");
        assert!(matches!(news.recv().await, Ok(PlayerEvent::Ready { .. })));
        let moved = service.player_url(StreamKind::Live).expect("a URL");
        assert_ne!(moved, live_url);
        assert!(play(&moved).starts_with(b"FLV"));
        assert!(TcpStream::connect(address(&url)).is_err(), "the old server is gone");

        // Commands in parallel, and the type of their result.
        let status = service
            .send_command("action=inner_define&channel=0&cmd=get_device_st&type=live&quality=high", None);
        let unknown = service.send_command("action=inner_define&channel=0&cmd=make_tea", None);
        let (status, unknown) = zip(status, unknown).await;
        let status = status.expect("sent");
        assert_eq!(status.kind(), "success");
        let CommandOutcome::Success { data } = status else { panic!("{status:?}") };
        assert_eq!(DeviceStatus::parse(&data).expect("a status").max_connect_num, Some(16));
        assert!(matches!(unknown.expect("sent"), CommandOutcome::Failure { status: 406, .. }));

        // Link, buffer, timing.
        assert_eq!(service.link_mode().await.expect("a module"), Some(PathKind::Direct));
        assert_eq!(service.stream_buf_size(StreamKind::Live).expect("a stream"), 0, "no player waits");
        assert!(service.status(StreamKind::Live).await.expect("a status").stats.is_some());
        // The same over HTTP, where a page or a player finds it.
        let stat: Value = serde_json::from_str(&get(&module.stat_url().expect("a URL"))).expect("JSON");
        let told = &stat["services"][0];
        assert_eq!(
            (told["id"].as_str(), told["link"].as_str()),
            (Some("home/door"), Some("direct")),
            "{stat}"
        );
        assert!(told["rtt_ms"].as_f64().is_some_and(|ms| ms > 0.0), "{stat}");
        let bytes = |way: &str| told["bytes"][way]["received"].as_u64().expect("a number");
        assert!(bytes("p2p") > 10_000 && bytes("relay") > 0, "{stat}");
        let stream = |action: &str| {
            let streams = told["streams"].as_array().expect("a list");
            streams.iter().find(|s| s["action"] == action).unwrap_or_else(|| panic!("{stat}")).clone()
        };
        for action in ["live", "playback"] {
            let stream = stream(action);
            for field in ["bytes", "tags", "keyframes"] {
                assert!(stream[field].as_u64().is_some_and(|n| n > 0), "{field}: {stat}");
            }
            assert_eq!((&stream["players"], &stream["queued"]), (&json!(0), &json!(0)), "{stat}");
        }
        assert!(stream("live")["first_keyframe_ms"].as_f64().is_some(), "{stat}");
        let startup = service.startup().await.expect("a module");
        for step in [
            startup.player,
            startup.init,
            startup.service,
            startup.check,
            startup.start,
            startup.header,
            startup.data,
            startup.keyframe,
        ] {
            assert!(step.is_some_and(|t| t < START), "{startup:?}");
        }

        // Talk from a recorder, with all its callbacks; a second one is told busy.
        let talk =
            service.start_voice(0, Box::new(Tone::new()), VoiceOptions::default()).await.expect("a talk");
        assert_eq!(code(service.start_voice(0, Box::new(Tone::new()), VoiceOptions::default()).await), -2401);
        let mut told = Vec::new();
        while let Ok(event) = within(START, "the end of the talk", talk.recv()).await {
            told.push(event);
        }
        assert_eq!(
            told,
            [
                VoiceEvent::Start,
                VoiceEvent::Pause { in_interruption: true },
                VoiceEvent::Resume,
                VoiceEvent::Stop { will_restart: true },
                VoiceEvent::Stop { will_restart: false },
                VoiceEvent::Success,
                VoiceEvent::Complete,
            ]
        );
        // FLV in chunks; meanwhile another viewer gets -2601, because the camera answers busy.
        let voice = Voice { channel: 0, calltype: CallType::Video };
        let mut writer = service.start_voice_data(voice).await.expect("a talk");
        let other = module.start_p2p_service("other", home.stream()).await.expect("a service");
        let busy = other.start_voice(0, Box::new(Tone::new()), VoiceOptions::default()).await;
        assert_eq!(busy.expect_err("busy").code.number(), -2601);
        let clip = std::fs::read(CLIP).expect("a clip");
        for chunk in clip.chunks(10_000).take(20) {
            writer.add_chunk(chunk.to_vec()).await.expect("said");
        }
        assert_eq!(writer.complete().await, VoiceEvent::Success);

        // A file: headers, chunks, success; and -2701 when no more can be started.
        let file = "channel=0&file_name=2023-11-14T22-13-20Z.flv&offset=0";
        let download = service.start_local_download(file, Resume::default()).await.expect("a download");
        let mut bytes = Vec::new();
        loop {
            match within(START, "a file", download.next()).await.expect("an event") {
                DownloadEvent::Headers { status, left, .. } => {
                    assert_eq!((status, left), (200, Some(clip.len() as u64)));
                }
                DownloadEvent::Data { offset, data } => {
                    assert_eq!(offset, bytes.len() as u64);
                    download.release(data.len()).await;
                    bytes.extend_from_slice(&data);
                }
                DownloadEvent::Done { digest, .. } => {
                    assert_eq!(digest, *blake3::hash(&clip).as_bytes());
                    break;
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(bytes, clip);
        assert_eq!(
            code(service.start_local_download("channel=0&file_name=", Resume::default()).await),
            -2000
        );
        let mut kept = Vec::new();
        let refused = loop {
            match service.start_local_download(file, Resume::default()).await {
                Ok(download) => kept.push(download),
                Err(e) => break e,
            }
            assert!(kept.len() < 100, "there is a limit");
        };
        assert_eq!(refused.code, ErrorCode::DownloadFailed);
        service.stop_local_download().await.expect("stopped");
        assert_eq!(
            code(service.start_local_download(file, Resume::default()).await),
            0,
            "there is room again"
        );
        module.destroy().await;
        assert_eq!(code(service.start_stream(None).await), -2002, "the module was destroyed");
        assert_eq!(code(service.stop_local_download().await), -2002);
    });
    // The camera has heard the tone: both halves.
    let heard = std::fs::read(home.dir.path().join("heard.wav")).expect("a file");
    assert_eq!(heard.len(), 44 + 2 * 8_000);
    home.camera.stop();
}

fn events_contain(
    events: &async_channel::Receiver<ServiceEvent>,
    is: impl Fn(&ServiceEvent) -> bool,
) -> bool {
    std::iter::from_fn(|| events.try_recv().ok()).any(|e| is(&e))
}

fn address(url: &str) -> &str {
    url.trim_start_matches("http://").split('/').next().expect("an address")
}

/// The first bytes of a stream's body, as a player gets them.
fn play(url: &str) -> Vec<u8> {
    let path = url.trim_start_matches("http://").split_once('/').expect("a path").1;
    let mut tcp = TcpStream::connect(address(url)).expect("the local server");
    tcp.set_read_timeout(Some(START)).expect("a timeout");
    write!(tcp, "GET /{path} HTTP/1.0\r\nHost: {}\r\n\r\n", address(url)).expect("sent");
    let begun = Instant::now();
    let mut bytes = Vec::new();
    loop {
        let mut buf = [0; 4096];
        let n = tcp.read(&mut buf).expect("bytes");
        bytes.extend_from_slice(&buf[..n]);
        if let Some(at) = bytes.windows(4).position(|w| w == b"\r\n\r\n")
            && bytes.len() > at + 4 + 13
        {
            let head = String::from_utf8_lossy(&bytes[..at]).into_owned();
            assert!(head.contains("200 OK"), "{head}");
            return bytes[at + 4..].to_vec();
        }
        assert!(n > 0 && begun.elapsed() < START, "it ended: {}", String::from_utf8_lossy(&bytes));
    }
}

/// A code that no test here provokes says why.
#[test]
fn each_code_is_provoked_or_says_why_not() {
    let here = include_str!("module.rs");
    // (code, where it is provoked instead, or why it cannot be)
    let elsewhere = [
        (
            ErrorCode::EncryptionFailed,
            "two of ours always agree on TLS; link::conn's unit test maps the alert",
        ),
        (
            ErrorCode::DecryptionFailed,
            "two of ours always agree on TLS; link::conn's unit test maps the error",
        ),
        (ErrorCode::Unsupported, "module_swarm: what only a camera can be asked"),
        (ErrorCode::DeviceStatusFailed, "transit: a camera that does not say whether it has room"),
    ];
    for code in ErrorCode::ALL {
        let number = code.number();
        let provoked =
            here.contains(&format!(", {number})")) || here.contains(&format!("number(), {number}"));
        let provoked = provoked || here.contains(&format!("ErrorCode::{code:?})"));
        let explained = elsewhere.iter().any(|(c, _)| *c == code);
        assert!(provoked || (explained && code != ErrorCode::Ok), "{code} is neither provoked nor explained");
    }
}
