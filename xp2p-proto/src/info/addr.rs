//! Addresses of servers: IP or name, port, and the key that the server must prove.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use thiserror::Error;

use crate::keys::{KeyError, PublicKey};

/// Longest DNS name in bytes (RFC 1035 section 2.3.4, without the final dot).
pub const MAX_NAME: usize = 253;
/// Longest label of a DNS name in bytes (RFC 1035 section 2.3.4).
pub const MAX_LABEL: usize = 63;
/// Longest text of [`HostPort`]: a name, a colon and five digits.
pub const MAX_HOST_PORT: usize = MAX_NAME + 6;

/// A DNS name: labels of letters, digits and inner hyphens (RFC 1123 section 2.1), in lower case, without a final
/// dot, and nothing that some resolver would take for an IPv4 address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DnsName(String);

/// Why a text is no DNS name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NameError {
    /// Empty or too long.
    #[error("a host name has 1 to {MAX_NAME} characters, this has {found}")]
    Length {
        /// Bytes found.
        found: usize,
    },
    /// A character that names do not have.
    #[error(
        "character {position} of the host name is not a lower-case letter, digit, hyphen or dot (write other scripts as xn--...)"
    )]
    Character {
        /// Position from 0.
        position: usize,
    },
    /// An empty or overlong label, or one with a hyphen at its edge.
    #[error(
        "the part at character {position} of the host name is empty, longer than {MAX_LABEL}, or has a hyphen at its edge"
    )]
    Label {
        /// Where the label begins, from 0.
        position: usize,
    },
    /// Reads like an IPv4 address.
    #[error(
        "the host name ends in a number like an IPv4 address; write addresses as four numbers from 0 to 255"
    )]
    Numeric,
}

impl NameError {
    /// Offset of what is wrong, from the start of the name.
    pub const fn position(&self) -> usize {
        match self {
            Self::Length { .. } | Self::Numeric => 0,
            Self::Character { position } | Self::Label { position } => *position,
        }
    }
}

impl DnsName {
    /// Checks a name, which must be in lower case already.
    ///
    /// # Errors
    ///
    /// What is wrong with it and where.
    pub fn new(name: &str) -> Result<Self, NameError> {
        if name.is_empty() || name.len() > MAX_NAME {
            return Err(NameError::Length { found: name.len() });
        }
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
        // All characters before the first wrong one are ASCII, so that bytes and characters count alike.
        if let Some(position) = name.find(|c| !allowed(c)) {
            return Err(NameError::Character { position });
        }
        let mut position = 0;
        for label in name.split('.') {
            if label.is_empty() || label.len() > MAX_LABEL || label.starts_with('-') || label.ends_with('-') {
                return Err(NameError::Label { position });
            }
            position += label.len() + 1;
        }
        if name.rsplit('.').next().is_some_and(is_number) {
            return Err(NameError::Numeric);
        }
        Ok(Self(name.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What resolvers of the C library take for a part of an IPv4 address: decimal, octal or hexadecimal.
fn is_number(label: &str) -> bool {
    match label.strip_prefix("0x") {
        Some(hex) => hex.bytes().all(|b| b.is_ascii_hexdigit()),
        None => label.bytes().all(|b| b.is_ascii_digit()),
    }
}

impl fmt::Display for DnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a server is: its address, or a name to look up.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// An address.
    Ip(IpAddr),
    /// A name.
    Name(DnsName),
}

/// Why nobody can be reached at an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum AddrError {
    /// Unspecified (`0.0.0.0`, `::`), multicast or broadcast.
    #[error("{ip} is no address of one machine; give the address at which others reach it")]
    NoMachine {
        /// The address.
        ip: IpAddr,
    },
    /// An IPv4 address in IPv6 form.
    #[error("{ip} is an IPv4 address in IPv6 form; write it as {}", mapped(ip))]
    Mapped {
        /// The address.
        ip: Ipv6Addr,
    },
    /// Port 0.
    #[error("port 0 does not exist; give a port from 1 to 65535")]
    PortZero,
}

fn mapped(ip: &Ipv6Addr) -> IpAddr {
    ip.to_ipv4_mapped().map_or(IpAddr::V6(*ip), IpAddr::V4)
}

/// Checks that a machine can be reached at `ip`. Loopback is allowed: a server and its users may share a machine.
pub(super) fn check_ip(ip: IpAddr) -> Result<(), AddrError> {
    if let IpAddr::V6(v6) = ip
        && v6.to_ipv4_mapped().is_some()
    {
        return Err(AddrError::Mapped { ip: v6 });
    }
    let broadcast = matches!(ip, IpAddr::V4(v4) if v4.is_broadcast());
    if ip.is_unspecified() || ip.is_multicast() || broadcast {
        return Err(AddrError::NoMachine { ip });
    }
    Ok(())
}

/// A host and a port. Text form `name:port`, `1.2.3.4:port` or `[2001:db8::1]:port`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPort {
    /// The host.
    pub host: Host,
    /// The port, 1 to 65535.
    pub port: u16,
}

/// Why a text is no `HOST:PORT` or `HOST:PORT#KEY`.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HostPortError {
    /// Too long.
    #[error("too long for HOST:PORT ({found} characters, at most {MAX_HOST_PORT})")]
    TooLong {
        /// Bytes found.
        found: usize,
    },
    /// No port.
    #[error("no port; write HOST:PORT, like server.example:3478 or [2001:db8::1]:3478")]
    NoPort,
    /// Bad port.
    #[error("the port must be a number from 1 to 65535")]
    Port,
    /// An IPv6 address without brackets, or brackets around something else.
    #[error("write an IPv6 address in brackets, like [2001:db8::1]:3478")]
    Ipv6,
    /// An address where nobody is.
    #[error(transparent)]
    Addr(AddrError),
    /// A bad name.
    #[error(transparent)]
    Name(NameError),
    /// The part behind the `#` is no key.
    #[error("the key behind the #: {0}; copy the line that the server prints")]
    Key(KeyError),
}

impl HostPort {
    /// The address, when no name has to be looked up.
    pub const fn socket_addr(&self) -> Option<SocketAddr> {
        match self.host {
            Host::Ip(ip) => Some(SocketAddr::new(ip, self.port)),
            Host::Name(_) => None,
        }
    }
}

impl From<SocketAddr> for HostPort {
    fn from(addr: SocketAddr) -> Self {
        Self { host: Host::Ip(addr.ip()), port: addr.port() }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]:{}", self.port),
            Host::Ip(ip) => write!(f, "{ip}:{}", self.port),
            Host::Name(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

impl FromStr for HostPort {
    type Err = HostPortError;

    /// Names may have capital letters here, because a person may have typed them; they become small ones.
    fn from_str(text: &str) -> Result<Self, HostPortError> {
        if text.len() > MAX_HOST_PORT {
            return Err(HostPortError::TooLong { found: text.len() });
        }
        let (host, port) = if let Some(rest) = text.strip_prefix('[') {
            let (ip, port) = rest.split_once(']').ok_or(HostPortError::Ipv6)?;
            let ip: Ipv6Addr = ip.parse().map_err(|_| HostPortError::Ipv6)?;
            (Host::Ip(ip.into()), port.strip_prefix(':').ok_or(HostPortError::NoPort)?)
        } else {
            let (host, port) = text.rsplit_once(':').ok_or(HostPortError::NoPort)?;
            if host.contains(':') {
                return Err(HostPortError::Ipv6);
            }
            let host = match host.parse() {
                Ok(ip) => Host::Ip(IpAddr::V4(ip)),
                Err(_) => Host::Name(DnsName::new(&host.to_ascii_lowercase()).map_err(HostPortError::Name)?),
            };
            (host, port)
        };
        if let Host::Ip(ip) = host {
            check_ip(ip).map_err(HostPortError::Addr)?;
        }
        Ok(Self { host, port: port_number(port)? })
    }
}

fn port_number(text: &str) -> Result<u16, HostPortError> {
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(HostPortError::Port);
    }
    match text.parse() {
        Ok(0) | Err(_) => Err(HostPortError::Port),
        Ok(port) => Ok(port),
    }
}

/// A server as an xp2pInfo names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerAddr {
    /// The key that it must prove.
    pub key: PublicKey,
    /// Where it is, the best first, 1 to [`MAX_ADDRS`](super::MAX_ADDRS).
    pub addrs: Vec<HostPort>,
    /// The port of its relay over TCP, where that is not the number of its UDP port. Not 0.
    pub tcp_port: Option<u16>,
}

/// A server as a person names it: `HOST:PORT#KEY`, or `HOST:PORT` to trust the first key seen. `HOST:PORT/443#KEY` if its
/// relay over TCP has another port than UDP, here 443.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerSpec {
    /// Where it is.
    pub addr: HostPort,
    /// The port of its relay over TCP, where that is not the number of its UDP port. Not 0.
    pub tcp_port: Option<u16>,
    /// The key that it must prove.
    pub key: Option<PublicKey>,
}

impl fmt::Display for ServerSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.addr.fmt(f)?;
        if let Some(port) = self.tcp_port {
            write!(f, "/{port}")?;
        }
        self.key.map_or(Ok(()), |key| write!(f, "#{key}"))
    }
}

impl FromStr for ServerSpec {
    type Err = HostPortError;

    fn from_str(text: &str) -> Result<Self, HostPortError> {
        let (addr, key) = match text.split_once('#') {
            None => (text, None),
            Some((addr, key)) => (addr, Some(key.parse().map_err(HostPortError::Key)?)),
        };
        let (addr, tcp) = match addr.split_once('/') {
            None => (addr, None),
            Some((addr, port)) => (addr, Some(port)),
        };
        let addr: HostPort = addr.parse()?;
        let tcp_port = tcp.map(port_number).transpose()?.filter(|port| *port != addr.port);
        Ok(Self { addr, tcp_port, key })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::SecretKey;

    #[test]
    fn hosts_and_ports_round_trip() {
        for text in ["1.2.3.4:1", "[2001:db8::1]:3478", "server.example:65535", "a-1.xn--p1ai:80", "[::1]:9"]
        {
            let parsed: HostPort = text.parse().unwrap();
            assert_eq!(parsed.to_string(), text);
        }
        assert_eq!("Server.EXAMPLE:80".parse::<HostPort>().unwrap().to_string(), "server.example:80");
        assert_eq!("[2001:DB8:0::1]:80".parse::<HostPort>().unwrap().to_string(), "[2001:db8::1]:80");
    }

    #[test]
    fn what_is_no_address_is_refused_with_a_reason() {
        let wrong = |text: &str| text.parse::<HostPort>().unwrap_err();
        assert_eq!(wrong("server.example"), HostPortError::NoPort);
        assert_eq!(wrong("[::1]"), HostPortError::NoPort);
        for port in ["0", "65536", "", "+80", "8o"] {
            assert_eq!(wrong(&format!("a.b:{port}")), HostPortError::Port);
        }
        assert_eq!(wrong("2001:db8::1:3478"), HostPortError::Ipv6);
        assert_eq!(wrong("[1.2.3.4]:80"), HostPortError::Ipv6);
        assert_eq!(wrong("[fe80::1%eth0]:80"), HostPortError::Ipv6);
        for ip in ["0.0.0.0", "255.255.255.255", "224.0.0.1", "[::]", "[ff02::1]"] {
            let error = wrong(&format!("{ip}:80"));
            assert!(matches!(error, HostPortError::Addr(AddrError::NoMachine { .. })), "{error:?}");
        }
        let error = wrong("[::ffff:1.2.3.4]:80");
        assert!(error.to_string().contains("write it as 1.2.3.4"), "{error}");
        assert_eq!(wrong(&"a".repeat(300)), HostPortError::TooLong { found: 300 });
    }

    #[test]
    fn names_are_hosts_of_the_dns_only() {
        let wrong = |text: &str| DnsName::new(text).unwrap_err();
        assert_eq!(wrong(""), NameError::Length { found: 0 });
        assert_eq!(wrong(&"a.".repeat(127)), NameError::Length { found: 254 });
        assert_eq!(wrong("ab_c"), NameError::Character { position: 2 });
        assert_eq!(wrong("abC"), NameError::Character { position: 2 });
        assert_eq!(wrong("bücher.example"), NameError::Character { position: 1 });
        assert_eq!(wrong("a\u{1b}[2J"), NameError::Character { position: 1 });
        assert_eq!(wrong("a..b"), NameError::Label { position: 2 });
        assert_eq!(wrong("a.b."), NameError::Label { position: 4 });
        assert_eq!(wrong("ab.-b"), NameError::Label { position: 3 });
        assert_eq!(wrong("b-.a"), NameError::Label { position: 0 });
        assert_eq!(wrong(&"a".repeat(64)), NameError::Label { position: 0 });
        for number in ["1.2.3", "1.2.3.4", "010", "0x7f.1", "127.0x1", "256.1.1.1"] {
            assert_eq!(wrong(number), NameError::Numeric, "{number}");
        }
        let longest = format!("{}.{}", "a.".repeat(94) + &"b".repeat(63), "c");
        assert_eq!(longest.len(), MAX_NAME);
        assert!(DnsName::new(&longest).is_ok());
        assert!(DnsName::new("3d-printer.4k").is_ok());
    }

    #[test]
    fn a_server_on_the_command_line_may_pin_its_key() {
        let key = SecretKey::from_bytes([3; 32]).public();
        let spec: ServerSpec = format!("a.example:3478#{key}").parse().unwrap();
        assert_eq!(spec.key, Some(key));
        assert_eq!(spec.to_string().parse(), Ok(spec));
        let spec: ServerSpec = "[::1]:3478".parse().unwrap();
        assert_eq!((spec.key, spec.to_string().as_str()), (None, "[::1]:3478"));
        assert!(matches!("a.example:1#abc".parse::<ServerSpec>(), Err(HostPortError::Key(_))));
        let spec: ServerSpec = format!("a.example:3478/443#{key}").parse().unwrap();
        assert_eq!((spec.tcp_port, spec.key), (Some(443), Some(key)));
        assert_eq!(spec.to_string().parse(), Ok(spec));
        let same: ServerSpec = "[::1]:3478/3478".parse().unwrap();
        assert_eq!(
            (same.tcp_port, same.to_string().as_str()),
            (None, "[::1]:3478"),
            "one text for one value"
        );
        for wrong in ["a.example:1/", "a.example:1/0", "a.example:1/x", "a.example/1", "a.example:1/65536"] {
            assert!(wrong.parse::<ServerSpec>().is_err(), "{wrong}");
        }
        assert_eq!("a.example#abc".parse::<ServerSpec>().map_err(|e| e.to_string().is_empty()), Err(false));
    }
}
