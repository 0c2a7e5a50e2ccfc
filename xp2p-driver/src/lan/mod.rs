//! Cameras in one's own network, found by multicast (RFC 6762, RFC 6763) without a server.
//!
//! A camera announces a service of type [`SERVICE`] under a [`LanName`], which only holders of its xp2pInfo recognise. A viewer
//! asks for all services of that type, so that nobody learns which camera it looks for, and tries the addresses of those that
//! it recognises. Whoever lies about that gains nothing: the connection is one to the camera's key like any other.
//!
//! The protocol is done by a library, on a thread of its own for each camera and each viewer that runs.
//!
//! * `announce`: the camera's side.
//! * `search`: the viewer's side.

mod announce;
mod search;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use if_addrs::IfAddr;
use mdns_sd::{IfKind, ServiceDaemon};

pub(crate) use self::announce::Announcement;
pub(crate) use self::search::LanSearch;

/// The type of service that cameras announce.
const SERVICE: &str = "_xp2p._udp.local.";
/// Most records of others that the library may keep, as often as that is looked at. Beyond it somebody floods the network.
const MAX_RECORDS: i64 = 4096;
/// How long a network that is flooded is left alone.
const FLOOD_PAUSE: Duration = Duration::from_secs(10);
/// How often it is looked at.
const CHECK: Duration = Duration::from_secs(5);

/// Whether a socket that is bound to `local` can be reached in any network: one on loopback is this machine's own business.
fn is_in_a_network(local: SocketAddr) -> bool {
    !local.ip().to_canonical().is_loopback()
}

/// Starts the library's thread for a socket that is bound to `local`.
fn daemon(local: SocketAddr) -> mdns_sd::Result<ServiceDaemon> {
    let daemon = ServiceDaemon::new()?;
    daemon.disable_interface(vec![IfKind::LoopbackV4, IfKind::LoopbackV6])?;
    let ip = local.ip().to_canonical();
    if !ip.is_unspecified() {
        daemon.disable_interface(IfKind::All)?;
        daemon.enable_interface(IfKind::Addr(ip))?;
    }
    Ok(daemon)
}

/// Ends the library's thread: nobody waits for it.
fn stop(daemon: &ServiceDaemon) {
    if let Err(e) = daemon.shutdown() {
        tracing::debug!("multicast discovery has ended already: {e}");
    }
}

/// Whether the library keeps more than anybody has told for a good reason. It has no limit of its own, but forgets all when it ends.
async fn is_flooded(daemon: &ServiceDaemon) -> bool {
    let Ok(metrics) = daemon.get_metrics() else { return false };
    let kept = |(name, count): (&String, &i64)| if name.starts_with("cached-") { *count } else { 0 };
    metrics.recv_async().await.is_ok_and(|metrics| metrics.iter().map(kept).sum::<i64>() > MAX_RECORDS)
}

/// Those of `addrs` that are in a network which this machine is in, too: whoever names others would have us knock anywhere.
pub(crate) fn on_link(addrs: impl IntoIterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    match if_addrs::get_if_addrs() {
        Ok(interfaces) => {
            let own: Vec<IfAddr> = interfaces.into_iter().map(|interface| interface.addr).collect();
            addrs.into_iter().filter(|addr| is_on_link(addr.ip(), &own)).collect()
        }
        Err(e) => {
            tracing::debug!("cannot list the network interfaces: {e}");
            Vec::new()
        }
    }
}

fn is_on_link(ip: IpAddr, own: &[IfAddr]) -> bool {
    // Bits that count, from the first on. A network of all addresses is none that could be told from the rest of the world.
    let same = |a: u128, b: u128, prefix: u8, bits: u8| {
        (1..=bits).contains(&prefix) && (a ^ b).checked_shr(u32::from(bits - prefix)).unwrap_or(0) == 0
    };
    own.iter().filter(|own| !own.is_loopback()).any(|own| match (own, ip) {
        (IfAddr::V4(own), IpAddr::V4(ip)) => {
            same(own.ip.to_bits().into(), ip.to_bits().into(), own.prefixlen, 32)
        }
        // A link-local address means nothing without its interface.
        (IfAddr::V6(own), IpAddr::V6(ip)) => {
            !ip.is_unicast_link_local() && same(own.ip.to_bits(), ip.to_bits(), own.prefixlen, 128)
        }
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use if_addrs::{Ifv4Addr, Ifv6Addr};

    use super::*;

    fn v4(ip: &str, prefixlen: u8) -> IfAddr {
        let netmask = Ipv4Addr::from_bits(u32::MAX.checked_shl(32 - u32::from(prefixlen)).unwrap_or(0));
        IfAddr::V4(Ifv4Addr { ip: ip.parse().unwrap(), netmask, prefixlen, broadcast: None })
    }

    fn v6(ip: &str, prefixlen: u8) -> IfAddr {
        let addr =
            Ifv6Addr { ip: ip.parse().unwrap(), netmask: Ipv6Addr::UNSPECIFIED, prefixlen, broadcast: None };
        IfAddr::V6(addr)
    }

    #[test]
    fn only_the_networks_of_this_machine_are_near() {
        let own = [v4("192.168.1.20", 24), v4("127.0.0.1", 8), v6("fd00:1::20", 64), v6("fe80::20", 64)];
        let near = |ip: &str| is_on_link(ip.parse().unwrap(), &own);
        for ip in ["192.168.1.1", "192.168.1.255", "fd00:1::1"] {
            assert!(near(ip), "{ip}");
        }
        for ip in ["192.168.2.1", "8.8.8.8", "127.0.0.1", "fd00:2::1", "2001:db8::1", "fe80::1"] {
            assert!(!near(ip), "{ip}");
        }
        assert!(!is_on_link("8.8.8.8".parse().unwrap(), &[v4("10.8.0.2", 0)]), "a tunnel to everywhere");
        assert!(is_on_link("10.8.0.2".parse().unwrap(), &[v4("10.8.0.2", 32)]), "this machine itself");
        assert!(!is_on_link("10.8.0.3".parse().unwrap(), &[v4("10.8.0.2", 32)]));
    }
}
