//! An FLV file, played over and over or once, at the speed of its timestamps.

use std::io::Read as _;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use xp2p_proto::flv::{Demuxer, FlvError, Item, Limits, Tag, TagKind, Timeline, TimelineConfig};

use super::{Sink, SourceError, SourceEvent, Stop};

/// Largest file that is kept in memory.
pub(super) const MAX_FILE: u64 = 256 << 20;

/// The tags of a file.
#[derive(Debug)]
pub(super) struct Clip {
    tags: Vec<Tag>,
}

impl Clip {
    pub(super) fn read(path: &Path) -> Result<Self, SourceError> {
        let name = path.display().to_string();
        let cannot = |error| SourceError::File { path: name.clone(), error };
        let file = std::fs::File::open(path).map_err(cannot)?;
        let size = file.metadata().map_err(cannot)?.len();
        if size > MAX_FILE {
            return Err(SourceError::TooLarge { path: name, size });
        }
        let mut bytes = Vec::new();
        file.take(MAX_FILE).read_to_end(&mut bytes).map_err(cannot)?;
        Self::parse(&name, bytes.into())
    }

    pub(super) fn parse(name: &str, bytes: Bytes) -> Result<Self, SourceError> {
        let not_flv = |error: FlvError| SourceError::NotFlv { path: name.to_owned(), error };
        // The tags are slices of the file; only the largest tag limits what may wait.
        let limits = Limits { max_buffered: bytes.len().max(1), ..Limits::default() };
        let mut demuxer = Demuxer::new(limits);
        demuxer.push(bytes).map_err(not_flv)?;
        let mut tags = Vec::new();
        while let Some(item) = demuxer.poll().map_err(not_flv)? {
            if let Item::Tag(tag) = item {
                tags.push(tag);
            }
        }
        if let Err(error) = demuxer.finish() {
            tracing::warn!("{name}: {error}; what is before that is shown");
        }
        if !tags.iter().any(|t| t.kind != TagKind::Script) {
            return Err(SourceError::Empty { path: name.to_owned() });
        }
        Ok(Self { tags })
    }

    /// Plays it over and over, until it is stopped or nobody wants more.
    pub(super) fn play(&self, stop: &Stop, sink: &mut Sink) {
        let mut timeline = Timeline::new(TimelineConfig::default());
        let start = Instant::now();
        while self.round(&mut timeline, start, stop, sink) {
            timeline.restart();
        }
    }

    /// Plays it once. Returns whether it came to its end.
    pub(super) fn play_once(&self, stop: &Stop, sink: &mut Sink) -> bool {
        self.round(&mut Timeline::new(TimelineConfig::default()), Instant::now(), stop, sink)
    }

    fn round(&self, timeline: &mut Timeline, start: Instant, stop: &Stop, sink: &mut Sink) -> bool {
        self.tags.iter().all(|tag| {
            let position = timeline.position(tag);
            // The wrap after 49.7 days is FLV's.
            let tag = Tag { timestamp: position as u32, ..tag.clone() };
            !stop.wait_until(start + Duration::from_millis(position)) && sink(SourceEvent::Tag(tag))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    fn clip(length_ms: u32) -> Bytes {
        let mut muxer = xp2p_proto::flv::Muxer::new();
        let mut bytes = muxer.header(Default::default()).to_vec();
        for timestamp in (0..length_ms).step_by(10) {
            let body = Bytes::from_static(&[0x17, 1, 0, 0, 0, 7]);
            let tag = Tag { kind: TagKind::Video, timestamp, body };
            muxer.tag(&tag).iter().for_each(|part| bytes.extend_from_slice(part));
        }
        bytes.into()
    }

    #[test]
    fn a_looped_file_keeps_its_time_going_forward() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let stop = Stop::default();
        let record = seen.clone();
        let mut sink: Sink = Box::new(move |event| {
            let SourceEvent::Tag(tag) = event else { return true };
            let mut seen = record.lock().unwrap();
            seen.push(tag.timestamp);
            seen.len() < 25
        });
        Clip::parse("test", clip(100)).unwrap().play(&stop, &mut sink);
        let expected: Vec<u32> = (0..25).map(|i| i * 10).collect();
        assert_eq!(*seen.lock().unwrap(), expected);
    }

    #[test]
    fn a_file_that_is_played_once_comes_to_its_end() {
        let seen = Arc::new(Mutex::new(0));
        let record = seen.clone();
        let mut sink: Sink = Box::new(move |_| {
            *record.lock().unwrap() += 1;
            true
        });
        assert!(Clip::parse("test", clip(50)).unwrap().play_once(&Stop::default(), &mut sink));
        assert_eq!(*seen.lock().unwrap(), 5);
    }

    #[test]
    fn what_is_no_flv_is_refused_with_a_reason() {
        let error = Clip::parse("page.html", Bytes::from_static(b"<html>")).unwrap_err().to_string();
        assert!(error.contains("page.html"), "{error}");
        assert!(matches!(Clip::parse("x", clip(0)), Err(SourceError::Empty { .. })));
        let missing = Clip::read(Path::new("/does/not/exist.flv")).unwrap_err().to_string();
        assert!(missing.contains("/does/not/exist.flv"), "{missing}");
    }
}
