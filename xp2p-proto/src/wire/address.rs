//! An address on the wire: its family (4 or 6), the IP, and a 16-bit port.

use std::net::{IpAddr, SocketAddr};

use nom::number::complete::{be_u8, be_u16, be_u32, be_u128};
use nom::{IResult, Parser};

/// Appends `addr` as it is: an IPv4 address in an IPv6 one stays one of the second family.
pub(crate) fn put_address(out: &mut Vec<u8>, addr: SocketAddr) {
    match addr.ip() {
        IpAddr::V4(ip) => {
            out.push(4);
            out.extend_from_slice(&ip.octets());
        }
        IpAddr::V6(ip) => {
            out.push(6);
            out.extend_from_slice(&ip.octets());
        }
    }
    out.extend_from_slice(&addr.port().to_be_bytes());
}

/// Reads one. Refuses any other family, and what is too short.
pub(crate) fn address(input: &[u8]) -> IResult<&[u8], SocketAddr> {
    let (input, family) = be_u8(input)?;
    let (input, ip) = match family {
        4 => be_u32.map(|ip| IpAddr::from(ip.to_be_bytes())).parse(input)?,
        6 => be_u128.map(|ip| IpAddr::from(ip.to_be_bytes())).parse(input)?,
        _ => return Err(nom::Err::Error(nom::error::make_error(input, nom::error::ErrorKind::Alt))),
    };
    let (input, port) = be_u16(input)?;
    Ok((input, SocketAddr::new(ip, port)))
}
