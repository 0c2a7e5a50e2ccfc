//! What a camera sends of a live stream: heads of streams, records, and all streams together in any order.

use std::time::Duration;

use arbitrary::{Arbitrary, Unstructured};
use bytes::Bytes;
use noq_proto::Side;
use xp2p_proto::flv::{Limits, TagKind};
use xp2p_proto::link::{Dir, StreamId};
use xp2p_proto::live::{
    LiveItem, MAX_EARLY, MAX_HELD, Receiver, Record, RecordReader, StreamHead, StreamKind, WireError,
};

use crate::cut::alike;
use crate::ops::{Blob, rest};
use crate::tags::AnyTag;

#[derive(Arbitrary, Debug)]
enum Op<'a> {
    Accept,
    Response(Blob<'a>),
    Config(u8, Vec<AnyTag>),
    Over(u8),
    Open { audio: bool, number: u8, config: u8 },
    Tag { audio: bool, number: u8, tag: AnyTag },
    Data { audio: bool, number: u8, data: Blob<'a> },
    End { audio: bool, number: u8, reset: bool },
    Lost,
    Poll(bool),
}

fn kind(audio: bool) -> StreamKind {
    if audio { StreamKind::Audio } else { StreamKind::Video }
}

/// One input: bytes of heads and records; and, read otherwise, what a receiver is given.
pub fn run(data: &[u8]) {
    head(data);
    records(data);
    receiver(&rest(&mut Unstructured::new(data), usize::MAX));
}

fn head(data: &[u8]) {
    if let Ok(Some((head, len))) = StreamHead::parse(data) {
        let printed = head.encode();
        assert!(printed.len() <= len, "the shortest form");
        assert_eq!(StreamHead::parse(&printed), Ok(Some((head, printed.len()))));
        assert!((0..len).all(|cut| StreamHead::parse(&data[..cut]) == Ok(None)));
    }
}

fn records(data: &[u8]) {
    let (found, _) = alike(data, |pieces| -> (Vec<Record>, Option<WireError>) {
        let mut reader = RecordReader::default();
        let mut records = Vec::new();
        for piece in pieces {
            reader.push(piece);
            loop {
                match reader.poll() {
                    Ok(Some(record)) => records.push(record),
                    Ok(None) => break,
                    Err(error) => return (records, Some(error)),
                }
            }
        }
        (records, None)
    });
    for record in found {
        let print = match &record {
            Record::Config { id, config } => Record::encode_config(*id, config),
            Record::End { streams } => Record::encode_end(*streams),
            _ => continue,
        };
        let mut reader = RecordReader::default();
        reader.push(&print);
        assert_eq!(reader.poll(), Ok(Some(record)));
    }
}

fn receiver(ops: &[Op<'_>]) {
    let mut receiver = Receiver::new(Duration::from_secs(2), Limits::default());
    let mut streams = 0;
    let mut out = Out::default();
    for op in ops {
        let result = match op {
            Op::Accept => {
                receiver.accept();
                Ok(())
            }
            Op::Response(data) => receiver.response(data),
            Op::Config(id, tags) => {
                let mut config = xp2p_proto::flv::Config::default();
                tags.iter().for_each(|tag| _ = config.update(&tag.0));
                receiver.response(&Record::encode_config(u64::from(*id), &config))
            }
            Op::Over(streams) => receiver.response(&Record::encode_end(u64::from(*streams))),
            Op::Open { audio, number, config } => {
                let head = StreamHead {
                    kind: kind(*audio),
                    request: 0,
                    number: u64::from(*number),
                    config: u64::from(*config),
                };
                streams += 1;
                receiver.open(StreamId::new(Side::Server, Dir::Uni, streams), head);
                Ok(())
            }
            Op::Tag { audio, number, tag } => {
                let bytes = Bytes::from([&tag.0.header()[..], &tag.0.body].concat());
                give(&mut receiver, *audio, *number, bytes)
            }
            Op::Data { audio, number, data } => {
                give(&mut receiver, *audio, *number, Bytes::copy_from_slice(data))
            }
            Op::End { audio, number, reset } => {
                receiver.end(kind(*audio), u64::from(*number), *reset);
                Ok(())
            }
            Op::Lost => {
                receiver.lost_stream();
                Ok(())
            }
            Op::Poll(complete) => {
                out.drain(&mut receiver, *complete);
                Ok(())
            }
        };
        if result.is_err() {
            return;
        }
        let unwanted = receiver.take_unwanted();
        assert!(unwanted.len() as u64 <= streams);
    }
    receiver.accept();
    out.drain(&mut receiver, true);
    let stats = receiver.stats();
    assert!(out.wire <= stats.bytes, "more came out than went in");
    assert_eq!(
        (out.tags, out.keyframes),
        (stats.tags, stats.keyframes),
        "what came out is not what was counted"
    );
}

fn give(receiver: &mut Receiver, audio: bool, number: u8, bytes: Bytes) -> Result<(), WireError> {
    // As a viewer does it.
    if receiver.wants(kind(audio), u64::from(number)) {
        assert!(bytes.len() < MAX_EARLY && bytes.len() < MAX_HELD);
        receiver.data(kind(audio), u64::from(number), bytes)?;
    }
    Ok(())
}

/// What has come out.
#[derive(Default)]
struct Out {
    configs: u64,
    tags: u64,
    keyframes: u64,
    /// Bytes that the tags had on the wire.
    wire: u64,
}

impl Out {
    fn drain(&mut self, receiver: &mut Receiver, complete: bool) {
        while let Some(item) = receiver.poll(complete) {
            match item {
                LiveItem::Config(_) => self.configs += 1,
                // Of any kind and with any body, also none: a camera passes on what its source says.
                LiveItem::Tag(tag) => {
                    assert!(self.configs > 0, "a tag before what decoders need for it");
                    self.tags += 1;
                    self.keyframes += u64::from(tag.kind == TagKind::Video && tag.is_keyframe());
                    self.wire += tag.wire_len() as u64;
                }
            }
        }
    }
}
