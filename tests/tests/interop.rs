//! A second implementation, in Python and written from docs/PROTOCOL.md alone (`tests/interop`), against the real programs: it
//! reads every vector of the document, makes an xp2pInfo, and fetches live video.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use serde_json::{Value, json};
use xp2p_proto::flv::{Tag, TagKind};
use xp2p_proto::info::Xp2pInfo;
use xp2p_proto::keys::{PublicKey, SecretKey, Ticket};
use xp2p_tests::media::tags_of;
use xp2p_tests::probing::{decode, streams};
use xp2p_tests::processes::{Process, TempDir, run};

const INTEROP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/interop");
const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/PROTOCOL.md");
const CLIP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/clip.flv");
const START: Duration = Duration::from_secs(15);

/// A Python with the packages that the peer needs. They stay in the target directory until `requirements.txt` changes.
fn python() -> &'static Path {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| {
        let requirements = format!("{INTEROP}/requirements.txt");
        let wanted = std::fs::read_to_string(&requirements).expect("requirements.txt");
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("interop-venv");
        let (python, stamp) = (dir.join("bin/python"), dir.join("installed.txt"));
        // Written last: without it the directory is that of an attempt that failed.
        if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
            return python;
        }
        let help = "python3 with venv is installed (./test does that)";
        let venv = Command::new("python3").args(["-m", "venv", "--clear"]).arg(&dir).output().expect(help);
        assert!(venv.status.success(), "{help}: {venv:?}");
        let pip = ["-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check", "-r"];
        let pip = Command::new(&python).args(pip).arg(&requirements).output().expect("pip");
        assert!(pip.status.success(), "pip: {}", String::from_utf8_lossy(&pip.stderr));
        std::fs::write(stamp, wanted).expect("a file");
        python
    })
}

/// Runs the peer in a directory, with something on its standard input.
fn peer(dir: &Path, args: &[&str], stdin: Stdio) -> Output {
    Command::new(python())
        // No __pycache__ among the sources.
        .arg("-B")
        .arg(format!("{INTEROP}/main.py"))
        .args(args)
        .current_dir(dir)
        .stdin(stdin)
        .output()
        .expect("Python can be started")
}

/// What the peer prints when all is well.
fn printed(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).expect("text").trim_end().to_owned()
}

/// What the peer complains about.
fn complaint(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn it_reads_every_vector_of_the_document() {
    let text = std::fs::read_to_string(DOCUMENT).expect("the document");
    let blocks = text.lines().filter(|l| l.starts_with("```vector ") || l.starts_with("```lines ")).count();
    let dir = TempDir::new("interop-vectors");
    let all = |document: &str| peer(dir.path(), &["vectors", document], Stdio::null());
    assert_eq!(printed(&all(DOCUMENT)), format!("{blocks} vectors"));
    // A vector that it does not know is not passed over.
    let with_another = dir.path().join("another.md");
    std::fs::write(&with_another, text + "\n```vector of-tomorrow\n00\n```\n").expect("a file");
    let complaint = complaint(&all(with_another.to_str().expect("a name")));
    assert!(complaint.contains("of-tomorrow"), "{complaint}");
}

/// A server and a registered camera that shows a clip.
struct Home {
    dir: TempDir,
    _server: Process,
    _camera: Process,
    /// What the camera prints.
    info: Xp2pInfo,
}

fn home() -> Home {
    let dir = TempDir::new("interop");
    let path = dir.path();
    std::fs::write(path.join("app.key"), "home:a very secret word\n").expect("a file");
    assert_eq!(run(path, &["keygen", "-o", "camera.key"], None).0, Some(0));
    let server = ["server", "--listen", "127.0.0.1:0", "--app-key", "@app.key"];
    let mut server = Process::start("server", path, &server);
    let spec = server.line(START);
    let camera =
        ["camera", "--key", "camera.key", "--server", &spec, "--app-key", "@app.key", "--input", CLIP];
    let mut camera = Process::start("camera", path, &[&camera[..], &["--name", "door"]].concat());
    let text = camera.line(START);
    std::fs::write(path.join("door.info"), &text).expect("a file");
    let info = Xp2pInfo::parse(&text).expect("an xp2pInfo");
    Home { dir, _server: server, _camera: camera, info }
}

/// Lets the peer make an xp2pInfo that allows to watch for an hour, with nothing but the camera's secret key and the address of
/// its server.
fn made_by_the_peer(home: &Home) -> String {
    let path = home.dir.path();
    let key = std::fs::read_to_string(path.join("camera.key")).expect("a key file");
    let secret = key.lines().find_map(|line| line.strip_prefix("secret = ")).expect("a secret key");
    std::fs::write(path.join("secret"), secret).expect("a file");
    let hour = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs() + 3600;
    let stdin = std::fs::File::open(path.join("secret")).expect("a file");
    let args = ["info", "--like", "door.info", "--rights", "1", "--expiry", &hour.to_string()];
    printed(&peer(path, &args, stdin.into()))
}

#[test]
fn its_xp2pinfo_is_accepted_and_it_records_live_video() {
    let home = home();
    let path = home.dir.path();
    let made = made_by_the_peer(&home);
    std::fs::write(path.join("guest.info"), &made).expect("a file");

    let (code, shown, errors) = run(path, &["info", "@guest.info", "--json"], None);
    assert_eq!(code, Some(0), "{errors}");
    let shown: Value = serde_json::from_str(&shown).expect("JSON");
    assert_eq!(shown["camera"], json!(home.info.camera().to_string()), "{shown}");
    assert_eq!((&shown["capability"]["rights"], &shown["version"]), (&json!("live"), &json!("2.4.0")));
    let read = Xp2pInfo::parse(&made).expect("an xp2pInfo");
    assert_eq!((read.ticket(), read.servers()), (home.info.ticket(), home.info.servers()));
    // The server knows its ticket, the camera its capability, and what that does not allow is refused.
    let view = ["view", "@guest.info", "--json", "--out", "ours.flv", "--seconds", "3"];
    let (code, seen, errors) = run(path, &view, None);
    assert_eq!(code, Some(0), "{seen}{errors}");
    let (code, _, errors) = run(path, &["records", "@guest.info"], None);
    assert_eq!(code, Some(1), "{errors}");
    assert!(errors.contains("403") || errors.contains("does not allow"), "{errors}");

    let watch = peer(path, &["view", "guest.info", "theirs.flv", "--groups", "3"], Stdio::null());
    let summary: Value = serde_json::from_str(&printed(&watch)).expect("JSON");
    println!("the peer has seen {summary}");
    assert_eq!(summary["device"], json!({ "ProductId": "xp2p", "DeviceName": "door" }), "{summary}");
    assert!(summary["observed"].as_str().is_some_and(|a| a.starts_with("127.0.0.1:")), "{summary}");
    assert!(summary["relayed_packets"].as_u64().is_some_and(|n| n > 100), "{summary}");
    it_is_what_the_source_has(&path.join("theirs.flv"), &summary);

    nobody_else_is_believed_or_served(&home);
}

/// Sequence headers, pictures group by group with their times, and sound: all tags are the clip's, byte for byte.
fn it_is_what_the_source_has(file: &Path, summary: &Value) {
    let (clip, seen) = (tags_of(Path::new(CLIP)), tags_of(file));
    let headers = |tags: &[Tag]| -> Vec<Bytes> {
        tags.iter().filter(|t| is_header(t)).map(|t| t.body.clone()).collect()
    };
    assert_eq!(headers(&clip).len(), 2);
    assert_eq!(headers(&seen), headers(&clip));

    let (source, groups) = (groups(&clip), groups(&seen));
    assert!(groups.len() >= 3, "{} groups", groups.len());
    // On a machine that is too slow the camera leaves groups, and ends of groups, out.
    let all_there = summary["skipped"] == json!(0);
    let mut before = None;
    for (i, group) in groups.iter().enumerate() {
        let whole = all_there && i + 1 < groups.len();
        let same = |of: &&Vec<(u32, Bytes)>| if whole { group == *of } else { of.starts_with(group) };
        let number = source.iter().position(|of| same(&of)).expect("a group of the clip");
        // The clip is looped.
        let next = before.is_none_or(|b| (b + 1) % source.len() == number);
        assert!(next || !all_there, "{number} after {before:?}");
        before = Some(number);
    }

    let sounds = |tags: &[Tag]| -> Vec<Bytes> {
        let of = |t: &&Tag| t.kind == TagKind::Audio && !is_header(t);
        tags.iter().filter(of).map(|t| t.body.clone()).collect()
    };
    let (all, heard) = (sounds(&clip), sounds(&seen));
    // 44.1 kHz: 43 a second, and groups of 2 s.
    assert!(heard.len() > 200, "{} tags of sound", heard.len());
    assert!(heard.iter().all(|sound| all.contains(sound)), "sound that is not the clip's");

    let pictures = groups.iter().flatten().filter(|(_, body)| body[1] == 1).count();
    assert_eq!(summary["pictures"], json!(pictures));
    assert_eq!(summary["keyframes"], json!(groups.len()));
    assert_eq!(summary["sounds"], json!(heard.len()));
    let found = streams(file);
    assert!(found.contains("h264") && found.contains("aac"), "{found}");
    assert_eq!(decode(file), "");
    assert_eq!(decoded_pictures(file), pictures);
}

/// A sequence header of H.264 or AAC.
fn is_header(tag: &Tag) -> bool {
    matches!((tag.kind, &tag.body[..2]), (TagKind::Video, [0x17, 0]) | (TagKind::Audio, [0xaf, 0]))
}

/// Groups of pictures: the time of each after the first one, and its body.
fn groups(tags: &[Tag]) -> Vec<Vec<(u32, Bytes)>> {
    let mut groups: Vec<Vec<(u32, Bytes)>> = Vec::new();
    let mut start = 0;
    for tag in tags.iter().filter(|t| t.kind == TagKind::Video && !is_header(t)) {
        if tag.body.starts_with(&[0x17, 1]) {
            start = tag.timestamp;
            groups.push(Vec::new());
        }
        let group = groups.last_mut().expect("a keyframe comes first");
        group.push((tag.timestamp - start, tag.body.clone()));
    }
    groups
}

/// How many pictures ffprobe can decode.
fn decoded_pictures(file: &Path) -> usize {
    let args = "-v error -select_streams v -count_frames -show_entries stream=nb_read_frames -of csv=p=0";
    let output = Command::new("ffprobe").args(args.split(' ')).arg(file).output();
    let output = output.expect("ffprobe is installed (./test does that)");
    String::from_utf8_lossy(&output.stdout).trim().parse().expect("a number")
}

/// The peer ends the handshake with a camera that shows another key than the xp2pInfo's; a camera wants a capability; and a server a
/// ticket that it knows.
fn nobody_else_is_believed_or_served(home: &Home) {
    let path = home.dir.path();
    let watch = |name: &str, camera: PublicKey, ticket: Ticket| {
        let info = Xp2pInfo::new(camera, ticket, home.info.servers().to_vec(), home.info.version());
        std::fs::write(path.join(name), info.expect("an xp2pInfo").to_text()).expect("a file");
        complaint(&peer(path, &["view", name, "nothing.flv"], Stdio::null()))
    };
    let (camera, ticket) = (*home.info.camera(), *home.info.ticket());
    let other = SecretKey::from_bytes([9; 32]).public();
    let wrong_key = watch("other.info", other, ticket);
    assert!(wrong_key.contains("this is not the key of the xp2pInfo"), "{wrong_key}");
    let without_capability = watch("bare.info", camera, ticket);
    assert!(without_capability.contains("error: 401"), "{without_capability}");
    let unknown = watch("unknown.info", camera, Ticket::from_bytes([7; 16]));
    assert!(unknown.contains("UNKNOWN_TICKET"), "{unknown}");
    assert!(!path.join("nothing.flv").exists());
}
