//! Writes FLV files.

use bytes::{BufMut, Bytes, BytesMut};

use super::tag::{FileHeader, MAX_BODY, TAG_HEADER_LEN, Tag};

/// Writes a file or an HTTP-FLV stream: one header, then tags, each followed by its length.
///
/// It has no state of its own yet; the type exists so that callers need not know that.
#[derive(Clone, Debug, Default)]
pub struct Muxer {
    _private: (),
}

impl Muxer {
    /// A muxer for one file.
    pub fn new() -> Self {
        Self::default()
    }

    /// The file header with the first PreviousTagSize, 13 bytes.
    pub fn header(&mut self, header: FileHeader) -> Bytes {
        let mut out = BytesMut::with_capacity(13);
        out.put_slice(&header.to_bytes());
        out.put_u32(0);
        out.freeze()
    }

    /// The parts of a tag, to be written one after the other: header, body (shared, not copied), PreviousTagSize.
    ///
    /// Of a body longer than [`MAX_BODY`], which FLV cannot tell, the first [`MAX_BODY`] bytes are written: the
    /// picture is damaged, the file is not.
    pub fn tag(&mut self, tag: &Tag) -> [Bytes; 3] {
        let body = tag.body.slice(..tag.body.len().min(MAX_BODY));
        // Both small parts come from one allocation.
        let mut small = BytesMut::with_capacity(TAG_HEADER_LEN + 4);
        small.put_slice(&tag.header());
        small.put_u32((TAG_HEADER_LEN + body.len()) as u32); // below 2^25
        let mut head = small.freeze();
        let size = head.split_off(TAG_HEADER_LEN);
        [head, body, size]
    }
}
