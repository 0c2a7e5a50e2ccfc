//! What the tests of this module share.

use bytes::Bytes;
use proptest::prelude::*;

use super::{FileHeader, Muxer, Tag, TagKind};

/// A tag with its own body.
pub(super) fn tag(kind: TagKind, timestamp: u32, body: &[u8]) -> Tag {
    Tag { kind, timestamp, body: Bytes::copy_from_slice(body) }
}

/// An H.264 keyframe of 5 bytes of head and `len` of payload.
pub(super) fn key(timestamp: u32, len: usize) -> Tag {
    tag(TagKind::Video, timestamp, &[&[0x17, 1, 0, 0, 0][..], &vec![0xa5; len]].concat())
}

/// An H.264 picture that is no keyframe.
pub(super) fn inter(timestamp: u32, len: usize) -> Tag {
    tag(TagKind::Video, timestamp, &[&[0x27, 1, 0, 0, 0][..], &vec![0x5a; len]].concat())
}

/// An AAC frame.
pub(super) fn sound(timestamp: u32) -> Tag {
    tag(TagKind::Audio, timestamp, &[0xaf, 1, 0x21, 0x10, 4, 0x60])
}

/// An AVC sequence header; `id` tells one from another.
pub(super) fn avc_config(timestamp: u32, id: u8) -> Tag {
    tag(TagKind::Video, timestamp, &[0x17, 0, 0, 0, 0, 1, 77, 0, id])
}

/// An AAC sequence header; `id` tells one from another.
pub(super) fn aac_config(timestamp: u32, id: u8) -> Tag {
    tag(TagKind::Audio, timestamp, &[0xaf, 0, 0x11, id])
}

/// An `onMetaData` tag; `id` tells one from another.
pub(super) fn metadata(timestamp: u32, id: u8) -> Tag {
    tag(TagKind::Script, timestamp, &[b"\x02\x00\x0aonMetaData\x08\0\0\0".as_slice(), &[id]].concat())
}

/// A whole file.
pub(super) fn mux(tags: &[Tag]) -> Vec<u8> {
    let mut muxer = Muxer::new();
    let mut out = muxer.header(FileHeader { has_audio: true, has_video: true }).to_vec();
    for tag in tags {
        muxer.tag(tag).iter().for_each(|part| out.extend_from_slice(part));
    }
    out
}

/// Tags with any kind, time and body of up to `max_body` bytes.
pub(super) fn tags(max_body: usize) -> impl Strategy<Value = Vec<Tag>> {
    let kind = prop_oneof![Just(TagKind::Audio), Just(TagKind::Video), Just(TagKind::Script)];
    let body = prop::collection::vec(any::<u8>(), 0..=max_body);
    let tag = (kind, any::<u32>(), body).prop_map(|(kind, timestamp, body)| Tag {
        kind,
        timestamp,
        body: body.into(),
    });
    prop::collection::vec(tag, 0..12)
}

/// Lengths of pieces: many tiny ones, some beyond what is gathered.
pub(super) fn pieces() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(prop_oneof![1_usize..16, 1_usize..600, 1_usize..5000], 1..40)
}

/// Cuts `data` into pieces of these lengths, over and over.
pub(super) fn cut(data: &[u8], pieces: &[usize]) -> Vec<Bytes> {
    let mut out = Vec::new();
    let mut rest = data;
    for n in pieces.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, tail) = rest.split_at((*n).clamp(1, rest.len()));
        out.push(Bytes::copy_from_slice(piece));
        rest = tail;
    }
    out
}
