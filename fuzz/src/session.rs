//! Viewer, camera and server in the simulator, under any list of operations, against a model of what an application may
//! count on.
//!
//! * What is downloaded is the file, every byte once and in order, and whole when it is said to be.
//! * Pictures of a stream come in the order in which they were fed, unharmed; what is said is heard in order.
//! * Every command has one end, every stream at most one; nothing comes of what has ended or was stopped.
//! * When all misfortunes are over, what was not refused comes through; and everything closes when asked.
//! * No machine has a timer due right after it was handled, and the simulator stops one that is busy.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::Duration;

use arbitrary::{Arbitrary, Unstructured};
use bytes::Bytes;
use xp2p_proto::command::{BuiltIn, Ptz};
use xp2p_proto::flv::{Tag, TagKind};
use xp2p_proto::live::LiveItem;
use xp2p_proto::machine::Machine;
use xp2p_proto::request::{Command, Download, Live, Playback, Quality, Voice};
use xp2p_proto::viewer::{CommandKey, Resume, ServiceConfig, ServiceId, StreamKey, ViewerEvent};
use xp2p_tests::app::{App, RECORDED};
use xp2p_tests::media::{Media, MediaConfig, number_of};
use xp2p_tests::sim::{HostId, LinkConfig, NatConfig};
use xp2p_tests::world::{ACCESS, World, WorldConfig, assert_contract};

use crate::ops::{Blob, rest};

/// Most operations.
const MAX_OPS: usize = 24;
/// Longest time between two operations.
const MAX_PAUSE: u64 = 5_000;
/// Name and bytes of the file to download.
const FILE: (&str, usize) = ("clip.mp4", 300_000);
/// What the camera shows.
const MEDIA: MediaConfig = MediaConfig { bitrate: 200_000, keyframe: 8_000, fps: 10, gop: 20, audio: true };
/// After the last misfortune. The worst case: the farewell of a camera whose ticket has just changed is lost, the viewer hears nothing
/// for 30 s until QUIC gives up, and tries to come back for its 30 s of patience.
const PEACE: Duration = Duration::from_secs(80);
/// Within this time all have ended after they were asked to.
const ENDS_WITHIN: Duration = Duration::from_secs(30);

#[derive(Arbitrary, Debug, Clone, Copy)]
enum Host {
    Viewer,
    Camera,
    Server,
}

#[derive(Arbitrary, Debug, Clone, Copy)]
enum Nat {
    None,
    FullCone,
    Address,
    Port,
    Symmetric,
}

impl Nat {
    fn config(self, public: Ipv4Addr) -> Option<NatConfig> {
        match self {
            Self::None => None,
            Self::FullCone => Some(NatConfig::full_cone(public)),
            Self::Address => Some(NatConfig::address_restricted(public)),
            Self::Port => Some(NatConfig::port_restricted(public)),
            Self::Symmetric => Some(NatConfig::symmetric(public)),
        }
    }
}

/// What a test may do.
#[derive(Arbitrary, Debug)]
enum TestOp<'a> {
    /// Milliseconds.
    Pass(u16),
    StartService,
    StopService(u8),
    Live(u8),
    Playback {
        service: u8,
        from: u8,
        len: u8,
    },
    Download {
        service: u8,
        missing: bool,
    },
    Voice(u8),
    Say {
        stream: u8,
        len: u16,
    },
    EndVoice(u8),
    Command {
        service: u8,
        which: u8,
        timeout: Option<u16>,
    },
    StopStream(u8),
    Silent(bool),
    EndFeed,
    Kick(u8),
    Epoch,
    /// Loss and so on, in percent.
    Link {
        host: Host,
        loss: u8,
        reorder: u8,
        duplicate: u8,
        jitter: u8,
        slow: bool,
    },
    Cut(Host, bool),
    Move {
        camera: bool,
        nat: Nat,
    },
    FlushNat(bool),
    Restart(Host),
    Drain,
    NetworkChanged,
    /// The clocks of all jump, in seconds.
    Clock(u32),
    Inject {
        from: u8,
        to: Host,
        payload: Blob<'a>,
    },
}

#[derive(Arbitrary, Debug)]
struct Start {
    seed: u8,
    camera_nat: Nat,
    viewer_nat: Nat,
}

/// What a stream of the viewer may still do.
#[derive(Debug)]
enum Model {
    /// The last picture, and how many there were since the misfortunes were over.
    Live {
        last: Option<u32>,
        shown: u32,
    },
    Playback,
    Download {
        next: u64,
        beside: bool,
    },
    Voice {
        said: u32,
    },
}

/// What the application of a viewer has asked for and was told.
struct Watch {
    world: World,
    file: Bytes,
    services: Vec<ServiceId>,
    streams: BTreeMap<StreamKey, Model>,
    /// Streams that have ended or were stopped.
    over: BTreeSet<StreamKey>,
    commands: BTreeMap<CommandKey, bool>,
    /// Services that were stopped or have ended.
    gone: BTreeSet<ServiceId>,
    /// How often pictures may begin again: new sessions show the group that the camera keeps.
    renewals: u32,
    /// Whether what the viewer tells is printed.
    shows: bool,
    backwards: u32,
    nats: u8,
}

/// One input.
pub fn run(data: &[u8]) {
    let mut u = Unstructured::new(data);
    let Ok(input) = Start::arbitrary(&mut u) else { return };
    let mut config = WorldConfig::new(u64::from(input.seed));
    config.camera_nat = input.camera_nat.config(Ipv4Addr::new(198, 51, 100, 7));
    config.viewer_nat = input.viewer_nat.config(Ipv4Addr::new(198, 51, 100, 99));
    config.media = MEDIA;
    let mut watch = Watch::new(World::new(config));
    watch.world.sim.set_untraced();
    watch.run(Duration::from_millis(500));
    for op in rest(&mut u, MAX_OPS) {
        watch.act(&op);
        watch.run(Duration::from_millis(10));
    }
    watch.peace();
    watch.close();
}

impl Watch {
    fn new(mut world: World) -> Self {
        let mut file = vec![0; FILE.1];
        blake3::Hasher::new().update(b"file").finalize_xof().fill(&mut file);
        let file = Bytes::from(file);
        world.app.files.insert(FILE.0.to_owned(), file.clone());
        world
            .app
            .record(MediaConfig { bitrate: 100_000, keyframe: 4_000, fps: 5, gop: 10, audio: false }, 20);
        Self {
            world,
            file,
            services: Vec::new(),
            streams: BTreeMap::new(),
            over: BTreeSet::new(),
            commands: BTreeMap::new(),
            gone: BTreeSet::new(),
            renewals: 0,
            shows: std::env::var_os("XP2P_SHOW").is_some(),
            backwards: 0,
            nats: 100,
        }
    }

    fn service(&self, n: u8) -> Option<ServiceId> {
        self.services.get(usize::from(n) % self.services.len().max(1)).copied()
    }

    fn stream(&self, n: u8, wanted: impl Fn(&Model) -> bool) -> Option<StreamKey> {
        let open = |(key, model): &(&StreamKey, &Model)| !self.over.contains(key) && wanted(model);
        let keys: Vec<_> = self.streams.iter().filter(open).map(|(key, _)| *key).collect();
        keys.get(usize::from(n) % keys.len().max(1)).copied()
    }

    /// Asks for a stream. Refusals of the viewer's own limits are no fault.
    fn start(&mut self, stream: Result<StreamKey, impl std::error::Error>, model: Model) {
        if let Ok(key) = stream {
            assert!(self.streams.insert(key, model).is_none(), "{key:?} was given away twice");
        }
    }

    fn act(&mut self, op: &TestOp<'_>) {
        let viewer = self.world.viewer;
        match *op {
            TestOp::Pass(ms) => self.run(Duration::from_millis(u64::from(ms) % MAX_PAUSE)),
            TestOp::StartService => {
                let info = self.world.info();
                let config = ServiceConfig::of_addresses(info);
                self.services.extend(self.world.sim.with(viewer, |v, now| v.start_service(now, config)));
            }
            TestOp::StopService(n) => {
                let Some(id) = self.service(n) else { return };
                self.collect();
                self.world.sim.with(viewer, |v, now| v.stop_service(now, id));
                self.gone.insert(id);
                self.services.retain(|s| *s != id);
            }
            TestOp::Live(n) => {
                let Some(id) = self.service(n) else { return };
                let live = Live { channel: 0, quality: Quality::High, ..Live::default() };
                let stream = self.world.sim.with(viewer, |v, now| v.start_live(now, id, live));
                self.start(stream, Model::Live { last: None, shown: 0 });
            }
            TestOp::Playback { service, from, len } => {
                let Some(id) = self.service(service) else { return };
                let start_time = RECORDED + u64::from(from % 20);
                let end_time = start_time + 5 + u64::from(len % 20);
                let request = Playback { channel: 0, start_time, end_time, kind: None, audio_only: false };
                let stream = self.world.sim.with(viewer, |v, now| v.start_playback(now, id, request));
                self.start(stream, Model::Playback);
            }
            TestOp::Download { service, missing } => {
                let Some(id) = self.service(service) else { return };
                let file_name = if missing { "none" } else { FILE.0 }.to_owned();
                let request = Download { channel: 0, file_name, offset: 0 };
                // Every other digest is made by the caller.
                let beside = self.streams.len() % 2 == 1;
                let stream = self.world.sim.with(viewer, |v, now| {
                    let stream = v.start_download(now, id, request, Resume::default());
                    if let (true, Ok(key)) = (beside, &stream) {
                        assert!(v.take_download_hasher(*key).is_some());
                    }
                    stream
                });
                self.start(stream, Model::Download { next: 0, beside });
            }
            TestOp::Voice(n) => {
                let Some(id) = self.service(n) else { return };
                let stream = self.world.sim.with(viewer, |v, now| v.start_voice(now, id, Voice::default()));
                self.start(stream, Model::Voice { said: 0 });
            }
            TestOp::Say { stream, len } => self.say(stream, len),
            TestOp::EndVoice(n) => {
                let Some(key) = self.stream(n, |m| matches!(m, Model::Voice { .. })) else { return };
                self.world.sim.with(viewer, |v, now| v.end_voice(now, key));
            }
            TestOp::Command { service, which, timeout } => self.command(service, which, timeout),
            TestOp::StopStream(n) => {
                let Some(key) = self.stream(n, |_| true) else { return };
                self.collect();
                self.world.sim.with(viewer, |v, _| v.stop_stream(key));
                self.over.insert(key);
            }
            TestOp::Silent(silent) => self.world.app.silent = silent,
            TestOp::EndFeed => {
                self.world.sim.with(self.world.camera, |c, now| c.end_feed(now, 0, Quality::High));
                // What comes next is another feed, from its beginning.
                self.world.media = Media::new(MEDIA);
                self.world.feed_start = self.world.sim.elapsed();
                self.renewals += 1;
            }
            TestOp::Kick(n) => {
                self.world.sim.with(self.world.camera, |c, now| {
                    let viewers = c.viewers();
                    if let Some(info) = viewers.get(usize::from(n) % viewers.len().max(1)) {
                        c.kick(now, info.viewer, "kicked");
                    }
                });
            }
            TestOp::Epoch => {
                let epoch = u32::from(self.nats);
                self.world.sim.with(self.world.camera, |c, now| c.set_epoch(now, epoch));
            }
            TestOp::Link { host, loss, reorder, duplicate, jitter, slow } => {
                let part = |percent: u8| f64::from(percent % 40) / 100.0;
                let link = LinkConfig::latency(ACCESS).both(|p| {
                    p.loss = part(loss);
                    p.reorder = part(reorder);
                    p.duplicate = part(duplicate);
                    p.jitter = Duration::from_millis(u64::from(jitter % 100));
                    p.bandwidth = slow.then_some(1_000_000);
                });
                self.link(host, link);
            }
            TestOp::Cut(host, cut) => self.cut(host, cut),
            TestOp::Move { camera, nat } => {
                self.nats += 1;
                let public = Ipv4Addr::new(192, 0, 2, self.nats);
                let nat = nat.config(public).map(|nat| self.world.sim.add_nat(nat));
                let inside =
                    [if nat.is_some() { Ipv4Addr::new(10, 77, 0, self.nats) } else { public }.into()];
                if camera {
                    self.world.sim.move_host(self.world.camera, nat, &inside);
                } else {
                    self.world.sim.move_host(self.world.viewer, nat, &inside);
                }
            }
            TestOp::FlushNat(camera) => {
                if let Some(nat) = if camera { self.world.camera_nat } else { self.world.viewer_nat } {
                    self.world.sim.flush_nat(nat);
                }
            }
            TestOp::Restart(host) => self.restart(host),
            TestOp::Drain => self.world.sim.with(self.world.server, |s, _| s.drain()),
            TestOp::NetworkChanged => self.world.sim.with(viewer, |v, now| v.network_changed(now)),
            TestOp::Clock(unix) => {
                let least = self.world.sim.elapsed();
                self.world.sim.set_unix_time(least + Duration::from_secs(u64::from(unix)));
            }
            TestOp::Inject { from, to, payload } => self.inject(from, to, &payload),
        }
    }

    fn say(&mut self, n: u8, len: u16) {
        let Some(key) = self.stream(n, |m| matches!(m, Model::Voice { .. })) else { return };
        let Some(Model::Voice { said }) = self.streams.get_mut(&key) else { return };
        let mut body = vec![0x72];
        body.extend_from_slice(&said.to_be_bytes());
        body.resize(body.len() + usize::from(len), 0xd5);
        let tag = Tag { kind: TagKind::Audio, timestamp: *said, body: body.into() };
        if self.world.sim.with(self.world.viewer, |v, now| v.push_voice(now, key, &tag)).is_ok() {
            *said += 1;
        }
    }

    fn command(&mut self, service: u8, which: u8, timeout: Option<u16>) {
        let Some(id) = self.service(service) else { return };
        let command = match which % 4 {
            0 => BuiltIn::DeviceInfo.to_command(0),
            1 => BuiltIn::NvrList.to_command(0),
            2 => Ptz::Up.command(0),
            _ => Command::user_defined(0, "x"),
        };
        let timeout = timeout.map(|ms| Duration::from_millis(u64::from(ms)));
        let sent = self.world.sim.with(self.world.viewer, |v, now| v.send_command(now, id, command, timeout));
        if let Ok(key) = sent {
            assert!(self.commands.insert(key, false).is_none(), "{key:?} was given away twice");
        }
    }

    fn link(&mut self, host: Host, link: LinkConfig) {
        match host {
            Host::Viewer => self.world.sim.set_link(self.world.viewer, link),
            Host::Camera => self.world.sim.set_link(self.world.camera, link),
            Host::Server => self.world.sim.set_link(self.world.server, link),
        }
    }

    fn cut(&mut self, host: Host, cut: bool) {
        match host {
            Host::Viewer => self.world.sim.cut(self.world.viewer, cut),
            Host::Camera => self.world.sim.cut(self.world.camera, cut),
            Host::Server => self.world.sim.cut(self.world.server, cut),
        }
    }

    fn inject(&mut self, from: u8, to: Host, payload: &[u8]) {
        let sim = &mut self.world.sim;
        let addrs = [sim.addr(self.world.viewer), sim.addr(self.world.camera), sim.addr(self.world.server)];
        let to = addrs[to as usize];
        let from = addrs.get(usize::from(from)).copied().unwrap_or_else(|| ([203, 0, 113, 66], 666).into());
        if !payload.is_empty()
            && !to.ip().to_string().starts_with("10.")
            && !to.ip().to_string().starts_with("192.168.")
        {
            sim.inject(from, to, payload);
        }
    }

    fn restart(&mut self, host: Host) {
        self.world.serve();
        match host {
            Host::Server => self.world.restart_server(),
            Host::Camera => {
                self.world.restart_camera();
                // A new process knows the files, not what the old one was doing.
                let mut app = App::default();
                app.files = std::mem::take(&mut self.world.app.files);
                app.recording = std::mem::take(&mut self.world.app.recording);
                app.silent = self.world.app.silent;
                self.world.app = app;
                self.renewals += 1;
            }
            // A viewer that starts again has nothing left of what it was doing; that is a new world for it.
            Host::Viewer => self.world.sim.with(self.world.viewer, |v, now| v.network_changed(now)),
        }
    }

    /// Lets the world run, with the camera fed.
    fn run(&mut self, time: Duration) {
        let end = self.world.sim.elapsed() + time;
        while self.world.sim.elapsed() < end {
            let world = &mut self.world;
            let due = world.feed_start + Duration::from_millis(u64::from(world.media.next_time()));
            let next = due.min(end).min(world.sim.elapsed() + Duration::from_millis(20));
            world.sim.run_for(next.saturating_sub(world.sim.elapsed()));
            if world.sim.elapsed() >= due {
                let tags = world.media.next_tags();
                world.sim.with(world.camera, |camera, now| {
                    for tag in &tags {
                        camera.push_tag(now, 0, Quality::High, tag).expect("the source is in order");
                    }
                });
            }
            world.serve();
            self.collect();
        }
    }

    /// Takes in what the viewer tells and holds it against the model.
    fn collect(&mut self) {
        for (at, event) in self.world.sim.timed_events(self.world.viewer) {
            if self.shows && !matches!(event, ViewerEvent::Media { .. } | ViewerEvent::DownloadData { .. }) {
                eprintln!("{at:?}: {event:?}");
            }
            self.told(event);
        }
    }

    fn told(&mut self, event: ViewerEvent) {
        match event {
            ViewerEvent::Reconnecting { service, .. } | ViewerEvent::Connected { service, .. } => {
                assert!(!self.gone.contains(&service), "{service:?} goes on after its end");
                self.renewals += 1;
            }
            ViewerEvent::Path { service, .. } => {
                assert!(!self.gone.contains(&service), "a path of a service that is gone")
            }
            ViewerEvent::Disconnect { service, reason, .. } => {
                assert!(!reason.is_empty());
                assert!(self.gone.insert(service), "{service:?} ends twice");
                self.services.retain(|s| *s != service);
            }
            ViewerEvent::Media { stream, item } => {
                self.alive(stream);
                if let LiveItem::Tag(tag) = item {
                    self.shown(stream, &tag);
                }
            }
            ViewerEvent::DownloadData { stream, offset, data } => {
                self.alive(stream);
                let Some(Model::Download { next, .. }) = self.streams.get_mut(&stream) else {
                    panic!("data of no download")
                };
                assert_eq!(offset, *next, "a byte twice, or one left out");
                let from = usize::try_from(offset).expect("a small file");
                assert_eq!(self.file.get(from..from + data.len()), Some(&data[..]), "wrong bytes");
                *next += data.len() as u64;
                let len = data.len();
                self.world.sim.with(self.world.viewer, |v, now| v.release(now, stream, len));
            }
            ViewerEvent::DownloadDigestWanted { stream } => {
                self.alive(stream);
                let Some(Model::Download { next, beside: true }) = self.streams.get(&stream) else {
                    panic!("a digest that is nobody's business")
                };
                assert_eq!(*next, self.file.len() as u64);
                let digest = *blake3::hash(&self.file).as_bytes();
                let viewer = self.world.viewer;
                // In vain where the service has ended since, as the next events then tell.
                self.world.sim.with(viewer, |v, now| v.finish_download(now, stream, digest));
            }
            ViewerEvent::Downloaded { stream, size, digest } => {
                self.ended(stream);
                let Some(Model::Download { next, .. }) = self.streams.get(&stream) else {
                    panic!("the end of no download")
                };
                assert_eq!((*next, size), (self.file.len() as u64, self.file.len() as u64));
                assert_eq!(digest, *blake3::hash(&self.file).as_bytes());
            }
            ViewerEvent::Eof { stream } | ViewerEvent::Close { stream, .. } => self.ended(stream),
            ViewerEvent::CommandDone { command, .. } => {
                let done = self.commands.get_mut(&command).expect("a command that was sent");
                assert!(!std::mem::replace(done, true), "{command:?} ends twice");
            }
            ViewerEvent::Request { stream }
            | ViewerEvent::Parsed { stream, .. }
            | ViewerEvent::Seeked { stream, .. } => {
                self.alive(stream);
            }
            _ => {}
        }
    }

    fn alive(&self, stream: StreamKey) {
        assert!(self.streams.contains_key(&stream), "{stream:?} was never asked for");
        assert!(!self.over.contains(&stream), "{stream:?} goes on after its end");
        assert!(!self.gone.contains(&stream.service), "{stream:?} outlives its service");
    }

    fn ended(&mut self, stream: StreamKey) {
        assert!(self.streams.contains_key(&stream), "{stream:?} was never asked for");
        assert!(self.over.insert(stream), "{stream:?} ends twice");
    }

    fn shown(&mut self, stream: StreamKey, tag: &Tag) {
        if tag.is_sequence_header() || tag.kind == TagKind::Script {
            return;
        }
        let number = number_of(tag).expect("a tag was harmed on its way");
        let Some(Model::Live { last, shown }) = self.streams.get_mut(&stream) else { return };
        if tag.kind == TagKind::Video {
            *shown += 1;
            self.backwards += u32::from(last.replace(number).is_some_and(|last| number <= last));
        }
    }

    /// Everything is well again: what can come through does.
    fn peace(&mut self) {
        for host in [Host::Viewer, Host::Camera, Host::Server] {
            self.cut(host, false);
            self.link(host, LinkConfig::latency(ACCESS));
        }
        self.world.app.silent = false;
        for model in self.streams.values_mut() {
            if let Model::Live { shown, .. } = model {
                *shown = 0;
            }
        }
        let end = self.world.sim.elapsed() + PEACE;
        while self.waits().is_some() && self.world.sim.elapsed() < end {
            self.run(Duration::from_millis(500));
        }
        if let Some(what) = self.waits() {
            panic!("after {PEACE:?} of peace: {what}");
        }
        let heard: Vec<u32> = self.world.app.heard.iter().filter_map(said).collect();
        let restarts = heard.windows(2).filter(|w| w[1] <= w[0]).count();
        assert!(restarts <= self.streams.len(), "what was said was heard in another order: {heard:?}");
        let streams = self.streams.len() as u32;
        assert!(
            self.backwards <= self.renewals * streams.max(1),
            "time went back {} times, with {} renewals",
            self.backwards,
            self.renewals
        );
    }

    /// What should come through by and by and has not yet.
    fn waits(&self) -> Option<String> {
        let open = |key: &StreamKey| !self.over.contains(key) && !self.gone.contains(&key.service);
        let command = self.commands.iter().find(|(key, done)| !**done && !self.gone.contains(&key.service));
        let stream = self.streams.iter().find(|(key, model)| {
            open(key) && matches!(model, Model::Download { .. } | Model::Live { shown: 0, .. })
        });
        command
            .map(|(key, _)| format!("{key:?} has no end"))
            .or_else(|| stream.map(|(key, model)| format!("{key:?} is at {model:?}")))
    }

    /// Everything closes when asked.
    fn close(mut self) {
        let World { viewer, camera, server, .. } = self.world;
        let sim = &mut self.world.sim;
        sim.with(viewer, |v, now| v.shutdown(now));
        sim.with(camera, |c, now| c.shutdown(now));
        sim.with(server, |s, now| s.shutdown(now));
        let closed = sim.run_until(ENDS_WITHIN, |sim| {
            sim.machine(viewer).is_closed()
                && sim.machine(camera).is_closed()
                && sim.machine(server).is_closed()
        });
        assert!(
            closed,
            "after {ENDS_WITHIN:?} closed: viewer {}, camera {}, server {}",
            sim.machine(viewer).is_closed(),
            sim.machine(camera).is_closed(),
            sim.machine(server).is_closed()
        );
        quiet(&self.world, viewer);
        quiet(&self.world, camera);
        quiet(&self.world, server);
    }
}

/// The number in a tag of talk.
fn said(tag: &Tag) -> Option<u32> {
    Some(u32::from_be_bytes(tag.body.get(1..5)?.try_into().ok()?))
}

fn quiet<M: Machine + 'static>(world: &World, host: HostId<M>)
where
    M::Event: 'static,
{
    assert_contract(&world.sim, host);
}
