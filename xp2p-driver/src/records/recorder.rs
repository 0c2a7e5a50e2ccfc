//! Writes a live stream to files.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use xp2p_proto::flv::{Config, FileHeader, Muxer, Tag, TagKind, Timeline, TimelineConfig};

use super::listing::{self, Entry, channel_dir, plain_file};
use super::name::video_name;
use super::{FileKind, is_frame, is_main_key};

/// Bytes gathered before they are written. Written at each keyframe too.
const WRITE_BUFFER: usize = 256 << 10;

/// A file whose times are off the clock by more than so many milliseconds ends at the next keyframe: the clock was
/// set, or the stream had a gap.
const MAX_DRIFT: u64 = 2000;

/// A file that has so many bytes is ended, whether there is a keyframe or not.
const MAX_FILE_BYTES: u64 = 1 << 30;

/// A file of so many milliseconds is ended, whether there is a keyframe or not.
const MAX_FILE_MS: u64 = 3_600_000;

/// When a name is taken, that of the next millisecond is tried, so many times.
const MAX_TRIES: u64 = 1000;

/// How a [`Recorder`] uses its directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecorderConfig {
    /// Bytes of all recordings in the directory, those of other channels included. When a file begins, the oldest ones
    /// are deleted until there are fewer; the file itself may go beyond that. 4 GiB by default.
    pub cap: u64,
    /// A file ends at the first keyframe after this time. 60 s by default. With files of a minute, little is lost
    /// when one is damaged or deleted, and there are not too many.
    pub segment: Duration,
}

impl Default for RecorderConfig {
    fn default() -> Self {
        Self { cap: 4 << 30, segment: Duration::from_secs(60) }
    }
}

/// Writes the stream of one channel to a directory, see the [module](super).
///
/// Each file can be played by itself: it begins with metadata and sequence headers at time 0, then a keyframe. A
/// stream that had no picture for a whole segment is recorded as sound, up to the next keyframe. Of one directory only
/// one recorder may write a channel.
#[derive(Debug)]
pub struct Recorder {
    root: PathBuf,
    channel: u32,
    config: RecorderConfig,
    /// Headers of the stream as known so far.
    stream: Config,
    /// Time of the last picture, or of the first tag.
    without_picture_since: Option<u64>,
    writing: Option<Writing>,
}

impl Recorder {
    /// A recorder for a channel; writes nothing before the first keyframe. The directory is created then if it does
    /// not exist.
    pub fn new(dir: &Path, channel: u32, config: RecorderConfig) -> Self {
        let root = dir.to_owned();
        let stream = Config::default();
        Self { root, channel, config, stream, without_picture_since: None, writing: None }
    }

    /// Takes in the next tag of the stream, which came at `at` (Unix milliseconds).
    ///
    /// # Errors
    ///
    /// When it cannot be written, for example because the disk is full. The file is left as it is then; the next
    /// keyframe begins another one.
    pub fn push(&mut self, at: u64, tag: &Tag) -> io::Result<()> {
        self.stream.update(tag);
        // A clock that was set back must not make us wait until it is where it was.
        let since = self.without_picture_since.map_or(at, |since| since.min(at));
        let without_picture = Duration::from_millis(at - since); // `since` is at most `at`
        self.without_picture_since = Some(since);
        if is_frame(tag) {
            if tag.kind == TagKind::Video {
                self.without_picture_since = Some(at);
            }
            let starts =
                is_main_key(tag) || (tag.kind == TagKind::Audio && without_picture >= self.config.segment);
            let ends = self.writing.as_ref().is_some_and(|writing| {
                writing.is_too_long() || (starts && writing.ends_at(at, tag, self.config.segment))
            });
            if ends {
                self.finish()?;
            }
            if starts && self.writing.is_none() {
                self.begin(at)?;
            }
        }
        let Some(mut writing) = self.writing.take() else { return Ok(()) };
        // Pictures that refer to one that is not there are of no use.
        if writing.has_picture || !is_frame(tag) || tag.kind != TagKind::Video || is_main_key(tag) {
            writing.write(tag)?; // given up on error
        }
        self.writing = Some(writing);
        Ok(())
    }

    /// Ends the file. Pushing more begins another one at the next keyframe.
    ///
    /// # Errors
    ///
    /// When the last of it cannot be written.
    pub fn finish(&mut self) -> io::Result<()> {
        self.writing.take().map_or(Ok(()), Writing::finish)
    }

    fn begin(&mut self, at: u64) -> io::Result<()> {
        let dir = channel_dir(&self.root, self.channel);
        std::fs::create_dir_all(&dir)?;
        self.make_room()?;
        let mut start = at;
        let (file, path) = loop {
            let path = dir.join(video_name(start)?);
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && start < at + MAX_TRIES => {
                    start += 1
                }
                other => break (other?, path),
            }
        };
        self.writing = Some(Writing::at(&path, file, start, &self.stream)?);
        Ok(())
    }

    /// Deletes the oldest recordings until there are fewer bytes than allowed.
    fn make_room(&self) -> io::Result<()> {
        let (mut files, mut total) = (Vec::new(), 0_u64);
        for channel in listing::channels(&self.root)? {
            let mut entries = listing::list(&self.root, channel, FileKind::Video)?;
            // Another recorder may be writing the newest of its channel: it stays, but takes room.
            if let Some(newest) = entries.pop_if(|_| channel != self.channel) {
                total = total.saturating_add(size(&newest)?);
            }
            files.append(&mut entries);
        }
        files.sort_by_key(|entry| entry.start);
        let mut sizes = Vec::with_capacity(files.len());
        for entry in &files {
            let size = size(entry)?;
            sizes.push(size);
            total = total.saturating_add(size);
        }
        for (entry, size) in files.iter().zip(sizes) {
            if total < self.config.cap {
                break;
            }
            listing::present(std::fs::remove_file(&entry.path))?;
            tracing::debug!(file = %entry.path.display(), "deleted the oldest recording to make room");
            total = total.saturating_sub(size);
        }
        Ok(())
    }
}

fn size(entry: &Entry) -> io::Result<u64> {
    Ok(plain_file(&entry.path)?.map_or(0, |found| found.len()))
}

impl Drop for Recorder {
    fn drop(&mut self) {
        if let Err(error) = self.finish() {
            tracing::warn!("the end of the recording could not be written: {error}");
        }
    }
}

/// A file that is being written.
#[derive(Debug)]
struct Writing {
    out: BufWriter<File>,
    muxer: Muxer,
    timeline: Timeline,
    /// In Unix milliseconds.
    start: u64,
    /// Time of the last tag in milliseconds since `start`.
    elapsed: u64,
    bytes: u64,
    /// What the file header says.
    promised: FileHeader,
    /// What is in the file.
    found: FileHeader,
    has_picture: bool,
}

impl Writing {
    /// Begins the file of that path; removes it on error, since a full disk would gather an empty one per keyframe.
    fn at(path: &Path, file: File, start: u64, stream: &Config) -> io::Result<Self> {
        Self::new(file, start, stream).inspect_err(|_| {
            if let Err(error) = std::fs::remove_file(path) {
                tracing::debug!(file = %path.display(), "cannot be removed: {error}");
            }
        })
    }

    fn new(file: File, start: u64, stream: &Config) -> io::Result<Self> {
        let mut this = Self {
            out: BufWriter::with_capacity(WRITE_BUFFER, file),
            muxer: Muxer::new(),
            timeline: Timeline::new(TimelineConfig::default()),
            start,
            elapsed: 0,
            bytes: 0,
            promised: stream.header,
            found: FileHeader::default(),
            has_picture: false,
        };
        let header = this.muxer.header(stream.header);
        this.out.write_all(&header)?;
        for tag in stream.tags() {
            this.put(&Tag { timestamp: 0, ..tag.clone() })?;
        }
        // So that those who follow the recording see at once what this file is; sound alone fills the buffer slowly.
        this.out.flush()?;
        Ok(this)
    }

    fn is_too_long(&self) -> bool {
        self.bytes >= MAX_FILE_BYTES || self.elapsed >= MAX_FILE_MS
    }

    /// Whether a tag that could begin a file should.
    fn ends_at(&self, at: u64, tag: &Tag, segment: Duration) -> bool {
        let here = self.start.saturating_add(self.timeline.clone().position(tag));
        let upgrade = tag.kind == TagKind::Video && !self.has_picture;
        upgrade
            || Duration::from_millis(at.saturating_sub(self.start)) >= segment
            || at.abs_diff(here) > MAX_DRIFT
    }

    fn write(&mut self, tag: &Tag) -> io::Result<()> {
        self.elapsed = self.timeline.position(tag);
        let key = is_main_key(tag);
        self.has_picture |= key;
        // Below 2^32: `is_too_long` ends the file at an hour, and the timeline makes steps of seconds.
        self.put(&Tag { timestamp: self.elapsed as u32, ..tag.clone() })?;
        if key {
            // So that others see whole groups of pictures, and a crash costs little.
            self.out.flush()?;
        }
        Ok(())
    }

    fn put(&mut self, tag: &Tag) -> io::Result<()> {
        match tag.kind {
            TagKind::Audio => self.found.has_audio = true,
            TagKind::Video => self.found.has_video = true,
            TagKind::Script => {}
        }
        for part in self.muxer.tag(tag) {
            self.out.write_all(&part)?;
        }
        self.bytes += tag.wire_len() as u64 + 4;
        Ok(())
    }

    fn finish(mut self) -> io::Result<()> {
        if self.found != self.promised {
            // Players wait for tracks that are promised, and some ignore others.
            self.out.seek(SeekFrom::Start(0))?;
            let header = self.muxer.header(self.found);
            self.out.write_all(&header)?;
        }
        self.out.flush()
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::records::testing::{TempDir, inter, key};

    #[test]
    fn a_full_disk_is_an_error_and_the_next_keyframe_begins_another_file() {
        let dir = TempDir::new();
        let mut recorder = Recorder::new(dir.path(), 0, RecorderConfig::default());
        recorder.push(1_000, &key(0)).unwrap();
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        recorder.writing.as_mut().unwrap().out = BufWriter::new(full);
        let error = recorder.push(2_000, &key(1_000)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        recorder.push(2_040, &inter(1_040)).unwrap(); // of no use without the keyframe
        recorder.push(3_000, &key(2_000)).unwrap();
        recorder.finish().unwrap();
        let starts: Vec<u64> =
            listing::list(dir.path(), 0, FileKind::Video).unwrap().iter().map(|e| e.start).collect();
        assert_eq!(starts, [1_000, 3_000]);
    }

    #[test]
    fn a_file_that_cannot_be_begun_is_not_left_behind_empty() {
        let dir = TempDir::new();
        let path = dir.path().join("file");
        std::fs::write(&path, b"").unwrap();
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        Writing::at(&path, full, 0, &Config::default()).unwrap_err();
        assert!(!path.exists());
    }
}
