//! What the viewer says.

use std::collections::VecDeque;

use bytes::Bytes;
use noq_proto::Connection;

use super::body::State;
use super::event::{StreamKey, ViewerEvent};
use crate::exchange::{Flow, Outbox};
use crate::flv::Tag;
use crate::link::stream::{ReadEnd, read};
use crate::request::{Request, RequestError, RequestHead, Voice};

/// Bytes of talk that wait, past which no more is taken.
pub const MAX_TALK: usize = 256 * 1024;

/// What a step has come to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum TalkEnd {
    Open,
    /// The camera has heard everything.
    Complete,
    /// It has ended otherwise.
    Failed(String),
}

#[derive(Debug)]
pub(super) struct Talk {
    pub(super) key: StreamKey,
    request: Voice,
    pub(super) state: State,
    outbox: Outbox,
    /// What is said before there is a connection: it goes after the head.
    early: Vec<Bytes>,
    early_bytes: usize,
    ended: bool,
    /// More was offered than fitted.
    full: bool,
}

impl Talk {
    pub(super) fn new(key: StreamKey, request: Voice) -> Self {
        Self {
            key,
            request,
            state: State::Waiting,
            outbox: Outbox::default(),
            early: Vec::new(),
            early_bytes: 0,
            ended: false,
            full: false,
        }
    }

    pub(super) fn head(&self) -> Result<RequestHead, RequestError> {
        Request::Voice(self.request).to_head()
    }

    pub(super) fn ask(&mut self, conn: &mut Connection, head: &RequestHead) -> bool {
        if !self.state.ask(conn, head, &mut self.outbox) {
            return false;
        }
        for piece in self.early.drain(..) {
            self.outbox.push(piece);
        }
        self.early_bytes = 0;
        if self.ended {
            self.outbox.finish();
        }
        true
    }

    /// Takes in a tag. False: there is no room at present.
    pub(super) fn push(&mut self, tag: &Tag) -> bool {
        let waiting = self.queued();
        if waiting > 0 && waiting + tag.wire_len() > MAX_TALK {
            self.full = true;
            return false;
        }
        let header = Bytes::copy_from_slice(&tag.header());
        if self.state.is_waiting() {
            self.early_bytes += tag.wire_len();
            self.early.extend([header, tag.body.clone()]);
        } else {
            self.outbox.push(header);
            self.outbox.push(tag.body.clone());
        }
        true
    }

    /// Bytes that wait.
    pub(super) fn queued(&self) -> usize {
        self.outbox.bytes() + self.early_bytes
    }

    /// Everything was said.
    pub(super) fn end(&mut self) {
        self.ended = true;
        if !self.state.is_waiting() {
            self.outbox.finish();
        }
    }

    pub(super) fn is_ended(&self) -> bool {
        self.ended
    }

    pub(super) fn pump(&mut self, conn: &mut Connection, events: &mut VecDeque<ViewerEvent>) {
        let Some(id) = self.state.stream() else { return };
        // That the camera wants no more is seen in its answer.
        let flow = self.outbox.pump(conn, id);
        if self.full && flow == Flow::Idle && self.outbox.bytes() == 0 {
            self.full = false;
            events.push_back(ViewerEvent::VoiceReady { stream: self.key });
        }
    }

    pub(super) fn read(&mut self, conn: &mut Connection, events: &mut VecDeque<ViewerEvent>) -> TalkEnd {
        let Some(id) = self.state.stream() else { return TalkEnd::Open };
        let mut failed = None;
        let ended = read(conn, id, usize::MAX, |piece| {
            if failed.is_some() {
                return;
            }
            match self.state.push(piece) {
                Ok((None, _)) => {}
                Ok((Some(head), _)) => {
                    if !head.is_success() {
                        failed = Some(String::new());
                    }
                    events.push_back(ViewerEvent::Parsed { stream: self.key, head: Box::new(head) });
                }
                Err(text) => failed = Some(text),
            }
        });
        if let Some(text) = failed {
            return TalkEnd::Failed(text);
        }
        match ended {
            ReadEnd::Blocked | ReadEnd::Limit => TalkEnd::Open,
            ReadEnd::Finished if self.state.is_open() && self.ended => TalkEnd::Complete,
            ReadEnd::Finished => TalkEnd::Failed("the camera ended the talk".to_owned()),
            ReadEnd::Reset(_) | ReadEnd::Closed => {
                TalkEnd::Failed("the camera broke the talk off".to_owned())
            }
        }
    }
}
