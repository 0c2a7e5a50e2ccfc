//! The messages and their codec.

use std::fmt;
use std::net::SocketAddr;

use nom::bytes::complete::take;
use nom::combinator::{map_res, opt};
use nom::multi::length_data;
use nom::number::complete::{be_u8, be_u16, be_u32};
use nom::{IResult, Parser};
use thiserror::Error;

use crate::info::{CAPABILITY_LEN, Capability};
use crate::keys::{SIGNATURE_LEN, Ticket, TicketNonce};
use crate::wire::{address, put_address};

/// Longest message in bytes, its type included.
pub const MAX_MESSAGE: usize = 1024;
/// Longest app id, product or name in bytes.
pub const MAX_TEXT: usize = 64;
/// Longest text of a refusal in bytes.
const MAX_REASON: usize = 200;

/// Why a server refuses a registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RefuseCode {
    /// No app key has this id.
    UnknownApp,
    /// The MAC is not one of the app's secret.
    WrongAppKey,
    /// The ticket is not that of the key and nonce.
    WrongTicket,
    /// The signature is not one of the camera's key.
    WrongSignature,
    /// An app key is needed here.
    NotAllowed,
    /// The server has as many cameras as it may have.
    ServerFull,
    /// The message made no sense, or came at the wrong time.
    Malformed,
    /// A code that this version does not know.
    Other(u8),
}

impl RefuseCode {
    const fn number(self) -> u8 {
        match self {
            Self::UnknownApp => 1,
            Self::WrongAppKey => 2,
            Self::WrongTicket => 3,
            Self::WrongSignature => 4,
            Self::NotAllowed => 5,
            Self::ServerFull => 6,
            Self::Malformed => 7,
            Self::Other(n) => n,
        }
    }

    const fn from_number(number: u8) -> Self {
        match number {
            1 => Self::UnknownApp,
            2 => Self::WrongAppKey,
            3 => Self::WrongTicket,
            4 => Self::WrongSignature,
            5 => Self::NotAllowed,
            6 => Self::ServerFull,
            7 => Self::Malformed,
            n => Self::Other(n),
        }
    }
}

impl fmt::Display for RefuseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownApp => "the server knows no app key with this id",
            Self::WrongAppKey => "the secret of the app key is wrong",
            Self::WrongTicket => "the ticket does not belong to the camera's key",
            Self::WrongSignature => "the camera's signature is wrong",
            Self::NotAllowed => {
                "the server admits only cameras with an app key; start the camera with --app-key"
            }
            Self::ServerFull => "the server is full",
            Self::Malformed => "the server did not understand the camera; are both of the same version?",
            Self::Other(n) => return write!(f, "the server gives reason {n}"),
        })
    }
}

/// Who a camera says it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// Id of its app key, empty without one.
    pub app_id: String,
    /// Under which viewers will look for it.
    pub ticket: Ticket,
    /// What the ticket was made with.
    pub nonce: TicketNonce,
    /// Product id.
    pub product: String,
    /// Device name.
    pub name: String,
    /// The server may show it to many viewers, with this.
    pub transit: Option<Capability>,
}

/// What a server says to a registered camera.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Registered {
    /// Where it sees the camera.
    pub observed: SocketAddr,
    /// How often it wants to hear of the camera, in milliseconds.
    pub keep_alive_ms: u32,
    /// Most relay flows to this camera.
    pub max_flows: u16,
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Camera to server, first.
    Hello(Hello),
    /// Camera to server: the proof.
    Proof {
        /// Ed25519 signature.
        signature: [u8; SIGNATURE_LEN],
        /// HMAC-SHA256, all zero without an app key.
        mac: [u8; 32],
    },
    /// Server to camera: viewers can come.
    Registered(Registered),
    /// Server to camera: no.
    Refused {
        /// Why.
        code: RefuseCode,
        /// Why in words, at most 200 bytes.
        text: String,
    },
    /// Server to camera: register somewhere else, this server stops soon.
    Draining,
}

/// Why bytes are no message, or none that may come now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RegisterError {
    /// Longer than allowed, or empty.
    #[error("a message of {length} bytes at byte {offset}; 1 to {MAX_MESSAGE} are allowed")]
    Length {
        /// Where it begins.
        offset: u64,
        /// Its length.
        length: usize,
    },
    /// An unknown type.
    #[error("unknown message type {found} at byte {offset}")]
    Type {
        /// Where the message begins.
        offset: u64,
        /// The type.
        found: u8,
    },
    /// A field is cut off, too long, not text, or followed by something.
    #[error("the message of type {kind} at byte {offset} is malformed")]
    Field {
        /// Where the message begins.
        offset: u64,
        /// Its type.
        kind: u8,
    },
    /// A good message at the wrong time.
    #[error("a message of type {kind} came when another was due")]
    Order {
        /// Its type.
        kind: u8,
    },
}

impl Message {
    /// Its type.
    pub const fn kind(&self) -> u8 {
        match self {
            Self::Hello(_) => 1,
            Self::Proof { .. } => 3,
            Self::Registered(_) => 4,
            Self::Refused { .. } => 5,
            Self::Draining => 6,
        }
    }

    /// The bytes, length first. Texts that are too long are cut.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![0, 0, self.kind()];
        match self {
            Self::Hello(hello) => {
                put_text(&mut out, &hello.app_id, MAX_TEXT);
                out.extend_from_slice(hello.ticket.as_bytes());
                out.extend_from_slice(hello.nonce.as_bytes());
                put_text(&mut out, &hello.product, MAX_TEXT);
                put_text(&mut out, &hello.name, MAX_TEXT);
                out.extend(hello.transit.iter().flat_map(Capability::to_bytes));
            }
            Self::Proof { signature, mac } => {
                out.extend_from_slice(signature);
                out.extend_from_slice(mac);
            }
            Self::Registered(registered) => {
                let observed = registered.observed;
                put_address(&mut out, SocketAddr::new(observed.ip().to_canonical(), observed.port()));
                out.extend_from_slice(&registered.keep_alive_ms.to_be_bytes());
                out.extend_from_slice(&registered.max_flows.to_be_bytes());
            }
            Self::Refused { code, text } => {
                out.push(code.number());
                put_text(&mut out, text, MAX_REASON);
            }
            Self::Draining => {}
        }
        // All fields at their longest are far below 2^16.
        let length = ((out.len() - 2) as u16).to_be_bytes();
        out[..2].copy_from_slice(&length);
        out
    }

    fn parse(message: &[u8], offset: u64) -> Result<Self, RegisterError> {
        let Some((&kind, body)) = message.split_first() else {
            return Err(RegisterError::Length { offset, length: 0 });
        };
        let parsed = match kind {
            1 => hello(body),
            3 => (array::<SIGNATURE_LEN>, array::<32>)
                .map(|(signature, mac)| Self::Proof { signature, mac })
                .parse(body),
            4 => (address, be_u32, be_u16)
                .map(|(observed, keep_alive_ms, max_flows)| {
                    Self::Registered(Registered { observed, keep_alive_ms, max_flows })
                })
                .parse(body),
            5 => (be_u8, text(MAX_REASON))
                .map(|(code, text)| Self::Refused { code: RefuseCode::from_number(code), text })
                .parse(body),
            6 => Ok((body, Self::Draining)),
            found => return Err(RegisterError::Type { offset, found }),
        };
        match parsed {
            Ok(([], message)) => Ok(message),
            _ => Err(RegisterError::Field { offset, kind }),
        }
    }
}

fn put_text(out: &mut Vec<u8>, text: &str, max: usize) {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    out.push(end as u8); // at most 200
    out.extend_from_slice(&text.as_bytes()[..end]);
}

fn hello(input: &[u8]) -> IResult<&[u8], Message> {
    let transit = opt(map_res(take(CAPABILITY_LEN), Capability::parse));
    (text(MAX_TEXT), array::<16>, array::<16>, text(MAX_TEXT), text(MAX_TEXT), transit)
        .map(|(app_id, ticket, nonce, product, name, transit)| {
            Message::Hello(Hello {
                app_id,
                ticket: Ticket::from_bytes(ticket),
                nonce: TicketNonce::from_bytes(nonce),
                product,
                name,
                transit,
            })
        })
        .parse(input)
}

fn array<const N: usize>(input: &[u8]) -> IResult<&[u8], [u8; N]> {
    let (input, bytes) = take(N)(input)?;
    let mut out = [0; N];
    out.copy_from_slice(bytes); // `take` gave N
    Ok((input, out))
}

/// Text without control characters, which could confuse whoever reads a log.
fn text<'a>(max: usize) -> impl Parser<&'a [u8], Output = String, Error = nom::error::Error<&'a [u8]>> {
    nom::combinator::map_opt(length_data(be_u8), move |bytes: &[u8]| {
        let text = std::str::from_utf8(bytes).ok()?;
        (text.len() <= max && !text.chars().any(char::is_control)).then(|| text.to_owned())
    })
}

/// Reads messages that arrive in pieces.
#[derive(Debug, Default)]
pub struct MessageReader {
    buffer: Vec<u8>,
    offset: u64,
}

impl MessageReader {
    /// Takes in the next bytes and gives the messages that are whole.
    ///
    /// # Errors
    ///
    /// The stream is of no more use.
    pub fn push(&mut self, data: &[u8]) -> Result<Vec<Message>, RegisterError> {
        self.buffer.extend_from_slice(data);
        let mut messages = Vec::new();
        while let Some(&[a, b]) = self.buffer.first_chunk::<2>() {
            let length = usize::from(u16::from_be_bytes([a, b]));
            if length == 0 || length > MAX_MESSAGE {
                return Err(RegisterError::Length { offset: self.offset, length });
            }
            let Some(message) = self.buffer.get(2..2 + length) else { break };
            messages.push(Message::parse(message, self.offset)?);
            self.buffer.drain(..2 + length);
            self.offset += 2 + length as u64;
        }
        Ok(messages)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn examples() -> Vec<Message> {
        let registered = |addr: &str| {
            Message::Registered(Registered {
                observed: addr.parse().unwrap(),
                keep_alive_ms: 3000,
                max_flows: 64,
            })
        };
        vec![
            Message::Hello(Hello {
                app_id: "app".into(),
                ticket: Ticket::from_bytes([1; 16]),
                nonce: TicketNonce::from_bytes([2; 16]),
                product: "product".into(),
                name: "Tür".into(),
                transit: None,
            }),
            Message::Proof { signature: [4; 64], mac: [5; 32] },
            registered("192.0.2.1:1"),
            registered("[2001:db8::1]:65535"),
            Message::Refused { code: RefuseCode::WrongAppKey, text: "no".into() },
            Message::Draining,
        ]
    }

    #[test]
    fn messages_survive_any_split() {
        let all: Vec<u8> = examples().iter().flat_map(Message::encode).collect();
        for cut in 0..all.len() {
            let mut reader = MessageReader::default();
            let mut read = reader.push(&all[..cut]).unwrap();
            read.extend(reader.push(&all[cut..]).unwrap());
            assert_eq!(read, examples());
        }
    }

    #[test]
    fn every_message_that_is_too_short_or_too_long_is_refused() {
        for message in examples() {
            let bytes = message.encode();
            let body = &bytes[2..];
            for len in 1..body.len() {
                let short = [&(len as u16).to_be_bytes(), &body[..len]].concat();
                let error = MessageReader::default().push(&short).unwrap_err();
                assert_eq!(
                    error,
                    RegisterError::Field { offset: 0, kind: message.kind() },
                    "{message:?} at {len}"
                );
            }
            let long = [&(body.len() as u16 + 1).to_be_bytes(), body, b"x"].concat();
            assert!(MessageReader::default().push(&long).is_err(), "{message:?}");
        }
    }

    #[test]
    fn what_follows_the_name_is_a_whole_capability_or_nothing() {
        let secret = crate::keys::SecretKey::from_bytes([1; 32]);
        let transit = Capability::for_transit(&secret, 7, &secret.public());
        let Message::Hello(plain) = examples().remove(0) else { panic!("the first one") };
        let message = Message::Hello(Hello { transit: Some(transit), ..plain.clone() });
        let bytes = message.encode();
        assert_eq!(MessageReader::default().push(&bytes).unwrap(), [message]);
        let short = Message::Hello(plain).encode().len();
        for len in short + 1..bytes.len() {
            let cut = [&(len as u16 - 2).to_be_bytes(), &bytes[2..len]].concat();
            let error = RegisterError::Field { offset: 0, kind: 1 };
            assert_eq!(MessageReader::default().push(&cut), Err(error), "{len}");
        }
        let mut wrong = bytes;
        wrong[short] = 9;
        assert!(MessageReader::default().push(&wrong).is_err(), "an unknown format");
    }

    #[test]
    fn lengths_types_and_control_characters_are_checked() {
        let push = |bytes: &[u8]| MessageReader::default().push(bytes).unwrap_err();
        assert_eq!(push(&[0, 0]), RegisterError::Length { offset: 0, length: 0 });
        assert_eq!(push(&[4, 1]), RegisterError::Length { offset: 0, length: 1025 });
        assert_eq!(push(&[0, 1, 9]), RegisterError::Type { offset: 0, found: 9 });
        let escape = Message::Refused { code: RefuseCode::Malformed, text: "\x1b[2J".into() };
        assert_eq!(push(&escape.encode()), RegisterError::Field { offset: 0, kind: 5 });
    }

    proptest! {
        #[test]
        fn readers_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = MessageReader::default().push(&bytes);
        }
    }
}
