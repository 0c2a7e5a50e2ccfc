//! One talk.

use xp2p_proto::camera::{CameraEvent, RequestId};

use super::app::VoiceSink;
use super::serve::{Context, Jobs};
use crate::runtime::Runtime;

pub(super) async fn hear<R: Runtime>(
    context: Context<R>,
    request: RequestId,
    sink: Option<Box<dyn VoiceSink>>,
    jobs: Jobs,
) {
    let Some(mut sink) = sink else {
        context.tell(move |camera, now| camera.end_voice(now, request)).await;
        return;
    };
    let mut complete = false;
    while let Ok(event) = jobs.recv().await {
        match event {
            CameraEvent::VoiceTag { tag, .. } => {
                let bytes = tag.wire_len();
                let heard = context.runtime.unblock(move || {
                    let result = sink.tag(tag);
                    (sink, result)
                });
                let (back, result) = heard.await;
                sink = back;
                if let Err(error) = result {
                    tracing::warn!("cannot play or store what is said: {error}");
                    context.tell(move |camera, now| camera.end_voice(now, request)).await;
                    break;
                }
                context.tell(move |camera, now| camera.voice_taken(now, request, bytes)).await;
            }
            CameraEvent::VoiceEnded { complete: whole, .. } => {
                complete = whole;
                break;
            }
            _ => {}
        }
    }
    context.runtime.unblock(move || sink.end(complete)).await;
}
