//! `xp2p server`.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use xp2p_driver::portmap::{MappedTransport, PortMapper, PortMapping};
use xp2p_driver::server::ServerHandle;
use xp2p_driver::status;
use xp2p_proto::info::{HostPort, ServerSpec};
use xp2p_proto::link::Entropy;
use xp2p_proto::register::{Admission, AppKey, AppKeys};
use xp2p_proto::server::{ServerConfig, ServerEvent, ServerStats};

use crate::args::Server;
use crate::media::{self, Media};
use crate::rt::rt;
use crate::{keyfile, output, port, secret, socket, stop};

/// What a server with these arguments admits.
fn admission(args: &Server, keys: &AppKeys) -> Result<Admission> {
    match (keys.is_empty(), args.open) {
        (false, true) => bail!("--open and --app-key contradict each other: choose one"),
        (false, false) => Ok(Admission::AppKeys),
        (true, true) => Ok(Admission::Open),
        (true, false) if args.listen.ip().is_loopback() => Ok(Admission::LoopbackOnly),
        (true, false) => bail!(
            "listening on {} without --app-key would let everybody use this server as a relay; give --app-key \
             ID:SECRET, or --open if that is what you want",
            args.listen
        ),
    }
}

fn rate(text: &str) -> Result<Option<u64>> {
    if text == "off" {
        return Ok(None);
    }
    match text.parse() {
        Ok(bytes) if bytes > 0 => Ok(Some(bytes)),
        _ => bail!("--relay-rate takes a number of bytes per second, or `off`"),
    }
}

/// Where to take TCP connections, as the arguments say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RelayTcp {
    Off,
    /// At the port number of UDP, if it is free.
    Same,
    At(SocketAddr),
}

fn relay_tcp(args: &Server) -> Result<RelayTcp> {
    match args.relay_tcp.as_deref() {
        None => Ok(RelayTcp::Same),
        Some("off") => Ok(RelayTcp::Off),
        Some(text) => {
            let addr =
                text.parse().with_context(|| format!("--relay-tcp takes IP:PORT or `off`, not `{text}`"))?;
            Ok(RelayTcp::At(addr))
        }
    }
}

/// Listens for the relay's TCP connections. Returns where.
async fn listen_tcp(server: &ServerHandle, wanted: RelayTcp) -> Result<Option<SocketAddr>> {
    let udp = server.local_addr();
    match wanted {
        RelayTcp::Off => Ok(None),
        RelayTcp::Same => {
            let listening = server.listen_tcp(&rt(), udp).await;
            if let Err(e) = &listening {
                eprintln!(
                    "warning: {e}; viewers and cameras whom UDP does not reach cannot use this server (--relay-tcp)"
                );
            }
            Ok(listening.ok())
        }
        RelayTcp::At(addr) => Ok(Some(server.listen_tcp(&rt(), addr).await?)),
    }
}

/// The line that cameras are started with.
fn spec(
    args: &Server,
    bound: SocketAddr,
    tcp_port: Option<u16>,
    key: xp2p_proto::keys::PublicKey,
) -> Result<String> {
    let addr: HostPort = match &args.public_host {
        Some(host) if host.contains(':') && !host.starts_with('[') => {
            format!("[{host}]:{}", bound.port()).parse()?
        }
        Some(host) => format!("{host}:{}", bound.port()).parse()?,
        None if bound.ip().is_unspecified() => bail!(
            "listening on {bound}, so nobody can tell how to reach this server; say so with --public-host NAME"
        ),
        None => bound.into(),
    };
    Ok(ServerSpec { addr, tcp_port, key: Some(key) }.to_string())
}

enum News {
    Server(ServerEvent),
    Media(media::News),
    Port(MappedTransport, PortMapping),
    Stop,
}

/// The server's ports, which the router may be asked to let others in at.
struct Ports(Vec<(MappedTransport, SocketAddr, PortMapper, PortMapping)>);

impl Ports {
    fn ask(wanted: bool, udp: SocketAddr, tcp: Option<SocketAddr>) -> Self {
        let all = [Some((MappedTransport::Udp, udp)), tcp.map(|tcp| (MappedTransport::Tcp, tcp))];
        let start = |(transport, bound)| {
            let mapper = PortMapper::start(&rt(), transport, bound);
            let status = mapper.status();
            (transport, bound, mapper, status)
        };
        Self(all.into_iter().flatten().filter(|_| wanted).map(start).collect())
    }

    /// The next news of one of them.
    async fn changed(&self) -> (MappedTransport, PortMapping) {
        let mut any: std::pin::Pin<Box<dyn Future<Output = _> + '_>> = Box::pin(std::future::pending());
        for (transport, _, mapper, known) in &self.0 {
            let news = async move { (*transport, mapper.changed(known).await) };
            any = Box::pin(futures_lite::future::or(any, news));
        }
        any.await
    }

    fn note(&mut self, transport: MappedTransport, now: PortMapping, json: bool) {
        let name = match transport {
            MappedTransport::Udp => "udp",
            MappedTransport::Tcp => "tcp",
        };
        if let Some(mut event) = port::event(&now).filter(|_| json) {
            event["transport"] = json!(name);
            output::json(&event);
        }
        let Some(port) = self.0.iter_mut().find(|port| port.0 == transport) else { return };
        port.3 = now;
        match port.3.external() {
            Some(external) if external.port() != port.1.port() => eprintln!(
                "warning: the router lets others in at {external} for {name}, but they look for this server at port {}; \
                 listen on another port, or forward this one by hand",
                port.1.port()
            ),
            _ if json => {}
            _ => eprintln!("{name}: {}", port.3),
        }
    }

    async fn stop(&self) {
        for (_, _, mapper, _) in &self.0 {
            mapper.stop().await;
        }
    }
}

pub(crate) async fn run(args: &Server) -> Result<()> {
    let mut keys = AppKeys::default();
    for (id, secret) in secret::app_keys(&args.app_keys)? {
        keys.insert(AppKey::new(&id, &secret));
    }
    let admission = admission(args, &keys)?;
    let identity = keyfile::load_or_generate(&args.key)?.secret;
    let key = identity.public();
    let mut config = ServerConfig::new(identity.clone(), Entropy::from_os(keyfile::random()?), args.listen);
    config.tracking.quorum = args.quorum;
    config.admission = admission;
    config.app_keys = keys;
    // What stays on this machine costs nobody anything.
    let limit = if admission == Admission::LoopbackOnly { None } else { rate(&args.relay_rate)? };
    config.relay.camera_rate = limit;
    config.relay.flow_rate = limit;
    let relay_tcp = relay_tcp(args)?;
    let signals = stop::signals()?;
    let sockets = ServerHandle::bind(args.listen, args.listen_alt)?
        .into_iter()
        .map(|socket| socket::sized(socket, args.socket_buffer))
        .collect::<Result<Vec<_>>>()?;
    let (server, events) = ServerHandle::spawn_on(&rt(), sockets, config)?;
    let tcp = listen_tcp(&server, relay_tcp).await?;
    // Clients look for it at the port number of UDP unless they are told otherwise.
    let tcp_port = tcp.map(|tcp| tcp.port()).filter(|port| *port != server.local_addr().port());
    let mut ports = Ports::ask(args.port_mapping, server.local_addr(), tcp);
    let spec = spec(args, server.local_addr(), tcp_port, key)?;
    let streams = Arc::new(Media::start(&args.media, &server, &identity)?);
    if let Some(http) = args.http {
        // Sources end, and with them what they have started, when the server does, not when the last page is served.
        let (handle, media) = (server.clone(), Arc::downgrade(&streams));
        let pages: status::Pages = Arc::new(move |path: &str| {
            let (handle, media, path) = (handle.clone(), media.clone(), path.to_owned());
            Box::pin(async move { page(&handle, &*media.upgrade()?, &path).await })
        });
        let bound = status::serve(&rt(), http, pages)?;
        eprintln!("health and metrics on http://{bound}/health, /status and /metrics");
    }
    if args.json {
        output::json(&json!({"event": "listening", "server": spec}));
    } else {
        output::line(&spec);
        if admission == Admission::Open {
            eprintln!("warning: --open lets everybody register cameras and use this server as a relay");
        }
    }
    streams.announce(args.json);
    loop {
        let stopped = async {
            // Ends with a signal, or if no signal can come any more.
            let _ = signals.recv().await;
            News::Stop
        };
        let event = async { events.recv().await.map_or(News::Stop, News::Server) };
        let mapping = async {
            let (transport, mapping) = ports.changed().await;
            News::Port(transport, mapping)
        };
        let media = async { streams.news.recv().await.map_or(News::Stop, News::Media) };
        let ours = futures_lite::future::or(stopped, mapping);
        match futures_lite::future::or(futures_lite::future::or(event, media), ours).await {
            News::Server(event) => {
                streams.handle(&event);
                report(args.json, &event);
            }
            News::Media(news) => media::report(args.json, &news),
            News::Port(transport, mapping) => ports.note(transport, mapping, args.json),
            News::Stop => break,
        }
    }
    drop(streams);
    futures_lite::future::zip(ports.stop(), server.shutdown()).await;
    Ok(())
}

async fn page(server: &ServerHandle, media: &Media, path: &str) -> Option<status::Page> {
    let stats = server.stats().await.ok()?;
    match path {
        "/health" => Some(("text/plain; charset=utf-8", "ok\n".to_owned())),
        "/status" => Some(("application/json", format!("{}\n", status_page(&stats, media)))),
        "/metrics" => Some(("text/plain; version=0.0.4; charset=utf-8", metrics(&stats, media))),
        _ => None,
    }
}

/// What the server does at present, and where its traffic comes from.
fn status_page(stats: &ServerStats, media: &Media) -> Value {
    let mut page = json!({"cameras": stats.cameras, "members": stats.members, "streams": stats.streams,
        "flows": stats.flows, "relayed_bytes": stats.relayed_bytes, "filled_bytes": stats.filled_bytes});
    if let (Value::Object(page), Value::Object(more)) = (&mut page, media.status()) {
        page.extend(more);
    }
    page
}

/// In the text format of Prometheus.
fn metrics(stats: &ServerStats, media: &Media) -> String {
    let (more_gauges, more_counters) = media.metrics();
    let gauges = [
        ("xp2p_cameras", "Cameras registered", stats.cameras as u64),
        ("xp2p_relay_flows", "Relay flows open", stats.flows as u64),
        ("xp2p_swarm_streams", "Streams that are tracked", stats.streams as u64),
        ("xp2p_swarm_members", "Members of swarms", stats.members as u64),
        ("xp2p_connections", "QUIC connections open", stats.connections as u64),
        ("xp2p_tcp_relay_connections", "TCP connections of the relay open", stats.tcp.connections as u64),
    ];
    let counters = [
        ("xp2p_registrations_total", "Registrations accepted", stats.registered),
        ("xp2p_registrations_refused_total", "Registrations refused", stats.refused),
        ("xp2p_relayed_datagrams_total", "Datagrams relayed", stats.relayed_datagrams),
        ("xp2p_relayed_bytes_total", "Bytes relayed", stats.relayed_bytes),
        (
            "xp2p_filled_bytes_total",
            "Bytes of pieces given to members that read an origin",
            stats.filled_bytes,
        ),
        ("xp2p_relay_drops_total", "Datagrams dropped by a limit", stats.relay_drops),
        ("xp2p_bad_frames_total", "Frames refused", stats.bad_frames),
        ("xp2p_tcp_relay_accepted_total", "TCP connections of the relay accepted", stats.tcp.accepted),
        (
            "xp2p_tcp_relay_refused_total",
            "TCP connections of the relay refused by a limit",
            stats.tcp.refused,
        ),
        ("xp2p_tcp_relay_broken_total", "TCP connections of the relay closed for cause", stats.tcp.broken),
        (
            "xp2p_tcp_relay_received_bytes_total",
            "Bytes of datagrams received over TCP",
            stats.tcp.received_bytes,
        ),
        ("xp2p_tcp_relay_sent_bytes_total", "Bytes of datagrams given to TCP", stats.tcp.sent_bytes),
        ("xp2p_tcp_relay_drops_total", "Datagrams dropped because TCP was too slow", stats.tcp.drops),
        ("xp2p_stun_answers_total", "STUN requests answered", stats.stun_answers),
        ("xp2p_stun_drops_total", "STUN requests dropped", stats.stun_drops),
    ];
    let lines = |kind: &'static str| {
        move |(name, help, value): (&str, &str, u64)| {
            format!("# HELP {name} {help}.\n# TYPE {name} {kind}\n{name} {value}\n")
        }
    };
    let gauges = gauges.into_iter().chain(more_gauges).map(lines("gauge"));
    gauges.chain(counters.into_iter().chain(more_counters).map(lines("counter"))).collect()
}

fn report(json: bool, event: &ServerEvent) {
    // Addresses of people are nobody's business unless the operator asks for them with -v.
    match event {
        ServerEvent::CameraRegistered { key, product, name, .. } if json => {
            output::json(
                &json!({"event": "registered", "camera": key.to_string(), "product": product, "name": name}),
            );
        }
        ServerEvent::CameraRegistered { product, name, .. } => {
            eprintln!("camera {}/{} has registered", output::shown(product), output::shown(name))
        }
        ServerEvent::RegistrationRefused { reason, .. } if json => {
            output::json(&json!({"event": "refused", "reason": reason}));
        }
        ServerEvent::RegistrationRefused { reason, .. } => eprintln!("a camera was refused: {reason}"),
        ServerEvent::CameraGone { reason, .. } if json => {
            output::json(&json!({"event": "gone", "reason": reason}))
        }
        ServerEvent::CameraGone { reason, .. } => eprintln!("a camera has left: {reason}"),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    fn args(line: &str) -> Server {
        let crate::args::Command::Server(args) =
            crate::args::Cli::try_parse_from(format!("xp2p server {line}").split_whitespace())
                .unwrap()
                .command
        else {
            panic!("another command");
        };
        *args
    }

    #[test]
    fn nobody_runs_an_open_relay_by_accident() {
        let mut keys = AppKeys::default();
        assert!(admission(&args("--listen 0.0.0.0:1"), &keys).is_err());
        assert_eq!(admission(&args("--listen 127.0.0.1:1"), &keys).unwrap(), Admission::LoopbackOnly);
        assert_eq!(admission(&args("--listen 0.0.0.0:1 --open"), &keys).unwrap(), Admission::Open);
        keys.insert(AppKey::new("a", "b"));
        assert_eq!(admission(&args("--listen 0.0.0.0:1"), &keys).unwrap(), Admission::AppKeys);
        assert!(admission(&args("--open"), &keys).is_err());
    }

    #[test]
    fn tcp_is_taken_where_it_is_looked_for_unless_told_otherwise() {
        assert_eq!(relay_tcp(&args("")).unwrap(), RelayTcp::Same);
        assert_eq!(relay_tcp(&args("--relay-tcp off")).unwrap(), RelayTcp::Off);
        let at = "0.0.0.0:443".parse().unwrap();
        assert_eq!(relay_tcp(&args("--relay-tcp 0.0.0.0:443")).unwrap(), RelayTcp::At(at));
        assert!(relay_tcp(&args("--relay-tcp 443")).unwrap_err().to_string().contains("IP:PORT"));
    }

    #[test]
    fn the_printed_address_can_be_reached() {
        let key = xp2p_proto::keys::SecretKey::from_bytes([1; 32]).public();
        let bound = "0.0.0.0:20002".parse().unwrap();
        assert!(spec(&args(""), bound, None, key).is_err());
        assert_eq!(
            spec(&args("--public-host my.example"), bound, None, key).unwrap(),
            format!("my.example:20002#{key}")
        );
        assert_eq!(
            spec(&args("--public-host my.example"), bound, Some(443), key).unwrap(),
            format!("my.example:20002/443#{key}")
        );
        assert_eq!(spec(&args("--public-host ::2"), bound, None, key).unwrap(), format!("[::2]:20002#{key}"));
    }
}
