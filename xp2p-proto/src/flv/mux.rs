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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flv::TagKind;
    use crate::flv::testing::{key, sound};

    #[test]
    fn the_header_is_that_of_the_standard() {
        let header = |has_audio, has_video| Muxer::new().header(FileHeader { has_audio, has_video });
        assert_eq!(header(true, true)[..], *b"FLV\x01\x05\0\0\0\x09\0\0\0\0");
        assert_eq!(header(true, false)[..], *b"FLV\x01\x04\0\0\0\x09\0\0\0\0");
        assert_eq!(header(false, true)[..], *b"FLV\x01\x01\0\0\0\x09\0\0\0\0");
        assert_eq!(header(false, false)[..], *b"FLV\x01\x00\0\0\0\x09\0\0\0\0");
    }

    #[test]
    fn a_tag_is_that_of_the_standard() {
        // The highest eight bits of the time come last.
        let tag = Tag { timestamp: 0xaabb_ccdd, ..sound(0) };
        let [header, body, size] = Muxer::new().tag(&tag);
        assert_eq!(header[..], [8, 0, 0, 6, 0xbb, 0xcc, 0xdd, 0xaa, 0, 0, 0]);
        assert_eq!(size[..], [0, 0, 0, 17]);
        assert_eq!(body.as_ptr(), tag.body.as_ptr(), "the body is shared");
        assert_eq!(header[..], tag.header());
        let kinds = [TagKind::Audio, TagKind::Video, TagKind::Script]
            .map(|kind| Tag { kind, ..key(0, 0) }.header()[0]);
        assert_eq!(kinds, [8, 9, 18]);
    }

    #[test]
    fn a_body_that_is_too_long_is_cut_so_that_the_file_stays_whole() {
        for len in [MAX_BODY, MAX_BODY + 1, MAX_BODY + 1000] {
            let tag = Tag { kind: TagKind::Video, timestamp: 0, body: vec![0; len].into() };
            let [header, body, size] = Muxer::new().tag(&tag);
            assert_eq!(header[..4], [9, 0xff, 0xff, 0xff]);
            assert_eq!(body.len(), MAX_BODY);
            assert_eq!(size[..], 0x0100_000a_u32.to_be_bytes());
        }
    }
}
