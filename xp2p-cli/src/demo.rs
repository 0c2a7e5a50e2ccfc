//! `xp2p demo`: a server, a camera and viewers in one program, on real sockets.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use xp2p_driver::camera::CameraHandle;
use xp2p_driver::page::{CameraAbout, CameraPage};
use xp2p_driver::player::{Hub, PlayerConfig, PlayerServer};
use xp2p_driver::runtime::sleep;
use xp2p_driver::server::ServerHandle;
use xp2p_driver::source::SourceSpec;
use xp2p_driver::viewer::{Service, ViewStatus, ViewerHandle};
use xp2p_proto::camera::{CameraConfig, CameraEvent, CameraServer};
use xp2p_proto::info::Rights;
use xp2p_proto::keys::SecretKey;
use xp2p_proto::link::Entropy;
use xp2p_proto::request::Live;
use xp2p_proto::server::ServerConfig;
use xp2p_proto::viewer::StreamKey;

use crate::args::Demo;
use crate::demo_camera::{self, DemoApp};
use crate::output::Status;
use crate::rt::{ViewerHandle as RtViewer, rt};
use crate::{camera, keyfile, output, page, stop, view};

/// Made by tests/fixtures/make-clip.sh.
pub(crate) const CLIP: &[u8] = include_bytes!("../../tests/fixtures/clip.flv");
const LATENCY: Duration = Duration::from_secs(2);
/// How long the camera may take to register.
const REGISTER: Duration = Duration::from_secs(5);
/// How often the numbers are refreshed.
const REFRESH: Duration = Duration::from_millis(500);

enum News {
    /// What the camera was told to do.
    Camera(demo_camera::Told),
    Refresh,
    Stop,
}

struct Watching {
    viewer: RtViewer,
    service: Service,
    stream: StreamKey,
    hub: Hub,
}

fn loopback() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

pub(crate) async fn run(args: &Demo) -> Result<bool> {
    let count = args.viewers.unwrap_or(1);
    let signals = stop::signals()?;
    let say = |value: &Value, text: &str| {
        if args.json {
            output::json(value);
        } else {
            eprintln!("{text}");
        }
    };
    let secret = SecretKey::from_bytes(keyfile::random()?);
    let server_key = secret.public();
    let mut config = ServerConfig::new(secret, Entropy::from_os(keyfile::random()?), loopback());
    // What stays on this machine costs nobody anything.
    config.relay.camera_rate = None;
    config.relay.flow_rate = None;
    let (server, _server_events) = ServerHandle::spawn(&rt(), loopback(), None, config)?;
    say(
        &json!({"event": "server", "server": format!("{}#{server_key}", server.local_addr())}),
        &format!("server   {}", server.local_addr()),
    );

    let at = CameraServer {
        key: Some(server_key),
        addrs: vec![server.local_addr()],
        advertised: vec![server.local_addr().into()],
        tcp_port: None,
        app_key: None,
    };
    let secret = SecretKey::from_bytes(keyfile::random()?);
    let mut config = CameraConfig::new(secret, Entropy::from_os(keyfile::random()?), vec![at]);
    config.product = "demo".to_owned();
    config.name = "camera".to_owned();
    config.max_viewers = usize::from(count);
    config.max_connections = config.max_viewers + 32;
    config.talk = true;
    let records = demo_camera::Records::new()?;
    let (app, told) = DemoApp::new(&records)?;
    let (camera, camera_events) = CameraHandle::spawn_with(&rt(), loopback(), config, app)?;
    let source = match &args.input {
        Some(path) => SourceSpec::parse(&path.to_string_lossy()),
        None => SourceSpec::Memory(CLIP.into()),
    };
    let (_source, _troubles) = camera::feed(&camera, &source, None)?;
    wait_registered(&camera_events).await?;
    let info = camera.xp2p_info(Rights::ALL, None).await?.context("the server has told no key")?;
    say(
        &json!({"event": "camera", "camera": info.camera().to_string()}),
        &format!("camera   {}", info.camera()),
    );

    let mut watching = Vec::new();
    for _ in 0..count {
        let viewer = ViewerHandle::spawn(&rt(), loopback(), view::config(LATENCY)?)?;
        let (service, stream, hub) = viewer.watch(info.clone(), Live::default()).await?;
        watching.push(Watching { viewer, service, stream, hub });
    }
    let mut player = PlayerConfig::new(args.listen);
    // The page is that of the first viewer; there is at least one.
    let web = watching.first().map(|first| {
        let about = CameraAbout::new("0", &info, Live::default(), first.stream, first.hub.clone());
        CameraPage::new(&first.viewer, first.service.id, about)
    });
    if let Some(web) = &web {
        web.attach(&mut player);
    }
    let players = PlayerServer::bind(&rt(), player)?;
    for (number, watching) in watching.iter().enumerate() {
        players.insert(&number.to_string(), watching.hub.clone());
    }
    let url = players.url("0", "action=live&channel=0&quality=high");
    if args.json {
        output::json(&json!({"event": "url", "url": url}));
    } else {
        eprintln!("viewers  {}\n\nOpen this in ffplay, mpv or VLC (Ctrl-C ends the demo):\n", count);
        output::line(&url);
    }
    page::show(&players, page::Teller { json: args.json, to_stdout: false }, args.open);

    let start = Instant::now();
    let end = args.seconds.map(Duration::from_secs);
    let status_line = Status::new(!args.json);
    loop {
        let left = end.map_or(REFRESH, |end| end.saturating_sub(start.elapsed()).min(REFRESH));
        if left.is_zero() {
            break;
        }
        let news = futures_lite::future::or(
            async {
                sleep(&rt(), left).await;
                News::Refresh
            },
            futures_lite::future::or(async { told.recv().await.map_or(News::Stop, News::Camera) }, async {
                // Ends with a signal, or if no signal can come any more.
                let _ = signals.recv().await;
                News::Stop
            }),
        );
        match news.await {
            News::Stop => break,
            News::Camera(told) if args.json => output::json(&told.json),
            News::Camera(told) => status_line.note(&told.words),
            News::Refresh => {}
        }
        for (number, watching) in watching.iter().enumerate() {
            while let Ok(event) = watching.service.events.try_recv() {
                tracing::debug!(?event, "viewer");
                if let (0, Some(web)) = (number, &web) {
                    web.note(&event);
                }
            }
        }
        while let Ok(event) = camera_events.try_recv() {
            tracing::debug!(?event, "camera");
        }
        status_line.set(numbers(&watching).await?);
    }
    drop(status_line);

    let mut all = true;
    let mut summaries = Vec::new();
    for watching in &watching {
        let status = watching.viewer.status(watching.stream).await?;
        all &= status.stats.is_some_and(|s| s.first_keyframe.is_some());
        summaries.push(view::figures(&status));
    }
    for watching in &watching {
        watching.viewer.shutdown().await;
    }
    camera.shutdown().await;
    let relayed = server.stats().await?.relayed_bytes;
    server.shutdown().await;
    summarise(args, &summaries, relayed, start.elapsed());
    Ok(all)
}

async fn wait_registered(events: &async_channel::Receiver<CameraEvent>) -> Result<()> {
    let registered = async {
        loop {
            match events.recv().await {
                Ok(CameraEvent::Registered { .. }) => return Ok(()),
                Ok(CameraEvent::RegistrationRefused { reason, .. }) => {
                    anyhow::bail!("registration: {reason}")
                }
                Ok(_) => {}
                Err(_) => anyhow::bail!("the camera has stopped"),
            }
        }
    };
    let late = async {
        sleep(&rt(), REGISTER).await;
        anyhow::bail!("the camera did not register within {} s", REGISTER.as_secs())
    };
    futures_lite::future::or(registered, late).await
}

async fn numbers(watching: &[Watching]) -> Result<String> {
    let mut with_picture = 0;
    let mut direct = 0;
    let mut bytes = 0;
    let mut first: Option<ViewStatus> = None;
    for watching in watching {
        let status = watching.viewer.status(watching.stream).await?;
        if let Some(stats) = status.stats {
            with_picture += usize::from(stats.first_keyframe.is_some());
            bytes += stats.received.bytes;
        }
        direct += usize::from(
            status.paths.iter().any(|p| p.selected && p.kind == xp2p_proto::link::PathKind::Direct),
        );
        first.get_or_insert(status);
    }
    let rtt = first.and_then(|s| s.paths.iter().find(|p| p.selected).map(|p| p.rtt)).unwrap_or_default();
    let players: usize = watching.iter().map(|w| w.hub.stats().receivers).sum();
    Ok(format!(
        "{with_picture} of {} viewers have a picture | {direct} direct | {:.1} ms | {:.1} MB received | {players} players",
        watching.len(),
        rtt.as_secs_f64() * 1000.0,
        bytes as f64 / 1e6,
    ))
}

fn summarise(args: &Demo, viewers: &[Value], relayed: u64, time: Duration) {
    let keyframes: Vec<f64> = viewers.iter().filter_map(|v| v["first_keyframe_ms"].as_f64()).collect();
    let slowest = keyframes.iter().copied().fold(0.0, f64::max);
    if args.json {
        output::json(&json!({
            "event": "summary",
            "viewers": viewers,
            "with_keyframe": keyframes.len(),
            "slowest_keyframe_ms": slowest,
            "relayed_bytes": relayed,
            "seconds": time.as_secs_f64(),
        }));
    } else {
        eprintln!(
            "{} of {} viewers got a picture, the last one after {slowest:.0} ms; the server relayed {:.1} kB.",
            keyframes.len(),
            viewers.len(),
            relayed as f64 / 1000.0
        );
    }
}
