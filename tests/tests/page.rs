//! The web page of a local server, over real HTTP: who may ask, and that what is asked reaches the camera.

use std::io::Read as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_lite::future::block_on;
use serde_json::json;
use xp2p_proto::camera::ViewerId;
use xp2p_proto::flv::Tag;
use xp2p_proto::info::Xp2pInfo;
use xp2p_proto::request::{Command, Live, Quality, Voice};
use xp2p_proto::voice::{Decoded, VoiceDecoder};
use xp2p_smol::driver::camera::{Answer, CameraApp, CameraHandle, VoiceSink};
use xp2p_smol::driver::page::{CameraAbout, CameraPage};
use xp2p_smol::driver::player::{PlayerConfig, PlayerServer};
use xp2p_smol::driver::records::{RecordsDir, Storage};
use xp2p_smol::driver::source::{Sink, Source, SourceEvent, SourceSpec};
use xp2p_smol::{Smol, ViewerHandle};
use xp2p_tests::local::{self, Home as Server};
use xp2p_tests::processes::{Process, TempDir};
use xp2p_tests::web::Place;

const CLIP: &[u8] = include_bytes!("../fixtures/clip.flv");
const RECORDED: &str = "2023-11-14T22-13-20Z.flv";
/// When that begins.
const START: u64 = 1_700_000_000;
const FRIEND: &str = "https://friend.example";

/// What the camera was told and has heard.
#[derive(Debug, Default)]
struct Heard {
    commands: Vec<String>,
    samples: Vec<i16>,
    talks: Vec<bool>,
}

struct App {
    storage: Arc<dyn Storage>,
    heard: Arc<Mutex<Heard>>,
}

impl CameraApp for App {
    fn command(&self, _viewer: ViewerId, command: Command, answer: Answer) {
        self.heard.lock().expect("a lock").commands.push(command.cmd);
        answer.reply(r#"{"status":"0"}"#);
    }

    fn storage(&self) -> Option<Arc<dyn Storage>> {
        Some(self.storage.clone())
    }

    fn voice(&self, _viewer: ViewerId, _voice: Voice) -> Option<Box<dyn VoiceSink>> {
        Some(Box::new(Ear(self.heard.clone())))
    }
}

struct Ear(Arc<Mutex<Heard>>);

impl VoiceSink for Ear {
    fn tag(&mut self, tag: Tag) -> std::io::Result<()> {
        if let Ok(Decoded::Samples { samples, .. }) = VoiceDecoder::default().decode(&tag) {
            self.0.lock().expect("a lock").samples.extend(samples);
        }
        Ok(())
    }

    fn end(self: Box<Self>, complete: bool) {
        self.0.lock().expect("a lock").talks.push(complete);
    }
}

/// A server, a camera that shows a clip, a viewer, and the page of that viewer.
struct Home {
    place: Place,
    heard: Arc<Mutex<Heard>>,
    info: Xp2pInfo,
    viewer: ViewerHandle,
    _players: PlayerServer,
    _source: Source,
    _camera: CameraHandle,
    _server: Server,
    _dir: TempDir,
}

fn loopback() -> SocketAddr {
    "127.0.0.1:0".parse().expect("an address")
}

impl Home {
    fn new(name: &str) -> Self {
        let dir = TempDir::new(name);
        std::fs::write(dir.path().join(RECORDED), CLIP).expect("a recording");
        let heard = Arc::<Mutex<Heard>>::default();
        let storage = Arc::new(RecordsDir::open(dir.path()).expect("a directory"));
        let app = Arc::new(App { storage, heard: heard.clone() });
        let server = Server::new(loopback());
        let at = server.server.local_addr();
        let (camera, info) = block_on(server.camera_with(loopback(), at, at, app, |config| {
            config.talk = true;
            config.product = "home".to_owned();
            config.name = "door".to_owned();
        }));
        let feed = camera.clone();
        let sink: Sink = Box::new(move |event| match event {
            SourceEvent::Tag(tag) => feed.push_blocking(0, Quality::High, tag, |_| ()).is_ok(),
            _ => true,
        });
        let source = Source::open(&SourceSpec::Memory(CLIP.into()), sink).expect("a source");
        let viewer = local::viewer(loopback());
        let live = Live::default();
        let (service, stream, hub) =
            block_on(viewer.watch(info.clone(), live.clone())).expect("a live stream");
        let about = CameraAbout::new("0", &info, live, stream, hub.clone());
        let page = CameraPage::new(&viewer, service.id, about);
        let mut config = PlayerConfig::new(loopback());
        config.allow_origins = vec![FRIEND.to_owned()];
        page.attach(&mut config);
        let players = PlayerServer::bind(&Smol, config).expect("a local server");
        players.insert("0", hub);
        let place = Place::new(&players.page_url());
        std::thread::spawn(move || {
            while let Ok(event) = service.events.recv_blocking() {
                page.note(&event);
            }
        });
        let home = Self {
            place,
            heard,
            info,
            viewer,
            _players: players,
            _source: source,
            _camera: camera,
            _server: server,
            _dir: dir,
        };
        home.until("a connection", |home| {
            let state = home.place.get("api/state").json();
            state["connection"]["state"] == "connected" && !state["first_picture_ms"].is_null()
        });
        home
    }

    fn until(&self, what: &str, done: impl Fn(&Self) -> bool) {
        let end = Instant::now() + Duration::from_secs(15);
        while !done(self) {
            assert!(Instant::now() < end, "no {what}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn heard<T>(&self, look: impl FnOnce(&Heard) -> T) -> T {
        look(&self.heard.lock().expect("a lock"))
    }

    fn more_streams(&self) -> u64 {
        self.place.get("api/state").json()["more_streams"].as_u64().expect("a number")
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        block_on(self.viewer.shutdown());
    }
}

#[test]
fn only_the_page_itself_may_ask() {
    let home = Home::new("page-guard");
    let place = &home.place;
    let root = place.root.clone();
    let page = place.get("");
    assert_eq!(page.status, 200);
    for line in [
        "content-type: text/html; charset=utf-8",
        "content-security-policy: default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; \
         media-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        "referrer-policy: no-referrer",
        "x-content-type-options: nosniff",
        "cross-origin-resource-policy: same-origin",
        "cross-origin-opener-policy: same-origin",
        "cache-control: no-store",
    ] {
        assert!(page.has(line), "{line} in {}", page.head);
    }
    assert!(place.get("page/app.js").has("content-type: text/javascript; charset=utf-8"));
    assert!(place.get("api/state").has("content-type: application/json"));
    assert_eq!(place.get("page/none.js").status, 404);

    // Without the token there is nothing, and words that say what to do.
    for path in ["/", "/api/state", "/wrong/", "/wrong/api/state"] {
        let nothing = place.ask("GET", path, "", b"");
        assert!(nothing.status == 404 && nothing.text().contains("address"), "{path}: {}", nothing.text());
    }
    let status = |method: &str, path: &str, headers: &str, body: &[u8]| {
        let answer = place.ask(method, &format!("{root}{path}"), headers, body);
        assert!(!answer.head.contains("access-control-allow"), "{path}: {}", answer.head);
        answer.status
    };
    let own = format!("origin: http://{}\r\n", place.host);
    let json = "content-type: application/json\r\n";
    let ptz = br#"{"move":"up"}"#;
    // Whoever is no browser, and the page itself.
    assert_eq!(status("GET", "api/state", "", b""), 200);
    assert_eq!(status("GET", "api/state", "sec-fetch-site: same-origin\r\n", b""), 200);
    assert_eq!(status("POST", "api/ptz", &format!("{own}{json}"), ptz), 200);
    assert_eq!(home.heard(|h| h.commands.len()), 1);
    // Everybody else: rebound names, other pages, those that may play included, and what they can send unasked.
    for (method, path, headers, body, wanted) in [
        ("GET", "", "host: rebound.example\r\n", &b""[..], 403),
        ("GET", "api/state", "host: rebound.example\r\n", b"", 403),
        ("GET", "", "origin: https://evil.example\r\n", b"", 403),
        ("GET", "api/state", "origin: https://evil.example\r\n", b"", 403),
        ("GET", "api/state", "origin: null\r\n", b"", 403),
        ("GET", "api/state", &format!("origin: {FRIEND}\r\n"), b"", 403),
        ("GET", "api/state", "sec-fetch-site: cross-site\r\n", b"", 403),
        ("GET", "api/state", "sec-fetch-site: same-site\r\n", b"", 403),
        ("POST", "api/ptz", &format!("origin: {FRIEND}\r\n{json}"), ptz, 403),
        (
            "OPTIONS",
            "api/ptz",
            "origin: https://evil.example\r\naccess-control-request-method: POST\r\n",
            b"",
            403,
        ),
        ("OPTIONS", "api/ptz", &format!("origin: {FRIEND}\r\n"), b"", 403),
        ("POST", "api/ptz", "content-type: text/plain\r\n", ptz, 415),
        ("POST", "api/ptz", "content-type: application/x-www-form-urlencoded\r\n", ptz, 415),
        ("POST", "api/ptz", "", ptz, 415),
        ("POST", "api/ptz", json, &[b' '; 64 * 1024 + 1], 413),
        ("POST", "api/ptz", json, br#"{"move":"around"}"#, 400),
        ("POST", "api/ptz", json, b"nonsense", 400),
        ("GET", "api/ptz", "", b"", 404),
        ("POST", "", json, b"{}", 405),
        ("DELETE", "api/state", "", b"", 405),
    ] {
        assert_eq!(status(method, path, headers, body), wanted, "{method} {path} {headers}");
    }
    assert_eq!(home.heard(|h| h.commands.len()), 1, "nothing of it reached the camera");
    let wrong = place.post("api/ptz", &json!({"move": "around"})).json();
    assert_eq!(wrong["error"]["code"], -2000);
    // Our own page and the friend may play; others may not.
    let flv = format!("{root}0/ipc.flv?action=live&channel=0&quality=high");
    for (headers, wanted) in [
        (own.clone(), 200),
        (format!("origin: {FRIEND}\r\n"), 200),
        ("origin: https://evil.example\r\n".to_owned(), 403),
    ] {
        assert_eq!(place.ask("HEAD", &flv, &headers, b"").status, wanted, "{headers}");
    }
}

#[test]
fn no_answer_holds_a_secret() {
    let home = Home::new("page-secret");
    let text = home.info.to_text();
    let capability = home.info.capability().expect("a capability").to_base64();
    let mut secrets = vec![text.trim_start_matches("XP2P")[..32].to_owned(), capability[..24].to_owned()];
    secrets.push(home.info.camera().to_string());
    home.until("a name", |home| home.place.get("api/state").json()["device"] == "door");
    let day = "api/records/day?day=20231114&zone=UTC";
    let mut answers: Vec<String> = [
        "",
        "page/app.js",
        "api/state",
        "api/records/month?month=202311",
        day,
        "api/files?start=0&end=2000000000",
        "api/none",
    ]
    .iter()
    .map(|path| home.place.get(path))
    .map(|answer| format!("{}{}", answer.head, answer.text()))
    .collect();
    for cmd in ["get_device_info", "get_device_st", "get_nvr_list"] {
        let command = json!({"action": "inner", "channel": 0, "cmd": cmd, "params": {}});
        answers.push(home.place.post("api/command", &command).text());
    }
    for answer in answers {
        for secret in &secrets {
            assert!(!answer.contains(secret.as_str()), "{secret} in {answer}");
        }
    }
}

#[test]
fn commands_and_the_pad_reach_the_camera() {
    let home = Home::new("page-command");
    let state = home.place.get("api/state").json();
    assert_eq!((&state["kind"], &state["link"]), (&json!("camera"), &json!("direct")), "{state}");
    assert!(state["features"].as_array().expect("a list").iter().all(|f| f["available"] == true), "{state}");
    home.until("channels", |home| {
        let state = home.place.get("api/state").json();
        state["channels"] == json!([{"channel": 0, "name": "door", "online": true}])
            && state["product"] == "home"
    });
    let command =
        json!({"action": "inner", "channel": 0, "cmd": "get_device_st", "params": {"type": "live"}});
    let told = home.place.post("api/command", &command).json();
    assert_eq!((&told["kind"], &told["data"][0]["status"]), (&json!("success"), &json!("0")), "{told}");
    let command = json!({"action": "user", "cmd": {"topic": "hello", "data": 1}});
    assert_eq!(home.place.post("api/command", &command).json()["kind"], "success");
    for step in ["left", "release"] {
        assert_eq!(
            home.place.post("api/ptz", &json!({"channel": 0, "move": step})).json()["kind"],
            "success"
        );
    }
    let commands = home.heard(|h| h.commands.clone());
    assert_eq!(commands[0], r#"{"data":1,"topic":"hello"}"#);
    assert!(
        commands[1].contains("ptz_left_press") && commands[2].contains("ptz_release_pre"),
        "{commands:?}"
    );
    // What the camera refuses is an outcome, not an error of the page.
    let told = home.place.post("api/command", &json!({"action": "inner", "cmd": "playback_pause"}));
    assert_eq!((told.status, told.json()["kind"].as_str()), (200, Some("failure")));
}

#[test]
fn recordings_and_files_are_found_and_fetched() {
    let home = Home::new("page-records");
    let place = &home.place;
    let month = place.get("api/records/month?channel=0&month=202311").json();
    // 22:13 UTC may be the next day where the camera is.
    assert!(month["days"] == json!([14]) || month["days"] == json!([15]), "{month}");
    let day = place.get("api/records/day?day=20231114&zone=UTC").json();
    assert_eq!(day["spans"][0]["start"], START, "{day}");
    assert_eq!((&day["zone"], &day["start"]), (&json!("UTC"), &json!(1_699_920_000)), "{day}");
    assert_eq!(place.get("api/records/day?day=20231113&zone=UTC").json()["spans"], json!([]));
    for bad in [
        "api/records/day?day=today",
        "api/records/month?month=1",
        "api/files?start=5&end=1",
        "api/file?name=",
    ] {
        let answer = place.get(bad);
        assert_eq!((answer.status, answer.json()["error"]["code"].as_i64()), (400, Some(-2000)), "{bad}");
    }
    let files = place.get(&format!("api/files?start={START}&end={}", START + 60)).json();
    assert_eq!(files["files"][0]["name"], RECORDED, "{files}");
    assert_eq!(files["files"][0]["size"], CLIP.len());
    let file = place.get(&format!("api/file?channel=0&name={RECORDED}"));
    assert_eq!(file.status, 200, "{}", file.head);
    assert!(file.body == CLIP, "{} bytes of {}", file.body.len(), CLIP.len());
    let name = RECORDED.to_ascii_lowercase();
    for line in [
        "content-type: application/octet-stream".to_owned(),
        "x-content-type-options: nosniff".to_owned(),
        format!("content-length: {}", CLIP.len()),
        format!("content-disposition: attachment; filename=\"{name}\"; filename*=utf-8''{name}"),
    ] {
        assert!(file.has(&line), "{line} in {}", file.head);
    }
    let none = place.get("api/file?name=none.flv");
    assert_eq!((none.status, none.json()["error"]["code"].as_i64()), (404, Some(-2701)));
    // More of them than the camera sends at a time, each given up in the middle: it must notice.
    for _ in 0..12 {
        let path = format!("{}api/file?name={RECORDED}", place.root);
        let mut tcp = place.send("GET", &path, "", b"");
        let mut begin = [0; 1000];
        tcp.read_exact(&mut begin).expect("it begins");
        assert!(begin.starts_with(b"HTTP/1.0 200"), "{}", String::from_utf8_lossy(&begin));
    }
}

#[test]
fn what_is_said_arrives() {
    let home = Home::new("page-talk");
    let place = &home.place;
    let started = place.post("api/talk/start", &json!({"channel": 0, "rate": 8000})).json();
    assert_eq!((&started["rate"], &started["codec"]), (&json!(8000), &json!("pcm")), "{started}");
    let talk = started["talk"].as_u64().expect("a number");
    let busy = place.post("api/talk/start", &json!({}));
    assert_eq!((busy.status, busy.json()["error"]["code"].as_i64()), (409, Some(-2601)), "{}", busy.text());
    let said: Vec<i16> = (0..4_000).map(|i| ((i * 37) % 2_000) as i16).collect();
    for piece in said.chunks(800) {
        let bytes: Vec<u8> = piece.iter().flat_map(|s| s.to_le_bytes()).collect();
        assert_eq!(place.post_bytes(&format!("api/talk?talk={talk}"), &bytes).status, 200);
    }
    assert_eq!(place.post_bytes(&format!("api/talk?talk={talk}"), &[1]).status, 400);
    assert_eq!(place.post_bytes("api/talk?talk=99", &[1, 0]).status, 410, "that of somebody else");
    let stopped = place.post(&format!("api/talk/stop?talk={talk}"), &json!({}));
    assert_eq!((stopped.status, stopped.json()["heard"].as_bool()), (200, Some(true)), "{}", stopped.text());
    home.until("end of the talk", |home| home.heard(|h| h.talks == [true]));
    assert!(home.heard(|h| h.samples == said), "all of it, and nothing else");

    // A page that is gone does not hold the camera's ear.
    let started = place.post("api/talk/start", &json!({"codec": "alaw", "rate": 48000})).json();
    assert_eq!((&started["rate"], &started["codec"]), (&json!(8000), &json!("alaw")));
    home.until("end of the silence", |home| home.heard(|h| h.talks.len() == 2));
    let late = place.post_bytes(&format!("api/talk?talk={}", started["talk"]), &[1, 0]);
    assert_eq!(late.status, 410, "{}", late.text());
    assert_eq!(place.post("api/talk/start", &json!({})).status, 200, "and the next one may talk");
}

#[test]
fn streams_are_opened_on_demand_and_closed_when_nobody_wants_them() {
    let home = Home::new("page-streams");
    let place = &home.place;
    let path = |query: &str| format!("{}0/ipc.flv?{query}", place.root);
    let begins = |query: &str| {
        let mut tcp = place.send("GET", &path(query), "", b"");
        let mut begin = Vec::new();
        (&mut tcp).take(20_000).read_to_end(&mut begin).expect("a stream");
        let is_stream = begin.len() == 20_000 && begin.windows(3).any(|w| w == b"FLV");
        assert!(is_stream, "{query}: {}", String::from_utf8_lossy(&begin[..begin.len().min(500)]));
        tcp
    };
    let main = begins("action=live&channel=0&quality=high");
    assert_eq!(home.more_streams(), 0, "that one runs anyway");
    let one = begins("action=live&channel=0&quality=standard");
    let two = begins("quality=standard&action=live");
    assert_eq!(home.more_streams(), 1, "equal ones are one");
    let playback = format!("action=playback&channel=0&start_time={START}&end_time={}", START + 10);
    let mut three = begins(&playback);
    let four = begins(&format!("{playback}&speed=20"));
    assert_eq!(home.more_streams(), 2, "the newest recording counts");
    three.read_to_end(&mut Vec::new()).expect("the older one ends in order");
    drop((main, one, four));
    home.until("end of the recording", |home| home.more_streams() == 1);
    drop(two);
    let left = Instant::now();
    home.until("end of the stream", |home| home.more_streams() == 0);
    assert!(left.elapsed() > Duration::from_millis(2_000), "players may come back: {:?}", left.elapsed());
    for (query, wanted) in [
        ("action=live&channel=7", 404),
        ("action=live&quality=best", 400),
        ("action=playback&channel=0&start_time=1000&end_time=2000", 404),
        ("action=download&file_name=x", 400),
    ] {
        let answer = place.ask("GET", &path(query), "", b"");
        assert!(
            answer.status == wanted && answer.body.len() > 10,
            "{query}: {} {}",
            answer.status,
            answer.text()
        );
    }
    // At most eight of them; the picture itself is never refused for that.
    let many: Vec<_> = (0..8).map(|i| begins(&format!("action=live&user_args={i}"))).collect();
    let full = place.ask("GET", &path("action=live&quality=super"), "", b"");
    assert!(full.status == 503 && full.text().contains("close another"), "{} {}", full.status, full.text());
    drop((begins("action=live"), many));
}

#[test]
fn the_page_of_a_shared_stream_turns_the_switch() {
    let dir = TempDir::new("page-swarm");
    let args = ["demo", "--swarm", "--viewers", "3", "--seconds", "60", "--json"];
    let mut demo = Process::start("demo", dir.path(), &args);
    let page = demo.event("page", Duration::from_secs(15));
    let place = Place::new(page["url"].as_str().expect("a URL"));
    assert!(place.get("").text().contains("app.js"));
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let state = place.get("api/state").json();
        assert_eq!((&state["kind"], &state["switch"]["upload"]), (&json!("swarm"), &json!(true)), "{state}");
        if state["sharing"]["peers"].as_u64() > Some(0) && !state["first_picture_ms"].is_null() {
            break;
        }
        assert!(Instant::now() < end, "{state}");
        std::thread::sleep(Duration::from_millis(200));
    }
    let off = place.post("api/sharing", &json!({"upload": false}));
    assert_eq!(off.json(), json!({"upload": false, "download": true}));
    assert_eq!(
        place.get("feature").json(),
        json!({"upload": false, "download": true}),
        "it is the same switch"
    );
    assert_eq!(place.post("api/sharing", &json!({"upload": 1})).status, 400);
    let none = place.post("api/ptz", &json!({"move": "up"}));
    assert!(none.status == 404 && none.text().contains("camera"), "{}", none.text());
}
