//! A server, a camera with everything a camera can have, and viewers, in this process.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_channel::{Receiver, Sender, bounded, unbounded};
use bytes::Bytes;
use futures_lite::future::or;
use xp2p_proto::camera::{CameraConfig, CameraEvent, CameraServer, ViewerId};
use xp2p_proto::flv::{FileHeader, Muxer, Tag, TagKind};
use xp2p_proto::info::{Rights, Xp2pInfo};
use xp2p_proto::keys::SecretKey;
use xp2p_proto::link::Entropy;
use xp2p_proto::request::{Action, Command, Params, Quality, Status, Voice};
use xp2p_proto::server::ServerConfig;
use xp2p_proto::viewer::ViewerConfig;
use xp2p_smol::driver::camera::{Answer, CameraApp, CameraHandle, VoiceSink};
use xp2p_smol::driver::records::{FileInfo, FileKind, FileReader, RecordReader, RecordsDir, Span, Storage};
use xp2p_smol::driver::runtime::{Runtime, sleep};
use xp2p_smol::driver::server::ServerHandle;
use xp2p_smol::driver::socket::BoundSocket;
use xp2p_smol::driver::viewer::{Service, ServiceEvent, ViewerHandle};
use xp2p_tests::media::{Media, MediaConfig, number_of};
use xp2p_tests::processes::TempDir;

use crate::place::Place;

/// Unix second at which the recording begins.
pub(crate) const RECORDED: u64 = 1_700_000_000;

pub(crate) fn anywhere() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

pub(crate) fn secret<R: Runtime>(runtime: &R) -> SecretKey {
    SecretKey::from_bytes(runtime.random().expect("randomness"))
}

pub(crate) fn entropy<R: Runtime>(runtime: &R) -> Entropy {
    Entropy::from_os(runtime.random().expect("randomness"))
}

/// What a camera has besides pictures.
#[derive(Debug)]
pub(crate) struct Shelf {
    records: RecordsDir,
    pub(crate) files: BTreeMap<String, Bytes>,
    /// Bytes of files that were read.
    pub(crate) read: Arc<AtomicU64>,
}

impl Storage for Shelf {
    fn spans(&self, channel: u32, from: u64, to: u64) -> io::Result<Vec<Span>> {
        self.records.spans(channel, from, to)
    }

    fn files(&self, channel: u32, from: u64, to: u64, kind: FileKind) -> io::Result<Vec<FileInfo>> {
        self.records.files(channel, from, to, kind)
    }

    fn open_playback(
        &self,
        channel: u32,
        from: u64,
        to: u64,
        kind: Option<i64>,
    ) -> io::Result<Option<Box<dyn RecordReader>>> {
        self.records.open_playback(channel, from, to, kind)
    }

    fn open_file(&self, _channel: u32, name: &str) -> io::Result<Option<Box<dyn FileReader>>> {
        let file = self.files.get(name).cloned();
        Ok(file.map(|bytes| Box::new(Whole { bytes, read: self.read.clone() }) as Box<dyn FileReader>))
    }
}

struct Whole {
    bytes: Bytes,
    read: Arc<AtomicU64>,
}

impl FileReader for Whole {
    fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn version(&self) -> String {
        "v1".to_owned()
    }

    fn read_at(&mut self, offset: u64, len: usize) -> io::Result<Bytes> {
        let from = usize::try_from(offset).expect("small").min(self.bytes.len());
        let to = (from + len).min(self.bytes.len());
        self.read.fetch_add((to - from) as u64, Ordering::Relaxed);
        Ok(self.bytes.slice(from..to))
    }
}

/// What a camera's application has and hears.
pub(crate) struct App {
    pub(crate) shelf: Arc<Shelf>,
    /// Tags of talks that have ended, and whether they were complete.
    pub(crate) talks: Receiver<(Vec<Tag>, bool)>,
    talk: Sender<(Vec<Tag>, bool)>,
    pub(crate) commands: Mutex<Vec<String>>,
}

impl CameraApp for App {
    fn command(&self, _viewer: ViewerId, command: Command, answer: Answer) {
        self.commands.lock().expect("no panic").push(command.cmd.clone());
        match command.cmd.as_str() {
            "refuse" => answer.refuse(Status::CommandUnsupported, "as you wish"),
            // Answered when the viewer has long given up.
            "never" => std::mem::forget(answer),
            other => answer.reply(format!("echo {other}")),
        }
    }

    fn storage(&self) -> Option<Arc<dyn Storage>> {
        Some(self.shelf.clone())
    }

    fn voice(&self, _viewer: ViewerId, _voice: Voice) -> Option<Box<dyn VoiceSink>> {
        Some(Box::new(Ear { heard: Vec::new(), talk: self.talk.clone() }))
    }
}

struct Ear {
    heard: Vec<Tag>,
    talk: Sender<(Vec<Tag>, bool)>,
}

impl VoiceSink for Ear {
    fn tag(&mut self, tag: Tag) -> io::Result<()> {
        self.heard.push(tag);
        Ok(())
    }

    fn end(self: Box<Self>, complete: bool) {
        self.talk.try_send((self.heard, complete)).expect("the test listens");
    }
}

/// A recording of `seconds` at [`RECORDED`].
fn record(dir: &Path, seconds: u32) {
    let mut media = Media::new(MediaConfig { bitrate: 200_000, keyframe: 8_000, ..MediaConfig::default() });
    let mut muxer = Muxer::new();
    let mut bytes = muxer.header(FileHeader { has_audio: true, has_video: true }).to_vec();
    while media.next_time() < seconds * 1000 {
        for tag in media.next_tags() {
            muxer.tag(&tag).iter().for_each(|part| bytes.extend_from_slice(part));
        }
    }
    std::fs::write(dir.join("2023-11-14T22-13-20Z.flv"), bytes).expect("a recording");
}

pub(crate) fn noise(len: usize) -> Bytes {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    bytes.into()
}

/// A server, and a camera that is registered with it.
pub(crate) struct Home<'a, S, C, V> {
    pub(crate) place: &'a Place<S, C, V>,
    pub(crate) server_secret: SecretKey,
    pub(crate) server: ServerHandle,
    pub(crate) camera_secret: SecretKey,
    pub(crate) camera: CameraHandle,
    pub(crate) camera_events: Receiver<CameraEvent>,
    pub(crate) info: Xp2pInfo,
    pub(crate) app: Arc<App>,
    pub(crate) dir: TempDir,
}

impl<'a, S: Runtime, C: Runtime, V: Runtime> Home<'a, S, C, V> {
    pub(crate) async fn new(place: &'a Place<S, C, V>, name: &str) -> Self {
        let dir = TempDir::new(&format!("conformance-{name}"));
        record(dir.path(), 2);
        let files = [("small", noise(300_000)), ("large", noise(40 << 20)), ("empty", Bytes::new())];
        let shelf = Shelf {
            records: RecordsDir::open(dir.path()).expect("a directory"),
            files: files.into_iter().map(|(name, bytes)| (name.to_owned(), bytes)).collect(),
            read: Arc::default(),
        };
        let (talk, talks) = unbounded();
        let app = Arc::new(App { shelf: Arc::new(shelf), talks, talk, commands: Mutex::default() });
        let (server_secret, camera_secret) = (secret(&place.server), secret(&place.camera));
        let socket = BoundSocket::bind(anywhere()).expect("a socket");
        let server = server(place, socket, server_secret.clone());
        let socket = BoundSocket::bind(anywhere()).expect("a socket");
        let at = server.local_addr();
        let (camera, camera_events, info) =
            camera(place, socket, camera_secret.clone(), server_secret.public(), at, app.clone()).await;
        Self { place, server_secret, server, camera_secret, camera, camera_events, info, app, dir }
    }

    pub(crate) fn viewer(&self) -> ViewerHandle<V> {
        viewer(self.place, BoundSocket::bind(anywhere()).expect("a socket"))
    }

    /// A viewer that is connected.
    pub(crate) async fn connected(&self) -> (ViewerHandle<V>, Service) {
        let viewer = self.viewer();
        let service = viewer.connect(self.info.clone()).await.expect("a service");
        connected(&service).await;
        (viewer, service)
    }

    /// Shows pictures at their own speed until the end of the home.
    pub(crate) fn feed(&self, config: MediaConfig) -> Feed {
        feed(&self.place.camera, &self.camera, config)
    }

    /// The service works: a command goes there and back.
    pub(crate) async fn check(&self, viewer: &ViewerHandle<V>, service: &Service) {
        let outcome = viewer.command(service.id, ask("still there?"), None).await.expect("a command");
        assert_eq!(outcome.kind(), "success", "{outcome:?}");
    }

    pub(crate) async fn end(self) {
        self.camera.shutdown().await;
        self.server.shutdown().await;
    }
}

pub(crate) async fn connected(service: &Service) {
    loop {
        match service.events.recv().await.expect("an event") {
            ServiceEvent::Connected { .. } => return,
            ServiceEvent::Disconnect { reason, .. } => panic!("not connected: {reason}"),
            _ => {}
        }
    }
}

/// Ends a feed when it is dropped.
pub(crate) struct Feed(#[expect(dead_code, reason = "what matters is when it is dropped")] Sender<()>);

pub(crate) fn feed<R: Runtime>(runtime: &R, camera: &CameraHandle, config: MediaConfig) -> Feed {
    let (alive, ended) = bounded(1);
    let (clock, camera) = (runtime.clone(), camera.machine().clone());
    runtime.spawn(Box::pin(async move {
        let mut media = Media::new(config);
        let begun = clock.now();
        let show = async {
            loop {
                let due = begun + Duration::from_millis(media.next_time().into());
                sleep(&clock, due.saturating_duration_since(clock.now())).await;
                for tag in media.next_tags() {
                    let push = move |camera: &mut xp2p_proto::camera::Camera, now| {
                        camera.push_tag(now, 0, Quality::High, &tag).expect("a good tag");
                    };
                    if camera.notify(push).await.is_err() {
                        return;
                    }
                }
            }
        };
        // Nothing is ever sent.
        or(show, async { assert!(ended.recv().await.is_err()) }).await;
    }));
    Feed(alive)
}

pub(crate) fn server<S: Runtime, C, V>(
    place: &Place<S, C, V>,
    socket: BoundSocket,
    secret: SecretKey,
) -> ServerHandle {
    let local = socket.local_addr().expect("bound");
    let mut config = ServerConfig::new(secret, entropy(&place.server), local);
    config.relay.camera_rate = None;
    config.relay.flow_rate = None;
    ServerHandle::spawn_on(&place.server, vec![socket], config).expect("a server").0
}

/// A camera that reaches the server at `at`, registered.
pub(crate) async fn camera<S: Runtime, C: Runtime, V: Runtime>(
    place: &Place<S, C, V>,
    socket: BoundSocket,
    secret: SecretKey,
    server: xp2p_proto::keys::PublicKey,
    at: SocketAddr,
    app: Arc<dyn CameraApp>,
) -> (CameraHandle, Receiver<CameraEvent>, Xp2pInfo) {
    let (camera, events) = unregistered(place, socket, secret, server, at, app);
    registered(&events).await;
    let info = camera.xp2p_info(Rights::ALL, None).await.expect("a camera").expect("a known key");
    (camera, events, info)
}

/// A camera that may not have reached its server yet.
pub(crate) fn unregistered<S, C: Runtime, V>(
    place: &Place<S, C, V>,
    socket: BoundSocket,
    secret: SecretKey,
    server: xp2p_proto::keys::PublicKey,
    at: SocketAddr,
    app: Arc<dyn CameraApp>,
) -> (CameraHandle, Receiver<CameraEvent>) {
    let server = CameraServer {
        key: Some(server),
        addrs: vec![at],
        advertised: vec![at.into()],
        tcp_port: None,
        app_key: None,
    };
    let mut config = CameraConfig::new(secret, entropy(&place.camera), vec![server]);
    (config.talk, config.max_viewers, config.max_connect_num) = (true, 16, 32);
    CameraHandle::spawn_on(&place.camera, socket, config, app).expect("a camera")
}

pub(crate) async fn registered(events: &Receiver<CameraEvent>) {
    while !matches!(events.recv().await.expect("an event"), CameraEvent::Registered { .. }) {}
}

pub(crate) fn viewer<S, C, V: Runtime>(place: &Place<S, C, V>, socket: BoundSocket) -> ViewerHandle<V> {
    let config = ViewerConfig::new(secret(&place.viewer), entropy(&place.viewer));
    ViewerHandle::spawn_on(&place.viewer, socket, config).expect("a viewer")
}

pub(crate) fn ask(cmd: &str) -> Command {
    Command { action: Action::UserDefine, channel: 0, cmd: cmd.to_owned(), rest: Params::default() }
}

/// Takes `count` pictures, which must be whole, in order, and begin with a keyframe.
pub(crate) async fn pictures(hub: &xp2p_smol::driver::player::Hub, count: usize) {
    let mut receiver = hub.subscribe_unchanged();
    let mut numbers: Vec<u32> = Vec::new();
    while numbers.len() < count {
        let tag = receiver.next_tag().await.expect("the stream goes on");
        if tag.kind != TagKind::Video || tag.is_sequence_header() {
            continue;
        }
        assert!(!numbers.is_empty() || tag.is_keyframe(), "begins with a keyframe");
        numbers.push(number_of(&tag).expect("whole"));
    }
    assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
}
