//! Raw frames of an encoder into the feeds of a camera.

use std::time::Instant;

use thiserror::Error;

use super::Camera;
use crate::flv::{Frame, FrameError};
use crate::live::PushError;
use crate::request::Quality;

/// Why a frame was not taken, in whole or in part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PushFrameError {
    /// The frame makes no sense, or does at another time.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The feed does not take it.
    #[error(transparent)]
    Feed(#[from] PushError),
}

impl Camera {
    /// Takes in the next frame of a feed (H.264, H.265, AAC or G.711 as the encoder gives it), makes tags of it as
    /// [`FrameMuxer`](crate::flv::FrameMuxer) does, and sends them to all who watch.
    ///
    /// The first picture must be a keyframe with its parameter sets. Times are in milliseconds and must not run
    /// backwards. Sequence headers come by themselves. A feed takes either frames or tags
    /// ([`push_tag`](Self::push_tag)), not both.
    ///
    /// # Errors
    ///
    /// The frame is no such thing or does not fit the feed; it was left out, and the feed goes on.
    pub fn push_frame(
        &mut self,
        now: Instant,
        channel: u32,
        quality: Quality,
        frame: &Frame,
    ) -> Result<(), PushFrameError> {
        let feed = self.feeds.find(channel, quality).ok_or(PushError::NoFeed)?;
        for tag in self.feeds.mux(feed, frame)? {
            self.push_tag(now, channel, quality, &tag)?;
        }
        Ok(())
    }
}
