//! The message format (RFC 8489 section 5 and 14, RFC 5780 section 7).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use nom::bytes::complete::take;
use nom::number::complete::{be_u8, be_u16, be_u32};
use nom::{IResult, Parser};
use thiserror::Error;

/// Identifies a request and its answer.
pub type TransactionId = [u8; 12];

/// Longest message that is read or made, in bytes.
pub const MAX_MESSAGE: usize = 548;
/// Most attributes of a message.
pub const MAX_ATTRIBUTES: usize = 16;
/// In CHANGE-REQUEST: answer from the other IP.
pub const CHANGE_IP: u32 = 4;
/// In CHANGE-REQUEST: answer from the other port.
pub const CHANGE_PORT: u32 = 2;

const HEADER_LEN: usize = 20;
const COOKIE: u32 = 0x2112_a442;
const FINGERPRINT_XOR: u32 = 0x5354_554e;
const BINDING: u16 = 1;

/// Request or answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Where do you see me?
    Request,
    /// No answer is wanted.
    Indication,
    /// There.
    Success,
    /// No.
    Error,
}

impl Class {
    const fn bits(self) -> u16 {
        match self {
            Self::Request => 0,
            Self::Indication => 0x0010,
            Self::Success => 0x0100,
            Self::Error => 0x0110,
        }
    }

    const fn from_type(kind: u16) -> Self {
        match kind & 0x0110 {
            0 => Self::Request,
            0x0010 => Self::Indication,
            0x0100 => Self::Success,
            _ => Self::Error,
        }
    }
}

/// An attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attribute {
    /// Where the sender of the request is seen; not changed by NATs that look for addresses.
    XorMappedAddress(SocketAddr),
    /// The same in plain, as old servers send it.
    MappedAddress(SocketAddr),
    /// [`CHANGE_IP`] and [`CHANGE_PORT`].
    ChangeRequest(u32),
    /// Where the answer came from.
    ResponseOrigin(SocketAddr),
    /// The server's other IP and port.
    OtherAddress(SocketAddr),
    /// An error: code and reason.
    ErrorCode(u16, String),
    /// What was not understood of a request.
    UnknownAttributes(Vec<u16>),
    /// Something else, by its type; below 0x8000 it must be understood.
    Other(u16),
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Request or answer.
    pub class: Class,
    /// Which.
    pub transaction: TransactionId,
    /// Attributes in their order, without FINGERPRINT.
    pub attributes: Vec<Attribute>,
}

/// Why bytes are no STUN message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum StunError {
    /// Too short, too long, or not as long as it says.
    #[error("a STUN message of {found} bytes, which does not fit its header")]
    Length {
        /// Its bytes.
        found: usize,
    },
    /// No STUN, or an old kind of it.
    #[error("no magic cookie")]
    Cookie,
    /// Not a binding request or answer.
    #[error("method {found} is not binding")]
    Method {
        /// The message type.
        found: u16,
    },
    /// An attribute is malformed.
    #[error("attribute {kind:#06x} at byte {offset} is malformed")]
    Attribute {
        /// Where it begins.
        offset: usize,
        /// Its type.
        kind: u16,
    },
    /// More attributes than allowed.
    #[error("more than {MAX_ATTRIBUTES} attributes")]
    TooMany,
    /// The checksum is wrong.
    #[error("wrong fingerprint")]
    Fingerprint,
}

impl Message {
    /// A binding request.
    pub fn request(transaction: TransactionId, attributes: Vec<Attribute>) -> Self {
        Self { class: Class::Request, transaction, attributes }
    }

    /// The address that an answer tells.
    pub fn mapped(&self) -> Option<SocketAddr> {
        let xor = self.attributes.iter().find_map(|a| match a {
            Attribute::XorMappedAddress(addr) => Some(*addr),
            _ => None,
        });
        xor.or_else(|| {
            self.attributes.iter().find_map(|a| match a {
                Attribute::MappedAddress(addr) => Some(*addr),
                _ => None,
            })
        })
    }

    /// The server's other address.
    pub fn other(&self) -> Option<SocketAddr> {
        self.attributes.iter().find_map(|a| match a {
            Attribute::OtherAddress(addr) => Some(*addr),
            _ => None,
        })
    }

    /// Reads the message that fills `input`.
    ///
    /// # Errors
    ///
    /// [`StunError`].
    pub fn parse(input: &[u8]) -> Result<Self, StunError> {
        let length_error = StunError::Length { found: input.len() };
        if input.len() > MAX_MESSAGE {
            return Err(length_error);
        }
        let header = |input| -> IResult<&[u8], (u16, u16, u32, &[u8])> {
            (be_u16, be_u16, be_u32, take(12_usize)).parse(input)
        };
        let (mut rest, (kind, length, cookie, id)) = header(input).map_err(|_| length_error)?;
        if usize::from(length) != rest.len() || !length.is_multiple_of(4) {
            return Err(length_error);
        }
        if cookie != COOKIE {
            return Err(StunError::Cookie);
        }
        if kind & !0x0110 != BINDING {
            return Err(StunError::Method { found: kind });
        }
        let mut transaction = [0; 12];
        transaction.copy_from_slice(id); // `take` gave twelve
        let mut message = Self { class: Class::from_type(kind), transaction, attributes: Vec::new() };
        while !rest.is_empty() {
            let offset = input.len() - rest.len();
            let (next, (kind, value)) =
                attribute(rest).map_err(|_| StunError::Attribute { offset, kind: 0 })?;
            let malformed = StunError::Attribute { offset, kind };
            rest = next;
            if kind == FINGERPRINT {
                // It must be the last, and covers everything before it.
                let expected = fingerprint(&input[..offset], input.len() - HEADER_LEN);
                return match value.try_into().map(u32::from_be_bytes) {
                    Ok(found) if rest.is_empty() && found == expected => Ok(message),
                    Ok(_) => Err(StunError::Fingerprint),
                    Err(_) => Err(malformed),
                };
            }
            if message.attributes.len() >= MAX_ATTRIBUTES {
                return Err(StunError::TooMany);
            }
            let parsed = parse_value(kind, value, &transaction).ok_or(malformed)?;
            message.attributes.push(parsed);
        }
        Ok(message)
    }

    /// The bytes, with FINGERPRINT at the end.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(128);
        out.extend_from_slice(&(BINDING | self.class.bits()).to_be_bytes());
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(&COOKIE.to_be_bytes());
        out.extend_from_slice(&self.transaction);
        for attribute in self.attributes.iter().take(MAX_ATTRIBUTES) {
            self.encode_attribute(attribute, &mut out);
        }
        // Eight more bytes for the fingerprint, which the length must already count.
        let length = out.len() - HEADER_LEN + 8;
        out[2..4].copy_from_slice(&(length as u16).to_be_bytes()); // far below 2^16
        let crc = fingerprint(&out, length);
        out.extend_from_slice(&FINGERPRINT.to_be_bytes());
        out.extend_from_slice(&4u16.to_be_bytes());
        out.extend_from_slice(&crc.to_be_bytes());
        out
    }

    fn encode_attribute(&self, attribute: &Attribute, out: &mut Vec<u8>) {
        let (kind, value) = match attribute {
            Attribute::MappedAddress(addr) => (MAPPED_ADDRESS, address(*addr, None)),
            Attribute::XorMappedAddress(addr) => {
                (XOR_MAPPED_ADDRESS, address(*addr, Some(&self.transaction)))
            }
            Attribute::ChangeRequest(flags) => (CHANGE_REQUEST, flags.to_be_bytes().to_vec()),
            Attribute::ResponseOrigin(addr) => (RESPONSE_ORIGIN, address(*addr, None)),
            Attribute::OtherAddress(addr) => (OTHER_ADDRESS, address(*addr, None)),
            Attribute::ErrorCode(code, reason) => {
                let mut value = vec![0, 0, (code / 100) as u8, (code % 100) as u8];
                let end = (0..=reason.len().min(64)).rev().find(|at| reason.is_char_boundary(*at));
                value.extend_from_slice(&reason.as_bytes()[..end.unwrap_or(0)]); // 0 at the least
                (ERROR_CODE, value)
            }
            Attribute::UnknownAttributes(kinds) => {
                (UNKNOWN_ATTRIBUTES, kinds.iter().flat_map(|k| k.to_be_bytes()).collect())
            }
            Attribute::Other(_) => return,
        };
        out.extend_from_slice(&kind.to_be_bytes());
        out.extend_from_slice(&(value.len() as u16).to_be_bytes());
        out.extend_from_slice(&value);
        out.resize(out.len().next_multiple_of(4), 0);
    }
}

const MAPPED_ADDRESS: u16 = 0x0001;
const CHANGE_REQUEST: u16 = 0x0003;
const ERROR_CODE: u16 = 0x0009;
const UNKNOWN_ATTRIBUTES: u16 = 0x000a;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
const FINGERPRINT: u16 = 0x8028;
const RESPONSE_ORIGIN: u16 = 0x802b;
const OTHER_ADDRESS: u16 = 0x802c;

/// CRC-32 over `message` with the length that the whole message will have.
fn fingerprint(message: &[u8], length: usize) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(message.get(..2).unwrap_or_default());
    hasher.update(&(length as u16).to_be_bytes()); // messages are short
    hasher.update(message.get(4..).unwrap_or_default());
    hasher.finalize() ^ FINGERPRINT_XOR
}

fn attribute(input: &[u8]) -> IResult<&[u8], (u16, &[u8])> {
    let (input, (kind, length)) = (be_u16, be_u16).parse(input)?;
    let (input, value) = take(length)(input)?;
    let (input, _) = take(usize::from(length).next_multiple_of(4) - usize::from(length))(input)?;
    Ok((input, (kind, value)))
}

fn parse_value(kind: u16, value: &[u8], id: &TransactionId) -> Option<Attribute> {
    Some(match kind {
        MAPPED_ADDRESS => Attribute::MappedAddress(parse_address(value, None)?),
        XOR_MAPPED_ADDRESS => Attribute::XorMappedAddress(parse_address(value, Some(id))?),
        CHANGE_REQUEST => Attribute::ChangeRequest(u32::from_be_bytes(value.try_into().ok()?)),
        RESPONSE_ORIGIN => Attribute::ResponseOrigin(parse_address(value, None)?),
        OTHER_ADDRESS => Attribute::OtherAddress(parse_address(value, None)?),
        ERROR_CODE => {
            // Section 14.8: hundreds, then the rest.
            let [_, _, class, number @ 0..=99, reason @ ..] = value else { return None };
            let reason =
                String::from_utf8_lossy(reason).chars().filter(|c| !c.is_control()).take(64).collect();
            Attribute::ErrorCode(u16::from(class & 7) * 100 + u16::from(*number), reason)
        }
        UNKNOWN_ATTRIBUTES => Attribute::UnknownAttributes(
            value.as_chunks::<2>().0.iter().map(|c| u16::from_be_bytes(*c)).collect(),
        ),
        kind => Attribute::Other(kind),
    })
}

/// What addresses are mixed with: the cookie and the transaction.
fn mask(id: Option<&TransactionId>) -> u128 {
    match id {
        None => 0,
        Some(id) => {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&COOKIE.to_be_bytes());
            bytes[4..].copy_from_slice(id);
            u128::from_be_bytes(bytes)
        }
    }
}

fn address(addr: SocketAddr, id: Option<&TransactionId>) -> Vec<u8> {
    let mask = mask(id);
    let port = addr.port() ^ (mask >> 112) as u16;
    let mut out = vec![0];
    match addr.ip().to_canonical() {
        IpAddr::V4(ip) => {
            out.push(1);
            out.extend_from_slice(&port.to_be_bytes());
            out.extend_from_slice(&(ip.to_bits() ^ (mask >> 96) as u32).to_be_bytes());
        }
        IpAddr::V6(ip) => {
            out.push(2);
            out.extend_from_slice(&port.to_be_bytes());
            out.extend_from_slice(&(ip.to_bits() ^ mask).to_be_bytes());
        }
    }
    out
}

fn parse_address(value: &[u8], id: Option<&TransactionId>) -> Option<SocketAddr> {
    let mask = mask(id);
    let head = |input| -> IResult<&[u8], (u8, u8, u16)> { (be_u8, be_u8, be_u16).parse(input) };
    let (rest, (_, family, port)) = head(value).ok()?;
    let ip = match family {
        1 => Ipv4Addr::from_bits(u32::from_be_bytes(rest.try_into().ok()?) ^ (mask >> 96) as u32).into(),
        2 => IpAddr::V6(Ipv6Addr::from_bits(u128::from_be_bytes(rest.try_into().ok()?) ^ mask)),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port ^ (mask >> 112) as u16))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hex(text: &str) -> Vec<u8> {
        data_encoding::HEXLOWER.decode(text.replace([' ', '\n'], "").as_bytes()).unwrap()
    }

    #[test]
    fn rfc_5769_sample_ipv4_response() {
        // Section 2.2, with MESSAGE-INTEGRITY, which is not checked here, and SOFTWARE.
        let bytes = hex("0101003c 2112a442 b7e7a701 bc34d686 fa87dfae
             8022000b 74657374 20766563 746f7220 00200008 0001a147 e112a643
             00080014 2b91f599 fd9e90c3 8c7489f9 2af9ba53 f06be7d7 80280004 c07d4c96");
        let message = Message::parse(&bytes).unwrap();
        assert_eq!(message.class, Class::Success);
        assert_eq!(message.mapped(), Some("192.0.2.1:32853".parse().unwrap()));
    }

    #[test]
    fn rfc_5769_sample_ipv6_response() {
        // Section 2.3.
        let bytes = hex("01010048 2112a442 b7e7a701 bc34d686 fa87dfae
             8022000b 74657374 20766563 746f7220
             00200014 0002a147 0113a9fa a5d3f179 bc25f4b5 bed2b9d9
             00080014 a382954e 4be67bf1 1784c97c 8292c275 bfe3ed41 80280004 c8fb0b4c");
        let message = Message::parse(&bytes).unwrap();
        assert_eq!(message.mapped(), Some("[2001:db8:1234:5678:11:2233:4455:6677]:32853".parse().unwrap()));
    }

    fn full() -> Message {
        Message {
            class: Class::Success,
            transaction: *b"transaction!",
            attributes: vec![
                Attribute::XorMappedAddress("192.0.2.1:1".parse().unwrap()),
                Attribute::MappedAddress("[2001:db8::1]:2".parse().unwrap()),
                Attribute::ChangeRequest(CHANGE_IP | CHANGE_PORT),
                Attribute::ResponseOrigin("192.0.2.2:3".parse().unwrap()),
                Attribute::OtherAddress("192.0.2.3:4".parse().unwrap()),
                Attribute::ErrorCode(420, "Unknown Attribute".into()),
                Attribute::UnknownAttributes(vec![0x7777]),
            ],
        }
    }

    #[test]
    fn messages_round_trip_and_no_shorter_or_damaged_one_is_taken() {
        let bytes = full().encode();
        assert_eq!(Message::parse(&bytes), Ok(full()));
        for cut in 0..bytes.len() {
            assert!(Message::parse(&bytes[..cut]).is_err(), "{cut}");
        }
        // Damage to the type of the fingerprint makes it an attribute that may be ignored.
        let kind = bytes.len() - 8..bytes.len() - 6;
        for at in (0..bytes.len()).filter(|at| !kind.contains(at)) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert!(Message::parse(&damaged).is_err(), "byte {at}");
        }
    }

    /// Both found by fuzzing: what was printed of such an error read otherwise.
    #[test]
    fn an_error_code_has_two_digits_after_the_hundreds_and_its_reason_is_cut_between_characters() {
        let error = |code, reason: &str| Message {
            class: Class::Error,
            transaction: [1; 12],
            attributes: vec![Attribute::ErrorCode(code, reason.to_owned())],
        };
        let mut bytes = error(499, "x").encode();
        let at = bytes.windows(2).position(|w| w == [4, 99]).unwrap();
        assert!(Message::parse(&bytes).is_ok());
        bytes[at + 1] = 100;
        // Without a fingerprint, which would not fit any more.
        let end = bytes.len() - 8;
        bytes.truncate(end);
        bytes[2..4].copy_from_slice(&((end - HEADER_LEN) as u16).to_be_bytes());
        assert_eq!(
            Message::parse(&bytes),
            Err(StunError::Attribute { offset: HEADER_LEN, kind: ERROR_CODE })
        );
        let long = error(400, &"aé".repeat(30));
        let cut = error(400, &("aé".repeat(21) + "a"));
        assert_eq!(Message::parse(&long.encode()), Ok(cut));
    }

    proptest! {
        #[test]
        fn parsing_never_panics(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), fix: bool) {
            if fix && bytes.len() >= 20 {
                let length = (bytes.len() - 20) as u16;
                bytes[..2].copy_from_slice(&[0, 1]);
                bytes[2..4].copy_from_slice(&length.to_be_bytes());
                bytes[4..8].copy_from_slice(&COOKIE.to_be_bytes());
            }
            let _ = Message::parse(&bytes);
        }
    }
}
