//! Talking to a camera.

use std::sync::atomic::{AtomicBool, Ordering};

use async_channel::Receiver;
use thiserror::Error;
use xp2p_proto::flv::Tag;
use xp2p_proto::viewer::{StreamKey, Viewer, ViewerError};

use super::routes::{Claim, TalkEvent};
use crate::handle::{Gone, Handle};

/// Why a talk has ended before everything was heard.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TalkError {
    /// The camera refused: 409 when somebody else talks to it.
    #[error("{reason}")]
    Refused {
        /// The status.
        status: u16,
        /// Why.
        reason: String,
    },
    /// The connection was lost, or the camera has hung up.
    #[error("{0}")]
    Lost(String),
    /// The viewer has been shut down.
    #[error(transparent)]
    Gone(#[from] Gone),
}

/// A talk. Dropped without [`finish`](Self::finish), it breaks off.
#[derive(Debug)]
pub struct TalkHandle {
    pub(super) key: StreamKey,
    pub(super) handle: Handle<Viewer>,
    pub(super) events: Receiver<TalkEvent>,
    pub(super) over: AtomicBool,
    /// Breaks it off.
    pub(super) claim: Claim,
}

impl TalkHandle {
    /// Its name within the viewer.
    pub fn key(&self) -> StreamKey {
        self.key
    }

    /// Waits until the camera listens.
    ///
    /// # Errors
    ///
    /// [`TalkError`]: among others that somebody else talks.
    pub async fn accepted(&self) -> Result<(), TalkError> {
        loop {
            if let TalkEvent::Accepted = self.event().await? {
                return Ok(());
            }
        }
    }

    /// Says a tag; waits while the network is slower than what is said.
    ///
    /// # Errors
    ///
    /// [`TalkError`].
    pub async fn push(&self, tag: Tag) -> Result<(), TalkError> {
        loop {
            while let Ok(event) = self.events.try_recv() {
                self.check(event)?;
            }
            let (key, tag) = (self.key, tag.clone());
            match self.handle.call(move |viewer, now| viewer.push_voice(now, key, &tag)).await? {
                Ok(()) => return Ok(()),
                Err(ViewerError::TalkFull) => while !matches!(self.event().await?, TalkEvent::Ready) {},
                // Its end tells why.
                Err(ViewerError::NoStream) => {
                    self.event().await?;
                }
                Err(e) => return Err(TalkError::Lost(e.to_string())),
            }
        }
    }

    /// Everything was said: waits until the camera has heard it.
    ///
    /// # Errors
    ///
    /// [`TalkError`].
    pub async fn finish(self) -> Result<(), TalkError> {
        let key = self.key;
        self.handle.call(move |viewer, now| viewer.end_voice(now, key)).await?;
        while !matches!(self.event().await?, TalkEvent::Complete) {}
        Ok(())
    }

    async fn event(&self) -> Result<TalkEvent, TalkError> {
        let event = self.events.recv().await;
        let event = event.map_err(|_| TalkError::Lost("the service was stopped".to_owned()))?;
        self.check(event)
    }

    fn check(&self, event: TalkEvent) -> Result<TalkEvent, TalkError> {
        match event {
            TalkEvent::Failed { status, reason } => {
                self.over.store(true, Ordering::Relaxed);
                Err(match status {
                    Some(status) => TalkError::Refused { status, reason },
                    None => TalkError::Lost(reason),
                })
            }
            TalkEvent::Complete => {
                self.over.store(true, Ordering::Relaxed);
                Ok(event)
            }
            event => Ok(event),
        }
    }
}

impl Drop for TalkHandle {
    fn drop(&mut self) {
        if self.over.load(Ordering::Relaxed) {
            self.claim.release();
        }
    }
}
