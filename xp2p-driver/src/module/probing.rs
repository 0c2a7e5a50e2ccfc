//! What the module knows of the network: one probe at a time, and a new one when the addresses change.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_channel::{Receiver, Sender};
use xp2p_proto::error::ErrorCode;

use super::{ModuleError, ModuleEvent};
use crate::event_loop::ADDRESS_CHECK;
use crate::probe::probe;
use crate::runtime::{Runtime, sleep};
use crate::udp::local_addresses;

/// Clones are the same.
#[derive(Debug, Clone)]
pub(super) struct Probing<R> {
    runtime: R,
    running: Arc<AtomicBool>,
    failed: Arc<AtomicBool>,
    news: Sender<ModuleEvent>,
}

/// Says that no probe runs any more, also when the future that ran it was dropped.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl<R: Runtime> Probing<R> {
    pub(super) fn new(runtime: R, news: Sender<ModuleEvent>) -> Self {
        Self { runtime, running: Arc::default(), failed: Arc::default(), news }
    }

    /// Whether the last probe failed.
    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// Probes, and tells the result as an event too.
    pub(super) async fn probe(&self, server: SocketAddr) -> Result<(), ModuleError> {
        if self.running.swap(true, Ordering::AcqRel) {
            return Err(ModuleError::new(ErrorCode::ProbeRunning, "a probe is running already; wait for it"));
        }
        let _done = Done(&self.running);
        let errmsg = match probe(&self.runtime, server).await {
            Ok(report) if !report.is_blocked() => {
                self.failed.store(false, Ordering::Relaxed);
                self.tell(ModuleEvent::NatChanged(Box::new(report)));
                return Ok(());
            }
            Ok(report) => format!("the server {server} did not answer: {}", report.advice()),
            Err(e) => e.to_string(),
        };
        self.failed.store(true, Ordering::Relaxed);
        let errcode = ErrorCode::ProbeFailed;
        self.tell(ModuleEvent::NatError { errcode, errmsg: errmsg.clone() });
        Err(ModuleError::new(errcode, errmsg))
    }

    /// A full channel loses the oldest; a closed one has nobody who would miss it.
    fn tell(&self, event: ModuleEvent) {
        let _ = self.news.force_send(event);
    }

    /// Probes again whenever the host's addresses have changed, until the module stops.
    pub(super) async fn watch(self, server: SocketAddr, bind: SocketAddr, stop: Receiver<()>) {
        let mut known = local_addresses(bind).ok();
        loop {
            let stopped = futures_lite::future::or(
                async {
                    // Ends only with an error, because nothing is ever sent.
                    let _ = stop.recv().await;
                    true
                },
                async {
                    sleep(&self.runtime, ADDRESS_CHECK).await;
                    false
                },
            );
            if stopped.await {
                return;
            }
            let Ok(found) = local_addresses(bind) else { continue };
            if known.as_ref().is_some_and(|known| *known != found)
                && let Err(e) = self.probe(server).await
            {
                // It was told as an event.
                tracing::debug!("after a change of the addresses: {e}");
            }
            known = Some(found);
        }
    }
}
