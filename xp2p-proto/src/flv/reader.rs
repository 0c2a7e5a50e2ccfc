//! Reads the form of our own streams: tags back to back.

use bytes::Bytes;

use super::demux::{FlvError, Limits};
use super::queue::Queue;
use super::tag::{RawTagHeader, TAG_HEADER_LEN, Tag, TagKind};

/// Reads tags that follow each other without file header and without PreviousTagSize, as they travel inside QUIC
/// streams ([`Tag::header`] and body).
///
/// A QUIC stream loses and changes nothing, so bad input is the sender's fault and always an error;
/// [`Limits::strict`] and [`Limits::max_skip`] have no meaning here. After an error every call returns it again.
#[derive(Debug)]
pub struct TagReader {
    limits: Limits,
    queue: Queue,
    head: Option<(RawTagHeader, TagKind)>,
    ended: bool,
    failed: Option<FlvError>,
}

impl TagReader {
    /// A reader at the start of a stream.
    pub fn new(limits: Limits) -> Self {
        Self { limits: limits.coherent(), queue: Queue::default(), head: None, ended: false, failed: None }
    }

    /// Takes in the next bytes, in order, in pieces of any size.
    ///
    /// # Errors
    ///
    /// [`FlvError::BufferFull`] if they do not fit; they were not taken, and pushing them again after
    /// [`poll`](Self::poll) is right. [`FlvError::Finished`] after the end. Else the error that stopped the
    /// reader.
    pub fn push(&mut self, data: Bytes) -> Result<(), FlvError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let offset = self.queue.offset() + self.queue.len() as u64;
        if self.ended {
            return Err(FlvError::Finished { offset });
        }
        if self.queue.len().saturating_add(data.len()) > self.limits.max_buffered {
            return Err(FlvError::BufferFull { offset, pushed: data.len(), limit: self.limits.max_buffered });
        }
        self.queue.push(data);
        Ok(())
    }

    /// The next tag, or `None` if more bytes are needed.
    ///
    /// # Errors
    ///
    /// When the bytes are no tag that is allowed.
    pub fn poll(&mut self) -> Result<Option<Tag>, FlvError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let result = self.step();
        if let Err(error) = result {
            self.failed = Some(error);
        }
        result
    }

    fn step(&mut self) -> Result<Option<Tag>, FlvError> {
        let (head, kind) = match self.head {
            Some(known) => known,
            None => {
                let Some(raw) = self.queue.peek::<TAG_HEADER_LEN>(0) else { return Ok(None) };
                let known = check_header(&raw, self.queue.offset(), &self.limits)?;
                self.queue.skip(TAG_HEADER_LEN);
                self.head = Some(known);
                known
            }
        };
        let Some(body) = self.queue.take(head.size) else { return Ok(None) };
        self.head = None;
        Ok(Some(Tag { kind, timestamp: head.timestamp, body }))
    }

    /// Tells that the stream has ended. Poll until `None` first.
    ///
    /// # Errors
    ///
    /// [`FlvError::Truncated`] if it ended inside a tag.
    pub fn finish(&mut self) -> Result<(), FlvError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        self.ended = true;
        let needed = match self.head {
            Some((head, _)) => head.size,
            None if self.queue.len() == 0 => return Ok(()),
            None => TAG_HEADER_LEN,
        };
        let offset = self.queue.offset() + self.queue.len() as u64;
        let error = FlvError::Truncated { offset, missing: needed.saturating_sub(self.queue.len()) };
        self.failed = Some(error);
        Err(error)
    }

    /// Bytes of the stream that were read, those that wait inside not counted.
    pub fn offset(&self) -> u64 {
        self.queue.offset()
    }

    /// Bytes that wait inside for the rest of their tag.
    pub fn buffered(&self) -> usize {
        self.queue.len()
    }
}

/// Checks a tag header strictly. `offset` is where it stands.
pub(super) fn check_header(
    raw: &[u8; TAG_HEADER_LEN],
    offset: u64,
    limits: &Limits,
) -> Result<(RawTagHeader, TagKind), FlvError> {
    let Ok((_, head)) = RawTagHeader::parse(raw) else {
        return Err(FlvError::Truncated { offset, missing: TAG_HEADER_LEN });
    };
    let Some(kind) = head.kind() else {
        return Err(if head.is_encrypted() {
            FlvError::Encrypted { offset }
        } else {
            FlvError::TagType { offset, found: head.first }
        });
    };
    if head.stream_id != 0 {
        return Err(FlvError::StreamId { offset, found: head.stream_id });
    }
    if head.size > limits.max_tag_size {
        return Err(FlvError::TagTooLarge { offset, size: head.size, limit: limits.max_tag_size });
    }
    Ok((head, kind))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::flv::MAX_BODY;
    use crate::flv::testing::{cut, inter, key, pieces, sound, tag, tags};

    fn write(tags: &[Tag]) -> Vec<u8> {
        tags.iter().flat_map(|t| [&t.header()[..], &t.body].concat()).collect()
    }

    fn read(limits: Limits, pieces: impl IntoIterator<Item = Bytes>) -> (Vec<Tag>, Result<(), FlvError>) {
        let mut reader = TagReader::new(limits);
        let mut tags = Vec::new();
        let all = || {
            for piece in pieces {
                reader.push(piece)?;
                while let Some(tag) = reader.poll()? {
                    tags.push(tag);
                }
            }
            reader.finish()
        };
        let end = all();
        if let Err(error) = end {
            assert_eq!(reader.poll(), Err(error), "an error is returned again");
            assert_eq!(reader.push(Bytes::from_static(b"x")), Err(error));
            assert_eq!(reader.finish(), Err(error));
        }
        (tags, end)
    }

    fn read_all(input: &[u8]) -> (Vec<Tag>, Result<(), FlvError>) {
        read(Limits::default(), [Bytes::copy_from_slice(input)])
    }

    #[test]
    fn a_body_in_one_chunk_is_a_slice_of_it() {
        let input = Bytes::from(write(&[key(0, 700), sound(10)]));
        let chunk = input.as_ptr_range();
        let (tags, end) = read(Limits::default(), [input.clone()]);
        assert_eq!((tags.len(), end), (2, Ok(())));
        for tag in tags {
            assert!(chunk.contains(&tag.body.as_ptr()), "copied: {tag:?}");
        }
    }

    #[test]
    fn bad_input_is_an_error_at_the_tag_even_when_not_strict() {
        let good = [key(0, 700), sound(10), inter(40, 9)];
        let input = write(&good);
        let at = good[0].wire_len();
        let damaged = |index: usize, value: u8| {
            let mut input = input.clone();
            input[at + index] = value;
            let (tags, end) = read_all(&input);
            assert_eq!(tags, good[..1]);
            end
        };
        let offset = at as u64;
        assert_eq!(damaged(0, 0), Err(FlvError::TagType { offset, found: 0 }));
        assert_eq!(damaged(0, 0x28), Err(FlvError::Encrypted { offset }));
        assert_eq!(damaged(10, 7), Err(FlvError::StreamId { offset, found: 7 }));
        let size = 0xff_0000 + good[1].body.len();
        assert_eq!(damaged(1, 0xff), Err(FlvError::TagTooLarge { offset, size, limit: 4 << 20 }));
    }

    #[test]
    fn the_limit_on_a_tag_is_exact() {
        let limits = Limits { max_tag_size: 20, ..Limits::default() };
        let fits = key(0, 15);
        assert_eq!(read(limits, [write(std::slice::from_ref(&fits)).into()]), (vec![fits], Ok(())));
        let error = FlvError::TagTooLarge { offset: 0, size: 21, limit: 20 };
        assert_eq!(read(limits, [write(&[key(0, 16)]).into()]), (vec![], Err(error)));
    }

    #[test]
    fn a_full_buffer_refuses_and_takes_the_same_bytes_after_polling() {
        let limits = Limits { max_tag_size: 10, max_buffered: 0, ..Limits::default() };
        let mut reader = TagReader::new(limits);
        let input = Bytes::from(write(&vec![sound(0); 5000]));
        let limit = 10 + (64 << 10);
        reader.push(input.slice(..limit)).unwrap();
        let full = FlvError::BufferFull { offset: limit as u64, pushed: 1, limit };
        assert_eq!(reader.push(input.slice(limit..limit + 1)), Err(full));
        let mut count = 0;
        while reader.poll().unwrap().is_some() {
            count += 1;
        }
        reader.push(input.slice(limit..)).unwrap();
        while reader.poll().unwrap().is_some() {
            count += 1;
        }
        assert_eq!((count, reader.finish()), (5000, Ok(())));
        assert_eq!((reader.offset(), reader.buffered()), (input.len() as u64, 0));
    }

    /// Pushing after the end used to be taken, and the bytes stayed without anyone to read them.
    #[test]
    fn pushing_after_the_end_is_refused() {
        let mut reader = TagReader::new(Limits::default());
        reader.push(write(&[sound(0)]).into()).unwrap();
        assert_eq!(reader.poll(), Ok(Some(sound(0))));
        reader.finish().unwrap();
        reader.finish().unwrap();
        let offset = sound(0).wire_len() as u64;
        assert_eq!(reader.push(Bytes::from_static(b"x")), Err(FlvError::Finished { offset }));
        assert_eq!(reader.buffered(), 0);
    }

    #[test]
    fn an_end_inside_a_tag_is_told_at_every_byte() {
        let tags = [sound(0), key(0, 20), tag(TagKind::Audio, 5, &[])];
        let input = write(&tags);
        let ends: Vec<usize> = (0..=3).map(|i| tags[..i].iter().map(Tag::wire_len).sum()).collect();
        for n in 0..=input.len() {
            let (read, end) = read_all(&input[..n]);
            assert_eq!(read.len(), ends.iter().filter(|e| **e <= n).count() - 1, "{n}");
            match end {
                Ok(()) => assert!(ends.contains(&n), "{n}"),
                Err(FlvError::Truncated { offset, missing }) => {
                    assert_eq!(offset, n as u64);
                    let header = ends.iter().any(|e| n + missing == e + TAG_HEADER_LEN);
                    assert!(missing > 0 && (header || ends.contains(&(n + missing))), "{n}: {missing}");
                }
                Err(other) => panic!("{n}: {other:?}"),
            }
        }
    }

    proptest! {
        #[test]
        fn tags_come_back_however_the_stream_is_cut(tags in tags(3000), pieces in pieces()) {
            let limits = Limits { max_tag_size: MAX_BODY, ..Limits::default() };
            prop_assert_eq!(read(limits, cut(&write(&tags), &pieces)), (tags, Ok(())));
        }

        #[test]
        fn any_bytes_are_answered_alike_however_they_are_cut(
            tags in tags(50),
            tail in prop::collection::vec(any::<u8>(), 0..200),
            pieces in pieces(),
        ) {
            let input = [write(&tags), tail].concat();
            let whole = read_all(&input);
            prop_assert_eq!(&read(Limits::default(), cut(&input, &pieces)), &whole);
            prop_assert!(whole.0.starts_with(&tags));
        }
    }
}
