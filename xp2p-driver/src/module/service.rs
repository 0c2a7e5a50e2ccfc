//! One service: a camera or a stream that is shared, and what both have in common.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_channel::{Receiver, Sender, bounded};
use xp2p_proto::error::ErrorCode;
use xp2p_proto::info::{Feature, Xp2pInfo};
use xp2p_proto::request::{Live, Request};
use xp2p_proto::viewer::{ServiceId, StreamKey};

use super::ModuleError;
use super::answers::{self, Answers};
use super::elsewhere::Elsewhere;
use super::players::Players;
use super::shared::{News, Shared, SharedConfig};
use super::span::Spanned;
use super::startup::Startup;
use super::url::{self, Wanted};
use crate::player::Hub;
use crate::runtime::Runtime;
use crate::viewer::{ServiceEvent, ViewerHandle, is_full};

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
    /// `liveStreamDomain`, also known as `streamLiveDomain`: `HOST` or `HOST:PORT` where the live stream of a camera that has
    /// no room can be had, if the camera allows transit. Empty: nowhere.
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
    pub(super) const fn action(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Playback => "playback",
        }
    }
}

/// A stream that runs.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) key: StreamKey,
    pub(super) hub: Hub,
    /// What a player's URL ends with.
    query: String,
}

#[derive(Debug, Default)]
pub(super) struct Inner {
    pub(super) streams: BTreeMap<StreamKind, Running>,
    pub(super) startup: Startup,
    pub(super) voice: Option<Sender<()>>,
    pub(super) downloads: Vec<StreamKey>,
    pub(super) answers: Answers,
    /// How the connection stands: unknown, connected, over.
    pub(super) connected: Option<Result<(), (ErrorCode, String)>>,
}

/// Where the pictures of a service come from.
#[derive(Debug, Clone)]
pub(super) enum Link<R> {
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
    pub(super) id: Arc<str>,
    info: Arc<StreamInfo>,
    link: Arc<Mutex<Link<R>>>,
    /// Where the stream of a camera can be had when the camera has no room.
    elsewhere: Option<Arc<Elsewhere>>,
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
        let mut elsewhere = None;
        let link = match url::wanted(&info.url)? {
            Wanted::Shared(url) => Link::Shared(Shared::new(&runtime, shared, url, sender)?),
            Wanted::Camera(_) => {
                let camera = camera_of(&info)?;
                elsewhere = Elsewhere::of(&info, &camera, shared, &sender)?.map(Arc::new);
                let started = viewer.connect(camera).await;
                let started = started.map_err(|e| ModuleError::start(ErrorCode::StreamStartFailed, &e))?;
                let task = follow(runtime.clone(), begun, started.events, sender, inner.clone(), told);
                runtime.spawn(Box::pin(task));
                Link::Camera(viewer, started.id)
            }
        };
        let (id, info, link) = (id.into(), Arc::new(info), Arc::new(Mutex::new(link)));
        Ok(Self { runtime, players, begun, id, info, link, elsewhere, inner, events, ready })
    }

    pub(super) fn link(&self) -> Link<R> {
        self.link.lock().unwrap_or_else(|e| e.into_inner()).clone()
    }

    pub(super) fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// The camera of the service, for `what` only a camera can be asked.
    pub(super) fn camera(&self, what: &str) -> Result<(ViewerHandle<Spanned<R>>, ServiceId), ModuleError> {
        match self.link() {
            Link::Camera(viewer, service) => Ok((viewer, service)),
            Link::Shared(_) => Err(ModuleError::new(
                ErrorCode::Unsupported,
                format!("{what} is for a camera, and this service is a stream that its viewers share"),
            )),
        }
    }

    /// Waits for the connection to a camera, and checks whose it is. A stream that is shared connects when it is started.
    pub(super) async fn connected(&self) -> Result<(), ModuleError> {
        let Link::Camera(viewer, service) = self.link() else { return Ok(()) };
        // Ends when the other end is dropped.
        let _ = self.ready.recv().await;
        match self.lock().connected.clone() {
            Some(Ok(())) => {}
            Some(Err((code, reason))) => return Err(ModuleError::new(code, reason)),
            None => return Err(ModuleError::new(ErrorCode::ServiceNotStarted, "the service was stopped")),
        }
        let (product, device) = (&self.info.product_id, &self.info.device_name);
        if product.is_empty() && device.is_empty() {
            return self.find_room(&viewer, service).await;
        }
        let code = match self.elsewhere {
            Some(_) => ErrorCode::DeviceStatusFailed,
            None => ErrorCode::StreamStartFailed,
        };
        let said = viewer.device_info(service).await.map_err(|e| ModuleError::ask(code, &e))?;
        let differs = |wanted: &str, said: &str| !wanted.is_empty() && wanted != said;
        if differs(product, &said.product_id) || differs(device, &said.device_name) {
            let text = format!(
                "the xp2pInfo is of {}/{}, but {product}/{device} is wanted",
                said.product_id, said.device_name
            );
            return Err(ModuleError::new(ErrorCode::Xp2pInfoInvalid, text));
        }
        {
            let mut inner = self.lock();
            let connected = inner.startup.service.unwrap_or_default();
            inner.startup.check = Some(self.since_begin().saturating_sub(connected));
        }
        self.find_room(&viewer, service).await
    }

    /// Goes elsewhere if the camera says that it has no room for its live stream.
    async fn find_room(
        &self,
        viewer: &ViewerHandle<Spanned<R>>,
        service: ServiceId,
    ) -> Result<(), ModuleError> {
        let Some(elsewhere) = &self.elsewhere else { return Ok(()) };
        let Request::Live(live) = url::request(&self.info.url)? else { return Ok(()) };
        match viewer.has_room(service, &live).await {
            Ok(true) => Ok(()),
            Ok(false) => self.go(elsewhere, viewer, service).await,
            Err(e) => Err(ModuleError::ask(ErrorCode::DeviceStatusFailed, &e)),
        }
    }

    /// The stream comes from a server from now on.
    async fn go(
        &self,
        elsewhere: &Elsewhere,
        viewer: &ViewerHandle<Spanned<R>>,
        service: ServiceId,
    ) -> Result<(), ModuleError> {
        let said = viewer.device_info(service).await;
        let said = said.map_err(|e| ModuleError::ask(ErrorCode::DeviceStatusFailed, &e))?;
        let shared = elsewhere.stream(&self.runtime, &said)?;
        tracing::info!(
            id = &*self.id,
            "the camera has no room; its stream comes from {}",
            elsewhere.domain()
        );
        *self.link.lock().unwrap_or_else(|e| e.into_inner()) = Link::Shared(shared);
        viewer.stop(service).await?;
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
        match &self.link() {
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
        let request = match (self.link(), flv) {
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
        let (key, hub) = self.begin(request).await?;
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

    async fn begin(&self, request: Request) -> Result<(StreamKey, Hub), ModuleError> {
        let failed = |e| ModuleError::start(ErrorCode::StreamStartFailed, &e);
        match (self.link(), request) {
            (Link::Camera(viewer, service), Request::Live(live)) => {
                let (key, hub) = viewer.start_live(service, live).await.map_err(failed)?;
                let Some(elsewhere) = &self.elsewhere else { return Ok((key, hub)) };
                // Others may have been faster since it was asked.
                if !answers::answer(&self.inner, key).await.is_some_and(is_full) {
                    return Ok((key, hub));
                }
                self.go(elsewhere, &viewer, service).await?;
                self.begin_shared().await
            }
            (Link::Camera(viewer, service), Request::Playback(playback)) => {
                viewer.start_playback(service, playback).await.map_err(failed)
            }
            (Link::Shared(_), Request::Live(_)) => self.begin_shared().await,
            // Nothing else is a stream.
            _ => Err(self.camera("a recording").err().unwrap_or_else(no_stream)),
        }
    }

    async fn begin_shared(&self) -> Result<(StreamKey, Hub), ModuleError> {
        let Link::Shared(shared) = self.link() else { return Err(no_stream()) };
        let news = News { runtime: self.runtime.clone(), begun: self.begun, inner: self.inner.clone() };
        shared.start(news).await
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
        match &self.link() {
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

pub(super) fn no_stream() -> ModuleError {
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
                    inner.answers.over();
                    told.close();
                }
                ServiceEvent::Parsed { stream, status, .. } => {
                    inner.startup.header.get_or_insert(now);
                    inner.answers.came(*stream, Some(*status));
                }
                ServiceEvent::Eof { stream } | ServiceEvent::Close { stream, .. } => {
                    inner.forget(*stream);
                    inner.answers.came(*stream, None);
                }
                _ => {}
            }
        }
        // A full channel loses the oldest.
        let _ = to.force_send(event);
    }
}
