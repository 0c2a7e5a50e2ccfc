//! What a viewer needs to know.

use std::net::SocketAddr;
use std::time::Duration;

use thiserror::Error;

use crate::flv::Limits;
use crate::info::{HostPort, Xp2pInfo};
use crate::keys::SecretKey;
use crate::link::{ConnectError, Entropy, TcpRelay};
use crate::request::RequestError;

/// Configuration of a [`Viewer`](super::Viewer).
#[derive(Debug, Clone)]
pub struct ViewerConfig {
    /// Its identity. A fresh one per process will do: what it may see is in the capability.
    pub secret: SecretKey,
    /// All its randomness.
    pub entropy: Entropy,
    /// Most services at a time. Default 64.
    pub max_services: usize,
    /// Most streams of one service at a time. Default 16.
    pub max_streams: usize,
    /// Most commands of one service without an answer. Default 4,096.
    pub max_commands: usize,
    /// How long a service tries to come back before it reports `disconnect` (decision 11). Default 30 s.
    pub patience: Duration,
    /// Latency budget of live streams; the camera is asked to keep to it as well. Default 2 s (decision 12).
    pub latency: Duration,
    /// Limits on the tags that cameras send.
    pub limits: Limits,
    /// Whether the driver's socket sets "don't fragment". Default true.
    pub path_mtu_discovery: bool,
    /// Whether cameras are also looked for in the viewer's own network, and connected to there without a server. Default true.
    pub lan: bool,
    /// Whether the driver asks a router in front of the viewer to let cameras in (PCP, NAT-PMP, UPnP), so that they reach each
    /// other directly through NATs that let nobody guess the way. Default true.
    pub port_mapping: bool,
}

impl ViewerConfig {
    /// The defaults.
    pub fn new(secret: SecretKey, entropy: Entropy) -> Self {
        Self {
            secret,
            entropy,
            max_services: 64,
            max_streams: 16,
            max_commands: 4096,
            patience: Duration::from_secs(30),
            latency: Duration::from_secs(2),
            limits: Limits::default(),
            path_mtu_discovery: true,
            lan: true,
            port_mapping: true,
        }
    }
}

/// A camera to connect to.
#[derive(Debug, Clone)]
pub struct ServiceConfig {
    /// Its xp2pInfo.
    pub info: Xp2pInfo,
    /// The addresses of its servers, names resolved. May be empty if the camera may be found in the viewer's own network, and
    /// until [`set_servers`](super::Viewer::set_servers) tells them.
    pub servers: Vec<SocketAddr>,
    /// Where those servers take the same over TCP, which is used where UDP does not get through. Empty: UDP only.
    pub tcp: Vec<TcpRelay>,
}

impl ServiceConfig {
    /// For an xp2pInfo whose servers have no names that would have to be resolved; those that have are left out.
    pub fn of_addresses(info: Xp2pInfo) -> Self {
        let tcp: Vec<TcpRelay> = info
            .servers()
            .iter()
            .flat_map(|s| {
                s.addrs.iter().filter_map(HostPort::socket_addr).map(|at| Xp2pInfo::tcp_relay(s, at))
            })
            .collect();
        Self { servers: tcp.iter().map(|relay| relay.server).collect(), tcp, info }
    }
}

/// Why a call of a [`Viewer`](super::Viewer) failed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ViewerError {
    /// Too many services or streams.
    #[error("too many services or streams are open already")]
    TooMany,
    /// There is no such service.
    #[error("there is no such service; it was stopped or has ended")]
    NoService,
    /// There is no such stream.
    #[error("there is no such stream; it was stopped or has ended")]
    NoStream,
    /// A talk takes no more at present; [`VoiceReady`](super::ViewerEvent::VoiceReady) tells when it does.
    #[error("the talk takes no more at present: the network is slower than what is said")]
    TalkFull,
    /// A parameter of the request is not allowed.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The connection could not be started.
    #[error(transparent)]
    Link(ConnectError),
}
