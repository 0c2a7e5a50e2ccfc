//! What a camera has recorded, as its driver asks for it. All calls may block: they run where that is allowed.

use std::io;

use bytes::Bytes;
use xp2p_proto::flv::Tag;

/// A tag of a recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// When it was recorded: unix time in milliseconds.
    pub at: u64,
    /// The tag; its timestamp means nothing here.
    pub tag: Tag,
}

/// A time in which something is recorded without a break.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The device's own kind of recording; 0 for all that we make.
    pub kind: i64,
    /// Unix time in milliseconds.
    pub start: u64,
    /// Unix time in milliseconds, the first that is not recorded.
    pub end: u64,
}

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A recording.
    Video,
    /// A picture.
    Picture,
}

/// A file that viewers may download.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileInfo {
    /// What it is.
    pub kind: FileKind,
    /// Name to download it by.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// Unix seconds.
    pub start: u64,
    /// Unix seconds.
    pub end: u64,
    /// Whatever the device adds.
    pub extra: String,
}

/// Recordings and files of a camera.
pub trait Storage: Send + Sync + std::fmt::Debug + 'static {
    /// What is recorded from `from` to `to` (unix ms), in order.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    fn spans(&self, channel: u32, from: u64, to: u64) -> io::Result<Vec<Span>>;

    /// Files of that time.
    ///
    /// # Errors
    ///
    /// They cannot be read.
    fn files(&self, channel: u32, from: u64, to: u64, kind: FileKind) -> io::Result<Vec<FileInfo>>;

    /// Opens the recording of that time; `None` if there is none.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    fn open_playback(&self, channel: u32, from: u64, to: u64) -> io::Result<Option<Box<dyn RecordReader>>>;

    /// Opens a file by its listed name; `None` if there is none of that name.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    fn open_file(&self, channel: u32, name: &str) -> io::Result<Option<Box<dyn FileReader>>>;
}

/// Reads a recording.
pub trait RecordReader: Send {
    /// Goes to the keyframe at or before `at` (unix ms). What is read next begins with the sequence headers that hold
    /// there.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    fn seek(&mut self, at: u64) -> io::Result<()>;

    /// The next piece, about a second of it; empty at the end. With `keys_only` all but keyframes and sequence headers
    /// may be left out.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    fn read(&mut self, keys_only: bool) -> io::Result<Vec<Recorded>>;
}

/// Reads a file.
pub trait FileReader: Send {
    /// Bytes of it.
    fn size(&self) -> u64;

    /// Changes when the content does: visible ASCII without quotes, 1 to 128 bytes.
    fn version(&self) -> String;

    /// Exactly `len` bytes from `offset` on.
    ///
    /// # Errors
    ///
    /// They cannot be read, or the file has become shorter.
    fn read_at(&mut self, offset: u64, len: usize) -> io::Result<Bytes>;
}
