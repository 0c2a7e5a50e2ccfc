//! What a viewer says.

use std::collections::VecDeque;

use bytes::Bytes;
use noq_proto::Connection;

use super::CLOSE_OK;
use super::event::{CameraEvent, RequestId};
use super::session::Grant;
use crate::exchange::Outbox;
use crate::flv::{Limits, TagReader};
use crate::link::stream::{ReadEnd, end, read, stop};
use crate::request::{ResponseHead, Status};

/// Bytes of talk that the application has not taken yet, past which the viewer has to wait.
pub const MAX_UNHEARD: usize = 512 * 1024;
const READ_SLICE: usize = 32 * 1024;

/// Whether a talk goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TalkEnd {
    Open,
    /// The viewer has said everything.
    Complete,
    /// It broke off.
    Broken,
}

#[derive(Debug)]
pub(super) struct Talk {
    pub(super) id: RequestId,
    pub(super) grant: Grant,
    reader: TagReader,
    outbox: Outbox,
    /// Bytes that the application has not taken yet.
    unheard: usize,
    /// The stream may hold more, but nobody will tell.
    unread: bool,
}

impl Talk {
    pub(super) fn new(id: RequestId, grant: Grant) -> Self {
        let mut outbox = Outbox::default();
        outbox.push(Bytes::from(ResponseHead::new(Status::Ok).to_bytes()));
        let reader = TagReader::new(Limits::default());
        Self { id, grant, reader, outbox, unheard: 0, unread: true }
    }

    pub(super) fn pump(&mut self, conn: &mut Connection) {
        self.outbox.pump(conn, self.id.stream);
    }

    /// The application has taken `bytes` of tags.
    pub(super) fn heard(&mut self, bytes: usize) {
        self.unheard = self.unheard.saturating_sub(bytes);
    }

    pub(super) fn is_unread(&self) -> bool {
        self.unread && self.unheard < MAX_UNHEARD
    }

    /// Takes in bytes that came with the head.
    pub(super) fn push(&mut self, data: Bytes, events: &mut VecDeque<CameraEvent>) -> Result<(), String> {
        self.reader.push(data).map_err(|e| e.to_string())?;
        while let Some(tag) = self.reader.poll().map_err(|e| e.to_string())? {
            self.unheard += tag.wire_len();
            events.push_back(CameraEvent::VoiceTag { request: self.id, tag });
        }
        Ok(())
    }

    /// Reads what has come.
    pub(super) fn read(&mut self, conn: &mut Connection, events: &mut VecDeque<CameraEvent>) -> TalkEnd {
        self.unread = false;
        loop {
            if self.unheard >= MAX_UNHEARD {
                self.unread = true;
                return TalkEnd::Open;
            }
            let mut failed = None;
            let ended = read(conn, self.id.stream, READ_SLICE, |data| {
                if failed.is_none() {
                    failed = self.push(data, events).err();
                }
            });
            if failed.is_some() {
                self.abort(conn);
                return TalkEnd::Broken;
            }
            match ended {
                ReadEnd::Limit => {}
                ReadEnd::Blocked => return TalkEnd::Open,
                ReadEnd::Finished if self.reader.finish().is_ok() => {
                    // That our side ends as well tells the viewer that everything was heard.
                    self.outbox.finish();
                    self.pump(conn);
                    return TalkEnd::Complete;
                }
                ReadEnd::Finished | ReadEnd::Reset(_) | ReadEnd::Closed => {
                    self.abort(conn);
                    return TalkEnd::Broken;
                }
            }
        }
    }

    pub(super) fn abort(&mut self, conn: &mut Connection) {
        stop(conn, self.id.stream, CLOSE_OK);
        end(conn, self.id.stream, Some(CLOSE_OK));
    }
}
