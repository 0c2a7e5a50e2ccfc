//! Random access to the tags of an FLV file.

use std::fs::File;
use std::io::{self, BufReader, Read as _, Seek as _, SeekFrom};

use bytes::Bytes;
use xp2p_proto::flv::{Demuxer, FlvError, Item, Limits, MAX_DATA_OFFSET, TAG_HEADER_LEN, Tag, TagReader};

use super::is_frame;

/// Bytes of a body that are enough to tell what it is.
const SHOWN: usize = 64;

/// Bytes of the smallest file header.
const FILE_HEADER_LEN: usize = 9;

/// Bytes of the repeated length after each tag.
const TRAILER_LEN: u64 = 4;

/// So many tags are looked at to find the first or last frame the quick way.
const MAX_LOOK: usize = 64;

/// The start of a tag.
#[derive(Debug, Clone)]
pub(super) struct Head {
    /// The tag with the first bytes of its body only. Enough to tell keyframes and headers, not to decode.
    pub(super) tag: Tag,
    /// Bytes of header and whole body.
    pub(super) len: usize,
    /// Where the next tag begins.
    pub(super) next: u64,
}

/// An FLV file, read from wherever a tag begins.
///
/// Whole tags only: the end of what is read is the first place where no whole and sound tag begins. The last tag of a
/// camera that lost power is cut, and that of a file that is being written is not there yet.
#[derive(Debug)]
pub(super) struct TagFile {
    file: BufReader<File>,
    /// Where `file` stands; `None` after an error.
    position: Option<u64>,
    /// Bytes that were there at the last look.
    len: u64,
    first: u64,
}

impl TagFile {
    /// Reads the file header. `Ok(None)` if this is no FLV file, or does not have all of its header yet.
    pub(super) fn open(file: File, buffer: usize) -> io::Result<Option<Self>> {
        let len = file.metadata()?.len();
        let mut this =
            Self { file: BufReader::with_capacity(buffer, file), position: Some(0), len, first: 0 };
        if len < FILE_HEADER_LEN as u64 {
            return Ok(None);
        }
        let mut raw = [0; FILE_HEADER_LEN];
        this.read_exact_at(0, &mut raw)?;
        let mut demuxer = Demuxer::new(Limits::default());
        let sound = demuxer.push(Bytes::copy_from_slice(&raw)).and_then(|()| demuxer.poll());
        if !matches!(sound, Ok(Some(Item::Header(_)))) {
            return Ok(None);
        }
        let [.., a, b, c, d] = raw;
        let data = u32::from_be_bytes([a, b, c, d]);
        debug_assert!(data <= MAX_DATA_OFFSET, "the demuxer refuses longer ones");
        this.first = u64::from(data) + TRAILER_LEN;
        Ok(Some(this))
    }

    /// Where the first tag begins.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// Takes notice of what was written since.
    pub(super) fn look_again(&mut self) -> io::Result<()> {
        self.len = self.file.get_ref().metadata()?.len();
        Ok(())
    }

    /// The start of the tag at `offset`; `None` if no whole tag begins there.
    pub(super) fn head(&mut self, offset: u64) -> io::Result<Option<Head>> {
        let Some((mut raw, size)) = self.raw_header(offset)? else { return Ok(None) };
        let shown = size.min(SHOWN);
        // The protocol's own reader checks the header, and is told that the body is as short as what it gets.
        let [_, s2, s1, s0] = (shown as u32).to_be_bytes();
        raw[1..4].copy_from_slice(&[s2, s1, s0]); // `raw` has 11 bytes
        let mut bytes = [0; TAG_HEADER_LEN + SHOWN];
        let bytes = &mut bytes[..TAG_HEADER_LEN + shown]; // `shown` is at most `SHOWN`
        let (head, body) = bytes.split_at_mut(TAG_HEADER_LEN);
        head.copy_from_slice(&raw);
        self.read_exact_at(offset + TAG_HEADER_LEN as u64, body)?;
        let Some(tag) = parse(Bytes::copy_from_slice(bytes)) else { return Ok(None) };
        let len = TAG_HEADER_LEN + size;
        Ok(Some(Head { tag, len, next: offset + len as u64 + TRAILER_LEN }))
    }

    /// The tag at `offset` and where the next one begins; `None` if no whole tag begins there.
    pub(super) fn tag(&mut self, offset: u64) -> io::Result<Option<(Tag, u64)>> {
        let Some((raw, size)) = self.raw_header(offset)? else { return Ok(None) };
        let mut bytes = vec![0; TAG_HEADER_LEN + size]; // below 4 MiB, see `raw_header`
        let (head, body) = bytes.split_at_mut(TAG_HEADER_LEN);
        head.copy_from_slice(&raw);
        self.read_exact_at(offset + TAG_HEADER_LEN as u64, body)?;
        let next = offset + bytes.len() as u64 + TRAILER_LEN;
        Ok(parse(bytes.into()).map(|tag| (tag, next)))
    }

    /// The timestamp of the first frame, if it comes early.
    pub(super) fn first_frame(&mut self) -> io::Result<Option<u32>> {
        let mut offset = self.first;
        for _ in 0..MAX_LOOK {
            let Some(head) = self.head(offset)? else { return Ok(None) };
            if is_frame(&head.tag) {
                return Ok(Some(head.tag.timestamp));
            }
            offset = head.next;
        }
        Ok(None)
    }

    /// The timestamp of the last frame, found from the end by the repeated lengths. `None` if the file does not end
    /// with a whole tag, or its writer did not repeat lengths; only going through all of it tells then.
    pub(super) fn last_frame(&mut self) -> io::Result<Option<u32>> {
        let mut end = self.len;
        for _ in 0..MAX_LOOK {
            let Some(at) = end.checked_sub(TRAILER_LEN).filter(|at| *at > self.first) else {
                return Ok(None);
            };
            let mut raw = [0; TRAILER_LEN as usize];
            self.read_exact_at(at, &mut raw)?;
            let len = u32::from_be_bytes(raw);
            let Some(start) = at.checked_sub(u64::from(len)).filter(|at| *at >= self.first) else {
                return Ok(None);
            };
            let Some(head) = self.head(start)?.filter(|head| head.len == len as usize) else {
                return Ok(None);
            };
            if is_frame(&head.tag) {
                return Ok(Some(head.tag.timestamp));
            }
            end = start;
        }
        Ok(None)
    }

    /// The header of the tag at `offset` and the length of its body, if all of it is in the file.
    pub(super) fn raw_header(&mut self, offset: u64) -> io::Result<Option<([u8; TAG_HEADER_LEN], usize)>> {
        if offset.checked_add(TAG_HEADER_LEN as u64).is_none_or(|end| end > self.len) {
            return Ok(None);
        }
        let mut raw = [0; TAG_HEADER_LEN];
        self.read_exact_at(offset, &mut raw)?;
        let size = u32::from_be_bytes([0, raw[1], raw[2], raw[3]]) as usize;
        let end = offset + (TAG_HEADER_LEN + size) as u64; // 11 bytes more fit, and 2^24 below the end of any file
        Ok((size <= Limits::default().max_tag_size && end <= self.len).then_some((raw, size)))
    }

    fn read_exact_at(&mut self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let signed = |at: u64| i64::try_from(at).ok();
        let step = self.position.and_then(|position| signed(offset)?.checked_sub(signed(position)?));
        self.position = None;
        match step {
            Some(0) => {}
            // Keeps what is in the buffer.
            Some(step) => self.file.seek_relative(step)?,
            None => drop(self.file.seek(SeekFrom::Start(offset))?),
        }
        self.file.read_exact(into)?;
        self.position = Some(offset + into.len() as u64);
        Ok(())
    }
}

/// A tag from its bytes, `None` if they are none.
fn parse(bytes: Bytes) -> Option<Tag> {
    let mut reader = TagReader::new(Limits::default());
    let tag: Result<_, FlvError> = reader.push(bytes).and_then(|()| reader.poll());
    // Damage ends a file like its end does.
    tag.ok().flatten()
}
