//! Publishes a source as a stream of our own origin server, and signs it as its source.

use std::net::SocketAddr;

use thiserror::Error;
use xp2p_proto::keys::SecretKey;
use xp2p_proto::swarm::content::StreamNameError;
use xp2p_proto::swarm::{StreamId, Trust};

use crate::origin::server::{Feed, OriginServer, OriginServerError, Publication};
use crate::runtime::Runtime;
use crate::server::ServerHandle;
use crate::signing::{SigningConfig, StreamSigner};
use crate::source::{Sink, Source, SourceError, SourceEvent, SourceSpec};
use crate::udp::local_addresses;

/// Most URLs under which a stream is signed.
pub const MAX_URLS: usize = 16;
/// Tags that wait between the source's thread and the publication.
const MAX_WAITING: usize = 64;
/// News of a source that wait for the application; the oldest are dropped then.
const MAX_NEWS: usize = 16;

/// What is published, and how.
#[derive(Debug, Clone)]
pub struct PublishConfig {
    /// Its name: the stream is at `/live/NAME.flv`.
    pub name: String,
    /// Where it comes from.
    pub source: SourceSpec,
    /// Names of this host that viewers use, `HOST` or `HOST:PORT`, besides its addresses. The first one is that of the URL to give
    /// to viewers.
    pub hosts: Vec<String>,
    /// Signs; see [`SecretKey::for_streams`].
    pub key: SecretKey,
}

/// Why a stream cannot be published.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PublishError {
    /// Its source cannot be opened.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The origin server does not take it.
    #[error(transparent)]
    Server(#[from] OriginServerError),
    /// One of the names of this host makes no URL.
    #[error("{host:?} is no HOST or HOST:PORT: {error}")]
    Host {
        /// The name.
        host: String,
        /// What is wrong with it.
        error: StreamNameError,
    },
}

/// A stream that is published. It ends when this is dropped.
#[derive(Debug)]
pub struct Published {
    /// The stream at the origin server.
    pub publication: Publication,
    /// Who signs it.
    pub signer: StreamSigner,
    /// The URLs under which it is signed, that for viewers first. One by which nobody has called this host is another stream to
    /// the tracker, and its viewers stay with the origin.
    pub urls: Vec<String>,
    /// The ids that follow from them.
    pub streams: Vec<StreamId>,
    /// What the source has to say, besides tags.
    pub news: async_channel::Receiver<SourceEvent>,
    _source: Source,
}

/// Publishes `config.source` at `origin` and signs it for the tracker of `server`.
///
/// # Errors
///
/// See [`PublishError`].
pub fn publish<R: Runtime>(
    runtime: &R,
    origin: &OriginServer,
    server: &ServerHandle,
    config: PublishConfig,
) -> Result<Published, PublishError> {
    let (urls, streams) = urls_of(origin, &config.name, &config.hosts)?;
    let signing = SigningConfig { key: config.key, trust: Trust::Source, streams: streams.clone() };
    let signer = StreamSigner::spawn(runtime, server, signing);
    let (tags, feed) = async_channel::bounded(MAX_WAITING);
    let publication = origin.publish(&config.name, Feed::Tags(feed), Some(signer.tap()))?;
    let (sender, news) = async_channel::bounded(MAX_NEWS);
    let mut tags = Some(tags);
    let sink: Sink = Box::new(move |event| match event {
        // Fails only when the publication has ended.
        SourceEvent::Tag(tag) => tags.as_ref().is_some_and(|tags| tags.send_blocking(tag).is_ok()),
        other => {
            if matches!(other, SourceEvent::Ended(_)) {
                tags = None;
            }
            // Nobody listens any more: the program is about to end.
            let _ = sender.force_send(other);
            true
        }
    });
    let source = match Source::open(&config.source, sink) {
        Ok(source) => source,
        Err(e) => {
            origin.unpublish(&config.name);
            return Err(e.into());
        }
    };
    Ok(Published { publication, signer, urls, streams, news, _source: source })
}

/// The URLs of a publication, that for viewers first, and the ids that follow from them.
pub(crate) fn urls_of(
    origin: &OriginServer,
    name: &str,
    hosts: &[String],
) -> Result<(Vec<String>, Vec<StreamId>), PublishError> {
    let mut urls = Vec::new();
    let mut streams = Vec::new();
    for host in authorities(origin.local_addr(), hosts) {
        let url = origin.url_at(&host, name);
        let id = StreamId::of_url(&url).map_err(|error| PublishError::Host { host, error })?;
        if !streams.contains(&id) {
            streams.push(id);
            urls.push(url);
        }
    }
    Ok((urls, streams))
}

/// By which names viewers may call a server that listens on `bound`, that to give them first.
fn authorities(bound: SocketAddr, hosts: &[String]) -> Vec<String> {
    let with_port = |host: &String| {
        let has_port = host.rsplit_once(':').is_some_and(|(_, port)| !port.contains(']'));
        if has_port { host.clone() } else { format!("{host}:{}", bound.port()) }
    };
    let mut all: Vec<String> = hosts.iter().map(with_port).collect();
    all.push(crate::event_loop::reachable(bound).to_string());
    if bound.ip().is_loopback() || bound.ip().is_unspecified() {
        all.push(format!("localhost:{}", bound.port()));
    }
    // Without a list of interfaces the names above have to do.
    all.extend(local_addresses(bound).unwrap_or_default().iter().map(ToString::to_string));
    let mut unique: Vec<String> = Vec::new();
    for name in all {
        if unique.len() < MAX_URLS && !unique.contains(&name) {
            unique.push(name);
        }
    }
    unique
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_has_all_names_of_its_host() {
        let bound = "127.0.0.1:8080".parse().unwrap();
        assert_eq!(authorities(bound, &[]), ["127.0.0.1:8080", "localhost:8080"]);
        let hosts = ["live.example".to_owned(), "cdn.example:443".to_owned(), "[2001:db8::1]".to_owned()];
        let all = authorities("198.51.100.7:8080".parse().unwrap(), &hosts);
        assert_eq!(all, ["live.example:8080", "cdn.example:443", "[2001:db8::1]:8080", "198.51.100.7:8080"]);
        let any = authorities("0.0.0.0:8080".parse().unwrap(), &hosts[..1]);
        assert_eq!(any.first().map(String::as_str), Some("live.example:8080"));
        assert!(any.contains(&"localhost:8080".to_owned()) && any.len() <= MAX_URLS);
        assert!(!any.contains(&"0.0.0.0:8080".to_owned()));
    }
}
