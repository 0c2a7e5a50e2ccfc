//! What a viewer tells its application.

use std::time::Duration;

use bytes::Bytes;

use crate::command::CommandOutcome;
use crate::error::ErrorCode;
use crate::link::PathKind;
use crate::live::{LiveItem, ReceiverStats};
use crate::request::ResponseHead;

/// Names a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceId(pub(super) u64);

/// Names a stream of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamKey {
    /// Its service.
    pub service: ServiceId,
    pub(super) number: u64,
}

impl StreamKey {
    /// Names a stream that no [`Viewer`](super::Viewer) has, so that what happens to it can be told in the same words. None of
    /// a viewer is ever named like it.
    pub const fn foreign(number: u64) -> Self {
        Self { service: ServiceId(u64::MAX), number }
    }
}

/// Names a command of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommandKey {
    /// Its service.
    pub service: ServiceId,
    pub(super) number: u64,
}

/// Names a message from a camera.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageKey {
    /// Its service.
    pub service: ServiceId,
    pub(super) number: u64,
}

/// News of a viewer. The names are those of the plug-ins' service events where they have one.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ViewerEvent {
    /// The camera has proven its key. Comes again after a reconnection.
    Connected {
        /// Which service.
        service: ServiceId,
        /// First round-trip time.
        rtt: Duration,
    },
    /// Data comes another way.
    Path {
        /// Which service.
        service: ServiceId,
        /// Which way.
        kind: PathKind,
    },
    /// The connection is gone; the service tries to come back.
    Reconnecting {
        /// Which service.
        service: ServiceId,
        /// Why.
        reason: String,
    },
    /// The service is over: nothing was heard for too long, or the camera does not want us. Last event of a service.
    Disconnect {
        /// Which service.
        service: ServiceId,
        /// The documented code that fits best.
        code: ErrorCode,
        /// Why, and what to do.
        reason: String,
    },
    /// A request went out.
    Request {
        /// Which stream.
        stream: StreamKey,
    },
    /// The response head is here: status and headers. Other statuses than 200 are followed by `Close`.
    Parsed {
        /// Which stream.
        stream: StreamKey,
        /// Status and headers.
        head: Box<ResponseHead>,
    },
    /// Media.
    Media {
        /// Which stream.
        stream: StreamKey,
        /// Configuration or tag.
        item: LiveItem,
    },
    /// A playback has jumped: what follows begins with the keyframe at or before this place.
    Seeked {
        /// Which stream.
        stream: StreamKey,
        /// Milliseconds after the start of the playback.
        progress: u64,
    },
    /// The next bytes of a file (`onChunkReceived`). Give [`release`](super::Viewer::release) their number once they
    /// are stored.
    DownloadData {
        /// Which stream.
        stream: StreamKey,
        /// Place of the first of them in the file.
        offset: u64,
        /// The bytes.
        data: Bytes,
    },
    /// All bytes of a file were handed over, and the camera's digest is there. Comes only after
    /// [`take_download_hasher`](super::Viewer::take_download_hasher): give the digest with
    /// [`finish_download`](super::Viewer::finish_download).
    DownloadDigestWanted {
        /// Which stream.
        stream: StreamKey,
    },
    /// A file is whole, and its digest is the camera's (`onSuccess`). Last event of a download that succeeds.
    Downloaded {
        /// Which stream.
        stream: StreamKey,
        /// Bytes of the whole file.
        size: u64,
        /// BLAKE3 of the whole file.
        digest: [u8; 32],
    },
    /// A talk that was full takes tags again.
    VoiceReady {
        /// Which stream.
        stream: StreamKey,
    },
    /// A command has ended. Comes exactly once for each.
    CommandDone {
        /// Which command.
        command: CommandKey,
        /// How.
        outcome: CommandOutcome,
    },
    /// The camera sends a message; answer it with [`reply_message`](super::Viewer::reply_message).
    Message {
        /// Which message.
        message: MessageKey,
        /// At most 16 KiB.
        text: String,
    },
    /// The camera has ended the stream in order: the feed or the recording is over, or all talk was heard. Last event of a stream.
    Eof {
        /// Which stream.
        stream: StreamKey,
    },
    /// The stream has ended otherwise. Last event of a stream.
    Close {
        /// Which stream.
        stream: StreamKey,
        /// Why.
        reason: String,
    },
}

/// Counters of one stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StreamStats {
    /// From the start of the service to the first byte of a response.
    pub first_byte: Option<Duration>,
    /// From the start of the service to the first whole keyframe.
    pub first_keyframe: Option<Duration>,
    /// What was received.
    pub received: ReceiverStats,
}
