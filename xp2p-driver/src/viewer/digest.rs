//! The digest of a download, made on a thread for such work: whoever runs the machine hears the camera meanwhile.

use async_channel::{Receiver, Sender};
use xp2p_proto::viewer::{StreamKey, Viewer};

use super::routes::DownloadEvent;
use crate::handle::WeakHandle;
use crate::runtime::Runtime;

/// Most news that are taken in one go. A thread is woken for all of them once, and what is late by it is a few MiB at most.
const BATCH: usize = 32;

/// News of a download, before the digest has seen them.
#[derive(Debug)]
pub(super) enum Undigested {
    Event(DownloadEvent),
    /// The camera's digest is there to be compared.
    DigestWanted,
}

/// Where a download hands its news on to.
pub(super) struct Digest {
    pub(super) stream: StreamKey,
    pub(super) viewer: WeakHandle<Viewer>,
    /// Has seen what the file had before.
    pub(super) hasher: blake3::Hasher,
    pub(super) from: Receiver<Undigested>,
    pub(super) to: Sender<DownloadEvent>,
}

impl Digest {
    /// Until there are no more news, or nobody who wants them. Bytes that are digested are passed on only then, so the
    /// window of the download bounds what waits here, too.
    pub(super) async fn run<R: Runtime>(mut self, runtime: R) {
        while let Ok(first) = self.from.recv().await {
            let mut batch = vec![first];
            while batch.len() < BATCH
                && let Ok(next) = self.from.try_recv()
            {
                batch.push(next);
            }
            if batch.iter().any(|news| matches!(news, Undigested::Event(DownloadEvent::Data { .. }))) {
                let mut hasher = self.hasher;
                let update = move || {
                    for news in &batch {
                        if let Undigested::Event(DownloadEvent::Data { data, .. }) = news {
                            hasher.update(data);
                        }
                    }
                    (hasher, batch)
                };
                (self.hasher, batch) = runtime.unblock(update).await;
            }
            for news in batch {
                if !self.pass_on(news).await {
                    return;
                }
            }
        }
    }

    /// Returns whether anybody is still interested.
    async fn pass_on(&self, news: Undigested) -> bool {
        match news {
            // Unbounded, see above.
            Undigested::Event(event) => self.to.try_send(event).is_ok(),
            Undigested::DigestWanted => {
                let Some(viewer) = self.viewer.upgrade() else { return false };
                let (stream, digest) = (self.stream, *self.hasher.finalize().as_bytes());
                let told = viewer.notify(move |viewer, now| {
                    viewer.finish_download(now, stream, digest);
                });
                told.await.is_ok()
            }
        }
    }
}
