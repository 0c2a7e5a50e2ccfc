//! The real programs in two network namespaces on one cable: no server, no way outside.

use std::time::Duration;

use xp2p_tests::netns::home::{START, start};
use xp2p_tests::netns::space::Namespace;
use xp2p_tests::netns::{alone, available};
use xp2p_tests::processes::{TempDir, run};

const CLIP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/clip.flv");
/// What the issue allows for the first picture, in milliseconds.
const FIRST_PICTURE: f64 = 300.0;
/// Busy machines are slow at times: the best of so many starts counts.
const STARTS: usize = 3;
/// Nobody has this address (RFC 5737), and there is no way there.
const SERVER: &str = "203.0.113.9:20002";

#[test]
fn a_camera_in_the_same_network_is_watched_without_a_server() {
    if !available() {
        return;
    }
    let _alone = alone();
    for (label, addrs) in
        [("IPv4", ["192.168.77.1/24", "192.168.77.2/24"]), ("IPv6", ["fd00:77::1/64", "fd00:77::2/64"])]
    {
        let ends = [Namespace::new("lan-camera"), Namespace::new("lan-viewer")];
        ends[0].connect("eth0", &ends[1], "eth0");
        for (end, addr) in ends.iter().zip(addrs) {
            end.ip(&format!("addr add {addr} dev eth0"));
        }
        watched(label, &ends);
    }
}

fn watched(label: &str, [camera_end, viewer_end]: &[Namespace; 2]) {
    let dir = TempDir::new(&format!("lan-{label}"));
    let path = dir.path();
    assert_eq!(run(path, &["keygen", "-o", "camera.key"], None).0, Some(0));
    let (code, key, _) = run(path, &["keygen", "-o", "server.key"], None);
    assert_eq!(code, Some(0));
    let server = format!("{SERVER}#{}", key.trim());
    let camera = ["camera", "--key", "camera.key", "--server", &server, "--input", CLIP];
    let mut camera = start(camera_end, "camera", path, &camera);
    // It prints that although no server answers.
    let info = camera.line(START);
    std::fs::write(path.join("camera.info"), &info).expect("a file");

    let view = ["view", "@camera.info", "--json", "--seconds", "1"];
    let mut first = Vec::new();
    for _ in 0..STARTS {
        let mut viewer = start(viewer_end, "viewer", path, &view);
        let summary = viewer.event("summary", START);
        assert_eq!(summary["relay_bytes"], 0, "{summary}");
        assert!(summary["direct_bytes"].as_u64().is_some_and(|bytes| bytes > 10_000), "{summary}");
        first.push(summary["first_keyframe_ms"].as_f64().expect("a picture"));
    }
    println!("{label}, no server: first picture after {first:?} ms from a cold start");
    let best = first.into_iter().fold(f64::INFINITY, f64::min);
    assert!(best < FIRST_PICTURE, "{best} ms");

    // Switched off, it finds nobody in many times as long.
    let mut viewer =
        start(viewer_end, "viewer that does not look", path, &[&view[..], &["--no-lan"]].concat());
    viewer.event("url", START);
    std::thread::sleep(Duration::from_secs(3));
    let said = viewer.lines_so_far();
    assert!(!said.iter().any(|line| line.contains("connected")), "{said:?}");
}
