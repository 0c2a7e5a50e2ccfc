//! Reads FLV files and streams, in pieces of any size.

use bytes::Bytes;

use super::queue::Queue;
use super::reader::check_header;
use super::tag::{
    FILE_HEADER_LEN, FileHeader, MAX_BODY, RawFileHeader, RawTagHeader, TAG_HEADER_LEN, Tag, TagKind,
};

/// What a reader accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest body of a tag, in bytes. 4 MiB by default: a keyframe of a 4K camera is below 2 MiB.
    pub max_tag_size: usize,
    /// Bytes that may wait inside, those of the pushed chunk included. 8 MiB by default. Must be larger than
    /// `max_tag_size` by the largest chunk that is pushed.
    pub max_buffered: usize,
    /// Bytes that one search for the next tag may skip. 16 MiB by default.
    pub max_skip: u64,
    /// `true`: bad input is an error. `false`: it is skipped, counted, and reading goes on at the next tag.
    /// [`TagReader`](super::TagReader) is always strict.
    pub strict: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_tag_size: 4 << 20, max_buffered: 8 << 20, max_skip: 16 << 20, strict: false }
    }
}

/// Why FLV input was refused. Offsets count bytes from the start of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FlvError {
    /// The input does not begin with `FLV`.
    #[error("not an FLV stream: it begins with {found:02x?} instead of \"FLV\"")]
    NotFlv {
        /// The first bytes.
        found: [u8; 3],
    },
    /// A version other than 1.
    #[error("FLV version {version} is not supported, only version 1")]
    Version {
        /// The version.
        version: u8,
    },
    /// The header says that it is shorter than it is, or very long.
    #[error("the FLV header claims a length of {found} bytes, expected 9 to {MAX_DATA_OFFSET}")]
    DataOffset {
        /// The claimed length.
        found: u32,
    },
    /// Neither audio, video nor script data.
    #[error("unknown tag type {found:#04x} at byte {offset}; the stream is damaged or not FLV")]
    TagType {
        /// Where.
        offset: u64,
        /// The byte with the type.
        found: u8,
    },
    /// An encrypted tag.
    #[error("the tag at byte {offset} is encrypted, which is not supported")]
    Encrypted {
        /// Where.
        offset: u64,
    },
    /// A stream id other than 0.
    #[error("the tag at byte {offset} has stream id {found}, which must be 0")]
    StreamId {
        /// Where.
        offset: u64,
        /// The id.
        found: u32,
    },
    /// A body longer than the limit.
    #[error("the tag at byte {offset} claims {size} bytes, more than the limit of {limit}")]
    TagTooLarge {
        /// Where.
        offset: u64,
        /// The claimed length.
        size: usize,
        /// [`Limits::max_tag_size`].
        limit: usize,
    },
    /// The length after a tag is not the tag's length.
    #[error(
        "the tag length repeated at byte {offset} is {found}, expected {expected}; the stream is damaged"
    )]
    PreviousTagSize {
        /// Where.
        offset: u64,
        /// The length found.
        found: u32,
        /// The length of the tag before it.
        expected: u32,
    },
    /// The input ended inside a tag or header.
    #[error("the stream ends at byte {offset}, at least {missing} bytes too early")]
    Truncated {
        /// Where it ends.
        offset: u64,
        /// Bytes known to be missing.
        missing: usize,
    },
    /// More was pushed than may wait.
    #[error(
        "{pushed} more bytes at byte {offset} exceed the buffer limit of {limit}; poll before pushing more"
    )]
    BufferFull {
        /// Where the pushed bytes would begin.
        offset: u64,
        /// Bytes pushed.
        pushed: usize,
        /// [`Limits::max_buffered`].
        limit: usize,
    },
    /// No tag was found for too long.
    #[error("no tag found in the {skipped} bytes before byte {offset}; the stream is damaged beyond repair")]
    Lost {
        /// Where the search stopped.
        offset: u64,
        /// Bytes that it skipped.
        skipped: u64,
    },
    /// Data was pushed after [`Demuxer::finish`] or [`TagReader::finish`](super::TagReader::finish).
    #[error("data was pushed after the end of the stream at byte {offset}")]
    Finished {
        /// Where the stream ended.
        offset: u64,
    },
}

/// The longest file header that is skipped. Version 1 has 9 bytes; the standard lets later ones grow.
pub const MAX_DATA_OFFSET: u32 = 1024;

/// A part of an FLV file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// The file header. Comes first; may come again if files were joined.
    Header(FileHeader),
    /// A tag.
    Tag(Tag),
}

/// Where in the file the reader stands. Each state is left in one step, when all its bytes are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// At a file header.
    Header,
    /// In a file header's tail, with so many bytes to skip.
    HeaderTail(usize),
    /// At the PreviousTagSize of a tag of so many bytes (0: of none).
    PreviousSize(u32),
    /// At a tag header.
    TagHeader,
    /// At a tag's body.
    Body(RawTagHeader, TagKind),
    /// Searching; has skipped so many bytes.
    Search(u64),
    /// Refused the input.
    Failed(FlvError),
}

/// Reads an FLV file or HTTP-FLV stream that arrives in pieces.
///
/// Push bytes, then poll until `None`. However the input is cut, the items are the same. A tag whose body lies in
/// one pushed chunk is a slice of it; otherwise its body is copied once (pieces below 512 bytes twice).
///
/// Bad input: see [`Limits::strict`]. When it skips, the demuxer looks for a tag header that is followed, where it
/// says, by the repeated length of its tag; the bytes up to there are counted in [`skipped`](Self::skipped). A
/// wrong repeated length alone does no harm if a good tag header follows; many servers write 0 there. Input that
/// does not begin with an FLV header is always an error. After an error every call returns it again.
#[derive(Debug)]
pub struct Demuxer {
    limits: Limits,
    queue: Queue,
    state: State,
    ended: bool,
    skipped: u64,
    searches: u64,
    wrong_sizes: u64,
}

impl Demuxer {
    /// A demuxer at the start of a file. `max_buffered` is raised to `max_tag_size` + 64 KiB if it is smaller,
    /// since it could never give out the largest tag otherwise.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits: limits.coherent(),
            queue: Queue::default(),
            state: State::Header,
            ended: false,
            skipped: 0,
            searches: 0,
            wrong_sizes: 0,
        }
    }

    /// Takes in the next bytes, in order, in pieces of any size.
    ///
    /// # Errors
    ///
    /// [`FlvError::BufferFull`] if they do not fit; they were not taken, and pushing them again after
    /// [`poll`](Self::poll) is right. [`FlvError::Finished`] after the end. Else the error that stopped the
    /// demuxer.
    pub fn push(&mut self, data: Bytes) -> Result<(), FlvError> {
        if let State::Failed(error) = self.state {
            return Err(error);
        }
        let offset = self.queue.offset() + self.queue.len() as u64;
        if self.ended {
            return Err(FlvError::Finished { offset });
        }
        if self.queue.len().saturating_add(data.len()) > self.limits.max_buffered {
            return Err(FlvError::BufferFull { offset, pushed: data.len(), limit: self.limits.max_buffered });
        }
        self.queue.push(data);
        Ok(())
    }

    /// The next header or tag, or `None` if more bytes are needed.
    ///
    /// # Errors
    ///
    /// When the input is not FLV, is damaged (strict) or is damaged beyond repair.
    pub fn poll(&mut self) -> Result<Option<Item>, FlvError> {
        loop {
            match self.step() {
                Ok(Step::Item(item)) => return Ok(Some(item)),
                Ok(Step::On) => {}
                Ok(Step::Wait) => return Ok(None),
                Err(error) => {
                    self.state = State::Failed(error);
                    return Err(error);
                }
            }
        }
    }

    fn step(&mut self) -> Result<Step, FlvError> {
        match self.state {
            State::Failed(error) => Err(error),
            State::Header => self.file_header(),
            State::HeaderTail(left) => {
                let n = left.min(self.queue.len());
                self.queue.skip(n);
                self.state = if n == left { State::PreviousSize(0) } else { State::HeaderTail(left - n) };
                Ok(if n == left { Step::On } else { Step::Wait })
            }
            State::PreviousSize(expected) => self.previous_size(expected),
            State::TagHeader => self.tag_header(),
            State::Body(head, kind) => {
                let Some(body) = self.queue.take(head.size) else { return Ok(Step::Wait) };
                // Below 2^25: `size` has 24 bits.
                self.state = State::PreviousSize((TAG_HEADER_LEN + head.size) as u32);
                Ok(Step::Item(Item::Tag(Tag { kind, timestamp: head.timestamp, body })))
            }
            State::Search(skipped) => self.search(skipped),
        }
    }

    fn file_header(&mut self) -> Result<Step, FlvError> {
        // Three bytes are enough to refuse what is not FLV, such as a short error page.
        let Some(found) = self.queue.peek::<3>(0) else { return Ok(Step::Wait) };
        if &found != b"FLV" {
            return Err(FlvError::NotFlv { found });
        }
        let Some(raw) = self.queue.peek::<FILE_HEADER_LEN>(0) else { return Ok(Step::Wait) };
        let Ok((_, raw)) = RawFileHeader::parse(&raw) else { return Ok(Step::Wait) };
        if raw.version != 1 {
            return Err(FlvError::Version { version: raw.version });
        }
        if raw.data_offset < FILE_HEADER_LEN as u32 || raw.data_offset > MAX_DATA_OFFSET {
            return Err(FlvError::DataOffset { found: raw.data_offset });
        }
        self.queue.skip(FILE_HEADER_LEN);
        self.state = State::HeaderTail(raw.data_offset as usize - FILE_HEADER_LEN);
        Ok(Step::Item(Item::Header(raw.header())))
    }

    fn previous_size(&mut self, expected: u32) -> Result<Step, FlvError> {
        let Some(raw) = self.queue.peek::<4>(0) else { return Ok(Step::Wait) };
        let found = u32::from_be_bytes(raw);
        if found != expected {
            if self.limits.strict {
                return Err(FlvError::PreviousTagSize { offset: self.queue.offset(), found, expected });
            }
            // Only the next tag header can tell a careless writer from a damaged stream.
            let Some(next) = self.queue.peek::<TAG_HEADER_LEN>(4) else { return Ok(Step::Wait) };
            let offset = self.queue.offset() + 4;
            if check_header(&next, offset, &self.limits).is_err() {
                self.start_search();
                return Ok(Step::On);
            }
            self.wrong_sizes += 1;
        }
        self.queue.skip(4);
        self.state = State::TagHeader;
        Ok(Step::On)
    }

    fn tag_header(&mut self) -> Result<Step, FlvError> {
        let Some(raw) = self.queue.peek::<TAG_HEADER_LEN>(0) else { return Ok(Step::Wait) };
        match check_header(&raw, self.queue.offset(), &self.limits) {
            Ok((head, kind)) => {
                self.queue.skip(TAG_HEADER_LEN);
                self.state = State::Body(head, kind);
            }
            Err(error) if self.limits.strict => return Err(error),
            Err(_) => self.start_search(),
        }
        Ok(Step::On)
    }

    fn start_search(&mut self) {
        self.searches += 1;
        self.state = State::Search(0);
    }

    /// Goes on to the next byte that could begin a tag or a file header, and proves it.
    fn search(&mut self, skipped: u64) -> Result<Step, FlvError> {
        if skipped > self.limits.max_skip {
            return Err(FlvError::Lost { offset: self.queue.offset(), skipped });
        }
        let front = self.queue.front();
        if front.is_empty() {
            return Ok(Step::Wait);
        }
        // One more than allowed, so that the limit is hit at the same byte however the input is cut.
        let allowed = usize::try_from(self.limits.max_skip - skipped).unwrap_or(usize::MAX).saturating_add(1);
        let n = front.iter().position(|b| matches!(b, 8 | 9 | 18 | b'F')).unwrap_or(front.len());
        if n > 0 {
            self.skip_searching(n.min(allowed), skipped);
            return Ok(Step::On);
        }
        match self.candidate() {
            Candidate::Tag => self.state = State::TagHeader,
            Candidate::FileHeader => self.state = State::Header,
            Candidate::Incomplete if !self.ended => return Ok(Step::Wait),
            Candidate::Incomplete | Candidate::No => self.skip_searching(1, skipped),
        }
        Ok(Step::On)
    }

    fn skip_searching(&mut self, n: usize, skipped: u64) {
        self.queue.skip(n);
        self.skipped += n as u64;
        self.state = State::Search(skipped + n as u64);
    }

    /// Whether a tag or a file header begins at the front.
    fn candidate(&mut self) -> Candidate {
        let Some(raw) = self.queue.peek::<TAG_HEADER_LEN>(0) else { return Candidate::Incomplete };
        if raw.starts_with(b"FLV") {
            let Some(raw) = self.queue.peek::<13>(0) else { return Candidate::Incomplete };
            let sound = raw[3] == 1 && raw[4] & !5 == 0 && raw[5..] == [0, 0, 0, 9, 0, 0, 0, 0];
            return if sound { Candidate::FileHeader } else { Candidate::No };
        }
        let Ok((head, _)) = check_header(&raw, self.queue.offset(), &self.limits) else {
            return Candidate::No;
        };
        if head.size == 0 {
            return Candidate::No; // runs of zeros with an 8 or 9 among them are common, empty tags are not
        }
        self.queue.join_if_many();
        match self.queue.peek::<4>(TAG_HEADER_LEN + head.size) {
            None => Candidate::Incomplete,
            Some(raw) if u32::from_be_bytes(raw) as usize == TAG_HEADER_LEN + head.size => Candidate::Tag,
            Some(_) => Candidate::No,
        }
    }

    /// Tells that the input has ended. Poll until `None` first.
    ///
    /// If it ended while searching for a tag, poll again until `None`: what seemed to be a tag and lacked its end
    /// is given up, and tags behind it come out. Then call this once more.
    ///
    /// # Errors
    ///
    /// [`FlvError::Truncated`] if it ended inside a header or tag. A missing repeated length after the last tag is
    /// an error in strict mode only.
    pub fn finish(&mut self) -> Result<(), FlvError> {
        self.ended = true;
        let have = self.queue.len();
        let needed = match self.state {
            State::Failed(error) => return Err(error),
            State::Search(_) => return Ok(()),
            State::TagHeader if have == 0 => return Ok(()),
            State::PreviousSize(_) if !self.limits.strict && (have == 0 || have == 4) => return Ok(()),
            State::Header => FILE_HEADER_LEN,
            State::HeaderTail(left) => left + 4,
            State::PreviousSize(_) if have <= 4 => 4,
            State::PreviousSize(_) => 4 + TAG_HEADER_LEN,
            State::TagHeader => TAG_HEADER_LEN,
            State::Body(head, _) => head.size,
        };
        let offset = self.queue.offset() + have as u64;
        let error = FlvError::Truncated { offset, missing: needed.saturating_sub(have) };
        self.state = State::Failed(error);
        Err(error)
    }

    /// Bytes of the input that were read or skipped, those that wait inside not counted.
    pub fn offset(&self) -> u64 {
        self.queue.offset()
    }

    /// Bytes that wait inside for the rest of their tag.
    pub fn buffered(&self) -> usize {
        self.queue.len()
    }

    /// Bytes skipped so far because they belonged to no tag.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// How often the demuxer had to search for the next tag.
    pub fn searches(&self) -> u64 {
        self.searches
    }

    /// Repeated lengths that were wrong and did no harm.
    pub fn wrong_sizes(&self) -> u64 {
        self.wrong_sizes
    }
}

/// What one step of the reader came to.
enum Step {
    Item(Item),
    On,
    Wait,
}

/// What begins at a byte while searching.
enum Candidate {
    Tag,
    FileHeader,
    No,
    Incomplete,
}

impl Limits {
    /// The same limits with a buffer that holds the largest tag and something beside it.
    pub(super) fn coherent(mut self) -> Self {
        self.max_tag_size = self.max_tag_size.min(MAX_BODY);
        self.max_buffered = self.max_buffered.max(self.max_tag_size + (64 << 10));
        self
    }
}

#[cfg(test)]
mod tests;
