//! A camera with room for two and ten who want to see it, as real processes on loopback: eight get it through the server, and
//! from each other. Nobody gets it there who may not see it.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use futures_lite::future::{block_on, or};
use serde_json::Value;
use xp2p_smol::driver::module::{AppParams, StreamInfo};
use xp2p_smol::driver::player::Hub;
use xp2p_smol::driver::runtime::sleep;
use xp2p_smol::driver::viewer::ServiceEvent;
use xp2p_smol::proto::info::Xp2pInfo;
use xp2p_smol::{P2pModule, Smol};
use xp2p_tests::probing::streams;
use xp2p_tests::processes::{Process, TempDir, get, program, run};

const CLIP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/clip.flv");
const START: Duration = Duration::from_secs(15);
/// Much longer than any of this takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);
const VIEWERS: usize = 10;
/// How many of them the camera takes itself.
const DIRECT: usize = 2;
/// Of the stream, for each viewer.
const SECONDS: &str = "20";

/// A server of many viewers.
struct Home {
    dir: TempDir,
    server: Process,
    spec: String,
    /// `HOST:PORT` of its media.
    domain: String,
    status: String,
}

impl Home {
    fn new(name: &str) -> Self {
        // Built first, or its time would be that of the server.
        program();
        let dir = TempDir::new(name);
        let args = [
            "server",
            "--listen",
            "127.0.0.1:0",
            "--media",
            "127.0.0.1:0",
            "--http",
            "127.0.0.1:0",
            "--json",
        ];
        let mut server = Process::start("server", dir.path(), &args);
        let http = server.error_line(START, "health and metrics");
        let http = http.split_whitespace().find(|w| w.starts_with("http://")).expect("a URL");
        let status = http.trim_end_matches([',', ' ']).replace("/health", "/status");
        let spec = event(&mut server, "listening")["server"].as_str().expect("text").to_owned();
        let media = event(&mut server, "media")["url"].as_str().expect("text").to_owned();
        let domain = media.trim_start_matches("http://").split('/').next().expect("a host").to_owned();
        Self { dir, server, spec, domain, status }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A camera of the product `cam`, and its xp2pInfo, which is also in `NAME.info`.
    fn camera(&self, name: &str, more: &[&str]) -> (Process, String) {
        let key = format!("{name}.key");
        assert_eq!(run(self.path(), &["keygen", "-o", &key], None).0, Some(0));
        let usual = ["camera", "--key", &key, "--server", &self.spec, "--product", "cam", "--name", name];
        let args = [&usual[..], &["--input", CLIP], more].concat();
        let mut camera = Process::start(name, self.path(), &args);
        let info = camera.line(START);
        std::fs::write(self.path().join(format!("{name}.info")), &info).expect("written");
        (camera, info)
    }

    fn status(&self) -> Value {
        serde_json::from_str(&get(&self.status)).expect("JSON")
    }

    /// The status of an answer for a camera's stream.
    fn asked(&self, name: &str, query: &str, header: &str) -> u16 {
        let mut tcp = TcpStream::connect(&self.domain).expect("the server");
        tcp.set_read_timeout(Some(START)).expect("a timeout");
        write!(tcp, "GET /live/cam/{name}.flv{query} HTTP/1.1\r\nHost: {}\r\n{header}\r\n", self.domain)
            .expect("sent");
        let mut head = [0; 12];
        tcp.read_exact(&mut head).expect("an answer");
        let head = String::from_utf8_lossy(&head);
        head.strip_prefix("HTTP/1.1 ").expect("HTTP").parse().expect("a status")
    }
}

/// The next event of this kind.
fn event(process: &mut Process, kind: &str) -> Value {
    events_until(process, kind).pop().expect("one at least")
}

/// All events up to the next one of this kind.
fn events_until(process: &mut Process, kind: &str) -> Vec<Value> {
    let end = Instant::now() + PATIENCE;
    let mut events: Vec<Value> = Vec::new();
    while events.last().is_none_or(|last| last["event"] != kind) {
        let line = process.line(end.saturating_duration_since(Instant::now()));
        events.push(serde_json::from_str(&line).expect("JSON"));
    }
    events
}

fn token(info: &str) -> String {
    let info = Xp2pInfo::parse(info).expect("an xp2pInfo");
    info.capability().expect("a capability").to_base64()
}

#[test]
fn ten_viewers_see_a_camera_that_has_room_for_two() {
    let mut home = Home::new("transit");
    let (_door, _) = home.camera("door", &["--max-viewers", "2", "--allow-transit"]);
    let offered = event(&mut home.server, "transit-offered");
    assert_eq!(offered["name"], "cam/door");
    let mut viewers = Vec::new();
    for n in 0..VIEWERS {
        let out = format!("{n}.flv");
        let args = [
            "view",
            "@door.info",
            "--live-stream-domain",
            &home.domain,
            "--out",
            &out,
            "--seconds",
            SECONDS,
            "--json",
        ];
        viewers.push(Process::start(&format!("view {n}"), home.path(), &args));
        std::thread::sleep(Duration::from_millis(300));
    }
    // All at once: the camera serves two and the server, which fetches it once for all others.
    event(&mut home.server, "transit-began");
    let (mut direct, mut shared) = (0, 0);
    let (mut from_viewers, mut from_server) = (0, 0);
    for (n, viewer) in viewers.iter_mut().enumerate() {
        let lines = viewer.rest(PATIENCE);
        assert!(viewer.wait(START).success(), "viewer {n} has seen nothing");
        let summary: Value = serde_json::from_str(lines.last().expect("a summary")).expect("JSON");
        assert_eq!(summary["event"], "summary");
        match summary["offload"].as_f64() {
            Some(_) => {
                shared += 1;
                from_viewers += summary["p2p_bytes"].as_u64().expect("a number");
                from_server += summary["origin_bytes"].as_u64().expect("a number");
            }
            None => direct += 1,
        }
        let codecs = streams(home.path().join(format!("{n}.flv")));
        assert!(codecs.contains("h264") && codecs.contains("aac"), "viewer {n}: {codecs}");
    }
    println!(
        "{direct} from the camera, {shared} together: {from_viewers} bytes from viewers, {from_server} from the server"
    );
    assert_eq!((direct, shared), (DIRECT, VIEWERS - DIRECT));
    assert!(from_viewers > from_server / 2, "they share");
    // When all have left, so does the server; it has come once.
    let events = events_until(&mut home.server, "transit-ended");
    assert!(events.iter().all(|e| e["event"] != "transit-began"), "{events:?}");
    let status = home.status();
    println!("{status:#}");
    let one = &status["transit"][0];
    assert_eq!((&one["name"], &one["clients"]), (&"cam/door".into(), &0.into()));
    assert!(one["sent_bytes"].as_u64() > Some(100_000));
}

#[test]
fn nobody_sees_a_camera_there_without_its_capability() {
    let mut home = Home::new("transit-refused");
    let (_door, info) = home.camera("door", &["--allow-transit"]);
    event(&mut home.server, "transit-offered");
    let (mut garage, other) = home.camera("garage", &["--allow-transit"]);
    event(&mut home.server, "transit-offered");
    let (_attic, closed) = home.camera("attic", &[]);
    let good = token(&info);
    assert_eq!(home.asked("door", "", ""), 401);
    assert_eq!(home.asked("none", "", ""), 401, "nobody learns what there is");
    assert_eq!(home.asked("door", &format!("?token={}", token(&other)), ""), 403, "of another camera");
    assert_eq!(home.asked("door", "?token=nonsense", ""), 403);
    assert_eq!(
        home.asked("attic", &format!("?token={}", token(&closed)), ""),
        403,
        "it does not allow transit"
    );
    // A good signature of the right camera for something else, and one that is over.
    let share = |args: &[&str]| {
        let (code, out, errors) =
            run(home.path(), &[&["share", "--key", "door.key", "@door.info"], args].concat(), None);
        assert_eq!(code, Some(0), "{errors}");
        token(out.trim())
    };
    assert_eq!(home.asked("door", &format!("?token={}", share(&["--rights", "playback"])), ""), 403);
    let short = share(&["--expires", "1s"]);
    std::thread::sleep(Duration::from_millis(2_100));
    assert_eq!(home.asked("door", &format!("?token={short}"), ""), 403);
    assert_eq!(home.status()["transit"].as_array().map(Vec::len), Some(2));
    assert_eq!(home.asked("door", &format!("?token={good}"), ""), 200);
    assert_eq!(home.asked("door", "", &format!("Authorization: Bearer {good}\r\n")), 200);
    // Revoked: the stream is offered anew, and the old capability opens it no longer.
    assert_eq!(run(home.path(), &["revoke", "--key", "door.key"], None).0, Some(0));
    let offered = event(&mut home.server, "transit-offered");
    assert_eq!(offered["name"], "cam/door");
    assert_eq!(home.asked("door", &format!("?token={good}"), ""), 403);
    // A camera that has left is away, which is no question of rights.
    garage.stop();
    event(&mut home.server, "transit-withdrawn");
    assert_eq!(home.asked("garage", &format!("?token={}", token(&other)), ""), 404);
}

/// A viewer of the stream of `door` with this query.
fn watch(home: &Home, name: &str, query: &str) -> Process {
    let url = format!("http://{}/live/cam/door.flv{query}", home.domain);
    let out = format!("{name}.flv");
    let args = ["watch", &url, "--tracker", &home.spec, "--out", &out, "--no-player", "--json"];
    Process::start(name, home.path(), &args)
}

#[test]
fn nobody_joins_those_who_share_a_camera_without_its_capability() {
    let mut home = Home::new("transit-members");
    let (_door, info) = home.camera("door", &["--allow-transit"]);
    event(&mut home.server, "transit-offered");
    let (_garage, other) = home.camera("garage", &["--allow-transit"]);
    event(&mut home.server, "transit-offered");
    let good = format!("?token={}", token(&info));
    let mut first = watch(&home, "first", &good);
    event(&mut first, "first-picture");
    let mut strangers = [
        (watch(&home, "without", ""), "only those may share", "401"),
        (watch(&home, "wrong", &format!("?token={}", token(&other))), "ask for a new xp2pInfo", "403"),
    ];
    for (stranger, why, status) in &mut strangers {
        // Which of the two comes first is chance.
        let mut events = events_until(stranger, "refused");
        let refused = events.last().expect("it is the last one")["reason"].as_str().expect("text").to_owned();
        assert!(refused.contains(*why), "{refused}");
        if !events.iter().any(|e| e["event"] == "origin-failed") {
            events.push(event(stranger, "origin-failed"));
        }
        let failed = events.iter().find(|e| e["event"] == "origin-failed").expect("there is one");
        assert!(failed["reason"].as_str().is_some_and(|r| r.contains(*status)), "{failed}");
    }
    let mut second = watch(&home, "second", &good);
    let events = events_until(&mut second, "neighbour");
    assert!(events.iter().all(|e| e["event"] != "refused"), "{events:?}");
    event(&mut second, "first-picture");
    assert_eq!(home.status()["members"], 2);
    let seen = |process: &mut Process, what: &str| process.lines_so_far().iter().any(|l| l.contains(what));
    for (stranger, _, _) in &mut strangers {
        for what in ["first-picture", "neighbour", "tracked"] {
            assert!(!seen(stranger, what), "a stranger has seen {what}");
        }
    }
}

#[test]
fn a_reader_is_cut_off_when_its_capability_expires() {
    let mut home = Home::new("transit-expired");
    let (_door, info) = home.camera("door", &["--allow-transit"]);
    event(&mut home.server, "transit-offered");
    let (code, short, errors) =
        run(home.path(), &["share", "--key", "door.key", "@door.info", "--expires", "8s"], None);
    assert_eq!(code, Some(0), "{errors}");
    let short = Xp2pInfo::parse(short.trim()).expect("an xp2pInfo");
    let short = short.capability().expect("a capability");
    let expiry = Duration::from_secs(short.expiry().expect("it expires").get());
    let read = |token: &str| {
        let mut tcp = TcpStream::connect(&home.domain).expect("the server");
        tcp.set_read_timeout(Some(START)).expect("a timeout");
        write!(tcp, "GET /live/cam/door.flv?token={token} HTTP/1.1\r\nHost: a\r\n\r\n").expect("sent");
        tcp
    };
    let mut lasting = read(&token(&info));
    let mut passing = read(&short.to_base64());
    let unix = || std::time::SystemTime::UNIX_EPOCH.elapsed().expect("after 1970");
    let (mut buffer, mut got) = (vec![0; 64 * 1024], 0);
    while unix() < expiry + PATIENCE {
        match passing.read(&mut buffer) {
            Ok(n) if n > 0 => got += n,
            _ => break,
        }
    }
    let end = unix();
    println!("cut off {:?} after the end, with {got} bytes", end.saturating_sub(expiry));
    assert!(got > 10_000, "it was served before");
    assert!(end >= expiry && end < expiry + Duration::from_secs(5));
    assert_eq!(home.asked("door", &format!("?token={}", short.to_base64()), ""), 403);
    // The other one has read nothing so far; what waits for it is less than what it can have now.
    let mut more = 0;
    while more < 4 * got {
        let n = lasting.read(&mut buffer).expect("it goes on");
        assert!(n > 0, "the stream goes on for all others");
        more += n;
    }
}

async fn picture(hub: &Hub) {
    let mut subscription = hub.subscribe();
    let first = async { while !subscription.next_tag().await.expect("a tag").is_keyframe() {} };
    let late = async {
        sleep(&Smol, PATIENCE).await;
        panic!("no picture within {PATIENCE:?}");
    };
    or(first, late).await;
}

#[test]
fn a_module_goes_where_there_is_room() {
    let mut home = Home::new("transit-module");
    let (_door, info) = home.camera("door", &["--max-viewers", "1", "--allow-transit"]);
    event(&mut home.server, "transit-offered");
    block_on(async {
        let module = P2pModule::new(Smol).expect("randomness");
        let bind = "127.0.0.1:0".parse().expect("an address");
        let params = AppParams::new("wx0", "oauth", "key", "secret", "org.example.app");
        module.init(AppParams { bind, ..params }).await.expect("init");
        let stream = StreamInfo {
            url: "http://XP2P_INFO.xnet/ipc.p2p.com/ipc.flv?action=live&channel=0&quality=high".to_owned(),
            xp2p_info: info.clone(),
            live_stream_domain: home.domain.clone(),
            ..StreamInfo::default()
        };
        // Both connect while there is room; the second one to start its stream finds none any more.
        let first = module.start_p2p_service("first", stream.clone()).await.expect("a service");
        let second = module.start_p2p_service("second", stream.clone()).await.expect("a service");
        let (_, hub, _) = first.start_stream(None).await.expect("a stream");
        picture(&hub).await;
        assert!(first.sharing().await.is_none(), "the camera itself");
        let (_, hub, url) = second.start_stream(None).await.expect("a stream");
        picture(&hub).await;
        assert!(second.sharing().await.is_some_and(|s| s.origin_bytes > 0), "the server");
        assert!(url.contains("/second/ipc.flv?action=live"), "{url}");
        let events = second.events();
        let statuses: Vec<u16> = std::iter::from_fn(|| events.try_recv().ok())
            .filter_map(|event| match event {
                ServiceEvent::Parsed { status, .. } => Some(status),
                _ => None,
            })
            .collect();
        assert_eq!(statuses, [503, 200]);
        // The third one is told before it starts anything, and names that are wrong are found out all the same.
        let third = module.start_p2p_service("third", stream.clone()).await.expect("a service");
        assert_eq!(
            third
                .send_command("action=user_define&channel=0&cmd=x", None)
                .await
                .err()
                .map(|e| e.code.number()),
            Some(-2004)
        );
        let wrong = StreamInfo { device_name: "garage".to_owned(), ..stream.clone() };
        let wrong = module.start_p2p_service("wrong", wrong).await.expect_err("another device");
        assert_eq!(wrong.code.number(), -2001, "{wrong}");
        // A capability that does not allow to ask.
        let (code, narrow, errors) =
            run(home.path(), &["share", "--key", "door.key", "@door.info", "--rights", "playback"], None);
        assert_eq!(code, Some(0), "{errors}");
        let narrow = StreamInfo { xp2p_info: narrow.trim().to_owned(), ..stream.clone() };
        let narrow = module.start_p2p_service("narrow", narrow).await.expect_err("no answer");
        assert_eq!(narrow.code.number(), -2801, "{narrow}");
        let nowhere = StreamInfo { live_stream_domain: "a b".to_owned(), ..stream };
        let nowhere = module.start_p2p_service("nowhere", nowhere).await.expect_err("no domain");
        assert_eq!(nowhere.code.number(), -2000, "{nowhere}");
        module.destroy().await;
    });
}
