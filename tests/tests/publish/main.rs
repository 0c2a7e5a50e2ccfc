//! The server's part in streams for many viewers, as real processes on loopback: what it publishes, and what it witnesses.

mod foreign;
mod member;
mod npm;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use xp2p_smol::proto::swarm::Trust;
use xp2p_tests::processes::{Process, TempDir, get, run};

use self::foreign::Foreign;
use self::member::Viewer;

const CLIP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/clip.flv");
const START: Duration = Duration::from_secs(15);
/// Much longer than any of this takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(40);

/// A server on loopback with more arguments. Returns its line and where its status is.
fn server(dir: &Path, more: &[&str]) -> (Process, String, String) {
    let usual = ["server", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"];
    let args: Vec<&str> = usual.iter().chain(more).copied().collect();
    let mut server = Process::start("server", dir, &args);
    let line = server.error_line(START, "health and metrics");
    let http = line.split_whitespace().find(|w| w.starts_with("http://")).expect("a URL");
    let status = http.trim_end_matches([',', ' ']).replace("/health", "/status");
    let spec = server.line(START);
    (server, spec, status)
}

fn status(url: &str) -> Value {
    serde_json::from_str(&get(url)).expect("JSON")
}

/// What ffprobe says about a URL.
fn probe(url: &str) -> String {
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-show_entries", "stream=codec_name", "-of", "csv=p=0", url])
        .output()
        .expect("ffprobe is installed (./test does that)");
    assert!(output.status.success(), "ffprobe: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_published_file_is_served_and_signed_by_its_source() {
    let dir = TempDir::new("publish");
    let publish = format!("cam={CLIP}");
    let (mut server, spec, page) = server(dir.path(), &["--publish", &publish, "--media", "127.0.0.1:0"]);
    let url = server.line(START);
    assert!(url.starts_with("http://127.0.0.1:") && url.ends_with("/live/cam.flv"), "{url}");
    let codecs = probe(&url);
    assert!(codecs.contains("h264") && codecs.contains("aac"), "{codecs}");

    // Whoever calls this host by another name of its own is in a swarm of its own, which is signed as well.
    let other = Viewer::join(&spec, &url.replace("127.0.0.1", "localhost"));
    let first = Viewer::join(&spec, &url);
    assert_eq!(first.signed(PATIENCE), Trust::Source);
    assert_eq!(other.signed(PATIENCE), Trust::Source);
    let second = Viewer::join(&spec, &url);
    second.until(PATIENCE, "it gets pieces from the first", |s| s.swarm.p2p_bytes > 200_000);
    for viewer in [&first, &second, &other] {
        viewer.until(PATIENCE, "it shows pictures", |s| s.batches > 8);
        assert!(viewer.shown() > 25, "{} tags", viewer.shown());
        let stats = viewer.stats();
        assert_eq!((stats.bad_batches, stats.unreadable_pieces, stats.banned), (0, 0, 0));
    }
    let status = status(&page);
    println!("{status:#}");
    assert_eq!(status["members"], 3);
    assert_eq!(status["published"][0]["name"], "cam");
    assert!(status["published"][0]["signed_pieces"].as_u64() > Some(30));
    let metrics = get(&page.replace("/status", "/metrics"));
    assert!(metrics.contains("xp2p_swarm_members 3\n") && metrics.contains("xp2p_witness_bytes_total 0\n"));
}

#[test]
fn a_file_that_is_published_once_ends_and_the_server_goes_on() {
    let dir = TempDir::new("publish-once");
    // Two seconds of the clip.
    let cut = ["-v", "error", "-i", CLIP, "-t", "2", "-c", "copy", "-y", "short.flv"];
    assert!(Command::new("ffmpeg").args(cut).current_dir(dir.path()).status().expect("ffmpeg").success());
    let more = ["--publish", "cam=once:short.flv", "--media", "127.0.0.1:0", "--json"];
    let (mut server, _, page) = server(dir.path(), &more);
    let published: Value = serde_json::from_str(&server.line(START)).expect("JSON");
    assert_eq!(published["event"], "published");
    let media: Value = serde_json::from_str(&server.line(START)).expect("JSON");
    assert_eq!(media["event"], "media");
    let ended: Value = serde_json::from_str(&server.line(PATIENCE)).expect("JSON");
    assert_eq!((&ended["event"], &ended["name"]), (&"source-ended".into(), &"cam".into()));
    assert_eq!(status(&page)["published"][0]["ended"], true);
}

#[test]
fn a_foreign_origin_is_witnessed_while_somebody_watches() {
    let foreign = Foreign::start();
    let allow = foreign.authority();
    let dir = TempDir::new("witness");
    let (mut server, spec, page) = server(dir.path(), &["--origin-allow", &allow]);
    assert_eq!(foreign.clients(), 0, "nobody watches yet");
    // What belongs to the viewer is not spent by the server.
    let first = Viewer::join(&spec, &format!("{}?token=mine", foreign.url()));
    let line = server.error_line(PATIENCE, "witness: reads");
    assert!(line.ends_with(foreign.url()), "{line}");
    assert_eq!(first.signed(PATIENCE), Trust::Witness);
    let second = Viewer::join(&spec, foreign.url());
    second.until(PATIENCE, "it gets pieces from the first", |s| s.swarm.p2p_bytes > 200_000);
    first.until(PATIENCE, "digests come", |s| s.batches > 8);
    let status = status(&page);
    println!("{status:#}");
    let stream = &status["witness"]["streams"][0];
    assert_eq!((&stream["url"], &stream["open"]), (&foreign.url().into(), &true.into()));
    assert!(stream["bytes"].as_u64() > Some(100_000));
    assert_eq!((&status["published"], &status["relayed_bytes"].is_u64()), (&Value::Array(vec![]), &true));
    // The origin breaks off, and comes back.
    foreign.restart();
    server.error_line(PATIENCE, "trying again");
    server.error_line(PATIENCE, "witness: reads");
    let before = second.stats().batches;
    second.until(PATIENCE, "digests come again", |s| s.batches > before + 8);
    // A minute after the last viewer the server stops to read, too.
    drop((first, second));
    server.error_line(Duration::from_secs(100), "not watched any more");
    foreign.deserted(PATIENCE);
}

#[test]
fn origins_that_are_not_allowed_are_left_alone() {
    let foreign = Foreign::start();
    let dir = TempDir::new("witness-refused");
    // The private address is listed, which does not help it; the foreign origin's port is not.
    let allow = ["--origin-allow", "10.1.2.3", "--origin-allow", "127.0.0.1:9"];
    let (mut server, spec, page) = server(dir.path(), &allow);
    let private = Viewer::join(&spec, "http://10.1.2.3/live/a.flv");
    let line = server.error_line(PATIENCE, "10.1.2.3 may not be an origin");
    assert!(line.contains("none of its addresses is a public one"), "{line}");
    let other = Viewer::join(&spec, foreign.url());
    let line = server.error_line(PATIENCE, "127.0.0.1 may not be an origin");
    assert!(line.contains("no pattern allows it"), "{line}");
    // Its viewer has the stream all the same, from the origin.
    other.until(PATIENCE, "it reads the origin", |s| s.origin_wire_bytes > 100_000);
    assert_eq!((other.signers(), private.signers()), (Some(0), Some(0)));
    let status = status(&page);
    assert_eq!(status["witness"]["refused"], 2);
    assert_eq!(status["witness"]["bytes"], 0);
}

#[test]
fn nothing_is_published_where_others_could_read_it_unnoticed() {
    let dir = TempDir::new("publish-plain");
    let publish = format!("cam={CLIP}");
    let usual = ["server", "--listen", "127.0.0.1:0", "--publish", &publish];
    let (code, _, errors) = run(dir.path(), &[&usual[..], &["--media", "0.0.0.0:0"]].concat(), None);
    assert_eq!(code, Some(1));
    assert!(errors.contains("--tls-cert") && errors.contains("plain HTTP"), "{errors}");
    let (code, _, errors) = run(dir.path(), &usual, None);
    assert!(code == Some(64) && errors.contains("--media"), "{errors}");
    let (code, _, errors) = run(
        dir.path(),
        &["server", "--publish", "cam", "--media", "127.0.0.1:0", "--listen", "127.0.0.1:0"],
        None,
    );
    assert!(code == Some(64) && errors.contains("NAME=SOURCE"), "{errors}");
}
