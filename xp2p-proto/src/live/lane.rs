//! The streams of one kind, in the order of their numbers.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use noq_proto::StreamId;

use super::interleave::distance;
use crate::flv::{FlvError, Limits, Tag, TagReader};

/// Most streams of one kind that are held at a time; the newest of them survive.
pub(super) const MAX_STREAMS: usize = 64;

#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) stream: StreamId,
    pub(super) config: u64,
    reader: TagReader,
    tags: VecDeque<Tag>,
    pub(super) held: usize,
    ended: bool,
}

/// What the lane lets out next.
#[derive(Debug)]
pub(super) enum Next {
    /// A tag that needs configuration `config`.
    Tag { config: u64, tag: Tag },
    /// A stream is given up: tell the peer, unless it did so first.
    Skipped(StreamId),
    /// Nothing for now.
    Wait,
}

#[derive(Debug)]
pub(super) struct Lane {
    limits: Limits,
    next: u64,
    streams: BTreeMap<u64, Incoming>,
    last: Option<u32>,
}

impl Lane {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, next: 0, streams: BTreeMap::new(), last: None }
    }

    /// A stream has told its number. `false`: it is not wanted (any more).
    pub(super) fn open(&mut self, stream: StreamId, number: u64, config: u64) -> bool {
        if number < self.next || self.streams.contains_key(&number) || self.streams.len() >= MAX_STREAMS {
            return false;
        }
        let reader = TagReader::new(self.limits);
        self.streams.insert(
            number,
            Incoming { stream, config, reader, tags: VecDeque::new(), held: 0, ended: false },
        );
        true
    }

    /// Bytes of stream `number`.
    pub(super) fn data(&mut self, number: u64, data: Bytes) -> Result<(), FlvError> {
        let Some(incoming) = self.streams.get_mut(&number) else { return Ok(()) };
        // The reader takes at least one whole tag and a little more; pieces of QUIC are smaller than that little.
        incoming.reader.push(data)?;
        while let Some(tag) = incoming.reader.poll()? {
            incoming.held += tag.wire_len();
            incoming.tags.push_back(tag);
        }
        Ok(())
    }

    /// Stream `number` has ended, in order or by a reset.
    pub(super) fn end(&mut self, number: u64) {
        if let Some(incoming) = self.streams.get_mut(&number) {
            incoming.ended = true;
        }
    }

    /// Bytes of whole tags that wait.
    pub(super) fn held(&self) -> usize {
        self.streams.values().map(|s| s.held + s.reader.buffered()).sum()
    }

    /// Whether stream `number` is the one whose turn it is.
    pub(super) fn is_current(&self, number: u64) -> bool {
        number <= self.next
    }

    /// The next tag in order. `complete`: no stream with a smaller number can turn up any more than those known.
    /// `budget`: a stream that stands still is skipped once newer ones are ahead by more ms of media time.
    pub(super) fn poll(&mut self, complete: bool, budget: Option<i32>) -> Next {
        loop {
            let is_ahead = self.is_ahead(budget);
            match self.streams.get_mut(&self.next) {
                Some(current) => {
                    if let Some(tag) = current.tags.pop_front() {
                        current.held -= tag.wire_len();
                        self.last = Some(tag.timestamp);
                        return Next::Tag { config: current.config, tag };
                    }
                    if !current.ended && !is_ahead {
                        return Next::Wait;
                    }
                    let skipped = (!current.ended).then_some(current.stream);
                    self.streams.remove(&self.next);
                    self.next += 1;
                    if let Some(stream) = skipped {
                        return Next::Skipped(stream);
                    }
                }
                None => match self.streams.first_key_value() {
                    Some((&first, _)) if complete || is_ahead => self.next = first,
                    _ => return Next::Wait,
                },
            }
        }
    }

    /// Whether every stream that was opened is through.
    pub(super) fn is_empty(&self) -> bool {
        self.streams.is_empty()
    }

    /// Whether newer streams hold more than the budget allows to wait for.
    fn is_ahead(&self, budget: Option<i32>) -> bool {
        let mut newer = self.streams.range(self.next + 1..).filter_map(|(_, s)| s.tags.back());
        match (budget, newer.next_back(), self.last) {
            (Some(budget), Some(newest), Some(last)) => distance(last, newest.timestamp) > budget,
            // Nothing was shown yet: whatever can be shown is better.
            (Some(_), Some(_), None) => true,
            _ => false,
        }
    }
}
