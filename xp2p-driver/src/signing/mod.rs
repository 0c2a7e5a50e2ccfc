//! Signs a stream: its tags in, pieces and digest batches out, for the tracker of a server in this process.
//!
//! The tags come from a [`Tap`] of our own origin server ([`Trust::Source`]) or from an
//! [`OriginClient`](crate::origin::client::OriginClient) that reads a stream as any viewer does ([`Trust::Witness`], see
//! [`witness`](crate::witness)).

mod pipeline;
mod task;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_channel::TrySendError;
use xp2p_proto::flv::Tag;
use xp2p_proto::keys::SecretKey;
use xp2p_proto::server::Server;
use xp2p_proto::swarm::{StreamId, Trust};

pub use self::pipeline::{Pipeline, Signed};
use crate::handle::WeakHandle;
use crate::origin::server::Tap;
use crate::runtime::Runtime;
use crate::server::ServerHandle;

/// Most tags that wait to be signed: some seconds. More are dropped, and their segment is then of no use to anybody.
const MAX_WAITING: usize = 1024;

/// What a [`StreamSigner`] signs, and how.
#[derive(Debug, Clone)]
pub struct SigningConfig {
    /// Signs the batches; members learn its public half from the tracker.
    /// [`SecretKey::for_streams`] makes one of a server's identity.
    pub key: SecretKey,
    /// What the signature is worth.
    pub trust: Trust,
    /// The ids of the stream: more than one if viewers know it under more than one URL. Each of them is a swarm of its own.
    pub streams: Vec<StreamId>,
}

/// Counters of a [`StreamSigner`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SigningStats {
    /// Pieces signed.
    pub pieces: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Digest batches, of all ids together.
    pub batches: u64,
    /// Tags that were dropped because too many waited.
    pub dropped: u64,
}

#[derive(Debug, Default)]
struct Counters {
    pieces: AtomicU64,
    bytes: AtomicU64,
    batches: AtomicU64,
    dropped: AtomicU64,
}

/// What goes to the task.
enum Input {
    Tag(Tag),
    Restart,
}

/// A task that signs one stream. Clones are the same one; it ends, and the tracker forgets the signer, when all clones and
/// taps are dropped.
#[derive(Debug, Clone)]
pub struct StreamSigner {
    input: async_channel::Sender<Input>,
    counters: Arc<Counters>,
}

impl StreamSigner {
    /// Begins to sign for the tracker of `server`.
    pub fn spawn<R: Runtime>(runtime: &R, server: &ServerHandle, config: SigningConfig) -> Self {
        Self::spawn_weak(runtime, server.machine().clone().downgrade(), config)
    }

    /// The same for whoever does not keep the server running.
    pub(crate) fn spawn_weak<R: Runtime>(
        runtime: &R,
        server: WeakHandle<Server>,
        config: SigningConfig,
    ) -> Self {
        let (input, inputs) = async_channel::bounded(MAX_WAITING);
        let counters = Arc::new(Counters::default());
        runtime.spawn(Box::pin(task::run(runtime.clone(), server, config, inputs, counters.clone())));
        Self { input, counters }
    }

    /// Takes the next tag. It does not wait.
    pub fn push(&self, tag: &Tag) {
        if let Err(TrySendError::Full(_)) = self.input.try_send(Input::Tag(tag.clone())) {
            self.counters.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What follows is of a new connection to the origin: nothing that the old one had begun goes on.
    pub async fn restart(&self) {
        // Fails only if the server is gone.
        let _ = self.input.send(Input::Restart).await;
    }

    /// For [`OriginServer::publish`](crate::origin::server::OriginServer::publish).
    pub fn tap(&self) -> Tap {
        let signer = self.clone();
        Box::new(move |tag| signer.push(tag))
    }

    /// What it has done so far.
    pub fn stats(&self) -> SigningStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        SigningStats {
            pieces: read(&self.counters.pieces),
            bytes: read(&self.counters.bytes),
            batches: read(&self.counters.batches),
            dropped: read(&self.counters.dropped),
        }
    }
}
