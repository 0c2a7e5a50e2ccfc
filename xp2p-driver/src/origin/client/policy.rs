//! Which hosts and addresses may be an origin.
//!
//! A witness opens URLs that viewers name. Without these rules anybody could have it knock at doors inside its own
//! network.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use thiserror::Error;
use url::Host;

use super::error::OriginError;
use super::url::Target;

/// Which hosts and addresses may be an origin.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum AddressPolicy {
    /// All: the user of this machine chooses.
    #[default]
    Any,
    /// Hosts that match a pattern, at public addresses. Checked again at every redirect; the address that is checked is
    /// the one that is connected to. Loopback addresses are for `localhost` and literal loopback addresses that are
    /// listed as they are, without a wildcard; a name somewhere in the DNS never leads there.
    Public {
        /// The patterns. None: nothing may be an origin.
        allow: Vec<HostPattern>,
    },
}

/// A host, `HOST` or `HOST:PORT`, or all hosts below a name, `*.NAME` or `*.NAME:PORT`. IPv6 addresses stand in brackets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPattern {
    host: Host<String>,
    below: bool,
    port: Option<u16>,
}

/// What is wrong with a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a host pattern is HOST, *.NAME, or either with :PORT")]
pub struct HostPatternError;

impl FromStr for HostPattern {
    type Err = HostPatternError;

    fn from_str(text: &str) -> Result<Self, HostPatternError> {
        let (name, port) = match text.rsplit_once(':') {
            // The colons of an IPv6 address are no separators.
            Some((name, port)) if !port.ends_with(']') => {
                let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
                let port = port.parse().ok().filter(|port| digits && *port != 0).ok_or(HostPatternError)?;
                (name, Some(port))
            }
            _ => (text, None),
        };
        let (name, below) = match name.strip_prefix("*.") {
            Some(name) => (name, true),
            None => (name, false),
        };
        let host = Host::parse(name.strip_suffix('.').unwrap_or(name)).map_err(|_| HostPatternError)?;
        // `*` elsewhere is a valid character of a name for the parser, and would match nothing.
        let odd = matches!(&host, Host::Domain(name) if name.is_empty() || name.contains('*'));
        if odd || (below && !matches!(host, Host::Domain(_))) {
            return Err(HostPatternError);
        }
        Ok(Self { host, below, port })
    }
}

impl HostPattern {
    /// Whether the host of a URL matches. No URL, no match.
    pub fn covers(&self, url: &str) -> bool {
        Target::parse(url).is_ok_and(|target| self.matches(target.host(), target.port()))
    }

    fn matches(&self, host: &Host<String>, port: u16) -> bool {
        let named = match (&self.host, host) {
            (Host::Domain(base), Host::Domain(name)) if self.below => {
                name.strip_suffix(base.as_str()).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
            }
            (pattern, host) => pattern == host,
        };
        named && self.port.is_none_or(|p| p == port)
    }
}

impl AddressPolicy {
    /// Before the addresses of a host are looked up.
    pub(super) fn check_host(&self, host: &Host<String>, port: u16) -> Result<(), OriginError> {
        match self {
            Self::Public { allow } if !allow.iter().any(|p| p.matches(host, port)) => {
                Err(OriginError::Forbidden { host: host.to_string(), reason: "no pattern allows it" })
            }
            _ => Ok(()),
        }
    }

    /// Leaves those addresses that may be connected to.
    ///
    /// # Errors
    ///
    /// There were some, and none is left.
    pub(super) fn filter(
        &self,
        host: &Host<String>,
        port: u16,
        mut addrs: Vec<SocketAddr>,
    ) -> Result<Vec<SocketAddr>, OriginError> {
        let Self::Public { allow } = self else { return Ok(addrs) };
        let had_some = !addrs.is_empty();
        let loopback = is_local_name(host) && allow.iter().any(|p| !p.below && p.matches(host, port));
        addrs.retain(|addr| is_public(addr.ip()) || (loopback && addr.ip().is_loopback()));
        if had_some && addrs.is_empty() {
            let reason = "none of its addresses is a public one";
            return Err(OriginError::Forbidden { host: host.to_string(), reason });
        }
        Ok(addrs)
    }
}

/// Whether a host means this machine whatever the DNS says.
fn is_local_name(host: &Host<String>) -> bool {
    match host {
        Host::Domain(name) => name == "localhost",
        Host::Ipv4(ip) => ip.is_loopback(),
        Host::Ipv6(ip) => ip.is_loopback(),
    }
}

/// IPv4 blocks that are not reachable from everywhere, or not by one host: network and prefix length (IANA registry of
/// special-purpose addresses).
const SPECIAL_V4: &[(Ipv4Addr, u32)] = &[
    (Ipv4Addr::new(0, 0, 0, 0), 8),       // this network, unspecified
    (Ipv4Addr::new(10, 0, 0, 0), 8),      // private
    (Ipv4Addr::new(100, 64, 0, 0), 10),   // carrier-grade NAT
    (Ipv4Addr::new(127, 0, 0, 0), 8),     // loopback
    (Ipv4Addr::new(169, 254, 0, 0), 16),  // link-local, metadata services of clouds
    (Ipv4Addr::new(172, 16, 0, 0), 12),   // private
    (Ipv4Addr::new(192, 0, 0, 0), 24),    // protocol assignments
    (Ipv4Addr::new(192, 0, 2, 0), 24),    // documentation
    (Ipv4Addr::new(192, 88, 99, 0), 24),  // relays of 6to4
    (Ipv4Addr::new(192, 168, 0, 0), 16),  // private
    (Ipv4Addr::new(198, 18, 0, 0), 15),   // benchmarks
    (Ipv4Addr::new(198, 51, 100, 0), 24), // documentation
    (Ipv4Addr::new(203, 0, 113, 0), 24),  // documentation
    (Ipv4Addr::new(224, 0, 0, 0), 4),     // multicast
    (Ipv4Addr::new(240, 0, 0, 0), 4),     // reserved, broadcast
];

/// Global unicast, outside of which no IPv6 address is public. That leaves out loopback, unspecified, mapped
/// (`::ffff:0:0/96`), local NAT64, unique local, link-local, multicast and discard-only.
const GLOBAL_V6: (Ipv6Addr, u32) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// Blocks of global unicast that are not reachable from everywhere, or that lead to an IPv4 address inside.
const SPECIAL_V6: &[(Ipv6Addr, u32)] = &[
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23), // protocol assignments, with Teredo
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32), // documentation
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16), // 6to4
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20), // documentation
];

/// The well-known prefix of NAT64 (RFC 6052), how hosts without IPv4 reach it: as public as the address inside.
const NAT64: (Ipv6Addr, u32) = (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96);

fn in_v6(ip: Ipv6Addr, (network, length): (Ipv6Addr, u32)) -> bool {
    (ip.to_bits() ^ network.to_bits()).leading_zeros() >= length
}

/// Whether an address is one host's, reachable from everywhere.
pub(super) fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !SPECIAL_V4
            .iter()
            .any(|(network, length)| (ip.to_bits() ^ network.to_bits()).leading_zeros() >= *length),
        IpAddr::V6(ip) if in_v6(ip, NAT64) => {
            // The last 32 bits.
            is_public(Ipv4Addr::from_bits((ip.to_bits() & u128::from(u32::MAX)) as u32).into())
        }
        IpAddr::V6(ip) => in_v6(ip, GLOBAL_V6) && !SPECIAL_V6.iter().any(|block| in_v6(ip, *block)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(patterns: &[&str]) -> AddressPolicy {
        AddressPolicy::Public { allow: patterns.iter().map(|p| p.parse().unwrap()).collect() }
    }

    fn host(name: &str) -> Host<String> {
        Host::parse(name).unwrap()
    }

    fn left(policy: &AddressPolicy, name: &str, ips: &[&str]) -> Option<Vec<String>> {
        policy.check_host(&host(name), 80).ok()?;
        let addrs = ips.iter().map(|ip| SocketAddr::new(ip.parse().unwrap(), 80)).collect();
        let left = policy.filter(&host(name), 80, addrs).ok()?;
        Some(left.into_iter().map(|a| a.ip().to_string()).collect())
    }

    #[test]
    fn only_addresses_of_one_host_that_all_can_reach_are_public() {
        for ip in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "10.255.255.255",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.9.9.9",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.250",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",
            "::ffff:127.0.0.1",
            "::ffff:8.8.8.8",
            "64:ff9b::127.0.0.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:2::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2002:808:808::",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!is_public(ip.parse().unwrap()), "{ip}");
        }
        for ip in [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2001:4860:4860::8888",
            "2606:4700::1111",
            "2a00::1",
            "64:ff9b::8.8.8.8",
        ] {
            assert!(is_public(ip.parse().unwrap()), "{ip}");
        }
    }

    #[test]
    fn patterns_name_hosts_and_ports() {
        let matches = |pattern: &str, name: &str, port| {
            pattern.parse::<HostPattern>().unwrap().matches(&host(name), port)
        };
        assert!(matches("cdn.example", "CDN.example", 80));
        assert!(!matches("cdn.example", "a.cdn.example", 80));
        assert!(matches("*.cdn.example", "a.b.cdn.example", 443));
        for name in ["cdn.example", "evilcdn.example", ".cdn.example", "a.cdn.example.evil"] {
            assert!(
                !Host::parse(name)
                    .is_ok_and(|h| { "*.cdn.example".parse::<HostPattern>().unwrap().matches(&h, 80) }),
                "{name}"
            );
        }
        assert!(matches("cdn.example:8080", "cdn.example", 8080));
        assert!(!matches("cdn.example:8080", "cdn.example", 80));
        assert!(matches("[::1]:80", "[::1]", 80) && matches("[::1]", "[::1]", 81));
        assert!(matches("127.0.0.1", "127.0.0.1", 1));
        for bad in ["", "*", "*.", "*.1.2.3.4", "a.*.b", "a:b", "a:0", "a:+1", "a b", "http://a", "::1:x"] {
            assert!(bad.parse::<HostPattern>().is_err(), "{bad}");
        }
    }

    #[test]
    fn private_addresses_are_left_out_and_loopback_must_be_listed() {
        let listed = policy(&["cdn.example", "*.example", "127.0.0.1", "10.0.0.1"]);
        assert_eq!(left(&listed, "cdn.example", &["10.0.0.1", "8.8.8.8", "::1"]).unwrap(), ["8.8.8.8"]);
        assert_eq!(left(&listed, "cdn.example", &["127.0.0.1"]), None, "by DNS");
        assert_eq!(left(&listed, "10.0.0.1", &["10.0.0.1"]), None, "private even when listed");
        assert_eq!(left(&listed, "127.0.0.1", &["127.0.0.1"]).unwrap(), ["127.0.0.1"]);
        assert_eq!(left(&listed, "127.0.0.2", &["127.0.0.2"]), None);
        assert_eq!(left(&listed, "localhost", &["127.0.0.1"]), None);
        let local = policy(&["localhost"]);
        assert_eq!(
            left(&local, "localhost", &["127.0.0.1", "10.0.0.1", "::1"]).unwrap(),
            ["127.0.0.1", "::1"]
        );
        assert_eq!(left(&policy(&[]), "cdn.example", &["8.8.8.8"]), None);
        assert_eq!(left(&AddressPolicy::Any, "x", &["10.0.0.1"]).unwrap(), ["10.0.0.1"]);
    }
}
