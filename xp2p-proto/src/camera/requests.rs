//! What the application answers to requests of viewers.

use std::time::{Duration, Instant};

use bytes::Bytes;
use thiserror::Error;

use super::Camera;
use super::event::{MessageId, RequestId, ViewerId};
use super::playback::RecordedTag;
use super::session::{Refusal, Session};
use crate::command::MAX_REPLY;
use crate::link::stream::end;
use crate::request::{RequestError, Status, message_head};

/// Most messages to one viewer that wait for a reply.
pub const MAX_MESSAGES: usize = 32;

/// Why a message was not sent.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MessageError {
    /// There is no such viewer, or it neither watches nor plays nor talks.
    #[error("this viewer has no live stream, playback or talk at present, so it gets no messages")]
    NotListening,
    /// Too many wait for a reply.
    #[error("{MAX_MESSAGES} messages to this viewer wait for a reply already; wait for one to end")]
    TooMany,
    /// The text is too long or empty.
    #[error(transparent)]
    Text(#[from] RequestError),
}

impl Camera {
    /// Answers a command with JSON (or any text) of at most [`MAX_REPLY`] bytes; what is longer becomes a refusal.
    /// Returns whether the viewer still waited.
    pub fn answer(&mut self, now: Instant, request: RequestId, reply: impl Into<Bytes>) -> bool {
        let reply = reply.into();
        if reply.len() > MAX_REPLY {
            let reason = format!("the answer is longer than {MAX_REPLY} bytes");
            return self.refuse(now, request, Status::NotFound, &reason);
        }
        self.with_session(now, request, |session, link, _| {
            if !session.asks.remove(&request.stream) {
                return false;
            }
            session.queue_reply(link, request.stream, reply);
            true
        })
    }

    /// Refuses a command, a download or a playback; one that runs already is broken off. Returns whether the viewer
    /// still waited.
    pub fn refuse(&mut self, now: Instant, request: RequestId, status: Status, reason: &str) -> bool {
        self.with_session(now, request, |session, link, events| {
            let stream = request.stream;
            let playback = session.playbacks.remove(&stream);
            let download = session.downloads.remove(&stream);
            let pending = session.asks.remove(&stream)
                || playback.as_ref().is_some_and(|p| p.is_wanted())
                || download.as_ref().is_some_and(|d| d.is_wanted());
            if pending {
                session.refuse(link, events, stream, Refusal::new(status, reason));
                return true;
            }
            if playback.is_none() && download.is_none() {
                return false;
            }
            if let Some(quic) = link.quic(request.conn) {
                end(quic, stream, Some(u32::from(status.number())));
            }
            true
        })
    }

    /// There is such a file: `size` bytes; `etag` names this content of it (visible ASCII without quotes).
    /// Returns whether the viewer still waited.
    pub fn accept_download(&mut self, now: Instant, request: RequestId, size: u64, etag: &str) -> bool {
        self.with_session(now, request, |session, link, events| {
            let Some(upload) = session.downloads.get_mut(&request.stream).filter(|d| d.is_wanted()) else {
                return false;
            };
            if let Err(reason) = upload.accept(size, etag) {
                session.downloads.remove(&request.stream);
                let refusal = Refusal::new(Status::NotFound, reason);
                session.refuse(link, events, request.stream, refusal);
            }
            true
        })
    }

    /// The bytes that [`DownloadMore`](super::CameraEvent::DownloadMore) asked for, exactly as many. Another number
    /// breaks the download off: the file has changed. Returns whether the viewer still waited.
    pub fn download_data(&mut self, now: Instant, request: RequestId, data: Bytes) -> bool {
        let taken = self.with_session(now, request, |session, _, _| {
            session.downloads.get_mut(&request.stream).map(|upload| upload.data(data))
        });
        if taken == Some(false) {
            self.refuse(now, request, Status::NotFound, "the file has changed");
        }
        taken == Some(true)
    }

    /// The BLAKE3 digest of the whole file. Returns whether it was asked for.
    pub fn finish_download(&mut self, now: Instant, request: RequestId, digest: [u8; 32]) -> bool {
        self.with_session(now, request, |session, _, _| {
            session.downloads.get_mut(&request.stream).is_some_and(|upload| upload.digest(digest))
        })
    }

    /// There is such a recording. Returns whether the viewer still waited.
    pub fn accept_playback(&mut self, now: Instant, request: RequestId) -> bool {
        self.with_session(now, request, |session, _, events| {
            let playback = session.playbacks.get_mut(&request.stream).filter(|p| p.is_wanted());
            playback.map(|p| p.accept(events)).is_some()
        })
    }

    /// The piece of a recording that [`PlaybackRead`](super::CameraEvent::PlaybackRead) asked for, in order of time;
    /// an empty one says that there is no more. Pieces of an older `generation` are dropped.
    pub fn playback_data(
        &mut self,
        now: Instant,
        request: RequestId,
        generation: u32,
        tags: Vec<RecordedTag>,
    ) -> bool {
        self.with_session(now, request, |session, _, _| {
            let playback = session.playbacks.get_mut(&request.stream);
            playback.map(|p| p.data(generation, tags)).is_some()
        })
    }

    /// So many bytes of a talk's tags ([`Tag::wire_len`](crate::flv::Tag::wire_len)) were played or stored: the
    /// viewer may send more.
    pub fn voice_taken(&mut self, now: Instant, request: RequestId, bytes: usize) {
        self.with_session(now, request, |session, link, events| {
            session.voice_taken(link, events, request.stream, bytes);
        });
    }

    /// Nobody listens any more: ends a talk.
    pub fn end_voice(&mut self, now: Instant, request: RequestId) {
        self.with_session(now, request, |session, link, events| {
            session.stop_talk(link, events, request.stream);
        });
    }

    /// Sends a message of at most 16 KiB to a viewer that watches, plays or talks; how it ended comes as
    /// [`MessageReply`](super::CameraEvent::MessageReply), at the latest after `timeout`.
    ///
    /// # Errors
    ///
    /// [`MessageError`].
    pub fn send_message(
        &mut self,
        now: Instant,
        viewer: ViewerId,
        text: &str,
        timeout: Duration,
    ) -> Result<MessageId, MessageError> {
        let head = Bytes::from(message_head(text)?.to_bytes());
        let session = self.sessions.get_mut(&viewer.0).filter(|s| s.is_listening());
        let session = session.ok_or(MessageError::NotListening)?;
        if session.messages() >= MAX_MESSAGES {
            return Err(MessageError::TooMany);
        }
        let id = MessageId(self.next_message);
        self.next_message += 1;
        session.send_message(now, &mut self.link, &mut self.events, (id, head, now + timeout));
        Ok(id)
    }

    /// Drops what waits for a viewer: it goes on with the next keyframe.
    pub fn drop_to_keyframe(&mut self, now: Instant, viewer: ViewerId) {
        if let Some(session) = self.sessions.get_mut(&viewer.0) {
            session.drop_to_keyframe(now, &mut self.link, &mut self.events);
        }
    }

    /// Calls `act` with the session of a request and sends what has become ready. The default where it is gone.
    fn with_session<T: Default>(
        &mut self,
        now: Instant,
        request: RequestId,
        act: impl FnOnce(
            &mut Session,
            &mut crate::link::Link,
            &mut std::collections::VecDeque<super::CameraEvent>,
        ) -> T,
    ) -> T {
        let Some(session) = self.sessions.get_mut(&request.conn) else { return T::default() };
        let result = act(session, &mut self.link, &mut self.events);
        session.pump(now, &mut self.link, &mut self.events);
        result
    }
}
