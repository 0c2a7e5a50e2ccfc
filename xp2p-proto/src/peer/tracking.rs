//! The stream to the tracker, on the connection on which the member is registered.

use std::collections::VecDeque;

use bytes::Bytes;

use super::wire::{FrameReader, Hello, MAX_FROM_TRACKER, Said, frame};
use crate::link::stream::{ReadEnd, WriteEnd, end, read, stop, write};
use crate::link::{ConnId, Dir, Link, StreamId as QuicStream};
use crate::swarm::ToTracker;

/// Most bytes that wait for the tracker; more means that it does not listen.
const MAX_QUEUED: usize = 64 * 1024;
/// Bytes that are read at a time.
const READ_SLICE: usize = 64 * 1024;
/// Code with which a stream is given up that makes no sense.
const MISBEHAVED: u32 = 2;

/// A conversation with a tracker.
#[derive(Debug)]
pub(super) struct Talk {
    pub(super) conn: ConnId,
    stream: QuicStream,
    reader: FrameReader,
    outbox: VecDeque<Bytes>,
    queued: usize,
    /// The tracker listens no longer. What it has said before that, such as why, may still be on its way.
    pub(super) deaf: bool,
}

/// What came of reading.
#[derive(Debug, Default)]
pub(super) struct Read {
    pub(super) said: Vec<Said>,
    /// Frames that made no sense.
    pub(super) bad: u64,
    /// Nothing more will come.
    pub(super) over: bool,
}

impl Talk {
    /// Opens the stream on `conn`.
    pub(super) fn open(link: &mut Link, conn: ConnId, hello: &Hello) -> Option<Self> {
        let stream = link.quic(conn)?.streams().open(Dir::Bi)?;
        let reader = FrameReader::new(MAX_FROM_TRACKER);
        let mut talk = Self { conn, stream, reader, outbox: VecDeque::new(), queued: 0, deaf: false };
        talk.queue(link, hello.encode());
        Some(talk)
    }

    pub(super) fn owns(&self, conn: ConnId, stream: QuicStream) -> bool {
        self.conn == conn && self.stream == stream
    }

    /// Says something. Returns false if too much waits.
    pub(super) fn say(&mut self, link: &mut Link, message: &ToTracker) -> bool {
        self.queue(link, frame(|out| message.encode(out)))
    }

    fn queue(&mut self, link: &mut Link, bytes: Bytes) -> bool {
        if self.deaf {
            return true;
        }
        if self.queued + bytes.len() > MAX_QUEUED {
            return false;
        }
        self.queued += bytes.len();
        self.outbox.push_back(bytes);
        self.pump(link)
    }

    /// Writes what the connection takes. Returns false if the connection is gone.
    pub(super) fn pump(&mut self, link: &mut Link) -> bool {
        let Some(quic) = link.quic(self.conn) else { return false };
        while let Some(first) = self.outbox.front_mut() {
            let mut chunk = [std::mem::take(first)];
            let (written, end) = write(quic, self.stream, &mut chunk);
            self.queued = self.queued.saturating_sub(written);
            let [rest] = chunk;
            match end {
                WriteEnd::Done => {
                    self.outbox.pop_front();
                }
                WriteEnd::Blocked => {
                    *first = rest;
                    return true;
                }
                WriteEnd::Stopped => {
                    self.deaf = true;
                    self.outbox.clear();
                }
            }
        }
        true
    }

    /// Reads what has come.
    pub(super) fn read(&mut self, link: &mut Link) -> Read {
        let mut result = Read::default();
        loop {
            let Some(quic) = link.quic(self.conn) else {
                result.over = true;
                return result;
            };
            let reader = &mut self.reader;
            let ended = read(quic, self.stream, READ_SLICE, |data| reader.push(&data));
            loop {
                match self.reader.next() {
                    Ok(Some(frame)) => match Said::parse(&frame) {
                        Ok(said) => result.said.push(said),
                        Err(_) => result.bad += 1,
                    },
                    Ok(None) => break,
                    Err(_) => {
                        result.bad += 1;
                        result.over = true;
                        self.close(link);
                        return result;
                    }
                }
            }
            match ended {
                ReadEnd::Limit => {}
                ReadEnd::Blocked => return result,
                ReadEnd::Finished | ReadEnd::Reset(_) | ReadEnd::Closed => {
                    result.over = true;
                    return result;
                }
            }
        }
    }

    /// Gives the stream up.
    pub(super) fn close(&self, link: &mut Link) {
        if let Some(quic) = link.quic(self.conn) {
            end(quic, self.stream, Some(MISBEHAVED));
            stop(quic, self.stream, MISBEHAVED);
        }
    }
}
