//! node-media-server, fed by ffmpeg over RTMP, as an origin that is not ours.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use xp2p_smol::proto::swarm::Trust;
use xp2p_tests::processes::{Process, TempDir};

use super::member::Viewer;
use super::{CLIP, PATIENCE, server, status};

const PACKAGE: &str = "node-media-server@4.4.3";

/// A port that is free at this moment.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port()
}

/// Installs the package. `Err`: why this machine cannot.
fn install(dir: &Path) -> Result<(), String> {
    let output = Command::new("npm")
        .args(["install", "--no-audit", "--no-fund", "--silent", "--prefix", ".", PACKAGE])
        .current_dir(dir)
        .output()
        .map_err(|e| format!("npm cannot be started: {e}"))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(format!("npm cannot install {PACKAGE}: {errors}")) }
}

fn wait_for(port: u16) {
    let end = Instant::now() + PATIENCE;
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < end, "nobody listens on port {port}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn viewers_of_node_media_server_share_what_the_witness_has_signed() {
    let dir = TempDir::new("witness-npm");
    let path = dir.path();
    if let Err(reason) = install(path) {
        println!("skipped: {reason}");
        return;
    }
    let (rtmp, http) = (free_port(), free_port());
    let config = serde_json::json!({
        "bind": "127.0.0.1", "rtmp": {"port": rtmp}, "http": {"port": http},
        "auth": {"play": false, "publish": false}, "webadmin": {"enable": false},
        "store": {"path": "./data"}, "record": {"auto": false, "path": "./record"},
    });
    std::fs::write(path.join("config.json"), config.to_string()).expect("a file");
    let app = ["node_modules/node-media-server/bin/app.js", "-c", "config.json"];
    let _origin = Process::start_program(Path::new("node"), "origin", path, &app, Stdio::null());
    wait_for(rtmp);
    wait_for(http);
    let target = format!("rtmp://127.0.0.1:{rtmp}/live/room");
    let feed = ["-v", "error", "-re", "-stream_loop", "-1", "-i", CLIP, "-c", "copy", "-f", "flv", &target];
    let _feed = Process::start_program(Path::new("ffmpeg"), "ffmpeg", path, &feed, Stdio::null());
    let url = format!("http://127.0.0.1:{http}/live/room.flv");
    let allow = format!("127.0.0.1:{http}");
    let (mut server, spec, page) = server(path, &["--origin-allow", &allow]);
    let first = Viewer::join(&spec, &url);
    server.error_line(PATIENCE, "witness: reads");
    assert_eq!(first.signed(PATIENCE), Trust::Witness);
    let second = Viewer::join(&spec, &url);
    second.until(PATIENCE, "it gets pieces from the first", |s| s.swarm.p2p_bytes > 200_000);
    println!("{:#}", status(&page));
    for viewer in [&first, &second] {
        let stats = viewer.stats();
        println!(
            "p2p {} origin {} batches {} unplaced {} shown {}",
            stats.swarm.p2p_bytes,
            stats.origin_wire_bytes,
            stats.batches,
            stats.unplaced_pieces,
            viewer.shown()
        );
        assert_eq!((stats.bad_batches, stats.banned), (0, 0));
        assert!(viewer.shown() > 25);
    }
}
