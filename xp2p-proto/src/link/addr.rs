//! Addresses as QUIC sees them.
//!
//! noq-proto wants all addresses of a connection in one family. We always give it IPv6: real IPv4 addresses in
//! their mapped form, and peers that are reached through a relay as addresses of `100::/64` (discard-only,
//! RFC 6666), which no router carries and no candidate may name.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use crate::machine::ByteStreamId;

/// UDP port of every virtual address. Any non-zero value will do.
const VIRTUAL_PORT: u16 = 1;
/// Set in the numbers of tunnels, to tell them from relay flows.
const TUNNEL: u64 = 1 << 63;

/// The virtual address of relay flow number `index`.
pub(super) fn virtual_addr(index: u64) -> SocketAddr {
    let [a, b, c, d] = [(index >> 48) as u16, (index >> 32) as u16, (index >> 16) as u16, index as u16];
    SocketAddr::V6(SocketAddrV6::new(Ipv6Addr::new(0x100, 0, 0, 0, a, b, c, d), VIRTUAL_PORT, 0, 0))
}

/// The relay flow number that a virtual address stands for; `None` for all others.
pub(super) fn virtual_index(addr: SocketAddr) -> Option<u64> {
    index(addr).filter(|index| index & TUNNEL == 0)
}

/// The address at which a server sees whoever talks to it through a tunnel. No UDP datagram may come from there.
pub(crate) fn tunnel_addr(id: ByteStreamId) -> SocketAddr {
    virtual_addr(id.0 | TUNNEL)
}

/// The tunnel that an address stands for; `None` for all others.
pub(crate) fn tunnel_of(addr: SocketAddr) -> Option<ByteStreamId> {
    index(addr).filter(|index| index & TUNNEL != 0).map(|index| ByteStreamId(index & !TUNNEL))
}

/// Whether an address is one of those that stand for something else. Whoever sends from there by UDP forges it.
pub(crate) fn is_virtual(addr: SocketAddr) -> bool {
    index(addr).is_some()
}

fn index(addr: SocketAddr) -> Option<u64> {
    match addr {
        SocketAddr::V6(v6) if is_discard_only(*v6.ip()) => Some(v6.ip().to_bits() as u64),
        _ => None,
    }
}

fn is_discard_only(ip: Ipv6Addr) -> bool {
    ip.segments()[..4] == [0x100, 0, 0, 0]
}

/// The form that QUIC gets.
pub(super) fn to_quic(addr: SocketAddr) -> SocketAddr {
    match addr {
        SocketAddr::V4(v4) => SocketAddr::V6(SocketAddrV6::new(v4.ip().to_ipv6_mapped(), v4.port(), 0, 0)),
        v6 => v6,
    }
}

/// The form that sockets and people get.
pub(super) fn from_quic(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}

/// Whether a peer's candidate may be probed at all. A hostile peer names whatever it likes, so anything that is not
/// plainly one host's unicast address is out; loopback only if the whole session runs over loopback.
pub(super) fn is_probable(addr: SocketAddr, loopback: bool) -> bool {
    if addr.port() == 0 {
        return false;
    }
    match addr.ip().to_canonical() {
        IpAddr::V4(ip) => {
            !(ip.is_unspecified()
                || ip.is_multicast()
                || ip.is_broadcast()
                || ip.octets()[0] == 0
                || ip.octets()[0] >= 240)
                && (loopback || !ip.is_loopback())
        }
        IpAddr::V6(ip) => {
            !(ip.is_unspecified() || ip.is_multicast() || is_discard_only(ip))
                && (loopback || !ip.is_loopback())
        }
    }
}

/// Whether an address of our own is worth telling to a peer.
pub(super) fn is_advertisable(addr: SocketAddr, loopback: bool) -> bool {
    is_probable(addr, loopback)
        && match addr.ip().to_canonical() {
            IpAddr::V4(ip) => ip != Ipv4Addr::UNSPECIFIED && !ip.is_link_local(),
            // A link-local address means nothing without the peer's own interface index.
            IpAddr::V6(ip) => !ip.is_unicast_link_local(),
        }
}

/// Whether an address is of a private network (RFC 1918, RFC 4193).
pub(super) fn is_private(addr: SocketAddr) -> bool {
    match addr.ip().to_canonical() {
        IpAddr::V4(ip) => ip.is_private(),
        IpAddr::V6(ip) => ip.is_unique_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn virtual_addresses_carry_their_index() {
        for index in [0, 1, 0xffff, 0x1_0000, u64::MAX >> 1] {
            assert_eq!(virtual_index(virtual_addr(index)), Some(index));
            assert_eq!(tunnel_of(virtual_addr(index)), None);
            assert_eq!(tunnel_of(tunnel_addr(ByteStreamId(index))), Some(ByteStreamId(index)));
            assert_eq!(virtual_index(tunnel_addr(ByteStreamId(index))), None);
            assert!(is_virtual(virtual_addr(index)) && is_virtual(tunnel_addr(ByteStreamId(index))));
            assert!(!is_probable(tunnel_addr(ByteStreamId(index)), true));
        }
        assert_eq!(virtual_index(addr("[2001:db8::1]:1")), None);
        assert_eq!(virtual_index(addr("[100:0:0:1::1]:1")), None, "outside the /64");
        assert_eq!(virtual_index(addr("10.0.0.1:1")), None);
    }

    #[test]
    fn ipv4_survives_the_way_through_quic() {
        assert_eq!(from_quic(to_quic(addr("192.0.2.7:99"))), addr("192.0.2.7:99"));
        assert_eq!(from_quic(to_quic(addr("[2001:db8::7]:99"))), addr("[2001:db8::7]:99"));
    }

    #[test]
    fn hostile_candidates_are_refused() {
        for bad in [
            "0.0.0.0:5",
            "127.0.0.1:5",
            "224.0.0.1:5",
            "255.255.255.255:5",
            "240.0.0.1:5",
            "0.1.2.3:5",
            "10.0.0.1:0",
            "[::]:5",
            "[::1]:5",
            "[ff02::1]:5",
            "[100::5]:1",
            "[::ffff:127.0.0.1]:5",
            "[::ffff:224.0.0.1]:5",
        ] {
            assert!(!is_probable(addr(bad), false), "{bad}");
        }
        for good in ["10.0.0.1:5", "203.0.113.9:5", "[2001:db8::1]:5", "[fe80::1]:5"] {
            assert!(is_probable(addr(good), false), "{good}");
        }
        assert!(is_probable(addr("127.0.0.1:5"), true));
        assert!(!is_probable(addr("[100::5]:1"), true), "never accepted from a peer, not even in tests");
    }
}
