//! What the tests of this module share.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use xp2p_proto::flv::{Demuxer, Item, Limits, Muxer, Tag, TagKind};

use super::{RecordReader, Recorded, name};

/// A directory that is removed at the end of the test.
#[derive(Debug)]
pub(crate) struct TempDir {
    path: PathBuf,
}

impl TempDir {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("xp2p-records-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self { path }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.path).ok();
    }
}

/// The tags of a file, up to a cut one.
pub(crate) fn demux(bytes: Vec<u8>) -> Vec<Tag> {
    let mut demuxer = Demuxer::new(Limits { max_buffered: bytes.len().max(1), ..Limits::default() });
    demuxer.push(bytes.into()).unwrap();
    let mut tags = Vec::new();
    while let Some(item) = demuxer.poll().unwrap() {
        if let Item::Tag(tag) = item {
            tags.push(tag);
        }
    }
    tags
}

/// Ten seconds with a keyframe every two, and sound.
pub(crate) fn clip() -> Vec<Tag> {
    demux(std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/clip.flv")).unwrap())
}

/// An FLV file.
pub(crate) fn mux<'a>(tags: impl IntoIterator<Item = &'a Tag>) -> Vec<u8> {
    let mut muxer = Muxer::new();
    let mut bytes = muxer.header(Default::default()).to_vec();
    for tag in tags {
        muxer.tag(tag).iter().for_each(|part| bytes.extend_from_slice(part));
    }
    bytes
}

/// Writes a recording of channel 0 that begins at `start` (Unix milliseconds).
pub(crate) fn place<'a>(dir: &TempDir, start: u64, tags: impl IntoIterator<Item = &'a Tag>) -> PathBuf {
    let path = dir.path().join(name::video_name(start).unwrap());
    std::fs::write(&path, mux(tags)).unwrap();
    path
}

pub(crate) fn key(timestamp: u32) -> Tag {
    video(timestamp, 0x17)
}

pub(crate) fn inter(timestamp: u32) -> Tag {
    video(timestamp, 0x27)
}

fn video(timestamp: u32, first: u8) -> Tag {
    let mut body = vec![first, 1, 0, 0, 0];
    body.extend_from_slice(&timestamp.to_be_bytes().repeat(50));
    Tag { kind: TagKind::Video, timestamp, body: body.into() }
}

pub(crate) fn sound(timestamp: u32) -> Tag {
    Tag { kind: TagKind::Audio, timestamp, body: Bytes::from_static(&[0xaf, 1, 1, 2, 3]) }
}

/// AVC sequence header.
pub(crate) fn avc(mark: u8) -> Tag {
    Tag { kind: TagKind::Video, timestamp: 0, body: vec![0x17, 0, 0, 0, 0, mark].into() }
}

/// All that a reader still gives, piece by piece.
pub(crate) fn pieces(reader: &mut dyn RecordReader, keys_only: bool) -> Vec<Vec<Recorded>> {
    let mut pieces = Vec::new();
    loop {
        let piece = reader.read(keys_only).unwrap();
        if piece.is_empty() {
            return pieces;
        }
        pieces.push(piece);
    }
}

/// All that a reader still gives.
pub(crate) fn drain(reader: &mut dyn RecordReader) -> Vec<Recorded> {
    pieces(reader, false).concat()
}
