//! A router's daemon that opens ports for those inside who ask: miniupnpd, which knows PCP, NAT-PMP and UPnP IGD and changes the
//! router's real rules.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::internet::Site;
use super::space::Namespace;
use crate::processes::Process;

/// The daemon.
const DAEMON: &str = "miniupnpd";
/// Chains that it puts its rules in, beside those of the NAT.
const CHAINS: &str = r#"
table inet miniupnpd {
    chain forward {
        type filter hook forward priority filter; policy accept;
        jump miniupnpd
    }
    chain prerouting {
        type nat hook prerouting priority dstnat; policy accept;
        jump prerouting_miniupnpd
    }
    chain postrouting {
        type nat hook postrouting priority srcnat; policy accept;
        jump postrouting_miniupnpd
    }
    chain miniupnpd {
    }
    chain prerouting_miniupnpd {
    }
    chain postrouting_miniupnpd {
    }
}
"#;
const CONFIGURATION: &str = "ext_ifname=wan
listening_ip=lan
http_port=0
ipv6_disable=yes
upnp_table_name=miniupnpd
upnp_nat_table_name=miniupnpd
upnp_forward_chain=miniupnpd
upnp_nat_chain=prerouting_miniupnpd
upnp_nat_postrouting_chain=postrouting_miniupnpd
secure_mode=yes
uuid=2a3f6c1e-0f4b-4f3d-9a57-6f3b0a4d8f10
allow 1024-65535 192.168.1.0/24 1024-65535
deny 0-65535 0.0.0.0/0 0-65535
";
/// What it says once it listens for PCP and NAT-PMP, and for UPnP.
const LISTENS: [&str; 2] = ["Listening for NAT-PMP", "HTTP listening on port"];
/// How long it may take to come up on a busy machine.
const START: Duration = Duration::from_secs(20);
/// A datagram with a PCP question, header of UDP included: the daemon cannot switch PCP off by itself.
const PCP_DATAGRAM: usize = 8 + 60;

/// What a router understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    /// PCP and NAT-PMP.
    Pcp,
    /// NAT-PMP. It says nothing to PCP.
    NatPmp,
    /// UPnP IGD.
    Upnp,
}

impl Speaks {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Pcp, Self::NatPmp, Self::Upnp];

    /// What the program calls the protocol that it got its port by.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pcp => "pcp",
            Self::NatPmp => "nat-pmp",
            Self::Upnp => "upnp",
        }
    }
}

/// The daemon of one router. It ends when this is dropped.
#[derive(Debug)]
pub struct Gateway {
    _daemon: Process,
}

/// Whether the daemon can be run here. If not, says so on standard error: the caller has nothing to test.
///
/// # Panics
///
/// On a machine for tests (the environment has `CI`), where everything should be there.
pub fn available() -> bool {
    match Command::new(DAEMON).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status() {
        Ok(_) => true,
        Err(e) => {
            assert!(
                std::env::var_os("CI").is_none(),
                "{DAEMON} cannot be run on this machine for tests: {e}; on Debian it is in miniupnpd-nftables"
            );
            eprintln!(
                "skipped: {DAEMON} cannot be run ({e}); on Debian it is in the package miniupnpd-nftables"
            );
            false
        }
    }
}

impl Gateway {
    /// Starts the daemon on the router of a site, which must be a routable one.
    pub fn start(site: &Site, speaks: Speaks, dir: &Path) -> Self {
        let router = &site.routers[0];
        router.nft(CHAINS);
        if speaks == Speaks::NatPmp {
            router.nft(&format!(
                "table inet nopcp {{
    chain input {{
        type filter hook input priority filter; policy accept;
        udp dport 5351 udp length {PCP_DATAGRAM} drop
    }}
}}
"
            ));
        }
        let (natpmp, upnp) = if speaks == Speaks::Upnp { ("no", "yes") } else { ("yes", "no") };
        let name = router.name();
        let file = dir.join(format!("{name}.conf"));
        let text = format!("{CONFIGURATION}enable_natpmp={natpmp}\nenable_upnp={upnp}\n");
        std::fs::write(&file, text).expect("a file");
        let pid = dir.join(format!("{name}.pid"));
        let path = |path: &Path| path.to_str().expect("a path in UTF-8").to_owned();
        let command = router.command(DAEMON, &["-d", "-f", &path(&file), "-P", &path(&pid)]);
        let mut daemon = Process::start_command(command, &format!("{DAEMON} of {name}"), dir);
        daemon.error_line(START, LISTENS[usize::from(speaks == Speaks::Upnp)]);
        Self { _daemon: daemon }
    }
}

/// The ports that are open on a router because somebody asked for it.
pub fn open_ports(router: &Namespace) -> Vec<u16> {
    let listed =
        router.command("nft", &["list", "chain", "inet", "miniupnpd", "prerouting_miniupnpd"]).output();
    let listed = listed.expect("nft can be run");
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    let text = String::from_utf8_lossy(&listed.stdout).into_owned();
    let port = |line: &str| line.split("dport ").nth(1)?.split(' ').next()?.parse().ok();
    text.lines().filter(|line| line.contains("dnat")).filter_map(port).collect()
}
