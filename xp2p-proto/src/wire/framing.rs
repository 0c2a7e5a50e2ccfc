//! Datagrams on a byte stream: each behind its length, two bytes, big-endian.

use bytes::{Buf, BytesMut};
use nom::IResult;
use nom::number::streaming::be_u16;
use thiserror::Error;

use super::OPEN_HEADER_LEN;

/// Longest datagram on a byte stream: a QUIC packet as large as an Ethernet frame carries, with the longest header.
pub const MAX_FRAMED: usize = 1_500 + OPEN_HEADER_LEN;
/// Bytes in front of each datagram.
const LENGTH_LEN: usize = 2;

/// Why a byte stream makes no sense. Whoever sends such a length has lost its place, so nothing after it can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a datagram of {found} bytes at byte {offset} of the stream; 1 to {MAX_FRAMED} are allowed")]
pub struct FramingError {
    /// Where its length stands, from the start of the stream.
    pub offset: u64,
    /// The length.
    pub found: u16,
}

/// What goes in front of a datagram. `None`: too long or empty, it cannot be sent.
pub fn frame_length(datagram: &[u8]) -> Option<[u8; LENGTH_LEN]> {
    if datagram.is_empty() || datagram.len() > MAX_FRAMED {
        return None;
    }
    u16::try_from(datagram.len()).ok().map(u16::to_be_bytes)
}

/// Takes a byte stream apart into datagrams, however it was cut. Holds one incomplete datagram at most.
///
/// ```
/// use xp2p_proto::wire::Deframer;
///
/// let mut deframer = Deframer::default();
/// let mut got = Vec::new();
/// deframer.push(b"\x00\x02ab\x00", |datagram| got.push(datagram))?;
/// deframer.push(b"\x01c", |datagram| got.push(datagram))?;
/// assert_eq!(got, [&b"ab"[..], b"c"]);
/// # Ok::<(), xp2p_proto::wire::FramingError>(())
/// ```
#[derive(Debug, Default)]
pub struct Deframer {
    /// Less than a length and the datagram that it announces.
    held: BytesMut,
    /// Bytes of the stream before `held`.
    offset: u64,
    failed: Option<FramingError>,
}

fn length(input: &[u8]) -> IResult<&[u8], u16> {
    be_u16(input)
}

impl Deframer {
    /// Takes in the next bytes and gives out the datagrams that are whole with them.
    ///
    /// # Errors
    ///
    /// [`FramingError`]; from then on always.
    pub fn push(&mut self, mut bytes: &[u8], mut each: impl FnMut(BytesMut)) -> Result<(), FramingError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        loop {
            // Never more than the present datagram needs, so that what is held stays small whatever is pushed.
            let wanted = match length(&self.held) {
                Ok((_, len)) => LENGTH_LEN + usize::from(len),
                Err(_) => LENGTH_LEN,
            };
            let take = wanted.saturating_sub(self.held.len()).min(bytes.len());
            let (now, later) = bytes.split_at(take); // `take` is at most the length
            self.held.extend_from_slice(now);
            bytes = later;
            let Ok((_, found)) = length(&self.held) else { return Ok(()) };
            let len = usize::from(found);
            if len == 0 || len > MAX_FRAMED {
                let error = FramingError { offset: self.offset, found };
                self.failed = Some(error);
                return Err(error);
            }
            if self.held.len() == LENGTH_LEN + len {
                let mut datagram = self.held.split();
                self.offset += datagram.len() as u64;
                datagram.advance(LENGTH_LEN);
                each(datagram);
            } else if bytes.is_empty() {
                return Ok(());
            }
        }
    }

    /// Bytes that are held of a datagram that is not whole.
    pub fn held(&self) -> usize {
        self.held.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn framed(datagrams: &[Vec<u8>]) -> Vec<u8> {
        let mut out = Vec::new();
        for datagram in datagrams {
            out.extend_from_slice(&frame_length(datagram).unwrap());
            out.extend_from_slice(datagram);
        }
        out
    }

    proptest! {
        #[test]
        fn datagrams_come_out_however_the_stream_was_cut(
            datagrams in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..=MAX_FRAMED), 0..8),
            cuts in proptest::collection::vec(1usize..700, 1..40),
        ) {
            let stream = framed(&datagrams);
            let (mut deframer, mut got) = (Deframer::default(), Vec::new());
            let (mut rest, mut cuts) = (&stream[..], cuts.into_iter().cycle());
            while !rest.is_empty() {
                let (now, later) = rest.split_at(cuts.next().unwrap().min(rest.len()));
                deframer.push(now, |d| got.push(d.to_vec())).unwrap();
                prop_assert!(deframer.held() < LENGTH_LEN + MAX_FRAMED);
                rest = later;
            }
            prop_assert_eq!(got, datagrams);
            prop_assert_eq!(deframer.held(), 0);
        }

        #[test]
        fn whatever_comes_in_little_is_held(bytes in proptest::collection::vec(any::<u8>(), 0..4096)) {
            let mut deframer = Deframer::default();
            let mut out = 0;
            let result = deframer.push(&bytes, |d| out += LENGTH_LEN + d.len());
            prop_assert!(deframer.held() < LENGTH_LEN + MAX_FRAMED);
            if result.is_ok() {
                prop_assert_eq!(out + deframer.held(), bytes.len());
            }
        }
    }

    #[test]
    fn hostile_lengths_are_refused_where_they_stand_and_for_good() {
        for len in [0, MAX_FRAMED as u16 + 1, u16::MAX] {
            let mut deframer = Deframer::default();
            let mut got = 0;
            let stream = [&[0, 1, 7], &len.to_be_bytes()[..]].concat();
            let error = deframer.push(&stream, |_| got += 1);
            assert_eq!(error, Err(FramingError { offset: 3, found: len }));
            assert_eq!(got, 1);
            assert_eq!(deframer.push(&[0, 1, 7], |_| got += 1), error);
            assert_eq!(got, 1);
        }
        assert_eq!(frame_length(&[]), None);
        assert_eq!(frame_length(&[0; MAX_FRAMED + 1]), None);
        assert_eq!(frame_length(&[0; MAX_FRAMED]), Some((MAX_FRAMED as u16).to_be_bytes()));
    }
}
