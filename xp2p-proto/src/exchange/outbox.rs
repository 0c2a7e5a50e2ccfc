//! Bytes on their way into one stream.

use std::collections::VecDeque;

use bytes::Bytes;
use noq_proto::{Connection, StreamId};

use crate::link::stream::{WriteEnd, end, write};

/// What [`Outbox::pump`] has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    /// Everything so far was taken.
    Idle,
    /// QUIC takes no more at present; a writable event will tell.
    Blocked,
    /// The peer does not want the stream.
    Stopped,
}

/// Bytes that wait for one stream, and whether it ends after them.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    queue: VecDeque<Bytes>,
    bytes: usize,
    finish: bool,
    finished: bool,
}

impl Outbox {
    pub(crate) fn push(&mut self, piece: Bytes) {
        if !piece.is_empty() && !self.finish {
            self.bytes += piece.len();
            self.queue.push_back(piece);
        }
    }

    /// The stream ends after what was pushed.
    pub(crate) fn finish(&mut self) {
        self.finish = true;
    }

    pub(crate) fn is_finishing(&self) -> bool {
        self.finish
    }

    /// Bytes that wait.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn pump(&mut self, conn: &mut Connection, stream: StreamId) -> Flow {
        if !self.queue.is_empty() {
            let (n, result) = write(conn, stream, self.queue.make_contiguous());
            self.bytes -= n;
            while self.queue.front().is_some_and(Bytes::is_empty) {
                self.queue.pop_front();
            }
            match result {
                WriteEnd::Done => {}
                WriteEnd::Blocked => return Flow::Blocked,
                WriteEnd::Stopped => {
                    self.queue.clear();
                    self.bytes = 0;
                    return Flow::Stopped;
                }
            }
        }
        if self.finish && !self.finished {
            self.finished = true;
            end(conn, stream, None);
        }
        Flow::Idle
    }
}
