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
    failed: Option<FlvError>,
}

impl TagReader {
    /// A reader at the start of a stream.
    pub fn new(limits: Limits) -> Self {
        Self { limits: limits.coherent(), queue: Queue::default(), head: None, failed: None }
    }

    /// Takes in the next bytes, in order, in pieces of any size.
    ///
    /// # Errors
    ///
    /// [`FlvError::BufferFull`] if they do not fit; they were not taken, and pushing them again after
    /// [`poll`](Self::poll) is right. Else the error that stopped the reader.
    pub fn push(&mut self, data: Bytes) -> Result<(), FlvError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        if self.queue.len() + data.len() > self.limits.max_buffered {
            let offset = self.queue.offset() + self.queue.len() as u64;
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
