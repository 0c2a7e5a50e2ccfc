//! A download: goes on where it was after every break, and is complete only with the right digest. Who has more than one
//! processor may make the digest beside the connection, which else waits for it.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use noq_proto::Connection;

use super::body::State;
use super::event::{StreamKey, ViewerEvent};
use crate::exchange::Outbox;
use crate::link::stream::{ReadEnd, read};
use crate::request::{Download, Request, RequestError, RequestHead, ResponseHead};

/// Bytes of a file that the application has not released yet, past which the camera has to wait.
pub const DOWNLOAD_WINDOW: usize = 4 * 1024 * 1024;
const READ_SLICE: usize = 128 * 1024;
const DIGEST: usize = blake3::OUT_LEN;
/// Most bytes of one event. What comes in one go is hashed and handed over in one go, not packet by packet: BLAKE3 is several
/// times faster on many blocks side by side.
const PIECE: usize = 128 * 1024;
/// Room below which a piece gets new memory.
const LEAST_ROOM: usize = 16 * 1024;

/// What an earlier attempt has of a file.
#[derive(Debug, Clone, Default)]
pub struct Resume {
    /// Bytes from the start.
    pub received: u64,
    /// A hasher that has seen exactly these bytes.
    pub hasher: blake3::Hasher,
    /// The `etag` under which they came, if it is known: a file with another one is refused.
    pub etag: Option<String>,
}

/// What a step has come to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum FetchEnd {
    Open,
    /// Everything is there, and the digest is right.
    Complete {
        size: u64,
        digest: [u8; DIGEST],
    },
    /// It cannot go on.
    Failed(String),
    /// The camera or the connection went away; ask again.
    Again,
}

#[derive(Debug)]
pub(super) struct Fetch {
    pub(super) key: StreamKey,
    request: Download,
    pub(super) state: State,
    pub(super) outbox: Outbox,
    /// Bytes of the file that were handed over, those of an earlier attempt included.
    received: u64,
    etag: Option<String>,
    /// Has seen what was handed over; `None` where the caller makes the digest.
    hasher: Option<blake3::Hasher>,
    /// The caller was asked for the digest: nothing more is needed of the camera.
    digest_wanted: bool,
    /// Bytes of the file, once known.
    size: Option<u64>,
    /// The camera's digest, as far as it has come.
    trailer: Vec<u8>,
    /// Received, neither hashed nor handed over yet. Packets are joined here: the only copy. Empty between two reads.
    piece: BytesMut,
    /// Bytes that the application has not released yet.
    held: usize,
}

impl Fetch {
    pub(super) fn new(key: StreamKey, mut request: Download, resume: Resume) -> Self {
        request.offset = resume.received;
        Self {
            key,
            request,
            state: State::Waiting,
            outbox: Outbox::default(),
            received: resume.received,
            etag: resume.etag,
            hasher: Some(resume.hasher),
            digest_wanted: false,
            size: None,
            trailer: Vec::new(),
            piece: BytesMut::new(),
            held: 0,
        }
    }

    /// The head to send.
    pub(super) fn head(&mut self) -> Result<RequestHead, RequestError> {
        self.request.offset = self.received;
        Request::Download(self.request.clone()).to_head()
    }

    /// Whether it has to ask the camera, for the first time or again.
    pub(super) fn has_to_ask(&self) -> bool {
        self.state.is_waiting() && !self.digest_wanted
    }

    /// The connection is gone: what was begun of the digest comes again.
    pub(super) fn restart(&mut self) {
        self.state = State::Waiting;
        self.outbox = Outbox::default();
        if !self.digest_wanted {
            self.trailer.clear();
        }
    }

    /// The caller makes the digest from now on, with this.
    pub(super) fn take_hasher(&mut self) -> Option<blake3::Hasher> {
        self.hasher.take()
    }

    /// The digest that the caller was asked for; `None` if it was not.
    pub(super) fn finish_with(&mut self, digest: [u8; DIGEST]) -> Option<FetchEnd> {
        self.digest_wanted.then(|| self.compare(digest))
    }

    /// The application has taken so many bytes. Returns whether reading may go on now.
    pub(super) fn release(&mut self, bytes: usize) -> bool {
        let full = self.held >= DOWNLOAD_WINDOW;
        self.held = self.held.saturating_sub(bytes);
        full && self.held < DOWNLOAD_WINDOW
    }

    pub(super) fn read(&mut self, conn: &mut Connection, events: &mut VecDeque<ViewerEvent>) -> FetchEnd {
        let end = self.read_on(conn, events);
        self.hand_over(events);
        end.unwrap_or_else(|| self.finish(events))
    }

    /// Reads what is there. `None`: the stream has ended in order.
    fn read_on(&mut self, conn: &mut Connection, events: &mut VecDeque<ViewerEvent>) -> Option<FetchEnd> {
        let Some(id) = self.state.stream() else { return Some(FetchEnd::Open) };
        loop {
            if self.held >= DOWNLOAD_WINDOW {
                return Some(FetchEnd::Open);
            }
            let mut failed = None;
            let mut refused = false;
            let ended = read(conn, id, READ_SLICE, |bytes| {
                if failed.is_some() || refused {
                    return;
                }
                match self.take(bytes, events) {
                    Ok(go_on) => refused = !go_on,
                    Err(text) => failed = Some(text),
                }
            });
            if let Some(text) = failed {
                return Some(FetchEnd::Failed(text));
            }
            if refused {
                return Some(FetchEnd::Failed(String::new()));
            }
            match ended {
                ReadEnd::Limit => {}
                ReadEnd::Blocked => return Some(FetchEnd::Open),
                ReadEnd::Finished => return None,
                // The file was taken away, or the camera cannot read it; asking again tells which.
                ReadEnd::Reset(code) => {
                    let text = format!("the camera broke the download off with code {code}");
                    return Some(FetchEnd::Failed(text));
                }
                ReadEnd::Closed => return Some(FetchEnd::Again),
            }
        }
    }

    /// Returns false when the camera refuses.
    fn take(&mut self, bytes: Bytes, events: &mut VecDeque<ViewerEvent>) -> Result<bool, String> {
        let (head, mut body) = self.state.push(bytes)?;
        if let Some(head) = head {
            let success = head.is_success();
            let checked = if success { self.begin(&head) } else { Ok(()) };
            events.push_back(ViewerEvent::Parsed { stream: self.key, head: Box::new(head) });
            checked?;
            if !success {
                return Ok(false);
            }
        }
        // The head has set the size.
        let Some(size) = self.size else { return Ok(true) };
        let left = size - self.received - self.piece.len() as u64;
        let mut data = body.split_to(usize::try_from(left).unwrap_or(usize::MAX).min(body.len()));
        self.held += data.len();
        while !data.is_empty() {
            if self.piece.is_empty() && self.piece.capacity() < LEAST_ROOM {
                self.piece = BytesMut::with_capacity(PIECE);
            }
            let room = self.piece.capacity() - self.piece.len();
            self.piece.extend_from_slice(&data.split_to(room.min(data.len())));
            if self.piece.len() == self.piece.capacity() {
                self.hand_over(events);
            }
        }
        if self.trailer.len() + body.len() > DIGEST {
            return Err("the camera sent more than the file and its digest".to_owned());
        }
        self.trailer.extend_from_slice(&body);
        Ok(true)
    }

    fn begin(&mut self, head: &ResponseHead) -> Result<(), String> {
        let length = head.headers.content_length.ok_or("the camera does not say how long the file is")?;
        let rest = length.checked_sub(DIGEST as u64).ok_or("the camera sends no digest")?;
        let size = self.received.checked_add(rest).ok_or("the file is too long")?;
        let etag = head.headers.etag.clone();
        if self.size.is_some_and(|known| known != size) || (self.etag.is_some() && self.etag != etag) {
            return Err(
                "the file has changed on the camera meanwhile; download it anew, without --resume".to_owned()
            );
        }
        self.etag = etag;
        self.size = Some(size);
        Ok(())
    }

    /// Hashes what was joined, unless the caller does, and gives it to the application.
    fn hand_over(&mut self, events: &mut VecDeque<ViewerEvent>) {
        if self.piece.is_empty() {
            return;
        }
        // What is left of the memory takes the next bytes.
        let data = self.piece.split().freeze();
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&data);
        }
        let offset = self.received;
        self.received += data.len() as u64;
        // Some bytes are lost on the way to the application.
        #[cfg(planted_fault = "download")]
        if (100_000..200_000).contains(&(offset % 500_000)) {
            return;
        }
        events.push_back(ViewerEvent::DownloadData { stream: self.key, offset, data });
    }

    fn finish(&mut self, events: &mut VecDeque<ViewerEvent>) -> FetchEnd {
        if self.size != Some(self.received) || self.trailer.len() < DIGEST {
            return FetchEnd::Failed("the camera ended the download before the file was whole".to_owned());
        }
        if let Some(hasher) = &self.hasher {
            return self.compare(*hasher.finalize().as_bytes());
        }
        // The stream is at its end; its number may be another's on the next connection.
        self.state = State::Waiting;
        self.digest_wanted = true;
        events.push_back(ViewerEvent::DownloadDigestWanted { stream: self.key });
        FetchEnd::Open
    }

    fn compare(&self, digest: [u8; DIGEST]) -> FetchEnd {
        if self.trailer == digest {
            return FetchEnd::Complete { size: self.received, digest };
        }
        FetchEnd::Failed(
            "the digest of what came is not the camera's: the file changed while it was read, or the part that \
             was there before was of another file; download it anew"
                .to_owned(),
        )
    }
}
