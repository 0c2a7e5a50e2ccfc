//! A file as bytes.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use bytes::Bytes;

use super::cache::Stamp;
use super::listing::{plain_file, present};
use super::{FileReader, MAX_READ};

/// A file of the directory, as it was when it was opened.
#[derive(Debug)]
pub(super) struct Whole {
    file: File,
    stamp: Stamp,
}

impl Whole {
    /// Opens a plain file; `None` if there is none. The path must have been put together from a checked name.
    pub(super) fn open(path: &Path) -> io::Result<Option<Self>> {
        // Looked at first, since opening a pipe would wait for its other end.
        let Some(seen) = plain_file(path)? else { return Ok(None) };
        let Some(file) = present(File::open(path))? else { return Ok(None) };
        let metadata = file.metadata()?;
        if !is_same(&seen, &metadata) {
            return Ok(None); // exchanged for something else in between
        }
        Ok(Some(Self { file, stamp: Stamp::of(&metadata) }))
    }
}

#[cfg(unix)]
fn is_same(a: &std::fs::Metadata, b: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    a.dev() == b.dev() && a.ino() == b.ino()
}

#[cfg(not(unix))]
fn is_same(_: &std::fs::Metadata, b: &std::fs::Metadata) -> bool {
    b.is_file()
}

impl FileReader for Whole {
    fn size(&self) -> u64 {
        self.stamp.size
    }

    fn version(&self) -> String {
        self.stamp.version()
    }

    fn read_at(&mut self, offset: u64, len: usize) -> io::Result<Bytes> {
        let left = usize::try_from(self.stamp.size.saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; len.min(left).min(MAX_READ)];
        if !bytes.is_empty() {
            self.file.seek(SeekFrom::Start(offset))?;
            self.file.read_exact(&mut bytes)?;
        }
        Ok(bytes.into())
    }
}
