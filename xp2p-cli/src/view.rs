//! `xp2p view`.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use xp2p_driver::page::{CameraAbout, CameraPage};
use xp2p_driver::player::{Hub, PlayerConfig, PlayerServer, Subscription};
use xp2p_driver::portmap::PortMapping;
use xp2p_driver::runtime::sleep;
use xp2p_driver::viewer::{ServiceEvent, StatStream, ViewStatus, ViewerHandle, is_full, millis};
use xp2p_proto::flv::TagKind;
use xp2p_proto::info::Feature;
use xp2p_proto::keys::SecretKey;
use xp2p_proto::link::{Entropy, PathKind};
use xp2p_proto::request::{Live, Quality, Reason};
use xp2p_proto::viewer::ViewerConfig;

use crate::args::View;
use crate::output::Status;
use crate::record::record;
use crate::rt::rt;
use crate::{crowd, info, keyfile, output, page, port, socket, stat, stop, watch};

/// How often the numbers are refreshed.
const REFRESH: Duration = Duration::from_millis(500);

/// Direct or relay, for machines.
pub(crate) fn link_name(kind: PathKind) -> &'static str {
    match kind {
        PathKind::Direct => "direct",
        PathKind::Relay => "relay",
        PathKind::RelayTcp => "relay-tcp",
    }
}

/// Direct or relay, for people.
pub(crate) fn link_words(kind: PathKind) -> &'static str {
    match kind {
        PathKind::Direct => "directly",
        PathKind::Relay => "over the relay",
        PathKind::RelayTcp => "over the relay by TCP, because UDP does not get through",
    }
}

/// A viewer's configuration with a fresh identity.
pub(crate) fn config(latency: Duration) -> Result<ViewerConfig> {
    let secret = SecretKey::from_bytes(keyfile::random()?);
    let mut config = ViewerConfig::new(secret, Entropy::from_os(keyfile::random()?));
    config.latency = latency;
    Ok(config)
}

/// The figures of a stream, for `--json` and for a person.
pub(crate) fn figures(status: &ViewStatus) -> Value {
    let selected = status.paths.iter().find(|p| p.selected);
    let stats = status.stats.unwrap_or_default();
    json!({
        "first_byte_ms": stats.first_byte.map(millis),
        "first_keyframe_ms": stats.first_keyframe.map(millis),
        "bytes": stats.received.bytes,
        "tags": stats.received.tags,
        "skipped_gops": stats.received.skipped_gops,
        "link": selected.map(|p| link_name(p.kind)),
        "rtt_ms": selected.map(|p| millis(p.rtt)),
        "relay_bytes": status.totals.relay_rx,
        "direct_bytes": status.totals.direct_rx,
    })
}

enum News {
    Service(ServiceEvent),
    Port(PortMapping),
    Refresh,
    /// So many seconds of video have come.
    Enough,
    Recorded(std::io::Result<()>),
    Stop,
}

pub(crate) async fn run(args: &View) -> Result<bool> {
    let camera = info::parse(&args.info)?;
    camera.version().require(Feature::Live).map_err(|e| anyhow::anyhow!("{e} ({})", e.code().number()))?;
    let quality: Quality = args.quality.parse()?;
    let signals = stop::signals()?;
    let socket = socket::bind("[::]:0".parse()?, args.socket_buffer)?;
    let mut config = config(Duration::from_millis(args.latency))?;
    config.lan = !args.lan.no_lan;
    config.port_mapping = !args.router.no_port_mapping;
    let viewer = ViewerHandle::spawn_on(&rt(), socket, config)?;
    let mut player = PlayerConfig::new(args.listen);
    player.allow_origins = args.allow_origins.clone();
    let live = Live { channel: args.channel, quality, ..Live::default() };
    let service = viewer.connect(camera.clone()).await?;
    if let Some(domain) = args.live_stream_domain.as_deref()
        && !viewer.has_room(service.id, &live).await.context("-2801")?
    {
        let watch = crowd::instead(args, domain, &viewer, service.id, &camera).await?;
        viewer.shutdown().await;
        return watch::run_until(&watch, &signals).await;
    }
    let (stream, hub) = viewer.start_live(service.id, live.clone()).await?;
    let told = StatStream { action: "live", key: stream, hub: hub.clone() };
    player.stat = Some(stat::source(&viewer, "0", service.id, told));
    let about = CameraAbout::new("0", &camera, live, stream, hub.clone());
    let web = CameraPage::new(&viewer, service.id, about);
    web.attach(&mut player);
    let players = PlayerServer::bind(&rt(), player)?;
    players.insert("0", hub.clone());
    let url = players.url("0", &format!("action=live&channel={}&quality={quality}", args.channel));
    let to_stdout = args.out.as_deref() == Some(Path::new("-"));
    if args.json && !to_stdout {
        output::json(&json!({"event": "url", "url": url}));
    } else if to_stdout {
        eprintln!("{url}");
    } else {
        output::line(&url);
    }
    page::show(&players, page::Teller { json: args.json, to_stdout }, args.open);
    let say = |value: Value| {
        if args.json && !to_stdout {
            output::json(&value);
        } else if args.json {
            eprintln!("{value}");
        }
    };

    let recording = args.out.as_deref().map(|out| record(out, &hub)).transpose()?;
    let meter = meter(hub.subscribe(), args.seconds);
    futures_lite::pin!(meter);
    let status_line = Status::new(!args.json);
    let mut last = (Instant::now(), 0u64);
    let mut port_mapping = viewer.port_mapping().status();
    let mut failure = None;
    let mut last_status = ViewStatus::default();
    // What to do instead when others were faster and the camera has no room any more.
    let mut instead = None;
    loop {
        let next = futures_lite::future::or(
            futures_lite::future::or(
                async { service.events.recv().await.map_or(News::Stop, News::Service) },
                async {
                    (&mut meter).await;
                    News::Enough
                },
            ),
            futures_lite::future::or(
                futures_lite::future::or(
                    futures_lite::future::or(
                        async { News::Port(viewer.port_mapping().changed(&port_mapping).await) },
                        async {
                            sleep(&rt(), REFRESH).await;
                            News::Refresh
                        },
                    ),
                    async {
                        match &recording {
                            Some(recording) => News::Recorded(recording.failed().await),
                            None => std::future::pending().await,
                        }
                    },
                ),
                async {
                    // Ends with a signal, or if no signal can come any more.
                    let _ = signals.recv().await;
                    News::Stop
                },
            ),
        );
        let news = next.await;
        if let News::Service(event) = &news {
            web.note(event);
        }
        match news {
            News::Stop | News::Enough => break,
            News::Recorded(result) => {
                result.context("cannot record")?;
            }
            News::Port(now) => {
                port_mapping = now;
                port::event(&port_mapping).into_iter().for_each(&say);
            }
            News::Refresh => {
                let status = viewer.status(stream).await?;
                let bytes = status.stats.map_or(0, |s| s.received.bytes);
                let rate = bytes.saturating_sub(last.1) as f64 * 8.0 / last.0.elapsed().as_secs_f64();
                last = (Instant::now(), bytes);
                status_line.set(words(&status, rate, &hub));
                if status.stats.is_some() {
                    last_status = status;
                }
            }
            News::Service(event) => match event {
                ServiceEvent::Connected { rtt } => say(json!({"event": "connected", "rtt_ms": millis(rtt)})),
                ServiceEvent::Path(kind) => {
                    say(json!({"event": "path", "link": link_name(kind)}));
                    if !args.json {
                        status_line.note(&format!("the camera is reached {}", link_words(kind)));
                    }
                }
                // Streams that players and the page have asked for come and go.
                ServiceEvent::Parsed { stream: other, .. }
                | ServiceEvent::Eof { stream: other }
                | ServiceEvent::Close { stream: other, .. }
                    if other != stream => {}
                ServiceEvent::Parsed { status, headers, .. } => {
                    let reason = headers.reason.as_ref().map(Reason::as_str);
                    say(json!({"event": "parsed", "status": status, "reason": reason}));
                    if let Some(domain) = args.live_stream_domain.as_deref().filter(|_| is_full(status)) {
                        instead = Some(crowd::instead(args, domain, &viewer, service.id, &camera).await?);
                        break;
                    }
                }
                ServiceEvent::Reconnecting(reason) => {
                    say(json!({"event": "reconnecting", "reason": reason}));
                    if !args.json {
                        status_line.note(&format!("{reason}; trying to come back"));
                    }
                }
                ServiceEvent::Eof { .. } => {
                    say(json!({"event": "eof"}));
                    break;
                }
                ServiceEvent::Close { reason, .. } => {
                    say(json!({"event": "close", "reason": reason}));
                    failure = Some(reason);
                    break;
                }
                ServiceEvent::Message { message, text } => {
                    say(json!({"event": "message", "text": text}));
                    if !args.json {
                        status_line.note(&format!("the camera says: {text}"));
                    }
                    // That somebody has seen it is all that this program can say.
                    viewer.reply_message(message, r#"{"status":"0"}"#).await?;
                }
                ServiceEvent::Disconnect { code, reason } => {
                    say(json!({"event": "disconnect", "code": code.number(), "reason": reason}));
                    failure = Some(format!("{reason} ({})", code.number()));
                    break;
                }
                _ => {}
            },
        }
    }
    let status = viewer.status(stream).await?;
    let status = if status.stats.is_some() { status } else { last_status };
    drop(status_line);
    viewer.shutdown().await;
    if let Some(recording) = recording {
        recording.finish().context("cannot record")?;
    }
    if let Some(watch) = instead {
        drop(players);
        return watch::run_until(&watch, &signals).await;
    }
    let arrived = status.stats.is_some_and(|s| s.received.keyframes > 0);
    let mut summary = figures(&status);
    summary["event"] = json!("summary");
    say(summary);
    if let Some(failure) = failure {
        eprintln!("error: {failure}");
    } else if !arrived {
        eprintln!("error: no video arrived");
    }
    Ok(arrived)
}

/// The numbers in one line.
fn words(status: &ViewStatus, rate: f64, hub: &Hub) -> String {
    let Some(stats) = status.stats else { return "the stream has ended".to_owned() };
    let path = status.paths.iter().find(|p| p.selected);
    match (path, stats.first_keyframe) {
        (None, _) => "connecting".to_owned(),
        (Some(_), None) => "waiting for a picture".to_owned(),
        (Some(path), Some(first)) => format!(
            "{} | {:.0} ms | {:.0} kbit/s | first picture after {:.0} ms | {} players | {} pictures groups skipped",
            link_name(path.kind),
            millis(path.rtt),
            rate / 1000.0,
            millis(first),
            // One of them is our own meter.
            hub.stats().receivers.saturating_sub(1),
            stats.received.skipped_gops,
        ),
    }
}

/// Ends after so many seconds of video, by its own timestamps.
pub(crate) async fn meter(mut subscription: Subscription, seconds: Option<u64>) {
    let mut first = None;
    while let Some(tag) = subscription.next_tag().await {
        let Some(seconds) = seconds else { continue };
        if tag.kind == TagKind::Script || tag.is_sequence_header() {
            continue;
        }
        let first = *first.get_or_insert(tag.timestamp);
        if u64::from(tag.timestamp.wrapping_sub(first)) >= seconds.saturating_mul(1000) {
            return;
        }
    }
    // The stream is over, which an event tells with its reason.
    std::future::pending().await
}
