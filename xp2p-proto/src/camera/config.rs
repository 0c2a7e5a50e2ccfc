//! What a camera needs to know at construction.

use std::net::SocketAddr;

use thiserror::Error;

use crate::flv::GopLimits;
use crate::info::{Capability, Flags, HostPort, Version, transit_serial};
use crate::keys::{PublicKey, SecretKey};
use crate::link::{Congestion, ConnectError, Entropy};
use crate::live::SenderConfig;
use crate::register::AppKey;
use crate::request::Quality;

/// Most servers of one camera: as many as an xp2pInfo holds.
pub const MAX_SERVERS: usize = 3;
/// Most feeds of one camera.
pub const MAX_FEEDS: usize = 256;

/// A server at which the camera registers.
#[derive(Debug, Clone)]
pub struct CameraServer {
    /// Its key. `None`: the first key that it shows is taken and reported.
    pub key: Option<PublicKey>,
    /// Its addresses, tried one after the other. May be empty until a name is resolved.
    pub addrs: Vec<SocketAddr>,
    /// The port of its relay over TCP, which is used where UDP does not get through. `None`: the number of its UDP port.
    pub tcp_port: Option<u16>,
    /// Its addresses as the xp2pInfo tells them to viewers; a name may stand here.
    pub advertised: Vec<HostPort>,
    /// Admission at this server.
    pub app_key: Option<AppKey>,
}

/// A feed: one encoder's output.
#[derive(Debug, Clone)]
pub struct FeedConfig {
    /// Channel number; 0 for a camera that has only one.
    pub channel: u32,
    /// Its name, as `get_nvr_list` tells it. Empty: the device's name.
    pub name: String,
    /// The qualities under which viewers get it. A camera with a single encoder lists all.
    pub qualities: Vec<Quality>,
}

/// Configuration of a [`Camera`](super::Camera).
#[derive(Debug, Clone)]
pub struct CameraConfig {
    /// Its identity.
    pub secret: SecretKey,
    /// Capability epoch; older capabilities are revoked.
    pub epoch: u32,
    /// All its randomness.
    pub entropy: Entropy,
    /// Servers, at most three.
    pub servers: Vec<CameraServer>,
    /// Product id, at most 64 bytes.
    pub product: String,
    /// Device name, at most 64 bytes.
    pub name: String,
    /// Protocol version of the device.
    pub version: Version,
    /// Its flags.
    pub flags: Flags,
    /// Feeds. Default: channel 0 in all qualities.
    pub feeds: Vec<FeedConfig>,
    /// Most viewers that watch at a time; the next one gets status 503. Default 4.
    pub max_viewers: usize,
    /// Most of those viewers in one quality, where fewer than `max_viewers`: the next one gets status 503.
    pub quality_limits: Vec<(Quality, usize)>,
    /// Most apps that use the camera in any way at a time; the next one gets status 405. Default 16.
    pub max_connect_num: usize,
    /// Most recordings that are played at a time; the next one gets status 503. Default 8.
    pub max_playbacks: usize,
    /// Most files on their way at a time; the next one gets status 503. Default 8.
    pub max_downloads: usize,
    /// Whether somebody listens to talk; else it gets status 404. Default false.
    pub talk: bool,
    /// Most connections, those without a request included; set it above `max_viewers`. Default 64.
    pub max_connections: usize,
    /// Whether its servers may fetch its live stream, each with a capability of its own, and show it to many viewers; one of
    /// them at a time, besides `max_viewers` and `max_connect_num`. Default false.
    pub allow_transit: bool,
    /// What one viewer may cost.
    pub sender: SenderConfig,
    /// How fast it sends to each viewer.
    pub congestion: Congestion,
    /// What the cache of each feed may hold.
    pub cache: GopLimits,
    /// Whether the driver's socket sets "don't fragment". Default true.
    pub path_mtu_discovery: bool,
    /// Whether viewers in the camera's own network may find it there without a server, by multicast. Default true.
    pub lan: bool,
    /// Whether the xp2pInfo names the camera's private addresses as well, for networks that carry no multicast. Only where the
    /// camera's port stays the same: an xp2pInfo is kept for long. Default false.
    pub lan_in_info: bool,
    /// Whether the driver asks a router in front of the camera to let viewers in (PCP, NAT-PMP, UPnP), so that they reach it
    /// directly through NATs that let nobody guess the way. Default true.
    pub port_mapping: bool,
}

/// Why a camera could not be made.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CameraError {
    /// No server, or too many.
    #[error("a camera needs 1 to {MAX_SERVERS} servers, this one has {0}")]
    Servers(usize),
    /// No feed, too many, or one twice.
    #[error("feeds must be 1 to {MAX_FEEDS}, each with a quality of its own")]
    Feeds,
    /// A name is too long.
    #[error("product and name may have at most 64 bytes each, without control characters")]
    Name,
    /// TLS or QUIC refused the configuration.
    #[error(transparent)]
    Link(ConnectError),
}

impl CameraConfig {
    /// The defaults for one identity at `servers`.
    pub fn new(secret: SecretKey, entropy: Entropy, servers: Vec<CameraServer>) -> Self {
        Self {
            secret,
            epoch: 0,
            entropy,
            servers,
            product: String::new(),
            name: String::new(),
            version: Version::CURRENT,
            flags: Flags::default(),
            feeds: vec![FeedConfig { channel: 0, name: String::new(), qualities: Quality::ALL.to_vec() }],
            max_viewers: 4,
            quality_limits: Vec::new(),
            max_connect_num: 16,
            max_playbacks: 8,
            max_downloads: 8,
            talk: false,
            allow_transit: false,
            max_connections: 64,
            sender: SenderConfig::default(),
            congestion: Congestion::default(),
            cache: GopLimits::default(),
            path_mtu_discovery: true,
            lan: true,
            lan_in_info: false,
            port_mapping: true,
        }
    }

    /// The server for which alone a capability is.
    pub(super) fn server_of(&self, capability: &Capability) -> Option<&PublicKey> {
        let keys = self.servers.iter().filter_map(|server| server.key.as_ref());
        keys.into_iter().find(|key| transit_serial(key) == *capability.serial())
    }

    pub(super) fn check(&self) -> Result<(), CameraError> {
        if self.servers.is_empty() || self.servers.len() > MAX_SERVERS {
            return Err(CameraError::Servers(self.servers.len()));
        }
        let mut keys: Vec<(u32, Quality)> =
            self.feeds.iter().flat_map(|f| f.qualities.iter().map(|&q| (f.channel, q))).collect();
        let count = keys.len();
        keys.sort_unstable();
        keys.dedup();
        let named = self.feeds.iter().all(|f| !f.qualities.is_empty());
        if count == 0 || self.feeds.len() > MAX_FEEDS || keys.len() != count || !named {
            return Err(CameraError::Feeds);
        }
        let fine = |text: &str| text.len() <= 64 && !text.chars().any(char::is_control);
        if !fine(&self.product) || !fine(&self.name) {
            return Err(CameraError::Name);
        }
        Ok(())
    }
}
