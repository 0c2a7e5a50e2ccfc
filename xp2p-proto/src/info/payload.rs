//! The binary part of an xp2pInfo.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use nom::IResult;
use nom::bytes::complete::take;
use nom::error::{ContextError, ErrorKind, ParseError, context};
use nom::number::complete::{be_u16, be_u32, be_u128, u8 as byte};
use nom::{Parser, combinator::map};

use super::addr::{AddrError, DnsName, Host, HostPort, ServerAddr, check_ip};
use super::capability::{CAPABILITY_LEN, Capability};
use super::error::{PayloadError, PayloadReason};
use super::{MAX_ADDRS, MAX_LAN, MAX_PAYLOAD, MAX_SERVERS, PAYLOAD_FORMAT};
use crate::keys::{KEY_LEN, PublicKey, Ticket};

const TAG_NAME: u8 = 0;
const TAG_V4: u8 = 4;
const TAG_V6: u8 = 6;
/// Added to the number of addresses of a server if the port of its relay over TCP follows them.
const TCP_PORT: u8 = 0x40;

/// What a payload holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Payload {
    pub(super) camera: PublicKey,
    pub(super) ticket: Ticket,
    pub(super) servers: Vec<ServerAddr>,
    pub(super) lan: Vec<SocketAddr>,
    pub(super) capability: Option<Capability>,
}

/// The rest of the input from the wrong byte on, and what is wrong with it.
struct Fail<'a> {
    at: &'a [u8],
    reason: PayloadReason,
}

impl<'a> ParseError<&'a [u8]> for Fail<'a> {
    fn from_error_kind(input: &'a [u8], _: ErrorKind) -> Self {
        // Only `take` and the numbers fail by themselves, and only because the input ends.
        Self { at: &input[input.len()..], reason: PayloadReason::Truncated { what: "" } }
    }

    fn append(_: &'a [u8], _: ErrorKind, other: Self) -> Self {
        other
    }
}

impl<'a> ContextError<&'a [u8]> for Fail<'a> {
    fn add_context(_: &'a [u8], inside: &'static str, mut other: Self) -> Self {
        if let PayloadReason::Truncated { what } = &mut other.reason
            && what.is_empty()
        {
            *what = inside;
        }
        other
    }
}

type Parsed<'a, T> = IResult<&'a [u8], T, Fail<'a>>;

fn fail<'a, T>(at: &'a [u8], reason: PayloadReason) -> Parsed<'a, T> {
    Err(nom::Err::Failure(Fail { at, reason }))
}

impl Payload {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, PayloadError> {
        if bytes.len() > MAX_PAYLOAD {
            let reason = PayloadReason::TooLong { found: bytes.len() };
            return Err(PayloadError { offset: MAX_PAYLOAD, reason });
        }
        match payload(bytes) {
            Ok((_, payload)) => Ok(payload),
            Err(nom::Err::Error(Fail { at, reason }) | nom::Err::Failure(Fail { at, reason })) => {
                Err(PayloadError { offset: bytes.len() - at.len(), reason })
            }
            // The parsers for complete input never ask for more.
            Err(nom::Err::Incomplete(_)) => Err(PayloadError {
                offset: bytes.len(),
                reason: PayloadReason::Truncated { what: "the payload" },
            }),
        }
    }

    /// The bytes. Counts that are out of range come out wrong, so [`Self::parse`] what comes out of parts that
    /// nobody checked.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = vec![PAYLOAD_FORMAT];
        out.extend_from_slice(self.camera.as_bytes());
        out.extend_from_slice(self.ticket.as_bytes());
        out.push(count(self.servers.len()));
        for server in &self.servers {
            out.extend_from_slice(server.key.as_bytes());
            let tcp_port = if server.tcp_port.is_some() { TCP_PORT } else { 0 };
            // A count that would run into the flag is above the limit with what is left of it, too.
            out.push(count(server.addrs.len()).min(TCP_PORT - 1) | tcp_port);
            for addr in &server.addrs {
                match &addr.host {
                    Host::Ip(ip) => encode_ip(&mut out, *ip),
                    Host::Name(name) => {
                        // At most 253 bytes: `DnsName` cannot be longer.
                        out.extend_from_slice(&[TAG_NAME, count(name.as_str().len())]);
                        out.extend_from_slice(name.as_str().as_bytes());
                    }
                }
                out.extend_from_slice(&addr.port.to_be_bytes());
            }
            if let Some(port) = server.tcp_port {
                out.extend_from_slice(&port.to_be_bytes());
            }
        }
        out.push(count(self.lan.len()));
        for addr in &self.lan {
            encode_ip(&mut out, addr.ip());
            out.extend_from_slice(&addr.port().to_be_bytes());
        }
        match &self.capability {
            None => out.push(0),
            Some(capability) => {
                out.push(count(CAPABILITY_LEN));
                out.extend_from_slice(&capability.to_bytes());
            }
        }
        out
    }
}

/// A count too large for its byte becomes 255, which is above every limit.
fn count(n: usize) -> u8 {
    u8::try_from(n).unwrap_or(u8::MAX)
}

fn encode_ip(out: &mut Vec<u8>, ip: IpAddr) {
    match ip {
        IpAddr::V4(ip) => {
            out.push(TAG_V4);
            out.extend_from_slice(&ip.octets());
        }
        IpAddr::V6(ip) => {
            out.push(TAG_V6);
            out.extend_from_slice(&ip.octets());
        }
    }
}

fn payload(input: &[u8]) -> Parsed<'_, Payload> {
    let (rest, format) = context("the format number", byte).parse(input)?;
    if format != PAYLOAD_FORMAT {
        return fail(input, PayloadReason::Format { found: format });
    }
    let (rest, camera) = context("the camera's key", |i| key(i, PayloadReason::CameraKey)).parse(rest)?;
    let (rest, ticket) = context("the ticket", map(array, Ticket::from_bytes)).parse(rest)?;
    let (rest, servers) = servers(rest)?;
    let (rest, lan) = lan(rest)?;
    let (rest, capability) = context("the capability", |i| capability(i, &camera)).parse(rest)?;
    if !rest.is_empty() {
        return fail(rest, PayloadReason::Trailing { count: rest.len() });
    }
    Ok((rest, Payload { camera, ticket, servers, lan, capability }))
}

fn array<const N: usize>(input: &[u8]) -> Parsed<'_, [u8; N]> {
    let (rest, bytes) = take(N)(input)?;
    let mut array = [0; N];
    array.copy_from_slice(bytes);
    Ok((rest, array))
}

fn key(input: &[u8], reason: PayloadReason) -> Parsed<'_, PublicKey> {
    let (rest, bytes) = array::<KEY_LEN>(input)?;
    match PublicKey::from_bytes(bytes) {
        Ok(key) => Ok((rest, key)),
        Err(_) => fail(input, reason),
    }
}

fn servers(input: &[u8]) -> Parsed<'_, Vec<ServerAddr>> {
    let (mut rest, found) = context("the number of servers", byte).parse(input)?;
    if found == 0 || usize::from(found) > MAX_SERVERS {
        return fail(input, PayloadReason::ServerCount { found });
    }
    let mut servers: Vec<ServerAddr> = Vec::with_capacity(found.into());
    // Across all servers: two keys at one address would contradict each other.
    let mut seen = BTreeSet::new();
    for _ in 0..found {
        let at = rest;
        let key_of_server = |i| key(i, PayloadReason::ServerKey);
        let (after, key) = context("a server's key", key_of_server).parse(rest)?;
        if servers.iter().any(|server| server.key == key) {
            return fail(at, PayloadReason::ServerTwice);
        }
        let at = after;
        let (after, found) = context("the number of a server's addresses", byte).parse(at)?;
        let (has_tcp_port, found) = (found & TCP_PORT != 0, found & !TCP_PORT);
        if found == 0 || usize::from(found) > MAX_ADDRS {
            return fail(at, PayloadReason::AddressCount { found });
        }
        rest = after;
        let mut addrs = Vec::with_capacity(found.into());
        for _ in 0..found {
            let at = rest;
            let (after, addr) = context("a server's address", |i| host_port(i, true)).parse(at)?;
            if !seen.insert(addr.clone()) {
                return fail(at, PayloadReason::AddressTwice);
            }
            addrs.push(addr);
            rest = after;
        }
        let mut tcp_port = None;
        if has_tcp_port {
            let at = rest;
            let (after, port) = context("the TCP port of a server", be_u16).parse(at)?;
            if port == 0 {
                return fail(at, PayloadReason::Addr(AddrError::PortZero));
            }
            tcp_port = Some(port);
            rest = after;
        }
        servers.push(ServerAddr { key, addrs, tcp_port });
    }
    Ok((rest, servers))
}

fn lan(input: &[u8]) -> Parsed<'_, Vec<SocketAddr>> {
    let (mut rest, found) = context("the number of local addresses", byte).parse(input)?;
    if usize::from(found) > MAX_LAN {
        return fail(input, PayloadReason::LanCount { found });
    }
    let mut lan = Vec::with_capacity(found.into());
    for _ in 0..found {
        let at = rest;
        let (after, addr) = context("a local address", |i| host_port(i, false)).parse(at)?;
        rest = after;
        // `host_port` lets no name pass here.
        let Some(addr) = addr.socket_addr() else {
            return fail(at, PayloadReason::AddressKind { found: TAG_NAME });
        };
        if lan.contains(&addr) {
            return fail(at, PayloadReason::AddressTwice);
        }
        lan.push(addr);
    }
    Ok((rest, lan))
}

fn host_port(input: &[u8], names: bool) -> Parsed<'_, HostPort> {
    let (at, tag) = byte(input)?;
    let (rest, host) = match tag {
        TAG_V4 => map(be_u32, |ip| Host::Ip(Ipv4Addr::from(ip).into())).parse(at)?,
        TAG_V6 => map(be_u128, |ip| Host::Ip(Ipv6Addr::from(ip).into())).parse(at)?,
        TAG_NAME if names => map(name, Host::Name).parse(at)?,
        found => return fail(input, PayloadReason::AddressKind { found }),
    };
    if let Host::Ip(ip) = host
        && let Err(error) = check_ip(ip)
    {
        return fail(at, PayloadReason::Addr(error));
    }
    let at = rest;
    let (rest, port) = be_u16(at)?;
    if port == 0 {
        return fail(at, PayloadReason::Addr(AddrError::PortZero));
    }
    Ok((rest, HostPort { host, port }))
}

fn name(input: &[u8]) -> Parsed<'_, DnsName> {
    use super::addr::NameError;

    let (at, len) = byte(input)?;
    let (rest, bytes) = take(len)(at)?;
    let name = match std::str::from_utf8(bytes) {
        Ok(text) => DnsName::new(text),
        Err(e) => Err(NameError::Character { position: e.valid_up_to() }),
    };
    match name {
        Ok(name) => Ok((rest, name)),
        Err(error @ NameError::Length { .. }) => fail(input, PayloadReason::Name(error)),
        // A position within the name is at most its length.
        Err(error) => fail(&at[error.position()..], PayloadReason::Name(error)),
    }
}

fn capability<'a>(input: &'a [u8], camera: &PublicKey) -> Parsed<'a, Option<Capability>> {
    let (at, len) = byte(input)?;
    match usize::from(len) {
        0 => Ok((at, None)),
        CAPABILITY_LEN => {
            let (rest, bytes) = take(CAPABILITY_LEN)(at)?;
            match Capability::parse(bytes) {
                Ok(capability) if capability.is_signed_by(camera) => Ok((rest, Some(capability))),
                Ok(_) => fail(at, PayloadReason::ForeignCapability),
                // An offset within the capability is less than its length.
                Err(error) => fail(&at[error.offset()..], PayloadReason::Capability(error)),
            }
        }
        _ => fail(input, PayloadReason::CapabilityLength { found: len }),
    }
}
