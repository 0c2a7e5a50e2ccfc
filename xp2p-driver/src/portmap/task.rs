//! When to ask.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_channel::Receiver;
use futures_lite::future::or;

use super::client::{Client, Granted};
use super::{MappedTransport, PortMapping, Shared, gateway};
use crate::event_loop::ADDRESS_CHECK;
use crate::runtime::{Runtime, sleep};

/// A mapping is not renewed more often than that, whatever the router says.
const LEAST_RENEWAL: Duration = Duration::from_secs(30);
/// Nor less often: a router that has restarted has forgotten it.
const MOST_RENEWAL: Duration = Duration::from_secs(900);
/// Pauses after failures; the last one repeats. Routers restart, and people switch things on.
const RETRIES: [Duration; 4] =
    [Duration::from_secs(30), Duration::from_secs(60), Duration::from_secs(300), Duration::from_secs(900)];
/// How long to wait at the end for what the router says.
const GOODBYE: Duration = Duration::from_millis(300);

/// Asks for one port.
pub(super) struct Task<R> {
    runtime: R,
    transport: MappedTransport,
    bound: SocketAddr,
    shared: Arc<Shared>,
    unwanted: Receiver<()>,
}

/// What is waited for.
enum News {
    /// It is time to ask again.
    Due,
    /// This host is in another network.
    Moved,
    /// It is over.
    End,
}

impl<R: Runtime> Task<R> {
    pub(super) fn new(
        runtime: R,
        transport: MappedTransport,
        bound: SocketAddr,
        shared: Arc<Shared>,
        unwanted: Receiver<()>,
    ) -> Self {
        Self { runtime, transport, bound, shared, unwanted }
    }

    pub(super) async fn run(self) {
        loop {
            let news = match gateway::inside_address(self.bound.ip()) {
                Some(local) => self.stay(local).await,
                None => {
                    self.shared.set(PortMapping::Unneeded);
                    self.wait(None, None).await
                }
            };
            if matches!(news, News::End) {
                return;
            }
        }
    }

    /// Asks and renews for as long as this host's address is `local`.
    async fn stay(&self, local: Ipv4Addr) -> News {
        let nonce = match self.runtime.random() {
            Ok(nonce) => nonce,
            Err(e) => {
                self.shared.set(PortMapping::Unavailable { reason: e.to_string() });
                return self.wait(Some(local), None).await;
            }
        };
        let mut client = Client::new(self.transport, local, self.bound.port(), nonce);
        let mut failures = 0;
        let mut held_until: Option<Instant> = None;
        loop {
            let asked = self.blocking(client, Client::map);
            let Some((back, result)) = asked.await else { return News::End };
            client = back;
            let now = self.runtime.now();
            let pause = match result {
                Ok(Granted { external, protocol, lifetime }) => {
                    failures = 0;
                    held_until = Some(now + lifetime);
                    self.shared.set(PortMapping::of(external, protocol));
                    (lifetime / 2).clamp(LEAST_RENEWAL, MOST_RENEWAL)
                }
                Err(reason) => {
                    let pause = RETRIES[failures.min(RETRIES.len() - 1)];
                    failures += 1;
                    // One question that got lost is no reason to give up what may still be there.
                    if failures > 1 || held_until.is_none_or(|until| until <= now) {
                        held_until = None;
                        self.shared.set(PortMapping::Unavailable { reason });
                    }
                    pause
                }
            };
            match self.wait(Some(local), Some(now + pause)).await {
                News::Due => {}
                news => {
                    // In another network it cannot be given back any more, and runs out by itself.
                    if matches!(news, News::End) {
                        self.blocking(client, Client::give_back).await;
                    } else {
                        self.shared.set(PortMapping::Asking);
                    }
                    return news;
                }
            }
        }
    }

    /// Waits until `due`, unless this host's address is another one than `local` before that.
    async fn wait(&self, local: Option<Ipv4Addr>, due: Option<Instant>) -> News {
        loop {
            let left = due.map_or(ADDRESS_CHECK, |due| due.saturating_duration_since(self.runtime.now()));
            let end = async {
                self.end().await;
                News::End
            };
            let pause = async {
                sleep(&self.runtime, left.min(ADDRESS_CHECK)).await;
                News::Due
            };
            if let News::End = or(end, pause).await {
                return News::End;
            }
            if gateway::inside_address(self.bound.ip()) != local {
                return News::Moved;
            }
            if due.is_some_and(|due| due <= self.runtime.now()) {
                return News::Due;
            }
        }
    }

    /// Ready when it is over.
    async fn end(&self) {
        // Nothing is ever sent.
        let _ = self.unwanted.recv().await;
    }

    /// Runs `work` on a thread that may wait. `None`: it is over, and the work was given up, or undone if it was done in time.
    async fn blocking<T: Send + 'static>(
        &self,
        mut client: Client,
        work: fn(&mut Client) -> T,
    ) -> Option<(Client, T)> {
        let mut done = pin!(self.runtime.unblock(move || {
            let result = work(&mut client);
            (client, result)
        }));
        let ended = self.unwanted.is_closed();
        let until_end = async {
            self.end().await;
            None
        };
        if !ended && let Some(done) = or(async { Some(done.as_mut().await) }, until_end).await {
            return Some(done);
        }
        let late = self.in_time(done).await;
        if ended {
            return late;
        }
        if let Some((mut client, _)) = late {
            self.in_time(self.runtime.unblock(move || client.give_back())).await;
        }
        None
    }

    async fn in_time<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let late = async {
            sleep(&self.runtime, GOODBYE).await;
            None
        };
        or(async { Some(work.await) }, late).await
    }
}
