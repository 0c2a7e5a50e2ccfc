//! Where the router is, and whether there is one to ask.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

use super::is_inside;

/// An address of nobody (RFC 5737), which packets would take to the router. None is sent.
const ANYWHERE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// The port that would be sent to (discard).
const DISCARD: u16 = 9;

/// The address of this host that packets to the internet come from, if a router has to translate it. `bound`: the address that
/// the socket is bound to.
pub(super) fn inside_address(bound: IpAddr) -> Option<Ipv4Addr> {
    let from = match bound.to_canonical() {
        IpAddr::V4(ip) if !ip.is_unspecified() => ip,
        IpAddr::V6(ip) if !ip.is_unspecified() => return None,
        _ => Ipv4Addr::UNSPECIFIED,
    };
    // Fails where there is no way to the internet, or none from there.
    let socket = UdpSocket::bind((from, 0)).ok()?;
    socket.connect((ANYWHERE, DISCARD)).ok()?;
    match socket.local_addr() {
        Ok(SocketAddr::V4(addr)) if is_inside(*addr.ip()) => Some(*addr.ip()),
        _ => None,
    }
}

/// The router that packets to the internet go to. May block for a moment.
pub(super) fn find() -> Result<Ipv4Addr, String> {
    let gateway = netdev::get_default_gateway()?;
    let usable = |ip: &&Ipv4Addr| is_inside(**ip);
    gateway.ipv4.iter().find(usable).copied().ok_or_else(|| "there is no router for IPv4".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_asked_for_addresses_that_no_router_translates() {
        for bound in ["127.0.0.1", "::1", "2001:db8::1"] {
            assert_eq!(inside_address(bound.parse().unwrap()), None, "{bound}");
        }
    }
}
