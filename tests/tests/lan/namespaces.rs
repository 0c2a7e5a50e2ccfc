//! The real programs in two network namespaces on one cable: no server, no way outside.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use xp2p_tests::processes::{Process, TempDir, program, run};

const CLIP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/clip.flv");
const START: Duration = Duration::from_secs(30);
/// What the issue allows for the first picture, in milliseconds.
const FIRST_PICTURE: f64 = 300.0;
/// Busy machines are slow at times: the best of so many starts counts.
const STARTS: usize = 3;
/// Nobody has this address (RFC 5737), and there is no way there.
const SERVER: &str = "203.0.113.9:20002";

/// Two namespaces on one cable. They end when this is dropped.
struct Cable([String; 2]);

fn ip(args: &str) -> Result<(), String> {
    let output = Command::new("ip").args(args.split_whitespace()).output();
    let output =
        output.map_err(|e| format!("`ip` cannot be run ({e}); on Debian it is in the package iproute2"))?;
    let text = || format!("ip {args}: {}", String::from_utf8_lossy(&output.stderr).trim());
    if output.status.success() { Ok(()) } else { Err(text()) }
}

impl Cable {
    /// `addrs`: of either end. The error is why there can be none here.
    fn new(label: &str, addrs: [&str; 2]) -> Result<Self, String> {
        let names = ["a", "b"].map(|end| format!("xp2p-lan-{}-{label}-{end}", std::process::id()));
        ip(&format!("netns add {}", names[0]))?;
        let cable = Self(names);
        let [a, b] = &cable.0;
        ip(&format!("netns add {b}"))?;
        ip(&format!("-n {a} link add eth0 type veth peer name eth0 netns {b}"))?;
        for (name, addr) in cable.0.iter().zip(addrs) {
            ip(&format!("-n {name} link set lo up"))?;
            ip(&format!("-n {name} link set eth0 up"))?;
            // Nobody has to ask around first whether it is taken.
            let dad = if addr.contains(':') { "nodad" } else { "" };
            ip(&format!("-n {name} addr add {addr} dev eth0 {dad}"))?;
        }
        Ok(cable)
    }

    /// Starts the program at one end.
    fn start(&self, end: usize, name: &str, dir: &Path, args: &[&str]) -> Process {
        let inside = ["netns", "exec", &self.0[end], program().to_str().expect("a path in UTF-8")];
        Process::start_program(Path::new("ip"), name, dir, &[&inside, args].concat(), Stdio::null())
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        for name in &self.0 {
            if let Err(e) = ip(&format!("netns delete {name}")) {
                eprintln!("{e}");
            }
        }
    }
}

#[test]
fn a_camera_in_the_same_network_is_watched_without_a_server() {
    for (label, addrs) in
        [("v4", ["192.168.77.1/24", "192.168.77.2/24"]), ("v6", ["fd00:77::1/64", "fd00:77::2/64"])]
    {
        match Cable::new(label, addrs) {
            Ok(cable) => watched(label, &cable),
            Err(reason) => return eprintln!("skipped: no network namespaces here: {reason}"),
        }
    }
}

fn watched(label: &str, cable: &Cable) {
    let dir = TempDir::new(&format!("lan-{label}"));
    let path = dir.path();
    assert_eq!(run(path, &["keygen", "-o", "camera.key"], None).0, Some(0));
    let (code, key, _) = run(path, &["keygen", "-o", "server.key"], None);
    assert_eq!(code, Some(0));
    let server = format!("{SERVER}#{}", key.trim());
    let camera = ["camera", "--key", "camera.key", "--server", &server, "--input", CLIP];
    let mut camera = cable.start(0, "camera", path, &camera);
    // It prints that although no server answers.
    let info = camera.line(START);
    std::fs::write(path.join("camera.info"), &info).expect("a file");

    let view = ["view", "@camera.info", "--json", "--seconds", "1"];
    let mut first = Vec::new();
    for _ in 0..STARTS {
        let mut viewer = cable.start(1, "viewer", path, &view);
        let summary = viewer.event("summary", START);
        assert_eq!(summary["relay_bytes"], 0, "{summary}");
        assert!(summary["direct_bytes"].as_u64().is_some_and(|bytes| bytes > 10_000), "{summary}");
        first.push(summary["first_keyframe_ms"].as_f64().expect("a picture"));
    }
    println!("{label}, no server: first picture after {first:?} ms from a cold start");
    let best = first.into_iter().fold(f64::INFINITY, f64::min);
    assert!(best < FIRST_PICTURE, "{best} ms");

    // Switched off, it finds nobody in many times as long.
    let mut viewer = cable.start(1, "viewer that does not look", path, &[&view[..], &["--no-lan"]].concat());
    viewer.event("url", START);
    std::thread::sleep(Duration::from_secs(3));
    let said = viewer.lines_so_far();
    assert!(!said.iter().any(|line| line.contains("connected")), "{said:?}");
}
