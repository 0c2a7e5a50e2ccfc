//! Serves viewers' requests: hands commands to the application, and reads recordings and files where blocking is allowed.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_channel::{Receiver, Sender, unbounded};
use xp2p_proto::camera::{Camera, CameraEvent, RequestId};
use xp2p_proto::command::BuiltIn;
use xp2p_proto::request::Status;

use super::app::{Answer, CameraApp, Given};
use super::{files, listing, playback, voice};
use crate::handle::WeakHandle;
use crate::runtime::Runtime;

/// Events of one request, in order.
pub(super) type Jobs = Receiver<CameraEvent>;

/// What a task of a request needs.
#[derive(Clone)]
pub(super) struct Context<R> {
    pub(super) runtime: R,
    pub(super) handle: WeakHandle<Camera>,
    pub(super) app: Arc<dyn CameraApp>,
}

impl<R: Runtime> Context<R> {
    /// Runs `call` on the camera. False: the camera is gone.
    pub(super) async fn tell(
        &self,
        call: impl FnOnce(&mut Camera, std::time::Instant) + Send + 'static,
    ) -> bool {
        match self.handle.upgrade() {
            Some(handle) => handle.notify(call).await.is_ok(),
            None => false,
        }
    }

    pub(super) async fn refuse(&self, request: RequestId, status: Status, reason: String) {
        self.tell(move |camera, now| {
            camera.refuse(now, request, status, &reason);
        })
        .await;
    }
}

/// Whether an event is about a request that is served here.
pub(super) fn concerns(event: &CameraEvent) -> bool {
    matches!(
        event,
        CameraEvent::Command { .. }
            | CameraEvent::KeyframeWanted { .. }
            | CameraEvent::DownloadWanted { .. }
            | CameraEvent::DownloadMore { .. }
            | CameraEvent::DownloadDigestWanted { .. }
            | CameraEvent::DownloadEnded { .. }
            | CameraEvent::PlaybackWanted { .. }
            | CameraEvent::PlaybackRead { .. }
            | CameraEvent::PlaybackEnded { .. }
            | CameraEvent::VoiceStarted { .. }
            | CameraEvent::VoiceTag { .. }
            | CameraEvent::VoiceEnded { .. }
    )
}

/// Whether an event is of interest to nobody else.
pub(super) fn is_internal(event: &CameraEvent) -> bool {
    matches!(
        event,
        CameraEvent::DownloadMore { .. }
            | CameraEvent::DownloadDigestWanted { .. }
            | CameraEvent::PlaybackRead { .. }
            | CameraEvent::VoiceTag { .. }
    )
}

/// Gives the camera the answers of its application.
async fn pass_on<R: Runtime>(context: Context<R>, answers: Receiver<Given>) {
    while let Ok(Given { request, reply }) = answers.recv().await {
        let told = context.tell(move |camera, now| {
            match reply {
                Ok(reply) => camera.answer(now, request, reply),
                Err((status, reason)) => camera.refuse(now, request, status, &reason),
            };
        });
        if !told.await {
            break;
        }
    }
}

/// Serves until the camera is gone. The camera's own flow control bounds how many events wait.
pub(super) async fn serve<R: Runtime>(context: Context<R>, events: Receiver<CameraEvent>) {
    let (given, answers) = unbounded();
    context.runtime.spawn(Box::pin(pass_on(context.clone(), answers)));
    let mut jobs: BTreeMap<RequestId, Sender<CameraEvent>> = BTreeMap::new();
    while let Ok(event) = events.recv().await {
        match event {
            CameraEvent::KeyframeWanted { channel } => context.app.keyframe_wanted(channel),
            CameraEvent::Command { request, command } => {
                let builtin = BuiltIn::from_command(&command).ok().flatten();
                let (channel, storage) = (command.channel, context.app.storage());
                match (builtin.filter(listing::is_listing), storage) {
                    (Some(builtin), Some(storage)) => {
                        let task = listing::answer(context.clone(), request, channel, builtin, storage);
                        context.runtime.spawn(Box::pin(task));
                    }
                    _ => {
                        let answer = Answer::new(request, given.clone());
                        context.app.command(request.viewer(), command, answer);
                    }
                }
            }
            CameraEvent::DownloadWanted { request, download } => {
                let (sender, receiver) = unbounded();
                jobs.insert(request, sender);
                let task = files::send(context.clone(), request, download, receiver);
                context.runtime.spawn(Box::pin(task));
            }
            CameraEvent::PlaybackWanted { request, playback } => {
                let (sender, receiver) = unbounded();
                jobs.insert(request, sender);
                let task = playback::play(context.clone(), request, playback, receiver);
                context.runtime.spawn(Box::pin(task));
            }
            CameraEvent::VoiceStarted { request, voice } => {
                let (sender, receiver) = unbounded();
                jobs.insert(request, sender);
                let sink = context.app.voice(request.viewer(), voice);
                let task = voice::hear(context.clone(), request, sink, receiver);
                context.runtime.spawn(Box::pin(task));
            }
            CameraEvent::DownloadMore { request, .. }
            | CameraEvent::DownloadDigestWanted { request }
            | CameraEvent::PlaybackRead { request, .. }
            | CameraEvent::VoiceTag { request, .. } => {
                if let Some(job) = jobs.get(&request) {
                    // Fails only when the task has given up, and said so.
                    let _ = job.try_send(event);
                }
            }
            CameraEvent::DownloadEnded { request, .. }
            | CameraEvent::PlaybackEnded { request }
            | CameraEvent::VoiceEnded { request, .. } => {
                if let Some(job) = jobs.remove(&request) {
                    let _ = job.try_send(event);
                }
            }
            _ => {}
        }
    }
}
