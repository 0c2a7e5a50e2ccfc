//! The frames and their codec.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use nom::bytes::complete::take;
use nom::combinator::rest;
use nom::number::complete::{be_u8, be_u16, be_u32, be_u64, be_u128};
use nom::{IResult, Parser};
use thiserror::Error;

use super::address::put_address;
use crate::keys::Ticket;

/// Bytes in front of a datagram until its flow has an id.
pub const OPEN_HEADER_LEN: usize = 1 + Ticket::LEN;
/// Bytes in front of a datagram of a flow with an id.
pub const FORWARD_HEADER_LEN: usize = 1 + 8;
/// Longest datagram that may be carried: what fits, with the longest header, into the largest UDP payload.
pub const MAX_CARRIED: usize = 65_507 - OPEN_HEADER_LEN;

const OPEN: u8 = 4;
const FORWARD: u8 = 5;
const OPENED: u8 = 6;
const REFUSED: u8 = 7;
const COOKIE: u8 = 8;
const COOKIE_ECHO: u8 = 9;
const UNKNOWN_FLOW: u8 = 10;
const KNOCK: u8 = 11;

/// What a datagram is, by its first byte (RFC 9443).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// STUN (RFC 8489).
    Stun,
    /// A frame of ours.
    Frame,
    /// QUIC (RFC 9000).
    Quic,
    /// Nothing that we know.
    Unknown,
}

impl Kind {
    /// The kind of a datagram that begins with `first`.
    pub const fn of(first: u8) -> Self {
        match first {
            0..=3 => Self::Stun,
            4..=15 => Self::Frame,
            64..=127 | 192..=255 => Self::Quic,
            _ => Self::Unknown,
        }
    }
}

/// Names a relay flow for one of its two ends. Random, so that it cannot be guessed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowId(pub u64);

impl fmt::Debug for FlowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A whole id lets its reader send into the flow from the right address.
        write!(f, "FlowId({:04x}..)", self.0 >> 48)
    }
}

/// Proves that its holder receives what is sent to its address.
pub type Cookie = [u8; 16];

/// Why a server does not relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RefuseReason {
    /// No camera with this ticket is registered here.
    UnknownTicket,
    /// The camera has as many flows as it may have.
    CameraFull,
    /// Too many opens from this address.
    RateLimited,
    /// The operator does not allow it.
    Policy,
    /// The server is about to stop.
    Draining,
    /// The server has as many flows as it may have.
    ServerFull,
    /// A reason that this version does not know.
    Other(u8),
}

impl RefuseReason {
    /// The number on the wire.
    pub const fn number(self) -> u8 {
        match self {
            Self::UnknownTicket => 1,
            Self::CameraFull => 2,
            Self::RateLimited => 3,
            Self::Policy => 4,
            Self::Draining => 5,
            Self::ServerFull => 6,
            Self::Other(n) => n,
        }
    }

    /// The reason of a number.
    pub const fn from_number(number: u8) -> Self {
        match number {
            1 => Self::UnknownTicket,
            2 => Self::CameraFull,
            3 => Self::RateLimited,
            4 => Self::Policy,
            5 => Self::Draining,
            6 => Self::ServerFull,
            n => Self::Other(n),
        }
    }
}

impl fmt::Display for RefuseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownTicket => f.write_str(
                "the server knows no such camera: it is off, not registered, or its ticket was revoked",
            ),
            Self::CameraFull => f.write_str("too many viewers are connecting to this camera"),
            Self::RateLimited => f.write_str("too many attempts from this address; wait a little"),
            Self::Policy => f.write_str("the server's operator does not allow it"),
            Self::Draining => f.write_str("the server is about to stop"),
            Self::ServerFull => f.write_str("the server is full"),
            Self::Other(n) => write!(f, "the server gives reason {n}"),
        }
    }
}

/// A frame. Carried datagrams are borrowed from the datagram they came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame<'a> {
    /// Carry `payload` to the camera of `ticket`, and open a flow for the answers.
    Open {
        /// Whom to reach.
        ticket: Ticket,
        /// A QUIC packet.
        payload: &'a [u8],
    },
    /// Carry `payload` along an open flow.
    Forward {
        /// The flow, as the end that sends or receives this names it.
        flow: FlowId,
        /// A QUIC packet.
        payload: &'a [u8],
    },
    /// The flow is open.
    Opened {
        /// Whom it reaches.
        ticket: Ticket,
        /// Its name from now on.
        flow: FlowId,
        /// Where the server sees the viewer.
        observed: SocketAddr,
    },
    /// There will be no flow.
    Refused {
        /// Whom it would have reached.
        ticket: Ticket,
        /// Why not.
        reason: RefuseReason,
    },
    /// The flow was used from a new address: prove that it is yours.
    Cookie {
        /// The flow.
        flow: FlowId,
        /// To send back from that address.
        cookie: Cookie,
    },
    /// The proof.
    CookieEcho {
        /// The flow.
        flow: FlowId,
        /// As received.
        cookie: Cookie,
    },
    /// The server knows no such flow, perhaps because it restarted: open it again.
    UnknownFlow {
        /// The flow.
        flow: FlowId,
    },
    /// Means nothing to whom it reaches: it lets a NAT in front of its sender expect an answer from there.
    Knock,
}

/// Why a datagram is no frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum FrameError {
    /// It ends too early.
    #[error("the frame ends at byte {offset}, inside a field")]
    Truncated {
        /// Its length.
        offset: usize,
    },
    /// The type is not one of ours.
    #[error("unknown frame type {found}")]
    Type {
        /// The first byte.
        found: u8,
    },
    /// An address of a family other than 4 or 6.
    #[error("unknown address family {found} at byte {offset}")]
    Family {
        /// Where.
        offset: usize,
        /// The byte.
        found: u8,
    },
    /// A frame without a payload has more bytes than its fields.
    #[error("the frame should end at byte {offset}")]
    Trailing {
        /// Where it should end.
        offset: usize,
    },
    /// A carrier frame that carries nothing.
    #[error("the frame carries nothing after byte {offset}")]
    Empty {
        /// Its length.
        offset: usize,
    },
}

impl<'a> Frame<'a> {
    /// Reads the frame that fills `input`.
    ///
    /// # Errors
    ///
    /// When it is not exactly one frame; nothing is kept of it.
    pub fn parse(input: &'a [u8]) -> Result<Self, FrameError> {
        let truncated =
            |_: nom::Err<nom::error::Error<&'a [u8]>>| FrameError::Truncated { offset: input.len() };
        let (body, kind) = be_u8(input).map_err(truncated)?;
        let (tail, frame) = match kind {
            OPEN => {
                let (tail, (ticket, payload)) = (ticket, rest).parse(body).map_err(truncated)?;
                (tail, Self::Open { ticket, payload })
            }
            FORWARD => {
                let (tail, (flow, payload)) = (flow, rest).parse(body).map_err(truncated)?;
                (tail, Self::Forward { flow, payload })
            }
            OPENED => {
                let (tail, (ticket, flow, family)) = (ticket, flow, be_u8).parse(body).map_err(truncated)?;
                let offset = input.len() - tail.len() - 1;
                let (tail, observed) = match family {
                    4 => address_v4(tail).map_err(truncated)?,
                    6 => address_v6(tail).map_err(truncated)?,
                    found => return Err(FrameError::Family { offset, found }),
                };
                (tail, Self::Opened { ticket, flow, observed })
            }
            REFUSED => {
                let (tail, (ticket, reason)) = (ticket, be_u8).parse(body).map_err(truncated)?;
                (tail, Self::Refused { ticket, reason: RefuseReason::from_number(reason) })
            }
            COOKIE => {
                let (tail, (flow, cookie)) = (flow, cookie).parse(body).map_err(truncated)?;
                (tail, Self::Cookie { flow, cookie })
            }
            COOKIE_ECHO => {
                let (tail, (flow, cookie)) = (flow, cookie).parse(body).map_err(truncated)?;
                (tail, Self::CookieEcho { flow, cookie })
            }
            UNKNOWN_FLOW => {
                let (tail, flow) = flow(body).map_err(truncated)?;
                (tail, Self::UnknownFlow { flow })
            }
            KNOCK => (body, Self::Knock),
            found => return Err(FrameError::Type { found }),
        };
        if !tail.is_empty() {
            return Err(FrameError::Trailing { offset: input.len() - tail.len() });
        }
        match frame {
            Self::Open { payload: [], .. } | Self::Forward { payload: [], .. } => {
                Err(FrameError::Empty { offset: input.len() })
            }
            frame => Ok(frame),
        }
    }

    /// Appends the frame to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Open { ticket, payload } => {
                out.extend_from_slice(&open_header(ticket));
                out.extend_from_slice(payload);
            }
            Self::Forward { flow, payload } => {
                out.extend_from_slice(&forward_header(*flow));
                out.extend_from_slice(payload);
            }
            Self::Opened { ticket, flow, observed } => {
                out.push(OPENED);
                out.extend_from_slice(ticket.as_bytes());
                out.extend_from_slice(&flow.0.to_be_bytes());
                put_address(out, *observed);
            }
            Self::Refused { ticket, reason } => {
                out.push(REFUSED);
                out.extend_from_slice(ticket.as_bytes());
                out.push(reason.number());
            }
            Self::Cookie { flow, cookie } => {
                out.push(COOKIE);
                out.extend_from_slice(&flow.0.to_be_bytes());
                out.extend_from_slice(cookie);
            }
            Self::CookieEcho { flow, cookie } => {
                out.push(COOKIE_ECHO);
                out.extend_from_slice(&flow.0.to_be_bytes());
                out.extend_from_slice(cookie);
            }
            Self::UnknownFlow { flow } => {
                out.push(UNKNOWN_FLOW);
                out.extend_from_slice(&flow.0.to_be_bytes());
            }
            Self::Knock => out.push(KNOCK),
        }
    }
}

/// What goes in front of a datagram that opens a flow to the camera of `ticket`.
pub fn open_header(ticket: &Ticket) -> [u8; OPEN_HEADER_LEN] {
    let mut header = [OPEN; OPEN_HEADER_LEN];
    header[1..].copy_from_slice(ticket.as_bytes());
    header
}

/// What goes in front of a datagram of an open flow.
pub fn forward_header(flow: FlowId) -> [u8; FORWARD_HEADER_LEN] {
    let mut header = [FORWARD; FORWARD_HEADER_LEN];
    header[1..].copy_from_slice(&flow.0.to_be_bytes());
    header
}

fn ticket(input: &[u8]) -> IResult<&[u8], Ticket> {
    sixteen.map(Ticket::from_bytes).parse(input)
}

fn cookie(input: &[u8]) -> IResult<&[u8], Cookie> {
    sixteen(input)
}

fn sixteen(input: &[u8]) -> IResult<&[u8], [u8; 16]> {
    let (input, bytes) = take(16_usize)(input)?;
    let mut out = [0; 16];
    out.copy_from_slice(bytes); // `take` gave sixteen
    Ok((input, out))
}

fn flow(input: &[u8]) -> IResult<&[u8], FlowId> {
    be_u64.map(FlowId).parse(input)
}

fn address_v4(input: &[u8]) -> IResult<&[u8], SocketAddr> {
    (be_u32, be_u16).map(|(ip, port)| SocketAddr::from((Ipv4Addr::from_bits(ip), port))).parse(input)
}

fn address_v6(input: &[u8]) -> IResult<&[u8], SocketAddr> {
    (be_u128, be_u16).map(|(ip, port)| SocketAddr::from((Ipv6Addr::from_bits(ip), port))).parse(input)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoded(frame: Frame<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        frame.encode(&mut out);
        out
    }

    fn examples() -> Vec<Frame<'static>> {
        let ticket = Ticket::from_bytes(*b"0123456789abcdef");
        let flow = FlowId(0x0102_0304_0506_0708);
        vec![
            Frame::Open { ticket, payload: b"\xc0quic" },
            Frame::Forward { flow, payload: b"\x40quic" },
            Frame::Opened { ticket, flow, observed: "192.0.2.1:4660".parse().unwrap() },
            Frame::Opened { ticket, flow, observed: "[2001:db8::1]:4660".parse().unwrap() },
            Frame::Refused { ticket, reason: RefuseReason::Draining },
            Frame::Cookie { flow, cookie: [0xaa; 16] },
            Frame::CookieEcho { flow, cookie: [0xbb; 16] },
            Frame::UnknownFlow { flow },
            Frame::Knock,
        ]
    }

    #[test]
    fn every_frame_round_trips() {
        for frame in examples() {
            assert_eq!(Frame::parse(&encoded(frame)), Ok(frame));
        }
    }

    #[test]
    fn every_frame_is_refused_at_every_other_length() {
        for frame in examples() {
            let bytes = encoded(frame);
            let carries = matches!(frame, Frame::Open { .. } | Frame::Forward { .. });
            let fixed = if carries { bytes.len() - 5 } else { bytes.len() };
            for len in 0..fixed {
                assert_eq!(
                    Frame::parse(&bytes[..len]),
                    Err(FrameError::Truncated { offset: len }),
                    "{frame:?}"
                );
            }
            if carries {
                assert_eq!(Frame::parse(&bytes[..fixed]), Err(FrameError::Empty { offset: fixed }));
            } else {
                let longer = [&bytes[..], b"x"].concat();
                assert_eq!(
                    Frame::parse(&longer),
                    Err(FrameError::Trailing { offset: bytes.len() }),
                    "{frame:?}"
                );
            }
        }
    }

    #[test]
    fn headers_keep_to_the_stated_overhead() {
        assert_eq!(open_header(&Ticket::from_bytes([0; 16])).len(), 17);
        assert_eq!(forward_header(FlowId(0)).len(), 9);
    }

    #[test]
    fn every_first_byte_has_one_kind() {
        for first in 0..=255u8 {
            let expected = match first {
                0..=3 => Kind::Stun,
                4..=15 => Kind::Frame,
                16..=63 | 128..=191 => Kind::Unknown,
                64..=127 | 192..=255 => Kind::Quic,
            };
            assert_eq!(Kind::of(first), expected, "{first}");
            if !(4..=11).contains(&first) {
                let bytes = [first; 64];
                assert_eq!(Frame::parse(&bytes), Err(FrameError::Type { found: first }));
            }
        }
    }

    #[test]
    fn every_reason_keeps_its_number() {
        for number in 0..=255 {
            assert_eq!(RefuseReason::from_number(number).number(), number);
        }
    }

    #[test]
    fn an_unknown_address_family_is_refused_where_it_stands() {
        let mut bytes = encoded(examples()[2]);
        bytes[25] = 5;
        assert_eq!(Frame::parse(&bytes), Err(FrameError::Family { offset: 25, found: 5 }));
    }

    proptest! {
        #[test]
        fn what_parses_prints_the_same(bytes in proptest::collection::vec(any::<u8>(), 0..64), kind in 4u8..=11) {
            let mut bytes = bytes;
            if let Some(first) = bytes.first_mut() {
                *first = kind;
            }
            if let Ok(frame) = Frame::parse(&bytes) {
                prop_assert_eq!(encoded(frame), bytes);
            }
        }
    }
}
