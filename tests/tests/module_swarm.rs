//! The module with streams that their viewers share, against a real server process that publishes one.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_lite::future::{block_on, or};
use serde_json::Value;
use xp2p_proto::error::ErrorCode;
use xp2p_proto::link::PathKind;
use xp2p_proto::request::{CallType, Voice};
use xp2p_proto::viewer::Resume;
use xp2p_smol::driver::module::{AppParams, ModuleError, Service, StreamInfo, StreamKind};
use xp2p_smol::driver::player::Hub;
use xp2p_smol::driver::viewer::ServiceEvent;
use xp2p_smol::driver::watch::WatchStats;
use xp2p_smol::{P2pModule, Smol};
use xp2p_tests::probing::streams;
use xp2p_tests::processes::{Process, TempDir, get};

const CLIP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/clip.flv");
const START: Duration = Duration::from_secs(15);
/// Much longer than any of this takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(40);

/// A server that publishes a stream.
struct Home {
    _dir: TempDir,
    server: Process,
    spec: String,
    url: String,
}

impl Home {
    fn new(name: &str) -> Self {
        let dir = TempDir::new(name);
        let publish = format!("room={CLIP}");
        let args = ["server", "--listen", "127.0.0.1:0", "--media", "127.0.0.1:0", "--publish", &publish];
        let mut server = Process::start("server", dir.path(), &args);
        let (spec, url) = (server.line(START), server.line(START));
        Self { _dir: dir, server, spec, url }
    }

    async fn module(&self, patience: Duration) -> P2pModule {
        let module = P2pModule::new(Smol).expect("randomness");
        let bind = SocketAddr::from(([127, 0, 0, 1], 0));
        let servers = vec![self.spec.parse().expect("the line of a server")];
        let params = AppParams::new("wx0", "oauth", "key", "secret", "org.example.app");
        module.init(AppParams { bind, servers, patience, ..params }).await.expect("init");
        module
    }

    fn stream(&self) -> StreamInfo {
        StreamInfo { url: self.url.clone(), ..StreamInfo::default() }
    }
}

async fn within<T>(time: Duration, what: &str, wait: impl Future<Output = T>) -> T {
    let late = async {
        xp2p_smol::driver::runtime::sleep(&Smol, time).await;
        panic!("{what}: not within {time:?}");
    };
    or(wait, late).await
}

/// Waits until the numbers of a stream say so.
async fn until(service: &Service<Smol>, what: &str, is: impl Fn(&WatchStats) -> bool) -> WatchStats {
    let begun = Instant::now();
    loop {
        let stats = service.sharing().await.expect("it runs");
        if is(&stats) {
            return stats;
        }
        assert!(begun.elapsed() < PATIENCE, "{what}: {stats:?}");
        xp2p_smol::driver::runtime::sleep(&Smol, Duration::from_millis(100)).await;
    }
}

async fn picture(hub: &Hub) {
    let mut subscription = hub.subscribe();
    let first = async {
        loop {
            if subscription.next_tag().await.expect("a tag").is_keyframe() {
                return;
            }
        }
    };
    within(PATIENCE, "a picture", first).await;
}

fn code<T>(result: Result<T, ModuleError>) -> (i32, String) {
    let error = result.err().expect("an error");
    (error.code.number(), error.message)
}

fn names(service: &Service<Smol>) -> Vec<String> {
    let events = service.events();
    let name = |event| match event {
        ServiceEvent::Connected { .. } => "connected".to_owned(),
        ServiceEvent::Request { .. } => "request".to_owned(),
        ServiceEvent::Parsed { status, .. } => format!("parsed {status}"),
        ServiceEvent::Eof { .. } => "eof".to_owned(),
        ServiceEvent::Close { .. } => "close".to_owned(),
        ServiceEvent::Disconnect { .. } => "disconnect".to_owned(),
        other => format!("{other:?}"),
    };
    std::iter::from_fn(|| events.try_recv().ok()).map(name).collect()
}

#[test]
fn two_modules_share_a_stream_and_its_switch_turns_without_a_restart() {
    let home = Home::new("module-swarm");
    block_on(async {
        let (first, second) = (home.module(PATIENCE).await, home.module(PATIENCE).await);
        let (puller, kind, hub, url) =
            first.start_p2p_service_with_stream("room", home.stream()).await.expect("a stream");
        assert_eq!(kind, StreamKind::Live);
        assert!(url.contains("/room/ipc.flv?action=live"), "{url}");
        picture(&hub).await;
        // A player may have the picture a moment before the application is told of it.
        let mut told = names(&puller);
        let begun = Instant::now();
        while !told.iter().any(|n| n == "parsed 200") && begun.elapsed() < PATIENCE {
            xp2p_smol::driver::runtime::sleep(&Smol, Duration::from_millis(20)).await;
            told.extend(names(&puller));
        }
        assert_eq!(told.first().map(String::as_str), Some("request"), "{told:?}");
        for name in ["connected", "parsed 200"] {
            assert_eq!(told.iter().filter(|n| *n == name).count(), 1, "{told:?}");
        }

        // The second one takes most from the first, in one stream; a player finds it where it finds those of cameras.
        let (service, _, hub, url) =
            second.start_p2p_service_with_stream("home/room", home.stream()).await.expect("a stream");
        picture(&hub).await;
        let stats = until(&service, "it gets pieces", |s| s.p2p_bytes > 200_000).await;
        assert!(stats.parents > 0 && stats.latency_ms.is_some(), "{stats:?}");
        let uploaded =
            until(&puller, "it gives pieces", |s| s.upload_bytes > 200_000 && s.children > 0).await;
        assert!(uploaded.origin_bytes > 0, "{uploaded:?}");
        let codecs = streams(&url);
        assert!(codecs.contains("h264") && codecs.contains("aac"), "{codecs}");
        assert_eq!(service.link_mode().await.expect("a module"), Some(PathKind::Direct));
        let startup = service.startup().await.expect("a module");
        for step in [startup.service, startup.start, startup.header, startup.data, startup.keyframe] {
            assert!(step.is_some_and(|t| t < PATIENCE), "{startup:?}");
        }
        let status = service.status(StreamKind::Live).await.expect("a stream");
        assert!(status.totals.direct_rx > 200_000 && status.stats.is_some_and(|s| s.received.tags > 0));

        // The same over HTTP.
        let stat: Value = serde_json::from_str(&get(&second.stat_url().expect("a URL"))).expect("JSON");
        let told = &stat["services"][0];
        assert_eq!(
            (told["id"].as_str(), told["link"].as_str()),
            (Some("home/room"), Some("shared")),
            "{stat}"
        );
        assert!(told["bytes"]["p2p"]["received"].as_u64() > Some(200_000), "{stat}");
        assert_eq!(told["bytes"]["origin"]["received"], told["sharing"]["origin_bytes"], "{stat}");
        for field in ["parents", "children", "offload", "latency_ms", "reason", "origin_bytes_by"] {
            assert!(!told["sharing"][field].is_null(), "{field}: {stat}");
        }

        // What needs a camera says so.
        for (number, text) in [
            code(service.send_command("action=user_define&channel=0&cmd=x", None).await),
            code(service.start_voice_data(Voice { channel: 0, calltype: CallType::Audio }).await),
            code(service.start_local_download("channel=0&file_name=a.flv", Resume::default()).await),
            code(
                service
                    .start_stream(Some("ipc.flv?action=playback&start_time=1700000000&end_time=1700000009"))
                    .await,
            ),
        ] {
            assert!(number == -2004 && text.contains("camera"), "{number} {text}");
        }
        assert_eq!(code(service.start_stream(None).await).0, -2401);

        // Upload off: after the call nothing goes out any more, and the other one finds the origin.
        first.set_sharing(false, true).await.expect("a module");
        let off = puller.sharing().await.expect("it runs").upload_bytes;
        let before = service.sharing().await.expect("it runs").origin_bytes;
        until(&service, "it reads the origin", |s| s.origin_bytes > before + 200_000).await;
        assert_eq!(puller.sharing().await.expect("it runs").upload_bytes, off);
        // On again, over HTTP; then download off on the other side.
        let feature = first.feature_url().expect("a URL");
        assert_eq!(get(&format!("{feature}?upload=on")), r#"{"download":true,"upload":true}"#);
        // Meanwhile the tracker may have made the second one the puller: then the first one gets pieces from it.
        let both = async || {
            let got = async |s: &Service<Smol>| s.sharing().await.expect("it runs").p2p_bytes;
            got(&service).await + got(&puller).await
        };
        let before = both().await;
        let again = async {
            while both().await < before + 200_000 {
                xp2p_smol::driver::runtime::sleep(&Smol, Duration::from_millis(100)).await;
            }
        };
        within(PATIENCE, "one gets pieces from the other again", again).await;
        let feature = second.feature_url().expect("a URL");
        assert_eq!(get(&format!("{feature}?download=0")), r#"{"download":false,"upload":true}"#);
        let stats = until(&service, "it reads the origin", |s| s.origin_open).await;
        xp2p_smol::driver::runtime::sleep(&Smol, Duration::from_secs(1)).await;
        let settled = service.sharing().await.expect("it runs");
        until(&service, "the origin goes on", |s| s.origin_bytes > stats.origin_bytes + 200_000).await;
        assert_eq!(service.sharing().await.expect("it runs").p2p_bytes, settled.p2p_bytes);
        assert_eq!(get(&feature), r#"{"download":false,"upload":true}"#, "nothing was asked to change");
        assert!(!hub.is_ended(), "nothing has restarted");

        // Stopped and started anew on the same service; then the service, and the module.
        service.stop_stream(StreamKind::Live).await.expect("stopped");
        assert!(hub.is_ended() && service.sharing().await.is_none());
        let (_, again, _) = service.start_stream(Some("ipc.flv?action=live")).await.expect("a stream");
        picture(&again).await;
        second.stop_p2p_service("home/room").await.expect("stopped");
        assert!(again.is_ended());
        assert_eq!(code(service.start_stream(None).await).0, -2403);
        first.destroy().await;
        assert!(puller.sharing().await.is_none());
        second.destroy().await;
    });
}

#[test]
fn a_stream_that_is_not_there_or_ends_is_told() {
    let mut home = Home::new("module-swarm-end");
    block_on(async {
        let module = home.module(Duration::from_secs(4)).await;
        let missing = StreamInfo { url: home.url.replace("room", "attic"), ..StreamInfo::default() };
        let (service, ..) = module.start_p2p_service_with_stream("attic", missing).await.expect("a stream");
        let events = service.events();
        let ended = within(PATIENCE, "disconnect", async {
            let mut seen = Vec::new();
            loop {
                match events.recv().await.expect("an event") {
                    ServiceEvent::Disconnect { code, reason } => return (seen, code, reason),
                    other => seen.push(other),
                }
            }
        });
        let (seen, code, reason) = ended.await;
        assert!(seen.iter().any(|e| matches!(e, ServiceEvent::Parsed { status: 404, .. })), "{seen:?}");
        assert!(matches!(seen.last(), Some(ServiceEvent::Close { .. })), "{seen:?}");
        assert!(code == ErrorCode::StreamStartFailed && reason.contains("404"), "{code} {reason}");

        // The server goes: what it has published is over.
        let (service, _, hub, _) =
            module.start_p2p_service_with_stream("room", home.stream()).await.expect("a stream");
        picture(&hub).await;
        home.server.stop();
        home.server.wait(START);
        let events = service.events();
        within(PATIENCE, "close", async {
            while !matches!(events.recv().await.expect("an event"), ServiceEvent::Close { .. }) {}
        })
        .await;
        assert!(hub.is_ended());
        module.destroy().await;
    });
}
