//! What goes over the streams of a swarm, besides the messages themselves.
//!
//! | where | what | bytes |
//! |---|---|---|
//! | to the tracker, first frame | hello: kind 1, version 1, stream id 16, length 1 and so many bytes of a capability, URL of the origin | up to the end |
//! | further frames | a [`ToTracker`](crate::swarm::ToTracker) | up to the end |
//! | from the tracker, a frame | kind 1: terms: version 1, trust 1, number of keys 1, keys 32 each | up to the end |
//! | | kind 2: a [`FromTracker`](crate::swarm::FromTracker) | up to the end |
//! | | kind 3: refusal: reason 1 | up to the end |
//! | | kind 4: membership: time of the server 8, [`MembershipToken`] 81 | up to the end |
//! | between members, unidirectional | kind 1, stream id 16, token 81, then frames: a [`Message`](crate::swarm::Message) each | |
//! | | or, in place of a message, kind 32: a newer token 81 | up to the end |
//! | | kind 2, [`PieceHead`](crate::swarm::PieceHead), content | up to the end |
//!
//! A frame is a 16-bit length and so many bytes. The first terms answer the hello; they come again when a signer begins or
//! ends. Keys come from the tracker only, never from a member. What says that a member is one comes after the first terms, before
//! any candidates, and again before it expires.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use thiserror::Error;

use super::token::{MembershipToken, TOKEN_LEN};
use crate::info::{CAPABILITY_LEN, Capability};
use crate::keys::{KEY_LEN, PublicKey};
use crate::swarm::constants::{MAX_BATCH, MAX_CANDIDATES, MAX_CONTACT, MAX_PIECE};
use crate::swarm::{MAX_HOPS, StreamId, Trust};

/// Version of all of this.
const VERSION: u8 = 1;
/// Longest URL of an origin in a hello.
pub(crate) const MAX_URL: usize = 2 * 1024;
/// Longest frame to a tracker: a hello.
pub(crate) const MAX_TO_TRACKER: usize = 2 + StreamId::LEN + 1 + CAPABILITY_LEN + MAX_URL;
/// Longest frame from a tracker: a full answer with candidates.
pub(crate) const MAX_FROM_TRACKER: usize = 64 + MAX_CANDIDATES * (16 + MAX_CONTACT);
/// Longest frame between members: a digest batch.
pub(crate) const MAX_CONTROL: usize = 16 + MAX_BATCH;
/// Most bytes of a stream that carries a piece: kind, number, flag, path, content.
pub(crate) const MAX_PIECE_STREAM: usize = 1 + 8 + 1 + 1 + 4 * MAX_HOPS + MAX_PIECE;
/// Most signers that a stream may have at a time.
pub(crate) const MAX_SIGNERS: usize = 4;

/// Kind of a unidirectional stream with messages.
pub(crate) const CONTROL: u8 = 1;
/// Kind of a unidirectional stream with a piece.
pub(crate) const PIECE: u8 = 2;
/// Bytes of a stream with messages before the first one, without its kind: the stream id and a token.
pub(super) const CONTROL_HEAD: usize = StreamId::LEN + TOKEN_LEN;
/// First byte of a frame between members that holds a newer token. Types of messages are smaller.
const RENEWAL: u8 = 32;

const HELLO: u8 = 1;
const TERMS: u8 = 1;
const MESSAGE: u8 = 2;
const REFUSAL: u8 = 3;
const MEMBERSHIP: u8 = 4;

/// Why bytes of a stream make no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum WireError {
    /// A frame is longer than allowed.
    #[error("a frame of {found} bytes; {max} are allowed")]
    TooLong { found: usize, max: usize },
    /// A kind that this version does not know.
    #[error("unknown kind {0}")]
    Kind(u8),
    /// Another version.
    #[error("version {0} is not spoken here")]
    Version(u8),
    /// It ends early, or a field is out of range.
    #[error("malformed {0}")]
    Malformed(&'static str),
}

/// Appends a frame of what `body` writes. Nothing that is sent here is longer than a frame may be.
pub(crate) fn frame(body: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    let mut out = vec![0, 0];
    body(&mut out);
    let len = u16::try_from(out.len() - 2).unwrap_or(u16::MAX);
    out.truncate(2 + usize::from(len));
    // The two bytes are there from the beginning.
    out[..2].copy_from_slice(&len.to_be_bytes());
    Bytes::from(out)
}

/// Cuts what comes into frames.
#[derive(Debug)]
pub(crate) struct FrameReader {
    buffer: BytesMut,
    max: usize,
}

impl FrameReader {
    /// For frames of at most `max` bytes.
    pub(crate) fn new(max: usize) -> Self {
        Self { buffer: BytesMut::new(), max }
    }

    /// Takes in what has come. Call [`next`](Self::next) until it has nothing before more is taken in.
    pub(crate) fn push(&mut self, data: &[u8]) {
        self.buffer.extend_from_slice(data);
    }

    /// The next whole frame.
    pub(crate) fn next(&mut self) -> Result<Option<Bytes>, WireError> {
        let Some((head, rest)) = self.buffer.split_first_chunk::<2>() else { return Ok(None) };
        let len = usize::from(u16::from_be_bytes(*head));
        if len > self.max {
            return Err(WireError::TooLong { found: len, max: self.max });
        }
        if rest.len() < len {
            return Ok(None);
        }
        self.buffer.advance(2);
        Ok(Some(self.buffer.split_to(len).freeze()))
    }
}

/// What a member says first to the tracker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hello {
    pub(crate) stream: StreamId,
    /// What lets it in, where not everybody is.
    pub(crate) capability: Option<Capability>,
    /// Where the stream comes from; may be empty.
    pub(crate) url: String,
}

impl Hello {
    pub(crate) fn encode(&self) -> Bytes {
        frame(|out| {
            out.extend_from_slice(&[HELLO, VERSION]);
            out.extend_from_slice(self.stream.as_bytes());
            let capability = self.capability.as_ref().map(Capability::to_bytes);
            let capability = capability.as_ref().map_or(&[][..], |c| c);
            out.push(capability.len() as u8); // 0 or CAPABILITY_LEN
            out.extend_from_slice(capability);
            out.extend_from_slice(self.url.as_bytes());
        })
    }

    pub(crate) fn parse(body: &[u8]) -> Result<Self, WireError> {
        match body {
            [HELLO, VERSION, rest @ ..] => {
                let malformed = WireError::Malformed("hello");
                let (stream, rest) = rest.split_first_chunk().ok_or(malformed)?;
                let (len, rest) = rest.split_first().ok_or(malformed)?;
                let (capability, url) = rest.split_at_checked(usize::from(*len)).ok_or(malformed)?;
                let capability = match capability {
                    [] => None,
                    bytes => Some(Capability::parse(bytes).map_err(|_| malformed)?),
                };
                let url = std::str::from_utf8(url).map_err(|_| malformed)?;
                Ok(Self { stream: StreamId::from_bytes(*stream), capability, url: url.to_owned() })
            }
            [HELLO, version, ..] => Err(WireError::Version(*version)),
            [kind, ..] => Err(WireError::Kind(*kind)),
            [] => Err(WireError::Malformed("hello")),
        }
    }
}

/// Who signs a stream, and what that is worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Terms {
    pub(crate) trust: Trust,
    pub(crate) keys: Vec<PublicKey>,
}

/// Why a tracker does not take a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Too many streams or members already.
    Full,
    /// Another member has the same id.
    Collision,
    /// This server tracks nothing.
    NoTracker,
    /// The stream is for those who have a capability of its camera, and none was shown.
    NoCapability,
    /// The one that was shown does not let anybody in, or not any more.
    WrongCapability,
}

impl Refusal {
    /// In words.
    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::Full => "the tracker has no room",
            Self::Collision => "another member has the same id",
            Self::NoTracker => "the server tracks no streams",
            Self::NoCapability => {
                "only those may share this stream whom its camera allows to see it; use the camera's xp2pInfo, or a URL with \
                 its `token`"
            }
            Self::WrongCapability => {
                "the capability does not allow to share this stream: it has expired, was revoked, is of another camera, or not \
                 for live pictures; ask for a new xp2pInfo"
            }
        }
    }
}

/// A frame of a tracker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Said {
    Terms(Terms),
    /// The bytes of a [`FromTracker`](crate::swarm::FromTracker).
    Message(Bytes),
    Refusal(Refusal),
    /// It is a member.
    Membership {
        /// What the clock of the server shows, unix ms.
        unix: u64,
        /// To show to others.
        token: MembershipToken,
    },
}

impl Said {
    pub(crate) fn encode(&self) -> Bytes {
        frame(|out| match self {
            Self::Terms(terms) => {
                let trust = match terms.trust {
                    Trust::Source => 1,
                    Trust::Witness => 2,
                    Trust::Quorum => 3,
                };
                let keys = terms.keys.iter().take(MAX_SIGNERS);
                out.extend_from_slice(&[TERMS, VERSION, trust, keys.len() as u8]); // at most MAX_SIGNERS
                keys.for_each(|key| out.extend_from_slice(key.as_bytes()));
            }
            Self::Message(message) => {
                out.push(MESSAGE);
                out.put_slice(message);
            }
            Self::Refusal(refusal) => {
                let reason = match refusal {
                    Refusal::Full => 1,
                    Refusal::Collision => 2,
                    Refusal::NoTracker => 3,
                    Refusal::NoCapability => 4,
                    Refusal::WrongCapability => 5,
                };
                out.extend_from_slice(&[REFUSAL, reason]);
            }
            Self::Membership { unix, token } => {
                out.push(MEMBERSHIP);
                out.extend_from_slice(&unix.to_be_bytes());
                out.extend_from_slice(&token.to_bytes());
            }
        })
    }

    pub(crate) fn parse(body: &Bytes) -> Result<Self, WireError> {
        match body.as_ref() {
            [MESSAGE, ..] => Ok(Self::Message(body.slice(1..))),
            [TERMS, VERSION, trust, count, keys @ ..] => {
                let trust = match trust {
                    1 => Trust::Source,
                    2 => Trust::Witness,
                    3 => Trust::Quorum,
                    _ => return Err(WireError::Malformed("trust")),
                };
                let chunks = keys.chunks_exact(KEY_LEN);
                if chunks.len() != usize::from(*count)
                    || !chunks.remainder().is_empty()
                    || chunks.len() > MAX_SIGNERS
                {
                    return Err(WireError::Malformed("terms"));
                }
                let keys = chunks
                    .map(|c| <[u8; KEY_LEN]>::try_from(c).ok().and_then(|b| PublicKey::from_bytes(b).ok()))
                    .collect::<Option<Vec<_>>>()
                    .ok_or(WireError::Malformed("key"))?;
                Ok(Self::Terms(Terms { trust, keys }))
            }
            [TERMS, version, ..] => Err(WireError::Version(*version)),
            [REFUSAL, reason] => Ok(Self::Refusal(match reason {
                1 => Refusal::Full,
                2 => Refusal::Collision,
                4 => Refusal::NoCapability,
                5 => Refusal::WrongCapability,
                _ => Refusal::NoTracker,
            })),
            [MEMBERSHIP, rest @ ..] => {
                let malformed = WireError::Malformed("membership");
                let (unix, token) = rest.split_first_chunk().ok_or(malformed)?;
                let token = MembershipToken::parse(token).map_err(|_| malformed)?;
                Ok(Self::Membership { unix: u64::from_be_bytes(*unix), token })
            }
            [kind, ..] => Err(WireError::Kind(*kind)),
            [] => Err(WireError::Malformed("frame")),
        }
    }
}

/// What a stream with messages begins with.
pub(super) fn control_head(stream: &StreamId, token: &MembershipToken) -> Bytes {
    [&[CONTROL][..], stream.as_bytes(), &token.to_bytes()].concat().into()
}

/// Reads it, without the kind. `None`: it is another stream, or holds no token.
pub(super) fn parse_control_head(head: &[u8; CONTROL_HEAD], stream: &StreamId) -> Option<MembershipToken> {
    let (id, token) = head.split_first_chunk()?;
    if id != stream.as_bytes() {
        return None;
    }
    MembershipToken::parse(token).ok()
}

/// A frame with a newer token.
pub(super) fn renewal(token: &MembershipToken) -> Bytes {
    frame(|out| {
        out.push(RENEWAL);
        out.extend_from_slice(&token.to_bytes());
    })
}

/// The token in a frame of another member. `None`: it holds a message.
pub(super) fn parse_renewal(frame: &[u8]) -> Option<Result<MembershipToken, WireError>> {
    let [RENEWAL, token @ ..] = frame else { return None };
    Some(MembershipToken::parse(token).map_err(|_| WireError::Malformed("token")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::info::Right;
    use crate::keys::SecretKey;
    use crate::peer::token::DoorTag;

    fn body(frame: &Bytes) -> Bytes {
        let mut reader = FrameReader::new(MAX_FROM_TRACKER);
        // Byte by byte, as a network may bring it.
        frame[..frame.len() - 1].iter().for_each(|b| {
            reader.push(&[*b]);
            assert_eq!(reader.next(), Ok(None));
        });
        reader.push(&frame[frame.len() - 1..]);
        reader.next().unwrap().unwrap()
    }

    #[test]
    fn what_is_said_comes_back() {
        let stream = StreamId::from_bytes([7; 16]);
        let secret = SecretKey::from_bytes([1; 32]);
        let shown = Capability::issue(&secret, Right::Live.into(), 7, None, [0; 8]);
        for capability in [None, Some(shown)] {
            let url = "http://a/b".to_owned();
            let hello = Hello { stream, capability, url };
            assert_eq!(Hello::parse(&body(&hello.encode())), Ok(hello));
        }
        let token = MembershipToken::issue(&secret, &stream, &secret.public(), DoorTag::OPEN, 1_800_000_000);
        let keys = vec![SecretKey::from_bytes([1; 32]).public(), SecretKey::from_bytes([2; 32]).public()];
        for said in [
            Said::Terms(Terms { trust: Trust::Witness, keys }),
            Said::Terms(Terms { trust: Trust::Quorum, keys: Vec::new() }),
            Said::Message(Bytes::from_static(b"abc")),
            Said::Refusal(Refusal::Collision),
            Said::Refusal(Refusal::NoCapability),
            Said::Refusal(Refusal::WrongCapability),
            Said::Membership { unix: 1_799_999_700_123, token: token.clone() },
        ] {
            assert_eq!(Said::parse(&body(&said.encode())), Ok(said));
        }
        assert_eq!(parse_renewal(&body(&renewal(&token))), Some(Ok(token.clone())));
        let head = control_head(&stream, &token);
        let head: &[u8; CONTROL_HEAD] = head[1..].try_into().unwrap();
        assert_eq!(parse_control_head(head, &stream), Some(token));
        assert_eq!(parse_control_head(head, &StreamId::from_bytes([8; 16])), None);
    }

    #[test]
    fn a_hello_that_was_cut_is_none() {
        let secret = SecretKey::from_bytes([1; 32]);
        let capability = Some(Capability::issue(&secret, Right::Live.into(), 7, None, [0; 8]));
        let hello = Hello { stream: StreamId::from_bytes([7; 16]), capability, url: String::new() };
        let whole = body(&hello.encode());
        for len in 0..whole.len() {
            assert!(Hello::parse(&whole[..len]).is_err(), "{len}");
        }
        let mut none = whole.to_vec();
        none[18] = 5;
        assert_eq!(Hello::parse(&none), Err(WireError::Malformed("hello")), "five bytes are no capability");
        none[18] = 86;
        none[19] = 9;
        assert_eq!(Hello::parse(&none), Err(WireError::Malformed("hello")), "an unknown format");
    }

    #[test]
    fn tokens_are_no_messages_and_whole() {
        let secret = SecretKey::from_bytes([1; 32]);
        let stream = StreamId::from_bytes([7; 16]);
        let token = MembershipToken::issue(&secret, &stream, &secret.public(), DoorTag::OPEN, 9);
        let frame = body(&renewal(&token));
        assert!(crate::swarm::codec::Parsed::parse(&frame).is_err());
        assert_eq!(parse_renewal(&[1, 2]), None);
        let said = body(&Said::Membership { unix: 7, token }.encode());
        for len in 1..frame.len() {
            assert!(matches!(parse_renewal(&frame[..len]), Some(Err(_))), "{len}");
        }
        for len in 1..said.len() {
            assert!(Said::parse(&said.slice(..len)).is_err(), "{len}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        assert_eq!(Hello::parse(&[]), Err(WireError::Malformed("hello")));
        assert_eq!(Hello::parse(&[HELLO, 9]), Err(WireError::Version(9)));
        assert_eq!(Hello::parse(&[HELLO, VERSION, 1, 2]), Err(WireError::Malformed("hello")));
        assert_eq!(Hello::parse(&[9, VERSION]), Err(WireError::Kind(9)));
        for bytes in [&[TERMS, VERSION, 9, 0][..], &[TERMS, VERSION, 1, 1], &[TERMS, VERSION, 1, 1, 5], &[]] {
            assert!(matches!(Said::parse(&Bytes::copy_from_slice(bytes)), Err(WireError::Malformed(_))));
        }
        let mut reader = FrameReader::new(10);
        reader.push(&[0, 11]);
        assert_eq!(reader.next(), Err(WireError::TooLong { found: 11, max: 10 }));
    }
}
