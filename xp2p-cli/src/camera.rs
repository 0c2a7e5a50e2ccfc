//! `xp2p camera`.

use std::num::NonZeroU64;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use xp2p_driver::camera::CameraHandle;
use xp2p_driver::runtime::sleep;
use xp2p_driver::source::{Sink, Source, SourceEvent, SourceSpec};
use xp2p_proto::camera::{CameraConfig, CameraEvent, CameraServer, MAX_SERVERS};
use xp2p_proto::info::{Rights, ServerSpec};
use xp2p_proto::keys::KeyFile;
use xp2p_proto::link::Entropy;
use xp2p_proto::register::AppKey;
use xp2p_proto::request::Quality;
use xp2p_smol::Smol;

use crate::args::Camera;
use crate::{keyfile, known, output, secret, share, stop};

/// How often the key file is looked at, for a revocation. Sessions end within 5 s of it.
const REVOCATION_CHECK: Duration = Duration::from_secs(1);

enum News {
    Camera(CameraEvent),
    Source(SourceEvent),
    CheckKey,
    Stop,
}

/// Pushes what a source gives to a camera. Also returns what the source complains about.
pub(crate) fn feed(
    camera: &CameraHandle,
    source: &SourceSpec,
) -> Result<(Source, async_channel::Receiver<SourceEvent>)> {
    let (sender, troubles) = async_channel::bounded(16);
    let camera = camera.clone();
    let sink: Sink = Box::new(move |event| match event {
        SourceEvent::Tag(tag) => camera
            .push_blocking(0, Quality::High, tag, |e| tracing::debug!("a tag was left out: {e}"))
            .is_ok(),
        other => {
            // Nobody listens any more: the program is about to end.
            let _ = sender.force_send(other);
            true
        }
    });
    Ok((Source::open(source, sink)?, troubles))
}

/// The same xp2pInfo at every start: its serial number follows from the key and epoch.
pub(crate) fn serial(key: &KeyFile) -> [u8; 8] {
    let mut serial = [0; 8];
    let hash = blake3::derive_key(
        "xp2p 2026-11 capability serial",
        &[&key.secret.public().as_bytes()[..], &key.epoch.to_be_bytes()].concat(),
    );
    serial.copy_from_slice(&hash[..8]);
    serial
}

struct Sharing {
    rights: Rights,
    expiry: Option<NonZeroU64>,
}

fn servers(args: &Camera) -> Result<Vec<CameraServer>> {
    if args.servers.len() > MAX_SERVERS {
        bail!("at most {MAX_SERVERS} servers");
    }
    let app_key = match &args.app_key {
        None => None,
        Some(argument) => {
            let (id, secret) = secret::app_key(&secret::read(argument, "app key")?)?;
            Some(AppKey::new(&id, &secret))
        }
    };
    args.servers
        .iter()
        .map(|text| {
            let spec: ServerSpec = text.parse().with_context(|| format!("`{text}` is no HOST:PORT#KEY"))?;
            let key = match spec.key {
                Some(key) => Some(key),
                None => known::find(&spec.addr.to_string())?,
            };
            let addrs = spec.addr.socket_addr().into_iter().collect();
            Ok(CameraServer { key, addrs, advertised: vec![spec.addr], app_key: app_key.clone() })
        })
        .collect()
}

pub(crate) async fn run(args: &Camera) -> Result<()> {
    let mut key = keyfile::load(&args.key)?;
    let servers = servers(args)?;
    let names: Vec<String> = servers
        .iter()
        .map(|s| s.advertised.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
        .collect();
    let sharing =
        Sharing { rights: share::rights(&args.rights)?, expiry: share::expiry(args.expires.as_deref())? };
    let mut config = CameraConfig::new(key.secret.clone(), Entropy::from_os(keyfile::random()?), servers);
    config.epoch = key.epoch;
    config.product = args.product.clone();
    config.name = args.name.clone();
    config.max_viewers = usize::from(args.max_viewers);
    config.max_connections = config.max_viewers * 2 + 32;
    let signals = stop::signals()?;
    let (camera, events) = CameraHandle::spawn(&Smol, args.bind, config)?;
    set_serial(&camera, &key).await?;
    let (source, troubles) = feed(&camera, &SourceSpec::parse(&args.input))?;
    let mut shown = false;
    let result = loop {
        let next = futures_lite::future::or(
            futures_lite::future::or(async { events.recv().await.map_or(News::Stop, News::Camera) }, async {
                troubles.recv().await.map_or(News::Stop, News::Source)
            }),
            futures_lite::future::or(
                async {
                    sleep(&Smol, REVOCATION_CHECK).await;
                    News::CheckKey
                },
                async {
                    // Ends with a signal, or if no signal can come any more.
                    let _ = signals.recv().await;
                    News::Stop
                },
            ),
        );
        match next.await {
            News::Stop => break Ok(()),
            News::CheckKey => match keyfile::load(&args.key) {
                Ok(now) if now.secret.public() == key.secret.public() && now.epoch > key.epoch => {
                    key = now;
                    camera.set_epoch(key.epoch).await?;
                    set_serial(&camera, &key).await?;
                    say(args.json, &json!({"event": "revoked", "epoch": key.epoch}), || {
                        "all older xp2pInfos are void; this is the new one:".to_owned()
                    });
                    shown = show_info(&camera, &sharing).await?;
                }
                Ok(_) => {}
                Err(e) => tracing::warn!("the key file cannot be read at this moment: {e:#}"),
            },
            News::Source(SourceEvent::Trouble(text)) => {
                say(args.json, &json!({"event": "source", "trouble": text}), || format!("source: {text}"));
            }
            News::Source(SourceEvent::Ended(error)) => {
                camera.machine().call(|camera, now| camera.end_feed(now, 0, Quality::High)).await?;
                match error {
                    Some(error) => break Err(anyhow::anyhow!("source: {error}")),
                    None => break Ok(()),
                }
            }
            News::Source(SourceEvent::Tag(_)) => {}
            News::Camera(event) => {
                if let CameraEvent::ServerKey { server, key } = &event {
                    let name = names.get(*server).map_or("", |n| n.as_str());
                    match known::remember(name, key) {
                        Ok(path) => eprintln!(
                            "{name} has the key {key}; it is remembered in {}, and no other will be accepted",
                            path.display()
                        ),
                        Err(e) => {
                            eprintln!("warning: {name} has the key {key}, which cannot be remembered: {e:#}")
                        }
                    }
                }
                let registered = matches!(event, CameraEvent::Registered { .. });
                report(args.json, &names, &event);
                if registered && !shown {
                    shown = show_info(&camera, &sharing).await?;
                }
            }
        }
    };
    drop(source);
    camera.shutdown().await;
    result
}

async fn set_serial(camera: &CameraHandle, key: &KeyFile) -> Result<()> {
    let serial = serial(key);
    camera.machine().call(move |camera, _| camera.set_serial(serial)).await?;
    Ok(())
}

/// Prints the xp2pInfo once all servers have told their keys.
async fn show_info(camera: &CameraHandle, sharing: &Sharing) -> Result<bool> {
    let info = camera.xp2p_info(sharing.rights, sharing.expiry).await?;
    if let Some(info) = &info {
        output::line(&info.to_text());
    }
    Ok(info.is_some())
}

fn say(json: bool, value: &Value, text: impl FnOnce() -> String) {
    if json {
        eprintln!("{value}");
    } else {
        eprintln!("{}", text());
    }
}

fn report(json: bool, servers: &[String], event: &CameraEvent) {
    let server = |index: &usize| servers.get(*index).cloned().unwrap_or_default();
    match event {
        CameraEvent::Registered { server: s, observed } => {
            let s = server(s);
            say(json, &json!({"event": "registered", "server": s, "observed": observed.to_string()}), || {
                format!("registered at {s}")
            });
        }
        CameraEvent::ServerLost { server: s, reason } => {
            let s = server(s);
            say(json, &json!({"event": "server-lost", "server": s, "reason": reason}), || {
                format!("{s}: {reason}; trying again")
            });
        }
        CameraEvent::RegistrationRefused { server: s, reason } => {
            let s = server(s);
            say(json, &json!({"event": "registration-refused", "server": s, "reason": reason}), || {
                format!("{s} does not take this camera: {reason}")
            });
        }
        CameraEvent::Refused { viewer, status, reason } => {
            say(
                json,
                &json!({"event": "refused", "viewer": viewer.to_string(), "status": status, "reason": reason}),
                || format!("viewer {viewer} was refused ({status}): {reason}"),
            );
        }
        CameraEvent::LiveStarted { viewer, channel, quality, .. } => {
            say(
                json,
                &json!({"event": "watching", "viewer": viewer.to_string(), "channel": channel,
                        "quality": quality.name()}),
                || format!("viewer {viewer} watches"),
            );
        }
        CameraEvent::ViewerGone { viewer, reason } => {
            say(json, &json!({"event": "gone", "viewer": viewer.to_string(), "reason": reason}), || {
                format!("viewer {viewer} is gone: {reason}")
            });
        }
        CameraEvent::Path { viewer, kind } => {
            say(
                json,
                &json!({"event": "path", "viewer": viewer.to_string(), "link": crate::view::link_name(*kind)}),
                || format!("viewer {viewer} is reached {}", crate::view::link_words(*kind)),
            );
        }
        _ => {}
    }
}
