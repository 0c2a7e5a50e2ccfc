//! A stream with what the camera says to it.

use async_channel::Receiver;
use xp2p_proto::request::Request;
use xp2p_proto::viewer::{ServiceId, StreamKey, Viewer, ViewerError};

use super::routes::TalkEvent;
use super::{StartError, ViewerHandle};
use crate::player::Hub;
use crate::runtime::Runtime;

/// A live stream or a recording that was asked for.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) key: StreamKey,
    pub(crate) hub: Hub,
    events: Receiver<TalkEvent>,
}

impl Opened {
    /// Waits until the camera has answered. Else its status, if it refuses, and why.
    pub(crate) async fn accepted(&self) -> Result<(), (Option<u16>, String)> {
        loop {
            match self.events.recv().await {
                Ok(TalkEvent::Accepted) => return Ok(()),
                Ok(TalkEvent::Failed { status, reason }) => return Err((status, reason)),
                Ok(TalkEvent::Complete) => return Err((None, "there is nothing to show".to_owned())),
                Ok(TalkEvent::Ready) => {}
                Err(_) => return Err((None, "the connection to the camera is over".to_owned())),
            }
        }
    }
}

impl<R: Runtime> ViewerHandle<R> {
    /// Asks for a live stream or a recording. Tags go to its hub.
    pub(crate) async fn open_stream(
        &self,
        service: ServiceId,
        request: Request,
    ) -> Result<Opened, StartError> {
        // An answer and an end at most.
        let (answers, events) = async_channel::unbounded();
        let start = move |viewer: &mut Viewer, now| match request {
            Request::Live(live) => viewer.start_live(now, service, live),
            Request::Playback(playback) => viewer.start_playback(now, service, playback),
            _ => Err(ViewerError::NoStream),
        };
        let (key, hub) = self.stream_into_hub(start, Some(answers)).await?;
        Ok(Opened { key, hub, events })
    }
}
