//! One playback.

use std::io;

use xp2p_proto::camera::{CameraEvent, ReadFrom, RecordedTag, RequestId};
use xp2p_proto::request::{Playback, Status};

use super::serve::{Context, Jobs};
use crate::runtime::Runtime;

pub(super) async fn play<R: Runtime>(
    context: Context<R>,
    request: RequestId,
    playback: Playback,
    jobs: Jobs,
) {
    if let Err(error) = serve(&context, request, &playback, jobs).await {
        tracing::warn!("cannot play a recording: {error}");
        let reason = format!("the camera cannot read its recordings: {error}");
        context.refuse(request, Status::NotFound, reason).await;
    }
}

async fn serve<R: Runtime>(
    context: &Context<R>,
    request: RequestId,
    playback: &Playback,
    jobs: Jobs,
) -> io::Result<()> {
    let Some(storage) = context.app.storage() else {
        context.refuse(request, Status::NotFound, "this camera has no recordings".to_owned()).await;
        return Ok(());
    };
    let (channel, kind) = (playback.channel, playback.kind);
    let (from, to) = (playback.start_time.saturating_mul(1000), playback.end_time.saturating_mul(1000));
    let opened = context.runtime.unblock(move || storage.open_playback(channel, from, to, kind)).await?;
    let Some(mut reader) = opened else {
        let of_kind = kind.map_or_else(String::new, |kind| format!(" of type {kind}"));
        let reason = format!("nothing{of_kind} is recorded in that time; get_record_index tells what is");
        context.refuse(request, Status::NotFound, reason).await;
        return Ok(());
    };
    context
        .tell(move |camera, now| {
            camera.accept_playback(now, request);
        })
        .await;
    while let Ok(CameraEvent::PlaybackRead { generation, from, keys_only, .. }) = jobs.recv().await {
        let read = context.runtime.unblock(move || {
            let tags = match from {
                ReadFrom::Seek(at) => reader.seek(at).and_then(|()| reader.read(keys_only)),
                ReadFrom::Next => reader.read(keys_only),
            };
            (reader, tags)
        });
        let (back, tags) = read.await;
        reader = back;
        let tags = tags?.into_iter().map(|t| RecordedTag { at: t.at, tag: t.tag }).collect();
        context
            .tell(move |camera, now| {
                camera.playback_data(now, request, generation, tags);
            })
            .await;
    }
    Ok(())
}
