//! What a watcher needs to know at construction.

use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

use thiserror::Error;
use url::Url;
use xp2p_proto::info::{Capability, ServerSpec};
use xp2p_proto::keys::PublicKey;
use xp2p_proto::register::AppKey;
use xp2p_proto::swarm::StreamId;
use xp2p_proto::swarm::constants::{DEFAULT_UPLINK, TARGET_LATENCY};
use xp2p_proto::swarm::content::{StreamNameError, VOLATILE, VOLATILE_PREFIXES};

use crate::origin::client::{OriginConfig, OriginError};

/// Configuration of a [`Watcher`](super::Watcher).
#[derive(Debug, Clone)]
pub struct WatchConfig {
    /// Where the stream comes from: an `http` or `https` URL of FLV. What is secret in its query stays here, but for a
    /// capability, see below.
    pub url: String,
    /// What lets us in where only those may share a stream whom its camera allows to see it. It is shown to the server of the
    /// tracker, nobody else. `None`: the one in the URL, if there is one.
    pub capability: Option<Capability>,
    /// The stream. `None`: what the URL says, without the parts of its query that differ between viewers.
    pub stream: Option<StreamId>,
    /// The server that the viewers meet at. `None`: the origin alone is used.
    pub tracker: Option<ServerSpec>,
    /// Admission at that server.
    pub app_key: Option<AppKey>,
    /// Keys of signers that are known already; then those that the tracker names do not count. At most four.
    pub signers: Vec<PublicKey>,
    /// The UDP address to use.
    pub bind: SocketAddr,
    /// Whether the router is asked to let other viewers in (PCP, NAT-PMP, UPnP), if there is a tracker to meet them at.
    /// Default true.
    pub port_mapping: bool,
    /// How the origin is read.
    pub origin: OriginConfig,
    /// Whether to pass pieces on. Default true.
    pub share: bool,
    /// Whether to take pieces from others. Default true.
    pub use_peers: bool,
    /// Whether it may be asked to read the origin for others. Default true.
    pub may_pull: bool,
    /// What the uplink is believed to carry, in bit/s. Default 4,000,000.
    pub uplink: u64,
    /// Most that may be uploaded, in bit/s over any second. Default: no limit.
    pub upload_limit: Option<u64>,
    /// How far behind the origin to play. Default 2.5 s.
    pub target: Duration,
}

impl WatchConfig {
    /// The defaults for one stream.
    pub fn new(url: impl Into<String>, tracker: Option<ServerSpec>) -> Self {
        Self {
            url: url.into(),
            capability: None,
            stream: None,
            tracker,
            app_key: None,
            signers: Vec::new(),
            bind: (Ipv6Addr::UNSPECIFIED, 0).into(),
            port_mapping: true,
            origin: OriginConfig::default(),
            share: true,
            use_peers: true,
            may_pull: true,
            uplink: DEFAULT_UPLINK,
            upload_limit: None,
            target: TARGET_LATENCY,
        }
    }

    /// The id of the stream.
    ///
    /// # Errors
    ///
    /// The URL names none.
    pub fn stream_id(&self) -> Result<StreamId, StreamNameError> {
        self.stream.map_or_else(|| StreamId::of_url(&self.url), Ok)
    }
}

/// Why a watcher could not be started.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum WatchError {
    /// The URL cannot be that of a stream.
    #[error(transparent)]
    Url(OriginError),
    /// The URL names no stream that could be shared.
    #[error("the stream has no name: {0}")]
    Name(#[from] StreamNameError),
    /// There is no socket or no randomness, or the configuration is not allowed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The URL as the tracker may know it, so that a witness can read it too: without signatures and whoever asks. Empty if
/// nothing sensible is left.
pub(super) fn public_url(url: &str) -> String {
    let Ok(mut url) = Url::parse(url) else { return String::new() };
    let stays = |parameter: &&str| {
        let name = parameter.split('=').next().unwrap_or_default().to_ascii_lowercase();
        !VOLATILE.contains(&name.as_str()) && !VOLATILE_PREFIXES.iter().any(|p| name.starts_with(p))
    };
    let query = url.query().map(|query| query.split('&').filter(stays).collect::<Vec<_>>().join("&"));
    url.set_query(query.as_deref().filter(|q| !q.is_empty()));
    url.set_fragment(None);
    url.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tracker_learns_no_secret_and_still_the_same_stream() {
        let url = "https://cdn.example/live/a.flv?quality=high&txSecret=abc&txTime=1&X-Amz-Signature=q#k";
        let told = public_url(url);
        assert_eq!(told, "https://cdn.example/live/a.flv?quality=high");
        assert_eq!(StreamId::of_url(url), StreamId::of_url(&told));
        assert_eq!(public_url("http://cdn.example/a.flv?token=1"), "http://cdn.example/a.flv");
        assert_eq!(public_url("no url"), "");
    }
}
