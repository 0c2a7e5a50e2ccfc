//! The viewer side under the names of the plug-ins: [`P2pModule`] with its life cycle, services by id, and the
//! documented codes. `docs/API.md` maps it call by call.

mod error;
mod service;
mod url;
mod voice;

pub use self::error::ModuleError;
pub use self::service::{Service, StreamInfo, StreamKind, VoiceWriter};
pub use self::voice::{Recorded, Recorder, VoiceEvent, VoiceOptions};

use std::collections::BTreeMap;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};

use async_channel::{Receiver, Sender, bounded};
use data_encoding::HEXLOWER;
use xp2p_proto::error::ErrorCode;
use xp2p_proto::keys::SecretKey;
use xp2p_proto::link::Entropy;
use xp2p_proto::nat::NatReport;
use xp2p_proto::viewer::ViewerConfig;

use crate::player::{PlayerConfig, PlayerServer};
use crate::probe::probe;
use crate::runtime::Runtime;
use crate::viewer::ViewerHandle;

/// What `init` needs: the plug-ins' `appParams`, and ours.
#[derive(Debug, Clone)]
pub struct AppParams {
    /// `appid`.
    pub appid: String,
    /// `appOauthId`.
    pub app_oauth_id: String,
    /// `appKey`.
    pub app_key: String,
    /// `appSecretKey`.
    pub app_secret_key: String,
    /// `appPackage`.
    pub app_package: String,
    /// The server that the network is probed with. `None`: it is not probed.
    pub probe_server: Option<SocketAddr>,
    /// UDP address to use. Any by default.
    pub bind: SocketAddr,
    /// Where players connect to. A free port on loopback by default.
    pub player: SocketAddr,
}

impl AppParams {
    /// The five documented fields, and the defaults of ours.
    pub fn new(
        appid: &str,
        app_oauth_id: &str,
        app_key: &str,
        app_secret_key: &str,
        app_package: &str,
    ) -> Self {
        Self {
            appid: appid.to_owned(),
            app_oauth_id: app_oauth_id.to_owned(),
            app_key: app_key.to_owned(),
            app_secret_key: app_secret_key.to_owned(),
            app_package: app_package.to_owned(),
            probe_server: None,
            bind: SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 0),
            player: SocketAddr::from(([127, 0, 0, 1], 0)),
        }
    }

    fn check(&self) -> Result<(), ModuleError> {
        let fields = [
            ("appid", &self.appid),
            ("appOauthId", &self.app_oauth_id),
            ("appKey", &self.app_key),
            ("appSecretKey", &self.app_secret_key),
            ("appPackage", &self.app_package),
        ];
        match fields.iter().find(|(_, value)| value.is_empty()) {
            Some((name, _)) => Err(ModuleError::new(
                ErrorCode::Parameter,
                format!("the field {name} is missing in appParams"),
            )),
            None => Ok(()),
        }
    }
}

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
    viewer: ViewerHandle<R>,
    players: PlayerServer,
    probe_server: Option<SocketAddr>,
    services: BTreeMap<String, Service<R>>,
}

enum State<R> {
    Idle,
    Starting,
    Running(Box<Running<R>>),
}

/// The module: one viewer, its local server for players, and services by id. Clones are the same one.
#[derive(Clone)]
pub struct P2pModule<R> {
    runtime: R,
    uuid: Arc<str>,
    state: Arc<Mutex<State<R>>>,
    probing: Arc<Mutex<bool>>,
    news: Sender<ModuleEvent>,
    events: Receiver<ModuleEvent>,
}

impl<R> std::fmt::Debug for P2pModule<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("P2pModule").field("uuid", &self.uuid).finish_non_exhaustive()
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
        let (news, events) = bounded(64);
        let state = Arc::new(Mutex::new(State::Idle));
        Ok(Self { runtime, uuid, state, probing: Arc::default(), news, events })
    }

    /// `getUUID`: names this module in logs; there before `init` and after it failed.
    pub fn uuid(&self) -> &str {
        &self.uuid
    }

    /// News of the module; nothing is lost between making it and the first event, up to 64 of them.
    pub fn events(&self) -> Receiver<ModuleEvent> {
        self.events.clone()
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
        {
            let mut state = self.lock();
            match *state {
                State::Running(_) => {
                    return Err(ModuleError::new(
                        ErrorCode::ModuleStartedTwice,
                        "the module runs already; destroy it first",
                    ));
                }
                State::Starting => {
                    return Err(ModuleError::new(
                        ErrorCode::ProbeRunning,
                        "another init is probing the network; wait for it",
                    ));
                }
                State::Idle => *state = State::Starting,
            }
        }
        tracing::info!(uuid = &*self.uuid, "init");
        let started = self.start(&params).await;
        let mut state = self.lock();
        match started {
            Ok(running) => {
                *state = State::Running(Box::new(running));
                Ok(())
            }
            Err(e) => {
                *state = State::Idle;
                tracing::error!(uuid = &*self.uuid, "init failed: {e}");
                Err(e)
            }
        }
    }

    async fn start(&self, params: &AppParams) -> Result<Running<R>, ModuleError> {
        let players = PlayerServer::bind(&self.runtime, PlayerConfig::new(params.player))
            .map_err(|e| ModuleError::new(ErrorCode::LocalServer, format!("the local server: {e}")))?;
        let environment =
            |e: std::io::Error| ModuleError::new(ErrorCode::EnvironmentUnsupported, e.to_string());
        let secret = SecretKey::from_bytes(self.runtime.random().map_err(environment)?);
        let entropy = Entropy::from_os(self.runtime.random().map_err(environment)?);
        let viewer = ViewerHandle::spawn(&self.runtime, params.bind, ViewerConfig::new(secret, entropy))
            .map_err(environment)?;
        if let Some(server) = params.probe_server
            && let Err(e) = self.probe(server).await
        {
            viewer.shutdown().await;
            return Err(e);
        }
        Ok(Running { viewer, players, probe_server: params.probe_server, services: BTreeMap::new() })
    }

    async fn probe(&self, server: SocketAddr) -> Result<(), ModuleError> {
        if std::mem::replace(&mut *self.probing.lock().unwrap_or_else(|e| e.into_inner()), true) {
            return Err(ModuleError::new(ErrorCode::ProbeRunning, "a probe is running already; wait for it"));
        }
        let result = probe(&self.runtime, server).await;
        *self.probing.lock().unwrap_or_else(|e| e.into_inner()) = false;
        let failed = match result {
            Ok(report) if !report.is_blocked() => {
                // A full channel loses the oldest.
                let _ = self.news.force_send(ModuleEvent::NatChanged(Box::new(report)));
                return Ok(());
            }
            Ok(report) => format!("the server {server} did not answer: {}", report.advice()),
            Err(e) => e.to_string(),
        };
        let errcode = ErrorCode::ProbeFailed;
        let _ = self.news.force_send(ModuleEvent::NatError { errcode, errmsg: failed.clone() });
        Err(ModuleError::new(errcode, failed))
    }

    /// `resetP2P`: probes the network again and lets all services look for a better way.
    ///
    /// # Errors
    ///
    /// -2002 it is not initialised; -2201 a probe is running; -2202 the probe failed.
    pub async fn reset_p2p(&self) -> Result<(), ModuleError> {
        let (viewer, server) = self.running(|r| (r.viewer.clone(), r.probe_server))?;
        viewer.machine().call(|viewer, now| viewer.network_changed(now)).await?;
        match server {
            Some(server) => self.probe(server).await,
            None => Ok(()),
        }
    }

    /// `destroy`: ends everything. `init` may be called again.
    pub async fn destroy(&self) {
        let before = std::mem::replace(&mut *self.lock(), State::Idle);
        if let State::Running(running) = before {
            running.viewer.shutdown().await;
        }
    }

    /// Whether trying again can help (`check_can_retry`): not before `init`.
    pub fn check_can_retry(&self) -> bool {
        matches!(*self.lock(), State::Running(_))
    }

    /// `startP2PService`: begins to connect to a camera, and waits until it has proven its key.
    ///
    /// # Errors
    ///
    /// -2000 a field is missing or the URL is wrong; -2001 the xp2pInfo is invalid or of another device; -2002 not
    /// initialised; -2004 the URL is one of a server; -2005 the device is too old; -2401 there is a service of this
    /// id; -2402 the camera cannot be reached; -2403 it was stopped meanwhile.
    pub async fn start_p2p_service(&self, id: &str, info: StreamInfo) -> Result<Service<R>, ModuleError> {
        if id.is_empty() {
            return Err(ModuleError::new(ErrorCode::Parameter, "the id of the service is empty"));
        }
        let (viewer, players) = self.running(|r| (r.viewer.clone(), r.players.clone()))?;
        let twice = || {
            ModuleError::new(ErrorCode::ServiceStartedTwice, format!("the service {id} was started already"))
        };
        if self.running(|r| r.services.contains_key(id))? {
            return Err(twice());
        }
        let service = Service::start(self.runtime.clone(), viewer, players, id, info).await?;
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
        if let Err(e) = service.connected().await {
            self.stop_p2p_service(id).await?;
            return Err(e);
        }
        Ok(service)
    }

    /// `stopP2PService`: ends the service with its streams, talk and downloads.
    ///
    /// # Errors
    ///
    /// -2002, -2403.
    pub async fn stop_p2p_service(&self, id: &str) -> Result<(), ModuleError> {
        let service = self.running(|r| r.services.remove(id))?.ok_or_else(|| no_service(id))?;
        service.close().await;
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

fn no_service(id: &str) -> ModuleError {
    ModuleError::new(ErrorCode::ServiceNotStarted, format!("there is no service {id}; start it first"))
}
