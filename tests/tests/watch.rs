//! Twelve `xp2p watch` processes on loopback share one stream, with ffprobe and ffmpeg as judges.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use xp2p_smol::Smol;
use xp2p_smol::driver::origin::server::{Feed, OriginServer, OriginServerConfig, Publication};
use xp2p_smol::driver::server::ServerHandle;
use xp2p_smol::driver::signing::{SigningConfig, StreamSigner};
use xp2p_smol::driver::source::{Source, SourceEvent, SourceSpec};
use xp2p_smol::proto::flv::{Tag, TagKind};
use xp2p_smol::proto::info::ServerSpec;
use xp2p_smol::proto::keys::SecretKey;
use xp2p_smol::proto::link::Entropy;
use xp2p_smol::proto::server::ServerConfig;
use xp2p_smol::proto::swarm::{StreamId, Trust};
use xp2p_tests::media::tags_of;
use xp2p_tests::probing::{decode, streams};
use xp2p_tests::processes::{Process, TempDir, program};

/// Pictures that are all different, and sound.
const PICTURES: &str = "lavfi:testsrc2=size=640x360:rate=25[out0];sine=frequency=440:sample_rate=44100[out1]";
const KBIT: u32 = 800;
const WATCHERS: usize = 12;
/// Between two arrivals.
const STAGGER: Duration = Duration::from_millis(400);
/// Of the stream.
const SECONDS: u64 = 40;

/// An origin and a tracker in this process.
struct Home {
    _server: ServerHandle,
    spec: String,
    _origin: OriginServer,
    publication: Publication,
    url: String,
    _source: Source,
    /// All that was published.
    published: Arc<Mutex<Vec<Tag>>>,
}

fn home() -> Home {
    let secret = |n| SecretKey::from_bytes([n; 32]);
    let any = "127.0.0.1:0".parse().expect("an address");
    let config = ServerConfig::new(secret(1), Entropy::from_os([7; 32]), any);
    let (server, _) = ServerHandle::spawn(&Smol, any, None, config).expect("a server");
    let spec = ServerSpec { addr: server.local_addr().into(), tcp_port: None, key: Some(secret(1).public()) }
        .to_string();
    let origin = OriginServer::bind(&Smol, OriginServerConfig::new(any)).expect("an origin");
    let url = origin.url("room");
    let stream = StreamId::of_url(&url).expect("a stream");
    let signing = SigningConfig { key: secret(2), trust: Trust::Source, streams: vec![stream] };
    let signer = StreamSigner::spawn(&Smol, &server, signing);
    let published = Arc::new(Mutex::new(Vec::new()));
    let list = published.clone();
    let (sender, tags) = async_channel::bounded(256);
    let tap = Box::new(move |tag: &Tag| {
        list.lock().expect("nobody panics with it").push(tag.clone());
        signer.push(tag);
    });
    let publication = origin.publish("room", Feed::Tags(tags), Some(tap)).expect("a free name");
    let sink = Box::new(move |event| match event {
        SourceEvent::Tag(tag) => sender.send_blocking(tag).is_ok(),
        SourceEvent::Ended(_) => false,
        other => panic!("the source: {other:?}"),
    });
    let source = Source::open(&SourceSpec::Encoded(PICTURES.to_owned(), KBIT), sink)
        .expect("ffmpeg (./test installs it)");
    Home { _server: server, spec, _origin: origin, publication, url, _source: source, published }
}

/// Bodies of one track, configuration left out.
fn bodies(tags: &[Tag], kind: TagKind) -> Vec<&[u8]> {
    tags.iter().filter(|t| t.kind == kind && !t.is_sequence_header()).map(|t| &t.body[..]).collect()
}

/// Of how many runs of `whole` `part` consists, nothing left out within a run. `None`: something was never published.
fn runs(whole: &[&[u8]], part: &[&[u8]]) -> Option<usize> {
    let (mut at, mut runs) = (None, 0);
    for body in part {
        let next = at.map_or(0, |at: usize| at + 1);
        if at.is_none() || whole.get(next) != Some(body) {
            runs += 1;
        }
        at = Some(next + whole.get(next..)?.iter().position(|w| w == body)?);
    }
    Some(runs)
}

/// The newest line of numbers that a watcher has printed.
fn newest(watcher: &mut Process) -> Option<Value> {
    let lines = watcher.lines_so_far();
    let mut values = lines.iter().filter_map(|l| serde_json::from_str::<Value>(l).ok());
    values.rfind(|v| v["event"] == "stats")
}

#[test]
fn twelve_processes_share_a_stream_and_four_of_them_are_killed() {
    // Built first, or its time would be that of the watchers.
    program();
    let home = home();
    let dir = TempDir::new("watch");
    let seconds = SECONDS.to_string();
    let start = Instant::now();
    let mut watchers = Vec::new();
    for n in 0..WATCHERS {
        let out = format!("{n}.flv");
        let args = [
            "watch",
            &home.url,
            "--tracker",
            &home.spec,
            "--out",
            &out,
            "--seconds",
            &seconds,
            "--json",
            "--interval",
            "1",
            "--no-player",
        ];
        watchers.push(Some(Process::start(&format!("watch {n}"), dir.path(), &args)));
        std::thread::sleep(STAGGER);
    }
    // Half-way: the one that reads the origin for the others, and three others.
    std::thread::sleep(Duration::from_secs(SECONDS / 2).saturating_sub(start.elapsed()));
    let before = home.publication.stats();
    let reads = |w: &mut Option<Process>| {
        w.as_mut().and_then(newest).is_some_and(|v| v["origin_open"] == true && v["reason"] == "puller")
    };
    let puller = watchers.iter_mut().position(reads).expect("somebody reads the origin for the others");
    let others = (0..WATCHERS).filter(|n| *n != puller && n % 4 == 2);
    let victims: Vec<usize> = std::iter::once(puller).chain(others).take(4).collect();
    println!("before: {before:?}; killed: {victims:?}");
    let mut stalls = vec![Value::Null; WATCHERS];
    for n in 0..WATCHERS {
        if victims.contains(&n) {
            watchers[n] = None;
        } else {
            stalls[n] = watchers[n].as_mut().and_then(newest).map_or(Value::Null, |v| v["stalls"].clone());
        }
    }
    // Steady again 8 s later.
    std::thread::sleep(Duration::from_secs(8));
    let mut most = 0;
    for _ in 0..40 {
        most = most.max(home.publication.stats().clients);
        std::thread::sleep(Duration::from_millis(100));
    }
    let mut summaries = Vec::new();
    for (n, watcher) in watchers.iter_mut().enumerate() {
        let Some(watcher) = watcher else { continue };
        let lines = watcher.rest(Duration::from_secs(SECONDS + 30));
        assert!(watcher.wait(Duration::from_secs(10)).success(), "watcher {n}");
        let summary: Value = serde_json::from_str(lines.last().expect("lines")).expect("JSON");
        assert_eq!(summary["event"], "summary");
        summaries.push((n, summary));
    }
    println!("most clients of the origin afterwards: {most}; {:?}", home.publication.stats());
    let published = home.published.lock().expect("nobody panics with it").clone();
    let whole = [TagKind::Video, TagKind::Audio].map(|kind| (kind, bodies(&published, kind)));
    let (mut p2p, mut origin) = (0, 0);
    summaries
        .iter()
        .for_each(|(n, summary)| println!("watcher {n}: stalls before {}, {summary}", stalls[*n]));
    for (n, summary) in &summaries {
        let file = dir.path().join(format!("{n}.flv"));
        assert_eq!(decode(&file), "", "watcher {n}");
        assert_eq!(streams(&file), "h264\naac\n", "watcher {n}");
        let tags = tags_of(&file);
        for (kind, whole) in &whole {
            let part = bodies(&tags, *kind);
            assert!(part.len() as u64 > (SECONDS - 3) * 25, "watcher {n}: {} {kind:?} tags", part.len());
            let runs =
                runs(whole, &part).unwrap_or_else(|| panic!("watcher {n}: {kind:?} was never published"));
            let skips = summary["skips"].as_u64().expect("a number") as usize;
            assert!(runs <= 1 + skips, "watcher {n}: {runs} runs of {kind:?}");
        }
        p2p += summary["p2p_bytes"].as_u64().expect("a number");
        origin += summary["origin_bytes"].as_u64().expect("a number");
    }
    let offload = p2p as f64 / (p2p + origin) as f64;
    println!("offload of all survivors: {offload:.3}");
    assert!(offload > 0.6, "{offload}");
    assert!(most <= 2, "{most} connections to the origin");
    // The last pieces of the one that read the origin were with nobody else; the server gives them to its successor.
    for (n, summary) in &summaries {
        let number = |value: &Value| value.as_u64().expect("a number");
        assert_eq!(number(&summary["stalls"]), number(&stalls[*n]), "watcher {n} has stalled");
        assert_eq!(number(&summary["skips"]), 0, "watcher {n} has left something out");
    }
}
