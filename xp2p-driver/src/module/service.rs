//! One service: a camera or a stream that is shared, and what both have in common.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_channel::{Receiver, Sender, bounded};
use xp2p_proto::command::{BuiltIn, CommandOutcome, DeviceInfo, Reply};
use xp2p_proto::error::ErrorCode;
use xp2p_proto::info::{Feature, Xp2pInfo};
use xp2p_proto::link::{PathKind, PathTotals};
use xp2p_proto::live::ReceiverStats;
use xp2p_proto::request::{Live, Request};
use xp2p_proto::viewer::{ServiceId, StreamKey, StreamStats};

use super::ModuleError;
use super::players::Players;
use super::shared::{News, Shared, SharedConfig};
use super::span::Spanned;
use super::startup::Startup;
use super::url::{self, Wanted};
use crate::handle::Gone;
use crate::player::Hub;
use crate::runtime::Runtime;
use crate::viewer::{ServiceEvent, ServiceStat, StatStream, ViewStatus, ViewerHandle};
use crate::watch::WatchStats;

/// Events that wait for the application; the oldest are lost then.
const MAX_EVENTS: usize = 1024;

/// What `startP2PService` is told of a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StreamInfo {
    /// `url`: `http://XP2P_INFO.xnet/ipc.p2p.com/ipc.flv?action=live&channel=0&quality=high` for a camera; the host means
    /// nothing. Any other `http://` or `https://` URL is that of a live stream that its viewers share.
    pub url: String,
    /// `productId`: checked against what the camera says. Empty: not checked.
    pub product_id: String,
    /// `deviceName`: checked too.
    pub device_name: String,
    /// `xp2pInfo`; not used for a stream that is shared.
    pub xp2p_info: String,
    /// `liveStreamDomain`, also known as `streamLiveDomain`: for streams of a server; kept, not used by this version.
    pub live_stream_domain: String,
}

/// Of which type a stream is; there is one of each per service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StreamKind {
    /// Live pictures or sound.
    Live,
    /// A recording.
    Playback,
}

impl StreamKind {
    /// Its word in a query: `action=...`.
    const fn action(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Playback => "playback",
        }
    }
}

/// A stream that runs.
#[derive(Debug)]
struct Running {
    key: StreamKey,
    hub: Hub,
    /// What a player's URL ends with.
    query: String,
}

#[derive(Debug, Default)]
pub(super) struct Inner {
    streams: BTreeMap<StreamKind, Running>,
    pub(super) startup: Startup,
    pub(super) voice: Option<Sender<()>>,
    pub(super) downloads: Vec<StreamKey>,
    /// How the connection stands: unknown, connected, over.
    connected: Option<Result<(), (ErrorCode, String)>>,
}

/// Where the pictures of a service come from.
#[derive(Debug, Clone)]
enum Link<R> {
    /// One camera.
    Camera(ViewerHandle<Spanned<R>>, ServiceId),
    /// A server, and those who watch the same.
    Shared(Shared<Spanned<R>>),
}

/// What a module lends to its services.
#[derive(Debug, Clone)]
pub(super) struct Lent<R> {
    pub(super) runtime: Spanned<R>,
    pub(super) viewer: ViewerHandle<Spanned<R>>,
    pub(super) players: Players,
    pub(super) shared: SharedConfig,
    pub(super) startup: Startup,
}

/// A service. Clones are the same one.
#[derive(Debug, Clone)]
pub struct Service<R> {
    pub(super) runtime: Spanned<R>,
    players: Players,
    begun: Instant,
    id: Arc<str>,
    info: Arc<StreamInfo>,
    link: Link<R>,
    inner: Arc<Mutex<Inner>>,
    events: Receiver<ServiceEvent>,
    ready: Receiver<()>,
}

impl<R: Runtime> Service<R> {
    pub(super) async fn start(lent: Lent<R>, id: &str, info: StreamInfo) -> Result<Self, ModuleError> {
        let Lent { runtime, viewer, players, shared, startup } = lent;
        let begun = runtime.now();
        if info.url.is_empty() {
            return Err(ModuleError::new(ErrorCode::Parameter, "the field url is missing in streamInfo"));
        }
        let inner = Arc::new(Mutex::new(Inner { startup, ..Inner::default() }));
        let (sender, events) = bounded(MAX_EVENTS);
        let (told, ready) = bounded(1);
        let link = match url::wanted(&info.url)? {
            Wanted::Shared(url) => Link::Shared(Shared::new(&runtime, shared, url, sender)?),
            Wanted::Camera(_) => {
                let started = viewer.connect(camera_of(&info)?).await;
                let started = started.map_err(|e| ModuleError::start(ErrorCode::StreamStartFailed, &e))?;
                let task = follow(runtime.clone(), begun, started.events, sender, inner.clone(), told);
                runtime.spawn(Box::pin(task));
                Link::Camera(viewer, started.id)
            }
        };
        let (id, info) = (id.into(), Arc::new(info));
        Ok(Self { runtime, players, begun, id, info, link, inner, events, ready })
    }

    pub(super) fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// The camera of the service, for `what` only a camera can be asked.
    pub(super) fn camera(&self, what: &str) -> Result<(&ViewerHandle<Spanned<R>>, ServiceId), ModuleError> {
        match &self.link {
            Link::Camera(viewer, service) => Ok((viewer, *service)),
            Link::Shared(_) => Err(ModuleError::new(
                ErrorCode::Unsupported,
                format!("{what} is for a camera, and this service is a stream that its viewers share"),
            )),
        }
    }

    /// Waits for the connection to a camera, and checks whose it is. A stream that is shared connects when it is started.
    pub(super) async fn connected(&self) -> Result<(), ModuleError> {
        if matches!(self.link, Link::Shared(_)) {
            return Ok(());
        }
        // Ends when the other end is dropped.
        let _ = self.ready.recv().await;
        match self.lock().connected.clone() {
            Some(Ok(())) => {}
            Some(Err((code, reason))) => return Err(ModuleError::new(code, reason)),
            None => return Err(ModuleError::new(ErrorCode::ServiceNotStarted, "the service was stopped")),
        }
        let (product, device) = (&self.info.product_id, &self.info.device_name);
        if product.is_empty() && device.is_empty() {
            return Ok(());
        }
        let outcome = self.send(BuiltIn::DeviceInfo.to_command(0), None).await?;
        let CommandOutcome::Success { data } = &outcome else {
            let text = format!("the camera did not tell who it is ({})", outcome.kind());
            return Err(ModuleError::new(ErrorCode::StreamStartFailed, text));
        };
        let said = DeviceInfo::parse(data)
            .map_err(|e| ModuleError::new(ErrorCode::StreamStartFailed, e.to_string()))?;
        let differs = |wanted: &str, said: &str| !wanted.is_empty() && wanted != said;
        if differs(product, &said.product_id) || differs(device, &said.device_name) {
            let text = format!(
                "the xp2pInfo is of {}/{}, but {product}/{device} is wanted",
                said.product_id, said.device_name
            );
            return Err(ModuleError::new(ErrorCode::Xp2pInfoInvalid, text));
        }
        let mut inner = self.lock();
        let connected = inner.startup.service.unwrap_or_default();
        inner.startup.check = Some(self.since_begin().saturating_sub(connected));
        Ok(())
    }

    fn since_begin(&self) -> Duration {
        self.runtime.now().saturating_duration_since(self.begun)
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// `updateServiceCallbacks`: its events, for whoever shall get them from now on. Those that nobody took are still
    /// there, up to 1,024.
    pub fn events(&self) -> Receiver<ServiceEvent> {
        self.events.clone()
    }

    pub(super) async fn close(&self) {
        self.lock().voice = None;
        self.players.remove(&self.id);
        match &self.link {
            // Fails only when the viewer is gone, which ends everything as well.
            Link::Camera(viewer, service) => drop(viewer.stop(*service).await),
            Link::Shared(shared) => shared.close().await,
        }
    }

    /// `startStream`: asks for what the URL says, or `flv` (`ipc.flv?action=...`) instead. Tags go to the hub; players
    /// find the stream under the URL that comes with it. A stream that is shared has nothing to choose but `action=live`.
    ///
    /// # Errors
    ///
    /// -2000 a parameter is wrong; -2004 a recording of a stream that is shared; -2401 a stream of this type runs; -2402 it
    /// could not be started; -2403 the service has ended.
    pub async fn start_stream(&self, flv: Option<&str>) -> Result<(StreamKind, Hub, String), ModuleError> {
        let request = match (&self.link, flv) {
            (Link::Shared(_), None) => Request::Live(Live::default()),
            (_, flv) => url::request(flv.unwrap_or(&self.info.url))?,
        };
        let kind = match &request {
            Request::Live(_) => StreamKind::Live,
            Request::Playback(_) => StreamKind::Playback,
            _ => {
                return Err(ModuleError::new(
                    ErrorCode::Parameter,
                    "that is no stream; say action=live or playback",
                ));
            }
        };
        if self.runs(kind) {
            return Err(runs_already());
        }
        let head = request.to_head()?;
        let (query, asked) = (head.params.to_string(), self.runtime.now());
        let (key, hub) = match (&self.link, request) {
            (Link::Camera(viewer, service), Request::Live(live)) => {
                let started = viewer.start_live(*service, live).await;
                started.map_err(|e| ModuleError::start(ErrorCode::StreamStartFailed, &e))?
            }
            (Link::Camera(viewer, service), Request::Playback(playback)) => {
                let started = viewer.start_playback(*service, playback).await;
                started.map_err(|e| ModuleError::start(ErrorCode::StreamStartFailed, &e))?
            }
            (Link::Shared(shared), Request::Live(_)) => {
                let news =
                    News { runtime: self.runtime.clone(), begun: self.begun, inner: self.inner.clone() };
                shared.start(news).await?
            }
            // Nothing else has a kind.
            _ => return Err(self.camera("a recording").err().unwrap_or_else(no_stream)),
        };
        let url = self.players.url(&self.id, &query);
        let taken = {
            let mut inner = self.lock();
            let taken = inner.streams.get(&kind).is_some_and(|s| !s.hub.is_ended());
            if !taken {
                inner.startup.start.get_or_insert(asked.saturating_duration_since(self.begun));
                inner.streams.insert(kind, Running { key, hub: hub.clone(), query });
            }
            taken
        };
        if taken {
            // Another task was faster.
            self.end_stream(key).await?;
            return Err(runs_already());
        }
        self.players.insert(&self.id, kind.action(), &hub);
        Ok((kind, hub, url))
    }

    /// `stopStream`. The connection to a camera stays; a stream that is shared leaves its viewers.
    ///
    /// # Errors
    ///
    /// -2002 the module was destroyed; -2403 there is no such stream.
    pub async fn stop_stream(&self, kind: StreamKind) -> Result<(), ModuleError> {
        let stream = self.lock().streams.remove(&kind).ok_or_else(no_stream)?;
        self.end_stream(stream.key).await
    }

    async fn end_stream(&self, key: StreamKey) -> Result<(), ModuleError> {
        match &self.link {
            Link::Camera(viewer, _) => viewer.stop_stream(key).await?,
            Link::Shared(shared) => shared.stop(key).await,
        }
        Ok(())
    }

    fn runs(&self, kind: StreamKind) -> bool {
        self.lock().streams.get(&kind).is_some_and(|s| !s.hub.is_ended())
    }

    /// Where players find a stream that runs; another place after a reset of the local server.
    ///
    /// # Errors
    ///
    /// -2403 there is no such stream.
    pub fn player_url(&self, kind: StreamKind) -> Result<String, ModuleError> {
        let inner = self.lock();
        let stream = inner.streams.get(&kind).ok_or_else(no_stream)?;
        Ok(self.players.url(&self.id, &stream.query))
    }

    /// Puts its streams into a local server that was reset.
    pub(super) fn serve_again(&self) {
        for (kind, stream) in &self.lock().streams {
            self.players.insert(&self.id, kind.action(), &stream.hub);
        }
    }

    /// `getStreamLinkMode`: how data comes at present. `None`: the connection is not there, or nobody else watches a stream
    /// that is shared; such viewers reach each other directly or not at all.
    ///
    /// # Errors
    ///
    /// -2002 the module was destroyed.
    pub async fn link_mode(&self) -> Result<Option<PathKind>, ModuleError> {
        match &self.link {
            Link::Camera(viewer, service) => {
                let service = *service;
                let paths = viewer.machine().call(move |viewer, _| viewer.paths(service)).await?;
                Ok(paths.iter().find(|p| p.selected).map(|p| p.kind))
            }
            Link::Shared(shared) => {
                Ok(shared.stats().await.filter(|s| s.peers > 0).map(|_| PathKind::Direct))
            }
        }
    }

    /// The sharing switch of one service; [`P2pModule::set_sharing`](super::P2pModule::set_sharing) is that of all. It has
    /// no meaning for a camera. When this returns after a stop, no further byte of the stream goes to another viewer.
    pub async fn set_sharing(&self, upload: bool, download: bool) {
        if let Link::Shared(shared) = &self.link {
            shared.set_sharing(upload, download).await;
        }
    }

    /// What a stream that is shared has done, and how it is. `None`: it does not run, or the service is one of a camera.
    pub async fn sharing(&self) -> Option<WatchStats> {
        match &self.link {
            Link::Camera(..) => None,
            Link::Shared(shared) => shared.stats().await,
        }
    }

    /// `getStreamBufSize`: bytes of a stream that wait for its slowest player.
    ///
    /// # Errors
    ///
    /// -2403 there is no such stream.
    pub fn stream_buf_size(&self, kind: StreamKind) -> Result<usize, ModuleError> {
        self.lock().streams.get(&kind).map(|s| s.hub.stats().queued).ok_or_else(no_stream)
    }

    /// All of the service as it is now, for the local server.
    pub(super) async fn stat(&self) -> Result<ServiceStat, Gone> {
        let stream = |(kind, running): (&StreamKind, &Running)| StatStream {
            action: kind.action(),
            key: running.key,
            hub: running.hub.clone(),
        };
        let streams: Vec<StatStream> = self.lock().streams.iter().map(stream).collect();
        match &self.link {
            Link::Camera(viewer, service) => viewer.stat(&self.id, *service, streams).await,
            Link::Shared(shared) => {
                let sharing = shared.stats().await.unwrap_or_default();
                let streams = streams.iter().map(|s| {
                    let hub = s.hub.stats();
                    (s.action, Some(self.stream_stats(&sharing, hub.tags)), hub)
                });
                let streams = streams.collect();
                Ok(ServiceStat {
                    id: self.id.to_string(),
                    streams,
                    sharing: Some(sharing),
                    ..ServiceStat::default()
                })
            }
        }
    }

    /// `/stat`: paths with their round-trip times, bytes by path, and counters of a stream. Of one that is shared: no
    /// paths, bytes of other viewers as direct ones, and counters.
    ///
    /// # Errors
    ///
    /// -2002 the module was destroyed; -2403 there is no such stream.
    pub async fn status(&self, kind: StreamKind) -> Result<ViewStatus, ModuleError> {
        let (key, hub) = {
            let inner = self.lock();
            inner.streams.get(&kind).map(|s| (s.key, s.hub.clone())).ok_or_else(no_stream)?
        };
        match &self.link {
            Link::Camera(viewer, _) => Ok(viewer.status(key).await?),
            Link::Shared(shared) => {
                let sharing = shared.stats().await.ok_or_else(no_stream)?;
                Ok(ViewStatus {
                    paths: Vec::new(),
                    totals: PathTotals {
                        direct_rx: sharing.p2p_bytes,
                        direct_tx: sharing.upload_bytes,
                        ..PathTotals::default()
                    },
                    stats: Some(self.stream_stats(&sharing, hub.stats().tags)),
                })
            }
        }
    }

    /// Counters of a shared stream in the words of one of a camera.
    fn stream_stats(&self, sharing: &WatchStats, tags: u64) -> StreamStats {
        let start = self.lock().startup.start.unwrap_or_default();
        let first = sharing.startup_ms.map(|ms| start + Duration::from_millis(ms));
        let received = ReceiverStats {
            bytes: sharing.p2p_bytes + sharing.origin_bytes,
            tags,
            keyframes: 0,
            skipped_gops: sharing.skips,
        };
        StreamStats { first_byte: first, first_keyframe: first, received }
    }

    /// How long each step up to the first picture of the live stream took.
    ///
    /// # Errors
    ///
    /// -2002 the module was destroyed.
    pub async fn startup(&self) -> Result<Startup, ModuleError> {
        let stats = match self.status(StreamKind::Live).await {
            Ok(status) => status.stats,
            Err(e) if e.code == ErrorCode::ServiceNotStarted => None,
            Err(e) => return Err(e),
        };
        let stats = stats.unwrap_or_default();
        Ok(Startup { data: stats.first_byte, keyframe: stats.first_keyframe, ..self.lock().startup })
    }
}

/// The xp2pInfo of a camera that this version can talk to.
fn camera_of(info: &StreamInfo) -> Result<Xp2pInfo, ModuleError> {
    if info.xp2p_info.is_empty() {
        return Err(ModuleError::new(
            ErrorCode::Xp2pInfoInvalid,
            "the field xp2pInfo is missing in streamInfo",
        ));
    }
    let xp2p = Xp2pInfo::parse(&info.xp2p_info).map_err(|e| ModuleError::new(e.code(), e.to_string()))?;
    xp2p.version().require(Feature::Live).map_err(|e| ModuleError::new(e.code(), e.to_string()))?;
    Ok(xp2p)
}

impl Inner {
    /// A stream is over.
    pub(super) fn forget(&mut self, key: StreamKey) {
        self.streams.retain(|_, running| running.key != key);
        self.downloads.retain(|download| *download != key);
    }
}

fn runs_already() -> ModuleError {
    ModuleError::new(
        ErrorCode::ServiceStartedTwice,
        "a stream of this type runs already; stop it first, then start the other on the same link",
    )
}

fn no_stream() -> ModuleError {
    ModuleError::new(ErrorCode::ServiceNotStarted, "no stream of this type runs")
}

/// Passes events on, and remembers what matters for the next call.
async fn follow<R: Runtime>(
    runtime: R,
    begun: Instant,
    from: Receiver<ServiceEvent>,
    to: Sender<ServiceEvent>,
    inner: Arc<Mutex<Inner>>,
    told: Sender<()>,
) {
    while let Ok(event) = from.recv().await {
        {
            let now = runtime.now().saturating_duration_since(begun);
            let mut inner = inner.lock().unwrap_or_else(|e| e.into_inner());
            match &event {
                ServiceEvent::Connected { .. } => {
                    inner.connected = Some(Ok(()));
                    inner.startup.service.get_or_insert(now);
                    told.close();
                }
                ServiceEvent::Disconnect { code, reason } => {
                    inner.connected = Some(Err((*code, reason.clone())));
                    inner.streams.clear();
                    told.close();
                }
                ServiceEvent::Parsed { .. } => {
                    inner.startup.header.get_or_insert(now);
                }
                ServiceEvent::Eof { stream } | ServiceEvent::Close { stream, .. } => {
                    inner.forget(*stream);
                }
                _ => {}
            }
        }
        // A full channel loses the oldest.
        let _ = to.force_send(event);
    }
}
