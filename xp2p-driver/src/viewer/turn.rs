//! Whose turn it is to write a file.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

/// The files that downloads of one viewer write at present. Clones are the same.
///
/// Work that blocks runs on after the future that waits for it was dropped. A new attempt at the same file would cut off what
/// an old one is about to give its name.
#[derive(Debug, Clone, Default)]
pub(super) struct Turns(Arc<Mutex<BTreeSet<PathBuf>>>);

impl Turns {
    fn lock(&self) -> MutexGuard<'_, BTreeSet<PathBuf>> {
        // Nothing in here panics half-way, so what a poisoned lock holds is whole.
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// The turn for `path`, unless another one has it.
    pub(super) fn take(&self, path: &Path) -> Option<Turn> {
        let free = self.lock().insert(path.to_owned());
        free.then(|| Turn { path: path.to_owned(), all: self.clone() })
    }
}

/// It goes with the file, also into work that blocks, and ends when this is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    path: PathBuf,
    all: Turns,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.all.lock().remove(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_for_each_file() {
        let turns = Turns::default();
        let (a, b) = (Path::new("a.part"), Path::new("b.part"));
        let first = turns.take(a).expect("free");
        assert!(turns.take(a).is_none() && turns.clone().take(a).is_none());
        assert!(turns.take(b).is_some());
        drop(first);
        assert!(turns.take(a).is_some());
    }
}
