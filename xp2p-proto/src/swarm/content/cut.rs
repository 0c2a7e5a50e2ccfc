//! From canonical frames to segments and pieces.
//!
//! A segment is what lies between two keyframes. Its content is
//!
//! | field | bytes |
//! |---|---|
//! | tracks: 1 video, 4 audio, as in an FLV file header | 1 |
//! | body of the video sequence header, 0 bytes without | length varint, bytes |
//! | body of the audio sequence header, 0 bytes without | length varint, bytes |
//! | then of each frame: kind, 8 audio or 9 video | 1 |
//! | its time after the segment's first frame in ms, zigzag | varint |
//! | its body | length varint, bytes |
//!
//! Zigzag, because a frame that came too late for the merge may be before the segment. Pieces cut through this at 8 KiB, and
//! before a frame that begins a new 120 ms of the segment: a pure function of the segment, so that whoever has the whole
//! segment has the same pieces.
//!
//! A stream without video has no keyframes; there a segment ends after a second, and the first one begins where the cutter
//! begins. The borders are the signer's choice, therefore; a puller finds them by trying.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use super::canonical::Item;
use super::frame::{Frame, StreamConfig};
use crate::swarm::codec::field::{put_bytes, put_varint};
use crate::swarm::constants::{MAX_PIECE, MAX_PIECE_MS};
use crate::swarm::piece::{Observed, PIECE_HASH_LEN, piece_hash};

/// Length of the segments of a stream without video, in ms.
pub(super) const AUDIO_SEGMENT_MS: i64 = 1_000;
/// Longest content before a segment's first frame.
const HEAD_CAPACITY: usize = 512;

/// A piece that was cut here and has no number yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CutPiece {
    /// The run it is of, as [`Canonical`](super::Canonical) counts.
    pub run: u64,
    /// Its place in its segment, from 0.
    pub index: u16,
    /// Whether its segment ends with it.
    pub last_of_segment: bool,
    /// Time of its first frame in ms, as the run counts. Not before that of the piece before.
    pub time: i64,
    /// Time of its last frame in ms.
    pub end: i64,
    /// Its content, at most [`MAX_PIECE`] bytes, never empty.
    pub content: Bytes,
    /// The first 16 bytes of BLAKE3 over the content.
    pub hash: [u8; PIECE_HASH_LEN],
}

impl CutPiece {
    /// All of it but the content.
    pub fn observed(&self) -> Observed {
        let Self { run, index, time, end, hash, .. } = *self;
        // At most MAX_PIECE.
        Observed { run, index, time, end, len: self.content.len().min(MAX_PIECE) as u16, hash }
    }

    /// Whether a segment begins with it.
    pub fn segment_start(&self) -> bool {
        self.index == 0
    }
}

#[derive(Debug)]
struct Segment {
    /// Time of its first frame.
    start: i64,
    /// Place of the piece in the making.
    index: u16,
    /// What is not in a piece yet, at most [`MAX_PIECE`] bytes between two frames, never empty.
    buffer: BytesMut,
    /// Time of the first frame in the buffer.
    time: i64,
    /// Which 120 ms of the segment the buffer is of.
    slot: i64,
    /// Time of the last frame.
    end: i64,
}

/// Cuts canonical frames into pieces.
#[derive(Debug, Default)]
pub struct Cutter {
    run: u64,
    config: StreamConfig,
    segment: Option<Segment>,
    out: VecDeque<CutPiece>,
}

impl Cutter {
    /// A cutter that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next item of a [`Canonical`](super::Canonical). Frames before the first keyframe of a run are in no
    /// segment.
    pub fn push(&mut self, item: &Item) {
        match item {
            Item::Run { run, config } => {
                self.finish();
                self.run = *run;
                self.config = config.clone();
            }
            Item::Frame(frame) => self.frame(frame),
        }
    }

    /// The next piece.
    pub fn poll(&mut self) -> Option<CutPiece> {
        self.out.pop_front()
    }

    /// Ends the segment, because nothing follows.
    pub fn finish(&mut self) {
        let run = self.run;
        if let Some(mut segment) = self.segment.take() {
            self.out.extend(segment.cut(run, MAX_PIECE, true));
        }
    }

    fn frame(&mut self, frame: &Frame) {
        let begins = match &self.segment {
            _ if self.config.tracks.has_video => frame.key,
            Some(segment) => frame.time - segment.start >= AUDIO_SEGMENT_MS,
            None => true,
        };
        if begins {
            self.finish();
            self.segment = Some(Segment::new(&self.config, frame.time));
        }
        let run = self.run;
        let Some(segment) = &mut self.segment else { return };
        let since = frame.time - segment.start;
        let slot = since / MAX_PIECE_MS as i64;
        if slot > segment.slot {
            self.out.extend(segment.cut(run, MAX_PIECE, false));
            segment.slot = slot;
            // Not back in time, should this frame have come too late for the merge.
            segment.time = segment.time.max(frame.time);
        }
        segment.end = segment.end.max(frame.time);
        let mut head = Vec::with_capacity(16);
        head.push(frame.track.kind().id());
        put_varint(&mut head, zigzag(since));
        put_varint(&mut head, frame.body.len() as u64);
        segment.buffer.extend_from_slice(&head);
        segment.buffer.extend_from_slice(&frame.body);
        while segment.buffer.len() > MAX_PIECE {
            // Something stays behind, so that the last piece of a segment is known when it is cut.
            self.out.extend(segment.cut(run, MAX_PIECE, false));
            segment.time = segment.time.max(frame.time);
        }
        if segment.index == u16::MAX {
            // Two hours without a keyframe: nobody can join such a stream anyway.
            self.segment = None;
        }
    }
}

impl Segment {
    fn new(config: &StreamConfig, start: i64) -> Self {
        let mut head = Vec::with_capacity(HEAD_CAPACITY);
        let tracks = config.tracks;
        head.push(u8::from(tracks.has_audio) << 2 | u8::from(tracks.has_video));
        put_bytes(&mut head, config.video.as_deref().unwrap_or_default());
        put_bytes(&mut head, config.audio.as_deref().unwrap_or_default());
        let buffer = BytesMut::from(head.as_slice());
        Self { start, index: 0, buffer, time: start, slot: 0, end: start }
    }

    /// Takes a piece of at most `most` bytes out of the buffer.
    fn cut(&mut self, run: u64, most: usize, last_of_segment: bool) -> Option<CutPiece> {
        if self.buffer.is_empty() || self.index == u16::MAX {
            return None;
        }
        // Copied, so that a piece that is kept does not keep its neighbours.
        let content = self.buffer.split_to(most.min(self.buffer.len())).freeze();
        let hash = piece_hash(&content);
        let (index, time, end) = (self.index, self.time, self.end);
        self.index += 1;
        Some(CutPiece { run, index, last_of_segment, time, end, content, hash })
    }
}

/// Small numbers of either sign as small numbers.
const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// The inverse of [`zigzag`].
pub(super) const fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flv::FileHeader;
    use crate::swarm::content::Track;

    fn run(has_video: bool) -> Item {
        let tracks = FileHeader { has_audio: true, has_video };
        let video = has_video.then(|| Bytes::from_static(&[0x17, 0, 0, 0, 0, 1, 77, 0, 1]));
        Item::Run { run: 3, config: StreamConfig { tracks, video, audio: None } }
    }

    fn video(time: i64, key: bool, len: usize) -> Item {
        let mut body = vec![if key { 0x17 } else { 0x27 }, 1, 0, 0, 0];
        body.resize(len.max(5), time as u8);
        Item::Frame(Frame::new(Track::Video, time, body.into()))
    }

    fn sound(time: i64) -> Item {
        Item::Frame(Frame::new(Track::Audio, time, vec![0x72, time as u8].into()))
    }

    fn cut(items: impl IntoIterator<Item = Item>) -> Vec<CutPiece> {
        let mut cutter = Cutter::new();
        items.into_iter().for_each(|item| cutter.push(&item));
        cutter.finish();
        std::iter::from_fn(|| cutter.poll()).collect()
    }

    #[test]
    fn small_numbers_stay_small() {
        for (value, coded) in [(0, 0), (-1, 1), (1, 2), (-2, 3), (1000, 2000)] {
            assert_eq!(zigzag(value), coded);
        }
        for value in [0, 1, -1, 77, -77, i64::MAX, i64::MIN] {
            assert_eq!(unzigzag(zigzag(value)), value);
        }
    }

    #[test]
    fn pieces_end_at_8_kib_and_at_120_ms() {
        let pieces = cut([
            run(true),
            sound(-5), // before the first keyframe: in no segment
            video(0, true, 20_000),
            sound(119),
            sound(120),
            video(300, false, 100),
            video(1000, true, 10),
        ]);
        let seen: Vec<_> = pieces.iter().map(|p| (p.index, p.time, p.end, p.last_of_segment)).collect();
        assert_eq!(
            seen,
            [
                (0, 0, 0, false),
                (1, 0, 0, false),
                (2, 0, 119, false),
                (3, 120, 120, false),
                (4, 300, 300, true),
                (0, 1000, 1000, true)
            ]
        );
        assert_eq!([pieces[0].content.len(), pieces[1].content.len()], [MAX_PIECE; 2]);
        assert!(pieces.iter().all(|p| p.run == 3 && p.hash == piece_hash(&p.content)));
        assert_eq!(pieces[0].content[..12], [5, 9, 0x17, 0, 0, 0, 0, 1, 77, 0, 1, 0]);
        assert_eq!(pieces[3].content[..], [8, 0x40, 240, 2, 0x72, 120], "kind, 2 * 120, length, body");
    }

    #[test]
    fn a_segment_that_fills_its_last_piece_has_no_empty_one() {
        let head = cut([run(true), video(0, true, 100)])[0].content.len() - 100;
        // The length of a longer body takes no more bytes up to 16 KiB.
        let full = MAX_PIECE - head;
        for (len, count) in [(full, 1), (full + 1, 2), (full - 1, 1)] {
            let pieces = cut([run(true), video(0, true, len)]);
            assert_eq!(pieces.len(), count, "{len}");
            assert!(pieces.iter().all(|p| !p.content.is_empty()));
            assert_eq!(pieces.iter().filter(|p| p.last_of_segment).count(), 1);
        }
    }

    #[test]
    fn sound_alone_is_cut_by_time() {
        let pieces = cut(std::iter::once(run(false)).chain((0..50).map(|i| sound(i * 50))));
        let starts: Vec<_> = pieces.iter().filter(|p| p.segment_start()).map(|p| p.time).collect();
        assert_eq!(starts, [0, 1000, 2000]);
    }

    #[test]
    fn a_new_run_ends_the_segment() {
        let pieces = cut([run(true), video(0, true, 10), run(true), sound(0), video(40, true, 10)]);
        assert_eq!(
            pieces.iter().map(|p| (p.time, p.last_of_segment)).collect::<Vec<_>>(),
            [(0, true), (40, true)]
        );
    }
}
