//! FLV that arrives as it is made.

use std::io::Read;

use bytes::Bytes;
use xp2p_proto::flv::{Demuxer, Item, Limits, Timeline, TimelineConfig};

use super::{Sink, SourceEvent, Stop};

/// Bytes that are read at a time.
const READ: usize = 64 * 1024;

/// Live sources may pause, and their pauses are real.
pub(super) fn live_timeline() -> Timeline {
    Timeline::new(TimelineConfig::default())
}

/// Reads to the end, or until told to stop, or until the sink wants no more, which is told in `wanted`.
pub(super) fn read(
    mut input: impl Read,
    timeline: &mut Timeline,
    stop: &Stop,
    sink: &mut Sink,
    wanted: &mut bool,
) -> Result<(), String> {
    let mut demuxer = Demuxer::new(Limits::default());
    let mut buffer = vec![0; READ];
    while !stop.is_set() {
        let n = match input.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => n,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(format!("cannot read the source: {e}")),
        };
        demuxer.push(Bytes::copy_from_slice(&buffer[..n])).map_err(|e| e.to_string())?;
        while let Some(item) = demuxer.poll().map_err(|e| e.to_string())? {
            if let Item::Tag(tag) = item
                && !sink(SourceEvent::Tag(timeline.apply(tag)))
            {
                *wanted = false;
                return Ok(());
            }
        }
    }
    // A source that is stopped ends anywhere; only one that never began deserves a word.
    if demuxer.offset() == 0 && !stop.is_set() {
        return Err("the source ended before it gave anything".to_owned());
    }
    Ok(())
}
