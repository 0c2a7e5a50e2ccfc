//! The page of `xp2p demo` in a real browser: it plays, turns, seeks, downloads and talks, and other pages cannot.

#[path = "browser/driver.rs"]
mod driver;

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use serde_json::Value;
use xp2p_tests::processes::{Process, TempDir};

use self::driver::Browser;

const CLIP: &[u8] = include_bytes!("../fixtures/clip.flv");
const START: Duration = Duration::from_secs(20);
const VIDEO: &str = "document.getElementById('video')";

/// One browser at a time: they decode video in software.
static TURN: Mutex<()> = Mutex::new(());

/// The demo, and a browser that shows its page.
struct Shown {
    browser: Browser,
    demo: Process,
    page: String,
    _dir: TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl Shown {
    fn new(name: &str, more: &[&str]) -> Self {
        Self::with(name, more, Browser::start)
    }

    fn with(name: &str, more: &[&str], browser: impl Fn(&str) -> Browser) -> Self {
        // A test that has failed leaves nothing half done in there.
        let turn = TURN.lock().unwrap_or_else(|e| e.into_inner());
        let dir = TempDir::new(name);
        let mut args = vec!["demo", "--json", "--seconds", "120"];
        args.extend(more);
        let mut demo = Process::start("demo", dir.path(), &args);
        let page = event(&mut demo, "page")["url"].as_str().expect("a URL").to_owned();
        let browser = browser(&format!("{name}-browser"));
        browser.open(&page);
        browser.until("connection", "document.getElementById('status').dataset.state === 'connected'");
        Self { browser, demo, page, _dir: dir, _turn: turn }
    }

    /// Chooses the last day with recordings. In the first minutes of a month that is in the month before.
    fn choose_the_newest_day(&self) {
        let any = "document.querySelector('#calendar button.any')";
        let none = "document.getElementById('records-status').textContent.startsWith('Nothing')";
        self.browser.until("month", &format!("{any} || {none}"));
        if self.browser.value(&format!("Boolean({any})")) != true {
            self.browser.click("#month-before");
            self.browser.until("day with recordings", any);
        }
        self.browser.run("[...document.querySelectorAll('#calendar button.any')].at(-1).click();");
    }

    /// Waits until pictures are decoded and time goes on.
    fn until_it_plays(&self) {
        self.browser.until("moving picture", &format!("{VIDEO}.currentTime > 0.5 && {VIDEO}.videoWidth > 0"));
        let before = self.browser.number(&format!("{VIDEO}.currentTime"));
        self.browser.until("progress", &format!("{VIDEO}.currentTime > {before} + 0.5"));
    }
}

/// The next event of that name.
fn event(demo: &mut Process, name: &str) -> Value {
    demo.event(name, START)
}

#[test]
fn the_page_plays_live_pictures() {
    let shown = Shown::new("page-live", &[]);
    let browser = &shown.browser;
    shown.until_it_plays();
    let frames = format!("{VIDEO}.getVideoPlaybackQuality().totalVideoFrames");
    let (first, before) = (browser.picture("#video"), browser.number(&frames));
    std::thread::sleep(Duration::from_secs(2));
    let (second, after) = (browser.picture("#video"), browser.number(&frames));
    assert!(first != second, "the picture moves");
    assert!(after > before + 20.0, "{before} frames, then {after}");
    // It stays near the live edge.
    browser.until(
        "live edge",
        &format!("{VIDEO}.buffered.end({VIDEO}.buffered.length - 1) - {VIDEO}.currentTime < 1"),
    );
    browser.until("name", "document.getElementById('title').textContent === 'demo/camera'");
    browser.until("link", "document.getElementById('link').textContent === 'direct'");
    browser.until("bit rate", "/^[1-9][0-9]+ kbit/.test(document.getElementById('bitrate').textContent)");
    browser.until("first picture", "/^[0-9]+ ms/.test(document.getElementById('first-picture').textContent)");
    // Another quality is another stream on the same connection.
    browser.run("const q = document.getElementById('quality'); q.value = 'standard'; q.dispatchEvent(new Event('change'));");
    shown.until_it_plays();
    // A picture to keep.
    browser.click("#snapshot");
    let end = Instant::now() + START;
    let saved = || {
        let files = std::fs::read_dir(browser.downloads()).expect("a directory").flatten();
        files.map(|f| f.path()).find(|p| p.extension().is_some_and(|e| e == "png"))
    };
    while saved().is_none() {
        assert!(Instant::now() < end, "no snapshot: {}", browser.text("message"));
        std::thread::sleep(Duration::from_millis(100));
    }
    browser.click("#mute");
    browser.until("sound", &format!("!{VIDEO}.muted"));
}

#[test]
fn buttons_and_keys_turn_the_camera() {
    let mut shown = Shown::new("page-turn", &[]);
    shown.browser.click("#ptz-left");
    assert_eq!(event(&mut shown.demo, "ptz")["move"], "ptz_left_press");
    assert_eq!(event(&mut shown.demo, "ptz")["move"], "ptz_release_pre");
    shown.browser.until("rest", "document.getElementById('ptz-status').textContent === 'not turning'");
    // U+E013 is the arrow up.
    shown.browser.hold('\u{E013}', Duration::from_millis(400));
    assert_eq!(event(&mut shown.demo, "ptz")["move"], "ptz_up_press");
    assert_eq!(event(&mut shown.demo, "ptz")["move"], "ptz_release_pre");
    shown.browser.click("#console-send");
    shown
        .browser
        .until("answer", "document.getElementById('console-out').textContent.includes('maxConnectNum')");
}

#[test]
fn a_recording_is_found_played_and_sought_in() {
    let shown = Shown::new("page-seek", &[]);
    let browser = &shown.browser;
    shown.choose_the_newest_day();
    browser.until("recording", "document.querySelector('#spans button')");
    browser.click("#spans li:last-child button");
    browser.until("recording", "document.getElementById('badge').textContent === 'RECORDING'");
    shown.until_it_plays();
    let seek = "Number(document.getElementById('seek').value)";
    let (first, last) = (
        browser.number("Number(document.getElementById('seek').min)"),
        browser.number("Number(document.getElementById('seek').max)"),
    );
    assert!(browser.number(seek) < first + 20.0 && last > first + 60.0, "{first} to {last}");
    let to = first + 60.0;
    browser.run(&format!(
        "const s = document.getElementById('seek'); s.value = {to}; s.dispatchEvent(new Event('change'));"
    ));
    shown.until_it_plays();
    let at = browser.number(seek);
    assert!((to..to + 20.0).contains(&at), "{at} instead of {to}");
    // It holds, and goes on from there.
    browser.click("#pause");
    browser.until("pause", &format!("{VIDEO}.paused"));
    let held = browser.number(&format!("{VIDEO}.currentTime"));
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(browser.number(&format!("{VIDEO}.currentTime")), held);
    browser.click("#pause");
    browser.until("progress", &format!("{VIDEO}.currentTime > {held} + 0.5"));
    // Twice as fast is twice as fast.
    browser.run(
        "const s = document.getElementById('speed'); s.value = '2'; s.dispatchEvent(new Event('change'));",
    );
    shown.until_it_plays();
    let (began, from) = (Instant::now(), browser.number(&format!("{VIDEO}.currentTime")));
    std::thread::sleep(Duration::from_secs(4));
    let played = browser.number(&format!("{VIDEO}.currentTime")) - from;
    assert!(played > began.elapsed().as_secs_f64() * 1.25, "{played} s in {:?}", began.elapsed());
    browser.click("#live");
    browser.until("live picture", "document.getElementById('badge').textContent === 'LIVE'");
    shown.until_it_plays();
}

#[test]
fn a_file_is_downloaded() {
    let shown = Shown::new("page-file", &[]);
    let browser = &shown.browser;
    shown.choose_the_newest_day();
    browser.until("file", "document.querySelector('#file-list a')");
    let name = browser.value("document.querySelector('#file-list a').dataset.name");
    browser.click("#file-list a");
    let path = browser.downloads().join(name.as_str().expect("a name"));
    let end = Instant::now() + START;
    // Under its name it appears when it is whole.
    while std::fs::metadata(&path).map_or(0, |m| m.len()) < CLIP.len() as u64 {
        assert!(Instant::now() < end, "no file {}", path.display());
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(std::fs::read(&path).expect("a file") == CLIP, "byte by byte");
}

#[test]
fn the_microphone_reaches_the_camera() {
    let mut shown = Shown::new("page-talk", &[]);
    for codec in ["pcm", "alaw"] {
        shown.browser.run(&format!("document.getElementById('talk-codec').value = '{codec}';"));
        shown.browser.click("#talk-toggle");
        shown.browser.until("talk", "document.getElementById('talk-status').textContent.includes('listens')");
        // The fake microphone beeps once a second.
        std::thread::sleep(Duration::from_millis(2500));
        shown.browser.click("#talk-toggle");
        let ended = event(&mut shown.demo, "talk-ended");
        assert_eq!((&ended["complete"], &ended["rate"]), (&Value::Bool(true), &Value::from(8000)), "{ended}");
        assert!(ended["seconds"].as_f64() > Some(1.5) && ended["peak"].as_u64() > Some(1000), "{ended}");
        shown
            .browser
            .until("end", "document.getElementById('talk-status').textContent.includes('heard it all')");
    }
}

#[test]
fn a_page_of_another_origin_gets_nothing() {
    let mut shown = Shown::new("page-foreign", &[]);
    // It even knows the token.
    let script = "const tried = [];
        const json = {'content-type': 'application/json'}, body = JSON.stringify({move: 'right'});
        for (const [path, options] of [
            ['api/state', {}], ['', {}], ['0/ipc.flv?action=live', {}],
            ['api/ptz', {method: 'POST', headers: json, body}],
        ]) tried.push(fetch(PAGE + path, options).then(() => 'reached ' + path, () => 'refused'));
        tried.push(fetch(PAGE + 'api/ptz', {method: 'POST', mode: 'no-cors', body}).then((r) => r.type === 'opaque' ? 'refused' : 'reached'));
        Promise.all(tried).then((all) => { document.title = all.join(); });"
        .replace("PAGE", &format!("'{}'", shown.page));
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        let html = format!("<!doctype html><title>foreign</title><script>{script}</script>");
        for tcp in listener.incoming() {
            let Ok(mut tcp) = tcp else { return };
            let mut request = [0; 4096];
            let _ = tcp.read(&mut request);
            let length = html.len();
            let _ = write!(
                tcp,
                "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{html}"
            );
        }
    });
    shown.browser.open(&url);
    shown.browser.until("answers", "document.title.includes(',')");
    let title = shown.browser.value("document.title");
    assert_eq!(title, "refused,refused,refused,refused,refused");
    // The camera was not told anything either: the next that it hears is ours.
    shown.browser.open(&shown.page);
    shown.browser.until("connection", "document.getElementById('status').dataset.state === 'connected'");
    shown.browser.click("#ptz-down");
    assert_eq!(event(&mut shown.demo, "ptz")["move"], "ptz_down_press");
}

#[test]
fn a_small_screen_shows_all_of_it() {
    let shown = Shown::new("page-small", &[]);
    let browser = &shown.browser;
    // Windows have a smallest width, so the page is looked at in a frame's stead.
    browser.resize(500, 900);
    browser.run("document.documentElement.style.width = '360px'; document.body.style.width = '360px';");
    browser.until("month", "document.querySelectorAll('#calendar button').length > 27");
    let wide = browser.value(
        "[...document.querySelectorAll('body *')].filter((e) => e.getBoundingClientRect().right > 361 && !e.closest('.skip, .hidden, select'))
            .map((e) => e.id || e.tagName)",
    );
    assert_eq!(wide, serde_json::json!([]), "nothing hangs over the edge");
    // All that can be used can be reached by the keyboard and has a name.
    let nameless = browser.value(
        "[...document.querySelectorAll('button, select, input, meter')].filter((e) => !e.textContent.trim() && !e.ariaLabel && !e.labels?.length)
            .map((e) => e.id || e.outerHTML)",
    );
    assert_eq!(nameless, serde_json::json!([]));
}

#[test]
fn the_page_of_a_shared_stream_shows_who_sends_it() {
    let shown = Shown::new("page-shared", &["--swarm", "--viewers", "4"]);
    let browser = &shown.browser;
    browser.until("peers", "Number(document.getElementById('peers').textContent) > 0");
    browser.until("share", "document.getElementById('share-words').textContent.includes('%')");
    browser.click("#share-up");
    browser.until("change", "document.getElementById('message').textContent === 'changed'");
    shown.until_it_plays();
}

#[test]
fn a_page_whose_program_has_ended_says_so() {
    let mut shown = Shown::new("page-ended", &[]);
    shown.until_it_plays();
    shown.demo.stop();
    shown.browser.until("words", CANNOT_BE_REACHED);
    shown.browser.until("state", "document.getElementById('status').dataset.state !== 'connected'");
}

/// What the picture says then.
const CANNOT_BE_REACHED: &str =
    "document.getElementById('overlay').textContent.includes('is it still running?')";

/// Makes the pictures of the README anew: `cargo test -p xp2p-tests --test browser pictures -- --ignored`.
#[test]
#[ignore = "makes pictures for the README"]
fn pictures_for_the_readme() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    let save = |name: &str, picture: Vec<u8>| std::fs::write(docs.join(name), picture).expect("a file");
    {
        let mut shown = Shown::new("picture-wide", &[]);
        shown.browser.resize(1400, 1100);
        shown.choose_the_newest_day();
        shown.until_it_plays();
        shown.browser.until("files", "document.querySelector('#file-list a')");
        shown.browser.run("window.scrollTo(0, 0);");
        std::thread::sleep(Duration::from_secs(3));
        save("page-wide.png", shown.browser.screenshot());
        shown.demo.stop();
        shown.browser.until("words", CANNOT_BE_REACHED);
        shown.browser.resize(1100, 640);
        save("page-error.png", shown.browser.screenshot());
    }
    let shown = Shown::with("picture-phone", &["--swarm", "--viewers", "6"], Browser::phone);
    shown.until_it_plays();
    std::thread::sleep(Duration::from_secs(10));
    save("page-phone.png", shown.browser.screenshot());
}
