//! A viewer as an application runs it.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use thiserror::Error;
use xp2p_proto::error::ErrorCode;
use xp2p_proto::info::{Host, Xp2pInfo};
use xp2p_proto::link::{PathInfo, PathKind, PathTotals};
use xp2p_proto::live::LiveItem;
use xp2p_proto::request::Live;
use xp2p_proto::viewer::{
    ServiceConfig, ServiceId, StreamKey, StreamStats, Viewer, ViewerConfig, ViewerError, ViewerEvent,
};

use crate::event_loop::Role;
use crate::handle::{Gone, Handle};
use crate::player::Hub;
use crate::runtime::Runtime;

/// Most events that wait for the application; the oldest are dropped then.
const MAX_EVENTS: usize = 1024;

#[derive(Default)]
struct Routes {
    hubs: BTreeMap<StreamKey, Hub>,
    events: BTreeMap<ServiceId, async_channel::Sender<ServiceEvent>>,
}

struct ViewerRole {
    routes: std::sync::Arc<std::sync::Mutex<Routes>>,
}

/// News of a service. Media goes to the hubs.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServiceEvent {
    /// Connected, for the first time or again.
    Connected {
        /// First round-trip time.
        rtt: Duration,
    },
    /// Data comes another way.
    Path(PathKind),
    /// The connection is gone; the service tries to come back.
    Reconnecting(String),
    /// The service is over.
    Disconnect {
        /// The documented code that fits best.
        code: ErrorCode,
        /// Why.
        reason: String,
    },
    /// The camera has answered a request.
    Parsed {
        /// Status.
        status: u16,
        /// The reason that came with it.
        reason: Option<String>,
    },
    /// A stream has ended in order.
    Eof,
    /// A stream has ended otherwise.
    Close(String),
}

impl Role<Viewer> for ViewerRole {
    fn on_event(&mut self, _machine: &mut Viewer, _now: Instant, event: ViewerEvent) {
        let mut routes = self.routes.lock().unwrap_or_else(|e| e.into_inner());
        let (service, news) = match event {
            ViewerEvent::Media { stream, item } => {
                if let Some(hub) = routes.hubs.get(&stream) {
                    match item {
                        LiveItem::Config(config) => hub.configure(&config),
                        LiveItem::Tag(tag) => hub.push(&tag),
                    }
                }
                return;
            }
            ViewerEvent::Connected { service, rtt } => (service, ServiceEvent::Connected { rtt }),
            ViewerEvent::Path { service, kind } => (service, ServiceEvent::Path(kind)),
            ViewerEvent::Reconnecting { service, reason } => {
                routes.hubs.iter().filter(|(k, _)| k.service == service).for_each(|(_, hub)| hub.interrupt());
                (service, ServiceEvent::Reconnecting(reason))
            }
            ViewerEvent::Disconnect { service, code, reason } => {
                (service, ServiceEvent::Disconnect { code, reason })
            }
            ViewerEvent::Parsed { stream, head } => {
                let reason = head.headers.reason.as_ref().map(ToString::to_string);
                (stream.service, ServiceEvent::Parsed { status: head.status(), reason })
            }
            ViewerEvent::Eof { stream } => {
                if let Some(hub) = routes.hubs.remove(&stream) {
                    hub.end();
                }
                (stream.service, ServiceEvent::Eof)
            }
            ViewerEvent::Close { stream, reason } => {
                if let Some(hub) = routes.hubs.remove(&stream) {
                    hub.end();
                }
                (stream.service, ServiceEvent::Close(reason))
            }
            _ => return,
        };
        tracing::debug!(?service, ?news, "viewer");
        let over = matches!(news, ServiceEvent::Disconnect { .. });
        if let Some(sender) = routes.events.get(&service) {
            // An application that does not listen loses the oldest, and then the channel itself.
            let _ = sender.force_send(news);
        }
        if over {
            routes.events.remove(&service);
        }
    }

    fn shutdown(&mut self, machine: &mut Viewer, now: Instant) {
        machine.shutdown(now);
        let mut routes = self.routes.lock().unwrap_or_else(|e| e.into_inner());
        routes.hubs.values().for_each(Hub::end);
        *routes = Routes::default();
    }

    fn is_closed(&self, machine: &Viewer) -> bool {
        machine.is_closed()
    }
}

/// Why a service or stream could not be started.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// No server of the xp2pInfo could be looked up.
    #[error("cannot look up the camera's server {host}: {error}")]
    Resolve {
        /// Its name.
        host: String,
        /// Why not.
        error: io::Error,
    },
    /// The viewer refused.
    #[error(transparent)]
    Viewer(#[from] ViewerError),
    /// The viewer has been shut down.
    #[error(transparent)]
    Gone(#[from] Gone),
}

/// A running viewer of any number of cameras. Clones are the same one.
#[derive(Debug, Clone)]
pub struct ViewerHandle<R> {
    runtime: R,
    handle: Handle<Viewer>,
    routes: std::sync::Arc<std::sync::Mutex<Routes>>,
}

impl std::fmt::Debug for Routes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Routes").field("streams", &self.hubs.len()).finish_non_exhaustive()
    }
}

/// A service: one camera.
#[derive(Debug)]
pub struct Service {
    /// Its name within the viewer.
    pub id: ServiceId,
    /// Its news.
    pub events: async_channel::Receiver<ServiceEvent>,
}

impl<R: Runtime> ViewerHandle<R> {
    /// Runs a viewer on a socket bound to `bind`.
    ///
    /// # Errors
    ///
    /// The socket cannot be bound, or TLS refuses the key.
    pub fn spawn(runtime: &R, bind: SocketAddr, config: ViewerConfig) -> io::Result<Self> {
        let routes = std::sync::Arc::new(std::sync::Mutex::new(Routes::default()));
        let role = ViewerRole { routes: routes.clone() };
        let handle = Handle::spawn(runtime, &[bind], |_, _| {
            Ok((Viewer::new(config).map_err(io::Error::other)?, role))
        })?;
        Ok(Self { runtime: runtime.clone(), handle, routes })
    }

    /// The handle of the machine, for all that has no method here.
    pub fn machine(&self) -> &Handle<Viewer> {
        &self.handle
    }

    /// Begins to connect to a camera and asks for a live stream at once. Tags go to the hub that is returned.
    ///
    /// # Errors
    ///
    /// [`StartError`].
    pub async fn watch(&self, info: Xp2pInfo, live: Live) -> Result<(Service, StreamKey, Hub), StartError> {
        let servers = self.resolve(&info).await?;
        let (sender, events) = async_channel::bounded(MAX_EVENTS);
        let hub = Hub::default();
        let (routes, stream_hub) = (self.routes.clone(), hub.clone());
        let started = self.handle.call(move |viewer, now| {
            let id = viewer.start_service(now, ServiceConfig { info, servers })?;
            // In the machine's own task, so that nothing is lost between the start and the first event.
            let stream = viewer.start_live(now, id, live).inspect_err(|_| viewer.stop_service(now, id))?;
            let mut routes = routes.lock().unwrap_or_else(|e| e.into_inner());
            routes.events.insert(id, sender);
            routes.hubs.insert(stream, stream_hub);
            Ok::<_, ViewerError>((id, stream))
        });
        let (id, stream) = started.await??;
        Ok((Service { id, events }, stream, hub))
    }

    async fn resolve(&self, info: &Xp2pInfo) -> Result<Vec<SocketAddr>, StartError> {
        let mut addrs = Vec::new();
        let mut failed = None;
        for addr in info.servers().iter().flat_map(|s| &s.addrs) {
            match (&addr.host, addr.socket_addr()) {
                (_, Some(addr)) => addrs.push(addr),
                (Host::Name(name), None) => match self.runtime.resolve(name.to_string(), addr.port).await {
                    Ok(found) => addrs.extend(found),
                    Err(error) => failed = Some(StartError::Resolve { host: name.to_string(), error }),
                },
                (Host::Ip(_), None) => {}
            }
        }
        match failed {
            Some(error) if addrs.is_empty() => Err(error),
            _ => Ok(addrs),
        }
    }

    /// Ends a service.
    ///
    /// # Errors
    ///
    /// [`Gone`].
    pub async fn stop(&self, id: ServiceId) -> Result<(), Gone> {
        self.handle.call(move |viewer, now| viewer.stop_service(now, id)).await?;
        let mut routes = self.routes.lock().unwrap_or_else(|e| e.into_inner());
        routes.events.remove(&id);
        routes.hubs.retain(|key, hub| {
            if key.service == id {
                hub.end();
            }
            key.service != id
        });
        Ok(())
    }

    /// Paths, bytes by path, and counters of a stream.
    ///
    /// # Errors
    ///
    /// [`Gone`].
    pub async fn status(&self, stream: StreamKey) -> Result<ViewStatus, Gone> {
        self.handle
            .call(move |viewer, _| ViewStatus {
                paths: viewer.paths(stream.service),
                totals: viewer.totals(stream.service),
                stats: viewer.stream_stats(stream),
            })
            .await
    }

    /// Says goodbye to all cameras.
    pub async fn shutdown(&self) {
        self.handle.shutdown().await;
    }
}

/// A stream as it is now.
#[derive(Debug, Clone, Default)]
pub struct ViewStatus {
    /// Paths to the camera.
    pub paths: Vec<PathInfo>,
    /// Bytes by kind of path.
    pub totals: PathTotals,
    /// Counters; `None` after the stream has ended.
    pub stats: Option<StreamStats>,
}
