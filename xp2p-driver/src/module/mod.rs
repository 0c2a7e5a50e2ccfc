//! The viewer side under the names of the plug-ins: [`P2pModule`] with its life cycle, services by id, and the
//! documented codes. `docs/API.md` maps it call by call.

mod answers;
mod conversation;
mod elsewhere;
mod error;
mod feature;
mod numbers;
mod params;
mod players;
mod probing;
mod service;
mod shared;
mod span;
mod startup;
mod stat;
mod url;
mod voice;

pub use self::conversation::VoiceWriter;
pub use self::error::ModuleError;
pub use self::params::AppParams;
pub use self::service::{Service, StreamInfo, StreamKind};
pub use self::startup::Startup;
pub use self::voice::{Recorded, Recorder, VoiceEvent, VoiceOptions};

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use async_channel::{Receiver, Sender, bounded};
use data_encoding::HEXLOWER;
use tracing::Instrument as _;
use xp2p_proto::error::ErrorCode;
use xp2p_proto::keys::SecretKey;
use xp2p_proto::link::Entropy;
use xp2p_proto::nat::NatReport;
use xp2p_proto::register::AppKey;
use xp2p_proto::viewer::ViewerConfig;

use self::players::Players;
use self::probing::Probing;
use self::service::Lent;
use self::shared::SharedConfig;
use self::span::Spanned;
pub use crate::player::PlayerEvent;
use crate::player::{Hub, PlayerConfig, Sharing};
use crate::runtime::Runtime;
use crate::viewer::ViewerHandle;

/// News that waits for the application; the oldest is lost then.
const MAX_EVENTS: usize = 256;

/// News of the module.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ModuleEvent {
    /// `natChanged`: what the network does to UDP.
    NatChanged(Box<NatReport>),
    /// `natError`: it could not be found out.
    NatError {
        /// The documented code.
        errcode: ErrorCode,
        /// Why.
        errmsg: String,
    },
}

struct Running<R> {
    viewer: ViewerHandle<Spanned<R>>,
    players: Players,
    probe_server: Option<SocketAddr>,
    startup: Startup,
    shared: SharedConfig,
    services: BTreeMap<String, Service<R>>,
    /// Closed when this is dropped: ends the watch over the network.
    _watch: Sender<()>,
}

enum State<R> {
    Idle,
    /// With the number of the `init`.
    Starting(u64),
    Running(Box<Running<R>>),
}

/// An `init` under way.
struct Attempt<'a, R> {
    state: &'a Mutex<State<R>>,
    number: u64,
}

impl<R> Drop for Attempt<'_, R> {
    fn drop(&mut self) {
        let mut state = self.state.lock().unwrap_or_else(|e| e.into_inner());
        if matches!(*state, State::Starting(number) if number == self.number) {
            *state = State::Idle;
        }
    }
}

/// The module: one viewer, its local server for players, and services by id. Clones are the same one.
#[derive(Clone)]
pub struct P2pModule<R> {
    runtime: Spanned<R>,
    state: Arc<Mutex<State<R>>>,
    probing: Probing<Spanned<R>>,
    events: Receiver<ModuleEvent>,
    player_news: Sender<PlayerEvent>,
    player_events: Receiver<PlayerEvent>,
    inits: Arc<AtomicU64>,
}

impl<R> std::fmt::Debug for P2pModule<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("P2pModule").field("uuid", &self.runtime.uuid()).finish_non_exhaustive()
    }
}

impl<R: Runtime> P2pModule<R> {
    /// A module that is not initialised.
    ///
    /// # Errors
    ///
    /// The system gives no randomness.
    pub fn new(runtime: R) -> std::io::Result<Self> {
        let uuid = HEXLOWER.encode(&runtime.random::<16>()?).into();
        let runtime = Spanned::new(runtime, uuid);
        let (news, events) = bounded(MAX_EVENTS);
        let state = Arc::new(Mutex::new(State::Idle));
        let (player_news, player_events) = bounded(MAX_EVENTS);
        let probing = Probing::new(runtime.clone(), news);
        let inits = Arc::default();
        Ok(Self { runtime, state, probing, events, player_news, player_events, inits })
    }

    /// `getUUID`: names this module in logs, as the field `uuid` of the span `p2p` around all that it starts; there
    /// before `init` and after it failed.
    pub fn uuid(&self) -> &str {
        self.runtime.uuid()
    }

    /// News of the module; nothing is lost between making it and the first event, up to 256 of them.
    pub fn events(&self) -> Receiver<ModuleEvent> {
        self.events.clone()
    }

    /// News of the local server for players, up to 256 that nobody has taken.
    pub fn player_events(&self) -> Receiver<PlayerEvent> {
        self.player_events.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State<R>> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// `init`: starts the module and probes the network.
    ///
    /// # Errors
    ///
    /// -2000 a field is missing; -2003 it runs already; -2201 another `init` or `reset` probes; -2202 the probe
    /// failed; -2301 the local server could not be started; -2404 there is no UDP socket.
    pub async fn init(&self, params: AppParams) -> Result<(), ModuleError> {
        params.check()?;
        self.init_once(&params).instrument(self.runtime.span()).await
    }

    async fn init_once(&self, params: &AppParams) -> Result<(), ModuleError> {
        let number = self.inits.fetch_add(1, Ordering::Relaxed);
        {
            let mut state = self.lock();
            match *state {
                State::Running(_) => {
                    return Err(ModuleError::new(
                        ErrorCode::ModuleStartedTwice,
                        "the module runs already; destroy it first",
                    ));
                }
                State::Starting(_) => {
                    return Err(ModuleError::new(
                        ErrorCode::ProbeRunning,
                        "another init is probing the network; wait for it",
                    ));
                }
                State::Idle => *state = State::Starting(number),
            }
        }
        tracing::info!("init");
        // Dropped while it waits, it must not keep others from trying.
        let _attempt = Attempt { state: &self.state, number };
        let started = self.start(params).await;
        let unwanted = {
            let mut state = self.lock();
            let wanted = matches!(*state, State::Starting(n) if n == number);
            match started {
                Ok(running) if wanted => {
                    *state = State::Running(Box::new(running));
                    return Ok(());
                }
                Ok(running) => running,
                Err(e) => {
                    if wanted {
                        *state = State::Idle;
                    }
                    tracing::error!("init failed: {e}");
                    return Err(e);
                }
            }
        };
        unwanted.viewer.shutdown().await;
        Err(ModuleError::new(ErrorCode::NotInitialised, "the module was destroyed while it started"))
    }

    async fn start(&self, params: &AppParams) -> Result<Running<R>, ModuleError> {
        let begun = self.runtime.now();
        let config = PlayerConfig {
            stat: Some(stat::source(&self.state)),
            feature: Some(feature::switch(&self.state)),
            ..PlayerConfig::new(params.player)
        };
        let players = Players::bind(&self.runtime, config, self.player_news.clone()).map_err(local_server)?;
        let player = self.runtime.now().saturating_duration_since(begun);
        let environment =
            |e: std::io::Error| ModuleError::new(ErrorCode::EnvironmentUnsupported, e.to_string());
        let secret = SecretKey::from_bytes(self.runtime.random().map_err(environment)?);
        let entropy = Entropy::from_os(self.runtime.random().map_err(environment)?);
        let config = ViewerConfig {
            patience: params.patience,
            lan: params.lan,
            port_mapping: params.port_mapping,
            ..ViewerConfig::new(secret, entropy)
        };
        let viewer = ViewerHandle::spawn(&self.runtime, params.bind, config).map_err(environment)?;
        if let Some(server) = params.probe_server
            && let Err(e) = self.probing.probe(server).await
        {
            viewer.shutdown().await;
            return Err(e);
        }
        let (watch, watched) = bounded(1);
        if let Some(server) = params.probe_server {
            self.runtime.spawn(Box::pin(self.probing.clone().watch(server, params.bind, watched)));
        }
        let init = self.runtime.now().saturating_duration_since(begun).saturating_sub(player);
        let startup = Startup { player: Some(player), init: Some(init), ..Startup::default() };
        Ok(Running {
            viewer,
            players,
            probe_server: params.probe_server,
            startup,
            shared: SharedConfig {
                servers: params.servers.clone(),
                app_key: AppKey::new(&params.app_key, &params.app_secret_key),
                bind: params.bind,
                port_mapping: params.port_mapping,
                origin: params.origin.clone(),
                patience: params.patience,
                sharing: Sharing::default(),
            },
            services: BTreeMap::new(),
            _watch: watch,
        })
    }

    /// `resetP2P`: probes the network again and lets all services look for a better way.
    ///
    /// # Errors
    ///
    /// -2002 it is not initialised; -2201 a probe is running; -2202 the probe failed.
    pub async fn reset_p2p(&self) -> Result<(), ModuleError> {
        let (viewer, server) = self.running(|r| (r.viewer.clone(), r.probe_server))?;
        let reset = async {
            tracing::info!("reset");
            viewer.machine().call(|viewer, now| viewer.network_changed(now)).await?;
            match server {
                Some(server) => self.probing.probe(server).await,
                None => Ok(()),
            }
        };
        reset.instrument(self.runtime.span()).await
    }

    /// `destroy`: ends everything. `init` may be called again.
    pub async fn destroy(&self) {
        let before = std::mem::replace(&mut *self.lock(), State::Idle);
        if let State::Running(running) = before {
            for service in running.services.values() {
                service.close().await;
            }
            running.viewer.shutdown().instrument(self.runtime.span()).await;
        }
    }

    /// Whether trying again can help (`check_can_retry`): not if `init` failed or was not called, the local server
    /// needs a reset, or the last probe found no network. [`check_reset`](Self::check_reset) mends the latter two.
    pub fn check_can_retry(&self) -> bool {
        let server_works = self.running(|r| !r.players.has_failed()).unwrap_or(false);
        server_works && !self.probing.has_failed()
    }

    /// `check_reset`, to be called on entering and leaving a page: resets what has failed, the local server
    /// ([`Service::player_url`] tells the new URLs) and the probe. Returns whether anything was reset.
    ///
    /// # Errors
    ///
    /// -2002 it is not initialised; -2201 a probe is running; -2202 the probe failed; -2301 the local server could not
    /// be started.
    pub async fn check_reset(&self) -> Result<bool, ModuleError> {
        let server_failed = self.running(|r| r.players.has_failed())?;
        if server_failed {
            self.reset_player()?;
        }
        let probe_failed = self.probing.has_failed();
        if probe_failed {
            self.reset_p2p().await?;
        }
        Ok(server_failed || probe_failed)
    }

    /// Resets the local server for players: a new one, on a free port. Streams go on under new URLs
    /// ([`Service::player_url`]).
    ///
    /// # Errors
    ///
    /// -2002 it is not initialised; -2301 it could not be started.
    pub fn reset_player(&self) -> Result<(), ModuleError> {
        let (players, services) =
            self.running(|r| (r.players.clone(), r.services.values().cloned().collect::<Vec<_>>()))?;
        players.reset(&self.runtime).map_err(local_server)?;
        services.iter().for_each(Service::serve_again);
        Ok(())
    }

    /// Where the local server tells the numbers of all services (`/stat`); another place after a reset.
    ///
    /// # Errors
    ///
    /// -2002 it is not initialised.
    pub fn stat_url(&self) -> Result<String, ModuleError> {
        self.running(|r| r.players.stat_url())
    }

    /// Where players connect to.
    ///
    /// # Errors
    ///
    /// -2002 it is not initialised.
    pub fn player_addr(&self) -> Result<SocketAddr, ModuleError> {
        self.running(|r| r.players.local_addr())
    }

    /// `startP2PService`: begins to connect to a camera, and waits until it has proven its key. A stream that its viewers share
    /// (the URL is that of a server) is only looked at; it connects when it is started.
    ///
    /// # Errors
    ///
    /// -2000 a field is missing or the URL is wrong; -2001 the xp2pInfo is invalid or of another device; -2002 not
    /// initialised; -2005 the device is too old; -2401 there is a service of this id; -2402 the camera cannot be reached;
    /// -2403 it was stopped meanwhile; -2501 / -2502 the encryption failed; -2801 there is a `liveStreamDomain`, and the
    /// camera does not say whether it has room.
    pub async fn start_p2p_service(&self, id: &str, info: StreamInfo) -> Result<Service<R>, ModuleError> {
        if id.is_empty() {
            return Err(ModuleError::new(ErrorCode::Parameter, "the id of the service is empty"));
        }
        self.start_service(id, info).instrument(self.runtime.span()).await
    }

    async fn start_service(&self, id: &str, info: StreamInfo) -> Result<Service<R>, ModuleError> {
        let lent = self.running(|r| Lent {
            runtime: self.runtime.clone(),
            viewer: r.viewer.clone(),
            players: r.players.clone(),
            shared: r.shared.clone(),
            startup: r.startup,
        })?;
        let twice = || {
            ModuleError::new(ErrorCode::ServiceStartedTwice, format!("the service {id} was started already"))
        };
        if self.running(|r| r.services.contains_key(id))? {
            return Err(twice());
        }
        let service = Service::start(lent, id, info).await?;
        let known = self.running(|r| {
            let free = !r.services.contains_key(id);
            if free {
                r.services.insert(id.to_owned(), service.clone());
            }
            free
        })?;
        if !known {
            service.close().await;
            return Err(twice());
        }
        tracing::info!(id, "service");
        if let Err(e) = service.connected().await {
            if let Err(gone) = self.stop_p2p_service(id).await {
                tracing::debug!(id, "stopped meanwhile: {gone}");
            }
            return Err(e);
        }
        Ok(service)
    }

    /// `startP2PService` with a data callback: starts the stream of the URL as well.
    ///
    /// # Errors
    ///
    /// Those of [`start_p2p_service`](Self::start_p2p_service) and [`Service::start_stream`]; the service is stopped
    /// then.
    pub async fn start_p2p_service_with_stream(
        &self,
        id: &str,
        info: StreamInfo,
    ) -> Result<(Service<R>, StreamKind, Hub, String), ModuleError> {
        let service = self.start_p2p_service(id, info).await?;
        match service.start_stream(None).await {
            Ok((kind, hub, url)) => Ok((service, kind, hub, url)),
            Err(e) => {
                self.stop_p2p_service(id).await?;
                Err(e)
            }
        }
    }

    /// `stopP2PService`: ends the service with its streams, talk and downloads.
    ///
    /// # Errors
    ///
    /// -2002, -2403.
    pub async fn stop_p2p_service(&self, id: &str) -> Result<(), ModuleError> {
        let service = self.running(|r| r.services.remove(id))?.ok_or_else(|| no_service(id))?;
        service.close().instrument(self.runtime.span()).await;
        Ok(())
    }

    /// The service of an id; all other calls are its methods.
    ///
    /// # Errors
    ///
    /// -2002 not initialised; -2403 there is none.
    pub fn service(&self, id: &str) -> Result<Service<R>, ModuleError> {
        self.running(|r| r.services.get(id).cloned())?.ok_or_else(|| no_service(id))
    }

    /// The sharing switch of all streams that are shared, those to come included: whether to pass on (`upload`) and whether to
    /// take from others (`download`, off for whoever pays for each byte twice). Nothing restarts; when this returns after
    /// `upload` was switched off, no further byte of a stream goes to another viewer.
    ///
    /// # Errors
    ///
    /// -2002 it is not initialised.
    pub async fn set_sharing(&self, upload: bool, download: bool) -> Result<(), ModuleError> {
        let services = self.running(|r| {
            r.shared.sharing = Sharing { upload, download };
            r.services.values().cloned().collect::<Vec<_>>()
        })?;
        for service in services {
            service.set_sharing(upload, download).await;
        }
        Ok(())
    }

    /// Where the local server takes the same as [`set_sharing`](Self::set_sharing): `?upload=on|off&download=on|off` behind it;
    /// another place after a reset.
    ///
    /// # Errors
    ///
    /// -2002 it is not initialised.
    pub fn feature_url(&self) -> Result<String, ModuleError> {
        self.running(|r| r.players.feature_url())
    }

    fn running<T>(&self, get: impl FnOnce(&mut Running<R>) -> T) -> Result<T, ModuleError> {
        match &mut *self.lock() {
            State::Running(running) => Ok(get(running)),
            _ => Err(ModuleError::new(
                ErrorCode::NotInitialised,
                "the module is not initialised; call init first",
            )),
        }
    }
}

fn local_server(error: std::io::Error) -> ModuleError {
    ModuleError::new(ErrorCode::LocalServer, format!("the local server: {error}"))
}

fn no_service(id: &str) -> ModuleError {
    ModuleError::new(ErrorCode::ServiceNotStarted, format!("there is no service {id}; start it first"))
}
