//! What the enhanced heads of audio and video share: ModEx, multitrack, FourCC (Enhanced RTMP v2).

use nom::bytes::complete::take;
use nom::number::complete::{be_u8, be_u16, be_u24};

use super::tag::TagKind;

/// Why the head of a body could not be read. Offsets count bytes from the start of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// The head of another kind of tag was asked for.
    #[error("a {kind:?} tag has no head of the kind that was asked for")]
    WrongKind {
        /// What the tag is.
        kind: TagKind,
    },
    /// The body ends inside its head.
    #[error("the body ends at byte {offset}, inside its head")]
    Truncated {
        /// Where the body ends.
        offset: usize,
    },
    /// Multitrack inside multitrack, or ModEx after it.
    #[error("packet type {found} at byte {offset} is not allowed inside a multitrack body")]
    BadNesting {
        /// Where.
        offset: usize,
        /// The packet type.
        found: u8,
    },
    /// More than [`MAX_MODEX`] modifiers.
    #[error("more than {MAX_MODEX} packet modifiers (ModEx) before byte {offset}")]
    TooManyModifiers {
        /// Where the next one begins.
        offset: usize,
    },
    /// A multitrack type above 2.
    #[error("unknown multitrack type {found} at byte {offset}")]
    BadMultitrack {
        /// Where.
        offset: usize,
        /// The type.
        found: u8,
    },
}

/// Packet modifiers that one head may have. The standard defines a single one, so more is an attempt to make us
/// work.
pub const MAX_MODEX: usize = 8;

/// Which track of a multitrack body the head describes (always the first one in it).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrackId {
    /// Track number; 0 is the track that players without multitrack support show.
    pub id: u8,
    /// Whether other tracks follow in the same body. The payload then also holds theirs.
    pub more: bool,
}

/// The part of an enhanced head up to the FourCC and track number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ExHead {
    pub(super) packet_type: u8,
    pub(super) four_cc: [u8; 4],
    pub(super) track: Option<TrackId>,
}

/// A cursor that knows how far it came, over nom's parsers.
#[derive(Clone, Copy)]
pub(super) struct Cursor<'a> {
    rest: &'a [u8],
    len: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(body: &'a [u8]) -> Self {
        Self { rest: body, len: body.len() }
    }

    pub(super) fn offset(&self) -> usize {
        self.len - self.rest.len()
    }

    fn run<T>(&mut self, parsed: nom::IResult<&'a [u8], T>) -> Result<T, HeadError> {
        // The parsers used here fail for one reason only: the input is too short.
        let (rest, value) = parsed.map_err(|_| HeadError::Truncated { offset: self.len })?;
        self.rest = rest;
        Ok(value)
    }

    pub(super) fn u8(&mut self) -> Result<u8, HeadError> {
        self.run(be_u8(self.rest))
    }

    pub(super) fn u16(&mut self) -> Result<u16, HeadError> {
        self.run(be_u16(self.rest))
    }

    pub(super) fn u24(&mut self) -> Result<u32, HeadError> {
        self.run(be_u24(self.rest))
    }

    /// Signed 24 bits, as composition times are written.
    pub(super) fn i24(&mut self) -> Result<i32, HeadError> {
        let raw = self.u24()?;
        Ok(((raw << 8) as i32) >> 8)
    }

    pub(super) fn take(&mut self, n: usize) -> Result<&'a [u8], HeadError> {
        self.run(take(n)(self.rest))
    }

    pub(super) fn four_cc(&mut self) -> Result<[u8; 4], HeadError> {
        let mut out = [0; 4];
        out.copy_from_slice(self.take(4)?); // `take` gave four bytes
        Ok(out)
    }
}

/// Reads on after the modifiers, which ended with `packet_type`.
pub(super) fn parse_ex(
    c: &mut Cursor<'_>,
    mut packet_type: u8,
    modex: u8,
    multitrack: u8,
) -> Result<ExHead, HeadError> {
    let mut track = None;
    let four_cc;
    if packet_type == multitrack {
        let offset = c.offset();
        let byte = c.u8()?;
        let kind = byte >> 4;
        packet_type = byte & 0x0f;
        if packet_type == modex || packet_type == multitrack {
            return Err(HeadError::BadNesting { offset, found: packet_type });
        }
        if kind > 2 {
            return Err(HeadError::BadMultitrack { offset, found: kind });
        }
        // One track; many tracks of one codec; many tracks of many codecs. The FourCC stands before the track
        // number in either place.
        four_cc = c.four_cc()?;
        let id = c.u8()?;
        let more = if kind == 0 {
            false
        } else {
            let size = c.u24()? as usize;
            c.rest.len() > size
        };
        track = Some(TrackId { id, more });
    } else {
        four_cc = c.four_cc()?;
    }
    Ok(ExHead { packet_type, four_cc, track })
}

/// Reads modifiers, leaving the packet type that follows them. Returns the nanosecond offset, 0 if none.
pub(super) fn parse_modex(c: &mut Cursor<'_>, packet_type: &mut u8, modex: u8) -> Result<u32, HeadError> {
    let mut nanos = 0;
    let mut count = 0;
    while *packet_type == modex {
        if count == MAX_MODEX {
            return Err(HeadError::TooManyModifiers { offset: c.offset() });
        }
        count += 1;
        let mut size = usize::from(c.u8()?) + 1;
        if size == 256 {
            size = usize::from(c.u16()?) + 1;
        }
        let data = c.take(size)?;
        let byte = c.u8()?;
        // Type 0: nanoseconds to add to the presentation time, 24 bits, at most 999,999.
        if let (0, [a, b, d, ..]) = (byte >> 4, data) {
            nanos = u32::from_be_bytes([0, *a, *b, *d]).min(999_999);
        }
        *packet_type = byte & 0x0f;
    }
    Ok(nanos)
}
