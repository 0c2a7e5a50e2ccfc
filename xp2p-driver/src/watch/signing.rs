//! Signs a stream that is published in this process, for the tracker in this process.

use std::time::{Duration, Instant};

use async_channel::{Receiver, Sender};
use xp2p_proto::flv::Tag;
use xp2p_proto::keys::SecretKey;
use xp2p_proto::server::Server;
use xp2p_proto::swarm::content::{Canonical, Cutter, Signer, Tracks};
use xp2p_proto::swarm::{StreamId, Trust};

use crate::handle::Handle;
use crate::origin::server::Tap;
use crate::runtime::{Runtime, sleep};

/// Most tags that wait to be signed.
const MAX_TAGS: usize = 4096;
/// How often time passes without tags.
const TICK: Duration = Duration::from_millis(50);

/// Makes the tap of a publication that signs what it sees.
pub fn sign<R: Runtime>(runtime: &R, server: Handle<Server>, stream: StreamId, key: SecretKey) -> Tap {
    let (tags, waiting): (Sender<(Instant, Tag)>, _) = async_channel::bounded(MAX_TAGS);
    let task = run(runtime.clone(), server, stream, key, waiting);
    runtime.spawn(Box::pin(task));
    let clock = runtime.clone();
    Box::new(move |tag| {
        let _ = tags.try_send((clock.now(), tag.clone()));
    })
}

async fn run<R: Runtime>(
    runtime: R,
    server: Handle<Server>,
    stream: StreamId,
    key: SecretKey,
    tags: Receiver<(Instant, Tag)>,
) {
    let keys = [key.public()];
    let told = server.call(move |server, now| server.set_signer(now, stream, Trust::Source, &keys)).await;
    if told.is_err() {
        return;
    }
    let mut canonical = Canonical::new(Tracks::Learnt, runtime.now());
    let mut cutter = Cutter::new();
    let chain = u64::try_from(runtime.unix_time().as_millis()).unwrap_or(u64::MAX);
    let mut signer = Signer::new(key, stream, chain);
    loop {
        let next = futures_lite::future::or(async { Some(tags.recv().await) }, async {
            sleep(&runtime, TICK).await;
            None
        });
        match next.await {
            Some(Ok((at, tag))) => canonical.push(at, &tag),
            Some(Err(_)) => return,
            None => {}
        }
        let now = runtime.now();
        canonical.handle_timeout(now);
        let (mut pieces, mut batches) = (Vec::new(), Vec::new());
        while let Some(item) = canonical.poll() {
            cutter.push(&item);
            while let Some(piece) = cutter.poll() {
                if let Some(info) = signer.push(now, &piece) {
                    pieces.push((info.no, piece.content));
                }
            }
        }
        while let Some(batch) = signer.poll(now) {
            batches.push(batch);
        }
        if pieces.is_empty() && batches.is_empty() {
            continue;
        }
        let told = server.notify(move |server, now| {
            pieces.into_iter().for_each(|(no, content)| server.handle_piece(now, stream, no, content));
            batches.into_iter().for_each(|batch| server.handle_batch(now, stream, batch));
        });
        if told.await.is_err() {
            return;
        }
    }
}
