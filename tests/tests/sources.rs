//! Sources and sinks of the program: standard input, ffmpeg, standard output; and servers whose key is not given.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use xp2p_tests::processes::{Process, TempDir, program, run};

const CLIP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/clip.flv");
const START: Duration = Duration::from_secs(20);

fn server(dir: &Path) -> (Process, String) {
    assert_eq!(run(dir, &["keygen", "-o", "camera.key"], None).0, Some(0));
    let mut server = Process::start("server", dir, &["server", "--listen", "127.0.0.1:0"]);
    let spec = server.line(START);
    (server, spec)
}

/// Watches for a while and gives the summary.
fn watch(dir: &Path, info: &str) -> Value {
    std::fs::write(dir.join("door.info"), info).expect("a file");
    let (code, out, error) = run(dir, &["view", "@door.info", "--json", "--seconds", "3"], None);
    assert_eq!(code, Some(0), "{out}{error}");
    serde_json::from_str(out.lines().last().expect("a summary")).expect("JSON")
}

#[test]
fn anything_that_ffmpeg_makes_can_be_shown() {
    let dir = TempDir::new("lavfi");
    let (_server, spec) = server(dir.path());
    let input = "lavfi:testsrc2=size=320x180:rate=25";
    let args = ["camera", "--key", "camera.key", "--server", &spec, "--input", input];
    let mut camera = Process::start("camera", dir.path(), &args);
    let summary = watch(dir.path(), &camera.line(START));
    assert!(summary["tags"].as_u64() > Some(50), "{summary}");
}

#[test]
fn flv_on_standard_input_is_shown_live_and_standard_output_can_be_piped_on() {
    let dir = TempDir::new("stdin");
    let path = dir.path();
    let (_server, spec) = server(path);
    let mut ffmpeg = Command::new("ffmpeg")
        .args(["-v", "error", "-re", "-stream_loop", "-1", "-i", CLIP, "-c", "copy", "-f", "flv", "-"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("ffmpeg is installed (./test does that)");
    let pipe = ffmpeg.stdout.take().expect("a pipe");
    let args = ["camera", "--key", "camera.key", "--server", &spec, "--input", "-"];
    let mut camera = Process::start_with("camera", path, &args, pipe.into());
    std::fs::write(path.join("door.info"), camera.line(START)).expect("a file");
    let mut view = Command::new(program())
        .args(["view", "@door.info", "--out", "-", "--seconds", "4"])
        .current_dir(path)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("xp2p can be started");
    let probe = Command::new("ffprobe")
        .args(["-v", "error", "-show_entries", "stream=codec_name", "-of", "csv=p=0", "-"])
        .stdin(view.stdout.take().expect("a pipe"))
        .output()
        .expect("ffprobe is installed (./test does that)");
    let seen = String::from_utf8_lossy(&probe.stdout).into_owned();
    assert!(seen.contains("h264") && seen.contains("aac"), "{seen}");
    view.wait().expect("it ends");
    ffmpeg.kill().expect("ffmpeg runs");
    ffmpeg.wait().expect("it ends");
}

#[test]
fn the_first_key_of_a_server_is_remembered_and_no_other_is_taken() {
    let dir = TempDir::new("tofu");
    let path = dir.path();
    let (server, spec) = server(path);
    let (addr, key) = spec.split_once('#').expect("HOST:PORT#KEY");
    let args = ["camera", "--key", "camera.key", "--server", addr, "--input", CLIP, "--json"];
    let mut camera = Process::start("camera", path, &args);
    camera.error_line(START, "remembered");
    camera.line(START);
    drop(camera);
    let known = std::fs::read_to_string(path.join("xp2p/known_servers")).expect("the file");
    assert_eq!(known, format!("{addr} {key}\n"));

    // Another server takes its place.
    drop(server);
    let other = ["server", "--listen", addr, "--key", "other.key"];
    let mut other = Process::start("other", path, &other);
    other.line(START);
    let mut camera = Process::start("camera", path, &args);
    let lost = camera.error_line(START, "server-lost");
    assert!(lost.contains("key"), "{lost}");
    camera.stop();
    assert!(camera.rest(START).is_empty(), "no xp2pInfo is printed");
}

#[test]
fn a_source_that_cannot_be_read_is_a_clear_error() {
    let dir = TempDir::new("nosource");
    let (_server, spec) = server(dir.path());
    let args = ["camera", "--key", "camera.key", "--server", &spec, "--input", "missing.flv"];
    let (code, _, error) = run(dir.path(), &args, None);
    assert_eq!(code, Some(1));
    assert!(error.contains("missing.flv"), "{error}");
}
