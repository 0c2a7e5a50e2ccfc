//! A viewer as an application runs it.

mod ask;
mod digest;
mod download;
mod opened;
mod routes;
mod stat;
mod talk;
mod turn;

pub use self::ask::{AskError, is_full};
pub use self::download::{DownloadError, DownloadHandle, Fetched, Progress, partial_path};
pub(crate) use self::opened::Opened;
pub use self::routes::{DownloadEvent, Open, ServiceEvent};
pub use self::stat::{ServiceStat, StatStream, millis, stat_json};
pub use self::talk::{TalkError, TalkHandle};

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use bytes::Bytes;
use thiserror::Error;
use xp2p_proto::command::CommandOutcome;
use xp2p_proto::error::ErrorCode;
use xp2p_proto::info::{Host, Xp2pInfo};
use xp2p_proto::link::{PathInfo, PathTotals, TcpRelay};
use xp2p_proto::request::{Command, Download, Live, Playback, Voice};
use xp2p_proto::viewer::{
    MessageKey, Resume, ServiceConfig, ServiceId, StreamKey, StreamStats, Viewer, ViewerConfig, ViewerError,
};

use self::digest::{Digest, InBlocks};
use self::routes::{Claim, SharedRoutes, Started, TalkEvent, ViewerRole};
use self::turn::Turns;
use crate::handle::{Gone, Handle, WeakHandle};
use crate::lan::{LanSearch, on_link};
use crate::player::Hub;
use crate::portmap::PortMapper;
use crate::runtime::{Runtime, sleep};
use crate::socket::BoundSocket;

/// Most events that wait for the application; the oldest are dropped then.
const MAX_EVENTS: usize = 1024;
/// How long a camera may take to answer in the local network once its servers could not be looked up.
const LAN_GRACE: Duration = Duration::from_secs(2);
/// Pause before servers that could not be looked up are tried again.
const RESOLVE_RETRY: Duration = Duration::from_secs(5);

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
    routes: SharedRoutes,
    turns: Turns,
    /// `None`: cameras are not looked for in the local network.
    lan: Option<LanSearch>,
    port: PortMapper,
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
    /// Runs a viewer on a socket bound to `bind`. With [`ViewerConfig::lan`] it also looks for its cameras in its own network;
    /// not if `bind` is an address of loopback. With [`ViewerConfig::port_mapping`] the router is asked to let cameras in.
    ///
    /// # Errors
    ///
    /// The socket cannot be bound, or TLS refuses the key.
    pub fn spawn(runtime: &R, bind: SocketAddr, config: ViewerConfig) -> io::Result<Self> {
        Self::spawn_on(runtime, BoundSocket::bind(bind)?, config)
    }

    /// The same on a socket that is bound already: see [`BoundSocket`].
    ///
    /// # Errors
    ///
    /// The runtime cannot watch the socket, or TLS refuses the key.
    pub fn spawn_on(runtime: &R, socket: BoundSocket, config: ViewerConfig) -> io::Result<Self> {
        let routes = SharedRoutes::default();
        let role = ViewerRole { routes: routes.clone() };
        let (lan, port_mapping) = (config.lan, config.port_mapping);
        let handle = Handle::spawn_on(runtime, vec![socket], |_, _| {
            Ok((Viewer::new(config).map_err(io::Error::other)?, role))
        })?;
        let lan = if lan { LanSearch::new(handle.local_addr()) } else { None };
        let port = PortMapper::start_for(runtime, port_mapping, &handle, Viewer::set_mapped_address);
        Ok(Self { runtime: runtime.clone(), handle, routes, turns: Turns::default(), lan, port })
    }

    /// The handle of the machine, for all that has no method here.
    pub fn machine(&self) -> &Handle<Viewer> {
        &self.handle
    }

    /// How it stands with the viewer's port at the router.
    pub fn port_mapping(&self) -> &PortMapper {
        &self.port
    }

    pub(crate) fn runtime(&self) -> &R {
        &self.runtime
    }

    /// What is open at present.
    pub fn open(&self) -> Open {
        self.routes.lock().open()
    }

    /// Begins to connect to a camera. Commands may be sent and streams started at once. Like all calls that start something:
    /// when the future is dropped before it is ready, what it has started is stopped.
    ///
    /// # Errors
    ///
    /// [`StartError`].
    pub async fn connect(&self, info: Xp2pInfo) -> Result<Service, StartError> {
        let (service, claim) = self.connect_claimed(info).await?;
        claim.take();
        Ok(service)
    }

    async fn connect_claimed(&self, info: Xp2pInfo) -> Result<(Service, Claim), StartError> {
        let needs_names = !info.servers().iter().flat_map(|s| &s.addrs).any(|a| a.socket_addr().is_some());
        // A network without a way outside tells no names, but the camera may be in it.
        let later = needs_names && self.lan.is_some();
        let tcp = if later { Vec::new() } else { resolve(&self.runtime, &info).await? };
        let near = if self.lan.is_some() { on_link(info.lan().iter().copied()) } else { Vec::new() };
        let (sender, events) = async_channel::bounded(MAX_EVENTS);
        let routes = self.routes.clone();
        let wanted = info.clone();
        let start = move |viewer: &mut Viewer, now| {
            let servers = tcp.iter().map(|relay| relay.server).collect();
            let id = viewer.start_service(now, ServiceConfig { info, servers, tcp })?;
            // In the machine's own task, so that nothing is lost between the start and the first event.
            routes.lock().events.insert(id, sender);
            viewer.add_nearby(now, id, &near);
            Ok(id)
        };
        let (id, claim) = self.start(start, Started::Service).await?;
        if let Some(lan) = &self.lan {
            lan.look_for(&self.runtime, &self.handle, id, &wanted).await;
        }
        if later {
            let (runtime, viewer) = (self.runtime.clone(), self.handle.clone().downgrade());
            self.runtime.spawn(Box::pin(resolve_later(runtime, viewer, id, wanted)));
        }
        Ok((Service { id, events }, claim))
    }

    /// Runs `start` on the machine. What it has started is stopped if this is dropped before it is ready, and later until the
    /// claim is taken.
    async fn start<T: Copy + Send + 'static>(
        &self,
        start: impl FnOnce(&mut Viewer, Instant) -> Result<T, ViewerError> + Send + 'static,
        what: impl FnOnce(T) -> Started + Send + 'static,
    ) -> Result<(T, Claim), StartError> {
        let (routes, handle) = (self.routes.clone(), self.handle.clone().downgrade());
        let started = self.handle.call(move |viewer, now| {
            let started = start(viewer, now)?;
            Ok::<_, ViewerError>((started, Claim::new(what(started), &routes, &handle)))
        });
        Ok(started.await??)
    }

    /// Begins to connect to a camera and asks for a live stream at once. Tags go to the hub that is returned.
    ///
    /// # Errors
    ///
    /// [`StartError`].
    pub async fn watch(&self, info: Xp2pInfo, live: Live) -> Result<(Service, StreamKey, Hub), StartError> {
        // Without the stream the connection is for nothing: then it ends with the claim.
        let (service, claim) = self.connect_claimed(info).await?;
        let (stream, hub) = self.start_live(service.id, live).await?;
        claim.take();
        Ok((service, stream, hub))
    }

    /// Asks for a live stream on a connection that there is: another quality or channel beside the first, or instead
    /// of it. Tags go to the hub.
    ///
    /// # Errors
    ///
    /// [`StartError`].
    pub async fn start_live(&self, service: ServiceId, live: Live) -> Result<(StreamKey, Hub), StartError> {
        self.stream_into_hub(move |viewer, now| viewer.start_live(now, service, live), None).await
    }

    /// Asks for a recording. Tags go to the hub, with timestamps in milliseconds after its start.
    ///
    /// # Errors
    ///
    /// [`StartError`].
    pub async fn start_playback(
        &self,
        service: ServiceId,
        playback: Playback,
    ) -> Result<(StreamKey, Hub), StartError> {
        self.stream_into_hub(move |viewer, now| viewer.start_playback(now, service, playback), None).await
    }

    /// Starts a stream whose tags go to a hub, and what the camera says to it to `answers`.
    async fn stream_into_hub(
        &self,
        start: impl FnOnce(&mut Viewer, Instant) -> Result<StreamKey, ViewerError> + Send + 'static,
        answers: Option<async_channel::Sender<TalkEvent>>,
    ) -> Result<(StreamKey, Hub), StartError> {
        let hub = Hub::default();
        let (routes, stream_hub) = (self.routes.clone(), hub.clone());
        let start = move |viewer: &mut Viewer, now| {
            let stream = start(viewer, now)?;
            let mut routes = routes.lock();
            routes.hubs.insert(stream, stream_hub);
            routes.talks.extend(answers.map(|answers| (stream, answers)));
            Ok(stream)
        };
        let (stream, claim) = self.start(start, Started::Stream).await?;
        claim.take();
        Ok((stream, hub))
    }

    /// Sends a command and waits for its end, at most for `timeout` (`None`: 7.5 s).
    ///
    /// # Errors
    ///
    /// [`StartError`] when it could not be sent; its own end is in the result.
    pub async fn command(
        &self,
        service: ServiceId,
        command: Command,
        timeout: Option<Duration>,
    ) -> Result<CommandOutcome, StartError> {
        let (sender, end) = async_channel::bounded(1);
        let routes = self.routes.clone();
        let sent = self.handle.call(move |viewer, now| {
            let key = viewer.send_command(now, service, command, timeout)?;
            routes.lock().commands.insert(key, sender);
            Ok::<_, ViewerError>(())
        });
        sent.await??;
        let stopped = CommandOutcome::Error { errmsg: "the service was stopped".to_owned() };
        Ok(end.recv().await.unwrap_or(stopped))
    }

    /// Fetches a file piece by piece; [`download_to`](Self::download_to) does it into a file.
    ///
    /// # Errors
    ///
    /// [`StartError`].
    pub async fn download(
        &self,
        service: ServiceId,
        download: Download,
        resume: Resume,
    ) -> Result<DownloadHandle, StartError> {
        // The window of the download bounds both.
        let (sender, from) = async_channel::unbounded();
        let (to, events) = async_channel::unbounded();
        let (routes, digest) = (self.routes.clone(), InBlocks::new(resume.hasher.clone()));
        let start = move |viewer: &mut Viewer, now| {
            let stream = viewer.start_download(now, service, download, resume)?;
            // That of `resume`: the digest is made beside the machine.
            viewer.take_download_hasher(stream);
            routes.lock().downloads.insert(stream, sender);
            Ok(stream)
        };
        let (key, claim) = self.start(start, Started::Stream).await?;
        let digest = Digest { stream: key, viewer: self.handle.clone().downgrade(), digest, from, to };
        self.runtime().spawn(Box::pin(digest.run(self.runtime().clone())));
        Ok(DownloadHandle {
            key,
            handle: self.handle.clone(),
            events,
            stored: AtomicUsize::new(0),
            _claim: claim,
        })
    }

    /// Begins to talk to a camera.
    ///
    /// # Errors
    ///
    /// [`StartError`].
    pub async fn talk(&self, service: ServiceId, voice: Voice) -> Result<TalkHandle, StartError> {
        // A handful of events at most.
        let (sender, events) = async_channel::unbounded();
        let routes = self.routes.clone();
        let start = move |viewer: &mut Viewer, now| {
            let stream = viewer.start_voice(now, service, voice)?;
            routes.lock().talks.insert(stream, sender);
            Ok(stream)
        };
        let (key, claim) = self.start(start, Started::Stream).await?;
        Ok(TalkHandle { key, handle: self.handle.clone(), events, over: false.into(), claim })
    }

    /// Answers a message of a camera. Returns whether it still waited.
    ///
    /// # Errors
    ///
    /// [`Gone`].
    pub async fn reply_message(&self, message: MessageKey, reply: impl Into<Bytes>) -> Result<bool, Gone> {
        let reply = reply.into();
        self.handle.call(move |viewer, _| viewer.reply_message(message, reply)).await
    }

    /// Ends one stream.
    ///
    /// # Errors
    ///
    /// [`Gone`].
    pub async fn stop_stream(&self, stream: StreamKey) -> Result<(), Gone> {
        let routes = self.routes.clone();
        let stop = move |viewer: &mut Viewer, _| {
            viewer.stop_stream(stream);
            // Here, so that it is done even if nobody waits for it any more.
            routes.lock().forget_stream(stream);
        };
        self.handle.call(stop).await
    }

    /// Ends a service.
    ///
    /// # Errors
    ///
    /// [`Gone`].
    pub async fn stop(&self, id: ServiceId) -> Result<(), Gone> {
        let routes = self.routes.clone();
        let stop = move |viewer: &mut Viewer, now| {
            viewer.stop_service(now, id);
            routes.lock().forget(id);
        };
        if let Some(lan) = &self.lan {
            lan.forget(id);
        }
        self.handle.call(stop).await
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
        futures_lite::future::zip(self.port.stop(), self.handle.shutdown()).await;
    }
}

/// The addresses of a camera's servers, for UDP and for TCP.
async fn resolve<R: Runtime>(runtime: &R, info: &Xp2pInfo) -> Result<Vec<TcpRelay>, StartError> {
    let mut addrs = Vec::new();
    let mut failed = None;
    for server in info.servers() {
        for addr in &server.addrs {
            match (&addr.host, addr.socket_addr()) {
                (_, Some(at)) => addrs.push(Xp2pInfo::tcp_relay(server, at)),
                (Host::Name(name), None) => match runtime.resolve(name.to_string(), addr.port).await {
                    Ok(found) => addrs.extend(found.into_iter().map(|at| Xp2pInfo::tcp_relay(server, at))),
                    Err(error) => failed = Some(StartError::Resolve { host: name.to_string(), error }),
                },
                (Host::Ip(_), None) => {}
            }
        }
    }
    match failed {
        Some(error) if addrs.is_empty() => Err(error),
        _ => Ok(addrs),
    }
}

/// Looks up the servers of a service that has begun without them. If that fails and the camera is not found in the local
/// network either, the service ends.
async fn resolve_later<R: Runtime>(runtime: R, viewer: WeakHandle<Viewer>, id: ServiceId, info: Xp2pInfo) {
    loop {
        let found = resolve(&runtime, &info).await;
        if found.is_err() {
            sleep(&runtime, LAN_GRACE).await;
        }
        let Some(viewer) = viewer.upgrade() else { return };
        let goes_on = match found {
            Ok(tcp) => {
                let servers: Vec<SocketAddr> = tcp.iter().map(|relay| relay.server).collect();
                let tell = move |viewer: &mut Viewer, now| viewer.set_servers(now, id, &servers, &tcp);
                viewer.call(tell).await.map(|()| false)
            }
            Err(e) => {
                let reason = e.to_string();
                let fail = move |viewer: &mut Viewer, now| {
                    viewer.fail_service(now, id, ErrorCode::StreamStartFailed, reason)
                };
                viewer.call(fail).await
            }
        };
        drop(viewer);
        if goes_on != Ok(true) {
            return;
        }
        sleep(&runtime, RESOLVE_RETRY).await;
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
