//! A recording as it comes.

use std::collections::VecDeque;
use std::sync::Arc;

use noq_proto::Connection;

use super::body::State;
use super::event::{StreamKey, ViewerEvent};
use crate::camera::read_seek_marker;
use crate::exchange::Outbox;
use crate::flv::{Config, Limits, Tag, TagKind, TagReader};
use crate::link::stream::{ReadEnd, read};
use crate::live::{LiveItem, ReceiverStats};
use crate::request::{Playback, Request, RequestError, RequestHead};

const READ_SLICE: usize = 64 * 1024;

/// What a step has come to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ShowEnd {
    Open,
    /// The recording is over.
    Eof,
    /// It has ended otherwise.
    Failed(String),
    /// The connection went away; ask again.
    Again,
}

#[derive(Debug)]
pub(super) struct Show {
    pub(super) key: StreamKey,
    pub(super) request: Playback,
    pub(super) state: State,
    pub(super) outbox: Outbox,
    limits: Limits,
    reader: TagReader,
    config: Config,
    /// Jumps that were asked for and not seen yet: what comes before them is not shown.
    pub(super) jumps: u32,
    /// Paused by a command that has succeeded.
    pub(super) paused: bool,
    /// Time of the newest sound and picture.
    newest: [Option<u32>; 2],
    /// After a lost connection: what was shown already comes again and is left out up to here.
    skip: [Option<u32>; 2],
    /// Where to go on after a lost connection, in milliseconds.
    position: Option<u64>,
    /// What was received, over all connections.
    pub(super) received: ReceiverStats,
}

impl Show {
    pub(super) fn new(key: StreamKey, request: Playback, limits: Limits) -> Self {
        Self {
            key,
            request,
            state: State::Waiting,
            outbox: Outbox::default(),
            limits,
            reader: TagReader::new(limits),
            config: Config::default(),
            jumps: 0,
            paused: false,
            newest: [None; 2],
            skip: [None; 2],
            position: None,
            received: ReceiverStats::default(),
        }
    }

    pub(super) fn head(&self) -> Result<RequestHead, RequestError> {
        let mut head = Request::Playback(self.request.clone()).to_head()?;
        head.headers.position = self.position;
        head.headers.paused = self.paused;
        Ok(head)
    }

    /// The connection is gone: ask again, from where we are.
    pub(super) fn restart(&mut self) {
        self.state = State::Waiting;
        self.outbox = Outbox::default();
        self.reader = TagReader::new(self.limits);
        self.jumps = 0;
        self.skip = self.newest;
        if let Some(at) = self.newest.into_iter().flatten().max() {
            self.position = Some(at.into());
        }
    }

    pub(super) fn read(&mut self, conn: &mut Connection, events: &mut VecDeque<ViewerEvent>) -> ShowEnd {
        let Some(id) = self.state.stream() else { return ShowEnd::Open };
        loop {
            let mut failed = None;
            let ended = read(conn, id, READ_SLICE, |piece| {
                if failed.is_some() {
                    return;
                }
                let body = match self.state.push(piece) {
                    Ok((None, body)) => body,
                    Ok((Some(head), body)) => {
                        if !head.is_success() {
                            failed = Some(String::new());
                        }
                        events.push_back(ViewerEvent::Parsed { stream: self.key, head: Box::new(head) });
                        body
                    }
                    Err(text) => {
                        failed = Some(text);
                        return;
                    }
                };
                if failed.is_none() && !body.is_empty() {
                    failed = self.tags(body, events).err();
                }
            });
            if let Some(text) = failed {
                return ShowEnd::Failed(text);
            }
            match ended {
                ReadEnd::Limit => {}
                ReadEnd::Blocked => return ShowEnd::Open,
                ReadEnd::Finished if self.state.is_open() && self.reader.finish().is_ok() => {
                    return ShowEnd::Eof;
                }
                ReadEnd::Finished => {
                    return ShowEnd::Failed(
                        "the camera ended the playback in the middle of a tag".to_owned(),
                    );
                }
                ReadEnd::Reset(code) => {
                    return ShowEnd::Failed(format!("the camera broke the playback off with code {code}"));
                }
                ReadEnd::Closed => return ShowEnd::Again,
            }
        }
    }

    fn tags(&mut self, body: bytes::Bytes, events: &mut VecDeque<ViewerEvent>) -> Result<(), String> {
        let broken = |e: crate::flv::FlvError| format!("the camera broke the protocol: {e}");
        self.received.bytes += body.len() as u64;
        self.reader.push(body).map_err(broken)?;
        while let Some(tag) = self.reader.poll().map_err(broken)? {
            if let Some(progress) = read_seek_marker(&tag) {
                self.jumps = self.jumps.saturating_sub(1);
                self.skip = [None; 2];
                self.newest = [None; 2];
                self.position = Some(progress);
                if self.jumps == 0 {
                    events.push_back(ViewerEvent::Seeked { stream: self.key, progress });
                }
                continue;
            }
            if self.jumps == 0 && !self.is_old(&tag) {
                self.show(tag, events);
            }
        }
        Ok(())
    }

    fn show(&mut self, tag: Tag, events: &mut VecDeque<ViewerEvent>) {
        let changed = self.config.update(&tag);
        if tag.is_sequence_header() || tag.is_metadata() {
            if changed {
                let item = LiveItem::Config(Arc::new(self.config.clone()));
                events.push_back(ViewerEvent::Media { stream: self.key, item });
            }
            return;
        }
        if let Some(slot) = slot(&tag).and_then(|slot| self.newest.get_mut(slot)) {
            *slot = Some(tag.timestamp);
        }
        self.received.tags += 1;
        self.received.keyframes += u64::from(tag.is_keyframe());
        events.push_back(ViewerEvent::Media { stream: self.key, item: LiveItem::Tag(tag) });
    }

    /// Whether a tag was shown before the connection was lost.
    fn is_old(&mut self, tag: &Tag) -> bool {
        if tag.is_sequence_header() || tag.is_metadata() {
            return false;
        }
        let Some(skip) = slot(tag).and_then(|slot| self.skip.get_mut(slot)) else { return false };
        match *skip {
            Some(until) if tag.timestamp <= until => true,
            _ => {
                *skip = None;
                false
            }
        }
    }
}

fn slot(tag: &Tag) -> Option<usize> {
    match tag.kind {
        TagKind::Audio => Some(0),
        TagKind::Video => Some(1),
        TagKind::Script => None,
    }
}
