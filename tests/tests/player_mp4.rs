//! `live.mp4` of the local server against `ipc.flv` and the elementary stream, as ffmpeg's tools see them.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use xp2p_smol::Smol;
use xp2p_smol::driver::player::{Hub, PlayerConfig, PlayerServer};
use xp2p_smol::proto::flv::{Config, FrameLimits, FrameMuxer, Tag, TagKind, VideoKind};
use xp2p_tests::media::tags_of;
use xp2p_tests::processes::TempDir;

const CLIP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/clip.flv");
const TEST_PICTURE: &str = "testsrc2=size=320x180:rate=25:duration=3";
const TEST_SOUND: &str = "sine=frequency=440:beep_factor=4:duration=3";

fn server() -> PlayerServer {
    PlayerServer::bind(&Smol, PlayerConfig::new((std::net::Ipv4Addr::LOCALHOST, 0).into()))
        .expect("a free port")
}

/// An answer: head and body.
type Answer = (String, Vec<u8>);

/// Asks as a player does.
fn ask(method: &str, url: &str) -> JoinHandle<Answer> {
    ask_with(method, url, "")
}

/// Asks with more headers. HTTP/1.0, so that the body ends with the connection.
fn ask_with(method: &str, url: &str, headers: &str) -> JoinHandle<Answer> {
    let rest = url.strip_prefix("http://").expect("an HTTP URL");
    let (addr, path) = rest.split_once('/').expect("a path");
    let request = format!("{method} /{path} HTTP/1.0\r\nHost: {addr}\r\n{headers}\r\n");
    let mut tcp = TcpStream::connect(addr).expect("the server listens");
    std::thread::spawn(move || {
        tcp.write_all(request.as_bytes()).expect("it reads");
        let mut answer = Vec::new();
        tcp.read_to_end(&mut answer).expect("it answers");
        let end = answer.windows(4).position(|w| w == b"\r\n\r\n").expect("a head") + 4;
        let body = answer.split_off(end);
        (String::from_utf8(answer).expect("text").to_ascii_lowercase(), body)
    })
}

fn mp4_url(server: &PlayerServer, query: &str) -> String {
    server.mp4_url("cam", query)
}

/// The configuration of all tags, and those that are no configuration.
fn split(tags: Vec<Tag>) -> (Config, Vec<Tag>) {
    let mut config = Config::default();
    tags.iter().for_each(|tag| _ = config.update(tag));
    (config, tags.into_iter().filter(|t| !t.is_sequence_header() && t.kind != TagKind::Script).collect())
}

/// Gives a whole stream to players that ask for these URLs before it begins.
fn play(hub: &Hub, urls: &[String], tags: Vec<Tag>) -> Vec<Answer> {
    let players: Vec<_> = urls.iter().map(|url| ask("GET", url)).collect();
    while hub.stats().receivers < players.len() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let (config, tags) = split(tags);
    hub.configure(&Arc::new(config));
    tags.iter().for_each(|tag| hub.push(tag));
    hub.end();
    let answers: Vec<Answer> = players.into_iter().map(|p| p.join().expect("an answer")).collect();
    assert_eq!(hub.stats().dropped, 0);
    for (head, _) in &answers {
        assert!(head.starts_with("http/1.0 200"), "{head}");
    }
    answers
}

fn tool(program: &str, args: &[&str]) -> Vec<u8> {
    let out = Command::new(program)
        .args(["-v", "error"])
        .args(args)
        .output()
        .expect("ffmpeg is installed (./test does that)");
    let error = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success() && error.is_empty(), "{program} {args:?}: {error}");
    out.stdout
}

fn name_of(path: &Path) -> &str {
    path.to_str().expect("a name in UTF-8")
}

fn make(dir: &TempDir, name: &str, args: &[&str]) -> PathBuf {
    let path = dir.path().join(name);
    let to = name_of(&path);
    let inputs = ["-f", "lavfi", "-i", TEST_PICTURE, "-f", "lavfi", "-i", TEST_SOUND, "-pix_fmt", "yuv420p"];
    tool("ffmpeg", &[&inputs, args, &["-threads", "1", to]].concat());
    path
}

fn probe(path: &Path) -> Value {
    let args = ["-show_streams", "-show_packets", "-of", "json", name_of(path)];
    serde_json::from_slice(&tool("ffprobe", &args)).expect("JSON")
}

/// Times of a packet in milliseconds, and whether it is a keyframe.
type Packet = (i64, i64, bool);

fn packets(probe: &Value, kind: &str) -> Vec<Packet> {
    let of_kind = |p: &&Value| p["codec_type"] == kind;
    let ms =
        |v: &Value| (v.as_str().expect("a time").parse::<f64>().expect("a number") * 1000.0).round() as i64;
    let packet = |p: &Value| {
        (ms(&p["pts_time"]), ms(&p["dts_time"]), p["flags"].as_str().unwrap_or_default().starts_with('K'))
    };
    probe["packets"].as_array().expect("packets").iter().filter(of_kind).map(packet).collect()
}

fn stream<'a>(probe: &'a Value, kind: &str) -> &'a Value {
    let streams = probe["streams"].as_array().expect("streams");
    streams.iter().find(|s| s["codec_type"] == kind).unwrap_or(&Value::Null)
}

/// What decoding gives.
fn decoded(path: &Path, args: &[&str]) -> Vec<u8> {
    tool("ffmpeg", &[&["-i", name_of(path)], args, &["-"]].concat())
}

/// The hash of each picture.
fn pictures(path: &Path) -> Vec<String> {
    let text = decoded(path, &["-map", "0:v", "-fps_mode", "passthrough", "-f", "framemd5"]);
    let lines = String::from_utf8(text).expect("text");
    let hash = |line: &str| line.rsplit(',').next().unwrap_or_default().trim().to_owned();
    lines.lines().filter(|l| !l.starts_with('#')).map(hash).collect()
}

/// Both forms of a stream, played at the same time: paths of FLV and MP4, the MP4's head.
fn both(dir: &TempDir, clip: &Path) -> (PathBuf, PathBuf, String) {
    both_of(dir, tags_of(clip))
}

fn both_of(dir: &TempDir, tags: Vec<Tag>) -> (PathBuf, PathBuf, String) {
    let (server, hub) = (server(), Hub::default());
    server.insert("cam", hub.clone());
    let urls = [server.url("cam", "action=live"), mp4_url(&server, "action=live")];
    let mut answers = play(&hub, &urls, tags);
    let (head, mp4) = answers.pop().expect("two answers");
    let (_, flv) = answers.pop().expect("two answers");
    let (flv_path, mp4_path) = (dir.path().join("played.flv"), dir.path().join("played.mp4"));
    std::fs::write(&flv_path, flv).expect("a file");
    std::fs::write(&mp4_path, mp4).expect("a file");
    (flv_path, mp4_path, head)
}

/// Codec, size, number, order, times and content of the pictures agree.
fn same_pictures(flv: &Path, mp4: &Path) -> (Value, Value) {
    let (a, b) = (probe(flv), probe(mp4));
    for field in ["codec_name", "profile", "width", "height", "pix_fmt"] {
        assert_eq!(stream(&a, "video")[field], stream(&b, "video")[field], "{field}");
    }
    let (from, to) = (packets(&a, "video"), packets(&b, "video"));
    assert_eq!(from.len(), to.len());
    for (n, (from, to)) in from.iter().zip(&to).enumerate() {
        assert!((from.0 - to.0).abs() <= 1 && (from.1 - to.1).abs() <= 1, "{n}: {from:?} {to:?}");
        assert_eq!((from.0 - from.1, from.2), (to.0 - to.1, to.2), "{n}");
    }
    assert_eq!(pictures(flv), pictures(mp4));
    (a, b)
}

/// Sound of the MP4 has neither gaps nor overlaps, and is where FLV has it.
fn steady_sound(flv: &Value, mp4: &Value) {
    let audio = mp4["packets"].as_array().expect("packets").iter().filter(|p| p["codec_type"] == "audio");
    let times: Vec<i64> = audio.map(|p| p["pts"].as_i64().expect("a time")).collect();
    assert!(times.len() > 2);
    assert!(times.windows(2).all(|w| w[1] - w[0] == times[1] - times[0]), "{times:?}");
    let (from, to) = (packets(flv, "audio"), packets(mp4, "audio"));
    assert!((from[0].0 - to[0].0).abs() <= 1, "{:?} {:?}", from[0], to[0]);
}

#[test]
fn the_clip_is_the_same_in_both_forms() {
    let dir = TempDir::new("mp4-clip");
    let (flv, mp4, head) = both(&dir, Path::new(CLIP));
    assert!(head.contains("content-type: video/mp4; codecs=\"avc1.4d40"), "{head}");
    assert!(head.contains(",mp4a.40.2\""), "{head}");
    assert!(head.contains("cache-control: no-store") && !head.contains("x-xp2p-notice"), "{head}");
    let (a, b) = same_pictures(&flv, &mp4);
    assert_eq!(packets(&b, "video").len(), 250);
    for field in ["codec_name", "profile", "sample_rate", "channels"] {
        assert_eq!(stream(&a, "audio")[field], stream(&b, "audio")[field], "{field}");
    }
    steady_sound(&a, &b);
    let (from, to) = (packets(&a, "audio"), packets(&b, "audio"));
    assert_eq!(from.len(), to.len());
    for (from, to) in from.iter().zip(&to) {
        assert!((from.0 - to.0).abs() <= 1, "{from:?} {to:?}");
    }
    let samples = ["-map", "0:a", "-f", "s16le"];
    assert_eq!(decoded(&flv, &samples), decoded(&mp4, &samples));
}

#[test]
fn pictures_that_are_shown_in_another_order_keep_it() {
    let dir = TempDir::new("mp4-bframes");
    let clip = make(&dir, "b.flv", &["-c:v", "libx264", "-bf", "3", "-g", "25", "-c:a", "aac"]);
    let (flv, mp4, _) = both(&dir, &clip);
    let (a, b) = same_pictures(&flv, &mp4);
    assert!(packets(&b, "video").iter().any(|p| p.0 > p.1 + 40), "the clip has such pictures");
    steady_sound(&a, &b);
}

#[test]
fn telephone_sound_comes_without_loss() {
    let dir = TempDir::new("mp4-g711");
    for codec in ["pcm_alaw", "pcm_mulaw"] {
        let sound = ["-c:v", "libx264", "-bf", "0", "-g", "25", "-c:a", codec, "-ar", "8000", "-ac", "1"];
        let clip = make(&dir, &format!("{codec}.flv"), &sound);
        lossless(&dir, &clip, "8000");
    }
}

#[test]
fn linear_sound_comes_without_loss() {
    let dir = TempDir::new("mp4-pcm");
    let sound = ["-c:v", "libx264", "-bf", "0", "-g", "25", "-c:a", "pcm_s16le", "-ar", "44100", "-ac", "2"];
    let clip = make(&dir, "pcm.flv", &sound);
    lossless(&dir, &clip, "44100");
}

fn lossless(dir: &TempDir, clip: &Path, rate: &str) {
    let (flv, mp4, head) = both(dir, clip);
    assert!(head.contains(",flac\""), "{head}");
    let (a, b) = same_pictures(&flv, &mp4);
    let sound = stream(&b, "audio");
    assert_eq!((sound["codec_name"].as_str(), sound["sample_rate"].as_str()), (Some("flac"), Some(rate)));
    steady_sound(&a, &b);
    let samples = ["-map", "0:a", "-f", "s16le"];
    let (from, to) = (decoded(&flv, &samples), decoded(&mp4, &samples));
    // What does not fill the last block is lost at the end.
    assert!(to.len() * 20 > from.len() * 19, "{} of {}", to.len(), from.len());
    assert!(from.starts_with(&to));
}

#[test]
fn a_microphone_that_is_switched_off_leaves_silence() {
    let dir = TempDir::new("mp4-silence");
    let stereo = ["-c:v", "libx264", "-bf", "0", "-g", "25", "-c:a", "aac", "-ac", "2"];
    let telephone =
        ["-c:v", "libx264", "-bf", "0", "-g", "25", "-c:a", "pcm_alaw", "-ar", "8000", "-ac", "1"];
    let clips = [PathBuf::from(CLIP), make(&dir, "two.flv", &stereo), make(&dir, "g711.flv", &telephone)];
    for clip in clips {
        let mut tags = tags_of(&clip);
        tags.retain(|t| t.kind != TagKind::Audio || t.timestamp < 500);
        let (flv, mp4, _) = both_of(&dir, tags);
        let (a, b) = same_pictures(&flv, &mp4);
        steady_sound(&a, &b);
        let end = |kind| packets(&b, kind).last().map_or(0, |p| p.0);
        assert!(end("audio") + 500 > end("video"), "{} {}", end("audio"), end("video"));
        decoded(&mp4, &["-map", "0:a", "-f", "null"]);
    }
}

/// Access units of a stream of H.265 with delimiters.
fn access_units(data: &[u8]) -> Vec<Vec<u8>> {
    const DELIMITER: [u8; 6] = [0, 0, 0, 1, 0x46, 0x01];
    let starts: Vec<usize> =
        data.windows(6).enumerate().filter(|(_, w)| *w == DELIMITER).map(|(at, _)| at).collect();
    let ends = starts.iter().skip(1).copied().chain([data.len()]);
    starts.iter().zip(ends).map(|(&from, to)| data[from..to].to_vec()).collect()
}

/// The same tag in the form of Enhanced RTMP.
fn enhanced(tag: &Tag) -> Tag {
    let (head, packet) = (tag.body[0] >> 4, tag.body[1]);
    let mut body = vec![0x80 | head << 4 | packet];
    body.extend_from_slice(b"hvc1");
    body.extend_from_slice(&tag.body[if packet == 0 { 5 } else { 2 }..]);
    Tag { body: body.into(), ..tag.clone() }
}

#[test]
fn h265_comes_in_both_forms_of_flv() {
    let dir = TempDir::new("mp4-hevc");
    let raw = dir.path().join("raw.hevc");
    let coding = ["-c:v", "libx265", "-x265-params", "log-level=error:aud=1:bframes=0:keyint=25:pools=1"];
    let input = ["-f", "lavfi", "-i", TEST_PICTURE, "-pix_fmt", "yuv420p"];
    tool("ffmpeg", &[&input[..], &coding, &[name_of(&raw)]].concat());
    let mut muxer = FrameMuxer::new(FrameLimits::default());
    let mut tags = Vec::new();
    for (n, unit) in access_units(&std::fs::read(&raw).unwrap()).iter().enumerate() {
        let time = n as u32 * 40;
        tags.extend(muxer.video(VideoKind::H265, unit, time, time).expect("a picture"));
    }
    for tags in [tags.clone(), tags.iter().map(enhanced).collect()] {
        let (server, hub) = (server(), Hub::default());
        server.insert("cam", hub.clone());
        let answers = play(&hub, &[mp4_url(&server, "action=live")], tags);
        let [(head, body)] = answers.as_slice() else { panic!("one answer") };
        assert!(head.contains("content-type: video/mp4; codecs=\"hvc1.1.6.l60."), "{head}");
        let mp4 = dir.path().join("played.mp4");
        std::fs::write(&mp4, body).unwrap();
        let probe = probe(&mp4);
        let video = stream(&probe, "video");
        assert_eq!((&video["codec_name"], &video["codec_tag_string"]), (&"hevc".into(), &"hvc1".into()));
        assert_eq!((&video["width"], &video["height"]), (&320.into(), &180.into()));
        let want: Vec<Packet> = (0..75).map(|n| (n * 40, n * 40, n % 25 == 0)).collect();
        assert_eq!(packets(&probe, "video"), want);
        assert_eq!(pictures(&raw), pictures(&mp4));
    }
}

#[test]
fn what_cannot_be_played_is_left_out_and_said() {
    let dir = TempDir::new("mp4-left-out");
    let sound = ["-c:v", "libx264", "-bf", "0", "-c:a", "libmp3lame", "-ar", "44100"];
    let clip = make(&dir, "mp3.flv", &sound);
    let (flv, mp4, head) = both(&dir, &clip);
    assert!(head.contains("x-xp2p-notice: the sound is left out: its coding (mp3)"), "{head}");
    let (_, b) = same_pictures(&flv, &mp4);
    assert!(stream(&b, "audio").is_null());
}

#[test]
fn a_late_player_begins_with_a_keyframe_and_the_query_chooses_the_hub() {
    let dir = TempDir::new("mp4-late");
    let (server, live, playback) = (server(), Hub::default(), Hub::default());
    server.insert("cam", live);
    server.insert_action("cam", "playback", playback.clone());
    let (config, tags) = split(tags_of(Path::new(CLIP)));
    playback.configure(&Arc::new(config));
    tags.iter().for_each(|tag| playback.push(tag));
    playback.end();
    let url = mp4_url(&server, "action=playback");
    let (head, body) = ask("GET", &url).join().unwrap();
    let mp4 = dir.path().join("late.mp4");
    std::fs::write(&mp4, body).unwrap();
    let video = packets(&probe(&mp4), "video");
    assert_eq!((video.len(), video[0]), (50, (0, 0, true)), "the newest group of pictures");
    decoded(&mp4, &["-f", "null"]);
    let (only, nothing) = ask("HEAD", &url).join().unwrap();
    let kind = |head: &str| head.lines().find(|l| l.starts_with("content-type")).map(str::to_owned);
    assert!(
        only.starts_with("http/1.0 200") && kind(&only).is_some() && kind(&only) == kind(&head),
        "{only}"
    );
    assert!(nothing.is_empty());
}

#[test]
fn a_page_of_an_allowed_origin_sees_what_is_left_out() {
    let mut config = PlayerConfig::new((std::net::Ipv4Addr::LOCALHOST, 0).into());
    config.allow_origins = vec!["https://example.org".to_owned()];
    let server = PlayerServer::bind(&Smol, config).unwrap();
    let hub = Hub::default();
    server.insert("cam", hub.clone());
    let (config, tags) = split(tags_of(Path::new(CLIP)));
    hub.configure(&Arc::new(Config { audio: None, ..config }));
    let speex = Tag { kind: TagKind::Audio, timestamp: 0, body: Bytes::from_static(&[0xb2, 1]) };
    tags.iter().find(|t| t.is_keyframe()).into_iter().chain([&speex]).for_each(|tag| hub.push(tag));
    let url = mp4_url(&server, "action=live");
    let (head, _) = ask_with("HEAD", &url, "Origin: https://example.org\r\n").join().unwrap();
    assert!(head.contains("x-xp2p-notice: the sound is left out: its coding (speex)"), "{head}");
    assert!(head.contains("access-control-expose-headers: x-xp2p-notice"), "{head}");
    let (head, _) = ask_with("HEAD", &url, "Origin: https://example.com\r\n").join().unwrap();
    assert!(head.starts_with("http/1.0 403"), "{head}");
}

#[test]
fn without_a_configuration_there_is_no_head() {
    let (server, hub) = (server(), Hub::default());
    server.insert("cam", hub.clone());
    let url = mp4_url(&server, "action=live");
    let (head, _) = ask("HEAD", &url).join().unwrap();
    assert!(head.starts_with("http/1.0 503"), "{head}");
    hub.end();
    let (head, body) = ask("GET", &url).join().unwrap();
    assert!(head.starts_with("http/1.0 503") && !body.is_empty(), "{head}");
    let (head, _) = ask("GET", &url.replace("cam/", "other/")).join().unwrap();
    assert!(head.starts_with("http/1.0 404"), "{head}");
}
