//! What a camera tells its application.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use crate::command::CommandOutcome;
use crate::flv::Tag;
use crate::keys::PublicKey;
use crate::link::{ConnId, PathKind, StreamId};
use crate::live::SenderStats;
use crate::request::{Command, Download, Playback, Quality, Voice};

/// Names one viewer's session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ViewerId(pub(super) ConnId);

impl fmt::Display for ViewerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Names one request of a viewer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId {
    pub(super) conn: ConnId,
    pub(super) stream: StreamId,
}

impl RequestId {
    /// Whose request it is.
    pub const fn viewer(self) -> ViewerId {
        ViewerId(self.conn)
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.conn, self.stream.index())
    }
}

/// Names one message to a viewer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(pub(super) u64);

/// Which piece of a recording is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadFrom {
    /// What follows the last piece.
    Next,
    /// From the keyframe at or before this unix time in milliseconds on, its sequence headers first.
    Seek(u64),
}

/// How much waits for one viewer, as the plug-ins' marks have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Watermark {
    /// Less than 200 KB.
    #[default]
    Normal,
    /// From 200 KB on.
    Low,
    /// From 400 KB on: lower the bit rate.
    Warn,
    /// From 500 KB on: drop to the next keyframe.
    High,
}

impl Watermark {
    /// The mark of `queued` bytes.
    pub const fn of(queued: usize) -> Self {
        match queued / 1000 {
            0..200 => Self::Normal,
            200..400 => Self::Low,
            400..500 => Self::Warn,
            _ => Self::High,
        }
    }
}

/// News of a camera.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CameraEvent {
    /// A server was met for the first time and no key was configured: pin this one.
    ServerKey {
        /// Which server of the configuration.
        server: usize,
        /// The key that it proved.
        key: PublicKey,
    },
    /// Viewers can reach the camera through this server now.
    Registered {
        /// Which server of the configuration.
        server: usize,
        /// Where the server sees us.
        observed: SocketAddr,
    },
    /// The connection to a server is gone or could not be made; the camera tries again by itself.
    ServerLost {
        /// Which server of the configuration.
        server: usize,
        /// Why.
        reason: String,
    },
    /// A server refused the registration; the camera tries again, but somebody should look at it.
    RegistrationRefused {
        /// Which server of the configuration.
        server: usize,
        /// Why.
        reason: String,
    },
    /// Somebody has connected. Nothing was asked for or allowed yet.
    ViewerConnected {
        /// The session.
        viewer: ViewerId,
        /// The key that the viewer proved.
        peer: PublicKey,
    },
    /// A viewer's request was refused, before any media.
    Refused {
        /// The session.
        viewer: ViewerId,
        /// The status it got.
        status: u16,
        /// Why.
        reason: String,
    },
    /// A viewer begins to watch.
    LiveStarted {
        /// The session.
        viewer: ViewerId,
        /// What.
        channel: u32,
        /// In which quality.
        quality: Quality,
        /// What the viewer's app says about its user, at most 64 bytes.
        requester: Option<String>,
        /// What the viewer's app adds, at most 1 KiB.
        user_args: Option<String>,
    },
    /// A viewer has stopped watching.
    LiveStopped {
        /// The session.
        viewer: ViewerId,
        /// What.
        channel: u32,
        /// In which quality.
        quality: Quality,
    },
    /// Media goes to a viewer another way.
    Path {
        /// The session.
        viewer: ViewerId,
        /// Which way.
        kind: PathKind,
    },
    /// A viewer's command. Answer it with [`Camera::answer`](super::Camera::answer), or refuse it.
    Command {
        /// The request.
        request: RequestId,
        /// The command.
        command: Command,
    },
    /// A viewer needs a keyframe: tell the encoder, if it can be told.
    KeyframeWanted {
        /// Of which channel.
        channel: u32,
    },
    /// How a message to a viewer has ended.
    MessageReply {
        /// Which message.
        message: MessageId,
        /// To whom.
        viewer: ViewerId,
        /// Its end.
        outcome: CommandOutcome,
    },
    /// A viewer wants a file: [`accept_download`](super::Camera::accept_download) or
    /// [`refuse`](super::Camera::refuse).
    DownloadWanted {
        /// The request.
        request: RequestId,
        /// Which file.
        download: Download,
    },
    /// Give these bytes with [`download_data`](super::Camera::download_data).
    DownloadMore {
        /// The request.
        request: RequestId,
        /// First byte.
        offset: u64,
        /// How many.
        len: usize,
    },
    /// Give the BLAKE3 digest of the whole file with [`finish_download`](super::Camera::finish_download).
    DownloadDigestWanted {
        /// The request.
        request: RequestId,
    },
    /// A download is over.
    DownloadEnded {
        /// The request.
        request: RequestId,
        /// The viewer has everything.
        complete: bool,
    },
    /// A viewer wants a recording: [`accept_playback`](super::Camera::accept_playback) or
    /// [`refuse`](super::Camera::refuse).
    PlaybackWanted {
        /// The request.
        request: RequestId,
        /// Which recording.
        playback: Playback,
    },
    /// Read a piece of the recording and give it with [`playback_data`](super::Camera::playback_data).
    PlaybackRead {
        /// The request.
        request: RequestId,
        /// Goes back with the data.
        generation: u32,
        /// From where.
        from: ReadFrom,
        /// Only keyframes are needed; others do no harm.
        keys_only: bool,
    },
    /// A playback is over.
    PlaybackEnded {
        /// The request.
        request: RequestId,
    },
    /// A viewer begins to talk.
    VoiceStarted {
        /// The request.
        request: RequestId,
        /// To which channel, with or without picture.
        voice: Voice,
    },
    /// What a viewer says. Tell with [`voice_taken`](super::Camera::voice_taken) when it was played or stored.
    VoiceTag {
        /// The request.
        request: RequestId,
        /// Sound, or picture of a video call.
        tag: Tag,
    },
    /// A viewer has stopped talking.
    VoiceEnded {
        /// The request.
        request: RequestId,
        /// It has said everything; else it broke off.
        complete: bool,
    },
    /// More or less than before waits for a viewer of a live stream.
    Congestion {
        /// The session.
        viewer: ViewerId,
        /// The mark that was reached.
        watermark: Watermark,
        /// Bytes that wait.
        queued: usize,
        /// What the path to it takes at present, in bits per second; an estimate.
        bandwidth: Option<u64>,
    },
    /// A session has ended.
    ViewerGone {
        /// The session.
        viewer: ViewerId,
        /// Why.
        reason: String,
    },
}

/// One session as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewerInfo {
    /// The session.
    pub viewer: ViewerId,
    /// The viewer's key.
    pub peer: PublicKey,
    /// Direct or relay.
    pub path: Option<PathKind>,
    /// Smoothed round-trip time.
    pub rtt: Option<Duration>,
    /// What is watched: channel, quality, counters.
    pub lives: Vec<(u32, Quality, SenderStats)>,
    /// Bytes of live media that wait.
    pub queued: usize,
    /// What the path takes at present, in bits per second; an estimate.
    pub bandwidth: Option<u64>,
    /// Recordings that are played.
    pub playbacks: usize,
    /// Files on their way.
    pub downloads: usize,
    /// It talks.
    pub talking: bool,
}
