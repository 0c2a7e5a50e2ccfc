//! `xp2p watch`.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use xp2p_driver::origin::client::OriginConfig;
use xp2p_driver::page::SwarmPage;
use xp2p_driver::player::{PlayerConfig, PlayerServer, Sharing};
use xp2p_driver::portmap::PortMapping;
use xp2p_driver::runtime::sleep;
use xp2p_driver::watch::{WatchConfig, WatchError, WatchEvent, WatchStats};
use xp2p_proto::info::ServerSpec;
use xp2p_proto::register::AppKey;
use xp2p_proto::swarm::{OriginReason, StreamId, Trust};

use crate::args::Watch;
use crate::output::Status;
use crate::record::record;
use crate::rt::{Watcher, rt};
use crate::when::usage;
use crate::{known, output, page, port, secret, stop, view};

/// How often the numbers are refreshed.
const REFRESH: Duration = Duration::from_millis(500);
/// The stream is over, or cannot be had, when nothing of it has come for so long.
const PATIENCE: Duration = Duration::from_secs(30);
/// Under this name the player server serves it.
const ID: &str = "0";

/// A limit as people write it.
fn upload_limit(text: &str) -> Result<Option<u64>> {
    if text == "off" {
        return Ok(None);
    }
    match text.parse::<u64>() {
        Ok(kbit) if kbit <= u64::MAX / 1000 => Ok(Some(kbit * 1000)),
        _ => Err(usage("--upload-limit takes a number of kbit/s, or `off`")),
    }
}

fn tracker(text: &str) -> Result<ServerSpec> {
    let mut spec: ServerSpec = text
        .parse()
        .map_err(|e| usage(format!("`{text}` is no HOST:PORT#KEY, as `xp2p server` prints it: {e}")))?;
    if spec.key.is_none() {
        spec.key = known::find(&spec.addr.to_string())?;
    }
    Ok(spec)
}

fn config(args: &Watch) -> Result<WatchConfig> {
    let tracker = args.tracker.as_deref().map(tracker).transpose()?;
    let mut config = WatchConfig::new(&args.url, tracker);
    if let Some(name) = &args.stream {
        config.stream = Some(StreamId::of_name(name).map_err(|e| usage(format!("--stream: {e}")))?);
    }
    for text in &args.signers {
        config.signers.push(text.parse().map_err(|e| usage(format!("--signer {text}: {e}")))?);
    }
    if let Some(argument) = &args.app_key {
        let (id, secret) = secret::app_key(&secret::read(argument, "app key")?)?;
        config.app_key = Some(AppKey::new(&id, &secret));
    }
    let mut origin = OriginConfig::default();
    if let Some(path) = &args.ca {
        let pem = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        origin.roots.add_pem(&pem).with_context(|| path.display().to_string())?;
    }
    config.origin = origin;
    config.upload_limit = upload_limit(&args.upload_limit)?;
    config.use_peers = !args.no_peers;
    config.share = !args.no_peers;
    config.bind = args.bind;
    config.port_mapping = !args.router.no_port_mapping;
    Ok(config)
}

enum News {
    Watcher(WatchEvent),
    Port(PortMapping),
    Refresh,
    /// So many seconds of the stream have come.
    Enough,
    Recorded(std::io::Result<()>),
    Stop,
}

pub(crate) async fn run(args: &Watch) -> Result<bool> {
    run_until(args, &stop::signals()?).await
}

/// The same for a program that has asked for its signals already.
pub(crate) async fn run_until(args: &Watch, signals: &async_channel::Receiver<()>) -> Result<bool> {
    let config = config(args)?;
    let server = config.tracker.as_ref().map(|t| t.addr.to_string()).unwrap_or_default();
    let watcher = Watcher::spawn(&rt(), config).map_err(|e| match e {
        WatchError::Url(_) | WatchError::Name(_) => usage(e.to_string()),
        other => other.into(),
    })?;
    let to_stdout = args.out.as_deref() == Some(Path::new("-"));
    let teller = Teller { json: args.json, to_stdout, server };
    let _players = if args.no_player { None } else { Some(player(args, &watcher, &teller)?) };
    let recording = args.out.as_deref().map(|out| record(out, watcher.hub())).transpose()?;
    let meter = view::meter(watcher.hub().subscribe(), args.seconds);
    futures_lite::pin!(meter);

    let events = watcher.events();
    let status_line = Status::new(!args.json);
    let start = Instant::now();
    // When something of the stream came last, and how many tags that were.
    let mut alive = (start, 0);
    let mut told = start;
    let mut port_mapping = watcher.port_mapping().status();
    let mut trouble = None;
    let mut rates = Rates::default();
    loop {
        let next = futures_lite::future::or(
            futures_lite::future::or(
                futures_lite::future::or(
                    async { events.recv().await.map_or(News::Stop, News::Watcher) },
                    async { News::Port(watcher.port_mapping().changed(&port_mapping).await) },
                ),
                async {
                    (&mut meter).await;
                    News::Enough
                },
            ),
            futures_lite::future::or(
                futures_lite::future::or(
                    async {
                        sleep(&rt(), REFRESH).await;
                        News::Refresh
                    },
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
        match next.await {
            News::Stop | News::Enough => break,
            News::Recorded(result) => result.context("cannot record")?,
            News::Watcher(event) => {
                if let WatchEvent::OriginFailed { reason, .. } = &event {
                    trouble = Some(reason.clone());
                }
                teller.event(&status_line, &event);
            }
            News::Port(now) => {
                port_mapping = now;
                port::event(&port_mapping).iter().for_each(|event| teller.say(event));
            }
            News::Refresh => {
                let tags = watcher.hub().stats().tags;
                if tags > alive.1 {
                    alive = (Instant::now(), tags);
                } else if alive.0.elapsed() > PATIENCE {
                    break;
                }
                let stats = watcher.stats().await?;
                status_line.set(rates.words(&stats));
                if let Some(interval) = args.interval.map(Duration::from_secs)
                    && told.elapsed() >= interval
                {
                    told += interval;
                    teller.numbers("stats", &stats, start);
                }
            }
        }
    }
    let stats = watcher.stats().await?;
    drop(status_line);
    watcher.close().await;
    if let Some(recording) = recording {
        recording.finish().context("cannot record")?;
    }
    teller.numbers("summary", &stats, start);
    let arrived = stats.startup_ms.is_some();
    if !arrived {
        let why = trouble.unwrap_or_else(|| "neither the origin nor other viewers sent any".to_owned());
        eprintln!("error: no video arrived: {why}");
    } else if !args.json {
        eprint!("{}", summary(&stats));
    }
    Ok(arrived)
}

fn player(args: &Watch, watcher: &Watcher, teller: &Teller) -> Result<PlayerServer> {
    let mut config = PlayerConfig::new(args.listen);
    config.allow_origins.clone_from(&args.allow_origins);
    config.stat = Some(watcher.stat_source());
    let sharing = Sharing { upload: !args.no_peers, download: !args.no_peers };
    SwarmPage::new(ID, watcher, sharing).attach(&mut config);
    let players = PlayerServer::bind(&rt(), config)?;
    players.insert(ID, watcher.hub().clone());
    let url = players.stream_url(ID);
    if teller.to_stdout {
        eprintln!("{url}");
    } else if args.json {
        output::json(&json!({"event": "url", "url": url}));
    } else {
        output::line(&url);
    }
    page::show(&players, page::Teller { json: args.json, to_stdout: teller.to_stdout }, args.open);
    Ok(players)
}

/// Tells people or programs what happens.
struct Teller {
    json: bool,
    /// Standard output is the recording's.
    to_stdout: bool,
    /// The server of the tracker, as it was given.
    server: String,
}

impl Teller {
    fn say(&self, value: &Value) {
        match (self.json, self.to_stdout) {
            (true, false) => output::json(value),
            (true, true) => eprintln!("{value}"),
            (false, _) => {}
        }
    }

    fn numbers(&self, event: &str, stats: &WatchStats, start: Instant) {
        let mut value = stats.to_json();
        if let Some(fields) = value.as_object_mut() {
            fields.insert("event".to_owned(), event.into());
            fields
                .insert("seconds".to_owned(), ((start.elapsed().as_secs_f64() * 10.0).round() / 10.0).into());
        }
        self.say(&value);
    }

    fn event(&self, line: &Status, event: &WatchEvent) {
        let note = |text: String| {
            if !self.json {
                line.note(&text);
            }
        };
        let value = match event {
            WatchEvent::ServerKey { key } => {
                let server = &self.server;
                match known::remember(server, key) {
                    Ok(path) => line.note(&format!(
                        "{server} has the key {key}; it is remembered in {}, and no other will be accepted",
                        path.display()
                    )),
                    Err(e) => line.note(&format!(
                        "warning: {server} has the key {key}, which cannot be remembered: {e:#}"
                    )),
                }
                json!({"event": "server-key", "key": key.to_string()})
            }
            WatchEvent::Registered { .. } => json!({"event": "registered"}),
            WatchEvent::ServerLost { reason } => {
                note(format!(
                    "the tracker: {reason}; the origin alone goes on, and the tracker is tried again"
                ));
                json!({"event": "server-lost", "reason": reason})
            }
            WatchEvent::Refused { reason } => {
                note(format!("the tracker does not let us in: {reason}; the origin alone goes on"));
                json!({"event": "refused", "reason": reason})
            }
            WatchEvent::Tracked { trust, signers } => {
                if *signers == 0 {
                    note(
                        "nobody signs this stream at the tracker (see `xp2p server --help`): until somebody does, it comes \
                         from the origin alone"
                            .to_owned(),
                    );
                }
                json!({"event": "tracked", "trust": trust_name(*trust), "signers": signers})
            }
            WatchEvent::OriginOpened => json!({"event": "origin", "open": true}),
            WatchEvent::OriginClosed => json!({"event": "origin", "open": false}),
            WatchEvent::OriginFailed { reason, .. } => {
                note(format!("{reason}; trying again"));
                json!({"event": "origin-failed", "reason": reason})
            }
            WatchEvent::FirstPicture => json!({"event": "first-picture"}),
            WatchEvent::NeighbourConnected { peer } => {
                json!({"event": "neighbour", "peer": peer.to_string(), "connected": true})
            }
            WatchEvent::NeighbourGone { peer, reason } => json!({
                "event": "neighbour", "peer": peer.to_string(), "connected": false, "reason": reason,
            }),
            _ => return,
        };
        self.say(&value);
    }
}

fn trust_name(trust: Trust) -> &'static str {
    match trust {
        Trust::Source => "source",
        Trust::Witness => "witness",
        Trust::Quorum => "quorum",
    }
}

/// Why bytes came from the origin, for people.
fn reason_words(reason: OriginReason) -> &'static str {
    match reason {
        OriginReason::None => "not needed",
        OriginReason::Puller => "read for the others",
        OriginReason::NoPeers => "no other viewers",
        OriginReason::Nat => "other viewers could not be reached through the NATs",
        OriginReason::Uplink => "the others had no uplink left",
        OriginReason::Late => "pieces from others came too late",
        OriginReason::Policy => "sharing is switched off",
    }
}

/// The numbers in one line, with rates.
#[derive(Debug, Default)]
struct Rates {
    last: Option<(Instant, u64, u64)>,
}

impl Rates {
    fn words(&mut self, stats: &WatchStats) -> String {
        let (now, down, up) = (Instant::now(), stats.p2p_bytes + stats.origin_bytes, stats.upload_bytes);
        let rate = |now: Instant, before: Instant, bytes: u64| {
            bytes as f64 * 8.0 / 1000.0 / now.duration_since(before).as_secs_f64().max(0.001)
        };
        let (down_rate, up_rate) = match self.last {
            Some((at, d, u)) => (rate(now, at, down.saturating_sub(d)), rate(now, at, up.saturating_sub(u))),
            None => (0.0, 0.0),
        };
        self.last = Some((now, down, up));
        if stats.startup_ms.is_none() {
            return "waiting for a picture".to_owned();
        }
        let latency = stats.latency_ms.map_or_else(String::new, |ms| {
            format!("{:.1} s behind | ", f64::from(u32::try_from(ms).unwrap_or(u32::MAX)) / 1000.0)
        });
        let origin = if stats.origin_open { reason_words(stats.reason) } else { "closed" };
        format!(
            "{:.0} % from viewers | {latency}{} peers, {} parents, {} children | {down_rate:.0} kbit/s down, {up_rate:.0} up | \
             {} stalls | origin: {origin}",
            stats.offload() * 100.0,
            stats.peers,
            stats.parents,
            stats.children,
            stats.stalls,
        )
    }
}

/// What it came to, for people.
fn summary(stats: &WatchStats) -> String {
    let mb = |bytes: u64| bytes as f64 / 1e6;
    let mut text = format!(
        "{:.1} % of the stream came from other viewers: {:.1} MB, and {:.1} MB from the origin; {:.1} MB were passed on.\n\
         First picture after {} ms, {} stalls ({:.1} s in all).\n",
        stats.offload() * 100.0,
        mb(stats.p2p_bytes),
        mb(stats.origin_bytes),
        mb(stats.upload_bytes),
        stats.startup_ms.unwrap_or_default(),
        stats.stalls,
        stats.stall_ms as f64 / 1000.0,
    );
    for (reason, bytes) in OriginReason::ALL.into_iter().zip(stats.origin_bytes_by) {
        if bytes > 0 {
            text.push_str(&format!("  from the origin, {}: {:.1} MB\n", reason_words(reason), mb(bytes)));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read() {
        assert_eq!(upload_limit("off").unwrap(), None);
        assert_eq!(upload_limit("800").unwrap(), Some(800_000));
        assert_eq!(upload_limit("0").unwrap(), Some(0));
        assert!(upload_limit("fast").unwrap_err().is::<crate::when::Usage>());
    }

    #[test]
    fn people_learn_why_bytes_were_not_shared() {
        let stats = WatchStats {
            p2p_bytes: 9_000_000,
            origin_bytes: 1_000_000,
            origin_bytes_by: [0, 0, 0, 0, 0, 1_000_000, 0],
            ..WatchStats::default()
        };
        let text = summary(&stats);
        assert!(text.starts_with("90.0 % of the stream") && text.contains("too late: 1.0 MB"), "{text}");
    }
}
