//! What a camera tells its application.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use crate::keys::PublicKey;
use crate::link::{ConnId, PathKind};
use crate::live::SenderStats;
use crate::request::Quality;

/// Names one viewer's session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ViewerId(pub(super) ConnId);

impl fmt::Display for ViewerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
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
}
