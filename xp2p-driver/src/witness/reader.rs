//! Reads one stream for as long as it is wanted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use xp2p_proto::keys::SecretKey;
use xp2p_proto::server::Server;
use xp2p_proto::swarm::{StreamId, Trust};

use super::WitnessEvent;
use crate::handle::WeakHandle;
use crate::origin::client::{Backoff, LONGEST_PAUSE, OriginClient, OriginError, OriginStream};
use crate::runtime::{Runtime, sleep};
use crate::signing::{SigningConfig, StreamSigner};

/// A connection that lived so long was a good one: the next pause is the first again.
const GOOD: Duration = Duration::from_secs(10);
/// Seconds worth of the allowed rate that may come at once: what an origin gives a newcomer, and large keyframes.
const BURST_SECONDS: u64 = 10;

/// How far a stream is, to be read from anywhere.
#[derive(Debug, Default)]
pub(super) struct Reading {
    open: AtomicBool,
    bytes: AtomicU64,
}

impl Reading {
    pub(super) fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// What a reader tells.
pub(super) enum News {
    /// So many bytes have come.
    Bytes(u64),
    Event(WitnessEvent),
}

/// One stream.
pub(super) struct Job<R: Runtime> {
    pub(super) runtime: R,
    pub(super) server: WeakHandle<Server>,
    pub(super) client: OriginClient<R>,
    /// The URL with the operator's own permission, which is not shown.
    pub(super) request: String,
    pub(super) url: String,
    pub(super) stream: StreamId,
    pub(super) key: SecretKey,
    pub(super) max_rate: u64,
    pub(super) reading: Arc<Reading>,
}

/// How a connection ended.
enum End {
    Origin(OriginError),
    /// More bytes than allowed.
    TooMuch,
}

impl<R: Runtime> Job<R> {
    /// Reads and signs until it is certain that it never will work. Returns why.
    pub(super) async fn run(self, tell: impl Fn(News) + Send) -> String {
        let mut backoff = Backoff::default();
        let mut signer = None;
        let mut troubled = false;
        loop {
            let began = self.runtime.now();
            let end = match self.client.open(&self.request).await {
                Ok(stream) => {
                    let end = self.read(stream, &mut signer, &tell).await;
                    self.reading.open.store(false, Ordering::Relaxed);
                    end
                }
                Err(e) => End::Origin(e),
            };
            if self.runtime.now().saturating_duration_since(began) >= GOOD {
                backoff.reset();
                troubled = false;
            }
            let (reason, pause) = match end {
                End::Origin(e) if e.is_lasting() => return e.to_string(),
                End::Origin(OriginError::Status { code, retry_after }) => {
                    let pause = backoff.pause(&self.runtime, retry_after);
                    (OriginError::Status { code, retry_after }.to_string(), pause)
                }
                End::Origin(e) => (e.to_string(), backoff.pause(&self.runtime, None)),
                End::TooMuch => {
                    // Nobody signs it meanwhile: its members stay with the origin.
                    signer = None;
                    (format!("it has more than {} bytes per second", self.max_rate), LONGEST_PAUSE)
                }
            };
            tracing::debug!(url = self.url, ?pause, "witness: {reason}");
            // Once for each time that it goes wrong, not for each attempt.
            if !std::mem::replace(&mut troubled, true) {
                tell(News::Event(WitnessEvent::Trouble { stream: self.stream, reason }));
            }
            sleep(&self.runtime, pause).await;
        }
    }

    async fn read(
        &self,
        mut stream: OriginStream<R>,
        signer: &mut Option<StreamSigner>,
        tell: &(impl Fn(News) + Send),
    ) -> End {
        let mut bucket = Bucket::new(self.max_rate, self.runtime.now());
        let mut counted = 0;
        let mut begun = false;
        loop {
            let result = stream.next_tag().await;
            let wire = stream.received().wire;
            let fresh = wire.saturating_sub(counted);
            counted = wire;
            self.reading.bytes.fetch_add(fresh, Ordering::Relaxed);
            tell(News::Bytes(fresh));
            let tag = match result {
                Ok(tag) => tag,
                Err(e) => return End::Origin(e),
            };
            if !bucket.take(self.runtime.now(), fresh) {
                return End::TooMuch;
            }
            if !std::mem::replace(&mut begun, true) {
                self.reading.open.store(true, Ordering::Relaxed);
                tell(News::Event(WitnessEvent::Began { stream: self.stream, url: self.url.clone() }));
                match signer {
                    Some(signer) => signer.restart().await,
                    None => *signer = self.signer(),
                }
            }
            if let Some(signer) = signer {
                signer.push(&tag);
            }
        }
    }

    /// `None`: the server is gone.
    fn signer(&self) -> Option<StreamSigner> {
        let config =
            SigningConfig { key: self.key.clone(), trust: Trust::Witness, streams: vec![self.stream] };
        Some(StreamSigner::spawn_weak(&self.runtime, self.server.clone(), config))
    }
}

/// Lets so many bytes through.
#[derive(Debug)]
struct Bucket {
    rate: u64,
    level: u64,
    at: Instant,
}

impl Bucket {
    fn new(rate: u64, now: Instant) -> Self {
        Self { rate, level: rate.saturating_mul(BURST_SECONDS), at: now }
    }

    /// Returns whether there was room.
    fn take(&mut self, now: Instant, bytes: u64) -> bool {
        let elapsed = now.saturating_duration_since(self.at).as_micros();
        let more =
            u64::try_from(elapsed.saturating_mul(u128::from(self.rate)) / 1_000_000).unwrap_or(u64::MAX);
        // Only what makes a whole byte moves the time on, or a busy stream would never be given any.
        if more > 0 {
            self.at = now;
            self.level = self.level.saturating_add(more).min(self.rate.saturating_mul(BURST_SECONDS));
        }
        let Some(left) = self.level.checked_sub(bytes) else { return false };
        self.level = left;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_a_rate_that_stays_too_high_does_not() {
        let start = Instant::now();
        let mut bucket = Bucket::new(1_000, start);
        assert!(bucket.take(start, 10_000), "a burst");
        assert!(!bucket.take(start, 1));
        let mut now = start;
        for _ in 0..1_000 {
            now += Duration::from_millis(10);
            assert!(bucket.take(now, 10), "the allowed rate");
        }
        // Twice the rate with a full bucket: 10 s of grace.
        let (mut bucket, mut now) = (Bucket::new(1_000, now), now);
        let passed = (0..10_000)
            .take_while(|_| {
                now += Duration::from_millis(10);
                bucket.take(now, 20)
            })
            .count();
        assert!((990..1_010).contains(&passed), "{passed}");
    }
}
