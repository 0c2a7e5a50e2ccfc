//! FLV: the media format of the project, from the file of a camera to the tags inside QUIC streams.
//!
//! * [`Demuxer`] reads a file or an HTTP-FLV stream, [`Muxer`] writes one.
//! * [`TagReader`] reads the form that our own streams carry: tags back to back, nothing between them.
//! * [`VideoHead`] and [`AudioHead`] tell codec, kind and time of a tag's body, in the classic and in the enhanced
//!   form.
//! * [`Config`] and [`GopCache`] hold what a viewer who joins late needs to see a picture at once.
//! * [`FrameMuxer`] makes tags of the raw frames of an encoder (H.264, H.265, AAC, G.711).
//! * [`Timeline`] makes timestamps start near 0 and go forward only.
//!
//! Media moves as [`bytes::Bytes`]: a tag is a slice of the input wherever it can be, and clones share it.
//!
//! Sources: "Adobe Flash Video File Format Specification" version 10.1, Annex E, and "Enhanced RTMP" version 2.
//!
//! ```
//! use bytes::Bytes;
//! use xp2p_proto::flv::{Demuxer, FileHeader, Item, Limits, Muxer, Tag, TagKind};
//!
//! let tag = Tag { kind: TagKind::Audio, timestamp: 20, body: Bytes::from_static(&[0x7e, 1, 2, 3]) };
//! let mut muxer = Muxer::new();
//! let mut demuxer = Demuxer::new(Limits::default());
//! demuxer.push(muxer.header(FileHeader { has_audio: true, has_video: false }))?;
//! for part in muxer.tag(&tag) {
//!     demuxer.push(part)?;
//! }
//! assert!(matches!(demuxer.poll()?, Some(Item::Header(FileHeader { has_audio: true, has_video: false }))));
//! assert_eq!(demuxer.poll()?, Some(Item::Tag(tag)));
//! assert_eq!(demuxer.poll()?, None);
//! demuxer.finish()?;
//! # Ok::<(), xp2p_proto::flv::FlvError>(())
//! ```

mod audio;
mod demux;
mod ex;
mod frames;
mod gop;
mod mux;
mod queue;
mod reader;
mod tag;
#[cfg(test)]
mod testing;
mod timeline;
mod video;

pub use audio::{AudioCodec, AudioHead, AudioPacket};
pub use demux::{Demuxer, FlvError, Item, Limits, MAX_DATA_OFFSET};
pub use ex::{HeadError, MAX_MODEX, TrackId};
pub use frames::{
    AAC_RATES, Frame, FrameError, FrameKind, FrameLimits, FrameMuxer, G711Law, MAX_AUDIO_CONFIG,
    MAX_AUDIO_FRAME, MAX_NALS, MAX_PARAMETER_SET, MAX_SETS, MAX_VIDEO_FRAME, SetKind, VideoKind,
    picture_size,
};
pub use gop::{Config, GopCache, GopLimits};
pub use mux::Muxer;
pub use reader::TagReader;
pub use tag::{FileHeader, MAX_BODY, TAG_HEADER_LEN, Tag, TagKind};
pub use timeline::{Timeline, TimelineConfig};
pub use video::{FrameType, VideoCodec, VideoHead, VideoPacket};
