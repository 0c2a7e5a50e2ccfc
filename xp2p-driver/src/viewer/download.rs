//! Files of a camera: as a stream of pieces, and into a file that appears only when it is whole.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_channel::Receiver;
use thiserror::Error;
use xp2p_proto::viewer::{DOWNLOAD_WINDOW, Resume, ServiceId, StreamKey, Viewer};

use super::routes::{Claim, DownloadEvent};
use super::turn::Turn;
use super::{StartError, ViewerHandle};
use crate::handle::Handle;
use crate::runtime::{Runtime, sleep};
use xp2p_proto::request::Download;

/// How often, and how many times, it is looked whether an attempt at the same file that was given up has come to its end.
const LOOK: Duration = Duration::from_millis(20);
const LOOKS: usize = 250;
/// Bytes that are released together: a small part of what the camera may send ahead, so that it never waits for them.
const RELEASED: usize = DOWNLOAD_WINDOW / 16;

/// A download. Dropped before its end, it stops.
#[derive(Debug)]
pub struct DownloadHandle {
    pub(super) key: StreamKey,
    pub(super) handle: Handle<Viewer>,
    pub(super) events: Receiver<DownloadEvent>,
    /// Bytes that were stored, of which the viewer does not know yet.
    pub(super) stored: AtomicUsize,
    /// Stops it.
    pub(super) _claim: Claim,
}

impl DownloadHandle {
    /// Its name within the viewer.
    pub fn key(&self) -> StreamKey {
        self.key
    }

    /// The next event; `None` after the last one. Give [`release`](Self::release) the length of each piece of data
    /// once it is stored: the camera sends no more than a few MiB ahead.
    pub async fn next(&self) -> Option<DownloadEvent> {
        self.events.recv().await.ok()
    }

    /// So many bytes were stored.
    pub async fn release(&self, bytes: usize) {
        let before = self.stored.fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) < RELEASED {
            return;
        }
        let bytes = self.stored.swap(0, Ordering::Relaxed);
        let mut untold = Untold { bytes, stored: &self.stored };
        let key = self.key;
        // Fails only when the viewer has been shut down; `next` tells.
        let _ = self.handle.notify(move |viewer, now| viewer.release(now, key, bytes)).await;
        untold.bytes = 0;
    }
}

/// Bytes on their way to the viewer: back where they were, should nobody wait until it has been told.
struct Untold<'a> {
    bytes: usize,
    stored: &'a AtomicUsize,
}

impl Drop for Untold<'_> {
    fn drop(&mut self) {
        self.stored.fetch_add(self.bytes, Ordering::Relaxed);
    }
}

/// Why a file could not be fetched.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DownloadError {
    /// The file could not be written. What is there stays, for a later attempt with `resume`.
    #[error("cannot write {path}: {error}{}", hint(.error))]
    Write {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// The camera refused (`onFailure`).
    #[error("{reason}")]
    Refused {
        /// 400 to 599.
        status: u16,
        /// Why.
        reason: String,
    },
    /// The connection was lost for too long, or the digest was wrong (`onError`).
    #[error("{0}")]
    Lost(String),
    /// It could not be started.
    #[error(transparent)]
    Start(#[from] StartError),
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; make room and continue with --resume: what has come is kept"
        }
        io::ErrorKind::PermissionDenied => "; choose another place with -o",
        _ => "",
    }
}

/// How far a download is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Bytes that are stored, those of earlier attempts included.
    pub stored: u64,
    /// Bytes of the whole file, once known.
    pub size: Option<u64>,
}

/// A file that was fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// Bytes.
    pub size: u64,
    /// BLAKE3.
    pub digest: [u8; 32],
    /// Bytes that an earlier attempt had fetched.
    pub resumed: u64,
}

/// Where the bytes go until the file is whole: beside it, so that renaming is one step.
pub fn partial_path(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    path.with_file_name(name)
}

/// Where the `etag` of a partial file is kept.
fn etag_path(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".part.etag");
    path.with_file_name(name)
}

impl<R: Runtime> ViewerHandle<R> {
    /// Waits for the turn to write a file.
    async fn turn(&self, partial: &Path) -> io::Result<Turn> {
        for _ in 0..LOOKS {
            if let Some(turn) = self.turns.take(partial) {
                return Ok(turn);
            }
            sleep(self.runtime(), LOOK).await;
        }
        Err(io::Error::new(io::ErrorKind::ResourceBusy, "another download is writing it"))
    }

    /// Fetches a file into `path`. It is written beside it (`.part`) and renamed when it is whole and its digest is
    /// the camera's. With `resume`, what an earlier attempt has left is kept and only the rest is fetched; it survives
    /// lost connections and restarts of the camera anyway. One download at a time writes a file: another one at the same
    /// `path` waits for at most 5 s and then is an error.
    ///
    /// # Errors
    ///
    /// [`DownloadError`].
    pub async fn download_to(
        &self,
        service: ServiceId,
        request: Download,
        path: &Path,
        resume: bool,
        mut progress: impl FnMut(Progress) + Send,
    ) -> Result<Fetched, DownloadError> {
        let partial = partial_path(path);
        let failed = |error| DownloadError::Write { path: partial.clone(), error };
        let turn = self.turn(&partial).await.map_err(failed)?;
        let (mut file, start) = {
            let (partial, path) = (partial.clone(), path.to_owned());
            let begun = self.runtime().unblock(move || {
                begin(&partial, &path, resume).map(|(file, start)| (Partial { file, turn }, start))
            });
            begun.await.map_err(failed)?
        };
        let resumed = start.received;
        let mut now = Progress { stored: resumed, size: None };
        progress(now);
        let download = self.download(service, request, start).await?;
        loop {
            let Some(event) = download.next().await else {
                return Err(DownloadError::Lost("the service was stopped".to_owned()));
            };
            match event {
                DownloadEvent::Headers { left: Some(left), etag, .. } => {
                    now.size = Some(now.stored.saturating_add(left));
                    progress(now);
                    let to = etag_path(path);
                    let kept = move || {
                        let result = etag.map_or(Ok(()), |etag| std::fs::write(to, etag));
                        (file, result)
                    };
                    let (back, result) = self.runtime().unblock(kept).await;
                    file = back;
                    result.map_err(failed)?;
                }
                DownloadEvent::Data { data, .. } => {
                    let bytes = data.len();
                    let written = self.runtime().unblock(move || {
                        let result = file.file.write_all(&data);
                        (file, result)
                    });
                    let (back, result) = written.await;
                    file = back;
                    result.map_err(failed)?;
                    download.release(bytes).await;
                    now.stored += bytes as u64;
                    progress(now);
                }
                DownloadEvent::Done { size, digest } => {
                    let (from, to) = (partial.clone(), path.to_owned());
                    let finished = self.runtime().unblock(move || {
                        // The turn ends with the last of it.
                        let Partial { file, turn: _turn } = file;
                        // On the disk before it has its name: after a power cut it is whole or not there.
                        file.sync_all()?;
                        drop(file);
                        std::fs::rename(&from, &to)?;
                        match std::fs::remove_file(etag_path(&to)) {
                            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
                            _ => Ok(()),
                        }
                    });
                    finished.await.map_err(failed)?;
                    return Ok(Fetched { size, digest, resumed });
                }
                DownloadEvent::Failed { status: Some(status), reason } => {
                    return Err(DownloadError::Refused { status, reason });
                }
                DownloadEvent::Failed { status: None, reason } => return Err(DownloadError::Lost(reason)),
                _ => {}
            }
        }
    }
}

/// A file on its way, and the right to write it.
#[derive(Debug)]
struct Partial {
    file: File,
    turn: Turn,
}

/// Opens the partial file, at its end if it is to be continued.
fn begin(partial: &Path, path: &Path, resume: bool) -> io::Result<(File, Resume)> {
    let mut start = Resume::default();
    if !resume {
        return Ok((File::create(partial)?, start));
    }
    let mut file = OpenOptions::new().read(true).append(true).create(true).open(partial)?;
    let mut buffer = vec![0; 1024 * 1024];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        // `read` is at most the length.
        start.hasher.update(&buffer[..read]);
        start.received += read as u64;
    }
    start.etag = match std::fs::read_to_string(etag_path(path)) {
        Ok(etag) if start.received > 0 => Some(etag),
        Ok(_) => None,
        Err(e) if e.kind() == io::ErrorKind::NotFound => None,
        Err(e) => return Err(e),
    };
    Ok((file, start))
}
