//! Everything that a module logs, wherever it runs, stands under the module's UUID.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_lite::future::block_on;
use serde_json::Value;
use xp2p_smol::driver::module::{AppParams, StreamInfo};
use xp2p_smol::{P2pModule, Smol};
use xp2p_tests::processes::{Process, TempDir, run};

const CLIP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/clip.flv");
const START: Duration = Duration::from_secs(15);

/// Keeps what is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn lines(&self) -> Vec<Value> {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let text = String::from_utf8(bytes).expect("text");
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn says(line: &Value, text: &str) -> bool {
    line["fields"]["message"].as_str().is_some_and(|message| message.contains(text))
}

/// The UUIDs in the spans around a line.
fn uuids(line: &Value) -> Vec<&str> {
    let spans = line["spans"].as_array().map(Vec::as_slice).unwrap_or_default();
    spans.iter().filter(|s| s["name"] == "p2p").filter_map(|s| s["uuid"].as_str()).collect()
}

#[test]
fn every_line_of_a_module_carries_its_uuid() {
    let dir = TempDir::new("module-log");
    let path = dir.path();
    assert_eq!(run(path, &["keygen", "-o", "camera.key"], None).0, Some(0));
    let mut server = Process::start("server", path, &["server", "--listen", "127.0.0.1:0", "--open"]);
    let spec = server.line(START);
    let mut camera = Process::start(
        "camera",
        path,
        &["camera", "--key", "camera.key", "--server", &spec, "--input", CLIP],
    );
    let info = camera.line(START);

    // Made before there is a subscriber: the lines must carry the UUID all the same.
    let modules = [0, 1].map(|_| P2pModule::new(Smol).expect("randomness"));
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .json()
        .with_max_level(tracing_subscriber::filter::LevelFilter::DEBUG)
        .with_writer(move || writer.clone())
        .init();
    let bind = SocketAddr::from(([127, 0, 0, 1], 0));
    let params = AppParams { bind, ..AppParams::new("wx0", "oauth", "key", "secret", "org.example.app") };
    block_on(async {
        // In the caller's task.
        let elsewhere = SocketAddr::from(([192, 0, 2, 1], 0));
        assert!(modules[1].init(AppParams { bind: elsewhere, ..params.clone() }).await.is_err());
        for module in &modules {
            module.init(params.clone()).await.expect("init");
        }
        let stream = StreamInfo {
            url: "http://XP2P_INFO.xnet/ipc.p2p.com/ipc.flv?action=live&channel=0&quality=high".to_owned(),
            xp2p_info: info.clone(),
            ..StreamInfo::default()
        };
        let started = modules[0].start_p2p_service_with_stream("door", stream).await;
        let (_, _, hub, url) = started.expect("a stream");
        assert!(hub.subscribe().next_tag().await.is_some());
        // In the local server's task of one connection: what it reads is no HTTP.
        let host = url.trim_start_matches("http://").split('/').next().expect("an address");
        let mut player = std::net::TcpStream::connect(host).expect("the local server");
        player.write_all(b"\0 no HTTP \0\r\n\r\n").expect("sent");
        let begun = Instant::now();
        while !log.lines().iter().any(|l| says(l, "a player's connection ended")) {
            assert!(begun.elapsed() < START, "{:?}", log.lines());
            std::thread::sleep(Duration::from_millis(20));
        }
        for module in &modules {
            module.reset_p2p().await.expect("reset");
            module.destroy().await;
        }
    });
    camera.stop();

    let lines = log.lines();
    // Of the machine's task, and of TLS and QUIC in it; of the server's; of ours.
    let from = |target: &'static str| {
        lines.iter().filter(move |l| l["target"].as_str().is_some_and(|t| t.starts_with(target)))
    };
    for target in ["xp2p_driver::viewer", "xp2p_driver::player", "xp2p_driver::module", "noq_proto"] {
        assert!(from(target).count() > 0, "nothing of {target}: {lines:#?}");
    }
    let [first, second] = [0, 1].map(|i| modules[i].uuid());
    for line in from("xp2p_").chain(from("noq_")).chain(from("rustls")) {
        let uuids = uuids(line);
        let same = uuids.iter().all(|uuid| *uuid == uuids[0]);
        assert!(same && uuids.first().is_some_and(|u| [first, second].contains(u)), "{line:#}");
    }
    let failed: Vec<&Value> = lines.iter().filter(|l| says(l, "init failed")).collect();
    assert_eq!(failed.iter().flat_map(|l| uuids(l)).collect::<Vec<_>>(), [second]);
    let shown: Vec<&Value> = from("xp2p_driver::viewer").collect();
    assert!(shown.iter().all(|l| uuids(l).contains(&first)), "only one of them has a camera");
}
