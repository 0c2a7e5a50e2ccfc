//! One service: a camera, and all that is done with it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_channel::{Receiver, Sender, bounded};
use bytes::Bytes;
use xp2p_proto::command::{BuiltIn, CommandOutcome, DeviceInfo, Reply};
use xp2p_proto::error::ErrorCode;
use xp2p_proto::info::{Feature, Xp2pInfo};
use xp2p_proto::link::PathKind;
use xp2p_proto::request::{CallType, Command, Request, Voice};
use xp2p_proto::viewer::{Resume, StreamKey};
use xp2p_proto::voice::{DEFAULT_CHUNK, PcmTagger};

use super::players::Players;
use super::span::Spanned;
use super::startup::Startup;
use super::voice::{self, Recorder, VoiceEvent, VoiceOptions};
use super::{ModuleError, url};
use crate::handle::Gone;
use crate::player::Hub;
use crate::pusher::{Pusher, PusherEvent};
use crate::runtime::Runtime;
use crate::viewer::{
    DownloadHandle, ServiceEvent, ServiceStat, StatStream, TalkError, TalkHandle, ViewStatus, ViewerHandle,
};

/// Events that wait for the application; the oldest are lost then.
const MAX_EVENTS: usize = 1024;

/// What `startP2PService` is told of a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StreamInfo {
    /// `url`: `http://XP2P_INFO.xnet/ipc.p2p.com/ipc.flv?action=live&channel=0&quality=high`; the host means nothing.
    pub url: String,
    /// `productId`: checked against what the camera says. Empty: not checked.
    pub product_id: String,
    /// `deviceName`: checked too.
    pub device_name: String,
    /// `xp2pInfo`.
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
struct Inner {
    streams: BTreeMap<StreamKind, Running>,
    startup: Startup,
    voice: Option<Sender<()>>,
    downloads: Vec<StreamKey>,
    /// How the connection stands: unknown, connected, over.
    connected: Option<Result<(), (ErrorCode, String)>>,
}

/// A service. Clones are the same one.
#[derive(Debug, Clone)]
pub struct Service<R> {
    runtime: Spanned<R>,
    viewer: ViewerHandle<Spanned<R>>,
    players: Players,
    begun: Instant,
    id: Arc<str>,
    info: Arc<StreamInfo>,
    service: xp2p_proto::viewer::ServiceId,
    inner: Arc<Mutex<Inner>>,
    events: Receiver<ServiceEvent>,
    ready: Receiver<()>,
}

impl<R: Runtime> Service<R> {
    pub(super) async fn start(
        runtime: Spanned<R>,
        viewer: ViewerHandle<Spanned<R>>,
        players: Players,
        id: &str,
        info: StreamInfo,
        startup: Startup,
    ) -> Result<Self, ModuleError> {
        let begun = runtime.now();
        if info.url.is_empty() {
            return Err(ModuleError::new(ErrorCode::Parameter, "the field url is missing in streamInfo"));
        }
        url::request(&info.url)?;
        if info.xp2p_info.is_empty() {
            return Err(ModuleError::new(
                ErrorCode::Xp2pInfoInvalid,
                "the field xp2pInfo is missing in streamInfo",
            ));
        }
        let xp2p = Xp2pInfo::parse(&info.xp2p_info).map_err(|e| ModuleError::new(e.code(), e.to_string()))?;
        xp2p.version().require(Feature::Live).map_err(|e| ModuleError::new(e.code(), e.to_string()))?;
        let started = viewer.connect(xp2p).await;
        let started = started.map_err(|e| ModuleError::start(ErrorCode::StreamStartFailed, &e))?;
        let (sender, events) = bounded(MAX_EVENTS);
        let (told, ready) = bounded(1);
        let inner = Arc::new(Mutex::new(Inner { startup, ..Inner::default() }));
        runtime.spawn(Box::pin(follow(runtime.clone(), begun, started.events, sender, inner.clone(), told)));
        let (id, info) = (id.into(), Arc::new(info));
        Ok(Self { runtime, viewer, players, begun, id, info, service: started.id, inner, events, ready })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Waits for the connection, and checks whose it is.
    pub(super) async fn connected(&self) -> Result<(), ModuleError> {
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
        // Fails only when the viewer is gone, which ends everything as well.
        let _ = self.viewer.stop(self.service).await;
    }

    /// `startStream`: asks for what the URL says, or `flv` (`ipc.flv?action=...`) instead. Tags go to the hub; players
    /// find the stream under the URL that comes with it.
    ///
    /// # Errors
    ///
    /// -2000 a parameter is wrong; -2401 a stream of this type runs; -2402 it could not be started; -2403 the service
    /// has ended.
    pub async fn start_stream(&self, flv: Option<&str>) -> Result<(StreamKind, Hub, String), ModuleError> {
        let text = flv.unwrap_or(&self.info.url);
        let request = url::request(text)?;
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
        let started = match request.clone() {
            Request::Live(live) => self.viewer.start_live(self.service, live).await,
            Request::Playback(playback) => self.viewer.start_playback(self.service, playback).await,
            // See above.
            _ => return Err(ModuleError::new(ErrorCode::Parameter, "that is no stream")),
        };
        let (key, hub) = started.map_err(|e| ModuleError::start(ErrorCode::StreamStartFailed, &e))?;
        if self.runs(kind) {
            // Another task was faster.
            self.viewer.stop_stream(key).await?;
            return Err(runs_already());
        }
        let url = self.players.url(&self.id, &query);
        {
            let mut inner = self.lock();
            inner.startup.start.get_or_insert(asked.saturating_duration_since(self.begun));
            inner.streams.insert(kind, Running { key, hub: hub.clone(), query });
        }
        self.players.insert(&self.id, kind.action(), &hub);
        Ok((kind, hub, url))
    }

    /// `stopStream`. The connection stays.
    ///
    /// # Errors
    ///
    /// -2002 the module was destroyed; -2403 there is no such stream.
    pub async fn stop_stream(&self, kind: StreamKind) -> Result<(), ModuleError> {
        let stream = self.lock().streams.remove(&kind).ok_or_else(no_stream)?;
        self.viewer.stop_stream(stream.key).await?;
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

    /// `getStreamLinkMode`: how data comes at present. `None`: the connection is not there.
    ///
    /// # Errors
    ///
    /// -2002 the module was destroyed.
    pub async fn link_mode(&self) -> Result<Option<PathKind>, ModuleError> {
        let service = self.service;
        let paths = self.viewer.machine().call(move |viewer, _| viewer.paths(service)).await?;
        Ok(paths.iter().find(|p| p.selected).map(|p| p.kind))
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
        let streams = self.lock().streams.iter().map(stream).collect();
        self.viewer.stat(&self.id, self.service, streams).await
    }

    /// `/stat`: paths with their round-trip times, bytes by path, and counters of a stream.
    ///
    /// # Errors
    ///
    /// -2002 the module was destroyed; -2403 there is no such stream.
    pub async fn status(&self, kind: StreamKind) -> Result<ViewStatus, ModuleError> {
        let key = self.lock().streams.get(&kind).map(|s| s.key).ok_or_else(no_stream)?;
        Ok(self.viewer.status(key).await?)
    }

    /// How long each step up to the first picture of the live stream took.
    ///
    /// # Errors
    ///
    /// -2002 the module was destroyed.
    pub async fn startup(&self) -> Result<Startup, ModuleError> {
        let live = self.lock().streams.get(&StreamKind::Live).map(|s| s.key);
        let stats = match live {
            Some(key) => self.viewer.status(key).await?.stats,
            None => None,
        };
        let stats = stats.unwrap_or_default();
        Ok(Startup { data: stats.first_byte, keyframe: stats.first_keyframe, ..self.lock().startup })
    }

    /// `sendCommand` with the text of the plug-ins: `action=inner_define&channel=0&cmd=...`. `timeout`: 7.5 s unless
    /// it is given.
    ///
    /// # Errors
    ///
    /// -2000 the text is no command; -2403 the service has ended. How the command ends is in the result.
    pub async fn send_command(
        &self,
        text: &str,
        timeout: Option<Duration>,
    ) -> Result<CommandOutcome, ModuleError> {
        match Request::parse(&format!("/command?{}", text.trim_start_matches("command?")))? {
            Request::Command(command) => self.send(command, timeout).await,
            _ => Err(ModuleError::new(ErrorCode::Parameter, "that is no command")),
        }
    }

    /// The same with a typed command.
    ///
    /// # Errors
    ///
    /// -2000, -2403.
    pub async fn send(
        &self,
        command: Command,
        timeout: Option<Duration>,
    ) -> Result<CommandOutcome, ModuleError> {
        let sent = self.viewer.command(self.service, command, timeout).await;
        sent.map_err(|e| ModuleError::start(ErrorCode::Parameter, &e))
    }

    async fn talk(&self, voice: Voice) -> Result<(TalkHandle, Receiver<()>), ModuleError> {
        let (stop, stopped) = bounded(1);
        {
            let mut inner = self.lock();
            if inner.voice.as_ref().is_some_and(|v| v.receiver_count() > 0) {
                return Err(ModuleError::new(ErrorCode::ServiceStartedTwice, "this service talks already"));
            }
            inner.voice = Some(stop);
        }
        let started = self.viewer.talk(self.service, voice).await;
        let talk = started.map_err(|e| ModuleError::start(ErrorCode::VoiceStartFailed, &e))?;
        match talk.accepted().await {
            Ok(()) => Ok((talk, stopped)),
            Err(e) => {
                self.lock().voice = None;
                Err(ModuleError::new(ErrorCode::VoiceStartFailed, e.to_string()))
            }
        }
    }

    /// `startVoice`: sends what a recorder gives, until it ends or [`stop_voice`](Self::stop_voice).
    ///
    /// # Errors
    ///
    /// -2000 the format is none that can be sent; -2401 this service talks already; -2403 it has ended; -2601 the
    /// camera does not listen, or somebody else talks to it.
    pub async fn start_voice(
        &self,
        channel: u32,
        recorder: Box<dyn Recorder>,
        options: VoiceOptions,
    ) -> Result<Receiver<VoiceEvent>, ModuleError> {
        let tagger = PcmTagger::new(options.codec, recorder.format(), DEFAULT_CHUNK)
            .map_err(|e| ModuleError::new(ErrorCode::Parameter, e.to_string()))?;
        let (talk, stopped) = self.talk(Voice { channel, calltype: CallType::Audio }).await?;
        Ok(voice::start(&self.runtime, talk, recorder, tagger, stopped))
    }

    /// `startVoiceData`: sends FLV that the application has, in pieces of any size.
    ///
    /// # Errors
    ///
    /// -2401, -2403, -2601 as of [`start_voice`](Self::start_voice).
    pub async fn start_voice_data(&self, voice: Voice) -> Result<VoiceWriter, ModuleError> {
        let (talk, stopped) = self.talk(voice).await?;
        Ok(VoiceWriter { talk, pusher: Pusher::new(), stopped })
    }

    /// `stopVoice`: what was said so far is still heard.
    ///
    /// # Errors
    ///
    /// -2403 nobody talks.
    pub fn stop_voice(&self) -> Result<(), ModuleError> {
        let voice = self.lock().voice.take().filter(|v| v.receiver_count() > 0);
        voice
            .map(drop)
            .ok_or_else(|| ModuleError::new(ErrorCode::ServiceNotStarted, "this service does not talk"))
    }

    /// `startLocalDownload` with the plug-ins' text: `channel=0&file_name=...&offset=0`.
    ///
    /// # Errors
    ///
    /// -2000 a parameter is wrong; -2403 the service has ended; -2701 it could not be started. That the camera refuses
    /// comes as an event.
    pub async fn start_local_download(
        &self,
        params: &str,
        resume: Resume,
    ) -> Result<DownloadHandle, ModuleError> {
        let Request::Download(download) = Request::parse(&format!("/download?{params}"))? else {
            return Err(ModuleError::new(ErrorCode::Parameter, "that is no download"));
        };
        let started = self.viewer.download(self.service, download, resume).await;
        let handle = started.map_err(|e| ModuleError::start(ErrorCode::DownloadFailed, &e))?;
        self.lock().downloads.push(handle.key());
        Ok(handle)
    }

    /// `stopLocalDownload`: all of this service.
    ///
    /// # Errors
    ///
    /// -2002 the module was destroyed.
    pub async fn stop_local_download(&self) -> Result<(), ModuleError> {
        let keys = std::mem::take(&mut self.lock().downloads);
        for key in keys {
            self.viewer.stop_stream(key).await?;
        }
        Ok(())
    }

    /// Answers a message of the camera ([`ServiceEvent::Message`]). Returns whether it still waited.
    ///
    /// # Errors
    ///
    /// -2002 the module was destroyed.
    pub async fn reply_message(
        &self,
        message: xp2p_proto::viewer::MessageKey,
        reply: impl Into<Bytes>,
    ) -> Result<bool, ModuleError> {
        Ok(self.viewer.reply_message(message, reply).await?)
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
                    inner.streams.retain(|_, running| running.key != *stream);
                    inner.downloads.retain(|key| key != stream);
                }
                _ => {}
            }
        }
        // A full channel loses the oldest.
        let _ = to.force_send(event);
    }
}

/// Says FLV that comes in pieces.
#[derive(Debug)]
pub struct VoiceWriter {
    talk: TalkHandle,
    pusher: Pusher,
    stopped: Receiver<()>,
}

impl VoiceWriter {
    /// `addChunk`: bytes of one FLV stream, cut anywhere. Waits while the network is slower than what is said.
    ///
    /// # Errors
    ///
    /// The talk was stopped, refused or lost, or the bytes are no FLV.
    pub async fn add_chunk(&mut self, bytes: impl Into<Bytes>) -> Result<(), TalkError> {
        if self.stopped.is_closed() {
            return Err(TalkError::Lost("the talk was stopped".to_owned()));
        }
        let events = self.pusher.push_bytes(bytes.into()).map_err(|e| TalkError::Lost(e.to_string()))?;
        for event in events {
            match event {
                PusherEvent::FlvAudioTag(tag) | PusherEvent::FlvVideoTag(tag) => self.talk.push(tag).await?,
                PusherEvent::FlvHeader(_) | PusherEvent::FlvDataTag(_) => {}
            }
        }
        Ok(())
    }

    /// Everything was said. Returns how it ended: [`VoiceEvent::Success`], `Failure` or `Error`.
    pub async fn complete(self) -> VoiceEvent {
        voice::outcome(self.talk.finish().await)
    }
}
