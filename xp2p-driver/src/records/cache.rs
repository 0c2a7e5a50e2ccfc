//! What was found out about files, so that it is found out once.

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use super::index::{Index, elapsed};
use super::listing::{plain_file, present};
use super::tags::TagFile;

/// The most files whose length in time is remembered. About 200 bytes each.
const MAX_LENGTHS: usize = 1 << 16;

/// The most files whose keyframes are remembered. Up to 200 KiB each, 2 KiB for a file of a minute.
const MAX_INDEXES: usize = 64;

/// Bytes read at once when only the heads of tags matter: less than most pictures have.
const SCAN_BUFFER: usize = 4 << 10;

/// Changes when a file does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) size: u64,
    /// Time of the last change in Unix nanoseconds, 0 where it cannot be told.
    changed: u128,
}

impl Stamp {
    pub(super) fn of(metadata: &Metadata) -> Self {
        let changed = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        let changed = changed.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        Self { size: metadata.len(), changed }
    }

    /// The same as text, for [`super::FileReader::version`].
    pub(super) fn version(&self) -> String {
        format!("{:x}-{:x}", self.size, self.changed)
    }
}

#[derive(Debug, Default)]
struct Known {
    /// Milliseconds from first to last frame, `None` if there is no frame.
    lengths: BTreeMap<PathBuf, (Stamp, Option<u64>)>,
    indexes: BTreeMap<PathBuf, (u64, Stamp, Arc<Index>)>,
    /// Counts uses of `indexes`.
    clock: u64,
}

/// Remembers lengths and keyframes of files by path, size and time of change.
#[derive(Debug, Default)]
pub(super) struct Cache {
    known: Mutex<Known>,
}

impl Cache {
    fn known(&self) -> MutexGuard<'_, Known> {
        // Each entry is whole at any time, so one that panicked elsewhere left nothing broken.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Size of a recording and milliseconds from its first to its last frame; `None` if it has none, is no FLV file,
    /// or is gone.
    pub(super) fn length(&self, path: &Path) -> io::Result<Option<(u64, u64)>> {
        let Some(metadata) = plain_file(path)? else {
            self.known().lengths.remove(path);
            return Ok(None);
        };
        let stamp = Stamp::of(&metadata);
        let known = self.known().lengths.get(path).filter(|(of, _)| *of == stamp).map(|(_, length)| *length);
        let length = match known {
            Some(length) => length,
            None => {
                let length = self.measure(path)?;
                let mut known = self.known();
                known.lengths.insert(path.to_owned(), (stamp, length));
                while known.lengths.len() > MAX_LENGTHS {
                    known.lengths.pop_first(); // the oldest, as names are times
                }
                length
            }
        };
        Ok(length.map(|length| (stamp.size, length)))
    }

    fn measure(&self, path: &Path) -> io::Result<Option<u64>> {
        let Some(mut file) = open(path, SCAN_BUFFER)? else { return Ok(None) };
        if let (Some(first), Some(last)) = (file.first_frame()?, file.last_frame()?) {
            return Ok(Some(elapsed(first, last)));
        }
        Ok(self.index(path, None)?.and_then(|index| index.last()))
    }

    /// The keyframes of a recording: all, or as many as are needed to find the one at or before `until`
    /// (milliseconds since its first frame). `None` if it is no FLV file or is gone.
    pub(super) fn index(&self, path: &Path, until: Option<u64>) -> io::Result<Option<Arc<Index>>> {
        let Some(metadata) = plain_file(path)? else {
            self.known().indexes.remove(path);
            return Ok(None);
        };
        let stamp = Stamp::of(&metadata);
        let Some(mut file) = open(path, SCAN_BUFFER)? else { return Ok(None) };
        let known = self.known().indexes.get(path).map(|(_, of, index)| (*of, index.clone()));
        let mut index = match known {
            Some((of, index)) if of == stamp || (of.size < stamp.size && index.fits(&mut file)?) => index,
            _ => Arc::default(),
        };
        Arc::make_mut(&mut index).extend(&mut file, until)?;
        let mut known = self.known();
        known.clock += 1;
        let now = known.clock;
        known.indexes.insert(path.to_owned(), (now, stamp, index.clone()));
        while known.indexes.len() > MAX_INDEXES {
            let Some(oldest) = known.indexes.iter().min_by_key(|(_, (used, ..))| *used) else { break };
            let oldest = oldest.0.clone();
            known.indexes.remove(&oldest);
        }
        Ok(Some(index))
    }
}

/// Opens a recording; `None` if it is no FLV file or is gone.
pub(super) fn open(path: &Path, buffer: usize) -> io::Result<Option<TagFile>> {
    match present(File::open(path))? {
        Some(file) => TagFile::open(file, buffer),
        None => Ok(None),
    }
}
