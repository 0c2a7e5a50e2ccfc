//! The examples do what they say, and are as short as promised.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use xp2p_tests::processes::{Process, TempDir, example};

const CLIP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/clip.flv");
const CAMERA: &str = include_str!("../../xp2p-smol/examples/camera.rs");
const VIEWER: &str = include_str!("../../xp2p-smol/examples/viewer.rs");
const TOKIO_CAMERA: &str = include_str!("../../xp2p-tokio/examples/tokio_camera.rs");
const TOKIO_VIEWER: &str = include_str!("../../xp2p-tokio/examples/tokio_viewer.rs");
const PLAIN_LOOP: &str = include_str!("../../xp2p-proto/examples/plain_loop.rs");
/// Long enough for a machine that is busy with other tests.
const START: Duration = Duration::from_secs(30);
/// Seconds that the examples watch.
const SECONDS: &str = "3";

/// A server, and the camera of the example with its xp2pInfo.
fn home(name: &str, camera: &str) -> (TempDir, Process, Process, String) {
    let dir = TempDir::new(name);
    let path = dir.path();
    let mut server = Process::start("server", path, &["server", "--listen", "127.0.0.1:0", "--open"]);
    let spec = server.line(START);
    let mut camera = start(camera, path, &[&spec, CLIP]);
    let info = camera.line(START);
    assert!(info.starts_with("XP2P"), "{info}");
    (dir, server, camera, info)
}

fn start(name: &str, dir: &Path, args: &[&str]) -> Process {
    Process::start_program(&example(name), name, dir, args, Stdio::null())
}

/// The number in the first line that is nothing but `before`, a number and `after`.
fn number(lines: &[String], before: &str, after: &str) -> u64 {
    let find = |line: &String| line.strip_prefix(before)?.strip_suffix(after)?.parse().ok();
    lines.iter().find_map(find).unwrap_or_else(|| panic!("no `{before}...{after}` in {lines:?}"))
}

/// Lines that are neither empty nor only a comment.
fn code_lines(source: &str) -> usize {
    source.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//")).count()
}

#[test]
fn the_viewer_records_the_camera_and_turns_it() {
    let (dir, _server, mut camera, info) = home("examples-viewer", "camera");
    for degrees in [-10, -20] {
        let mut viewer = start("viewer", dir.path(), &[&info, "door.flv", SECONDS]);
        let lines = viewer.rest(START);
        assert!(viewer.wait(START).success());
        assert!(lines[0].starts_with("http://127.0.0.1:"), "{lines:?}");
        // The camera remembers where it was turned to.
        assert_eq!(lines[1], format!(r#"answer: {{"degrees":{degrees}}}"#));
        let file = dir.path().join("door.flv");
        let size = number(&lines, "recorded ", " bytes");
        assert_eq!(std::fs::metadata(&file).expect("a recording").len(), size);

        let probe = Command::new("ffprobe")
            .args(["-v", "error", "-count_packets", "-select_streams", "v"])
            .args(["-show_entries", "stream=codec_type,nb_read_packets", "-of", "csv=p=0"])
            .arg(&file)
            .output()
            .expect("ffprobe is installed (./test does that)");
        assert!(probe.status.success());
        assert_eq!(String::from_utf8_lossy(&probe.stderr), "", "ends with a whole tag");
        let found = String::from_utf8_lossy(&probe.stdout);
        let pictures = found.trim().strip_prefix("video,").and_then(|n| n.parse::<u32>().ok());
        assert!(pictures.is_some_and(|n| n > 20), "{found:?}");
    }
    camera.error_line(START, "ptz_left_press");
}

/// On tokio as on smol, and each with the other.
#[test]
fn the_examples_on_tokio_do_the_same() {
    for (cameras, viewers) in [("tokio_camera", "tokio_viewer"), ("tokio_camera", "viewer")] {
        let (dir, _server, mut camera, info) = home(&format!("examples-{cameras}-{viewers}"), cameras);
        let mut viewer = start(viewers, dir.path(), &[&info, "door.flv", SECONDS]);
        let lines = viewer.rest(START);
        assert!(viewer.wait(START).success());
        assert_eq!(lines[1], r#"answer: {"degrees":-10}"#);
        let size = number(&lines, "recorded ", " bytes");
        assert_eq!(std::fs::metadata(dir.path().join("door.flv")).expect("a recording").len(), size);
        camera.error_line(START, "ptz_left_press");
    }
}

#[test]
fn the_plain_loop_gets_pictures_without_a_runtime() {
    let (dir, _server, _camera, info) = home("examples-loop", "camera");
    let mut plain = start("plain_loop", dir.path(), &[&info, SECONDS]);
    let lines = plain.rest(START);
    assert!(plain.wait(START).success());
    let first = number(&lines, "first keyframe after ", " ms");
    assert!(first < 2_000, "{first} ms");
    assert!(number(&lines, "", " tags") > 20, "{lines:?}");
}

#[test]
fn an_example_without_a_camera_fails_and_says_why() {
    let dir = TempDir::new("examples-nothing");
    let mut viewer = start("viewer", dir.path(), &["XP2Pnothing", "door.flv", SECONDS]);
    assert_eq!(viewer.wait(START).code(), Some(1));
    viewer.error_line(START, "Error: ");
    let mut plain = start("plain_loop", dir.path(), &[]);
    assert_eq!(plain.wait(START).code(), Some(1));
    plain.error_line(START, "usage: plain_loop XP2PINFO SECONDS");
}

#[test]
fn the_examples_stay_short_and_say_how_to_run_them() {
    assert!(code_lines(CAMERA) <= 60, "camera.rs has {} lines of code", code_lines(CAMERA));
    assert!(code_lines(VIEWER) <= 40, "viewer.rs has {} lines of code", code_lines(VIEWER));
    assert!(code_lines(TOKIO_CAMERA) <= 62, "tokio_camera.rs has {} lines of code", code_lines(TOKIO_CAMERA));
    assert!(code_lines(TOKIO_VIEWER) <= 42, "tokio_viewer.rs has {} lines of code", code_lines(TOKIO_VIEWER));
    for (source, name) in [
        (CAMERA, "camera"),
        (VIEWER, "viewer"),
        (TOKIO_CAMERA, "tokio_camera"),
        (TOKIO_VIEWER, "tokio_viewer"),
        (PLAIN_LOOP, "plain_loop"),
    ] {
        assert!(source.starts_with("//! "), "{name}");
        assert!(source.contains(&format!("//! cargo run -p xp2p-{}", crate_of(name))), "{name}");
    }
}

fn crate_of(example: &str) -> String {
    let package = match example {
        "plain_loop" => "proto",
        "tokio_camera" | "tokio_viewer" => "tokio",
        _ => "smol",
    };
    format!("{package} --example {example} -- ")
}
