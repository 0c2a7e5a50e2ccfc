//! Where pictures come from: a file that is looped or played once, standard input, or whatever an ffmpeg can read.
//!
//! Each source has a thread of its own, because files, pipes and child processes block.

mod ffmpeg;
mod file;
mod pipe;

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use thiserror::Error;
use xp2p_proto::flv::{FlvError, Tag};

/// What a source gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceEvent {
    /// The next tag. Times go forward over all restarts.
    Tag(Tag),
    /// Something is wrong; the source tries again by itself.
    Trouble(String),
    /// Nothing more will come.
    Ended(Option<String>),
}

/// Takes what a source gives, on the source's thread. It may block, which holds the source back. `false` stops the source.
pub type Sink = Box<dyn FnMut(SourceEvent) -> bool + Send>;

/// Where pictures come from.
#[derive(Clone, PartialEq, Eq)]
pub enum SourceSpec {
    /// An FLV file, looped.
    File(PathBuf),
    /// An FLV file, played once.
    Once(PathBuf),
    /// An FLV file in memory, looped.
    Memory(Bytes),
    /// FLV on standard input, live.
    Stdin,
    /// Anything that ffmpeg reads.
    Ffmpeg(String),
    /// The same, of inputs whose pictures are encoded here, with their bit rate in kbit/s.
    Encoded(String, u32),
}

impl fmt::Debug for SourceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "File({})", path.display()),
            Self::Once(path) => write!(f, "Once({})", path.display()),
            Self::Memory(bytes) => write!(f, "Memory({} bytes)", bytes.len()),
            Self::Stdin => f.write_str("Stdin"),
            // URLs of cameras hold passwords.
            Self::Ffmpeg(_) => f.write_str("Ffmpeg(..)"),
            Self::Encoded(_, kbit) => write!(f, "Encoded(.., {kbit} kbit/s)"),
        }
    }
}

impl SourceSpec {
    /// The same input with a bit rate for its pictures. `None`: they are not encoded here.
    pub fn at_rate(&self, kbit: u32) -> Option<Self> {
        match self {
            Self::Ffmpeg(input) | Self::Encoded(input, _) if ffmpeg::is_encoded(input) => {
                Some(Self::Encoded(input.clone(), kbit))
            }
            _ => None,
        }
    }

    /// Reads the form of the command line: `-`, the name of an FLV file, `once:` and such a name, or anything else for ffmpeg.
    pub fn parse(text: &str) -> Self {
        if text == "-" {
            return Self::Stdin;
        }
        if let Some(path) = text.strip_prefix("once:") {
            return Self::Once(PathBuf::from(path));
        }
        let path = PathBuf::from(text);
        let named_flv = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("flv"));
        if named_flv && !text.contains("://") { Self::File(path) } else { Self::Ffmpeg(text.to_owned()) }
    }
}

/// Why a source could not be opened.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The file cannot be read.
    #[error("cannot read {path}: {error}")]
    File {
        /// Its name.
        path: String,
        /// Why not.
        error: std::io::Error,
    },
    /// It is no FLV, or one without pictures or sound.
    #[error("{path} cannot be shown: {error}")]
    NotFlv {
        /// Its name.
        path: String,
        /// Why not.
        error: FlvError,
    },
    /// There is nothing in it.
    #[error("{path} holds no picture and no sound")]
    Empty {
        /// Its name.
        path: String,
    },
    /// The file is larger than what is kept in memory for looping.
    #[error(
        "{path} has {size} bytes, more than the {} that a looped file may have; give it to ffmpeg instead (-stream_loop)",
        file::MAX_FILE
    )]
    TooLarge {
        /// Its name.
        path: String,
        /// Its size.
        size: u64,
    },
    /// There is no ffmpeg.
    #[error(
        "this source needs ffmpeg, which cannot be started: {0}; install it (on Debian: sudo apt install ffmpeg)"
    )]
    NoFfmpeg(std::io::Error),
    /// The thread cannot be started.
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
}

/// Tells a source's thread to stop, and lets it wait without missing that.
#[derive(Debug, Default)]
pub(crate) struct Stop {
    flag: AtomicBool,
    lock: Mutex<()>,
    changed: Condvar,
}

impl Stop {
    pub(crate) fn is_set(&self) -> bool {
        self.flag.load(Ordering::Relaxed)
    }

    pub(crate) fn set(&self) {
        let _guard = self.lock.lock().unwrap_or_else(|e| e.into_inner());
        self.flag.store(true, Ordering::Relaxed);
        self.changed.notify_all();
    }

    /// Waits until `at`, or until it is set. Returns whether it is.
    pub(crate) fn wait_until(&self, at: Instant) -> bool {
        let mut guard = self.lock.lock().unwrap_or_else(|e| e.into_inner());
        loop {
            if self.is_set() {
                return true;
            }
            let left = at.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            guard = self.changed.wait_timeout(guard, left).map_or_else(|e| e.into_inner().0, |(g, _)| g);
        }
    }
}

/// A running source. It stops when this is dropped.
#[derive(Debug)]
pub struct Source {
    stop: Arc<Stop>,
    child: ffmpeg::ChildSlot,
    thread: Option<JoinHandle<()>>,
    /// Standard input cannot be interrupted; its thread ends with the process.
    join: bool,
}

impl Source {
    /// Opens a source and begins to read it.
    ///
    /// # Errors
    ///
    /// When it is clear at once that nothing will come of it.
    pub fn open(spec: &SourceSpec, mut sink: Sink) -> Result<Self, SourceError> {
        let stop = Arc::new(Stop::default());
        let child = ffmpeg::ChildSlot::default();
        let join = *spec != SourceSpec::Stdin;
        let work: Box<dyn FnOnce() + Send> = match spec {
            SourceSpec::File(path) => {
                let clip = file::Clip::read(path)?;
                let stop = stop.clone();
                Box::new(move || clip.play(&stop, &mut sink))
            }
            SourceSpec::Once(path) => {
                let clip = file::Clip::read(path)?;
                let stop = stop.clone();
                Box::new(move || {
                    if clip.play_once(&stop, &mut sink) {
                        sink(SourceEvent::Ended(None));
                    }
                })
            }
            SourceSpec::Memory(bytes) => {
                let clip = file::Clip::parse("the clip", bytes.clone())?;
                let stop = stop.clone();
                Box::new(move || clip.play(&stop, &mut sink))
            }
            SourceSpec::Stdin => {
                let stop = stop.clone();
                Box::new(move || {
                    let mut timeline = pipe::live_timeline();
                    let mut wanted = true;
                    let end =
                        pipe::read(std::io::stdin().lock(), &mut timeline, &stop, &mut sink, &mut wanted);
                    if wanted {
                        sink(SourceEvent::Ended(end.err()));
                    }
                })
            }
            SourceSpec::Ffmpeg(input) => ffmpeg_work(input, None, &stop, &child, sink)?,
            SourceSpec::Encoded(input, kbit) => ffmpeg_work(input, Some(*kbit), &stop, &child, sink)?,
        };
        let thread = std::thread::Builder::new()
            .name("xp2p source".to_owned())
            .spawn(work)
            .map_err(SourceError::Thread)?;
        Ok(Self { stop, child, thread: Some(thread), join })
    }
}

/// What the thread of an ffmpeg input does.
fn ffmpeg_work(
    input: &str,
    kbit: Option<u32>,
    stop: &Arc<Stop>,
    child: &ffmpeg::ChildSlot,
    mut sink: Sink,
) -> Result<Box<dyn FnOnce() + Send>, SourceError> {
    ffmpeg::check()?;
    let (input, stop, child) = (input.to_owned(), stop.clone(), child.clone());
    Ok(Box::new(move || ffmpeg::run(&input, kbit, &stop, &child, &mut sink)))
}

impl Drop for Source {
    fn drop(&mut self) {
        self.stop.set();
        self.child.kill();
        if let Some(thread) = self.thread.take().filter(|_| self.join)
            && thread.join().is_err()
        {
            tracing::error!("the source's thread has failed");
        }
    }
}

/// Longest pause between two attempts to get a source going.
pub(crate) const MAX_PAUSE: Duration = Duration::from_secs(30);
