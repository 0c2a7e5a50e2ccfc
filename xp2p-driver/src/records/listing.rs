//! Which recordings a directory holds.

use std::collections::BTreeSet;
use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};

use super::{FileKind, name};

/// The most files of a channel that are looked at; of more, the newest.
pub(super) const MAX_ENTRIES: usize = 1 << 18;

/// The most channels whose files are counted together.
const MAX_CHANNELS: usize = 256;

/// A recording or picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// When it begins, in Unix milliseconds.
    pub(super) start: u64,
    pub(super) name: String,
    pub(super) path: PathBuf,
}

impl Entry {
    /// What orders the files of a channel.
    pub(super) fn key(&self) -> (u64, &str) {
        (self.start, &self.name)
    }
}

/// The directory of a channel below `root`.
pub(super) fn channel_dir(root: &Path, channel: u32) -> PathBuf {
    match channel {
        0 => root.to_owned(),
        n => root.join(format!("ch{n}")),
    }
}

/// The recordings or pictures of a channel, sorted by start.
pub(super) fn list(root: &Path, channel: u32, kind: FileKind) -> io::Result<Vec<Entry>> {
    let dir = channel_dir(root, channel);
    if channel != 0 && !present(std::fs::symlink_metadata(&dir))?.is_some_and(|found| found.is_dir()) {
        return Ok(Vec::new());
    }
    let mut found = BTreeSet::new();
    for item in std::fs::read_dir(&dir)? {
        let item = item?;
        let Ok(name) = item.file_name().into_string() else { continue };
        let Some((found_kind, start)) = name::parse(&name) else { continue };
        // Not through symbolic links: `file_type` tells what the entry itself is.
        if found_kind != kind || !item.file_type()?.is_file() {
            continue;
        }
        found.insert((start, name));
        if found.len() > MAX_ENTRIES {
            found.pop_first();
        }
    }
    let entry = |(start, name): (u64, String)| Entry { start, path: dir.join(&name), name };
    Ok(found.into_iter().map(entry).collect())
}

/// Channels that have a directory below `root`, 0 first.
pub(super) fn channels(root: &Path) -> io::Result<Vec<u32>> {
    let mut found = vec![0];
    for item in std::fs::read_dir(root)? {
        let item = item?;
        let name = item.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("ch")).and_then(|n| n.parse().ok());
        // `ch01` and `ch+1` are not what `channel_dir` writes.
        let Some(channel) = number.filter(|n| *n != 0 && *name == *format!("ch{n}")) else { continue };
        if item.file_type()?.is_dir() && found.len() < MAX_CHANNELS {
            found.push(channel);
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// What a path itself is, if it is a plain file; `None` if it is not or does not exist.
pub(super) fn plain_file(path: &Path) -> io::Result<Option<Metadata>> {
    Ok(present(std::fs::symlink_metadata(path))?.filter(Metadata::is_file))
}

/// `None` for what does not exist: files may be deleted at any time.
pub(super) fn present<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
