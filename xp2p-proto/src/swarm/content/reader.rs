//! From verified pieces back to frames.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};
use thiserror::Error;

use super::cut::unzigzag;
use super::frame::{Frame, MAX_CONFIG, MAX_FRAME, StreamConfig, Track};
use crate::flv::{FileHeader, TagKind};
use crate::swarm::codec::field::{
    CodecError, CodecReason, Field, MAX_VARINT, byte, bytes, refuse, varint, whole,
};
use crate::swarm::{PieceInfo, PieceNo};

/// What comes out of a [`Reader`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A segment begins.
    Segment {
        /// The first piece.
        no: PieceNo,
        /// Whether it does not follow what was read before.
        gap: bool,
        /// What its frames need.
        config: StreamConfig,
    },
    /// A frame. Its time is canonical.
    Frame(Frame),
}

/// Why pieces cannot be read on from here. Reading goes on at the next segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ReadError {
    /// A piece is missing.
    #[error("piece {found} came where piece {expected} was due")]
    Gap {
        /// The piece that was due.
        expected: PieceNo,
        /// The piece that came.
        found: PieceNo,
    },
    /// A segment ends inside a frame. Its signer cut it off.
    #[error("the segment before piece {no} ends inside a frame")]
    Unfinished {
        /// The first piece of the next segment.
        no: PieceNo,
    },
    /// The content is malformed. Its signer made it so.
    #[error("byte {offset} of the segment, up to piece {no}: {reason}")]
    Malformed {
        /// The newest piece.
        no: PieceNo,
        /// Where in the segment.
        offset: u64,
        /// What is wrong.
        reason: CodecReason,
    },
}

#[derive(Debug)]
struct Segment {
    /// Canonical time of its first frame.
    start: u64,
    first: PieceNo,
    gap: bool,
    /// The configuration has been read.
    configured: bool,
    /// Bytes read before those in the buffer.
    read: u64,
}

/// Reads verified pieces in order. It can begin at any segment.
#[derive(Debug, Default)]
pub struct Reader {
    next: Option<PieceNo>,
    segment: Option<Segment>,
    /// Less than a frame, between two calls.
    buffer: BytesMut,
    began: bool,
    out: VecDeque<Content>,
}

impl Reader {
    /// A reader that has read nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next piece. The caller has checked that `content` is what `info` announces. Pieces in the middle of a
    /// segment whose beginning was not read are passed over.
    ///
    /// # Errors
    ///
    /// See [`ReadError`]. The piece that caused [`Gap`](ReadError::Gap) or [`Unfinished`](ReadError::Unfinished) has been
    /// read nevertheless if a segment begins with it.
    pub fn push(&mut self, info: &PieceInfo, content: &Bytes) -> Result<(), ReadError> {
        let expected = self.next.replace(info.no.saturating_add(1));
        let follows = expected.is_none_or(|e| e == info.no);
        let cut_off = follows && info.starts_segment() && self.segment.is_some() && !self.at_border();
        let lost = self.segment.is_some() && !follows;
        if lost || info.starts_segment() {
            self.buffer.clear();
            // After a segment that was passed over nothing can be said to follow.
            let gap = self.began && (lost || cut_off || self.segment.is_none());
            self.segment = info.starts_segment().then_some(Segment {
                start: info.time,
                first: info.no,
                gap,
                configured: false,
                read: 0,
            });
        }
        if self.segment.is_some() {
            self.buffer.extend_from_slice(content);
            self.parse(info.no)?;
        }
        if lost {
            return Err(ReadError::Gap { expected: expected.unwrap_or(info.no), found: info.no });
        }
        if cut_off { Err(ReadError::Unfinished { no: info.no }) } else { Ok(()) }
    }

    /// What was read.
    pub fn poll(&mut self) -> Option<Content> {
        self.out.pop_front()
    }

    /// Whether everything up to here made whole frames.
    fn at_border(&self) -> bool {
        self.buffer.is_empty() && self.segment.as_ref().is_none_or(|s| s.configured)
    }

    fn parse(&mut self, no: PieceNo) -> Result<(), ReadError> {
        while let Some(segment) = &mut self.segment {
            if self.buffer.is_empty() {
                break;
            }
            let mut used = 0;
            let parsed = whole(&self.buffer, |input| {
                let (rest, record) =
                    if segment.configured { frame(input, segment.start) } else { config(input) }?;
                used = input.len() - rest.len();
                Ok((&[], record))
            });
            match parsed {
                Ok(record) => {
                    // One allocation for the bodies of all frames that lie in it.
                    let taken = self.buffer.split_to(used).freeze();
                    segment.read += used as u64;
                    self.out.push_back(match record {
                        Record::Config(config) => {
                            segment.configured = true;
                            self.began = true;
                            Content::Segment { no: segment.first, gap: segment.gap, config }
                        }
                        Record::Frame { track, time, len } => {
                            let body = taken.slice(taken.len() - len..);
                            Content::Frame(Frame::new(track, time, body))
                        }
                    });
                }
                Err(CodecError { reason: CodecReason::Truncated, .. }) => break,
                Err(CodecError { offset, reason }) => {
                    let offset = segment.read + offset as u64;
                    self.segment = None;
                    self.buffer.advance(self.buffer.len());
                    return Err(ReadError::Malformed { no, offset, reason });
                }
            }
        }
        Ok(())
    }
}

enum Record {
    Config(StreamConfig),
    /// The body is the last `len` bytes of the record.
    Frame {
        track: Track,
        time: i64,
        len: usize,
    },
}

fn config(input: &[u8]) -> Field<'_, Record> {
    let (rest, flags) = byte(input)?;
    if flags & !5 != 0 {
        return refuse(input, CodecReason::Value { what: "the tracks of a segment", found: flags });
    }
    let tracks = FileHeader { has_audio: flags & 4 != 0, has_video: flags & 1 != 0 };
    let (rest, video) = bytes("the length of a sequence header", MAX_CONFIG, rest)?;
    let (rest, audio) = bytes("the length of a sequence header", MAX_CONFIG, rest)?;
    let body = |b: &[u8]| (!b.is_empty()).then(|| Bytes::copy_from_slice(b));
    Ok((rest, Record::Config(StreamConfig { tracks, video: body(video), audio: body(audio) })))
}

fn frame(input: &[u8], start: u64) -> Field<'_, Record> {
    let (rest, kind) = byte(input)?;
    let track = match TagKind::from_id(kind) {
        Some(TagKind::Video) => Track::Video,
        Some(TagKind::Audio) => Track::Audio,
        _ => return refuse(input, CodecReason::Value { what: "the kind of a frame", found: kind }),
    };
    let (rest, since) = varint("the time of a frame", MAX_VARINT, rest)?;
    let (rest, body) = bytes("the length of a frame", MAX_FRAME, rest)?;
    let time = i64::try_from(start).unwrap_or(i64::MAX).saturating_add(unzigzag(since));
    Ok((rest, Record::Frame { track, time, len: body.len() }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::swarm::content::{CutPiece, Cutter, Item};
    use crate::swarm::piece_hash;

    fn items(segments: i64) -> Vec<Item> {
        let tracks = FileHeader { has_audio: true, has_video: true };
        let config = StreamConfig { tracks, video: Some(Bytes::from_static(b"\x17\0\0\0\0v")), audio: None };
        let mut items = vec![Item::Run { run: 0, config }];
        for i in 0..segments * 10 {
            let key = i % 10 == 0;
            let mut body = vec![if key { 0x17 } else { 0x27 }, 1, 0, 0, 0, i as u8];
            body.resize(if key { 20_000 } else { 700 }, i as u8);
            items.push(Item::Frame(Frame::new(Track::Video, i * 40, body.into())));
            items.push(Item::Frame(Frame::new(Track::Audio, i * 40 + 3, vec![0x72, i as u8].into())));
        }
        items
    }

    fn pieces(items: &[Item]) -> Vec<(PieceInfo, Bytes)> {
        let mut cutter = Cutter::new();
        items.iter().for_each(|i| cutter.push(i));
        cutter.finish();
        let cut: Vec<CutPiece> = std::iter::from_fn(|| cutter.poll()).collect();
        let mut segment = 0;
        cut.into_iter()
            .enumerate()
            .map(|(no, p)| {
                segment += u64::from(p.segment_start() && no > 0);
                let info = PieceInfo {
                    no: no as u64,
                    segment,
                    index: p.index,
                    time: p.time as u64,
                    end: p.end as u64,
                    len: p.content.len() as u16,
                    hash: p.hash,
                };
                (info, p.content)
            })
            .collect()
    }

    fn read(reader: &mut Reader) -> Vec<Content> {
        std::iter::from_fn(|| reader.poll()).collect()
    }

    #[test]
    fn what_was_cut_is_read() {
        let items = items(3);
        let mut reader = Reader::new();
        for (info, content) in pieces(&items) {
            reader.push(&info, &content).unwrap();
        }
        let contents = read(&mut reader);
        let frames = |c: &[Content]| -> Vec<Frame> {
            c.iter().filter_map(|c| if let Content::Frame(f) = c { Some(f.clone()) } else { None }).collect()
        };
        let want: Vec<Frame> = items
            .iter()
            .filter_map(|i| if let Item::Frame(f) = i { Some(f.clone()) } else { None })
            .collect();
        assert_eq!(frames(&contents), want);
        assert_eq!(contents.iter().filter(|c| matches!(c, Content::Segment { gap: false, .. })).count(), 3);
    }

    #[test]
    fn it_begins_at_any_segment_and_reports_gaps() {
        let pieces = pieces(&items(4));
        let starts: Vec<usize> = (0..pieces.len()).filter(|i| pieces[*i].0.starts_segment()).collect();
        let mut reader = Reader::new();
        // The middle of the first segment is passed over.
        for (info, content) in &pieces[1..starts[2] - 1] {
            reader.push(info, content).unwrap();
        }
        let contents = read(&mut reader);
        assert!(matches!(contents[0], Content::Segment { gap: false, no, .. } if no == starts[1] as u64));
        // One piece is missing, the last one of its segment.
        let (info, content) = &pieces[starts[2]];
        let error = ReadError::Gap { expected: info.no - 1, found: info.no };
        assert_eq!(reader.push(info, content), Err(error));
        for (info, content) in &pieces[starts[2] + 1..starts[2] + 3] {
            reader.push(info, content).unwrap();
        }
        assert!(
            matches!(read(&mut reader)[0], Content::Segment { gap: true, no, .. } if no == starts[2] as u64)
        );
        // And one in the middle.
        let (info, content) = &pieces[starts[2] + 4];
        assert!(matches!(reader.push(info, content), Err(ReadError::Gap { .. })));
        assert_eq!(read(&mut reader), []);
        for (info, content) in &pieces[starts[3]..] {
            reader.push(info, content).unwrap();
        }
        assert!(matches!(read(&mut reader)[0], Content::Segment { gap: true, .. }));
    }

    #[test]
    fn errors_name_the_place() {
        let (mut info, content) = pieces(&items(1))[0].clone();
        info.time = 77;
        let mut bad = content.to_vec();
        bad[9] = 10; // kind of the first frame
        assert_eq!(bad[..3], [5, 6, 0x17]);
        let mut reader = Reader::new();
        let reason = CodecReason::Value { what: "the kind of a frame", found: 10 };
        assert_eq!(reader.push(&info, &bad.into()), Err(ReadError::Malformed { no: 0, offset: 9, reason }));
        let big = Bytes::from_static(&[5, 0, 0, 9, 0, 0xbf, 0xff, 0xff, 0xff]);
        let mut reader = Reader::new();
        let error = reader.push(&info, &big).unwrap_err();
        assert!(matches!(
            error,
            ReadError::Malformed { offset: 5, reason: CodecReason::TooLarge { .. }, .. }
        ));
        // A segment that ends too early.
        let mut reader = Reader::new();
        reader.push(&info, &content).unwrap();
        info.no = 1;
        assert_eq!(reader.push(&info, &content), Err(ReadError::Unfinished { no: 1 }));
    }

    proptest! {
        #[test]
        fn any_content_is_answered(chunks in prop::collection::vec(
            (prop::collection::vec(prop_oneof![any::<u8>(), 0..10_u8], 0..300), 0..3_u64, 0..3_u16), 0..30),
        ) {
            let mut reader = Reader::new();
            let mut no = 0;
            for (content, skip, index) in chunks {
                no += 1 + skip / 2;
                let info = PieceInfo {
                    no, segment: 0, index, time: 5, end: 5, len: 0, hash: piece_hash(&content),
                };
                let _ = reader.push(&info, &content.into());
                while reader.poll().is_some() {}
                prop_assert!(reader.buffer.len() <= 30 * 300);
            }
        }
    }
}
