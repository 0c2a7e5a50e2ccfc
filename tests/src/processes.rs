//! The real program in processes of their own.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Where cargo puts what it builds with the profile of the tests.
fn target() -> PathBuf {
    let test = std::env::current_exe().expect("the test's own path");
    // target/PROFILE/deps/test-1234, or target/PROFILE/benchmark
    let deps = test.parent().filter(|d| d.ends_with("deps")).and_then(Path::parent);
    let dir = deps.or_else(|| test.parent()).expect("target/PROFILE");
    assert!(
        dir.ends_with("debug") || dir.ends_with("release"),
        "an unexpected place for a test: {}",
        dir.display()
    );
    dir.to_owned()
}

/// Program and examples, as `./test` builds them: other arguments would mean other features of what they depend on, and
/// long builds.
const BUILD: [&str; 10] =
    ["build", "--quiet", "-p", "xp2p-cli", "-p", "xp2p-smol", "-p", "xp2p-proto", "--bins", "--examples"];

/// The program and the examples on tokio, by themselves: built together with the others, those would get a tokio with a
/// runtime as well.
const BUILD_TOKIO: [&str; 10] = [
    "build",
    "--quiet",
    "-p",
    "xp2p-tokio",
    "-p",
    "xp2p-cli",
    "--features",
    "xp2p-cli/tokio",
    "--bins",
    "--examples",
];

/// Builds them once per test run with the profile of the tests, without their features. Returns where cargo puts them.
fn build() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        // Both programs have one name: the one on tokio first, which gets another.
        let dir = run_build(&BUILD_TOKIO);
        std::fs::copy(dir.join(exe("xp2p")), dir.join(exe(ON_TOKIO))).expect("a copy of the program");
        run_build(&BUILD)
    })
}

/// What the program on tokio is called.
const ON_TOKIO: &str = "xp2p-on-tokio";

fn exe(name: &str) -> String {
    format!("{name}{}", std::env::consts::EXE_SUFFIX)
}

fn run_build(args: &[&str]) -> PathBuf {
    let dir = target();
    let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    build.args(args);
    if dir.ends_with("release") {
        build.arg("--release");
    }
    // What cargo tells this test of its own package would make build scripts run, and much be built, again and again.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            build.env_remove(&name);
        }
    }
    let status = build
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .env("CARGO_TARGET_DIR", dir.parent().expect("target"))
        .status()
        .expect("cargo runs");
    assert!(status.success(), "xp2p cannot be built");
    dir
}

/// The program.
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| build().join(exe("xp2p")))
}

/// The program on tokio.
pub fn program_on_tokio() -> PathBuf {
    build().join(exe(ON_TOKIO))
}

/// An example of one of the crates.
pub fn example(name: &str) -> PathBuf {
    build().join("examples").join(exe(name))
}

/// A running program. It is killed when this is dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    lines: Receiver<String>,
    errors: Receiver<String>,
    name: String,
}

impl Process {
    /// Starts the program with `args` in directory `dir`.
    pub fn start(name: &str, dir: &Path, args: &[&str]) -> Self {
        Self::start_with(name, dir, args, Stdio::null())
    }

    /// The same with something on its standard input.
    pub fn start_with(name: &str, dir: &Path, args: &[&str], stdin: Stdio) -> Self {
        Self::start_program(program(), name, dir, args, stdin)
    }

    /// The same with another program.
    pub fn start_program(program: &Path, name: &str, dir: &Path, args: &[&str], stdin: Stdio) -> Self {
        let mut command = Command::new(program);
        command.args(args).stdin(stdin);
        Self::start_command(command, name, dir)
    }

    /// The same with a command that is prepared but for its directory and outputs.
    pub fn start_command(command: Command, name: &str, dir: &Path) -> Self {
        let (sender, lines) = channel();
        let mut process = Self::start_reading(command, name, dir, move |out| {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        process.lines = lines;
        process
    }

    /// The same where standard output is no text: `read` takes it in, on a thread of its own.
    pub fn start_reading(
        mut command: Command,
        name: &str,
        dir: &Path,
        read: impl FnOnce(ChildStdout) + Send + 'static,
    ) -> Self {
        let mut child = command
            .current_dir(dir)
            .env("XDG_CONFIG_HOME", dir)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("{name} cannot be started: {e}"));
        let out = child.stdout.take().expect("stdout is a pipe");
        std::thread::spawn(move || read(out));
        let (_, lines) = channel();
        // Shown by the test harness if the test fails.
        let err = child.stderr.take().expect("stderr is a pipe");
        let prefix = name.to_owned();
        let (error_sender, errors) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(err).lines().map_while(Result::ok) {
                println!("{prefix}: {line}");
                // Nobody listens once the test is over.
                let _ = error_sender.send(line);
            }
        });
        Self { child, lines, errors, name: name.to_owned() }
    }

    /// The next line of its standard output.
    pub fn line(&mut self, time: Duration) -> String {
        match self.lines.recv_timeout(time) {
            Ok(line) => {
                println!("{}> {line}", self.name);
                line
            }
            Err(RecvTimeoutError::Timeout) => panic!("{} said nothing for {time:?}", self.name),
            Err(RecvTimeoutError::Disconnected) => panic!("{} has ended", self.name),
        }
    }

    /// The next event of that name among the JSON lines of its standard output. Each line may take `time`.
    pub fn event(&mut self, name: &str, time: Duration) -> Value {
        loop {
            let line: Value = serde_json::from_str(&self.line(time)).expect("JSON");
            if line["event"] == name {
                return line;
            }
        }
    }

    /// All lines of its standard output that have come and were not taken yet.
    pub fn lines_so_far(&mut self) -> Vec<String> {
        self.lines.try_iter().collect()
    }

    /// The next line of its standard error that contains `text`.
    pub fn error_line(&mut self, time: Duration, text: &str) -> String {
        let end = Instant::now() + time;
        loop {
            match self.errors.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) if line.contains(text) => return line,
                Ok(_) => {}
                Err(_) => panic!("{} did not say {text:?} within {time:?}", self.name),
            }
        }
    }

    /// The next line of its standard error, if one comes in time.
    pub fn error_within(&mut self, time: Duration) -> Option<String> {
        self.errors.recv_timeout(time).ok()
    }

    /// Ends it by force.
    pub fn stop(&mut self) {
        // Fails only if it has ended already.
        let _ = self.child.kill();
    }

    /// All lines up to its end.
    pub fn rest(&mut self, time: Duration) -> Vec<String> {
        let end = Instant::now() + time;
        let mut lines = Vec::new();
        loop {
            match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    println!("{}> {line}", self.name);
                    lines.push(line);
                }
                Err(RecvTimeoutError::Disconnected) => return lines,
                Err(RecvTimeoutError::Timeout) => panic!("{} has not ended after {time:?}", self.name),
            }
        }
    }

    /// Waits for its end.
    pub fn wait(&mut self, time: Duration) -> ExitStatus {
        let end = Instant::now() + time;
        loop {
            if let Some(status) = self.child.try_wait().expect("the child can be waited for") {
                return status;
            }
            assert!(Instant::now() < end, "{} has not ended after {time:?}", self.name);
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A directory that is removed when this is dropped.
#[derive(Debug)]
pub struct TempDir(PathBuf);

impl TempDir {
    /// A fresh, empty directory.
    pub fn new(name: &str) -> Self {
        // Tests of one process may give the same name at the same time.
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("xp2p-{name}-{}-{number}", std::process::id()));
        // One of an earlier run with the same process id.
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).expect("a temporary directory");
        Self(path)
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs the program to its end. Returns exit code, standard output and standard error.
pub fn run(dir: &Path, args: &[&str], stdin: Option<&str>) -> (Option<i32>, String, String) {
    use std::io::Write as _;
    let mut child = Command::new(program())
        .args(args)
        .current_dir(dir)
        .env("XDG_CONFIG_HOME", dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("xp2p can be started");
    if let Some(text) = stdin {
        child.stdin.as_mut().expect("stdin is a pipe").write_all(text.as_bytes()).expect("it reads");
    }
    drop(child.stdin.take());
    let output = child.wait_with_output().expect("it ends");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// What a small HTTP request to a server of this machine gets: its body. The status must be 200.
pub fn get(url: &str) -> String {
    use std::io::{Read as _, Write as _};
    let (host, path) = url.trim_start_matches("http://").split_once('/').expect("a URL");
    let mut tcp = std::net::TcpStream::connect(host).expect("somebody listens");
    tcp.set_read_timeout(Some(Duration::from_secs(15))).expect("a timeout");
    write!(tcp, "GET /{path} HTTP/1.0\r\nhost: {host}\r\n\r\n").expect("it reads");
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).expect("it answers with text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    assert!(head.contains(" 200 "), "{head}");
    body.to_owned()
}
