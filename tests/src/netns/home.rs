//! Server and camera programs in namespaces.

use std::path::Path;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::internet::{Internet, SERVER_NAME};
use super::space::Namespace;
use crate::processes::{Process, TempDir, program, run};

/// How long a program may take to come up on a busy machine.
pub const START: Duration = Duration::from_secs(30);
/// What cameras show, again and again.
const CLIP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/clip.flv");
/// The server's port.
const PORT: u16 = 20_002;

/// The server of an [`Internet`], with a directory for everybody's files.
#[derive(Debug)]
pub struct Home {
    dir: TempDir,
    spec: String,
    server: Option<Process>,
}

/// A camera that runs in a namespace.
#[derive(Debug)]
pub struct Camera {
    /// Its program.
    pub process: Process,
    /// Its xp2pInfo, for command lines.
    pub info: String,
}

/// Starts the program in a namespace.
pub fn start(space: &Namespace, name: &str, dir: &Path, args: &[&str]) -> Process {
    Process::start_command(command(space, args), name, dir)
}

/// A command that runs the program in a namespace.
pub(super) fn command(space: &Namespace, args: &[&str]) -> std::process::Command {
    space.command(program().to_str().expect("a path in UTF-8"), args)
}

/// Asks a program to end, as Ctrl-C does.
pub fn interrupt(process: &Process) {
    let pid = i32::try_from(process.id()).expect("a process id");
    // Fails only if it has ended already.
    let _ = kill(Pid::from_raw(pid), Signal::SIGINT);
}

impl Home {
    /// Starts a server.
    pub fn new(name: &str, internet: &Internet) -> Self {
        let dir = TempDir::new(name);
        std::fs::write(dir.path().join("app.key"), "home:a very secret word\n").expect("a file");
        let mut home = Self { dir, spec: String::new(), server: None };
        home.start_server(internet);
        home
    }

    /// Starts the server, again with the key and the address of the first time.
    pub fn start_server(&mut self, internet: &Internet) {
        let listen = format!("[::]:{PORT}");
        let args = [
            "server",
            "--listen",
            &listen,
            "--public-host",
            SERVER_NAME,
            "--app-key",
            "@app.key",
            "--relay-rate",
            "off",
        ];
        let mut server = start(internet.server(), "server", self.dir.path(), &args);
        self.spec = server.line(START);
        assert!(self.spec.starts_with(SERVER_NAME) && self.spec.contains('#'), "{}", self.spec);
        self.server = Some(server);
    }

    /// Ends the server by force.
    pub fn kill_server(&mut self) {
        self.server = None;
    }

    /// Starts a camera and waits until it is registered.
    pub fn camera(&self, space: &Namespace, name: &str) -> Camera {
        self.cameras(&[(space, name)]).remove(0)
    }

    /// The same with several at a time.
    pub fn cameras(&self, places: &[(&Namespace, &str)]) -> Vec<Camera> {
        let started: Vec<Process> =
            places.iter().map(|(space, name)| self.start_camera(space, name, &[])).collect();
        let named = started.into_iter().zip(places);
        named.map(|(process, (_, name))| self.registered(process, name)).collect()
    }

    /// Starts a camera with more arguments and waits until it is registered.
    pub fn camera_with(&self, space: &Namespace, name: &str, more: &[&str]) -> Camera {
        self.registered(self.start_camera(space, name, more), name)
    }

    fn start_camera(&self, space: &Namespace, name: &str, more: &[&str]) -> Process {
        let key = format!("{name}.key");
        assert_eq!(run(self.dir.path(), &["keygen", "-o", &key], None).0, Some(0));
        let args = [
            "camera",
            "--key",
            &key,
            "--server",
            &self.spec,
            "--name",
            name,
            "--app-key",
            "@app.key",
            "--input",
            CLIP,
            "--max-viewers",
            "100",
            "--json",
        ];
        start(space, name, self.dir.path(), &[&args[..], more].concat())
    }

    fn registered(&self, mut process: Process, name: &str) -> Camera {
        let info = process.line(START);
        assert!(info.starts_with("XP2P"), "{info}");
        let file = format!("{name}.info");
        std::fs::write(self.dir.path().join(&file), &info).expect("a file");
        Camera { process, info: format!("@{file}") }
    }

    /// Where all files are.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }
}
