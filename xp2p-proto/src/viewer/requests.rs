//! What an application asks of a camera besides live streams.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::fetch::Resume;
use super::{CommandKey, MessageKey, ServiceId, StreamKey, Viewer, ViewerError};
use crate::command::DEFAULT_TIMEOUT;
use crate::flv::Tag;
use crate::request::{Command, Download, Playback, Voice};

impl Viewer {
    /// Sends a command. Its end comes as [`CommandDone`](super::ViewerEvent::CommandDone), at the latest after
    /// `timeout` (`None`: [`DEFAULT_TIMEOUT`]). A command that waits for a connection is sent when there is one; one
    /// that was sent is never sent again.
    ///
    /// # Errors
    ///
    /// [`ViewerError::NoService`], [`ViewerError::TooMany`], [`ViewerError::Request`].
    pub fn send_command(
        &mut self,
        now: Instant,
        id: ServiceId,
        command: Command,
        timeout: Option<Duration>,
    ) -> Result<CommandKey, ViewerError> {
        let service = self.services.get_mut(&id).ok_or(ViewerError::NoService)?;
        let deadline = now + timeout.unwrap_or(DEFAULT_TIMEOUT);
        service.send_command(now, &mut self.link, command, deadline, &mut self.events)
    }

    /// Asks for a recording. Media comes as [`Media`](super::ViewerEvent::Media), timestamps in milliseconds after
    /// the start of the playback.
    ///
    /// # Errors
    ///
    /// [`ViewerError::NoService`], [`ViewerError::TooMany`], [`ViewerError::Request`].
    pub fn start_playback(
        &mut self,
        now: Instant,
        id: ServiceId,
        request: Playback,
    ) -> Result<StreamKey, ViewerError> {
        let service = self.services.get_mut(&id).ok_or(ViewerError::NoService)?;
        service.start_playback(now, &mut self.link, request, &mut self.events)
    }

    /// Asks for a file. `resume` is what an earlier attempt has of it; the offset in `request` is replaced by it.
    ///
    /// # Errors
    ///
    /// [`ViewerError::NoService`], [`ViewerError::TooMany`], [`ViewerError::Request`].
    pub fn start_download(
        &mut self,
        now: Instant,
        id: ServiceId,
        request: Download,
        resume: Resume,
    ) -> Result<StreamKey, ViewerError> {
        let service = self.services.get_mut(&id).ok_or(ViewerError::NoService)?;
        service.start_download(now, &mut self.link, request, resume, &mut self.events)
    }

    /// So many bytes of a file were stored: the camera may send more. At most
    /// [`DOWNLOAD_WINDOW`](super::DOWNLOAD_WINDOW) bytes are on their way without it.
    pub fn release(&mut self, now: Instant, stream: StreamKey, bytes: usize) {
        if let Some(service) = self.services.get_mut(&stream.service) {
            service.release(now, &mut self.link, stream, bytes, &mut self.events);
        }
    }

    /// The caller makes the BLAKE3 digest of a download from now on, beside the connection, with what this returns: it has
    /// seen what the file had before. [`DownloadDigestWanted`](super::ViewerEvent::DownloadDigestWanted) asks for the digest.
    /// `None` if there is no such download, or if its hasher was taken before.
    pub fn take_download_hasher(&mut self, stream: StreamKey) -> Option<blake3::Hasher> {
        self.services.get_mut(&stream.service)?.take_download_hasher(stream)
    }

    /// The digest of all bytes of a file, for
    /// [`DownloadDigestWanted`](super::ViewerEvent::DownloadDigestWanted). It is compared with the camera's. Returns whether it was asked for.
    pub fn finish_download(&mut self, now: Instant, stream: StreamKey, digest: [u8; 32]) -> bool {
        let service = self.services.get_mut(&stream.service);
        service.is_some_and(|s| s.finish_download(now, stream, digest, &mut self.events))
    }

    /// Begins to talk. Tags may be pushed at once.
    ///
    /// # Errors
    ///
    /// [`ViewerError::NoService`], [`ViewerError::TooMany`].
    pub fn start_voice(
        &mut self,
        now: Instant,
        id: ServiceId,
        request: Voice,
    ) -> Result<StreamKey, ViewerError> {
        let service = self.services.get_mut(&id).ok_or(ViewerError::NoService)?;
        service.start_voice(now, &mut self.link, request, &mut self.events)
    }

    /// Says one tag of sound, or shows one of a video call.
    ///
    /// # Errors
    ///
    /// [`ViewerError::NoStream`]; [`ViewerError::TalkFull`] when more than [`MAX_TALK`](super::MAX_TALK) bytes wait:
    /// the tag was not taken.
    pub fn push_voice(&mut self, now: Instant, stream: StreamKey, tag: &Tag) -> Result<(), ViewerError> {
        let service = self.services.get_mut(&stream.service).ok_or(ViewerError::NoStream)?;
        service.push_voice(now, &mut self.link, stream, tag, &mut self.events)
    }

    /// Everything was said. [`Eof`](super::ViewerEvent::Eof) follows once the camera has heard it.
    pub fn end_voice(&mut self, now: Instant, stream: StreamKey) {
        if let Some(service) = self.services.get_mut(&stream.service) {
            service.end_voice(now, &mut self.link, stream, &mut self.events);
        }
    }

    /// Answers a message. Returns whether the camera still waited.
    pub fn reply_message(&mut self, message: MessageKey, reply: impl Into<Bytes>) -> bool {
        let service = self.services.get_mut(&message.service);
        service.is_some_and(|s| s.reply_message(&mut self.link, message, reply.into()))
    }
}
