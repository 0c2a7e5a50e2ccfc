//! One download.

use std::io;

use async_channel::{Receiver, bounded};
use xp2p_proto::camera::{CameraEvent, RequestId};
use xp2p_proto::request::{Download, Status};

use super::serve::{Context, Jobs};
use crate::records::FileReader;
use crate::runtime::Runtime;

/// Bytes read at a time for the digest alone.
const DIGEST_READ: usize = 1024 * 1024;

struct Open {
    reader: Box<dyn FileReader>,
    /// Has seen what was sent so far, if that began with the first byte.
    hasher: Option<blake3::Hasher>,
}

pub(super) async fn send<R: Runtime>(
    context: Context<R>,
    request: RequestId,
    download: Download,
    jobs: Jobs,
) {
    let result = serve(&context, request, &download, jobs).await;
    if let Err(error) = result {
        tracing::warn!("cannot send {}: {error}", download.file_name);
        let reason = format!("the camera cannot read {}: {error}", download.file_name);
        context.refuse(request, Status::NotFound, reason).await;
    }
}

async fn serve<R: Runtime>(
    context: &Context<R>,
    request: RequestId,
    download: &Download,
    jobs: Jobs,
) -> io::Result<()> {
    let Some(storage) = context.app.storage() else {
        context.refuse(request, Status::NotFound, "this camera has no files".to_owned()).await;
        return Ok(());
    };
    let (channel, name) = (download.channel, download.file_name.clone());
    let open = {
        let (storage, name) = (storage.clone(), name.clone());
        move || storage.open_file(channel, &name)
    };
    let Some(reader) = context.runtime.unblock(open.clone()).await? else {
        let reason =
            format!("there is no file {name} on channel {channel}; get_file_list tells which there are");
        context.refuse(request, Status::NotFound, reason).await;
        return Ok(());
    };
    let (size, version) = (reader.size(), reader.version());
    // From the first byte on the digest is made of what is sent; else the part before is read as well, beside it.
    let (hasher, beside) = if download.offset == 0 {
        (Some(blake3::Hasher::new()), None)
    } else {
        (None, Some(digest_of_all(context, open, version.clone())))
    };
    let mut open = Open { reader, hasher };
    context
        .tell(move |camera, now| {
            camera.accept_download(now, request, size, &version);
        })
        .await;
    while let Ok(job) = jobs.recv().await {
        match job {
            CameraEvent::DownloadMore { offset, len, .. } => {
                let read = context.runtime.unblock(move || {
                    let data = open.reader.read_at(offset, len);
                    if let (Ok(data), Some(hasher)) = (&data, &mut open.hasher) {
                        hasher.update(data);
                    }
                    (open, data)
                });
                let (back, data) = read.await;
                open = back;
                let data = data?;
                context
                    .tell(move |camera, now| {
                        camera.download_data(now, request, data);
                    })
                    .await;
            }
            CameraEvent::DownloadDigestWanted { .. } => {
                let digest = match (&open.hasher, &beside) {
                    (Some(hasher), _) => *hasher.finalize().as_bytes(),
                    (None, Some(beside)) => {
                        beside.recv().await.map_err(|_| io::Error::other("its digest was not made"))??
                    }
                    (None, None) => return Err(io::Error::other("its digest was not made")),
                };
                context
                    .tell(move |camera, now| {
                        camera.finish_download(now, request, digest);
                    })
                    .await;
            }
            _ => break,
        }
    }
    Ok(())
}

fn digest_of_all<R: Runtime>(
    context: &Context<R>,
    open: impl FnOnce() -> io::Result<Option<Box<dyn FileReader>>> + Send + 'static,
    version: String,
) -> Receiver<io::Result<[u8; 32]>> {
    let (sender, receiver) = bounded(1);
    let runtime = context.runtime.clone();
    context.runtime.spawn(Box::pin(async move {
        let digest = runtime.unblock(move || {
            let mut reader = open()?.ok_or(io::ErrorKind::NotFound)?;
            if reader.version() != version {
                return Err(io::Error::other("it has changed meanwhile"));
            }
            let (mut hasher, mut at, size) = (blake3::Hasher::new(), 0, reader.size());
            while at < size {
                let len = usize::try_from(size - at).unwrap_or(DIGEST_READ).min(DIGEST_READ);
                hasher.update(&reader.read_at(at, len)?);
                at += len as u64;
            }
            Ok(*hasher.finalize().as_bytes())
        });
        // Fails only when the download is over.
        let _ = sender.try_send(digest.await);
    }));
    receiver
}
