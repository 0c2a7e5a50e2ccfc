//! Reads recordings in time order, across files.

use std::io;
use std::sync::Arc;

use xp2p_proto::flv::Tag;

use super::cache;
use super::dir::Shared;
use super::index::{Point, elapsed};
use super::listing::{self, Entry};
use super::tags::TagFile;
use super::{FileKind, PIECE_BYTES, PIECE_MS, RecordReader, Recorded, is_frame};

/// Bytes read at once from a file that is played.
const PLAY_BUFFER: usize = 64 << 10;

/// A stretch of time of one channel.
#[derive(Debug)]
pub(super) struct Playback {
    shared: Arc<Shared>,
    channel: u32,
    from: u64,
    to: u64,
    /// Start and name of the newest file that was opened or passed over: those after it come next.
    passed: (u64, String),
    current: Option<Current>,
    /// Headers that go before the next tag after a seek.
    pending: Vec<Recorded>,
}

/// The file that is being read.
#[derive(Debug)]
struct Current {
    start: u64,
    file: TagFile,
    /// Timestamp of its first frame, once known.
    base: Option<u32>,
    /// Where the next tag begins.
    next: u64,
    /// The end of the range lies in it and was reached.
    done: bool,
}

impl Current {
    fn at(&self, tag: &Tag) -> u64 {
        let since = self.base.map_or(0, |base| elapsed(base, tag.timestamp));
        self.start.saturating_add(since)
    }
}

/// The tags of one [`RecordReader::read`].
#[derive(Debug, Default)]
struct Piece {
    tags: Vec<Recorded>,
    bytes: usize,
}

impl Piece {
    fn add(&mut self, at: u64, tag: Tag) {
        self.bytes += tag.wire_len();
        self.tags.push(Recorded { at, tag });
    }

    /// Whether a tag of time `at` belongs into the next piece.
    fn is_full(&self, at: u64) -> bool {
        self.tags.first().is_some_and(|first| self.bytes >= PIECE_BYTES || at >= first.at + PIECE_MS)
    }
}

impl Playback {
    /// Reads nothing yet; [`seek`](RecordReader::seek) comes first.
    pub(super) fn new(shared: Arc<Shared>, channel: u32, from: u64, to: u64) -> Self {
        let passed = (from, String::new());
        Self { shared, channel, from, to, passed, current: None, pending: Vec::new() }
    }

    fn entries(&self) -> io::Result<Vec<Entry>> {
        let mut entries = listing::list(&self.shared.root, self.channel, FileKind::Video)?;
        entries.retain(|entry| entry.start < self.to);
        Ok(entries)
    }

    /// The file after those passed.
    fn next_entry(&self) -> io::Result<Option<Entry>> {
        let (start, name) = &self.passed;
        Ok(self.entries()?.into_iter().find(|entry| entry.key() > (*start, name)))
    }

    /// Goes to the start of a file; one that is gone or no FLV is passed over. `false` if it is the newest and still
    /// empty: it is being begun.
    fn enter(&mut self, entry: Entry) -> io::Result<bool> {
        let file = cache::open(&entry.path, PLAY_BUFFER)?;
        if file.is_none()
            && self.entries()?.last() == Some(&entry)
            && listing::plain_file(&entry.path)?.is_some_and(|found| found.len() == 0)
        {
            return Ok(false);
        }
        self.current = file.map(|file| {
            let next = file.first();
            Current { start: entry.start, file, base: None, next, done: false }
        });
        self.passed = (entry.start, entry.name);
        Ok(true)
    }

    /// Goes to the keyframe at or before `at`, or the first one after, in this file. `false` if it has none.
    fn enter_at(&mut self, entry: Entry, at: u64) -> io::Result<bool> {
        let since = at.saturating_sub(entry.start);
        let Some(index) = self.shared.cache.index(&entry.path, Some(since))? else { return Ok(false) };
        let Some(mut file) = cache::open(&entry.path, PLAY_BUFFER)? else { return Ok(false) };
        let Some(Point { elapsed, offset, config }) = index.find(&mut file, since)? else { return Ok(false) };
        let at = entry.start.saturating_add(elapsed);
        let Some(head) = file.head(offset)? else { return Ok(false) };
        let done = at >= self.to;
        self.pending.clear();
        for place in config.into_iter().filter(|place| *place != 0 && !done) {
            if let Some((mut tag, _)) = file.tag(place)? {
                tag.timestamp = head.tag.timestamp;
                self.pending.push(Recorded { at, tag });
            }
        }
        self.current = Some(Current { start: entry.start, file, base: index.base(), next: offset, done });
        self.passed = (entry.start, entry.name);
        Ok(true)
    }

    /// Adds tags of the current file to the piece, until that is full or nothing more is there.
    fn fill(&mut self, piece: &mut Piece, keys_only: bool) -> io::Result<()> {
        let Some(current) = &mut self.current else { return Ok(()) };
        current.file.look_again()?;
        // Apart from `current.next` so that tags that were passed over on the way to a keyframe that is not there yet
        // are met again: without them what follows cannot be decoded.
        let mut offset = current.next;
        while !current.done {
            let found = if keys_only {
                current.file.head(offset)?.map(|head| (head.tag, head.next))
            } else {
                current.file.tag(offset)?
            };
            let Some((mut tag, next)) = found else { break };
            let frame = is_frame(&tag);
            if frame && current.base.is_none() {
                current.base = Some(tag.timestamp);
            }
            let at = current.at(&tag);
            let wanted = if keys_only {
                tag.is_keyframe() || tag.is_sequence_header() || tag.is_metadata()
            } else {
                true
            };
            if frame && at >= self.to {
                current.done = true;
            } else if wanted {
                if piece.is_full(at) {
                    current.next = offset;
                    break;
                }
                if keys_only {
                    let Some((whole, _)) = current.file.tag(offset)? else { break };
                    tag = whole;
                }
                piece.add(at, tag);
                current.next = next;
            }
            offset = next;
        }
        Ok(())
    }
}

impl RecordReader for Playback {
    fn seek(&mut self, at: u64) -> io::Result<()> {
        self.current = None;
        self.pending.clear();
        let at = at.max(self.from);
        self.passed = (at, String::new());
        if at >= self.to {
            self.passed.0 = u64::MAX; // nothing follows
            return Ok(());
        }
        let entries = self.entries()?;
        let after = entries.partition_point(|entry| entry.start <= at);
        let (before, after) = entries.split_at(after);
        for entry in before.iter().rev() {
            let length = self.shared.cache.length(&entry.path)?;
            let covers = length.is_some_and(|(_, length)| entry.start.saturating_add(length) >= at);
            if covers && self.enter_at(entry.clone(), at)? {
                return Ok(());
            }
        }
        for entry in after {
            if self.enter_at(entry.clone(), at)? {
                return Ok(());
            }
        }
        Ok(())
    }

    fn read(&mut self, keys_only: bool) -> io::Result<Vec<Recorded>> {
        let mut piece = Piece::default();
        for Recorded { at, tag } in self.pending.drain(..) {
            piece.add(at, tag);
        }
        loop {
            self.fill(&mut piece, keys_only)?;
            if !piece.tags.is_empty() {
                return Ok(piece.tags);
            }
            let Some(next) = self.next_entry()? else { return Ok(Vec::new()) };
            // The current file may have been finished after it was read and before the next one was begun.
            self.fill(&mut piece, keys_only)?;
            if !piece.tags.is_empty() {
                return Ok(piece.tags);
            }
            if !self.enter(next)? {
                return Ok(Vec::new());
            }
        }
    }
}
