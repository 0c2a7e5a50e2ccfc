//! What all codecs of the swarm are made of: numbers, byte strings, and the place where one goes wrong.
//!
//! A varint is that of RFC 9000 section 16, always in its shortest form: a message has one form only.

use bytes::Bytes;
use nom::Parser;
use nom::bytes::complete::take;
use nom::error::{ErrorKind, ParseError};
use nom::number::complete::{be_u16, be_u64, be_u128, u8 as be_u8};
use thiserror::Error;

use crate::swarm::constants::MAX_BATCH;

/// The largest number that a varint can tell.
pub const MAX_VARINT: u64 = (1 << 62) - 1;

/// What is wrong with bytes that a member or a tracker sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CodecReason {
    /// They end inside a field.
    #[error("the bytes end inside a field")]
    Truncated,
    /// Something follows.
    #[error("{0} bytes follow the last field")]
    Trailing(usize),
    /// A type that this version does not know.
    #[error("unknown type {0}")]
    Type(u8),
    /// A varint is longer than it has to be.
    #[error("a number is not in its shortest form")]
    NotShortest,
    /// A number or a length is above its limit.
    #[error("{what} is {found}, at most {max} is allowed")]
    TooLarge {
        /// What.
        what: &'static str,
        /// Its value.
        found: u64,
        /// Its limit.
        max: u64,
    },
    /// A byte is none of the values that its field may have.
    #[error("{what} cannot be {found}")]
    Value {
        /// The field.
        what: &'static str,
        /// The byte.
        found: u8,
    },
}

/// Why bytes were refused, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("byte {offset}: {reason}")]
pub struct CodecError {
    /// Where the wrong field begins, or the end of the bytes if they are too few.
    pub offset: usize,
    /// What is wrong.
    pub reason: CodecReason,
}

/// The rest of the input from the wrong field on, and what is wrong with it.
#[derive(Debug)]
pub(in crate::swarm) struct Fail<'a> {
    at: &'a [u8],
    reason: CodecReason,
}

impl<'a> ParseError<&'a [u8]> for Fail<'a> {
    fn from_error_kind(input: &'a [u8], _: ErrorKind) -> Self {
        // Only `take` and the numbers fail by themselves, and only because the input ends.
        Self { at: input.get(input.len()..).unwrap_or_default(), reason: CodecReason::Truncated }
    }

    fn append(_: &'a [u8], _: ErrorKind, other: Self) -> Self {
        other
    }
}

/// What a field's parser gives: the bytes that follow, and the field.
pub(in crate::swarm) type Field<'a, T> = nom::IResult<&'a [u8], T, Fail<'a>>;

/// Refuses the field that begins at `at`.
pub(in crate::swarm) fn refuse<T>(at: &[u8], reason: CodecReason) -> Field<'_, T> {
    Err(nom::Err::Failure(Fail { at, reason }))
}

/// Reads all of `input` with `parser`.
pub(in crate::swarm) fn whole<'a, T>(
    input: &'a [u8],
    mut parser: impl FnMut(&'a [u8]) -> Field<'a, T>,
) -> Result<T, CodecError> {
    match parser(input) {
        Ok(([], value)) => Ok(value),
        Ok((rest, _)) => {
            Err(CodecError { offset: input.len() - rest.len(), reason: CodecReason::Trailing(rest.len()) })
        }
        Err(nom::Err::Error(fail) | nom::Err::Failure(fail)) => {
            Err(CodecError { offset: input.len() - fail.at.len(), reason: fail.reason })
        }
        // Parsers for complete input never ask for more.
        Err(nom::Err::Incomplete(_)) => {
            Err(CodecError { offset: input.len(), reason: CodecReason::Truncated })
        }
    }
}

pub(in crate::swarm) fn byte(input: &[u8]) -> Field<'_, u8> {
    be_u8(input)
}

pub(in crate::swarm) fn short(input: &[u8]) -> Field<'_, u16> {
    be_u16(input)
}

pub(in crate::swarm) fn long(input: &[u8]) -> Field<'_, u64> {
    be_u64(input)
}

pub(in crate::swarm) fn map_bits(input: &[u8]) -> Field<'_, u128> {
    be_u128(input)
}

pub(in crate::swarm) fn array<const N: usize>(input: &[u8]) -> Field<'_, [u8; N]> {
    let (rest, bytes) = take(N)(input)?;
    let mut array = [0; N];
    array.copy_from_slice(bytes); // `take` gave N bytes
    Ok((rest, array))
}

/// The signed bytes of a digest batch: all that follows the type of the message. They are read where they are checked.
pub(in crate::swarm) fn signed(input: &Bytes) -> Result<Bytes, CodecError> {
    let raw = input.slice(1.min(input.len())..);
    if raw.len() > MAX_BATCH {
        let (found, max) = (raw.len() as u64, MAX_BATCH as u64);
        let reason = CodecReason::TooLarge { what: "a batch", found, max };
        return Err(CodecError { offset: 1, reason });
    }
    Ok(raw)
}

/// 0 or 1.
pub(in crate::swarm) fn flag<'a>(what: &'static str, input: &'a [u8]) -> Field<'a, bool> {
    match byte(input)? {
        (rest, 0) => Ok((rest, false)),
        (rest, 1) => Ok((rest, true)),
        (_, found) => refuse(input, CodecReason::Value { what, found }),
    }
}

/// A varint of at most `max`.
pub(in crate::swarm) fn varint<'a>(what: &'static str, max: u64, input: &'a [u8]) -> Field<'a, u64> {
    let (_, first) = byte(input)?;
    let len = 1_usize << (first >> 6);
    let (rest, bytes) = take(len).parse(input)?;
    let all = bytes.iter().fold(0_u64, |acc, b| acc << 8 | u64::from(*b));
    // The two top bits tell the length.
    let value = all & (u64::MAX >> (64 - 8 * len + 2));
    if len != varint_len(value) {
        return refuse(input, CodecReason::NotShortest);
    }
    if value > max {
        return refuse(input, CodecReason::TooLarge { what, found: value, max });
    }
    Ok((rest, value))
}

/// Bytes with their length in front, at most `max`.
pub(in crate::swarm) fn bytes<'a>(what: &'static str, max: usize, input: &'a [u8]) -> Field<'a, &'a [u8]> {
    let (rest, len) = varint(what, max as u64, input)?;
    // At most `max`, a usize.
    take(len as usize).parse(rest)
}

const fn varint_len(value: u64) -> usize {
    match value {
        0..=0x3f => 1,
        0x40..=0x3fff => 2,
        0x4000..=0x3fff_ffff => 4,
        _ => 8,
    }
}

/// Appends a varint in its shortest form. Numbers above [`MAX_VARINT`], which nothing here counts up to, become that.
pub(in crate::swarm) fn put_varint(out: &mut Vec<u8>, value: u64) {
    let value = value.min(MAX_VARINT);
    match varint_len(value) {
        1 => out.push(value as u8),
        2 => out.extend_from_slice(&(value as u16 | 0x4000).to_be_bytes()),
        4 => out.extend_from_slice(&(value as u32 | 0x8000_0000).to_be_bytes()),
        _ => out.extend_from_slice(&(value | 0xc000_0000_0000_0000).to_be_bytes()),
    }
}

/// Appends bytes with their length in front.
pub(in crate::swarm) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(bytes: &[u8]) -> Result<u64, CodecError> {
        whole(bytes, |i| varint("it", MAX_VARINT, i))
    }

    #[test]
    fn varints_are_those_of_rfc_9000() {
        assert_eq!(read(&[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c]), Ok(151_288_809_941_952_652));
        assert_eq!(read(&[0x9d, 0x7f, 0x3e, 0x7d]), Ok(494_878_333));
        assert_eq!(read(&[0x7b, 0xbd]), Ok(15_293));
        assert_eq!(read(&[0x25]), Ok(37));
        let longer = CodecError { offset: 0, reason: CodecReason::NotShortest };
        assert_eq!(read(&[0x40, 0x25]), Err(longer), "37 in two bytes");
        assert_eq!(read(&[0x7b]), Err(CodecError { offset: 1, reason: CodecReason::Truncated }));
        assert_eq!(read(&[]), Err(CodecError { offset: 0, reason: CodecReason::Truncated }));
        assert_eq!(read(&[1, 2]), Err(CodecError { offset: 1, reason: CodecReason::Trailing(1) }));
    }

    proptest! {
        #[test]
        fn numbers_come_back(value in prop_oneof![0..=MAX_VARINT, 0..70_000_u64]) {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            prop_assert_eq!(read(&out), Ok(value));
        }
    }
}
