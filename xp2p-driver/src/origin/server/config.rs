//! What an origin server is and whom it serves.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::HeaderMap;

use super::tls::TlsIdentity;

/// What a client asks for, before it is answered.
#[derive(Debug, Clone, Copy)]
pub struct OriginRequest<'a> {
    /// The publication of the path. There may be none of this name.
    pub name: &'a str,
    /// The whole path.
    pub path: &'a str,
    /// What follows `?`, as it was sent.
    pub query: Option<&'a str>,
    /// Who asks.
    pub peer: SocketAddr,
    headers: &'a HeaderMap,
}

impl<'a> OriginRequest<'a> {
    pub(super) fn new(
        request: &'a hyper::Request<hyper::body::Incoming>,
        name: &'a str,
        peer: SocketAddr,
    ) -> Self {
        let uri = request.uri();
        Self { name, path: uri.path(), query: uri.query(), peer, headers: request.headers() }
    }

    /// A header's value, if it is text. `name` in lower case.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// A value of the query, as it was sent.
    pub fn param(&self, key: &str) -> Option<&'a str> {
        self.query?
            .split('&')
            .find_map(|pair| pair.split_once('=').filter(|(k, _)| *k == key).map(|(_, v)| v))
    }
}

/// Why a client is not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// 401: it does not say who it is.
    Unauthorized,
    /// 403: it may not.
    Forbidden,
}

/// That a client is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permit {
    /// Unix time at which its connection is ended; `None`: it may stay.
    pub until: Option<Duration>,
}

impl Permit {
    /// For as long as it likes.
    pub const UNLIMITED: Self = Self { until: None };
}

/// Decides whether a client is served; asked before it can learn whether there is such a publication. It runs on the
/// connection's task and must not block.
pub type Authorize = Arc<dyn Fn(&OriginRequest<'_>) -> Result<Permit, Denied> + Send + Sync>;

/// Configuration of an [`OriginServer`](super::OriginServer).
#[derive(Clone)]
pub struct OriginServerConfig {
    /// Where to listen.
    pub listen: SocketAddr,
    /// The certificate for https. None: plain HTTP.
    pub tls: Option<TlsIdentity>,
    /// Whether plain HTTP may be served on other addresses than loopback, where everybody on the way can read it.
    pub allow_plain: bool,
    /// Most clients of one publication at a time; others get 503. Default 1,000.
    pub max_clients: usize,
    /// Most connections at a time; others are closed. Default 10,000.
    pub max_connections: usize,
    /// Most publications at a time. Default 64.
    pub max_publications: usize,
    /// TLS and a whole request head must be there after so long. Default 10 s.
    pub head_timeout: Duration,
    /// A client that takes no byte for so long is closed. Default 30 s.
    pub patience: Duration,
    /// Decides who is served. None: everybody.
    pub authorize: Option<Authorize>,
}

impl OriginServerConfig {
    /// The defaults.
    pub fn new(listen: SocketAddr) -> Self {
        Self {
            listen,
            tls: None,
            allow_plain: false,
            max_clients: 1000,
            max_connections: 10_000,
            max_publications: 64,
            head_timeout: Duration::from_secs(10),
            patience: Duration::from_secs(30),
            authorize: None,
        }
    }
}

impl fmt::Debug for OriginServerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OriginServerConfig")
            .field("listen", &self.listen)
            .field("tls", &self.tls.is_some())
            .finish_non_exhaustive()
    }
}
