//! A headless browser that does what a test says.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fantoccini::actions::{InputSource as _, KeyAction, KeyActions};
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use xp2p_tests::processes::TempDir;

/// How long the page may take for anything.
const WAIT: Duration = Duration::from_secs(20);

/// What the tests need besides Rust and ffmpeg.
const MISSING: &str =
    "the tests of the page need Chromium and its driver; on Debian: apt install chromium chromium-driver";

fn on_path(names: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let dirs: Vec<PathBuf> = std::env::split_paths(&path).collect();
    names.iter().find_map(|name| dirs.iter().map(|dir| dir.join(name)).find(|file| file.is_file()))
}

/// A browser with a fake microphone that beeps, and a directory for what it downloads.
pub(crate) struct Browser {
    runtime: Runtime,
    client: Option<Client>,
    _driver: Driver,
    dir: TempDir,
}

/// The driver's process. It ends with this, also when no browser starts.
struct Driver(Child);

impl Drop for Driver {
    fn drop(&mut self) {
        // Fails only if it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Browser {
    /// Starts one. Fails with words if there is none.
    pub(crate) fn start(name: &str) -> Self {
        Self::start_with(name, &json!({}))
    }

    /// One that is as small as that of a phone, and dark.
    pub(crate) fn phone(name: &str) -> Self {
        Self::start_with(
            name,
            &json!({ "deviceMetrics": { "width": 390, "height": 844, "pixelRatio": 1.5 } }),
        )
    }

    fn start_with(name: &str, emulation: &Value) -> Self {
        let driver = on_path(&["chromedriver"]).expect(MISSING);
        let chromium = on_path(&["chromium", "chromium-browser", "google-chrome"]).expect(MISSING);
        let dir = TempDir::new(name);
        let driver = Command::new(driver)
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect(MISSING);
        let mut driver = Driver(driver);
        let port = port(&mut driver.0);
        let mut arguments = vec![
            "--headless=new".to_owned(),
            "--no-sandbox".to_owned(),
            "--disable-gpu".to_owned(),
            "--disable-dev-shm-usage".to_owned(),
            "--window-size=1100,1400".to_owned(),
            "--use-fake-device-for-media-stream".to_owned(),
            "--use-fake-ui-for-media-stream".to_owned(),
            format!("--user-data-dir={}", dir.path().join("profile").display()),
        ];
        if emulation.get("deviceMetrics").is_some() {
            arguments.push("--blink-settings=preferredColorScheme=0".to_owned());
        }
        let mut capabilities = json!({
            "goog:chromeOptions": {
                "binary": chromium,
                "args": arguments,
                "prefs": {
                    "download.default_directory": dir.path(),
                    "download.prompt_for_download": false,
                },
            },
        });
        if emulation.get("deviceMetrics").is_some() {
            capabilities["goog:chromeOptions"]["mobileEmulation"] = emulation.clone();
        }
        let Value::Object(capabilities) = capabilities else { unreachable!("an object") };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let client = runtime
            .block_on(
                ClientBuilder::new(HttpConnector::new())
                    .capabilities(capabilities)
                    .connect(&format!("http://127.0.0.1:{port}")),
            )
            .expect("Chromium starts");
        Self { runtime, client: Some(client), _driver: driver, dir }
    }

    fn client(&self) -> &Client {
        self.client.as_ref().expect("it is closed at the end only")
    }

    /// Where it downloads to.
    pub(crate) fn downloads(&self) -> &Path {
        self.dir.path()
    }

    /// Opens a page.
    pub(crate) fn open(&self, url: &str) {
        self.runtime.block_on(self.client().goto(url)).expect("the page opens");
    }

    /// Changes the size of the window.
    pub(crate) fn resize(&self, width: u32, height: u32) {
        self.runtime.block_on(self.client().set_window_size(width, height)).expect("another size");
    }

    /// What an expression of the page is.
    pub(crate) fn value(&self, expression: &str) -> Value {
        let script = format!("return ({expression});");
        self.runtime.block_on(self.client().execute(&script, Vec::new())).expect(expression)
    }

    /// A number of the page.
    pub(crate) fn number(&self, expression: &str) -> f64 {
        self.value(expression).as_f64().unwrap_or_else(|| panic!("{expression} is no number"))
    }

    /// A text of the page.
    pub(crate) fn text(&self, id: &str) -> String {
        let value = self.value(&format!("document.getElementById('{id}').textContent"));
        value.as_str().unwrap_or_default().to_owned()
    }

    /// Runs statements.
    pub(crate) fn run(&self, script: &str) {
        self.runtime.block_on(self.client().execute(script, Vec::new())).expect(script);
    }

    /// Waits until an expression is true.
    pub(crate) fn until(&self, what: &str, expression: &str) {
        let end = Instant::now() + WAIT;
        while self.value(&format!("Boolean({expression})")) != true {
            assert!(Instant::now() < end, "no {what}: {}", self.told());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// What the page says of itself.
    fn told(&self) -> String {
        ["status", "words", "overlay", "player-note", "message", "records-status", "talk-status", "position"]
            .iter()
            .map(|id| {
                format!("{id}: {:?}; ", self.value(&format!("document.getElementById('{id}')?.textContent")))
            })
            .collect()
    }

    /// Clicks what a selector finds.
    pub(crate) fn click(&self, selector: &str) {
        let clicked =
            self.runtime.block_on(async { self.client().find(Locator::Css(selector)).await?.click().await });
        clicked.unwrap_or_else(|e| panic!("{selector}: {e}; {}", self.told()));
    }

    /// Holds a key for a while.
    pub(crate) fn hold(&self, key: char, time: Duration) {
        let keys = KeyActions::new("keys".to_owned())
            .then(KeyAction::Down { value: key })
            .pause(time)
            .then(KeyAction::Up { value: key });
        self.runtime.block_on(self.client().perform_actions(keys)).expect("a key");
    }

    /// A picture of the window.
    pub(crate) fn screenshot(&self) -> Vec<u8> {
        self.runtime.block_on(self.client().screenshot()).expect("a picture")
    }

    /// A picture of what a selector finds.
    pub(crate) fn picture(&self, selector: &str) -> Vec<u8> {
        let taken = self
            .runtime
            .block_on(async { self.client().find(Locator::Css(selector)).await?.screenshot().await });
        taken.expect(selector)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if let Some(client) = self.client.take() {
            // A browser that does not answer any more ends with its driver.
            let _ = self.runtime.block_on(client.close());
        }
    }
}

/// The port that the driver says it has taken.
fn port(driver: &mut Child) -> u16 {
    let mut out = BufReader::new(driver.stdout.take().expect("a pipe"));
    let mut line = String::new();
    while out.read_line(&mut line).expect("it talks") > 0 {
        if let Some((_, rest)) = line.split_once("successfully on port ") {
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            // It must not block or fail because nobody reads what else it says.
            std::thread::spawn(move || std::io::copy(&mut out, &mut std::io::sink()));
            return digits.parse().expect("a port");
        }
        line.clear();
    }
    panic!("{MISSING} (chromedriver has ended at once)");
}
