//! One network namespace: its interfaces, what runs in it, and its certain end.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sched::{CloneFlags, setns};

use super::PREFIX;

/// Where `ip netns` keeps the names.
const NAMES: &str = "/run/netns";
/// Where `ip netns exec` looks for files to put in the place of those of `/etc`.
const FILES: &str = "/etc/netns";

/// Runs `ip` with these arguments, separated by blanks.
///
/// # Panics
///
/// It fails.
pub fn ip(args: &str) {
    let output = Command::new("ip").args(args.split_whitespace()).output().expect("ip can be run");
    assert!(
        output.status.success(),
        "ip {args}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A network namespace. It ends with all interfaces in it when this is dropped; programs in it should have ended before.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// A new namespace with nothing but a loopback interface.
    pub fn new(label: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{number}-{label}", std::process::id());
        ip(&format!("netns add {name}"));
        let space = Self { name };
        space.ip("link set lo up");
        // Addresses are ours alone: nobody has to ask around first whether they are taken.
        space.sysctl("net/ipv6/conf/all/accept_dad", "0");
        space.sysctl("net/ipv6/conf/default/accept_dad", "0");
        space
    }

    /// Its name for `ip -n` and `ip netns exec`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `ip` on its interfaces and routes.
    pub fn ip(&self, args: &str) {
        ip(&format!("-n {} {args}", self.name));
    }

    /// Loads nftables rules.
    ///
    /// # Panics
    ///
    /// nft refuses them.
    pub fn nft(&self, rules: &str) {
        let mut nft = self.command("nft", &["-f", "-"]);
        let mut child = nft
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("nft can be run");
        child.stdin.take().expect("a pipe").write_all(rules.as_bytes()).expect("nft reads");
        let output = child.wait_with_output().expect("nft ends");
        assert!(output.status.success(), "nft: {}\n{rules}", String::from_utf8_lossy(&output.stderr));
    }

    /// Sets a kernel parameter of the namespace.
    pub fn sysctl(&self, name: &str, value: &str) {
        let path = Path::new("/proc/sys").join(name);
        let value = value.to_owned();
        self.run(move || {
            std::fs::write(&path, value).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        });
    }

    /// Names of hosts as programs in the namespace find them.
    pub fn hosts(&self, hosts: &str) {
        let dir = Path::new(FILES).join(&self.name);
        std::fs::create_dir_all(&dir).expect("root may write to /etc");
        std::fs::write(dir.join("hosts"), hosts).expect("a file");
    }

    /// What starts `program` in the namespace. `ip` becomes the program, so its process id is that of the child.
    pub fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]).args(args);
        command
    }

    /// Runs something in the namespace, on a thread of its own. Sockets and devices that it opens stay there.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let space = File::open(Path::new(NAMES).join(&self.name)).expect("the namespace");
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                setns(space, CloneFlags::CLONE_NEWNET).expect("root may enter it");
                work()
            });
            match thread.join() {
                Ok(value) => value,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// Lays a cable from interface `mine` here to interface `theirs` of another namespace. Both are up.
    pub fn connect(&self, mine: &str, other: &Self, theirs: &str) {
        self.ip(&format!("link add {mine} type veth peer name {theirs} netns {}", other.name));
        self.ip(&format!("link set {mine} up"));
        other.ip(&format!("link set {theirs} up"));
    }

    /// Makes a bridge, the switch of a network.
    pub fn bridge(&self, name: &str) {
        self.ip(&format!("link add {name} type bridge"));
        self.ip(&format!("link set {name} up"));
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        remove(&self.name);
    }
}

/// Ends a namespace. What goes wrong is told, but no reason to leave the rest behind.
fn remove(name: &str) {
    let deleted = Command::new("ip").args(["netns", "delete", name]).output();
    match deleted {
        Ok(output) if output.status.success() => {}
        Ok(output) => eprintln!("ip netns delete {name}: {}", String::from_utf8_lossy(&output.stderr)),
        Err(e) => eprintln!("ip netns delete {name}: {e}"),
    }
    let files = Path::new(FILES).join(name);
    if files.exists()
        && let Err(e) = std::fs::remove_dir_all(&files)
    {
        eprintln!("{}: {e}", files.display());
    }
}

/// Ends the namespaces of earlier tests that were killed, and what still runs in them.
pub(super) fn remove_leftovers() {
    let Ok(names) = std::fs::read_dir(NAMES) else { return };
    for entry in names.filter_map(Result::ok) {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        let Some(owner) = owner.filter(|pid| !PathBuf::from(format!("/proc/{pid}")).exists()) else {
            continue;
        };
        eprintln!("{name} is left over from a test (process {owner}) that was killed; it is removed");
        let pids = Command::new("ip").args(["netns", "pids", &name]).output();
        let pids = pids.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
        for pid in pids.lines() {
            if let Ok(pid) = pid.trim().parse() {
                // Fails only if it has just ended by itself.
                let _ = nix::sys::signal::kill(
                    nix::unistd::Pid::from_raw(pid),
                    nix::sys::signal::Signal::SIGKILL,
                );
            }
        }
        remove(&name);
    }
}
