//! An HTTP-FLV server: `http://HOST:PORT/live/NAME.flv`.
//!
//! Each publication is a [`Hub`](crate::player::Hub): a client begins with the newest keyframe, and one that is too slow
//! goes on with a later keyframe, or is closed when it takes nothing any more; nobody waits for it. Tags go out as they
//! were published, timestamps included, so that all clients of a swarm see the same stream.

mod answer;
mod config;
mod publication;
mod tls;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures_rustls::TlsAcceptor;
use hyper::service::service_fn;
use thiserror::Error;

use self::answer::answer;
pub(crate) use self::answer::is_name as is_publication_name;
pub use self::config::{Authorize, Denied, OriginRequest, OriginServerConfig, Permit};
use self::publication::Shared;
pub use self::publication::{Feed, Publication, PublicationStats, Tap};
pub use self::tls::TlsIdentity;
use super::stream::{Patient, Stream, within};
use crate::player::{HyperIo, HyperTimer};
use crate::runtime::{Listener, Runtime, Task, sleep};

/// Largest request head, in bytes.
pub const MAX_REQUEST_HEAD: usize = 16 * 1024;
/// How often it is looked whether a permit has expired, because clocks are set now and then.
const PERMIT_CHECK: Duration = Duration::from_secs(2);
/// How long it waits when the system has no connection to give.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Why a server cannot do what it is told.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OriginServerError {
    /// Certificate or key cannot be used.
    #[error("cannot serve https: {0}")]
    Identity(String),
    /// Plain HTTP where others could read it.
    #[error(
        "{0} is not a loopback address, and plain HTTP can be read by everybody on the way: give a certificate"
    )]
    Plain(SocketAddr),
    /// The address cannot be listened on.
    #[error("cannot listen on TCP {listen}: {error}")]
    Listen {
        /// Where.
        listen: SocketAddr,
        /// Why not.
        error: io::Error,
    },
    /// No publication may have this name.
    #[error(
        "{0:?} is no name for a stream: at most 64 letters, digits, `-`, `_`, `.`, not beginning with a dot, or two such with `/` between"
    )]
    Name(String),
    /// There is one of this name.
    #[error("a stream named {0} is published already")]
    Taken(String),
    /// There are as many as there may be.
    #[error("{0} streams are published, which is the limit")]
    Full(usize),
}

struct Server {
    bound: SocketAddr,
    config: OriginServerConfig,
    publications: Mutex<BTreeMap<String, Arc<Shared>>>,
    connections: AtomicUsize,
    /// Closed when the server is dropped.
    stop: async_channel::Receiver<()>,
}

/// Ends everything when the last handle is dropped.
struct Owner {
    server: Arc<Server>,
    spawn: Box<dyn Fn(Task) + Send + Sync>,
    _stop: async_channel::Sender<()>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        for publication in self.server.lock().values() {
            publication.stop();
        }
    }
}

/// The server. Clones are the same one; it stops, and all publications end, when all are dropped.
#[derive(Clone)]
pub struct OriginServer(Arc<Owner>);

impl std::fmt::Debug for OriginServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OriginServer").field("bound", &self.0.server.bound).finish_non_exhaustive()
    }
}

impl OriginServer {
    /// Listens, and serves in the background.
    ///
    /// # Errors
    ///
    /// The address cannot be listened on, or plain HTTP may not be served there.
    pub fn bind<R: Runtime>(runtime: &R, config: OriginServerConfig) -> Result<Self, OriginServerError> {
        let listen = config.listen;
        if config.tls.is_none() && !config.allow_plain && !listen.ip().is_loopback() {
            return Err(OriginServerError::Plain(listen));
        }
        let cannot = |error| OriginServerError::Listen { listen, error };
        let listener = runtime.listen(listen).map_err(cannot)?;
        let bound = listener.local_addr().map_err(cannot)?;
        let (stop, stopped) = async_channel::bounded(1);
        let server = Arc::new(Server {
            bound,
            config,
            publications: Mutex::default(),
            connections: AtomicUsize::new(0),
            stop: stopped,
        });
        runtime.spawn(Box::pin(accept(runtime.clone(), server.clone(), listener)));
        let spawner = runtime.clone();
        Ok(Self(Arc::new(Owner { server, spawn: Box::new(move |task| spawner.spawn(task)), _stop: stop })))
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.0.server.bound
    }

    /// The URL of a publication, at the address where it listens.
    pub fn url(&self, name: &str) -> String {
        self.url_at(&crate::event_loop::reachable(self.0.server.bound).to_string(), name)
    }

    /// The URL of a publication at another name of this host, `HOST` or `HOST:PORT`.
    pub fn url_at(&self, authority: &str, name: &str) -> String {
        let scheme = if self.0.server.config.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{authority}{}", answer::path(name))
    }

    /// Publishes a stream at `/live/NAME.flv` until its feed ends or it is [taken back](Self::unpublish). The tap is
    /// given every tag before the clients get it.
    ///
    /// # Errors
    ///
    /// The name cannot be used or is taken, or there are too many publications.
    pub fn publish(
        &self,
        name: &str,
        feed: Feed,
        tap: Option<Tap>,
    ) -> Result<Publication, OriginServerError> {
        if !answer::is_name(name) {
            return Err(OriginServerError::Name(name.chars().take(80).collect()));
        }
        let publication = Arc::new(Shared::new(name));
        {
            let mut publications = self.0.server.lock();
            if publications.contains_key(name) {
                return Err(OriginServerError::Taken(name.to_owned()));
            }
            if publications.len() >= self.0.server.config.max_publications {
                return Err(OriginServerError::Full(publications.len()));
            }
            publications.insert(name.to_owned(), publication.clone());
        }
        let (server, running) = (Arc::downgrade(&self.0.server), publication.clone());
        (self.0.spawn)(Box::pin(async move {
            publication::run(running.clone(), feed, tap).await;
            if let Some(server) = server.upgrade() {
                server.forget(&running);
            }
        }));
        Ok(Publication(publication))
    }

    /// Ends a publication. Its clients get what waits for them, then the end. Returns whether there was one.
    pub fn unpublish(&self, name: &str) -> bool {
        let publication = self.0.server.lock().remove(name);
        publication.inspect(|p| p.stop()).is_some()
    }

    /// Connections at present.
    pub fn connections(&self) -> usize {
        self.0.server.connections.load(Ordering::Relaxed)
    }
}

impl Server {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Shared>>> {
        // Nothing in here panics half-way, so what a poisoned lock holds is whole.
        self.publications.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn find(&self, name: &str) -> Option<Arc<Shared>> {
        self.lock().get(name).cloned()
    }

    /// Takes out a publication that has ended, if its name has not been used anew.
    fn forget(&self, publication: &Arc<Shared>) {
        let mut publications = self.lock();
        if publications.get(&publication.name).is_some_and(|p| Arc::ptr_eq(p, publication)) {
            publications.remove(&publication.name);
        }
    }
}

/// A connection's place, given back when it is dropped.
struct Place(Arc<Server>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn accept<R: Runtime>(runtime: R, server: Arc<Server>, mut listener: R::Listener) {
    loop {
        let accepted = futures_lite::future::or(async { Some(listener.accept().await) }, async {
            // Ends only with an error, because nothing is ever sent.
            let _ = server.stop.recv().await;
            None
        })
        .await;
        match accepted {
            Some(Ok((tcp, peer))) => {
                let before = server.connections.fetch_add(1, Ordering::Relaxed);
                let place = Place(server.clone());
                if before >= server.config.max_connections {
                    tracing::warn!("a client was turned away: too many connections");
                    continue;
                }
                let runtime2 = runtime.clone();
                runtime.spawn(Box::pin(async move {
                    let server = &place.0;
                    let stopped = async {
                        let _ = server.stop.recv().await;
                    };
                    futures_lite::future::or(serve(&runtime2, server, tcp, peer), stopped).await;
                }));
            }
            // Out of file handles, or a client that left at once: the next one may have more luck.
            Some(Err(e)) => {
                tracing::debug!("cannot accept a client: {e}");
                sleep(&runtime, ACCEPT_PAUSE).await;
            }
            None => break,
        }
    }
}

async fn serve<R: Runtime>(runtime: &R, server: &Arc<Server>, tcp: R::Tcp, peer: SocketAddr) {
    let config = &server.config;
    let tcp = Patient::new(runtime, tcp, config.patience);
    let io: Box<dyn Stream> = match &config.tls {
        None => Box::new(tcp),
        Some(identity) => {
            let secured = TlsAcceptor::from(identity.0.clone()).accept(tcp);
            match within(runtime, config.head_timeout, secured).await {
                Some(Ok(tls)) => Box::new(tls),
                Some(Err(e)) => return tracing::debug!("a client does not speak TLS: {e}"),
                None => return tracing::debug!("a client was too slow with TLS"),
            }
        }
    };
    let (limit, limited) = async_channel::bounded(1);
    let service = service_fn(|request| {
        let response = answer(server, &request, peer, &limit);
        async move { Ok::<_, Infallible>(response) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(HyperTimer(runtime.clone()))
        .header_read_timeout(config.head_timeout)
        .max_buf_size(MAX_REQUEST_HEAD)
        .keep_alive(false)
        .half_close(false)
        .serve_connection(HyperIo::new(io), service);
    let served = async {
        if let Err(e) = connection.await {
            tracing::debug!("a client's connection ended: {e}");
        }
    };
    // Cut, not ended in order: the stream goes on, only not for this client.
    futures_lite::future::or(served, expired(runtime, limited)).await;
}

/// Ends when a client may be served no longer.
async fn expired<R: Runtime>(runtime: &R, limited: async_channel::Receiver<Duration>) {
    let Ok(until) = limited.recv().await else { return std::future::pending().await };
    loop {
        let left = until.saturating_sub(runtime.unix_time());
        if left.is_zero() {
            return tracing::debug!("what a client has shown has expired");
        }
        sleep(runtime, left.min(PERMIT_CHECK)).await;
    }
}
