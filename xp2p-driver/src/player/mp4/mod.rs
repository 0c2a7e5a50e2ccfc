//! A stream as fragmented MP4, for Media Source Extensions of browsers and for players.
//!
//! H.264, H.265 and AAC go as they are, in the tags' own bytes; G.711 and linear PCM become FLAC. The rest is left out,
//! with a [notice](notice::Notice). Boxes are those of the library `mp4-atom`.
//!
//! Sources: ISO/IEC 14496-12 (boxes), 14496-14 and 14496-15 (AAC, H.264 and H.265 in them), "Encapsulation of FLAC in
//! ISO Base Media File Format", RFC 6381 (codecs parameter), W3C "Media Source Extensions" and its byte stream format
//! for ISO BMFF.

mod aac;
mod audio;
mod body;
mod clock;
mod flac;
mod fragment;
mod init;
mod muxer;
mod notice;
mod shape;
mod sounds;
mod start;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod video;

pub(super) use self::body::Mp4Body;
pub(super) use self::start::{Mp4Start, NoMp4, begin};
