//! A synthetic live source whose every tag can be checked at the other end, and the tags of real files.

use std::path::Path;

use bytes::{BufMut, Bytes, BytesMut};
use xp2p_proto::flv::{Demuxer, Item, Limits, Tag, TagKind};

/// All tags of an FLV file.
pub fn tags_of(file: &Path) -> Vec<Tag> {
    let mut demuxer = Demuxer::new(Limits::default());
    let mut tags = Vec::new();
    for piece in std::fs::read(file).expect("an FLV file").chunks(64 * 1024) {
        demuxer.push(Bytes::copy_from_slice(piece)).expect("FLV");
        while let Some(item) = demuxer.poll().expect("FLV") {
            if let Item::Tag(tag) = item {
                tags.push(tag);
            }
        }
    }
    tags
}

/// What the source makes.
#[derive(Debug, Clone, Copy)]
pub struct MediaConfig {
    /// Bits per second of pictures, on average.
    pub bitrate: u32,
    /// Bytes of a keyframe.
    pub keyframe: usize,
    /// Pictures per second.
    pub fps: u32,
    /// Pictures per group.
    pub gop: u32,
    /// Whether there is sound: one tag of 200 bytes every 23 ms.
    pub audio: bool,
}

impl Default for MediaConfig {
    fn default() -> Self {
        Self { bitrate: 1_000_000, keyframe: 40_000, fps: 25, gop: 50, audio: true }
    }
}

/// Makes tags in the order of their time.
#[derive(Debug)]
pub struct Media {
    config: MediaConfig,
    picture: u32,
    sound: u32,
    started: bool,
}

impl Media {
    /// A source at time 0.
    pub fn new(config: MediaConfig) -> Self {
        Self { config, picture: 0, sound: 0, started: false }
    }

    fn picture_time(&self) -> u32 {
        (u64::from(self.picture) * 1000 / u64::from(self.config.fps)) as u32
    }

    fn sound_time(&self) -> u32 {
        self.sound * 23
    }

    /// Milliseconds of the next tags.
    pub fn next_time(&self) -> u32 {
        if self.config.audio { self.picture_time().min(self.sound_time()) } else { self.picture_time() }
    }

    /// The tags that are due next.
    pub fn next_tags(&mut self) -> Vec<Tag> {
        let mut tags = Vec::new();
        if !std::mem::replace(&mut self.started, true) {
            let video =
                Bytes::from_static(&[0x17, 0, 0, 0, 0, 1, 0x4d, 0x40, 0x1f, 0xff, 0xe1, 0, 0, 1, 0, 0]);
            tags.push(Tag { kind: TagKind::Video, timestamp: 0, body: video });
            if self.config.audio {
                let audio = Bytes::from_static(&[0xaf, 0, 0x11, 0x90]);
                tags.push(Tag { kind: TagKind::Audio, timestamp: 0, body: audio });
            }
        }
        if self.config.audio && self.sound_time() < self.picture_time() {
            let body = checked(&[0xaf, 1], self.sound, 200);
            tags.push(Tag { kind: TagKind::Audio, timestamp: self.sound_time(), body });
            self.sound += 1;
            return tags;
        }
        let MediaConfig { bitrate, keyframe, fps, gop, .. } = self.config;
        let timestamp = self.picture_time();
        let body = if self.picture.is_multiple_of(gop) {
            checked(&[0x17, 1, 0, 0, 0], self.picture, keyframe)
        } else {
            let group = (u64::from(bitrate) * u64::from(gop) / u64::from(fps) / 8) as usize;
            let size = group.saturating_sub(keyframe) / (gop as usize - 1).max(1);
            checked(&[0x27, 1, 0, 0, 0], self.picture, size.max(64))
        };
        tags.push(Tag { kind: TagKind::Video, timestamp, body });
        self.picture += 1;
        tags
    }
}

/// A body of `size` bytes whose content follows from its number and ends in its own hash.
fn checked(head: &[u8], number: u32, size: usize) -> Bytes {
    let mut body = BytesMut::with_capacity(size);
    body.put_slice(head);
    body.put_u32(number);
    let fill = size.saturating_sub(body.len() + 8);
    let mut filler = vec![0; fill];
    blake3::Hasher::new().update(&number.to_be_bytes()).finalize_xof().fill(&mut filler);
    body.put_slice(&filler);
    let hash = blake3::hash(&body);
    body.put_slice(&hash.as_bytes()[..8]);
    body.freeze()
}

/// The number of a tag of the source, if its body arrived unharmed. `None` for sequence headers too.
pub fn number_of(tag: &Tag) -> Option<u32> {
    let head = match tag.kind {
        TagKind::Audio => 2,
        TagKind::Video => 5,
        TagKind::Script => return None,
    };
    let (content, hash) = tag.body.split_last_chunk::<8>()?;
    (blake3::hash(content).as_bytes()[..8] == hash[..]).then_some(())?;
    Some(u32::from_be_bytes(content.get(head..head + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_source_keeps_its_bitrate_and_its_tags_can_be_checked() {
        let config = MediaConfig::default();
        let mut media = Media::new(config);
        let mut bytes = 0;
        let mut tags = Vec::new();
        while media.next_time() < 10_000 {
            tags.extend(media.next_tags());
        }
        for tag in &tags {
            if tag.kind == TagKind::Video {
                bytes += tag.body.len();
            }
        }
        let rate = bytes * 8 / 10;
        assert!(rate.abs_diff(config.bitrate as usize) < config.bitrate as usize / 20, "{rate}");
        assert_eq!(tags.iter().filter(|t| t.is_keyframe()).count(), 5);
        assert!(tags.iter().skip(2).all(|t| number_of(t).is_some()));
        let mut broken = tags[2].clone();
        let mut body = BytesMut::from(&broken.body[..]);
        body[20] ^= 1;
        broken.body = body.freeze();
        assert_eq!(number_of(&broken), None);
    }
}
