//! Server, camera and viewer as three processes on loopback, with ffprobe and ffmpeg as judges.

use std::time::Duration;

use serde_json::{Value, json};
use xp2p_tests::probing::{decode, streams};
use xp2p_tests::processes::{Process, TempDir, get, run};

const CLIP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/clip.flv");
const START: Duration = Duration::from_secs(15);

/// A server with an app key and a registered camera.
struct Home {
    dir: TempDir,
    _server: Process,
    camera: Process,
    info: String,
}

fn home(name: &str) -> Home {
    let dir = TempDir::new(name);
    let path = dir.path();
    std::fs::write(path.join("app.key"), "home:a very secret word\n").expect("a file");
    assert_eq!(run(path, &["keygen", "-o", "camera.key"], None).0, Some(0));
    let mut server =
        Process::start("server", path, &["server", "--listen", "127.0.0.1:0", "--app-key", "@app.key"]);
    let spec = server.line(START);
    assert!(spec.starts_with("127.0.0.1:") && spec.contains('#'), "{spec}");
    let camera = [
        "camera",
        "--key",
        "camera.key",
        "--server",
        &spec,
        "--product",
        "test",
        "--name",
        "door",
        "--app-key",
        "@app.key",
        "--input",
        CLIP,
    ];
    let mut camera = Process::start("camera", path, &camera);
    let info = camera.line(START);
    assert!(info.starts_with("XP2P"), "{info}");
    std::fs::write(path.join("door.info"), &info).expect("a file");
    Home { dir, _server: server, camera, info }
}

fn summary(lines: &[String]) -> Value {
    serde_json::from_str(lines.last().expect("lines")).expect("JSON")
}

/// The status line and heads that a raw HTTP request gets.
fn ask(url: &str, method: &str, path: &str, headers: &str) -> String {
    use std::io::{Read as _, Write as _};
    let host = url.trim_start_matches("http://").split('/').next().expect("a host");
    let mut tcp = std::net::TcpStream::connect(host).expect("the player server listens");
    tcp.set_read_timeout(Some(START)).expect("a timeout");
    let headers = headers.replace("HOST", host);
    write!(tcp, "{method} {path} HTTP/1.1\r\n{headers}connection: close\r\n\r\n").expect("it reads");
    let mut answer = Vec::new();
    let mut byte = [0];
    while !answer.ends_with(b"\r\n\r\n") && tcp.read(&mut byte).expect("it answers") == 1 {
        answer.push(byte[0]);
    }
    String::from_utf8(answer).expect("text")
}

/// Decision 14: DNS rebinding, other web pages and guessed paths get nothing.
fn only_players_who_know_the_url_are_served(url: &str) {
    let path = &url[url.match_indices('/').nth(2).expect("a path").0..];
    let status = |method: &str, path: &str, headers: &str| {
        let answer = ask(url, method, path, headers);
        answer.split(' ').nth(1).expect("a status").to_owned()
    };
    let fine = ask(url, "GET", path, "host: HOST\r\n").to_ascii_lowercase();
    assert!(fine.starts_with("http/1.1 200") && fine.contains("content-type: video/x-flv"), "{fine}");
    assert!(
        fine.contains("cache-control: no-store") && fine.contains("transfer-encoding: chunked"),
        "{fine}"
    );
    assert!(!fine.contains("access-control-allow-origin"), "{fine}");
    assert_eq!(status("HEAD", path, "host: HOST\r\n"), "200");
    assert_eq!(status("GET", path, "host: rebound.example\r\n"), "403");
    assert_eq!(status("GET", path, "host: HOST\r\norigin: https://evil.example\r\n"), "403");
    assert_eq!(status("GET", path, ""), "403", "no Host at all");
    assert_eq!(status("GET", "/guess/0/ipc.flv", "host: HOST\r\n"), "404");
    assert_eq!(status("POST", path, "host: HOST\r\ncontent-length: 0\r\n"), "405");
}

#[test]
fn three_processes_show_and_record_video() {
    let home = home("three");
    let path = home.dir.path();
    let args = ["view", "@door.info", "--json", "--out", "door.flv", "--seconds", "10"];
    let mut view = Process::start("view", path, &args);
    let url: Value = serde_json::from_str(&view.line(START)).expect("JSON");
    let url = url["url"].as_str().expect("a URL").to_owned();
    let seen = streams(&url);
    assert!(seen.contains("h264") && seen.contains("aac"), "on the URL: {seen}");
    only_players_who_know_the_url_are_served(&url);
    let place = url.split("/0/ipc.flv").next().expect("a place");
    let stat: Value = serde_json::from_str(&get(&format!("{place}/stat"))).expect("JSON");
    let told = &stat["services"][0];
    assert_eq!((&told["id"], &told["link"]), (&json!("0"), &json!("direct")), "{stat}");
    assert!(told["streams"][0]["keyframes"].as_u64().is_some_and(|n| n > 0), "{stat}");
    let lines = view.rest(Duration::from_secs(25));
    assert_eq!(view.wait(START).code(), Some(0));
    let summary = summary(&lines);
    assert_eq!(summary["event"], "summary");
    assert_eq!(summary["link"], "direct");
    for field in
        ["first_byte_ms", "first_keyframe_ms", "bytes", "tags", "rtt_ms", "relay_bytes", "direct_bytes"]
    {
        assert!(summary[field].as_f64().is_some_and(|n| n > 0.0), "{field} in {summary}");
    }
    assert!(summary["direct_bytes"].as_f64() > summary["relay_bytes"].as_f64(), "{summary}");
    let events: Vec<Value> = lines.iter().map(|l| serde_json::from_str(l).expect("JSON")).collect();
    assert!(events.iter().any(|e| e["event"] == "parsed" && e["status"] == 200), "{events:?}");

    let file = path.join("door.flv");
    let seen = streams(&file);
    assert!(seen.contains("h264") && seen.contains("aac"), "in the file: {seen}");
    assert_eq!(decode(&file), "", "the recording decodes without a word");
    let length = std::fs::metadata(&file).expect("a file").len();
    assert!(length > 500_000, "{length} bytes of 10 s");
}

#[test]
fn shared_and_revoked_xp2p_infos_do_what_they_say() {
    let mut home = home("share");
    let path = home.dir.path();
    let (code, narrow, _) = run(
        path,
        &["share", "--key", "camera.key", "-", "--rights", "live", "--expires", "1h"],
        Some(&home.info),
    );
    assert_eq!(code, Some(0));
    let narrow = narrow.trim();
    let (_, json, _) = run(path, &["info", "-", "--json"], Some(narrow));
    let json: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["capability"]["rights"], "live");
    assert!(json["capability"]["expires"].is_u64());
    std::fs::write(path.join("guest.info"), narrow).expect("a file");
    let (code, ..) = run(path, &["view", "@guest.info", "--json", "--seconds", "2"], None);
    assert_eq!(code, Some(0), "the guest may watch");

    // Without the right to watch.
    let (_, useless, _) =
        run(path, &["share", "--key", "camera.key", "@door.info", "--rights", "command"], None);
    let (code, out, _) = run(path, &["view", "-", "--json", "--seconds", "2"], Some(&useless));
    assert_eq!(code, Some(1));
    assert!(out.contains("403"), "{out}");

    // A running session ends within 5 s of a revocation, and the camera prints a new xp2pInfo.
    let mut watching = Process::start("guest", path, &["view", "@guest.info", "--json"]);
    watching.line(START);
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(run(path, &["revoke", "--key", "camera.key"], None).0, Some(0));
    let lines = watching.rest(Duration::from_secs(6));
    assert!(lines.iter().any(|l| l.contains("revoked")), "{lines:?}");
    let fresh = home.camera.line(START);
    assert!(fresh.starts_with("XP2P") && fresh != home.info);
    let (code, ..) = run(path, &["view", "-", "--seconds", "2"], Some(&fresh));
    assert_eq!(code, Some(0), "the new one works");
}

#[test]
fn a_wrong_app_key_keeps_a_camera_out() {
    let home = home("appkey");
    let path = home.dir.path();
    let (_, json, _) = run(path, &["info", "@door.info", "--json"], None);
    let json: Value = serde_json::from_str(&json).expect("JSON");
    let server = format!(
        "{}#{}",
        json["servers"][0]["addrs"][0].as_str().expect("an address"),
        json["servers"][0]["key"].as_str().expect("a key")
    );
    assert_eq!(run(path, &["keygen", "-o", "other.key"], None).0, Some(0));
    let args = [
        "camera",
        "--key",
        "other.key",
        "--server",
        &server,
        "--app-key",
        "home:wrong",
        "--input",
        CLIP,
        "--json",
    ];
    let mut other = Process::start("other", path, &args);
    let refusal = other.error_line(START, "registration-refused");
    assert!(refusal.contains("secret of the app key is wrong"), "{refusal}");
    assert!(!refusal.contains("home:wrong"));
    other.stop();
    assert!(other.rest(START).is_empty(), "it prints no xp2pInfo");
}

#[test]
fn wrong_usage_is_told_apart_from_failure() {
    let dir = TempDir::new("usage");
    assert_eq!(run(dir.path(), &["view"], None).0, Some(64));
    assert_eq!(run(dir.path(), &["server", "--listen", "nonsense"], None).0, Some(64));
    assert_eq!(run(dir.path(), &["--help"], None).0, Some(0));
    let (code, _, error) = run(dir.path(), &["info", "XP2Pnonsense"], None);
    assert_eq!(code, Some(1));
    assert!(error.contains("-2001"), "{error}");
    // 16 bytes of payload: the form of a closed vendor cloud.
    let (code, _, error) = run(dir.path(), &["info", "XP2PAAAAAAAAAAAAAAAAAAAAAA%2.4.0"], None);
    assert_eq!(code, Some(1));
    assert!(error.contains("vendor"), "{error}");
    let (code, _, error) = run(dir.path(), &["server", "--listen", "0.0.0.0:0"], None);
    assert_eq!(code, Some(1));
    assert!(error.contains("--app-key"), "{error}");
}

#[test]
fn the_demo_gives_every_viewer_a_picture() {
    let dir = TempDir::new("demo");
    let (code, out, _) = run(dir.path(), &["demo", "--viewers", "3", "--seconds", "5", "--json"], None);
    assert_eq!(code, Some(0), "{out}");
    let lines: Vec<String> = out.lines().map(str::to_owned).collect();
    let summary = summary(&lines);
    assert_eq!(summary["with_keyframe"], 3);
    assert_eq!(summary["viewers"].as_array().map(Vec::len), Some(3));
}
