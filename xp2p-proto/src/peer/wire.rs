//! What goes over the streams of a swarm, besides the messages themselves.
//!
//! | where | what | bytes |
//! |---|---|---|
//! | to the tracker, first frame | hello: kind 1, version 1, stream id 16, URL of the origin | up to the end |
//! | further frames | a [`ToTracker`](crate::swarm::ToTracker) | up to the end |
//! | from the tracker, a frame | kind 1: terms: version 1, trust 1, number of keys 1, keys 32 each | up to the end |
//! | | kind 2: a [`FromTracker`](crate::swarm::FromTracker) | up to the end |
//! | | kind 3: refusal: reason 1 | up to the end |
//! | between members, unidirectional | kind 1, stream id 16, then frames: a [`Message`](crate::swarm::Message) each | |
//! | | kind 2, [`PieceHead`](crate::swarm::PieceHead), content | up to the end |
//!
//! A frame is a 16-bit length and so many bytes. The first terms answer the hello; they come again when a signer begins or
//! ends. Keys come from the tracker only, never from a member.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use thiserror::Error;

use crate::keys::{KEY_LEN, PublicKey};
use crate::swarm::constants::{MAX_BATCH, MAX_CANDIDATES, MAX_CONTACT, MAX_PIECE};
use crate::swarm::{MAX_HOPS, StreamId, Trust};

/// Version of all of this.
const VERSION: u8 = 1;
/// Longest URL of an origin in a hello.
pub(crate) const MAX_URL: usize = 2 * 1024;
/// Longest frame to a tracker: a hello.
pub(crate) const MAX_TO_TRACKER: usize = 2 + StreamId::LEN + MAX_URL;
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

const HELLO: u8 = 1;
const TERMS: u8 = 1;
const MESSAGE: u8 = 2;
const REFUSAL: u8 = 3;

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
    /// Where the stream comes from; may be empty.
    pub(crate) url: String,
}

impl Hello {
    pub(crate) fn encode(&self) -> Bytes {
        frame(|out| {
            out.extend_from_slice(&[HELLO, VERSION]);
            out.extend_from_slice(self.stream.as_bytes());
            out.extend_from_slice(self.url.as_bytes());
        })
    }

    pub(crate) fn parse(body: &[u8]) -> Result<Self, WireError> {
        match body {
            [HELLO, VERSION, rest @ ..] => {
                let (stream, url) = rest.split_first_chunk().ok_or(WireError::Malformed("hello"))?;
                let url = std::str::from_utf8(url).map_err(|_| WireError::Malformed("hello"))?;
                Ok(Self { stream: StreamId::from_bytes(*stream), url: url.to_owned() })
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
}

impl Refusal {
    /// In words.
    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::Full => "the tracker has no room",
            Self::Collision => "another member has the same id",
            Self::NoTracker => "the server tracks no streams",
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
                };
                out.extend_from_slice(&[REFUSAL, reason]);
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
                _ => Refusal::NoTracker,
            })),
            [kind, ..] => Err(WireError::Kind(*kind)),
            [] => Err(WireError::Malformed("frame")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::SecretKey;

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
        let hello = Hello { stream: StreamId::from_bytes([7; 16]), url: "http://a/b".to_owned() };
        assert_eq!(Hello::parse(&body(&hello.encode())), Ok(hello));
        let keys = vec![SecretKey::from_bytes([1; 32]).public(), SecretKey::from_bytes([2; 32]).public()];
        for said in [
            Said::Terms(Terms { trust: Trust::Witness, keys }),
            Said::Terms(Terms { trust: Trust::Quorum, keys: Vec::new() }),
            Said::Message(Bytes::from_static(b"abc")),
            Said::Refusal(Refusal::Collision),
        ] {
            assert_eq!(Said::parse(&body(&said.encode())), Ok(said));
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
