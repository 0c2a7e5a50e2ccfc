//! Recordings of a camera: what is kept, for how long, and how it is found and read again.
//!
//! * [`Recorder`] writes a live stream into FLV files of about a minute and deletes the oldest when space runs out.
//! * [`RecordsDir`] lists, plays and hands out what is in such a directory. Files that were put there by hand count
//!   too, if their names tell when they began.
//! * [`Storage`], [`RecordReader`] and [`FileReader`] are what the rest of the program sees, so that recordings may
//!   come from elsewhere.
//!
//! A directory holds `2026-11-24T02-04-30.123Z.flv` and the like for channel 0 and the same below `ch1`, `ch2` and so
//! on for the other channels. The name is the UTC time of the first frame; milliseconds may be left out. Pictures
//! have such names too, with the ending `.jpg`, `.jpeg` or `.png`. All else is ignored, symbolic links are not
//! followed.
//!
//! All of this blocks; call it where blocking is allowed.

use std::io;

use bytes::Bytes;
use xp2p_proto::flv::{Tag, TagKind};

mod cache;
mod dir;
mod index;
mod listing;
mod name;
mod playback;
mod recorder;
mod tags;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod whole;

pub use dir::RecordsDir;
pub use recorder::{Recorder, RecorderConfig};

/// The most pieces or files that one call of [`Storage::spans`] or [`Storage::files`] lists.
pub const MAX_LISTED: usize = 4096;

/// The most bytes that one call of [`FileReader::read_at`] gives.
pub const MAX_READ: usize = 4 << 20;

/// A piece given by [`RecordReader::read`] ends when it has so many bytes. Only a single larger tag makes it longer.
pub const PIECE_BYTES: usize = 256 << 10;

/// A piece given by [`RecordReader::read`] ends before the tag that is so many milliseconds after its first.
pub const PIECE_MS: u64 = 1000;

/// Pieces that follow each other within so many milliseconds are one for [`Storage::spans`].
pub const JOIN_MS: u64 = 1000;

/// A tag of a recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// When it was recorded, in Unix milliseconds.
    pub at: u64,
    /// The tag. Its timestamp is that of the file it came from and starts anew in the next one; `at` goes on.
    pub tag: Tag,
}

/// A stretch of time that was recorded without a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// What made the camera record. 0: it records all the time.
    pub kind: i64,
    /// Time of the first frame, in Unix milliseconds.
    pub start: u64,
    /// Time of the last frame, in Unix milliseconds. Not before `start`.
    pub end: u64,
}

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileKind {
    /// A recording, FLV.
    Video,
    /// A single picture, JPEG or PNG.
    Picture,
}

/// A file that can be fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileInfo {
    /// What it is.
    pub kind: FileKind,
    /// Its name for [`Storage::open_file`]; has no path in it.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// When it begins, in Unix seconds, rounded down.
    pub start: u64,
    /// When it ends, in Unix seconds, rounded up. That of a picture is its `start`.
    pub end: u64,
    /// What else the storage wants to tell. [`RecordsDir`] leaves it empty.
    pub extra: String,
}

/// Where recordings come from. All calls block.
pub trait Storage: Send + Sync + std::fmt::Debug + 'static {
    /// What was recorded from `from` up to before `to` (Unix milliseconds), sorted, pieces less than [`JOIN_MS`]
    /// apart joined. A piece is listed whole if any part of it lies in that time. At most the first [`MAX_LISTED`];
    /// who needs more asks again from the end of the last one.
    ///
    /// # Errors
    ///
    /// When the storage cannot be read. That nothing was recorded is no error.
    fn spans(&self, channel: u32, from: u64, to: u64) -> io::Result<Vec<Span>>;

    /// The files with anything from `from` up to before `to` (Unix milliseconds), sorted by start. At most the first
    /// [`MAX_LISTED`].
    ///
    /// # Errors
    ///
    /// When the storage cannot be read.
    fn files(&self, channel: u32, from: u64, to: u64, kind: FileKind) -> io::Result<Vec<FileInfo>>;

    /// Opens what was recorded from `from` up to before `to` (Unix milliseconds), positioned as by
    /// [`RecordReader::seek`] to `from`. With `kind` only recordings of this [`Span::kind`]. `None` if nothing of it was
    /// recorded in that time.
    ///
    /// # Errors
    ///
    /// When the storage cannot be read.
    fn open_playback(
        &self,
        channel: u32,
        from: u64,
        to: u64,
        kind: Option<i64>,
    ) -> io::Result<Option<Box<dyn RecordReader>>>;

    /// Opens a file by its name from [`files`](Self::files). `None` if there is no such file, whatever the name.
    ///
    /// # Errors
    ///
    /// When the storage cannot be read.
    fn open_file(&self, channel: u32, name: &str) -> io::Result<Option<Box<dyn FileReader>>>;
}

/// Reads a stretch of time as tags, across files.
pub trait RecordReader: Send {
    /// Goes to the keyframe at or before `at` (Unix milliseconds) in the file that covers it, or to the first one
    /// after if there is none or nothing covers it. The next read begins with the metadata and sequence headers
    /// valid there, with `at` and timestamp of that keyframe, then the keyframe. In a file without pictures any sound
    /// serves.
    ///
    /// Times before the range are moved to its start; from its end on the next read is empty.
    ///
    /// # Errors
    ///
    /// When the storage cannot be read.
    fn seek(&mut self, at: u64) -> io::Result<()>;

    /// The next tags: up to [`PIECE_BYTES`] or [`PIECE_MS`], whichever is reached first. Goes on in the next file by
    /// itself, where headers come again. Empty at the end of the range; if that lies in the future, a later call may
    /// give what was recorded since.
    ///
    /// With `keys_only` nothing but metadata, sequence headers and keyframes. Changing back to all tags goes on
    /// behind the keyframe given last, so that decoding never misses a reference.
    ///
    /// # Errors
    ///
    /// When the storage cannot be read.
    fn read(&mut self, keys_only: bool) -> io::Result<Vec<Recorded>>;
}

/// Reads a file as bytes.
pub trait FileReader: Send {
    /// Bytes of the file when it was opened. A file that is being written grows, but not for this reader.
    fn size(&self) -> u64;

    /// Changes when the content of the file does.
    fn version(&self) -> String;

    /// `len` bytes from `offset`, at most [`MAX_READ`]; fewer only if [`size`](Self::size) ends before that.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, or was cut shorter since it was opened.
    fn read_at(&mut self, offset: u64, len: usize) -> io::Result<Bytes>;
}

/// Whether this is picture or sound, and not what configures a decoder.
fn is_frame(tag: &Tag) -> bool {
    tag.kind != TagKind::Script && !tag.is_sequence_header()
}

/// Whether decoding the main picture can start here. Keyframes of side tracks do not count.
fn is_main_key(tag: &Tag) -> bool {
    tag.is_keyframe() && tag.video_head().is_ok_and(|head| head.track.is_none_or(|track| track.id == 0))
}
