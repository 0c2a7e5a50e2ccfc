//! Streams of `xp2p server`: those that it publishes itself, and those of other origins that it witnesses.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Args;
use serde_json::{Value, json};
use xp2p_driver::origin::client::HostPattern;
use xp2p_driver::origin::server::{OriginServer, OriginServerConfig, TlsIdentity};
use xp2p_driver::publish::{PublishConfig, Published, publish};
use xp2p_driver::server::ServerHandle;
use xp2p_driver::source::{SourceEvent, SourceSpec};
use xp2p_driver::transit::{Doors, Transit, TransitConfig, TransitEvent};
use xp2p_driver::witness::{Witness, WitnessConfig, WitnessEvent};
use xp2p_proto::keys::SecretKey;
use xp2p_proto::server::ServerEvent;
use xp2p_proto::swarm::StreamId;

use crate::output;
use crate::rt::{Rt, rt};
use crate::when::usage;

/// Most news of all sources together that wait.
const MAX_NEWS: usize = 64;

/// Most streams that are published, those of cameras included.
const MAX_PUBLICATIONS: usize = 1_000;

/// What a server does for streams with many viewers, who pass them on to each other.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Streams for many viewers")]
pub(crate) struct MediaArgs {
    /// Publish a stream at http://MEDIA/live/NAME.flv, for viewers who pass it on to each other. SOURCE is an FLV file (looped;
    /// once:FILE plays it once), - (FLV on standard input), or anything that an ffmpeg on PATH can read: rtsp://...,
    /// /dev/video0, lavfi:testsrc2. May be given several times. Its URLs are printed after the server's own line.
    #[arg(long = "publish", value_name = "NAME=SOURCE", requires = "media")]
    pub(crate) publish: Vec<String>,
    /// Where to serve what is published, and at /live/PRODUCT/DEVICE.flv the streams of cameras that allow transit, to those who
    /// may see them. Other addresses than loopback need --tls-cert and --tls-key.
    #[arg(long, value_name = "ADDR")]
    pub(crate) media: Option<SocketAddr>,
    /// Name of this host in the URLs that viewers get, with the port if another one leads here. A stream is known by its URL:
    /// viewers who use a name or address of this host that is not listed here and is not one of its own stay with the origin. May
    /// be given several times.
    #[arg(long = "media-name", value_name = "HOST[:PORT]", requires = "media")]
    pub(crate) media_names: Vec<String>,
    /// Serve https: a PEM file with the certificate and its chain.
    #[arg(long, value_name = "FILE", requires_all = ["media", "tls_key"])]
    pub(crate) tls_cert: Option<PathBuf>,
    /// The certificate's key, a PEM file.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Witness streams of this host, HOST, *.NAME, either with :PORT: while somebody watches such a stream, this server reads it
    /// once, as any client would, and signs what it sees, so that viewers can pass it on to each other. Only public addresses;
    /// loopback if it is listed as it is. Viewers of other streams stay with the origin. May be given several times.
    #[arg(long = "origin-allow", value_name = "HOST-PATTERN")]
    pub(crate) origin_allow: Vec<HostPattern>,
    /// Append this query to the URLs of a host, if it lets nobody in without. Signatures in the URLs of viewers are never used.
    /// @FILE reads one HOST-PATTERN=QUERY per line.
    #[arg(long = "origin-query", value_name = "HOST-PATTERN=QUERY", requires = "origin_allow")]
    pub(crate) origin_queries: Vec<String>,
    /// Most streams that are witnessed at a time.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) witness_streams: u16,
    /// Most bytes per second of a stream that is witnessed, over 10 s.
    #[arg(long, value_name = "BYTES", default_value_t = 2_500_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) witness_rate: u64,
}

/// What there is to say about streams.
pub(crate) enum News {
    Source { name: String, event: SourceEvent },
    Witness(WitnessEvent),
    Transit(TransitEvent),
}

/// All streams of a server.
pub(crate) struct Media {
    published: Vec<(String, Published)>,
    witness: Option<Witness<Rt>>,
    transit: Option<Transit<Rt>>,
    pub(crate) news: async_channel::Receiver<News>,
    /// Keeps `news` open while there is nothing that could send any.
    _sender: async_channel::Sender<News>,
    origin: Option<OriginServer>,
}

impl Media {
    /// Begins with what the arguments say. `identity` is that of the server.
    pub(crate) fn start(args: &MediaArgs, server: &ServerHandle, identity: &SecretKey) -> Result<Self> {
        let key = identity.for_streams();
        let (sender, news) = async_channel::bounded(MAX_NEWS);
        let doors = Doors::default();
        let origin = origin(args, &doors)?;
        let mut published = Vec::new();
        for text in &args.publish {
            let (name, source) = text
                .split_once('=')
                .ok_or_else(|| usage("--publish takes NAME=SOURCE, for example cam=clip.flv"))?;
            if name.contains('/') {
                return Err(usage("--publish: names with / are those of cameras that allow transit"));
            }
            let Some(origin) = &origin else { continue };
            let config = PublishConfig {
                name: name.to_owned(),
                source: SourceSpec::parse(source),
                hosts: args.media_names.clone(),
                key: key.clone(),
            };
            let one =
                publish(&rt(), origin, server, config).with_context(|| format!("cannot publish {name}"))?;
            let wrap = |name: &str, event| News::Source { name: name.to_owned(), event };
            forward(one.news.clone(), sender.clone(), name.to_owned(), wrap);
            published.push((name.to_owned(), one));
        }
        let witness = witness(args, server, key)?.map(|(witness, events)| {
            published.iter().for_each(|(_, p)| witness.leave_out(&p.streams));
            forward(events, sender.clone(), String::new(), |_, event| News::Witness(event));
            witness
        });
        let mut transit = None;
        if let Some(origin) = &origin {
            let config =
                TransitConfig { hosts: args.media_names.clone(), ..TransitConfig::new(identity.clone()) };
            let (running, events) = Transit::new(&rt(), origin, doors, server, config)?;
            forward(events, sender.clone(), String::new(), |_, event| News::Transit(event));
            transit = Some(running);
        }
        Ok(Self { published, witness, transit, news, _sender: sender, origin })
    }

    /// Takes in an event of the server.
    pub(crate) fn handle(&self, event: &ServerEvent) {
        let signed = self.transit.as_ref().map(|transit| transit.handle(event)).unwrap_or_default();
        if let Some(witness) = &self.witness {
            witness.leave_out(&signed);
            witness.handle(event);
        }
    }

    /// Says where the streams are.
    pub(crate) fn announce(&self, json: bool) {
        for (name, published) in &self.published {
            let url = published.urls.first().map_or("", String::as_str);
            if json {
                let others = published.urls.get(1..).unwrap_or_default();
                output::json(&json!({"event": "published", "name": name, "url": url, "also": others}));
            } else {
                output::line(url);
            }
        }
        let url = self.origin.as_ref().map(|origin| origin.url("PRODUCT/DEVICE"));
        match url {
            Some(url) if json => output::json(&json!({"event": "media", "url": url})),
            Some(url) => eprintln!("cameras that allow transit are at {url}"),
            None => {}
        }
    }

    /// All of it for the status page: what the server's own traffic is made of, apart from what it relays.
    pub(crate) fn status(&self) -> Value {
        let published = self.published.iter().map(|(name, p)| {
            let (stats, signed) = (p.publication.stats(), p.signer.stats());
            json!({"name": name, "urls": p.urls, "ended": p.publication.is_ended(), "clients": stats.clients,
                   "served": stats.served, "sent_bytes": stats.sent, "dropped_tags": stats.dropped,
                   "signed_pieces": signed.pieces, "signed_bytes": signed.bytes, "batches": signed.batches})
        });
        let witness = self.witness.as_ref().map(|w| {
            let stats = w.stats();
            let streams = w
                .streams()
                .into_iter()
                .map(|s| json!({"stream": hex(&s.stream), "url": s.url, "open": s.open, "bytes": s.bytes}));
            json!({"bytes": stats.bytes, "waiting": stats.waiting, "refused": stats.refused,
                   "streams": streams.collect::<Vec<_>>()})
        });
        let transit = self.transit.as_ref().map(Transit::publications).unwrap_or_default();
        let transit = transit.iter().map(|p| {
            let stats = p.stats();
            json!({"name": p.name(), "clients": stats.clients, "served": stats.served,
                   "sent_bytes": stats.sent, "dropped_tags": stats.dropped})
        });
        json!({"published": published.collect::<Vec<_>>(), "witness": witness,
               "transit": transit.collect::<Vec<_>>()})
    }

    /// For the metrics page: name, help and value of gauges and counters.
    pub(crate) fn metrics(&self) -> (Vec<Metric>, Vec<Metric>) {
        let stats = self.witness.as_ref().map(Witness::stats).unwrap_or_default();
        let all = || self.published.iter().map(|(_, p)| p);
        let clients = all().map(|p| p.publication.stats().clients as u64).sum();
        let gauges = vec![
            ("xp2p_published_clients", "Clients of published streams", clients),
            ("xp2p_witnessed_streams", "Streams of other origins that are read", stats.streams as u64),
        ];
        let counters = vec![
            (
                "xp2p_published_bytes_total",
                "Bytes of FLV sent to clients of published streams",
                all().map(|p| p.publication.stats().sent).sum(),
            ),
            ("xp2p_witness_bytes_total", "Bytes read from other origins to sign them", stats.bytes),
            ("xp2p_witness_refused_total", "Streams that were not witnessed", stats.refused),
        ];
        (gauges, counters)
    }
}

/// Name, help, value.
pub(crate) type Metric = (&'static str, &'static str, u64);

fn origin(args: &MediaArgs, doors: &Doors) -> Result<Option<OriginServer>> {
    let Some(listen) = args.media else { return Ok(None) };
    let mut config = OriginServerConfig::new(listen);
    config.max_publications = MAX_PUBLICATIONS;
    config.authorize = Some(doors.authorize(&rt()));
    if let (Some(cert), Some(key)) = (&args.tls_cert, &args.tls_key) {
        let read =
            |path: &PathBuf| std::fs::read(path).with_context(|| format!("cannot read {}", path.display()));
        config.tls = Some(TlsIdentity::from_pem(&read(cert)?, &read(key)?)?);
    }
    let origin = OriginServer::bind(&rt(), config).with_context(|| match args.tls_cert {
        None if !listen.ip().is_loopback() => "--media (see --tls-cert and --tls-key)",
        _ => "--media",
    })?;
    Ok(Some(origin))
}

type WitnessAndNews = (Witness<Rt>, async_channel::Receiver<WitnessEvent>);

fn witness(args: &MediaArgs, server: &ServerHandle, key: SecretKey) -> Result<Option<WitnessAndNews>> {
    if args.origin_allow.is_empty() {
        return Ok(None);
    }
    let mut config = WitnessConfig::new(key);
    config.allow = args.origin_allow.clone();
    config.max_streams = usize::from(args.witness_streams);
    config.max_rate = args.witness_rate;
    for text in &args.origin_queries {
        let lines = match text.strip_prefix('@') {
            Some(path) => std::fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?,
            None => text.clone(),
        };
        for line in lines.lines().map(str::trim).filter(|l| !l.is_empty()) {
            // The line itself is a secret and is not shown.
            let (pattern, query) =
                line.split_once('=').ok_or_else(|| usage("--origin-query takes HOST-PATTERN=QUERY"))?;
            let pattern = pattern.parse().context("--origin-query")?;
            config.queries.push((pattern, query.to_owned()));
        }
    }
    Ok(Some(Witness::new(&rt(), server, config)))
}

/// Passes on what comes until nothing can come any more.
fn forward<T: Send + 'static>(
    from: async_channel::Receiver<T>,
    to: async_channel::Sender<News>,
    name: String,
    wrap: impl Fn(&str, T) -> News + Send + 'static,
) {
    use xp2p_driver::runtime::Runtime as _;
    rt().spawn(Box::pin(async move {
        while let Ok(event) = from.recv().await {
            if to.send(wrap(&name, event)).await.is_err() {
                break;
            }
        }
    }));
}

/// Says what has happened.
pub(crate) fn report(json: bool, news: &News) {
    let (kind, what, text) = match news {
        News::Source { name, event: SourceEvent::Trouble(text) } => {
            ("source", json!({"name": name, "trouble": text}), format!("{name}: {text}"))
        }
        News::Source { name, event: SourceEvent::Ended(error) } => {
            let why = error.as_ref().map_or_else(String::new, |e| format!(": {e}"));
            ("source-ended", json!({"name": name, "error": error}), format!("{name} has ended{why}"))
        }
        News::Source { event: SourceEvent::Tag(_), .. } => return,
        News::Witness(WitnessEvent::Began { stream, url }) => {
            ("witness", json!({"stream": hex(stream), "url": url}), format!("witness: reads {url}"))
        }
        News::Witness(WitnessEvent::Refused { stream, reason }) => (
            "witness-refused",
            json!({"stream": hex(stream), "reason": reason}),
            format!("witness: a stream stays without: {reason}"),
        ),
        News::Witness(WitnessEvent::Trouble { stream, reason }) => (
            "witness-trouble",
            json!({"stream": hex(stream), "reason": reason}),
            format!("witness: {reason}; trying again"),
        ),
        News::Transit(event) => transit_words(event),
        News::Witness(WitnessEvent::Ended { stream }) => (
            "witness-ended",
            json!({"stream": hex(stream)}),
            "witness: a stream is not watched any more".to_owned(),
        ),
    };
    if json {
        let mut value = what;
        if let Value::Object(fields) = &mut value {
            fields.insert("event".to_owned(), kind.into());
        }
        output::json(&value);
    } else {
        eprintln!("{text}");
    }
}

/// Kind, fields and words of what there is to say about a camera's stream.
fn transit_words(event: &TransitEvent) -> (&'static str, Value, String) {
    match event {
        TransitEvent::Offered { name, urls } => (
            "transit-offered",
            json!({"name": name, "urls": urls}),
            format!("camera {name} is at {}", urls.first().map_or("", String::as_str)),
        ),
        TransitEvent::Refused { name, reason } => (
            "transit-refused",
            json!({"name": name, "reason": reason}),
            format!("camera {name} allows transit, but cannot be offered: {reason}"),
        ),
        TransitEvent::Began { name } => {
            ("transit-began", json!({"name": name}), format!("camera {name} is fetched"))
        }
        TransitEvent::Trouble { name, reason } => (
            "transit-trouble",
            json!({"name": name, "reason": reason}),
            format!("camera {name} cannot be fetched: {reason}; trying again"),
        ),
        TransitEvent::Ended { name } => {
            ("transit-ended", json!({"name": name}), format!("camera {name} is not watched any more"))
        }
        TransitEvent::Withdrawn { name } => {
            ("transit-withdrawn", json!({"name": name}), format!("camera {name} is offered no longer"))
        }
        _ => ("transit", Value::Object(serde_json::Map::new()), "a camera's stream has news".to_owned()),
    }
}

fn hex(stream: &StreamId) -> String {
    data_encoding::HEXLOWER.encode(stream.as_bytes())
}
