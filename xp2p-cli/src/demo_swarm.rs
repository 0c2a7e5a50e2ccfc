//! `xp2p demo --swarm`: an origin, a tracker and many viewers who share one stream, in one program, on real sockets.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use xp2p_driver::origin::server::{OriginServer, OriginServerConfig};
use xp2p_driver::page::SwarmPage;
use xp2p_driver::player::{PlayerConfig, PlayerServer, Sharing};
use xp2p_driver::publish::{PublishConfig, Published, publish};
use xp2p_driver::runtime::{Runtime as _, sleep};
use xp2p_driver::server::ServerHandle;
use xp2p_driver::source::SourceSpec;
use xp2p_driver::watch::{WatchConfig, WatchStats};
use xp2p_proto::info::ServerSpec;
use xp2p_proto::keys::SecretKey;
use xp2p_proto::link::Entropy;
use xp2p_proto::server::ServerConfig;

use crate::args::Demo;
use crate::output::Status;
use crate::rt::{Watcher, rt};
use crate::{demo, keyfile, output, page, stop};

/// How many viewers there are if nobody says.
const VIEWERS: u16 = 12;
/// Between two arrivals: viewers do not come all at once.
const STAGGER: Duration = Duration::from_millis(300);
/// Whose page is shown: the first ones read the origin for the others, and have little to tell of sharing.
const SHOWN: usize = 3;
/// How often the numbers are refreshed.
const REFRESH: Duration = Duration::from_millis(500);
/// Rows of the table; more viewers are only counted.
const MAX_ROWS: usize = 24;
/// Name of the stream.
const NAME: &str = "demo";

fn loopback() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

/// Everything that runs.
struct Home {
    server: ServerHandle,
    spec: ServerSpec,
    _origin: OriginServer,
    published: Published,
    url: String,
}

fn home(args: &Demo) -> Result<Home> {
    let secret = SecretKey::from_bytes(keyfile::random()?);
    let key = secret.for_streams();
    let server_key = secret.public();
    let config = ServerConfig::new(secret, Entropy::from_os(keyfile::random()?), loopback());
    let (server, _) = ServerHandle::spawn(&rt(), loopback(), None, config)?;
    let spec = ServerSpec { addr: server.local_addr().into(), tcp_port: None, key: Some(server_key) };
    let origin = OriginServer::bind(&rt(), OriginServerConfig::new(loopback()))?;
    let source = match &args.input {
        Some(path) => SourceSpec::parse(&path.to_string_lossy()),
        None => SourceSpec::Memory(demo::CLIP.into()),
    };
    let config = PublishConfig { name: NAME.to_owned(), source, hosts: Vec::new(), key };
    let published = publish(&rt(), &origin, &server, config)?;
    let url = published.urls.first().cloned().context("the stream has no URL")?;
    Ok(Home { server, spec, _origin: origin, published, url })
}

/// All viewers together.
#[derive(Debug, Default)]
struct Total {
    p2p: u64,
    origin: u64,
    stalls: u32,
    with_picture: usize,
    slowest_startup: u64,
}

impl Total {
    fn of(all: &[WatchStats]) -> Self {
        let mut total = Self::default();
        for stats in all {
            total.p2p += stats.p2p_bytes;
            total.origin += stats.origin_bytes;
            total.stalls += stats.stalls;
            total.with_picture += usize::from(stats.startup_ms.is_some());
            total.slowest_startup = total.slowest_startup.max(stats.startup_ms.unwrap_or_default());
        }
        total
    }

    /// The same, of what has come since `before`.
    fn since(&self, before: &Self) -> f64 {
        share(self.p2p.saturating_sub(before.p2p), self.origin.saturating_sub(before.origin))
    }
}

fn share(p2p: u64, origin: u64) -> f64 {
    if p2p + origin == 0 { 0.0 } else { p2p as f64 / (p2p + origin) as f64 }
}

/// The table for people.
fn table(all: &[WatchStats], total: &Total, connections: usize) -> String {
    let mut text = String::from("viewer   behind   parents  children   from viewers   origin\n");
    for (number, stats) in all.iter().enumerate().take(MAX_ROWS) {
        let behind = stats.latency_ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms} ms"));
        let origin = if stats.origin_open { stats.reason.name() } else { "" };
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "  {number:>4}  {behind:>7}  {:>7}  {:>8}   {:>10.0} %   {origin}",
            stats.parents,
            stats.children,
            stats.offload() * 100.0
        );
    }
    if all.len() > MAX_ROWS {
        let _ = writeln!(text, "  and {} more", all.len() - MAX_ROWS);
    }
    let _ = write!(
        text,
        "all: {:.1} % from viewers | {connections} connections to the origin | {} stalls",
        share(total.p2p, total.origin) * 100.0,
        total.stalls
    );
    text
}

pub(crate) async fn run(args: &Demo) -> Result<bool> {
    let signals = stop::signals()?;
    let home = home(args)?;
    let count = usize::from(args.viewers.unwrap_or(VIEWERS));
    // Bound once there is a viewer whose page it can show.
    let mut players: Option<PlayerServer> = None;
    let say = |value: Value, text: String| {
        if args.json {
            output::json(&value);
        } else {
            eprintln!("{text}");
        }
    };
    say(
        json!({"event": "swarm", "origin": home.url, "tracker": home.spec.to_string(), "viewers": count}),
        format!("origin   {}\ntracker  {}\nviewers  {count}", home.url, home.spec),
    );
    let mut watchers: Vec<Watcher> = Vec::new();
    let start = Instant::now();
    let end = args.seconds.map(Duration::from_secs);
    let status_line = Status::new(!args.json);
    let mut half: Option<Total> = None;
    let mut most = 0;
    let mut next_arrival = start;
    loop {
        let elapsed = start.elapsed();
        if end.is_some_and(|end| elapsed >= end) {
            break;
        }
        if watchers.len() < count && Instant::now() >= next_arrival {
            next_arrival += STAGGER;
            let mut config = WatchConfig::new(&home.url, Some(home.spec.clone()));
            config.bind = loopback();
            let watcher = Watcher::spawn(&rt(), config)?;
            let id = watchers.len().to_string();
            if let Some(players) = &players {
                players.insert(&id, watcher.hub().clone());
            } else if watchers.len() == SHOWN.min(count.saturating_sub(1)) {
                let mut config = PlayerConfig::new(args.listen);
                SwarmPage::new(&id, &watcher, Sharing::default()).attach(&mut config);
                let players = players.insert(PlayerServer::bind(&rt(), config)?);
                for (number, earlier) in watchers.iter().enumerate() {
                    players.insert(&number.to_string(), earlier.hub().clone());
                }
                players.insert(&id, watcher.hub().clone());
                let url = players.stream_url(&id);
                if args.json {
                    output::json(&json!({"event": "url", "url": url}));
                } else {
                    status_line.note("\nOpen this in ffplay, mpv or VLC (Ctrl-C ends the demo):\n");
                    output::line(&url);
                }
                page::show(players, page::Teller { json: args.json, to_stdout: false }, args.open);
            }
            watchers.push(watcher);
        }
        let pause = if watchers.len() < count { STAGGER / 3 } else { REFRESH };
        let left = end.map_or(pause, |end| end.saturating_sub(elapsed).min(pause));
        let stopped = futures_lite::future::or(
            async {
                sleep(&rt(), left).await;
                false
            },
            async {
                // Ends with a signal, or if no signal can come any more.
                let _ = signals.recv().await;
                true
            },
        );
        if stopped.await {
            break;
        }
        let all = stats(&watchers).await?;
        let total = Total::of(&all);
        let connections = home.published.publication.stats().clients;
        most = most.max(connections);
        status_line.set(table(&all, &total, connections));
        // The first half is when viewers come and find each other.
        if half.is_none() && end.is_some_and(|end| start.elapsed() * 2 >= end) {
            half = Some(total);
        }
    }
    drop(status_line);
    let all = stats(&watchers).await?;
    let total = Total::of(&all);
    let connections = home.published.publication.stats().clients;
    let late = half.map(|before| total.since(&before));
    let seconds = start.elapsed().as_secs_f64();
    close(watchers).await;
    home.server.shutdown().await;
    say(
        json!({
            "event": "summary",
            "viewers": all.iter().map(WatchStats::to_json).collect::<Vec<_>>(),
            "with_picture": total.with_picture,
            "offload": rounded(share(total.p2p, total.origin)),
            "offload_second_half": late.map(rounded),
            "origin_connections": connections,
            "origin_connections_most": most,
            "stalls": total.stalls,
            "slowest_startup_ms": total.slowest_startup,
            "seconds": rounded(seconds),
        }),
        format!(
            "{}\n\n{} of {} viewers got a picture, the last one after {} ms. {:.1} % of all bytes came from other viewers{}.",
            table(&all, &total, connections),
            total.with_picture,
            all.len(),
            total.slowest_startup,
            share(total.p2p, total.origin) * 100.0,
            late.map_or_else(String::new, |late| format!(", in the second half {:.1} %", late * 100.0)),
        ),
    );
    Ok(!all.is_empty() && total.with_picture == all.len())
}

/// All at once: each waits until its goodbyes are heard.
async fn close(watchers: Vec<Watcher>) {
    let (done, all_done) = async_channel::bounded::<()>(1);
    for watcher in watchers {
        let done = done.clone();
        rt().spawn(Box::pin(async move {
            watcher.close().await;
            drop(done);
        }));
    }
    drop(done);
    // Ends with an error, when the last one is dropped.
    let _ = all_done.recv().await;
}

fn rounded(value: f64) -> f64 {
    (value * 10_000.0).round() / 10_000.0
}

async fn stats(watchers: &[Watcher]) -> Result<Vec<WatchStats>> {
    let mut all = Vec::with_capacity(watchers.len());
    for watcher in watchers {
        all.push(watcher.stats().await?);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_a_row_for_each_viewer_up_to_a_limit() {
        let one =
            WatchStats { p2p_bytes: 3, origin_bytes: 1, latency_ms: Some(2500), ..WatchStats::default() };
        let all = vec![one; MAX_ROWS + 5];
        let text = table(&all, &Total::of(&all), 2);
        assert_eq!(text.lines().count(), MAX_ROWS + 3);
        assert!(text.contains("2500 ms") && text.contains("and 5 more"), "{text}");
        assert!(
            text.ends_with("all: 75.0 % from viewers | 2 connections to the origin | 0 stalls"),
            "{text}"
        );
    }
}
