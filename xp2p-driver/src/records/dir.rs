//! A directory of recordings as a storage.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::cache::Cache;
use super::listing::{self, Entry, channel_dir, plain_file};
use super::playback::Playback;
use super::whole::Whole;
use super::{FileInfo, FileKind, FileReader, JOIN_MS, MAX_LISTED, RecordReader, Span, Storage, name};

/// Kind of all recordings in a directory: its files do not tell what made the camera record.
const KIND: i64 = 0;

/// A directory of recordings and pictures; [`Recorder`](super::Recorder) may write to it at the same time.
#[derive(Debug)]
pub struct RecordsDir {
    shared: Arc<Shared>,
}

/// What readers share with the directory they came from.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) root: PathBuf,
    pub(super) cache: Cache,
}

impl Shared {
    /// The recordings of a channel with anything in `from..to`, sorted by start, with their sizes and the times of
    /// their last frames.
    fn overlapping(
        &self,
        channel: u32,
        from: u64,
        to: u64,
    ) -> io::Result<impl Iterator<Item = io::Result<(Entry, u64, u64)>>> {
        // In no time at all there is nothing, although a file may begin before it and end after it.
        let entries =
            if from < to { listing::list(&self.root, channel, FileKind::Video)? } else { Vec::new() }
                .into_iter();
        Ok(entries.take_while(move |e| e.start < to).filter_map(move |entry| {
            match self.cache.length(&entry.path) {
                Ok(Some((size, length))) => {
                    let end = entry.start.saturating_add(length);
                    (end >= from).then_some(Ok((entry, size, end)))
                }
                Ok(None) => None,
                Err(error) => Some(Err(error)),
            }
        }))
    }
}

impl RecordsDir {
    /// Opens a directory.
    ///
    /// # Errors
    ///
    /// When it does not exist, is no directory, or cannot be read.
    pub fn open(path: &Path) -> io::Result<Self> {
        let told = |error: io::Error| {
            let text = format!("the directory of recordings {} cannot be opened: {error}", path.display());
            io::Error::new(error.kind(), text)
        };
        let root = path.canonicalize().map_err(told)?;
        // Tells now, and not when the first viewer asks.
        std::fs::read_dir(&root).map_err(told)?;
        Ok(Self { shared: Arc::new(Shared { root, cache: Cache::default() }) })
    }

    fn pictures(&self, channel: u32, from: u64, to: u64) -> io::Result<Vec<FileInfo>> {
        let mut infos = Vec::new();
        for entry in listing::list(&self.shared.root, channel, FileKind::Picture)? {
            if entry.start < from || entry.start >= to {
                continue;
            }
            if infos.len() == MAX_LISTED {
                break;
            }
            let Some(metadata) = plain_file(&entry.path)? else { continue };
            infos.push(info(FileKind::Picture, entry, metadata.len(), None));
        }
        Ok(infos)
    }
}

/// `end`: time of the last frame in Unix milliseconds.
fn info(kind: FileKind, entry: Entry, size: u64, end: Option<u64>) -> FileInfo {
    let start = entry.start / 1000;
    let end = end.map_or(start, |end| end.div_ceil(1000));
    FileInfo { kind, name: entry.name, size, start, end, extra: String::new() }
}

impl Storage for RecordsDir {
    fn spans(&self, channel: u32, from: u64, to: u64) -> io::Result<Vec<Span>> {
        let mut spans: Vec<Span> = Vec::new();
        for found in self.shared.overlapping(channel, from, to)? {
            let (entry, _, end) = found?;
            let full = spans.len() == MAX_LISTED;
            match spans.last_mut() {
                Some(last) if entry.start <= last.end.saturating_add(JOIN_MS) => last.end = last.end.max(end),
                _ if full => break,
                _ => spans.push(Span { kind: KIND, start: entry.start, end }),
            }
        }
        Ok(spans)
    }

    fn files(&self, channel: u32, from: u64, to: u64, kind: FileKind) -> io::Result<Vec<FileInfo>> {
        match kind {
            FileKind::Picture => self.pictures(channel, from, to),
            FileKind::Video => {
                let found = self.shared.overlapping(channel, from, to)?.take(MAX_LISTED);
                found
                    .map(|found| found.map(|(entry, size, end)| info(kind, entry, size, Some(end))))
                    .collect()
            }
        }
    }

    fn open_playback(
        &self,
        channel: u32,
        from: u64,
        to: u64,
        kind: Option<i64>,
    ) -> io::Result<Option<Box<dyn RecordReader>>> {
        if kind.is_some_and(|kind| kind != KIND) {
            return Ok(None);
        }
        if self.shared.overlapping(channel, from, to)?.next().transpose()?.is_none() {
            return Ok(None);
        }
        let mut playback = Playback::new(self.shared.clone(), channel, from, to);
        playback.seek(from)?;
        Ok(Some(Box::new(playback)))
    }

    fn open_file(&self, channel: u32, name: &str) -> io::Result<Option<Box<dyn FileReader>>> {
        if name::parse(name).is_none() {
            return Ok(None);
        }
        let dir = channel_dir(&self.shared.root, channel);
        let real = listing::present(std::fs::symlink_metadata(&dir))?.is_some_and(|found| found.is_dir());
        if !real {
            return Ok(None);
        }
        Ok(Whole::open(&dir.join(name))?.map(|whole| Box::new(whole) as Box<dyn FileReader>))
    }
}
