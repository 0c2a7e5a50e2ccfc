//! A client of HTTP-FLV servers: URL in, tags out.
//!
//! [`OriginClient::open`] does all up to the response head: address, policy, connection, TLS, redirects. The
//! [`OriginStream`] that it gives has no task of its own; it moves when it is asked for tags and is gone when it is
//! dropped. Trying again is the caller's, with the pauses of a [`Backoff`].
//!
//! What an origin sends may be anything. A head has at most [`MAX_HEAD`] bytes, a tag what
//! [`Limits`] say, and nothing is waited for without end.

mod backoff;
mod body;
mod connect;
mod error;
mod policy;
mod stream;
mod tls;
mod url;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use hyper::Response;
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName, LOCATION, RETRY_AFTER};
use xp2p_proto::flv::Limits;

pub use self::backoff::{Backoff, FIRST_PAUSE, LONGEST_PAUSE};
use self::body::Exchange;
pub use self::error::OriginError;
pub use self::policy::{AddressPolicy, HostPattern, HostPatternError};
pub use self::stream::{OriginStream, Received};
pub use self::tls::Roots;
use self::tls::Tls;
pub use self::url::MAX_URL;
use self::url::Target;
use super::stream::{Counted, Stream, within};
use crate::runtime::Runtime;

/// Largest response head, and the most that is read at a time, in bytes.
pub const MAX_HEAD: usize = 64 * 1024;
/// Most redirects one after the other.
pub const MAX_REDIRECTS: usize = 5;
/// The longest `retry-after` that is believed.
const MAX_RETRY_AFTER: u64 = 3600;
/// The longest header value that is shown to people.
const MAX_SHOWN: usize = 100;

/// Configuration of an [`OriginClient`].
#[derive(Debug, Clone)]
pub struct OriginConfig {
    /// Which hosts and addresses may be an origin. Default: any.
    pub policy: AddressPolicy,
    /// Look-up, connection and TLS may take so long each, over all addresses of a host. Default 5 s.
    pub connect_timeout: Duration,
    /// The response head must be whole so long after the request. Default 5 s.
    pub head_timeout: Duration,
    /// A stream that gives no byte for so long has stalled. Default 5 s.
    pub stall_timeout: Duration,
    /// What FLV input may be.
    pub limits: Limits,
    /// Which certificates https origins are checked against.
    pub roots: Roots,
    /// How the client calls itself.
    pub user_agent: String,
}

impl Default for OriginConfig {
    fn default() -> Self {
        let usual = Duration::from_secs(5);
        Self {
            policy: AddressPolicy::Any,
            connect_timeout: usual,
            head_timeout: usual,
            stall_timeout: usual,
            limits: Limits::default(),
            roots: Roots::default(),
            user_agent: concat!("xp2p/", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}

/// Whether a stream could be opened at `url` at all, as far as that can be told without asking anybody.
///
/// # Errors
///
/// [`OriginError::Url`].
pub fn check_url(url: &str) -> Result<(), OriginError> {
    Target::parse(url).map(|_| ())
}

/// Opens streams. Clones share their configuration.
#[derive(Debug, Clone)]
pub struct OriginClient<R> {
    runtime: R,
    config: Arc<OriginConfig>,
    tls: Tls,
}

impl<R: Runtime> OriginClient<R> {
    /// A client.
    pub fn new(runtime: &R, config: OriginConfig) -> Self {
        Self { runtime: runtime.clone(), config: Arc::new(config), tls: Tls::default() }
    }

    /// Whether the policy allows the host of a URL. Its addresses, and those of redirects, are checked when it is opened.
    ///
    /// # Errors
    ///
    /// [`OriginError::Url`] and [`OriginError::Forbidden`].
    pub fn check(&self, url: &str) -> Result<(), OriginError> {
        let target = Target::parse(url)?;
        self.config.policy.check_host(target.host(), target.port())
    }

    /// Opens the stream at a `http://` or `https://` URL, following up to [`MAX_REDIRECTS`] redirects. Dropping the future
    /// closes what is open.
    ///
    /// # Errors
    ///
    /// Anything up to the response head; see [`OriginError`].
    pub async fn open(&self, url: &str) -> Result<OriginStream<R>, OriginError> {
        let mut target = Target::parse(url)?;
        // All bytes count, those of redirects too.
        let wire = Arc::new(AtomicU64::new(0));
        for _ in 0..=MAX_REDIRECTS {
            let (head, exchange) = self.request(&target, &wire).await?;
            match head.status().as_u16() {
                200 => {
                    if let Some(coding) = shown(&head, CONTENT_ENCODING).filter(|c| c != "identity") {
                        return Err(OriginError::Encoded(coding));
                    }
                    let body = exchange.with_limit(&self.runtime, self.config.stall_timeout);
                    return Ok(OriginStream::new(body, self.config.limits, shown(&head, CONTENT_TYPE), wire));
                }
                301 | 302 | 303 | 307 | 308 => {
                    let location = head.headers().get(LOCATION).and_then(|l| l.to_str().ok());
                    let location = location.ok_or_else(|| OriginError::Redirect("no location".to_owned()))?;
                    target = target.redirect(location)?;
                }
                code => return Err(OriginError::Status { code, retry_after: retry_after(&head) }),
            }
        }
        Err(OriginError::RedirectLoop)
    }

    async fn request(
        &self,
        target: &Target,
        wire: &Arc<AtomicU64>,
    ) -> Result<(Response<()>, Exchange), OriginError> {
        let config = &*self.config;
        let tcp = Counted::new(connect::connect(&self.runtime, config, target).await?, wire.clone());
        let io: Box<dyn Stream> = if target.is_tls() {
            let secured = self.tls.secure(&self.runtime, &config.roots, target.host(), tcp);
            within(&self.runtime, config.connect_timeout, secured).await.unwrap_or_else(|| {
                let error = std::io::ErrorKind::TimedOut.into();
                Err(OriginError::Tls { host: target.host().to_string(), error })
            })?
        } else {
            Box::new(tcp)
        };
        let (authority, path) = (target.authority(), target.path());
        let answer = body::get(io, &authority, &path, &config.user_agent);
        within(&self.runtime, config.head_timeout, answer)
            .await
            .unwrap_or(Err(OriginError::HeadTimeout(config.head_timeout)))
    }
}

/// A header's value for people.
fn shown(head: &Response<()>, name: HeaderName) -> Option<String> {
    let value = head.headers().get(name)?.to_str().ok()?;
    Some(value.chars().take(MAX_SHOWN).collect())
}

/// In seconds; the form with a date is rare and would need the wall clock.
fn retry_after(head: &Response<()>) -> Option<Duration> {
    let seconds: u64 = head.headers().get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds.min(MAX_RETRY_AFTER)))
}
