//! What the local server tells its application.

use std::net::SocketAddr;

use async_channel::Sender;

/// News of a local server, with the names of the plug-in.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PlayerEvent {
    /// `playerReady`: it listens.
    Ready {
        /// Where.
        local: SocketAddr,
    },
    /// `playerStartPull`: a player has opened a stream.
    StartPull {
        /// Of which id.
        id: String,
    },
    /// `playerClose`: a player has gone, or its stream has ended.
    Close {
        /// Of which id.
        id: String,
    },
    /// `playerError`: the server cannot take connections. It tries again; a
    /// [reset](crate::module::P2pModule::check_reset) makes a new one.
    Error {
        /// The plug-in's name of this error, [`SERVER_ERROR`].
        code: &'static str,
        /// Why.
        reason: String,
    },
}

/// The code of `playerError` when the local server does not work.
pub const SERVER_ERROR: &str = "WECHAT_SERVER_ERROR";

/// Tells that a player has gone when it is dropped.
#[derive(Debug)]
pub(super) struct Pull {
    id: String,
    events: Sender<PlayerEvent>,
}

impl Pull {
    pub(super) fn begin(id: &str, events: &Sender<PlayerEvent>) -> Self {
        tell(events, PlayerEvent::StartPull { id: id.to_owned() });
        Self { id: id.to_owned(), events: events.clone() }
    }
}

impl Drop for Pull {
    fn drop(&mut self) {
        tell(&self.events, PlayerEvent::Close { id: std::mem::take(&mut self.id) });
    }
}

/// A full channel loses the oldest; a closed one has nobody who would miss it.
pub(super) fn tell(events: &Sender<PlayerEvent>, event: PlayerEvent) {
    let _ = events.force_send(event);
}
