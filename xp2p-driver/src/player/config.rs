//! What a local server is started with.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use super::feature::FeatureSwitch;
use super::page::{OpenStream, PageSource};

/// Gives the JSON that `/TOKEN/stat` answers with.
pub type StatSource = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = String> + Send>> + Send + Sync>;

/// Configuration of a [`PlayerServer`](super::PlayerServer).
#[derive(Clone)]
pub struct PlayerConfig {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Origins whose web pages may read streams, as browsers send them (`https://example.org`).
    pub allow_origins: Vec<String>,
    /// Most connections at a time. Default 32.
    pub max_connections: usize,
    /// What `/TOKEN/stat` answers; `{}` without it.
    pub stat: Option<StatSource>,
    /// What `/TOKEN/feature` switches; 404 without it.
    pub feature: Option<FeatureSwitch>,
    /// The web page at `/TOKEN/`; 404 without it.
    pub page: Option<PageSource>,
    /// Finds or starts what players ask for; what it does not know, and everything without it, is what was
    /// [inserted](super::PlayerServer::insert).
    pub open: Option<OpenStream>,
}

impl PlayerConfig {
    /// The defaults.
    pub fn new(listen: SocketAddr) -> Self {
        Self {
            listen,
            allow_origins: Vec::new(),
            max_connections: 32,
            stat: None,
            feature: None,
            page: None,
            open: None,
        }
    }
}

impl std::fmt::Debug for PlayerConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PlayerConfig")
            .field("listen", &self.listen)
            .field("allow_origins", &self.allow_origins)
            .finish_non_exhaustive()
    }
}
