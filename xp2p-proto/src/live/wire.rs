//! How live media is laid out on QUIC streams.
//!
//! | what | bytes |
//! |---|---|
//! | head of a media stream | kind 1 (1 pictures, 2 sound and data), request varint, number varint, configuration varint |
//! | after it, up to the end | tags: 11-byte FLV tag header, body |
//! | record on the response stream | type 1, length varint, body |
//! | record 1, configuration | id varint, FLV file flags 1, tags |
//! | record 2, end | number of media streams of the request varint |
//!
//! A varint is that of RFC 9000 section 16. `request` is the index of the request's bidirectional stream (stream id
//! divided by four). `number` counts the streams of a kind within a request from 0, without gaps.

use bytes::{BufMut, Bytes, BytesMut};
use thiserror::Error;

use crate::flv::{Config, FileHeader, FlvError, Limits, Tag, TagKind, TagReader};

/// Reset code of a media stream whose content has become too old.
pub const LATE: u32 = 1;
/// Longest head of a media stream, in bytes.
pub const MAX_HEAD: usize = 1 + 3 * 8;
/// Longest record, in bytes. Sequence headers are a few hundred bytes, metadata a few thousand.
pub const MAX_RECORD: usize = 128 * 1024;

const CONFIG_RECORD: u8 = 1;
const END_RECORD: u8 = 2;

/// What a media stream carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StreamKind {
    /// One group of pictures, from its keyframe on.
    Video,
    /// Sound and data tags of one configuration.
    Audio,
}

/// The first bytes of a media stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamHead {
    /// What it carries.
    pub kind: StreamKind,
    /// Index of the request's stream.
    pub request: u64,
    /// Which of its kind.
    pub number: u64,
    /// The configuration that its tags need.
    pub config: u64,
}

/// Why bytes are no head or record.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum WireError {
    /// The kind of a stream is unknown.
    #[error("unknown kind {found} of a media stream")]
    Kind {
        /// The byte.
        found: u8,
    },
    /// A record is longer than allowed.
    #[error("a record of {length} bytes at byte {offset}; at most {MAX_RECORD} are allowed")]
    TooLong {
        /// Where it begins.
        offset: u64,
        /// Its length.
        length: u64,
    },
    /// A record ends inside a field.
    #[error("the record at byte {offset} ends inside a field")]
    Truncated {
        /// Where it begins.
        offset: u64,
    },
    /// A configuration holds something else than one metadata tag and two sequence headers.
    #[error(
        "the configuration in the record at byte {offset} holds a tag that configures nothing, or one twice"
    )]
    NotConfiguration {
        /// Where the record begins.
        offset: u64,
    },
    /// A tag is malformed.
    #[error("malformed tag: {0}")]
    Tag(#[from] FlvError),
}

/// Reads a varint from the front. `None`: it is not all there.
fn get_varint(input: &[u8]) -> Option<(u64, usize)> {
    let first = *input.first()?;
    let len = 1usize << (first >> 6);
    let bytes = input.get(..len)?;
    let value = bytes.iter().fold(0u64, |acc, b| acc << 8 | u64::from(*b));
    // The two top bits tell the length.
    Some((value & (u64::MAX >> (64 - 8 * len + 2)), len))
}

/// Appends a varint in its shortest form. `value` is below 2^62; larger ones, which nothing here counts up to, would
/// lose their top bits.
fn put_varint(out: &mut BytesMut, value: u64) {
    match value {
        0..=0x3f => out.put_u8(value as u8),
        0x40..=0x3fff => out.put_u16(value as u16 | 0x4000),
        0x4000..=0x3fff_ffff => out.put_u32(value as u32 | 0x8000_0000),
        _ => out.put_u64(value | 0xc000_0000_0000_0000),
    }
}

impl StreamHead {
    /// The bytes.
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(MAX_HEAD);
        out.put_u8(match self.kind {
            StreamKind::Video => 1,
            StreamKind::Audio => 2,
        });
        put_varint(&mut out, self.request);
        put_varint(&mut out, self.number);
        put_varint(&mut out, self.config);
        out.freeze()
    }

    /// Reads a head from the front of `input`. `Ok(None)`: it is not all there. Otherwise also its length.
    ///
    /// # Errors
    ///
    /// [`WireError::Kind`].
    pub fn parse(input: &[u8]) -> Result<Option<(Self, usize)>, WireError> {
        let kind = match input.first() {
            None => return Ok(None),
            Some(1) => StreamKind::Video,
            Some(2) => StreamKind::Audio,
            Some(&found) => return Err(WireError::Kind { found }),
        };
        let mut at = 1;
        let mut fields = [0; 3];
        for field in &mut fields {
            // `at` never passes the end: each step moved over bytes that are there.
            let Some((value, len)) = get_varint(&input[at..]) else { return Ok(None) };
            *field = value;
            at += len;
        }
        let [request, number, config] = fields;
        Ok(Some((Self { kind, request, number, config }, at)))
    }
}

/// A record of the response stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// What a decoder needs before the tags that name this id.
    Config {
        /// Its name.
        id: u64,
        /// The configuration.
        config: Config,
    },
    /// The stream is over. Last record.
    End {
        /// How many media streams the camera opened for this request.
        streams: u64,
    },
    /// A record of a type that this version does not know, which it must skip.
    Unknown {
        /// The type.
        kind: u8,
    },
}

impl Record {
    /// The bytes of a configuration record.
    pub fn encode_config(id: u64, config: &Config) -> Bytes {
        let mut body = BytesMut::new();
        put_varint(&mut body, id);
        body.put_u8(u8::from(config.header.has_audio) << 2 | u8::from(config.header.has_video));
        for tag in config.tags() {
            body.put_slice(&tag.header());
            body.put_slice(&tag.body);
        }
        let mut out = BytesMut::with_capacity(body.len() + 9);
        out.put_u8(CONFIG_RECORD);
        put_varint(&mut out, body.len() as u64);
        out.put_slice(&body);
        out.freeze()
    }

    /// The bytes of an end record.
    pub fn encode_end(streams: u64) -> Bytes {
        let mut body = BytesMut::new();
        put_varint(&mut body, streams);
        let mut out = BytesMut::with_capacity(body.len() + 2);
        out.put_u8(END_RECORD);
        put_varint(&mut out, body.len() as u64);
        out.put_slice(&body);
        out.freeze()
    }

    fn parse(kind: u8, body: Bytes, offset: u64) -> Result<Self, WireError> {
        match kind {
            CONFIG_RECORD => Self::parse_config(body, offset),
            END_RECORD => {
                let (streams, _) = get_varint(&body).ok_or(WireError::Truncated { offset })?;
                Ok(Self::End { streams })
            }
            kind => Ok(Self::Unknown { kind }),
        }
    }

    fn parse_config(body: Bytes, offset: u64) -> Result<Self, WireError> {
        let truncated = WireError::Truncated { offset };
        let (id, len) = get_varint(&body).ok_or_else(|| truncated.clone())?;
        let flags = *body.get(len).ok_or(truncated)?;
        let mut reader = TagReader::new(Limits::default());
        reader.push(body.slice(len + 1..))?;
        let header = FileHeader { has_audio: flags & 4 != 0, has_video: flags & 1 != 0 };
        let mut config = Config { header, ..Config::default() };
        while let Some(tag) = reader.poll()? {
            let slot = slot_of(&mut config, &tag).ok_or(WireError::NotConfiguration { offset })?;
            if slot.replace(tag).is_some() {
                return Err(WireError::NotConfiguration { offset });
            }
        }
        reader.finish()?;
        Ok(Self::Config { id, config })
    }
}

fn slot_of<'a>(config: &'a mut Config, tag: &Tag) -> Option<&'a mut Option<Tag>> {
    match tag.kind {
        TagKind::Script if tag.is_metadata() => Some(&mut config.metadata),
        TagKind::Video if tag.is_sequence_header() => Some(&mut config.video),
        TagKind::Audio if tag.is_sequence_header() => Some(&mut config.audio),
        _ => None,
    }
}

/// Reads records that arrive in pieces.
#[derive(Debug, Default)]
pub struct RecordReader {
    buffer: BytesMut,
    offset: u64,
}

impl RecordReader {
    /// Takes in the next bytes. At most one record and one chunk are ever held if the caller polls after each.
    pub fn push(&mut self, data: &[u8]) {
        self.buffer.extend_from_slice(data);
    }

    /// The next record, or `None` if more bytes are needed.
    ///
    /// # Errors
    ///
    /// When the record is malformed; the stream is then of no more use.
    pub fn poll(&mut self) -> Result<Option<Record>, WireError> {
        let Some(&kind) = self.buffer.first() else { return Ok(None) };
        let Some((length, len)) = get_varint(&self.buffer[1..]) else { return Ok(None) };
        let offset = self.offset;
        if length > MAX_RECORD as u64 {
            return Err(WireError::TooLong { offset, length });
        }
        let total = 1 + len + length as usize; // checked against the limit just now
        if self.buffer.len() < total {
            return Ok(None);
        }
        let body = self.buffer.split_to(total).freeze().slice(1 + len..);
        self.offset += total as u64;
        Record::parse(kind, body, offset).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn config() -> Config {
        let tag =
            |kind, body: &'static [u8]| Some(Tag { kind, timestamp: 0, body: Bytes::from_static(body) });
        Config {
            header: FileHeader { has_audio: true, has_video: true },
            metadata: tag(TagKind::Script, b"\x02\x00\x0aonMetaData\x05"),
            video: tag(TagKind::Video, &[0x17, 0, 0, 0, 0, 1]),
            audio: tag(TagKind::Audio, &[0xaf, 0, 0x12]),
        }
    }

    #[test]
    fn varints_are_those_of_rfc_9000() {
        // Appendix A.1.
        let vectors: [(&[u8], u64); 4] = [
            (&[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c], 151_288_809_941_952_652),
            (&[0x9d, 0x7f, 0x3e, 0x7d], 494_878_333),
            (&[0x7b, 0xbd], 15_293),
            (&[0x25], 37),
        ];
        for (bytes, value) in vectors {
            assert_eq!(get_varint(bytes), Some((value, bytes.len())));
            let mut out = BytesMut::new();
            put_varint(&mut out, value);
            assert_eq!(out, bytes);
            for cut in 0..bytes.len() {
                assert_eq!(get_varint(&bytes[..cut]), None);
            }
        }
    }

    #[test]
    fn a_configuration_survives_any_split() {
        let bytes = Record::encode_config(300, &config());
        for cut in 0..bytes.len() {
            let mut reader = RecordReader::default();
            reader.push(&bytes[..cut]);
            assert_eq!(reader.poll(), Ok(None), "cut at {cut}");
            reader.push(&bytes[cut..]);
            assert_eq!(reader.poll(), Ok(Some(Record::Config { id: 300, config: config() })));
            assert_eq!(reader.poll(), Ok(None));
        }
    }

    #[test]
    fn unknown_records_are_skipped_and_bad_ones_refused() {
        let mut reader = RecordReader::default();
        reader.push(&[9, 2, 1, 1]);
        reader.push(&Record::encode_config(1, &config()));
        assert_eq!(reader.poll(), Ok(Some(Record::Unknown { kind: 9 })));
        assert_eq!(reader.poll(), Ok(Some(Record::Config { id: 1, config: config() })));
        reader.push(&Record::encode_end(5));
        assert_eq!(reader.poll(), Ok(Some(Record::End { streams: 5 })));
        reader.push(&[1, 0xbf, 0xff, 0xff, 0xff]);
        assert!(matches!(reader.poll(), Err(WireError::TooLong { length: 0x3fff_ffff, .. })));

        let mut reader = RecordReader::default();
        reader.push(&[1, 1, 0]);
        assert_eq!(reader.poll(), Err(WireError::Truncated { offset: 0 }));
        let inter = [&[1, 2 + 11 + 1, 0, 5][..], &[9, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0], &[0x27]].concat();
        let mut reader = RecordReader::default();
        reader.push(&inter);
        assert_eq!(reader.poll(), Err(WireError::NotConfiguration { offset: 0 }));
    }

    proptest! {
        #[test]
        fn heads_round_trip(audio: bool, request in 0u64..1 << 62, number in 0u64..1 << 62, config in 0u64..1 << 20) {
            let kind = if audio { StreamKind::Audio } else { StreamKind::Video };
            let head = StreamHead { kind, request, number, config };
            let bytes = head.encode();
            prop_assert!(bytes.len() <= MAX_HEAD);
            prop_assert_eq!(StreamHead::parse(&bytes), Ok(Some((head, bytes.len()))));
            for cut in 0..bytes.len() {
                prop_assert_eq!(StreamHead::parse(&bytes[..cut]), Ok(None));
            }
        }

        #[test]
        fn records_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut reader = RecordReader::default();
            reader.push(&bytes);
            while let Ok(Some(_)) = reader.poll() {}
        }
    }
}
