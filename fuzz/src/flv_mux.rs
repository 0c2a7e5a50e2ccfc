//! What the muxers make is what the demuxer reads, however it is cut.

use arbitrary::{Arbitrary, Unstructured};
use bytes::Bytes;
use xp2p_proto::flv::{
    Demuxer, FileHeader, Frame, FrameKind, FrameMuxer, G711Law, Item, Limits, Muxer, Tag, TagReader,
    VideoKind, picture_size,
};

use crate::cut::alike;
use crate::ops::{Blob, rest};
use crate::tags::AnyTag;

#[derive(Arbitrary, Debug)]
enum Made<'a> {
    Tag(AnyTag),
    /// Of an encoder: kind, time, bytes.
    Frame(u8, u16, Blob<'a>),
}

fn tags(input: &[u8], header: FileHeader) -> Vec<Tag> {
    alike(input, |pieces| {
        let mut demuxer = Demuxer::new(Limits { strict: true, ..Limits::default() });
        let mut tags = Vec::new();
        let mut seen = None;
        for piece in pieces {
            demuxer.push(piece.clone()).expect("what was made");
            while let Some(item) = demuxer.poll().expect("what was made") {
                match item {
                    Item::Header(found) => assert!(seen.replace(found).is_none()),
                    Item::Tag(tag) => tags.push(tag),
                }
            }
        }
        demuxer.finish().expect("it is whole");
        assert_eq!(seen, Some(header));
        tags
    })
}

/// One input.
pub fn run(data: &[u8]) {
    let mut u = Unstructured::new(data);
    let Ok((has_audio, has_video)) = u.arbitrary() else { return };
    let header = FileHeader { has_audio, has_video };
    // Frames as an encoder makes them: whatever they hold, tags come out that can be read, or an error.
    let mut encoder = FrameMuxer::new(Default::default());
    let mut made = Vec::new();
    for next in rest(&mut u, usize::MAX) {
        match next {
            Made::Tag(tag) => made.push(tag.0),
            Made::Frame(kind, time, data) => {
                frame(&mut encoder, kind, time.into(), &data, &mut made);
                let _ = picture_size(if kind & 1 == 0 { VideoKind::H264 } else { VideoKind::H265 }, &data);
            }
        }
    }
    let mut muxer = Muxer::new();
    let mut file: Vec<u8> = muxer.header(header).to_vec();
    let mut bare = Vec::new();
    for tag in &made {
        file.extend(muxer.tag(tag).concat());
        bare.extend([&tag.header()[..], &tag.body].concat());
        assert_eq!(tag.wire_len(), tag.header().len() + tag.body.len());
    }
    assert_eq!(tags(&file, header), made);
    let read = alike(&bare, |pieces| {
        let mut reader = TagReader::new(Limits::default());
        let mut tags = Vec::new();
        for piece in pieces {
            reader.push(Bytes::clone(piece)).expect("what was made");
            while let Some(tag) = reader.poll().expect("what was made") {
                tags.push(tag);
            }
        }
        reader.finish().expect("it is whole");
        tags
    });
    assert_eq!(read, made);
}

fn frame(encoder: &mut FrameMuxer, kind: u8, time: u32, data: &[u8], made: &mut Vec<Tag>) {
    let kinds = [
        FrameKind::Video(VideoKind::H264),
        FrameKind::Video(VideoKind::H265),
        FrameKind::AacConfig,
        FrameKind::Aac,
        FrameKind::G711(G711Law::A),
        FrameKind::G711(G711Law::Mu),
    ];
    let frame = Frame::new(kinds[usize::from(kind) % kinds.len()], time, Bytes::copy_from_slice(data));
    match encoder.push(&frame) {
        Ok(tags) => made.extend(tags),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    if kind == u8::MAX {
        encoder.restart();
    }
}
