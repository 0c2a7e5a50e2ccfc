//! Reads the origin when the machine wants it.

use std::time::Instant;

use async_channel::{Receiver, Sender};
use xp2p_proto::peer::Peer;

use super::event::WatchEvent;
use super::role::{SharedKnown, Wish};
use crate::handle::WeakHandle;
use crate::origin::client::{Backoff, OriginClient, OriginError};
use crate::runtime::{Runtime, sleep};

/// The task that reads the origin.
pub(super) struct Reading<R> {
    pub(super) runtime: R,
    pub(super) client: OriginClient<R>,
    pub(super) url: String,
    pub(super) peer: WeakHandle<Peer>,
    pub(super) known: SharedKnown,
    pub(super) events: Sender<WatchEvent>,
}

/// Why reading stopped.
enum Stop {
    Failed(OriginError),
    /// The machine wants no more, or is gone.
    NotWanted,
    Gone,
}

impl<R: Runtime> Reading<R> {
    /// Does what is wished, until nobody can wish anything any more.
    pub(super) async fn run(self, wishes: Receiver<Wish>) {
        let mut backoff = Backoff::default();
        let mut not_before = None;
        while let Ok(wish) = wishes.recv().await {
            if wish == Wish::Close {
                continue;
            }
            let closed = async {
                loop {
                    match wishes.recv().await {
                        Ok(Wish::Close) => break Stop::NotWanted,
                        Ok(Wish::Open) => {}
                        Err(_) => break Stop::Gone,
                    }
                }
            };
            match futures_lite::future::or(closed, self.read(not_before, &mut backoff)).await {
                Stop::NotWanted => {}
                Stop::Gone => return,
                Stop::Failed(error) => {
                    let (status, asked) = match &error {
                        OriginError::Status { code, retry_after } => (Some(*code), *retry_after),
                        _ => (None, None),
                    };
                    let ended = matches!(error, OriginError::Ended { .. });
                    // The machine decides whether it is to be tried again; until when not, is decided here.
                    not_before = Some(self.runtime.now() + backoff.pause(&self.runtime, asked));
                    let reason = error.to_string();
                    tracing::debug!("the origin: {reason}");
                    // An application that does not listen loses the oldest, and then the channel itself.
                    let event = WatchEvent::OriginFailed { reason: reason.clone(), status, ended };
                    let _ = self.events.force_send(event);
                    let Some(peer) = self.peer.upgrade() else { return };
                    if peer.notify(move |peer, now| peer.origin_closed(now, &reason)).await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    async fn read(&self, not_before: Option<Instant>, backoff: &mut Backoff) -> Stop {
        if let Some(at) = not_before {
            sleep(&self.runtime, at.saturating_duration_since(self.runtime.now())).await;
        }
        let mut stream = match self.client.open(&self.url).await {
            Ok(stream) => stream,
            Err(error) => return Stop::Failed(error),
        };
        let mut counted = 0;
        loop {
            let tag = match stream.next_tag().await {
                Ok(tag) => tag,
                Err(error) => return Stop::Failed(error),
            };
            backoff.reset();
            let wire = stream.received().wire;
            let bytes = wire.saturating_sub(std::mem::replace(&mut counted, wire));
            let known = self.known.clone();
            let Some(peer) = self.peer.upgrade() else { return Stop::Gone };
            let given = peer.notify(move |peer, now| {
                let reason = peer.stats().swarm.origin_reason;
                if let Some(count) = known.lock().origin_bytes_by.get_mut(reason as usize) {
                    *count += bytes;
                }
                peer.handle_origin_tag(now, &tag, bytes);
            });
            if given.await.is_err() {
                return Stop::Gone;
            }
        }
    }
}
