//! Real networks in this machine's kernel: the programs of xp2p in network namespaces of their own, behind real NATs.
//!
//! * `space`: one namespace, its interfaces, what runs in it, and its certain end.
//! * `nat`: kinds of NATs and firewalls, as nftables rules, and what theory says about them.
//! * `wire`: a cable with delay and loss.
//! * `internet`: a server and homes behind routers, on one network.
//! * `reflector`: what a NAT really does, seen from outside (2 addresses × 2 ports).
//! * `player`: a viewer program whose stream is watched as it comes out, tag by tag.
//! * `home`: server and camera programs in namespaces.
//! * `gateway`: a router's daemon that opens ports for those inside who ask.
//!
//! It takes root, the commands `ip` (iproute2), `nft` (nftables) and `conntrack`, and a kernel with namespaces, veth, bridges, NAT and TAP
//! devices. Nothing outside of the namespaces is touched but `/run/netns` and `/etc/netns`, by names that begin with
//! [`PREFIX`].

pub mod gateway;
pub mod home;
pub mod internet;
pub mod nat;
pub mod player;
pub mod reflector;
pub mod space;
pub mod wire;

use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// With what the name of every namespace begins. The process id of the test follows.
pub const PREFIX: &str = "xp2p-test-";

/// Whether networks can be made here. If not, says so on standard error: the caller has nothing to test.
///
/// # Panics
///
/// On a machine for tests (root, and the environment has `CI`), where everything should be there.
pub fn available() -> bool {
    static WHY_NOT: OnceLock<Option<String>> = OnceLock::new();
    let why_not = WHY_NOT.get_or_init(|| find_out().err());
    let Some(reason) = why_not else { return true };
    assert!(
        !(is_root() && std::env::var_os("CI").is_some()),
        "networks cannot be tested on this machine for tests: {reason}"
    );
    eprintln!("skipped: {reason}");
    false
}

fn is_root() -> bool {
    nix::unistd::Uid::effective().is_root()
}

fn find_out() -> Result<(), String> {
    if !is_root() {
        return Err("network namespaces take root".to_owned());
    }
    for (program, package) in [("ip", "iproute2"), ("nft", "nftables"), ("conntrack", "conntrack")] {
        let found = Command::new(program).arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status();
        if let Err(e) = found {
            return Err(format!("`{program}` cannot be run ({e}); on Debian it is in the package {package}"));
        }
    }
    // In a namespace of a thread's own, which ends with it.
    let unshared = std::thread::spawn(|| nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET)).join();
    match unshared {
        Ok(Ok(())) => {}
        Ok(Err(e)) => return Err(format!("this kernel or container gives no network namespaces: {e}")),
        Err(_) => return Err("the thread that tried a network namespace has failed".to_owned()),
    }
    if let Err(e) = std::fs::metadata("/dev/net/tun") {
        return Err(format!("no TAP devices: /dev/net/tun: {e}"));
    }
    space::remove_leftovers();
    Ok(())
}

/// Holds up other tests of this process: several of these at once would disturb each other's times.
pub fn alone() -> std::sync::MutexGuard<'static, ()> {
    static ONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    // A test that has failed has left nothing behind that the next one needs.
    ONE.lock().unwrap_or_else(|e| e.into_inner())
}
