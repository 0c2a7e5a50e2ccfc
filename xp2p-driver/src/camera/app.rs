//! What an application adds to a camera.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use xp2p_proto::camera::{RequestId, ViewerId};
use xp2p_proto::flv::Tag;
use xp2p_proto::request::{Command, Status, Voice};

use crate::records::Storage;

/// A camera's application: what the firmware can do besides showing pictures. Everything has a default, that of a
/// camera which cannot do it. Calls come from a task of the driver and must return soon; answers may come later.
pub trait CameraApp: Send + Sync + 'static {
    /// A command that the camera does not answer by itself: call signals, commands of the maker, user-defined ones.
    fn command(&self, viewer: ViewerId, command: Command, answer: Answer) {
        let _ = (viewer, command);
        answer.refuse(Status::CommandUnsupported, "this camera does not know the command");
    }

    /// Recordings and files. `None`: there are none.
    fn storage(&self) -> Option<Arc<dyn Storage>> {
        None
    }

    /// Somebody talks: who hears it. `None`: nobody, and the talk ends. Only asked when
    /// [`CameraConfig::talk`](xp2p_proto::camera::CameraConfig::talk) is set.
    fn voice(&self, viewer: ViewerId, voice: Voice) -> Option<Box<dyn VoiceSink>> {
        let _ = (viewer, voice);
        None
    }

    /// A viewer needs a keyframe of this channel.
    fn keyframe_wanted(&self, channel: u32) {
        let _ = channel;
    }
}

/// A camera that only shows pictures.
impl CameraApp for () {}

/// Hears one talk. All calls may block.
pub trait VoiceSink: Send + 'static {
    /// Sound, or a picture of a video call.
    ///
    /// # Errors
    ///
    /// It cannot be played or stored; the talk is ended.
    fn tag(&mut self, tag: Tag) -> io::Result<()>;

    /// The talk is over. `complete`: the viewer has said everything; else it broke off.
    fn end(self: Box<Self>, complete: bool);
}

/// An answer on its way to the camera.
#[derive(Debug)]
pub(super) struct Given {
    pub(super) request: RequestId,
    pub(super) reply: Result<Bytes, (Status, String)>,
}

/// The answer to a command, to be given once, from any thread, now or later. Dropped without an answer, it refuses.
#[derive(Debug)]
pub struct Answer {
    request: RequestId,
    /// Holds at most as many as there are commands without an answer, which the camera bounds.
    given: Option<async_channel::Sender<Given>>,
}

impl Answer {
    pub(super) fn new(request: RequestId, given: async_channel::Sender<Given>) -> Self {
        Self { request, given: Some(given) }
    }

    /// Answers with JSON, or any text of at most 1 MiB.
    pub fn reply(mut self, reply: impl Into<Bytes>) {
        self.give(Ok(reply.into()));
    }

    /// Refuses.
    pub fn refuse(mut self, status: Status, reason: &str) {
        self.give(Err((status, reason.to_owned())));
    }

    fn give(&mut self, reply: Result<Bytes, (Status, String)>) {
        if let Some(given) = self.given.take() {
            // Fails only when the camera is gone, and nobody waits for an answer.
            let _ = given.try_send(Given { request: self.request, reply });
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        let reason = "the camera did not answer this command".to_owned();
        self.give(Err((Status::CommandUnsupported, reason)));
    }
}
