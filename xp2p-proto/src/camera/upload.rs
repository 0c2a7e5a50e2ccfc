//! A file on its way to a viewer: a head, the bytes from the offset on, and the BLAKE3 digest of the whole file.

use std::collections::VecDeque;

use bytes::Bytes;
use noq_proto::Connection;

use super::event::{CameraEvent, RequestId};
use super::session::Grant;
use crate::exchange::{Flow, Outbox};
use crate::request::{Download, ResponseHead, Status};

/// Bytes asked of the application at a time.
const READ: u64 = 1024 * 1024;
/// Below this many bytes that wait, more are asked for: early enough that a fast network does not wait for a disk.
const LOW: usize = 1024 * 1024;

#[derive(Debug)]
enum State {
    /// The application has not said yet whether there is such a file.
    Wanted,
    /// It goes out.
    Sending { size: u64, next: u64 },
    /// All but the digest was handed out.
    Digest,
    /// Only what waits is left.
    Last,
}

#[derive(Debug)]
pub(super) struct Upload {
    id: RequestId,
    pub(super) download: Download,
    pub(super) grant: Grant,
    outbox: Outbox,
    state: State,
    /// Bytes that the application was asked for.
    asked: Option<u64>,
}

impl Upload {
    pub(super) fn new(id: RequestId, download: Download, grant: Grant) -> Self {
        Self { id, download, grant, outbox: Outbox::default(), state: State::Wanted, asked: None }
    }

    pub(super) fn is_wanted(&self) -> bool {
        matches!(self.state, State::Wanted)
    }

    /// There is such a file. Returns a text if the offset lies behind its end.
    pub(super) fn accept(&mut self, size: u64, etag: &str) -> Result<(), String> {
        let offset = self.download.offset;
        let Some(rest) = size.checked_sub(offset) else {
            return Err(format!("the file has only {size} bytes, but {offset} were asked for as the first"));
        };
        let mut head = ResponseHead::new(Status::Ok);
        head.headers.content_length = Some(rest + blake3::OUT_LEN as u64);
        head.headers.etag = Some(etag.to_owned());
        self.outbox.push(Bytes::from(head.to_bytes()));
        self.state = State::Sending { size, next: offset };
        Ok(())
    }

    /// Bytes that were asked for. Returns whether they are as many as were asked for.
    pub(super) fn data(&mut self, data: Bytes) -> bool {
        let State::Sending { next, .. } = &mut self.state else { return false };
        if self.asked.take() != Some(data.len() as u64) {
            return false;
        }
        *next += data.len() as u64;
        self.outbox.push(data);
        true
    }

    /// The digest of the whole file. Returns whether it was asked for.
    pub(super) fn digest(&mut self, digest: [u8; 32]) -> bool {
        if !matches!(self.state, State::Digest) {
            return false;
        }
        self.outbox.push(Bytes::copy_from_slice(&digest));
        self.outbox.finish();
        self.state = State::Last;
        true
    }

    pub(super) fn pump(&mut self, conn: &mut Connection, events: &mut VecDeque<CameraEvent>) -> Flow {
        let flow = self.outbox.pump(conn, self.id.stream);
        if flow == Flow::Stopped || self.asked.is_some() || self.outbox.bytes() > LOW {
            return flow;
        }
        if let State::Sending { size, next } = self.state {
            if next == size {
                self.state = State::Digest;
                events.push_back(CameraEvent::DownloadDigestWanted { request: self.id });
            } else {
                let len = READ.min(size - next);
                self.asked = Some(len);
                // At most `READ`.
                let len = len as usize;
                events.push_back(CameraEvent::DownloadMore { request: self.id, offset: next, len });
            }
        }
        flow
    }
}
