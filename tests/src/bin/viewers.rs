//! What one camera process costs per viewer: `cargo run --release -p xp2p-tests --bin viewers -- --viewers 100`.
//!
//! A server and a camera run as processes of their own, the viewers in this one, each with a socket of its own. CPU time
//! and memory of the camera process are read from `/proc`, so this runs on Linux only.

use std::path::Path;
use std::time::{Duration, Instant};

use xp2p_proto::flv::{FileHeader, Muxer};
use xp2p_proto::info::Xp2pInfo;
use xp2p_proto::keys::SecretKey;
use xp2p_proto::link::{Entropy, PathKind};
use xp2p_proto::request::Live;
use xp2p_proto::viewer::ViewerConfig;
use xp2p_smol::driver::runtime::{Runtime as _, sleep};
use xp2p_smol::{Smol, ViewerHandle};
use xp2p_tests::media::{Media, MediaConfig};
use xp2p_tests::processes::{Process, TempDir, run};

const START: Duration = Duration::from_secs(15);

/// CPU time so far and resident memory in bytes.
fn usage(process: u32) -> (Duration, u64) {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).expect("Linux");
    // Fields after the name in parentheses; 12 and 13 of them are user and system time in ticks of 10 ms.
    let fields: Vec<&str> = stat.rsplit_once(')').expect("a name").1.split_whitespace().collect();
    let ticks = |i: usize| fields[i].parse::<u64>().expect("a number");
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("Linux");
    let kib = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).expect("VmRSS");
    let kib: u64 = kib.trim().trim_end_matches(" kB").parse().expect("a number");
    (Duration::from_millis((ticks(11) + ticks(12)) * 10), kib * 1024)
}

fn clip(path: &Path, bitrate: u32) {
    let keyframe = bitrate as usize / 8 / 3;
    let mut media = Media::new(MediaConfig { bitrate, keyframe, ..MediaConfig::default() });
    let mut muxer = Muxer::new();
    let mut bytes = muxer.header(FileHeader { has_audio: true, has_video: true }).to_vec();
    while media.next_time() < 20_000 {
        for tag in media.next_tags() {
            muxer.tag(&tag).iter().for_each(|part| bytes.extend_from_slice(part));
        }
    }
    std::fs::write(path, bytes).expect("the clip can be written");
}

fn argument(name: &str, default: u64) -> u64 {
    let args: Vec<String> = std::env::args().collect();
    args.windows(2).find(|w| w[0] == name).map_or(default, |w| w[1].parse().expect("a number"))
}

fn main() {
    let (count, seconds, kbit) =
        (argument("--viewers", 100) as usize, argument("--seconds", 20), argument("--kbit", 2000) as u32);
    let dir = TempDir::new("bench");
    let path = dir.path();
    clip(&path.join("clip.flv"), kbit * 1000);
    assert_eq!(run(path, &["keygen", "-o", "camera.key"], None).0, Some(0));
    let mut server = Process::start("server", path, &["server", "--listen", "127.0.0.1:0"]);
    let spec = server.line(START);
    let max = count.to_string();
    let camera =
        ["camera", "--key", "camera.key", "--server", &spec, "--input", "clip.flv", "--max-viewers", &max];
    let mut camera = Process::start("camera", path, &camera);
    let info = Xp2pInfo::parse(&camera.line(START)).expect("an xp2pInfo");
    futures_lite::future::block_on(measure(count, Duration::from_secs(seconds), kbit, &info, camera.id()));
}

async fn measure(count: usize, time: Duration, kbit: u32, info: &Xp2pInfo, camera: u32) {
    // Without viewers first.
    sleep(&Smol, Duration::from_secs(2)).await;
    let (idle_from, idle_memory) = usage(camera);
    let idle_start = Instant::now();
    sleep(&Smol, Duration::from_secs(5)).await;
    let idle = (usage(camera).0 - idle_from).as_secs_f64() / idle_start.elapsed().as_secs_f64();

    let mut viewers = Vec::new();
    for _ in 0..count {
        let secret = SecretKey::from_bytes(Smol.random().expect("randomness"));
        let config = ViewerConfig::new(secret, Entropy::from_os(Smol.random().expect("randomness")));
        let bind = "127.0.0.1:0".parse().expect("an address");
        let viewer = ViewerHandle::spawn(&Smol, bind, config).expect("a viewer");
        let watching = viewer.watch(info.clone(), Live::default()).await.expect("a stream");
        viewers.push((viewer, watching));
    }
    sleep(&Smol, Duration::from_secs(5)).await;
    let mut before = 0;
    for (viewer, (_, stream, _)) in &viewers {
        before += viewer.status(*stream).await.expect("running").stats.map_or(0, |s| s.received.bytes);
    }
    let (from, _) = usage(camera);
    let start = Instant::now();
    sleep(&Smol, time).await;
    let (to, memory) = usage(camera);
    let elapsed = start.elapsed().as_secs_f64();
    let (mut bytes, mut pictures, mut direct, mut skipped) = (0, 0, 0, 0);
    let mut slowest = Duration::ZERO;
    for (viewer, (_, stream, _)) in &viewers {
        let status = viewer.status(*stream).await.expect("running");
        let stats = status.stats.unwrap_or_default();
        bytes += stats.received.bytes;
        skipped += stats.received.skipped_gops;
        pictures += usize::from(stats.first_keyframe.is_some());
        slowest = slowest.max(stats.first_keyframe.unwrap_or_default());
        direct += usize::from(status.paths.iter().any(|p| p.selected && p.kind == PathKind::Direct));
    }
    let cpu = (to - from).as_secs_f64() / elapsed;
    let rate = (bytes - before) as f64 * 8.0 / elapsed / count as f64 / 1000.0;
    println!(
        "viewers                      {count}, of which {pictures} have a picture and {direct} a direct path"
    );
    println!(
        "stream                       {kbit} kbit/s; {rate:.0} kbit/s arrive at each viewer, sound and heads included"
    );
    println!("slowest first picture        {:.0} ms", slowest.as_secs_f64() * 1000.0);
    println!("groups of pictures skipped   {skipped}");
    println!("camera's CPU, no viewer      {:.2} % of one core", idle * 100.0);
    println!("camera's CPU, all viewers    {:.1} % of one core", cpu * 100.0);
    println!("  per viewer                 {:.3} % of one core", (cpu - idle) * 100.0 / count as f64);
    println!("camera's memory, no viewer   {:.1} MiB", idle_memory as f64 / 1048576.0);
    println!("camera's memory, all viewers {:.1} MiB", memory as f64 / 1048576.0);
    println!(
        "  per viewer                 {:.0} KiB",
        memory.saturating_sub(idle_memory) as f64 / 1024.0 / count as f64
    );
    assert_eq!(pictures, count, "every viewer has a picture");
}
