//! Kinds of NATs and firewalls, as nftables rules, and what theory says about them.
//!
//! Linux maps a port to itself as long as it is free, for all destinations, and lets in answers only: what RFC 4787 calls
//! endpoint-independent mapping, and address and port-dependent filtering. The other kinds are made of that with a few rules.
//! An early packet from outside would make connection tracking hold its addresses, and the port of the answer would be
//! changed: everything new from outside is therefore dropped on its way in, as most home routers do.

use std::fmt;
use std::net::Ipv4Addr;

/// What stands between a client and the internet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Nat {
    /// Nothing: the client has a public address.
    Open,
    /// The same port for everybody, and everybody may come in.
    FullCone,
    /// The same port for everybody; whoever was sent something may come in from any port.
    AddressRestricted,
    /// The same port for everybody; only whoever was sent something may come in, from the port that it was sent to.
    PortRestricted,
    /// Another random port for every destination.
    SymmetricRandom,
    /// The next port for every new destination.
    SymmetricSequential,
    /// A random port out of 64 for every destination.
    SymmetricSmallPool,
    /// A port-restricted NAT behind a port-restricted NAT, as at home behind a carrier.
    Double,
    /// A firewall of a company: UDP to the server only, and its answers.
    ServerOnly,
    /// No UDP at all.
    UdpBlocked,
    /// IPv6 without IPv4, with the stateful firewall that home routers have.
    Ipv6Only,
    /// A port-restricted NAT behind a tunnel: packets have at most 1,280 bytes.
    Mtu1280,
    /// A port-restricted NAT behind a line of 200 ms (there and back) that loses 3 % of the packets each way.
    Lossy,
}

/// How two clients should reach each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// Directly.
    Direct,
    /// Through the server: there is no other way.
    Relay,
    /// Through the server unless somebody guesses a port of a NAT whose ports can be guessed.
    RelayOrGuess,
    /// Through the server over TCP.
    RelayTcp,
}

impl Nat {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Open,
        Self::FullCone,
        Self::AddressRestricted,
        Self::PortRestricted,
        Self::SymmetricRandom,
        Self::SymmetricSequential,
        Self::SymmetricSmallPool,
        Self::Double,
        Self::ServerOnly,
        Self::UdpBlocked,
        Self::Ipv6Only,
        Self::Mtu1280,
        Self::Lossy,
    ];

    fn is_symmetric(self) -> bool {
        matches!(self, Self::SymmetricRandom | Self::SymmetricSequential | Self::SymmetricSmallPool)
    }

    fn can_be_guessed(self) -> bool {
        matches!(self, Self::SymmetricSequential | Self::SymmetricSmallPool)
    }

    /// Whether it lets in packets from ports that nothing was sent to.
    fn takes_any_port(self) -> bool {
        matches!(self, Self::Open | Self::FullCone | Self::AddressRestricted)
    }

    /// What theory says about two clients behind `self` and `other`, as the one behind `self` sees it.
    pub fn expected(self, other: Self) -> Expected {
        let pair = [self, other];
        if self == Self::UdpBlocked {
            return Expected::RelayTcp;
        }
        if other == Self::UdpBlocked {
            // By which way the other side reaches the server is its own affair.
            return Expected::Relay;
        }
        let one_ipv6 = (self == Self::Ipv6Only) != (other == Self::Ipv6Only);
        if pair.contains(&Self::ServerOnly) || one_ipv6 {
            return Expected::Relay;
        }
        // A port that nobody can know is no harm where the other side looks at the address only.
        let blind = |a: Self, b: Self| a.is_symmetric() && !b.takes_any_port();
        if blind(self, other) || blind(other, self) {
            if self.can_be_guessed() || other.can_be_guessed() {
                return Expected::RelayOrGuess;
            }
            return Expected::Relay;
        }
        Expected::Direct
    }

    /// The rules of a router with interfaces `lan` and `wan`, whose own address outside is `public`, in front of `client`.
    /// `server`: the only one that [`ServerOnly`](Self::ServerOnly) lets through.
    pub(super) fn rules(self, public: Ipv4Addr, client: Ipv4Addr, server: Ipv4Addr) -> String {
        let udp = r#"oifname "wan" meta l4proto udp"#;
        let (pre, post, forward) = match self {
            Self::FullCone => {
                (format!(r#"iifname "wan" meta l4proto udp dnat to {client}"#), String::new(), String::new())
            }
            Self::AddressRestricted => (
                format!(r#"iifname "wan" meta l4proto udp udp dport . ip saddr @contacted dnat to {client}"#),
                String::new(),
                r#"iifname "lan" oifname "wan" meta l4proto udp update @contacted { udp sport . ip daddr }"#
                    .to_owned(),
            ),
            Self::SymmetricRandom => {
                (String::new(), format!("{udp} masquerade to :20000-60000 fully-random"), String::new())
            }
            Self::SymmetricSequential => {
                let ports: Vec<String> = (0..SEQUENCE).map(|n| format!("{n} : {}", FIRST_PORT + n)).collect();
                let map = ports.join(", ");
                let rule = format!("{udp} snat ip to {public} : numgen inc mod {SEQUENCE} map {{ {map} }}");
                (String::new(), rule, String::new())
            }
            Self::SymmetricSmallPool => {
                let last = FIRST_PORT + POOL - 1;
                let rule = format!("{udp} masquerade to :{FIRST_PORT}-{last} fully-random");
                (String::new(), rule, String::new())
            }
            Self::ServerOnly => (
                String::new(),
                String::new(),
                format!(r#"oifname "wan" meta l4proto udp ip daddr != {server} drop"#),
            ),
            Self::UdpBlocked => {
                (String::new(), String::new(), r#"oifname "wan" meta l4proto udp drop"#.to_owned())
            }
            Self::Open
            | Self::PortRestricted
            | Self::Double
            | Self::Ipv6Only
            | Self::Mtu1280
            | Self::Lossy => (String::new(), String::new(), String::new()),
        };
        format!(
            r#"
table ip nat {{
    set contacted {{
        type inet_service . ipv4_addr
        flags dynamic,timeout
        timeout 60s
    }}
    chain prerouting {{
        type nat hook prerouting priority dstnat; policy accept;
        {pre}
    }}
    chain postrouting {{
        type nat hook postrouting priority srcnat; policy accept;
        {post}
        oifname "wan" masquerade
    }}
    chain forward {{
        type filter hook forward priority filter; policy accept;
        {forward}
    }}
    chain input {{
        type filter hook input priority filter; policy accept;
        iifname "wan" ct state new drop
    }}
}}
"#
        )
    }

    /// Rules for the client itself, where there is no router in front of it.
    pub(super) fn own_rules(self) -> Option<&'static str> {
        (self == Self::Ipv6Only).then_some(
            "table inet guard {
    chain input {
        type filter hook input priority filter; policy accept;
        meta l4proto udp ct state new drop
    }
}
",
        )
    }
}

/// First of the ports that can be guessed.
pub(super) const FIRST_PORT: u16 = 40_000;
/// How many ports come one after the other.
pub(super) const SEQUENCE: u16 = 256;
/// How many ports the small pool has.
pub(super) const POOL: u16 = 64;

impl fmt::Display for Nat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Open => "public address",
            Self::FullCone => "full cone",
            Self::AddressRestricted => "address-restricted",
            Self::PortRestricted => "port-restricted",
            Self::SymmetricRandom => "symmetric random",
            Self::SymmetricSequential => "symm. sequential",
            Self::SymmetricSmallPool => "symm. 64 ports",
            Self::Double => "double NAT",
            Self::ServerOnly => "UDP to server only",
            Self::UdpBlocked => "UDP blocked",
            Self::Ipv6Only => "IPv6 only",
            Self::Mtu1280 => "MTU 1280",
            Self::Lossy => "200 ms, 3 % loss",
        })
    }
}
