//! The digest of a download, made on a thread for such work: whoever runs the machine hears the camera meanwhile.

use async_channel::{Receiver, Sender};
use xp2p_proto::viewer::{StreamKey, Viewer};

use super::routes::DownloadEvent;
use crate::handle::WeakHandle;
use crate::runtime::Runtime;

/// Most news that are taken in one go. A thread is woken for all of them once, and the window of a download is about as long.
const BATCH: usize = 2048;
/// Bytes that are digested at a time. Data come packet by packet, and BLAKE3 does a chunk of 1 KiB by itself several times slower than
/// many side by side.
const BLOCK: usize = 64 * 1024;

/// News of a download, before the digest has seen them.
#[derive(Debug)]
pub(super) enum Undigested {
    Event(DownloadEvent),
    /// The camera's digest is there to be compared.
    DigestWanted,
}

/// A digest of bytes that come in small pieces.
#[derive(Debug, Default)]
pub(super) struct InBlocks {
    hasher: blake3::Hasher,
    /// Less than a block.
    rest: Vec<u8>,
}

impl InBlocks {
    /// Goes on where `hasher` is.
    pub(super) fn new(hasher: blake3::Hasher) -> Self {
        Self { hasher, rest: Vec::new() }
    }

    fn update(&mut self, mut data: &[u8]) {
        while !data.is_empty() {
            let (now, later) = data.split_at(data.len().min(BLOCK - self.rest.len())); // less than a block is there
            data = later;
            if now.len() == BLOCK {
                self.hasher.update(now);
                continue;
            }
            self.rest.extend_from_slice(now);
            if self.rest.len() == BLOCK {
                self.hasher.update(&self.rest);
                self.rest.clear();
            }
        }
    }

    fn finish(&mut self) -> [u8; 32] {
        self.hasher.update(&self.rest);
        self.rest.clear();
        *self.hasher.finalize().as_bytes()
    }
}

/// Where a download hands its news on to.
pub(super) struct Digest {
    pub(super) stream: StreamKey,
    pub(super) viewer: WeakHandle<Viewer>,
    /// Has seen what the file had before.
    pub(super) digest: InBlocks,
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
                let mut digest = self.digest;
                let update = move || {
                    for news in &batch {
                        if let Undigested::Event(DownloadEvent::Data { data, .. }) = news {
                            digest.update(data);
                        }
                    }
                    (digest, batch)
                };
                (self.digest, batch) = runtime.unblock(update).await;
            }
            for news in batch {
                if !self.pass_on(news).await {
                    return;
                }
            }
        }
    }

    /// Returns whether anybody is still interested.
    async fn pass_on(&mut self, news: Undigested) -> bool {
        match news {
            // Unbounded, see above.
            Undigested::Event(event) => self.to.try_send(event).is_ok(),
            Undigested::DigestWanted => {
                let Some(viewer) = self.viewer.upgrade() else { return false };
                let (stream, digest) = (self.stream, self.digest.finish());
                let told = viewer.notify(move |viewer, now| {
                    viewer.finish_download(now, stream, digest);
                });
                told.await.is_ok()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_make_no_difference() {
        let bytes: Vec<u8> = (0..5 * BLOCK + 77).map(|n| (n % 251) as u8).collect();
        for len in [1, 1_200, BLOCK - 1, BLOCK, BLOCK + 1, bytes.len()] {
            let (before, rest) = bytes.split_at(300);
            let mut digest = InBlocks::new(blake3::Hasher::new().update(before).clone());
            rest.chunks(len).for_each(|piece| digest.update(piece));
            assert_eq!(digest.finish(), *blake3::hash(&bytes).as_bytes(), "pieces of {len}");
        }
    }
}
