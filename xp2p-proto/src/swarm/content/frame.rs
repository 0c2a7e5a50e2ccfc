//! Frames and the configuration that they need: what is left of a stream when all that differs between its viewers is gone.

use bytes::Bytes;

use crate::flv::{AudioCodec, AudioPacket, FileHeader, Tag, TagKind, VideoCodec, VideoPacket};

/// Longest body of a frame, in bytes: that of the demuxer's default.
pub const MAX_FRAME: usize = 4 << 20;
/// Longest sequence header, in bytes. They are a few hundred bytes.
pub const MAX_CONFIG: usize = 64 << 10;

/// A track. Of two frames of the same time the video frame comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Track {
    /// Pictures.
    Video,
    /// Sound.
    Audio,
}

impl Track {
    /// The kind of its tags.
    pub const fn kind(self) -> TagKind {
        match self {
            Self::Video => TagKind::Video,
            Self::Audio => TagKind::Audio,
        }
    }

    /// The other one.
    pub const fn other(self) -> Self {
        match self {
            Self::Video => Self::Audio,
            Self::Audio => Self::Video,
        }
    }
}

/// What decoders need before the first frame.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamConfig {
    /// Whether there are pictures, and whether there is sound.
    pub tracks: FileHeader,
    /// Body of the video sequence header; `None` for codecs without.
    pub video: Option<Bytes>,
    /// Body of the audio sequence header; `None` for codecs without.
    pub audio: Option<Bytes>,
}

/// A picture or a portion of sound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its track.
    pub track: Track,
    /// Whether playing can begin with it: a video keyframe.
    pub key: bool,
    /// Its decoding time in ms, counted as its source says. Can be a little below 0 where another track began later.
    pub time: i64,
    /// Body of its tag.
    pub body: Bytes,
}

impl Frame {
    /// A frame of this body.
    pub fn new(track: Track, time: i64, body: Bytes) -> Self {
        let tag = Tag { kind: track.kind(), timestamp: 0, body };
        let key = track == Track::Video && tag.is_keyframe();
        Self { track, key, time, body: tag.body }
    }
}

/// What a tag is to a shared stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// A sequence header.
    Config(Track),
    /// Something to show. `needs_config`: not without a sequence header.
    Frame { track: Track, needs_config: bool },
    /// Metadata, an end mark, a track that players do not show.
    Aside,
    /// Its head cannot be read.
    Damaged,
}

/// Tells what `tag` is.
pub(super) fn role(tag: &Tag) -> Role {
    match tag.kind {
        TagKind::Script => Role::Aside,
        TagKind::Video => {
            let Ok(head) = tag.video_head() else { return Role::Damaged };
            if head.track.is_some_and(|t| t.id != 0) {
                return Role::Aside;
            }
            match head.packet {
                VideoPacket::SequenceStart | VideoPacket::Mpeg2TsSequenceStart => Role::Config(Track::Video),
                VideoPacket::SequenceEnd | VideoPacket::Command => Role::Aside,
                VideoPacket::CodedFrames | VideoPacket::Metadata | VideoPacket::Other(_) => Role::Frame {
                    track: Track::Video,
                    needs_config: matches!(head.codec, VideoCodec::Avc | VideoCodec::Hevc | VideoCodec::Vvc),
                },
            }
        }
        TagKind::Audio => {
            let Ok(head) = tag.audio_head() else { return Role::Damaged };
            if head.track.is_some_and(|t| t.id != 0) {
                return Role::Aside;
            }
            match head.packet {
                AudioPacket::SequenceStart => Role::Config(Track::Audio),
                AudioPacket::SequenceEnd => Role::Aside,
                AudioPacket::CodedFrames | AudioPacket::MultichannelConfig | AudioPacket::Other(_) => {
                    Role::Frame {
                        track: Track::Audio,
                        needs_config: matches!(head.codec, AudioCodec::Aac | AudioCodec::Flac),
                    }
                }
            }
        }
    }
}
