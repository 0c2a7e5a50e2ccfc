//! A service whose stream comes from a server, and from the others who watch it (1vN).

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::{Duration, Instant};

use async_channel::{Receiver, Sender};
use xp2p_proto::error::ErrorCode;
use xp2p_proto::info::ServerSpec;
use xp2p_proto::register::AppKey;
use xp2p_proto::request::{Headers, Reason};
use xp2p_proto::viewer::StreamKey;

use super::ModuleError;
use super::service::Inner;
use crate::origin::client::OriginConfig;
use crate::player::{Hub, Sharing};
use crate::runtime::{Runtime, sleep};
use crate::transit::meeting_place;
use crate::viewer::ServiceEvent;
use crate::watch::{WatchConfig, WatchEvent, WatchStats, Watcher};

/// How often it is looked whether something still comes.
const TICK: Duration = Duration::from_millis(500);

/// What a module knows for all its shared streams.
#[derive(Debug, Clone)]
pub(super) struct SharedConfig {
    /// Where viewers meet.
    pub(super) servers: Vec<ServerSpec>,
    pub(super) app_key: AppKey,
    pub(super) bind: SocketAddr,
    pub(super) port_mapping: bool,
    pub(super) origin: OriginConfig,
    pub(super) patience: Duration,
    pub(super) sharing: Sharing,
}

impl SharedConfig {
    /// The server at which those who watch `url` meet.
    fn tracker(&self, url: &str) -> Option<ServerSpec> {
        let url = url::Url::parse(url).ok()?;
        meeting_place(&self.servers, url.host_str()?)
    }
}

#[derive(Debug)]
struct Current<R> {
    watcher: Option<(StreamKey, Watcher<R>)>,
    /// Of the next stream.
    number: u64,
    /// The service was stopped.
    over: bool,
    sharing: Sharing,
}

/// The stream of one service. Clones are the same one.
#[derive(Debug, Clone)]
pub(super) struct Shared<R> {
    runtime: R,
    config: Arc<WatchConfig>,
    patience: Duration,
    current: Arc<Mutex<Current<R>>>,
    events: Sender<ServiceEvent>,
}

/// What the news of a stream are remembered in.
pub(super) struct News<R> {
    pub(super) runtime: R,
    pub(super) begun: Instant,
    pub(super) inner: Arc<Mutex<Inner>>,
}

impl<R: Runtime> Shared<R> {
    pub(super) fn new(
        runtime: &R,
        shared: SharedConfig,
        url: String,
        events: Sender<ServiceEvent>,
    ) -> Result<Self, ModuleError> {
        let tracker = shared.tracker(&url);
        let config = WatchConfig {
            app_key: Some(shared.app_key),
            bind: shared.bind,
            port_mapping: shared.port_mapping,
            origin: shared.origin,
            ..WatchConfig::new(url, tracker)
        };
        config.stream_id().map_err(|e| ModuleError::new(ErrorCode::Parameter, e.to_string()))?;
        let current = Current { watcher: None, number: 0, over: false, sharing: shared.sharing };
        Ok(Self {
            runtime: runtime.clone(),
            config: Arc::new(config),
            patience: shared.patience,
            current: Arc::new(Mutex::new(current)),
            events,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Current<R>> {
        lock(&self.current)
    }

    /// Begins to watch.
    pub(super) async fn start(&self, news: News<R>) -> Result<(StreamKey, Hub), ModuleError> {
        let (key, watcher) = {
            let mut current = self.lock();
            if current.over {
                return Err(ModuleError::new(ErrorCode::ServiceNotStarted, "the service was stopped"));
            }
            if current.watcher.is_some() {
                return Err(ModuleError::new(
                    ErrorCode::ServiceStartedTwice,
                    "the stream runs already; stop it first",
                ));
            }
            let Sharing { upload, download } = current.sharing;
            let config = WatchConfig { share: upload, use_peers: download, ..(*self.config).clone() };
            let watcher = Watcher::spawn(&self.runtime, config)
                .map_err(|e| ModuleError::new(ErrorCode::StreamStartFailed, e.to_string()))?;
            let key = StreamKey::foreign(current.number);
            current.number += 1;
            current.watcher = Some((key, watcher.clone()));
            (key, watcher)
        };
        let hub = watcher.hub().clone();
        let following = Following {
            news,
            key,
            hub: hub.clone(),
            patience: self.patience,
            current: Arc::downgrade(&self.current),
            events: self.events.clone(),
        };
        self.runtime.spawn(Box::pin(following.run(watcher.events())));
        Ok((key, hub))
    }

    /// Leaves, if `key` is what is watched.
    pub(super) async fn stop(&self, key: StreamKey) {
        stop(&self.current, key).await;
    }

    /// The service is over.
    pub(super) async fn close(&self) {
        let watcher = {
            let mut current = self.lock();
            current.over = true;
            current.watcher.take()
        };
        if let Some((_, watcher)) = watcher {
            watcher.close().await;
        }
    }

    pub(super) async fn set_sharing(&self, upload: bool, download: bool) {
        let watcher = {
            let mut current = self.lock();
            current.sharing = Sharing { upload, download };
            current.watcher.as_ref().map(|(_, watcher)| watcher.clone())
        };
        if let Some(watcher) = watcher {
            // They fail only while the stream ends, and then nothing is shared either.
            let _ = watcher.set_sharing(upload).await;
            let _ = watcher.set_use_peers(download).await;
        }
    }

    /// `None`: nothing is watched.
    pub(super) async fn stats(&self) -> Option<WatchStats> {
        let watcher = self.lock().watcher.as_ref().map(|(_, watcher)| watcher.clone())?;
        watcher.stats().await.ok()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing in here panics half-way, so what a poisoned lock holds is whole.
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

async fn stop<R: Runtime>(current: &Mutex<Current<R>>, key: StreamKey) {
    let watcher = lock(current).watcher.take_if(|(running, _)| *running == key);
    if let Some((_, watcher)) = watcher {
        watcher.close().await;
    }
}

/// Tells the news of a stream in the words of a service, and ends it when nothing comes any more.
struct Following<R> {
    news: News<R>,
    key: StreamKey,
    hub: Hub,
    patience: Duration,
    /// Weak, so that a service that is dropped ends.
    current: Weak<Mutex<Current<R>>>,
    events: Sender<ServiceEvent>,
}

/// What is known of a stream so far.
#[derive(Default)]
struct Known {
    connected: bool,
    /// The last status that was told.
    status: Option<u16>,
    /// Why the origin was last lost, and whether it had ended the stream in order.
    failure: Option<(String, bool)>,
}

impl<R: Runtime> Following<R> {
    fn tell(&self, event: ServiceEvent) {
        // A full channel loses the oldest.
        let _ = self.events.force_send(event);
    }

    async fn run(self, events: Receiver<WatchEvent>) {
        self.tell(ServiceEvent::Request { stream: self.key });
        let mut known = Known::default();
        let mut alive = (self.news.runtime.now(), 0);
        loop {
            let event = async { events.recv().await.ok() };
            let tick = async {
                sleep(&self.news.runtime, TICK).await;
                None
            };
            let event = futures_lite::future::or(event, tick).await;
            let Some(current) = self.current.upgrade() else { return };
            if lock(&current).watcher.as_ref().is_none_or(|(key, _)| *key != self.key) {
                return;
            }
            let mut refused = false;
            if let Some(event) = event {
                refused = matches!(event, WatchEvent::OriginFailed { status: Some(401 | 403), .. });
                self.handle(&mut known, event);
            }
            let (now, tags) = (self.news.runtime.now(), self.hub.stats().tags);
            if tags > alive.1 {
                alive = (now, tags);
            }
            if refused || now.saturating_duration_since(alive.0) > self.patience {
                return self.end(&current, known).await;
            }
        }
    }

    fn handle(&self, known: &mut Known, event: WatchEvent) {
        match event {
            WatchEvent::Tracked { .. } => self.connected(known),
            WatchEvent::ServerLost { reason } if std::mem::take(&mut known.connected) => {
                self.tell(ServiceEvent::Reconnecting(format!(
                    "the server where viewers meet: {reason}; the origin alone goes on"
                )));
            }
            WatchEvent::FirstPicture => {
                self.connected(known);
                self.parsed(known, 200, None);
            }
            WatchEvent::OriginFailed { reason, status, ended } => {
                if let Some(status) = status.filter(|_| known.status != Some(200)) {
                    self.parsed(known, status, Some(&reason));
                }
                known.failure = Some((reason, ended));
            }
            _ => {}
        }
    }

    fn connected(&self, known: &mut Known) {
        if !std::mem::replace(&mut known.connected, true) {
            let mut inner = lock(&self.news.inner);
            let now = self.news.runtime.now().saturating_duration_since(self.news.begun);
            inner.startup.service.get_or_insert(now);
            drop(inner);
            self.tell(ServiceEvent::Connected { rtt: Duration::ZERO });
        }
    }

    fn parsed(&self, known: &mut Known, status: u16, reason: Option<&str>) {
        if known.status.replace(status) == Some(status) {
            return;
        }
        let content_type = (status == 200).then(|| "video/x-flv".to_owned());
        let headers = Headers { reason: reason.map(Reason::new), content_type, ..Headers::default() };
        if status == 200 {
            let now = self.news.runtime.now().saturating_duration_since(self.news.begun);
            lock(&self.news.inner).startup.header.get_or_insert(now);
        }
        self.tell(ServiceEvent::Parsed { stream: self.key, status, headers: Box::new(headers) });
    }

    /// Nothing comes any more.
    async fn end(&self, current: &Mutex<Current<R>>, known: Known) {
        stop(current, self.key).await;
        lock(&self.news.inner).forget(self.key);
        let stream = self.key;
        let (reason, ended) = known.failure.unwrap_or_else(|| {
            ("neither the origin nor another viewer has sent anything for too long".to_owned(), false)
        });
        if ended {
            return self.tell(ServiceEvent::Eof { stream });
        }
        self.tell(ServiceEvent::Close { stream, reason: reason.clone() });
        self.tell(ServiceEvent::Disconnect { code: ErrorCode::StreamStartFailed, reason });
    }
}
