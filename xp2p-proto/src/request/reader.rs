//! Heads out of bytes that come in pieces.

use std::marker::PhantomData;

use super::MAX_HEAD;
use super::head::{Head, HeadError, Parsed};

/// Gathers the pieces of one head, at most [`MAX_HEAD`] bytes.
///
/// The head is only read when its end was seen or it has doubled since, so that whoever sends single bytes cannot
/// make us read it over and over.
#[derive(Debug)]
pub struct HeadReader<T> {
    buffer: Vec<u8>,
    /// Length at which a bad start is looked for next.
    look: usize,
    kind: PhantomData<T>,
}

impl<T> Default for HeadReader<T> {
    fn default() -> Self {
        Self { buffer: Vec::new(), look: 1, kind: PhantomData }
    }
}

impl<T: Head> HeadReader<T> {
    /// An empty reader.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next piece. When the head is whole, gives it and how many bytes of `piece` belong to it; the rest
    /// is body. Afterwards the reader is empty again.
    ///
    /// # Errors
    ///
    /// When the bytes are no head; the stream is of no use then.
    pub fn push(&mut self, piece: &[u8]) -> Result<Option<(T, usize)>, HeadError> {
        let before = self.buffer.len();
        let taken = piece.len().min(MAX_HEAD - before);
        self.buffer.extend_from_slice(&piece[..taken]);
        let ended = self.has_end(before);
        if !ended && self.buffer.len() < self.look && self.buffer.len() < MAX_HEAD {
            return Ok(None);
        }
        self.look = self.buffer.len() * 2;
        match T::parse(&self.buffer) {
            Ok(Parsed::Incomplete) => Ok(None),
            Ok(Parsed::Complete { head, len }) => {
                *self = Self::default();
                // The head was not whole before this piece, so it ends inside it.
                Ok(Some((head, len.saturating_sub(before))))
            }
            Err(error) => {
                *self = Self::default();
                Err(error)
            }
        }
    }

    /// Whether nothing of a head has come yet: a stream that ends now ends cleanly.
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// Whether an empty line ends in the bytes from `before` on. HTTP allows `\n` for `\r\n` (RFC 9112 section 2.2).
    fn has_end(&self, before: usize) -> bool {
        let bytes = &self.buffer[before.saturating_sub(2)..];
        bytes.windows(2).any(|w| w == b"\n\n") || bytes.windows(3).any(|w| w == b"\n\r\n")
    }
}

#[cfg(test)]
mod tests {
    use super::super::{RequestHead, ResponseHead, Status};
    use super::*;
    use std::cell::Cell;

    #[test]
    fn a_head_is_read_however_it_is_split() {
        let head = RequestHead::from_target("/voice?channel=0").unwrap();
        let all = [head.to_bytes().as_slice(), b"FLV"].concat();
        let end = head.to_bytes().len();
        for split in 0..all.len() {
            let mut reader = HeadReader::<RequestHead>::new();
            let (first, second) = all.split_at(split);
            match reader.push(first).unwrap() {
                Some((read, used)) => {
                    assert!(split >= end, "{split}");
                    assert_eq!((read, used), (head.clone(), end));
                }
                None => {
                    assert_eq!(reader.push(second), Ok(Some((head.clone(), end - split))), "{split}");
                }
            }
            assert!(reader.is_empty());
        }
        let mut reader = HeadReader::<RequestHead>::new();
        for byte in &all[..end - 1] {
            assert_eq!(reader.push(&[*byte]), Ok(None));
        }
        assert_eq!(reader.push(&all[end - 1..]), Ok(Some((head, 1))));
    }

    #[test]
    fn a_bad_start_is_refused_at_once_and_a_giant_head_at_the_limit() {
        assert_eq!(HeadReader::<RequestHead>::new().push(b"\x16"), Err(HeadError::Syntax { offset: 0 }));
        assert_eq!(HeadReader::<ResponseHead>::new().push(b"G"), Err(HeadError::Syntax { offset: 0 }));
        let mut reader = HeadReader::<ResponseHead>::new();
        assert_eq!(reader.push(b"HTTP/1.1 200 OK\r\na: "), Ok(None));
        let mut pushed = 0;
        let error = loop {
            match reader.push(&[b'b'; 1000]) {
                Ok(None) => pushed += 1000,
                other => break other,
            }
            assert!(pushed <= MAX_HEAD);
        };
        assert_eq!(error, Err(HeadError::TooLong));
        let head = ResponseHead::new(Status::Ok);
        let bytes = head.to_bytes();
        assert_eq!(reader.push(&bytes), Ok(Some((head, bytes.len()))), "the reader is empty again");
    }

    thread_local!(static READS: Cell<usize> = const { Cell::new(0) });

    struct Counted;

    impl Head for Counted {
        fn parse(bytes: &[u8]) -> Result<Parsed<Self>, HeadError> {
            READS.set(READS.get() + 1);
            if bytes.len() >= MAX_HEAD { Err(HeadError::TooLong) } else { Ok(Parsed::Incomplete) }
        }
    }

    #[test]
    fn single_bytes_do_not_make_us_read_the_head_over_and_over() {
        let mut reader = HeadReader::<Counted>::new();
        while reader.push(b"a").is_ok() {}
        assert!(READS.get() <= 18, "{} reads", READS.get());
    }
}
