//! A thousand idle services in one process, on each driver: memory, threads and wake-ups are bounded. A test of its own, so
//! that the process does nothing else.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use xp2p_proto::camera::{CameraConfig, CameraEvent, CameraServer};
use xp2p_proto::info::{Rights, Xp2pInfo};
use xp2p_proto::keys::SecretKey;
use xp2p_proto::link::Entropy;
use xp2p_proto::server::ServerConfig;
use xp2p_proto::viewer::ViewerConfig;
use xp2p_smol::Smol;
use xp2p_smol::driver::camera::CameraHandle;
use xp2p_smol::driver::runtime::{Runtime, sleep};
use xp2p_smol::driver::server::ServerHandle;
use xp2p_smol::driver::viewer::{ServiceEvent, ViewerHandle};
use xp2p_tokio::Tokio;

const CAMERAS: usize = 20;
const VIEWERS: usize = 50;
const SERVICES: u64 = (CAMERAS * VIEWERS) as u64;

/// A number of `/proc/self/status`; 0 where there is none.
fn status(field: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    line.and_then(|l| l.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn identity<R: Runtime>(runtime: &R) -> (SecretKey, Entropy) {
    let secret = SecretKey::from_bytes(runtime.random().expect("randomness"));
    (secret, Entropy::from_os(runtime.random().expect("randomness")))
}

async fn camera<R: Runtime>(runtime: &R, server: &CameraServer) -> (CameraHandle, Xp2pInfo) {
    let (secret, entropy) = identity(runtime);
    let config = CameraConfig::new(secret, entropy, vec![server.clone()]);
    let bind = "127.0.0.1:0".parse().expect("an address");
    let (camera, events) = CameraHandle::spawn_with(runtime, bind, config, Arc::new(())).expect("a camera");
    while !matches!(events.recv().await.expect("an event"), CameraEvent::Registered { .. }) {}
    let info = camera.xp2p_info(Rights::ALL, None).await.expect("running").expect("a known key");
    (camera, info)
}

async fn thousand<R: Runtime>(name: &str, runtime: &R) {
    let bind = "127.0.0.1:0".parse().expect("an address");
    let (secret, entropy) = identity(runtime);
    let key = Some(secret.public());
    let mut config = ServerConfig::new(secret, entropy, bind);
    config.relay.opens_per_source = 100_000;
    let (server, _) = ServerHandle::spawn(runtime, bind, None, config).expect("a server");
    let at = server.local_addr();
    let known =
        CameraServer { key, addrs: vec![at], advertised: vec![at.into()], tcp_port: None, app_key: None };
    let mut cameras = Vec::new();
    for _ in 0..CAMERAS {
        cameras.push(camera(runtime, &known).await);
    }
    let (memory, threads) = (status("VmRSS:"), status("Threads:"));
    let begun = Instant::now();
    let (mut viewers, mut services) = (Vec::new(), Vec::new());
    for _ in 0..VIEWERS {
        let (secret, entropy) = identity(runtime);
        let viewer =
            ViewerHandle::spawn(runtime, bind, ViewerConfig::new(secret, entropy)).expect("a viewer");
        for (_, info) in &cameras {
            let service = viewer.connect(info.clone()).await.expect("a service");
            while !matches!(service.events.recv().await.expect("an event"), ServiceEvent::Connected { .. }) {}
            services.push(service);
        }
        viewers.push(viewer);
    }
    let connecting = begun.elapsed();
    let turns = || {
        let stats = viewers.iter().map(|v| v.machine().loop_stats());
        let stats = stats.chain(cameras.iter().map(|(c, _)| c.machine().loop_stats()));
        stats.map(|s| s.turns.load(Ordering::Relaxed)).sum::<u64>()
    };
    // Once paths are tried out and settled, which takes as long as it takes.
    let rate = loop {
        let (before, from) = (turns(), Instant::now());
        sleep(runtime, Duration::from_secs(1)).await;
        let rate = (turns() - before) as f64 / from.elapsed().as_secs_f64() / SERVICES as f64;
        if rate < 200.0 {
            break rate;
        }
    };
    let (more, now) = (status("VmRSS:").saturating_sub(memory), status("Threads:"));
    println!(
        "{name}: {SERVICES} services in {connecting:?}, {rate:.1} turns per second and service, {} KiB each with both ends, \
         {now} threads ({threads} before)",
        more / SERVICES
    );
    assert!(more / SERVICES < 400, "{more} KiB");
    // None per service; some for blocking work may come and go.
    assert!(now <= threads + 8, "{threads} threads before, {now} now");
    for service in &services {
        assert!(service.events.len() < 10, "no news all the while");
    }
    // All of them say goodbye at the same time.
    drop((viewers, cameras));
    server.shutdown().await;
}

#[test]
fn a_thousand_idle_services_cost_bounded_memory_threads_and_wakeups() {
    futures_lite::future::block_on(thousand("smol", &Smol));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    runtime.block_on(thousand("tokio", &Tokio::new(runtime.handle().clone())));
}
