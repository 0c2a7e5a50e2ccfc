//! Recordings, files and talk between a camera and its viewers, over real QUIC in a simulated network.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use bytes::Bytes;
use xp2p_proto::camera::CameraEvent;
use xp2p_proto::command::{BuiltIn, CommandOutcome, PlaybackProgress, Reply, SeekTo};
use xp2p_proto::flv::{Tag, TagKind};
use xp2p_proto::live::LiveItem;
use xp2p_proto::request::{CallType, Command, Download, Playback, Voice};
use xp2p_proto::viewer::{Resume, ServiceConfig, ServiceId, StreamKey, ViewerError, ViewerEvent};
use xp2p_tests::app::RECORDED;
use xp2p_tests::media::MediaConfig;
use xp2p_tests::sim::LinkConfig;
use xp2p_tests::world::{ACCESS, World, WorldConfig, twice};

const GOP: u32 = 2000;

fn connect(world: &mut World) -> ServiceId {
    let info = world.info();
    let config = ServiceConfig::of_addresses(info);
    world.sim.with(world.viewer, |v, now| v.start_service(now, config).expect("a service"))
}

/// What came of a recording: when, kind, time, keyframe.
#[derive(Debug, Default)]
struct Came {
    tags: Vec<(Duration, TagKind, u32, bool)>,
    seeked: Vec<u64>,
    eof: bool,
}

/// Takes the tags of a playback out of what the viewer saw. The world's own collection only counts them.
struct Playing {
    world: World,
    service: ServiceId,
    stream: StreamKey,
    came: Came,
}

impl Playing {
    fn start(seed: u64, seconds: u32, change: impl Fn(&mut WorldConfig)) -> Self {
        let mut config = WorldConfig::new(seed);
        change(&mut config);
        let mut world = World::new(config);
        world.app.record(MediaConfig::default(), seconds);
        let service = connect(&mut world);
        let request = Playback {
            channel: 0,
            start_time: RECORDED,
            end_time: RECORDED + u64::from(seconds),
            kind: None,
            audio_only: false,
        };
        let stream = world
            .sim
            .with(world.viewer, |v, now| v.start_playback(now, service, request).expect("a playback"));
        Self { world, service, stream, came: Came::default() }
    }

    fn run(&mut self, time: Duration) {
        let end = self.world.sim.elapsed() + time;
        while self.world.sim.elapsed() < end {
            self.world.serve();
            self.world.sim.run_for(Duration::from_millis(5));
            self.world.serve();
            for (at, event) in self.world.sim.timed_events(self.world.viewer) {
                match event {
                    ViewerEvent::Media { stream, item: LiveItem::Tag(tag) } if stream == self.stream => {
                        self.came.tags.push((at, tag.kind, tag.timestamp, tag.is_keyframe()));
                    }
                    ViewerEvent::Seeked { progress, .. } => self.came.seeked.push(progress),
                    ViewerEvent::Eof { stream } if stream == self.stream => self.came.eof = true,
                    event => self.world.events.push((at, event)),
                }
            }
        }
    }

    fn command(&mut self, command: BuiltIn) -> CommandOutcome {
        let service = self.service;
        let command: Command = command.to_command(0);
        let key = self.world.sim.with(self.world.viewer, |v, now| {
            v.send_command(now, service, command, None).expect("a command")
        });
        for _ in 0..1000 {
            self.run(Duration::from_millis(10));
            let end = self.world.events.iter().find_map(|(_, e)| match e {
                ViewerEvent::CommandDone { command, outcome } if *command == key => Some(outcome.clone()),
                _ => None,
            });
            if let Some(outcome) = end {
                return outcome;
            }
        }
        panic!("no end of a command");
    }

    fn ok(&mut self, command: BuiltIn) {
        let outcome = self.command(command);
        assert_eq!(outcome, CommandOutcome::Success { data: Bytes::from_static(b"{\"status\":\"0\"}") });
    }

    fn video(&self) -> Vec<(Duration, u32, bool)> {
        let video = self.came.tags.iter().filter(|t| t.1 == TagKind::Video);
        video.map(|&(at, _, time, key)| (at, time, key)).collect()
    }
}

#[test]
fn a_recording_comes_whole_and_at_its_own_speed() {
    twice(|| {
        let mut playing = Playing::start(1, 12, |_| {});
        playing.run(Duration::from_secs(6));
        let newest = playing.video().last().unwrap().1;
        assert!((5_000..6_600).contains(&newest), "paced by time, not by the network: {newest} ms after 6 s");
        playing.run(Duration::from_secs(8));
        assert!(playing.came.eof);
        let video = playing.video();
        let times: Vec<u32> = video.iter().map(|v| v.1).collect();
        assert_eq!(times, (0..300).map(|n| n * 40).collect::<Vec<_>>(), "each picture once, in order");
        assert!(playing.came.tags.iter().filter(|t| t.1 == TagKind::Audio).count() > 500);
        let ended = |e: &CameraEvent| matches!(e, CameraEvent::PlaybackEnded { .. });
        assert!(playing.world.app.events.iter().any(ended));
    });
}

/// Found by the page, where speed is chosen so: whoever gives up a recording and asks for it anew says both in one packet, and the
/// second was refused, or the command for it changed the first, because QUIC tells of new streams first.
#[test]
fn a_recording_given_up_for_another_makes_room_for_it_at_once() {
    twice(|| {
        let mut playing = Playing::start(11, 30, |_| {});
        playing.run(Duration::from_secs(3));
        let (service, old) = (playing.service, playing.stream);
        let request = Playback {
            channel: 0,
            start_time: RECORDED + 10,
            end_time: RECORDED + 30,
            kind: None,
            audio_only: false,
        };
        playing.stream = playing.world.sim.with(playing.world.viewer, |v, now| {
            v.stop_stream(old);
            v.start_playback(now, service, request).expect("a playback")
        });
        playing.came = Came::default();
        playing.run(Duration::from_secs(2));
        assert!(playing.video().len() > 40, "{:?}", playing.world.events);
        let refused = |e: &CameraEvent| matches!(e, CameraEvent::Refused { .. });
        assert!(!playing.world.app.events.iter().any(refused), "{:?}", playing.world.app.events);
    });
}

/// Issue 3: after `playback_seek` to 30,000 ms the next video tag is the keyframe at or before it.
#[test]
fn after_a_seek_comes_the_keyframe_at_or_before_it() {
    twice(|| {
        for (seed, to, key) in [(2, SeekTo::Progress(30_000), 30_000), (3, SeekTo::Progress(31_999), 30_000)]
        {
            let mut playing = Playing::start(seed, 60, |_| {});
            playing.run(Duration::from_secs(3));
            let before = playing.video().len();
            playing.ok(BuiltIn::PlaybackSeek(to));
            playing.run(Duration::from_secs(3));
            let (_, time, is_key) = playing.video()[before..]
                .iter()
                .find(|(_, time, _)| *time > 20_000)
                .copied()
                .expect("pictures after the seek");
            assert!(is_key);
            assert_eq!(time, key);
            // Between the command and the jump nothing old is shown: the first one after it is that keyframe.
            let old = playing.video()[before..].iter().take_while(|v| v.1 < 20_000).count();
            let sent_at = 3_500;
            assert!(playing.video()[before..][..old].iter().all(|v| v.1 <= sent_at));
            assert_eq!(playing.came.seeked.len(), 1);
        }
        // The other form, and one that lies outside.
        let mut playing = Playing::start(4, 60, |_| {});
        playing.run(Duration::from_secs(1));
        playing.ok(BuiltIn::PlaybackSeek(SeekTo::Time(RECORDED + 41)));
        playing.run(Duration::from_secs(2));
        let keys: Vec<u32> = playing.video().iter().filter(|v| v.2).map(|v| v.1).collect();
        assert!(keys.contains(&40_000), "{keys:?}");
        let outcome = playing.command(BuiltIn::PlaybackSeek(SeekTo::Progress(61_000)));
        assert!(matches!(outcome, CommandOutcome::Failure { status: 404, .. }));
        let before = playing.video().len();
        playing.run(Duration::from_secs(1));
        assert!(playing.video().len() > before + 20, "a refused seek changes nothing");
    });
}

/// Issue 3: paused playback sends no media for 5 s.
#[test]
fn a_paused_recording_is_silent_until_it_is_resumed() {
    twice(|| {
        let mut playing = Playing::start(5, 60, |_| {});
        playing.run(Duration::from_secs(3));
        playing.ok(BuiltIn::PlaybackPause);
        // What was on its way when the camera heard it.
        playing.run(Duration::from_millis(200));
        let before = playing.came.tags.len();
        let bytes = playing.world.sim.traffic(playing.world.viewer);
        playing.run(Duration::from_secs(5));
        assert_eq!(playing.came.tags.len(), before);
        println!("traffic while paused: {bytes:?} -> {:?}", playing.world.sim.traffic(playing.world.viewer));
        let progress = playing.command(BuiltIn::PlaybackProgress);
        let CommandOutcome::Success { data } = progress else { panic!("{progress:?}") };
        let at = PlaybackProgress::parse(&data).unwrap().progress;
        let shown = u64::from(playing.came.tags.last().unwrap().2);
        assert!(at.abs_diff(shown) <= 40, "{at} but {shown} was shown");
        playing.ok(BuiltIn::PlaybackResume);
        playing.run(Duration::from_secs(2));
        let times: Vec<u32> = playing.video().iter().map(|v| v.1).collect();
        assert_eq!(times, (0..times.len() as u32).map(|n| n * 40).collect::<Vec<_>>(), "nothing was lost");
        assert!(times.len() > 100);
    });
}

#[test]
fn fast_forward_shows_keyframes_only_and_rewind_shows_them_backwards() {
    twice(|| {
        let mut playing = Playing::start(6, 120, |_| {});
        playing.run(Duration::from_secs(2));
        playing.ok(BuiltIn::PlaybackFf { ff: 2 });
        playing.run(Duration::from_millis(100));
        let before = playing.video().len();
        playing.run(Duration::from_secs(2));
        let shown: Vec<(u32, bool)> = playing.video()[before..].iter().map(|v| (v.1, v.2)).collect();
        assert!((8..=12).contains(&shown.len()), "one per 200 ms: {shown:?}");
        assert!(shown.iter().all(|v| v.1));
        assert!(shown.windows(2).all(|w| w[1].0 - w[0].0 == 2 * GOP), "{shown:?}");
        // Back to normal: all pictures, from where it was.
        playing.ok(BuiltIn::PlaybackFf { ff: 0 });
        playing.run(Duration::from_secs(2));
        let last = playing.video().last().unwrap().1;
        let around = shown.last().unwrap().0;
        assert!((around..around + 10_000).contains(&last), "{last} after {around}");
        playing.ok(BuiltIn::PlaybackRewind { start_time: RECORDED + 10, end_time: RECORDED + 30 });
        playing.run(Duration::from_millis(100));
        let before = playing.video().len();
        playing.run(Duration::from_millis(1500));
        let shown: Vec<u32> = playing.video()[before..].iter().map(|v| v.1).collect();
        assert!(shown.len() > 4 && shown.windows(2).all(|w| w[0] - w[1] == GOP), "{shown:?}");
        // At its end it goes forward again from there.
        playing.run(Duration::from_secs(4));
        let last = playing.video().last().unwrap().1;
        assert!((10_000..16_000).contains(&last), "{last}");
        // Half speed: a picture each 80 ms.
        playing.ok(BuiltIn::PlaybackSpeed { speed: 80 });
        playing.run(Duration::from_millis(200));
        let before = playing.video().len();
        playing.run(Duration::from_secs(4));
        let count = playing.video().len() - before;
        assert!((45..=55).contains(&count), "{count} pictures in 4 s");
    });
}

#[test]
fn a_recording_goes_on_where_it_was_after_the_camera_restarted() {
    twice(|| {
        let mut playing = Playing::start(7, 30, |_| {});
        playing.run(Duration::from_secs(5));
        playing.world.restart_camera();
        playing.run(Duration::from_secs(45));
        assert!(playing.came.eof, "{:?}", playing.world.events);
        let times: Vec<u32> = playing.video().iter().map(|v| v.1).collect();
        assert_eq!(times, (0..750).map(|n| n * 40).collect::<Vec<_>>(), "nothing twice, nothing lost");
    });
}

fn file(size: usize) -> Bytes {
    let mut bytes = vec![0; size];
    blake3::Hasher::new().update(b"a file").finalize_xof().fill(&mut bytes);
    Bytes::from(bytes)
}

/// What came of a download.
#[derive(Debug, Default)]
struct Got {
    bytes: Vec<u8>,
    digest: Option<[u8; 32]>,
    closed: Option<String>,
    statuses: Vec<u16>,
}

/// Who makes the digest.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Digests {
    Viewer,
    Caller,
}

fn fetch(
    world: &mut World,
    digests: Digests,
    resume: Resume,
    limit: Duration,
    mut meanwhile: impl FnMut(&mut World, usize),
) -> Got {
    let service = connect(world);
    let request = Download { channel: 0, file_name: "clip.flv".into(), offset: 0 };
    let first = resume.received;
    let stream = world
        .sim
        .with(world.viewer, |v, now| v.start_download(now, service, request, resume).expect("a download"));
    let mut caller = (digests == Digests::Caller)
        .then(|| world.sim.with(world.viewer, |v, _| v.take_download_hasher(stream)).expect("its hasher"));
    let mut got = Got::default();
    let end = world.sim.elapsed() + limit;
    while world.sim.elapsed() < end && got.digest.is_none() && got.closed.is_none() {
        world.sim.run_for(Duration::from_millis(5));
        world.serve();
        for (_, event) in world.sim.timed_events(world.viewer) {
            match event {
                ViewerEvent::DownloadData { offset, data, .. } => {
                    assert_eq!(offset, first + got.bytes.len() as u64, "bytes lost or doubled");
                    got.bytes.extend_from_slice(&data);
                    if let Some(hasher) = &mut caller {
                        hasher.update(&data);
                    }
                    world.sim.with(world.viewer, |v, now| v.release(now, stream, data.len()));
                }
                ViewerEvent::DownloadDigestWanted { .. } => {
                    let digest = *caller.as_ref().expect("asked only who has it").finalize().as_bytes();
                    assert!(world.sim.with(world.viewer, |v, now| v.finish_download(now, stream, digest)));
                }
                ViewerEvent::Downloaded { digest, .. } => got.digest = Some(digest),
                ViewerEvent::Close { reason, .. } => got.closed = Some(reason),
                ViewerEvent::Parsed { head, .. } => got.statuses.push(head.status()),
                _ => {}
            }
        }
        meanwhile(world, got.bytes.len());
    }
    got
}

#[test]
fn a_file_survives_two_restarts_of_the_camera_and_a_new_address_of_the_viewer() {
    for digests in [Digests::Viewer, Digests::Caller] {
        survives(digests);
    }
}

fn survives(digests: Digests) {
    twice(|| {
        let mut config = WorldConfig::new(20);
        config.camera_link = LinkConfig::latency(ACCESS).both(|p| p.loss = 0.01);
        let mut world = World::new(config);
        let whole = file(6_000_000);
        world.app.files.insert("clip.flv".into(), whole.clone());
        let mut step = 0;
        let got = fetch(&mut world, digests, Resume::default(), Duration::from_secs(120), |world, bytes| {
            if step < 3 && bytes > 1_500_000 * (step + 1) {
                step += 1;
                match step {
                    2 => world
                        .sim
                        .change_address(world.viewer, &[IpAddr::from(Ipv4Addr::new(198, 51, 100, 50))]),
                    _ => world.restart_camera(),
                }
            }
        });
        assert_eq!(step, 3, "all of it happened: {:?}", got.closed);
        assert_eq!(got.digest, Some(*blake3::hash(&whole).as_bytes()), "{:?}", got.closed);
        assert!(got.bytes == whole);
        println!("{} bytes handed out for a file of {}", world.app.sent, whole.len());
    });
}

/// Issue 3: 200 MB, two restarts of the camera, one new address of the viewer. Once only, for its size.
#[test]
fn two_hundred_megabytes_survive_restarts_and_a_new_address() {
    let mut world = World::new(WorldConfig::new(40));
    let whole = file(200_000_000);
    world.app.files.insert("clip.flv".into(), whole.clone());
    let mut step = 0;
    let limit = Duration::from_secs(600);
    let got = fetch(&mut world, Digests::Caller, Resume::default(), limit, |world, bytes| {
        if step < 3 && bytes > 50_000_000 * (step + 1) {
            step += 1;
            match step {
                2 => world.sim.change_address(world.viewer, &[IpAddr::from(Ipv4Addr::new(198, 51, 100, 50))]),
                _ => world.restart_camera(),
            }
        }
    });
    assert_eq!(step, 3, "all of it happened: {:?}", got.closed);
    assert_eq!(got.digest, Some(*blake3::hash(&whole).as_bytes()), "{:?}", got.closed);
    assert!(got.bytes == whole);
    println!("{} bytes handed out for a file of {}", world.app.sent, whole.len());
}

#[test]
fn a_download_goes_on_from_an_offset_and_notices_another_file() {
    for digests in [Digests::Viewer, Digests::Caller] {
        goes_on(digests);
    }
}

fn goes_on(digests: Digests) {
    twice(|| {
        let whole = file(700_001);
        let start = |seed| {
            let mut world = World::new(WorldConfig::new(seed));
            world.app.files.insert("clip.flv".into(), whole.clone());
            world
        };
        let limit = Duration::from_secs(30);
        let mut hasher = blake3::Hasher::new();
        hasher.update(&whole[..300_000]);
        let resume = Resume { received: 300_000, hasher: hasher.clone(), etag: Some("v1".into()) };
        let mut world = start(21);
        let got = fetch(&mut world, digests, resume.clone(), limit, |_, _| {});
        assert_eq!(got.digest, Some(*blake3::hash(&whole).as_bytes()));
        assert!(got.bytes == whole[300_000..]);
        assert!(world.app.sent < 500_000, "only the rest was sent");
        // Another version: refused before a byte of it is kept.
        let other = Resume { etag: Some("v0".into()), ..resume.clone() };
        let got = fetch(&mut start(22), digests, other, limit, |_, _| {});
        assert!(got.closed.expect("an end").contains("has changed"));
        assert!(got.bytes.is_empty());
        // A part of something else: the digest says so.
        let mut wrong = blake3::Hasher::new();
        wrong.update(&vec![1; 300_000]);
        let got =
            fetch(&mut start(23), digests, Resume { hasher: wrong, ..resume.clone() }, limit, |_, _| {});
        assert!(got.closed.expect("an end").contains("digest"));
        // More than the file has.
        let got =
            fetch(&mut start(24), digests, Resume { received: 700_002, ..resume.clone() }, limit, |_, _| {});
        assert_eq!(got.statuses, [404]);
        // Exactly the file: nothing but the digest comes.
        let mut all = blake3::Hasher::new();
        all.update(&whole);
        let got = fetch(
            &mut start(25),
            digests,
            Resume { received: 700_001, hasher: all, etag: None },
            limit,
            |_, _| {},
        );
        assert!(got.digest.is_some() && got.bytes.is_empty());
        // No such file, and an empty one.
        let mut world = World::new(WorldConfig::new(26));
        let got = fetch(&mut world, digests, Resume::default(), limit, |_, _| {});
        assert_eq!((got.statuses.as_slice(), got.digest), (&[404][..], None));
        world.app.files.insert("clip.flv".into(), Bytes::new());
        let got = fetch(&mut world, digests, Resume::default(), limit, |_, _| {});
        assert_eq!(got.digest, Some(*blake3::hash(b"").as_bytes()));
    });
}

/// Asks for a file whose digest the caller makes, and waits until it is asked for it.
fn until_the_digest_is_wanted(world: &mut World, whole: &Bytes) -> StreamKey {
    world.app.files.insert("clip.flv".into(), whole.clone());
    let service = connect(world);
    let request = Download { channel: 0, file_name: "clip.flv".into(), offset: 0 };
    let stream = world.sim.with(world.viewer, |v, now| {
        let stream = v.start_download(now, service, request, Resume::default()).expect("a download");
        assert!(v.take_download_hasher(stream).is_some() && v.take_download_hasher(stream).is_none(), "once");
        assert!(!v.finish_download(now, stream, [0; 32]), "nobody has asked");
        stream
    });
    for _ in 0..1000 {
        world.run(Duration::from_millis(5));
        if world.events.iter().any(|(_, e)| *e == ViewerEvent::DownloadDigestWanted { stream }) {
            return stream;
        }
    }
    panic!("{:?}", world.events);
}

#[test]
fn the_digest_of_a_file_can_be_given_after_its_camera_is_gone() {
    twice(|| {
        let mut world = World::new(WorldConfig::new(41));
        let whole = file(300_000);
        let stream = until_the_digest_is_wanted(&mut world, &whole);
        world.restart_camera();
        world.run(Duration::from_secs(10));
        let asked =
            world.events.iter().filter(|(_, e)| matches!(e, ViewerEvent::DownloadDigestWanted { .. }));
        assert_eq!(asked.count(), 1, "it has all that it needs");
        let digest = *blake3::hash(&whole).as_bytes();
        assert!(world.sim.with(world.viewer, |v, now| v.finish_download(now, stream, digest)));
        assert!(!world.sim.with(world.viewer, |v, now| v.finish_download(now, stream, digest)), "over");
        world.run(Duration::from_millis(5));
        let last = ViewerEvent::Downloaded { stream, size: 300_000, digest };
        assert!(world.events.iter().any(|(_, e)| *e == last), "{:?}", world.events);
    });
}

#[test]
fn a_file_with_another_digest_is_not_taken_for_the_camera_s() {
    twice(|| {
        let mut world = World::new(WorldConfig::new(42));
        let stream = until_the_digest_is_wanted(&mut world, &file(300_000));
        assert!(world.sim.with(world.viewer, |v, now| v.finish_download(now, stream, [7; 32])));
        world.run(Duration::from_millis(5));
        let failed =
            |e: &ViewerEvent| matches!(e, ViewerEvent::Close { reason, .. } if reason.contains("digest"));
        assert!(world.events.iter().any(|(_, e)| failed(e)), "{:?}", world.events);
    });
}

#[test]
fn a_download_leaves_live_pictures_their_place() {
    twice(|| {
        let mut config = WorldConfig::new(27);
        config.camera_link = LinkConfig::latency(ACCESS).both(|p| p.bandwidth = Some(4_000_000));
        let mut world = World::new(config);
        world.app.files.insert("clip.flv".into(), file(3_000_000));
        world.run(Duration::from_secs(1));
        world.watch();
        world.run(Duration::from_secs(3));
        let service = connect(&mut world);
        let request = Download { channel: 0, file_name: "clip.flv".into(), offset: 0 };
        world.sim.with(world.viewer, |v, now| {
            v.start_download(now, service, request, Resume::default()).expect("a download")
        });
        let from = world.sim.elapsed();
        world.run(Duration::from_secs(5));
        let late: Vec<Duration> = world.shown_after(from).map(|s| world.delay(s)).collect();
        let worst = late.iter().max().unwrap();
        println!("{} pictures beside a download, worst delay {worst:?}", late.len());
        assert!(late.len() > 110, "{}", late.len());
    });
}

fn tags_of_talk(count: u32) -> Vec<Tag> {
    let tag = |n: u32| {
        let mut body = vec![0x72];
        body.extend(n.to_be_bytes().iter().cycle().take(320));
        Tag { kind: TagKind::Audio, timestamp: n * 40, body: body.into() }
    };
    (0..count).map(tag).collect()
}

#[test]
fn talk_comes_whole_while_live_video_runs_and_a_second_talker_is_told_busy() {
    twice(|| {
        let mut config = WorldConfig::new(30);
        config.viewer_link = LinkConfig::latency(ACCESS).both(|p| p.loss = 0.02);
        let mut world = World::with_camera(config, |c| c.talk = true);
        world.watch();
        world.run(Duration::from_secs(1));
        let service = connect(&mut world);
        let voice = Voice { channel: 0, calltype: CallType::Audio };
        let stream = world.sim.with(world.viewer, |v, now| v.start_voice(now, service, voice).unwrap());
        let tags = tags_of_talk(250);
        for (n, tag) in tags.iter().enumerate() {
            world.sim.with(world.viewer, |v, now| v.push_voice(now, stream, tag).unwrap());
            world.run(Duration::from_millis(40));
            if n == 100 {
                let other = connect(&mut world);
                world.sim.with(world.viewer, |v, now| v.start_voice(now, other, voice).unwrap());
            }
        }
        world.sim.with(world.viewer, |v, now| v.end_voice(now, stream));
        world.run(Duration::from_secs(1));
        assert_eq!(world.app.heard, tags, "every tag, once, in order");
        assert_eq!(world.app.talks, [true]);
        let is_eof = |e: &ViewerEvent| matches!(e, ViewerEvent::Eof { stream: s } if *s == stream);
        assert!(world.events.iter().any(|(_, e)| is_eof(e)), "the camera says that it heard everything");
        let busy = |e: &ViewerEvent| matches!(e, ViewerEvent::Parsed { head, .. } if head.status() == 409);
        assert_eq!(world.events.iter().filter(|(_, e)| busy(e)).count(), 1);
        assert!(world.shown.len() > 240, "{} pictures", world.shown.len());
        // Free again.
        let stream = world.sim.with(world.viewer, |v, now| v.start_voice(now, service, voice).unwrap());
        world.sim.with(world.viewer, |v, now| v.push_voice(now, stream, &tags[0]).unwrap());
        world.run(Duration::from_secs(1));
        assert_eq!(world.app.heard.len(), 251);
        // Hanging up without an end is no complete talk.
        world.sim.with(world.viewer, |v, _| v.stop_stream(stream));
        world.run(Duration::from_secs(1));
        assert_eq!(world.app.talks, [true, false]);
    });
}

#[test]
fn a_talk_takes_only_so_much_ahead_and_none_of_it_is_lost() {
    twice(|| {
        let mut config = WorldConfig::new(31);
        config.viewer_link = LinkConfig::latency(ACCESS).both(|p| p.bandwidth = Some(200_000));
        let mut world = World::with_camera(config, |c| c.talk = true);
        let service = connect(&mut world);
        let voice = Voice::default();
        let stream = world.sim.with(world.viewer, |v, now| v.start_voice(now, service, voice).unwrap());
        let tags = tags_of_talk(3000);
        let mut next = 0;
        let mut waits = 0;
        for _ in 0..20_000 {
            while next < tags.len() {
                let pushed = world.sim.with(world.viewer, |v, now| v.push_voice(now, stream, &tags[next]));
                match pushed {
                    Ok(()) => next += 1,
                    Err(ViewerError::TalkFull) => break,
                    Err(e) => panic!("{e}"),
                }
            }
            if next == tags.len() {
                break;
            }
            waits += 1;
            world.run(Duration::from_millis(20));
        }
        assert!(waits > 10, "the limit was felt");
        world.sim.with(world.viewer, |v, now| v.end_voice(now, stream));
        world.run(Duration::from_secs(60));
        assert_eq!(world.app.heard.len(), 3000);
        assert!(world.app.heard == tags);
        assert_eq!(world.app.talks, [true]);
        let ready = |e: &ViewerEvent| matches!(e, ViewerEvent::VoiceReady { .. });
        assert!(world.events.iter().any(|(_, e)| ready(e)));
    });
}

#[test]
fn a_camera_without_an_ear_says_so() {
    twice(|| {
        let mut world = World::new(WorldConfig::new(32));
        let service = connect(&mut world);
        world.sim.with(world.viewer, |v, now| v.start_voice(now, service, Voice::default()).unwrap());
        world.run(Duration::from_secs(1));
        let refused = |e: &ViewerEvent| matches!(e, ViewerEvent::Parsed { head, .. } if head.status() == 404);
        assert!(world.events.iter().any(|(_, e)| refused(e)), "{:?}", world.events);
    });
}
