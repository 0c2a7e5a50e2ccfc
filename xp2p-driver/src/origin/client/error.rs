//! What can go wrong with an origin.

use std::io;
use std::time::Duration;

use thiserror::Error;
use xp2p_proto::flv::FlvError;

/// Why a stream cannot be had, or why it has ended. No message holds the query of a URL: signed ones have secrets there.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OriginError {
    /// The URL makes no sense, or asks for what is not done.
    #[error("bad URL of a stream: {0}")]
    Url(String),
    /// The [`AddressPolicy`](super::AddressPolicy) forbids this host or its addresses.
    #[error("{host} may not be an origin: {reason}")]
    Forbidden {
        /// The host of the URL, or of a redirect.
        host: String,
        /// Which rule forbids it.
        reason: &'static str,
    },
    /// The host has no address.
    #[error("cannot find the address of {host}: {error}")]
    Dns {
        /// The host.
        host: String,
        /// What the system says.
        error: io::Error,
    },
    /// None of the host's addresses takes a connection.
    #[error("cannot connect to {host}: {error}")]
    Connect {
        /// The host.
        host: String,
        /// What the last address said.
        error: io::Error,
    },
    /// The host cannot prove who it is, or does not speak TLS.
    #[error("no secure connection to {host}: {error}")]
    Tls {
        /// The host.
        host: String,
        /// What is wrong.
        error: io::Error,
    },
    /// This machine has no certificates to check hosts against, or one that was given cannot be read.
    #[error("no certificates to check https origins against: {0}")]
    Roots(String),
    /// No whole response head came in time.
    #[error("the origin has not answered for {} s", .0.as_secs_f32())]
    HeadTimeout(Duration),
    /// The response head is larger than [`MAX_HEAD`](super::MAX_HEAD), or has too many lines.
    #[error("the origin's response head is larger than {} bytes", super::MAX_HEAD)]
    HeadTooLarge,
    /// What the origin sends is no HTTP.
    #[error("the origin does not speak HTTP: {0}")]
    Http(String),
    /// The origin refuses.
    #[error("the origin answers with status {code}")]
    Status {
        /// The status of the response.
        code: u16,
        /// How long the origin wants to be left alone.
        retry_after: Option<Duration>,
    },
    /// More than [`MAX_REDIRECTS`](super::MAX_REDIRECTS) redirects one after the other.
    #[error("the origin redirects in a circle: {} times and no end", super::MAX_REDIRECTS)]
    RedirectLoop,
    /// A redirect that is not followed.
    #[error("the origin redirects to where nobody may go: {0}")]
    Redirect(String),
    /// The body is no FLV.
    #[error("the origin's stream cannot be used{}: {error}", kind(content_type))]
    NotFlv {
        /// The `content-type` of the response, where that explains it.
        content_type: Option<String>,
        /// What was found.
        error: FlvError,
    },
    /// The body is compressed, which is not asked for.
    #[error("the origin's stream is compressed ({0}), which is not supported")]
    Encoded(String),
    /// No byte has come for this long.
    #[error("the origin's stream has stalled: no byte for {} s", .0.as_secs_f32())]
    Stalled(Duration),
    /// The connection broke off.
    #[error("the connection to the origin broke off after {bytes} bytes: {reason}")]
    Lost {
        /// Bytes of the body that came.
        bytes: u64,
        /// What happened.
        reason: String,
    },
    /// The origin has ended the stream.
    #[error("the origin's stream has ended after {bytes} bytes")]
    Ended {
        /// Bytes of the body that came.
        bytes: u64,
    },
}

impl OriginError {
    /// Whether the same request will most likely fail again, so that [trying again](super::Backoff) makes no sense.
    pub fn is_lasting(&self) -> bool {
        match self {
            Self::Url(_)
            | Self::Forbidden { .. }
            | Self::Roots(_)
            | Self::RedirectLoop
            | Self::Redirect(_) => true,
            // 408 and 429 ask for another try; a stream that is not found may begin later.
            Self::Status { code, .. } => matches!(code, 400..=499) && !matches!(code, 404 | 408 | 425 | 429),
            _ => false,
        }
    }
}

fn kind(content_type: &Option<String>) -> String {
    content_type.as_ref().map(|kind| format!(" (content-type {kind})")).unwrap_or_default()
}
