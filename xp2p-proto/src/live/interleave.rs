//! Puts sound and pictures into one order again, by their time.
//!
//! They come by streams of their own. Pictures are passed on as they come; sound waits a moment for the pictures
//! before it, so that a file or player gets both in step, but never long.

use std::collections::VecDeque;

use crate::flv::{Tag, TagKind};

/// Sound may be ahead of the newest picture by this much media time, in ms: about one picture.
const AHEAD: i32 = 40;
/// Sound waits for pictures until this much of it is there, in ms of media time.
const MAX_WAIT: i32 = 300;
/// The same before the first picture, which may need longer.
const MAX_WAIT_FIRST: i32 = 2_000;
/// Most sound tags that wait.
const MAX_WAITING: usize = 512;

/// Milliseconds from one timestamp to another, the shorter way around the 32-bit wrap.
pub(super) fn distance(from: u32, to: u32) -> i32 {
    to.wrapping_sub(from) as i32
}

#[derive(Debug, Default)]
pub(super) struct Interleaver {
    waiting: VecDeque<Tag>,
    newest_video: Option<u32>,
    has_video: bool,
}

impl Interleaver {
    /// Whether there are pictures to wait for.
    pub(super) fn set_has_video(&mut self, has_video: bool) {
        self.has_video = has_video;
    }

    /// Takes in a tag in the order of its own kind, and gives out what may go on.
    pub(super) fn push(&mut self, tag: Tag, mut out: impl FnMut(Tag)) {
        if tag.kind == TagKind::Video {
            self.release(Some(tag.timestamp), &mut out);
            self.newest_video = Some(tag.timestamp);
            out(tag);
            self.release(None, &mut out);
        } else {
            self.waiting.push_back(tag);
            self.release(None, &mut out);
        }
    }

    /// Gives out all that waits, because nothing more will come.
    pub(super) fn flush(&mut self, mut out: impl FnMut(Tag)) {
        self.waiting.drain(..).for_each(&mut out);
    }

    /// `before`: only what is due before a picture of that time.
    fn release(&mut self, before: Option<u32>, out: &mut impl FnMut(Tag)) {
        while let Some(front) = self.waiting.front() {
            let newest = self.waiting.back().map_or(front.timestamp, |t| t.timestamp);
            let held = distance(front.timestamp, newest);
            let due = match (before, self.newest_video) {
                (Some(next), _) => distance(front.timestamp, next) > 0,
                (None, Some(video)) => distance(video, front.timestamp) <= AHEAD || held > MAX_WAIT,
                (None, None) => held > MAX_WAIT_FIRST,
            };
            if !(due || !self.has_video || held < 0 || self.waiting.len() > MAX_WAITING) {
                break;
            }
            if let Some(tag) = self.waiting.pop_front() {
                out(tag);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn run(input: &[(TagKind, u32)], has_video: bool) -> Vec<(TagKind, u32)> {
        let mut interleaver = Interleaver::default();
        interleaver.set_has_video(has_video);
        let mut out = Vec::new();
        for &(kind, timestamp) in input {
            interleaver
                .push(Tag { kind, timestamp, body: Bytes::new() }, |t| out.push((t.kind, t.timestamp)));
        }
        interleaver.flush(|t| out.push((t.kind, t.timestamp)));
        out
    }

    use TagKind::{Audio as A, Video as V};

    #[test]
    fn sound_that_is_early_waits_for_its_picture() {
        let out = run(&[(V, 0), (A, 20), (A, 60), (A, 100), (V, 40), (V, 80), (V, 120)], true);
        assert_eq!(out, [(V, 0), (A, 20), (V, 40), (A, 60), (V, 80), (A, 100), (V, 120)]);
    }

    #[test]
    fn sound_does_not_wait_long_for_pictures_that_are_late() {
        let mut input = vec![(V, 0)];
        input.extend((1..30).map(|i| (A, i * 20)));
        let out = run(&input[..20], true);
        assert!(out.len() >= 4, "{out:?}");
        let mut interleaver = Interleaver::default();
        interleaver.set_has_video(true);
        let mut released = 0;
        for &(kind, timestamp) in &input {
            interleaver.push(Tag { kind, timestamp, body: Bytes::new() }, |_| released += 1);
        }
        assert!(released >= input.len() - 17, "at most 300 ms wait, {released} of {} came out", input.len());
    }

    #[test]
    fn sound_alone_passes_at_once() {
        let mut interleaver = Interleaver::default();
        let mut out = Vec::new();
        interleaver.push(Tag { kind: A, timestamp: 5, body: Bytes::new() }, |t| out.push(t.timestamp));
        assert_eq!(out, [5]);
    }

    #[test]
    fn late_sound_is_not_held_back() {
        assert_eq!(run(&[(V, 100), (A, 20)], true), [(V, 100), (A, 20)]);
    }
}
