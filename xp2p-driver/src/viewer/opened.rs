//! A stream with what the camera says to it.

use async_channel::Receiver;
use xp2p_proto::request::Request;
use xp2p_proto::viewer::{ServiceId, StreamKey, ViewerError};

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
        let hub = Hub::default();
        // An answer and an end at most.
        let (sender, events) = async_channel::unbounded();
        let (routes, stream_hub) = (self.routes.clone(), hub.clone());
        let started = self.handle.call(move |viewer, now| {
            let key = match request {
                Request::Live(live) => viewer.start_live(now, service, live)?,
                Request::Playback(playback) => viewer.start_playback(now, service, playback)?,
                _ => return Err(ViewerError::NoStream),
            };
            let mut routes = routes.lock();
            routes.hubs.insert(key, stream_hub);
            routes.talks.insert(key, sender);
            Ok::<_, ViewerError>(key)
        });
        Ok(Opened { key: started.await??, hub, events })
    }
}
