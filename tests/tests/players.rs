//! Players as people have them, on the two forms in which `xp2p demo` serves its live stream.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use xp2p_smol::Smol;
use xp2p_smol::driver::player::{Hub, PlayerConfig, PlayerServer};
use xp2p_smol::proto::flv::{Config, TagKind};
use xp2p_tests::media::tags_of;
use xp2p_tests::processes::{Process, TempDir};

const START: Duration = Duration::from_secs(20);

fn player(program: &str, args: &[&str]) -> Output {
    let out = Command::new(program)
        .args(["-v", "error"])
        .args(args)
        // It plays into nothing, in its own time.
        .envs([("SDL_VIDEODRIVER", "dummy"), ("SDL_AUDIODRIVER", "dummy")])
        .output()
        .expect("ffmpeg is installed (./test does that)");
    let words = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success() && words.is_empty(), "{program} {args:?}: {words}");
    out
}

/// What a player sees of the first seconds: its streams, and when it is given which picture.
fn seen(url: &str) -> (Vec<Value>, Vec<f64>) {
    let args = ["-read_intervals", "%+2", "-show_streams", "-show_packets", "-of", "json", url];
    let seen: Value = serde_json::from_slice(&player("ffprobe", &args).stdout).expect("JSON");
    let fields = ["codec_type", "codec_name", "profile", "width", "height", "sample_rate", "channels"];
    let stream = |s: &Value| fields.iter().map(|f| s[*f].clone()).collect::<Value>();
    let mut streams: Vec<Value> = seen["streams"].as_array().expect("streams").iter().map(stream).collect();
    streams.sort_by_key(Value::to_string);
    let pictures = seen["packets"].as_array().expect("packets").iter().filter(|p| p["codec_type"] == "video");
    let time = |p: &Value| p["pts_time"].as_str().and_then(|t| t.parse().ok()).expect("a time");
    (streams, pictures.map(time).collect())
}

#[test]
fn probes_see_the_same_in_either_form() {
    let dir = TempDir::new("players");
    let mut demo = Process::start("demo", dir.path(), &["demo", "--json", "--seconds", "60"]);
    let flv = demo.event("url", START)["url"].as_str().expect("a URL").to_owned();
    let mp4 = flv.replace("ipc.flv", "live.mp4");
    assert_ne!(flv, mp4);
    let ((flv_streams, flv_times), (mp4_streams, mp4_times)) = (seen(&flv), seen(&mp4));
    assert_eq!(flv_streams, mp4_streams);
    assert_eq!(flv_streams.len(), 2, "picture and sound");
    for times in [&flv_times, &mp4_times] {
        assert!(times.len() > 25, "{}", times.len());
        // Both begin near 0 and have a picture every 40 ms.
        assert!(times[0].abs() < 0.2, "{}", times[0]);
        assert!(times.windows(2).all(|w| (w[1] - w[0] - 0.04).abs() < 0.0015), "{times:?}");
    }
}

/// A stream that ends, because ffplay does not end before.
#[test]
fn ffplay_plays_either_form_to_its_end() {
    let clip = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/clip.flv"));
    let (mut config, mut tags) = (Config::default(), tags_of(clip));
    tags.iter().for_each(|tag| _ = config.update(tag));
    // Some seconds are enough: it takes its time.
    tags.retain(|t| !t.is_sequence_header() && t.kind != TagKind::Script && t.timestamp < 3_000);
    let config_of_server = PlayerConfig::new((std::net::Ipv4Addr::LOCALHOST, 0).into());
    let (server, hub) = (PlayerServer::bind(&Smol, config_of_server).expect("a free port"), Hub::default());
    server.insert("cam", hub.clone());
    let urls = [server.url("cam", "action=live"), server.mp4_url("cam", "action=live")];
    let players = urls.map(|url| std::thread::spawn(move || player("ffplay", &["-autoexit", &url])));
    while hub.stats().receivers < players.len() {
        assert!(!players.iter().any(|p| p.is_finished()), "one has ended before it began");
        std::thread::sleep(Duration::from_millis(5));
    }
    hub.configure(&Arc::new(config));
    tags.iter().for_each(|tag| hub.push(tag));
    hub.end();
    players.into_iter().for_each(|p| _ = p.join().expect("it plays"));
}
