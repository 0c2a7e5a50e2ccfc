//! `xp2p camera`.

use std::io::BufRead as _;
use std::num::NonZeroU64;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use xp2p_driver::camera::CameraHandle;
use xp2p_driver::portmap::PortMapping;
use xp2p_driver::records::{Recorder, RecorderConfig, RecordsDir, Storage};
use xp2p_driver::runtime::sleep;
use xp2p_driver::source::{Sink, Source, SourceEvent, SourceSpec};
use xp2p_proto::camera::{CameraConfig, CameraEvent, CameraServer, MAX_SERVERS};
use xp2p_proto::command::CommandOutcome;
use xp2p_proto::info::{Rights, ServerSpec};
use xp2p_proto::keys::KeyFile;
use xp2p_proto::link::Entropy;
use xp2p_proto::register::AppKey;
use xp2p_proto::request::Quality;

use crate::adapt::Adapter;
use crate::args::Camera;
use crate::hook::App;
use crate::rt::rt;
use crate::voice_out::VoiceOut;
use crate::when::{self, usage};
use crate::{keyfile, known, output, port, secret, share, socket, stop};

/// How often the key file is looked at, for a revocation. Sessions end within 5 s of it.
const REVOCATION_CHECK: Duration = Duration::from_secs(1);
/// When the xp2pInfo is printed although no server has answered: viewers in the camera's own network need none.
const PRINT_ANYWAY: Duration = Duration::from_secs(3);

enum News {
    Camera(CameraEvent),
    Source(SourceEvent),
    App(&'static str, String),
    Port(PortMapping),
    Message(String),
    CheckKey,
    Stop,
}

/// How long a message waits for an answer of a viewer.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(10);

/// Writes the live feed to the directory of recordings. It outlives its source, which may be started anew.
#[derive(Clone)]
pub(crate) struct Recording(Arc<Mutex<Recorder>>);

impl Recording {
    fn push(&self, tag: &xp2p_proto::flv::Tag) -> std::io::Result<()> {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let at = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        self.0.lock().unwrap_or_else(|e| e.into_inner()).push(at, tag)
    }

    fn finish(&self) -> std::io::Result<()> {
        self.0.lock().unwrap_or_else(|e| e.into_inner()).finish()
    }
}

/// Pushes what a source gives to a camera. Also returns what the source complains about.
pub(crate) fn feed(
    camera: &CameraHandle,
    source: &SourceSpec,
    recording: Option<Recording>,
) -> Result<(Source, async_channel::Receiver<SourceEvent>)> {
    let (sender, troubles) = async_channel::bounded(16);
    let camera = camera.clone();
    let mut recording_fails = false;
    let sink: Sink = Box::new(move |event| match event {
        SourceEvent::Tag(tag) => {
            if let Some(Err(e)) = recording.as_ref().map(|r| r.push(&tag)) {
                // Once per trouble: a full disk would say so 25 times a second.
                if !std::mem::replace(&mut recording_fails, true) {
                    let _ = sender.force_send(SourceEvent::Trouble(format!("cannot record: {e}")));
                }
            } else {
                recording_fails = false;
            }
            camera
                .push_blocking(0, Quality::High, tag, |e| tracing::debug!("a tag was left out: {e}"))
                .is_ok()
        }
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
            Ok(CameraServer {
                key,
                addrs,
                advertised: vec![spec.addr],
                tcp_port: spec.tcp_port,
                app_key: app_key.clone(),
            })
        })
        .collect()
}

/// What a camera reads its recordings from, and what writes them.
type Records = (Option<Arc<dyn Storage>>, Option<Recording>);

/// The directory of recordings.
fn records(args: &Camera) -> Result<Records> {
    let Some(dir) = &args.records else { return Ok((None, None)) };
    let mut recording = None;
    if args.record {
        let cap = when::size(&args.record_cap)?;
        std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let config = RecorderConfig { cap, ..RecorderConfig::default() };
        recording = Some(Recording(Arc::new(Mutex::new(Recorder::new(dir, 0, config)))));
    }
    let storage: Arc<dyn Storage> = Arc::new(RecordsDir::open(dir)?);
    Ok((Some(storage), recording))
}

/// Lines of standard input, read on a thread of their own. Ends with the program.
fn lines() -> Result<async_channel::Receiver<String>> {
    let (sender, lines) = async_channel::bounded(16);
    std::thread::Builder::new().name("xp2p messages".to_owned()).spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if !line.is_empty() && sender.send_blocking(line).is_err() {
                return;
            }
        }
    })?;
    Ok(lines)
}

/// Sends a text to all who watch, play or talk.
async fn broadcast(camera: &CameraHandle, json: bool, text: &str) -> Result<()> {
    for viewer in camera.viewers().await? {
        let sent = camera.send_message(viewer.viewer, text.to_owned(), MESSAGE_TIMEOUT).await?;
        if let Err(e) = sent {
            let id = viewer.viewer.to_string();
            say(json, &json!({"event": "message-failed", "viewer": id, "reason": e.to_string()}), || {
                format!("no message to viewer {id}: {e}")
            });
        }
    }
    Ok(())
}

pub(crate) async fn run(args: &Camera) -> Result<()> {
    if args.messages && args.input == "-" {
        return Err(usage("standard input is the source already; --messages needs another --input"));
    }
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
    config.allow_transit = args.allow_transit;
    config.max_connect_num = usize::from(args.max_apps).max(config.max_viewers);
    config.max_connections = config.max_connect_num * 2 + 32;
    config.lan = !args.no_lan;
    config.port_mapping = !args.no_port_mapping;
    config.lan_in_info = config.lan && args.bind.port() != 0;
    let (storage, recording) = records(args)?;
    let voice = args.voice_out.as_deref().map(VoiceOut::new);
    config.talk = voice.is_some();
    let info_on_stderr = voice.as_ref().is_some_and(VoiceOut::is_stdout);
    let spec = SourceSpec::parse(&args.input);
    if args.adaptive && spec.at_rate(crate::adapt::FULL_KBIT).is_none() {
        return Err(usage(
            "--adaptive needs an input that is encoded here: lavfi:... or /dev/video...; this one comes encoded",
        ));
    }
    let mut adapter = args.adaptive.then(|| Adapter::new(Instant::now()));
    let at_rate = |adapter: &Option<Adapter>| {
        adapter.as_ref().and_then(|a| spec.at_rate(a.kbit())).unwrap_or_else(|| spec.clone())
    };
    let signals = stop::signals()?;
    let (news_sender, news) = async_channel::bounded(64);
    let app =
        App { storage, voice, program: args.on_command.clone(), news: news_sender, running: Arc::default() };
    let (camera, events) =
        CameraHandle::spawn_on(&rt(), socket::bind(args.bind, args.socket_buffer)?, config, Arc::new(app))?;
    set_serial(&camera, &key).await?;
    let messages = if args.messages { Some(lines()?) } else { None };
    let (mut source, mut troubles) = feed(&camera, &at_rate(&adapter), recording.clone())?;
    let mut port_mapping = camera.port_mapping().status();
    let mut shown = false;
    let begun = Instant::now();
    let result = loop {
        let next = futures_lite::future::or(
            futures_lite::future::or(
                futures_lite::future::or(
                    async { events.recv().await.map_or(News::Stop, News::Camera) },
                    async { troubles.recv().await.map_or(News::Stop, News::Source) },
                ),
                futures_lite::future::or(
                    async { news.recv().await.map_or(News::Stop, |(kind, text)| News::App(kind, text)) },
                    async {
                        match messages.as_ref().map(|m| m.recv()) {
                            Some(line) => match line.await {
                                Ok(line) => News::Message(line),
                                // Standard input is over; the camera goes on.
                                Err(_) => std::future::pending().await,
                            },
                            None => std::future::pending().await,
                        }
                    },
                ),
            ),
            futures_lite::future::or(
                futures_lite::future::or(
                    async { News::Port(camera.port_mapping().changed(&port_mapping).await) },
                    async {
                        sleep(&rt(), REVOCATION_CHECK).await;
                        News::CheckKey
                    },
                ),
                async {
                    // Ends with a signal, or if no signal can come any more.
                    let _ = signals.recv().await;
                    News::Stop
                },
            ),
        );
        let mut change = None;
        match next.await {
            News::Stop => break Ok(()),
            News::App(kind, text) => {
                say(args.json, &json!({"event": kind, "text": text}), || format!("{kind}: {text}"));
            }
            News::Port(now) => {
                port_mapping = now;
                match port::event(&port_mapping) {
                    Some(event) if args.json => eprintln!("{event}"),
                    // That most routers cannot be asked is no news for people.
                    Some(_) if port_mapping.external().is_some() => eprintln!("{port_mapping}"),
                    _ => {}
                }
            }
            News::Message(text) => broadcast(&camera, args.json, &text).await?,
            News::CheckKey => match keyfile::load(&args.key) {
                Ok(now) if now.secret.public() == key.secret.public() && now.epoch > key.epoch => {
                    key = now;
                    camera.set_epoch(key.epoch).await?;
                    set_serial(&camera, &key).await?;
                    say(args.json, &json!({"event": "revoked", "epoch": key.epoch}), || {
                        "all older xp2pInfos are void; this is the new one:".to_owned()
                    });
                    shown = show_info(&camera, &sharing, info_on_stderr).await?;
                }
                Ok(_) if !shown && !args.no_lan && begun.elapsed() >= PRINT_ANYWAY => {
                    shown = show_info(&camera, &sharing, info_on_stderr).await?;
                    if shown {
                        say(args.json, &json!({"event": "no-server"}), || {
                            "no server answers; viewers in this network find the camera all the same"
                                .to_owned()
                        });
                    }
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
                if let (Some(adapter), CameraEvent::Congestion { watermark, bandwidth, .. }) =
                    (&mut adapter, &event)
                {
                    change = adapter.congestion(Instant::now(), *watermark, *bandwidth);
                }
                if registered && !shown {
                    shown = show_info(&camera, &sharing, info_on_stderr).await?;
                }
            }
        }
        let change = change.or_else(|| adapter.as_mut().and_then(|a| a.tick(Instant::now())));
        if let Some(kbit) = change {
            say(args.json, &json!({"event": "bitrate", "kbit": kbit}), || {
                format!("the encoder gives {kbit} kbit/s now")
            });
            // The new encoder's times begin anew, like its parameter sets.
            drop(source);
            camera.machine().call(|camera, _| camera.restart_feed(0, Quality::High)).await?;
            (source, troubles) = feed(&camera, &at_rate(&adapter), recording.clone())?;
        }
    };
    drop(source);
    if let Some(recording) = recording {
        recording.finish().context("cannot record")?;
    }
    camera.shutdown().await;
    result
}

async fn set_serial(camera: &CameraHandle, key: &KeyFile) -> Result<()> {
    let serial = serial(key);
    camera.machine().call(move |camera, _| camera.set_serial(serial)).await?;
    Ok(())
}

/// Prints the xp2pInfo once all servers have told their keys.
async fn show_info(camera: &CameraHandle, sharing: &Sharing, on_stderr: bool) -> Result<bool> {
    let info = camera.xp2p_info(sharing.rights, sharing.expiry).await?;
    match &info {
        // Standard output is for what viewers say.
        Some(info) if on_stderr => eprintln!("{}", info.to_text()),
        Some(info) => output::line(&info.to_text()),
        None => {}
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
        CameraEvent::MessageReply { viewer, outcome, .. } => {
            let text = match outcome {
                CommandOutcome::Success { data } => String::from_utf8_lossy(data).into_owned(),
                other => other.kind().to_owned(),
            };
            say(
                json,
                &json!({"event": "message-reply", "viewer": viewer.to_string(), "result": outcome.kind(), "text": text}),
                || format!("viewer {viewer} answers: {text}"),
            );
        }
        CameraEvent::DownloadWanted { request, download } => {
            let viewer = request.viewer().to_string();
            say(
                json,
                &json!({"event": "download", "viewer": viewer, "file": download.file_name,
                        "offset": download.offset}),
                || format!("viewer {viewer} downloads {} from byte {}", download.file_name, download.offset),
            );
        }
        CameraEvent::PlaybackWanted { request, playback } => {
            let viewer = request.viewer().to_string();
            say(
                json,
                &json!({"event": "playback", "viewer": viewer, "start": playback.start_time,
                        "end": playback.end_time}),
                || format!("viewer {viewer} watches a recording"),
            );
        }
        CameraEvent::VoiceEnded { request, complete } => {
            let viewer = request.viewer().to_string();
            say(json, &json!({"event": "voice-ended", "viewer": viewer, "complete": complete}), || {
                format!("viewer {viewer} has {}", if *complete { "said everything" } else { "hung up" })
            });
        }
        CameraEvent::Congestion { viewer, watermark, queued, bandwidth } => {
            let mark = format!("{watermark:?}").to_lowercase();
            say(
                json,
                &json!({"event": "congestion", "viewer": viewer.to_string(), "level": mark, "queued": queued,
                        "bandwidth": bandwidth}),
                || format!("{} KB wait for viewer {viewer} ({mark})", queued / 1000),
            );
        }
        _ => {}
    }
}
