//! Tags and the file header: what an FLV file is made of (Annex E.2 to E.4.1).

use bytes::Bytes;
use nom::bytes::streaming::take;
use nom::number::streaming::{be_u8, be_u24};
use nom::{IResult, Parser};

use super::audio::{AudioHead, AudioPacket};
use super::ex::HeadError;
use super::video::{VideoHead, VideoPacket};

/// Bytes of a tag's header.
pub const TAG_HEADER_LEN: usize = 11;

/// The longest body that the 24-bit length of a tag can tell.
pub const MAX_BODY: usize = 0xff_ffff;

/// Bytes of the file header that we write, and the least that one may have.
pub(super) const FILE_HEADER_LEN: usize = 9;

/// What a tag carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TagKind {
    /// Sound, tag type 8.
    Audio,
    /// Pictures, tag type 9.
    Video,
    /// Script data (AMF0), tag type 18.
    Script,
}

impl TagKind {
    /// The tag type as written in a file.
    pub const fn id(self) -> u8 {
        match self {
            Self::Audio => 8,
            Self::Video => 9,
            Self::Script => 18,
        }
    }

    /// The kind that a tag type stands for; `None` for all but 8, 9 and 18.
    pub const fn from_id(id: u8) -> Option<Self> {
        match id {
            8 => Some(Self::Audio),
            9 => Some(Self::Video),
            18 => Some(Self::Script),
            _ => None,
        }
    }
}

/// One tag: a piece of sound, picture or script data with its time.
///
/// A clone shares the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    /// What the body is.
    pub kind: TagKind,
    /// Decoding time in milliseconds, all 32 bits (the extended byte included). Wraps after 49.7 days.
    pub timestamp: u32,
    /// The data, from the first byte after the tag header. At most [`MAX_BODY`] bytes can be written; readers
    /// never give more.
    pub body: Bytes,
}

impl Tag {
    /// The 11 bytes that go before the body, with stream id 0.
    ///
    /// A body longer than [`MAX_BODY`] cannot be told; its length is written as [`MAX_BODY`].
    pub fn header(&self) -> [u8; TAG_HEADER_LEN] {
        // The `min` keeps it below 2^24.
        let [_, s2, s1, s0] = (self.body.len().min(MAX_BODY) as u32).to_be_bytes();
        let [t3, t2, t1, t0] = self.timestamp.to_be_bytes();
        [self.kind.id(), s2, s1, s0, t2, t1, t0, t3, 0, 0, 0]
    }

    /// Bytes of header and body together.
    pub fn wire_len(&self) -> usize {
        TAG_HEADER_LEN + self.body.len()
    }

    /// Reads the head of a video body.
    ///
    /// # Errors
    ///
    /// [`HeadError::WrongKind`] if this is no video tag, others if the body is too short or makes no sense.
    pub fn video_head(&self) -> Result<VideoHead, HeadError> {
        match self.kind {
            TagKind::Video => VideoHead::parse(&self.body),
            kind => Err(HeadError::WrongKind { kind }),
        }
    }

    /// Reads the head of an audio body.
    ///
    /// # Errors
    ///
    /// [`HeadError::WrongKind`] if this is no audio tag, others if the body is too short or makes no sense.
    pub fn audio_head(&self) -> Result<AudioHead, HeadError> {
        match self.kind {
            TagKind::Audio => AudioHead::parse(&self.body),
            kind => Err(HeadError::WrongKind { kind }),
        }
    }

    /// Whether decoding can start here: a video keyframe that carries a picture (not a sequence header).
    pub fn is_keyframe(&self) -> bool {
        self.video_head().is_ok_and(|h| h.frame_type.is_key() && h.packet == VideoPacket::CodedFrames)
    }

    /// Whether this configures a decoder: AVC or HEVC sequence header, AAC AudioSpecificConfig, or the sequence
    /// start of an enhanced codec.
    pub fn is_sequence_header(&self) -> bool {
        match self.kind {
            TagKind::Video => self.video_head().is_ok_and(|h| {
                matches!(h.packet, VideoPacket::SequenceStart | VideoPacket::Mpeg2TsSequenceStart)
            }),
            TagKind::Audio => self.audio_head().is_ok_and(|h| h.packet == AudioPacket::SequenceStart),
            TagKind::Script => false,
        }
    }

    /// Whether this is the `onMetaData` script tag, also in the form `@setDataFrame` that some pushers send.
    pub fn is_metadata(&self) -> bool {
        // Script data begins with an AMF0 string (marker 2, 16-bit length): Annex E.4.4.1.
        self.kind == TagKind::Script
            && (self.body.starts_with(b"\x02\x00\x0aonMetaData")
                || self.body.starts_with(b"\x02\x00\x0d@setDataFrame\x02\x00\x0aonMetaData"))
    }
}

/// The file header: which kinds of tags to expect.
///
/// Streams often lie here, so nothing of ours depends on it; players do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileHeader {
    /// Audio tags are present.
    pub has_audio: bool,
    /// Video tags are present.
    pub has_video: bool,
}

impl FileHeader {
    /// The nine bytes of the header, version 1.
    pub fn to_bytes(self) -> [u8; FILE_HEADER_LEN] {
        let flags = u8::from(self.has_audio) << 2 | u8::from(self.has_video);
        [b'F', b'L', b'V', 1, flags, 0, 0, 0, FILE_HEADER_LEN as u8]
    }
}

/// The fields of a tag header, unchecked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RawTagHeader {
    /// The first byte: two reserved bits, the filter bit, five bits of type.
    pub(super) first: u8,
    pub(super) size: usize,
    pub(super) timestamp: u32,
    pub(super) stream_id: u32,
}

impl RawTagHeader {
    /// Reads [`TAG_HEADER_LEN`] bytes.
    pub(super) fn parse(input: &[u8]) -> IResult<&[u8], Self> {
        let (input, (first, size, low, high, stream_id)) =
            (be_u8, be_u24, be_u24, be_u8, be_u24).parse(input)?;
        let header = Self { first, size: size as usize, timestamp: u32::from(high) << 24 | low, stream_id };
        Ok((input, header))
    }

    /// The kind, if neither the filter bit nor a reserved bit is set and the type is known.
    pub(super) fn kind(&self) -> Option<TagKind> {
        TagKind::from_id(self.first)
    }

    /// Whether the body is encrypted (Annex E, filter bit), which is not supported.
    pub(super) fn is_encrypted(&self) -> bool {
        self.first & 0x20 != 0 && TagKind::from_id(self.first & 0x1f).is_some()
    }
}

/// The fields of a file header, unchecked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RawFileHeader {
    pub(super) signature: [u8; 3],
    pub(super) version: u8,
    pub(super) flags: u8,
    pub(super) data_offset: u32,
}

impl RawFileHeader {
    /// Reads [`FILE_HEADER_LEN`] bytes.
    pub(super) fn parse(input: &[u8]) -> IResult<&[u8], Self> {
        let (input, signature) = take(3_usize)(input)?;
        let (input, (version, flags)) = (be_u8, be_u8).parse(input)?;
        let (input, data_offset) = nom::number::streaming::be_u32(input)?;
        let mut header = Self { signature: [0; 3], version, flags, data_offset };
        header.signature.copy_from_slice(signature); // `take` gave three bytes
        Ok((input, header))
    }

    pub(super) fn header(&self) -> FileHeader {
        FileHeader { has_audio: self.flags & 4 != 0, has_video: self.flags & 1 != 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flv::testing::{aac_config, avc_config, inter, key, metadata, sound, tag};

    fn video(body: &[u8]) -> Tag {
        tag(TagKind::Video, 0, body)
    }

    #[test]
    fn a_head_of_another_kind_is_refused() {
        assert_eq!(sound(0).video_head(), Err(HeadError::WrongKind { kind: TagKind::Audio }));
        assert_eq!(key(0, 1).audio_head(), Err(HeadError::WrongKind { kind: TagKind::Video }));
        assert_eq!(metadata(0, 1).video_head(), Err(HeadError::WrongKind { kind: TagKind::Script }));
    }

    #[test]
    fn a_keyframe_is_one_that_carries_a_picture() {
        assert!(key(0, 1).is_keyframe());
        assert!(video(&[0x11, 0xff, 0xd8]).is_keyframe(), "each JPEG is");
        assert!(video(b"\x91hvc1\0\0\0").is_keyframe());
        assert!(video(b"\x93hvc1").is_keyframe());
        assert!(video(&[0x47, 1, 0, 0, 0]).is_keyframe(), "made by a server");
        let end = video(&[0x17, 2, 0, 0, 0]);
        for other in
            [inter(0, 1), avc_config(0, 1), sound(0), metadata(0, 1), end, video(&[]), video(&[0x17, 1])]
        {
            assert!(!other.is_keyframe(), "{other:?}");
        }
    }

    #[test]
    fn sequence_headers_are_told_in_both_forms() {
        let opus = tag(TagKind::Audio, 0, b"\x90Opus");
        for header in [avc_config(0, 1), aac_config(0, 1), video(b"\x90av01"), video(b"\x95av01"), opus] {
            assert!(header.is_sequence_header(), "{header:?}");
        }
        let g711 = tag(TagKind::Audio, 0, &[0x72, 0]);
        for other in [key(0, 1), sound(0), metadata(0, 1), g711, video(&[]), tag(TagKind::Audio, 0, &[])] {
            assert!(!other.is_sequence_header(), "{other:?}");
        }
    }

    #[test]
    fn metadata_is_told_by_its_name() {
        let script = |body: &[u8]| tag(TagKind::Script, 0, body).is_metadata();
        assert!(metadata(0, 1).is_metadata());
        assert!(script(b"\x02\0\x0d@setDataFrame\x02\0\x0aonMetaData\x08"));
        assert!(!script(b"\x02\0\x0aonMetaDat"));
        assert!(!script(b"\x02\0\x0aonTextData"));
        assert!(!script(b"\x02\0\x0bonMetaDataX"));
        assert!(!script(b""));
        assert!(!tag(TagKind::Video, 0, &metadata(0, 1).body).is_metadata());
    }

    #[test]
    fn kinds_have_the_ids_of_the_standard() {
        let known: Vec<_> = (0..=255).filter_map(TagKind::from_id).map(TagKind::id).collect();
        assert_eq!(known, [8, 9, 18]);
    }
}
