//! A runtime whose tasks log under the module's UUID.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{Instrument as _, Span};

use crate::runtime::{Runtime, Task};

/// Does what `runtime` does; each line that its tasks log stands in a span with the UUID. Whatever is started on it
/// starts its own tasks on it too, so nothing of the module escapes.
#[derive(Debug, Clone)]
pub(super) struct Spanned<R> {
    runtime: R,
    uuid: Arc<str>,
}

impl<R> Spanned<R> {
    pub(super) fn new(runtime: R, uuid: Arc<str>) -> Self {
        Self { runtime, uuid }
    }

    pub(super) fn uuid(&self) -> &str {
        &self.uuid
    }

    /// The span of the module. Made anew each time, because an application may install its subscriber after it has made
    /// the module; of the highest level, because a filter that lets only errors pass would drop any other span.
    pub(super) fn span(&self) -> Span {
        tracing::error_span!("p2p", uuid = &*self.uuid)
    }
}

impl<R: Runtime> Runtime for Spanned<R> {
    type Udp = R::Udp;
    type Timer = R::Timer;
    type Tcp = R::Tcp;
    type Listener = R::Listener;

    fn spawn(&self, task: Task) {
        self.runtime.spawn(Box::pin(task.instrument(self.span())));
    }

    fn timer(&self) -> R::Timer {
        self.runtime.timer()
    }

    fn udp(&self, socket: std::net::UdpSocket) -> io::Result<R::Udp> {
        self.runtime.udp(socket)
    }

    fn listen(&self, addr: SocketAddr) -> io::Result<R::Listener> {
        self.runtime.listen(addr)
    }

    fn connect(&self, addr: SocketAddr) -> impl Future<Output = io::Result<R::Tcp>> + Send {
        self.runtime.connect(addr).instrument(self.span())
    }

    fn resolve(&self, host: String, port: u16) -> impl Future<Output = io::Result<Vec<SocketAddr>>> + Send {
        self.runtime.resolve(host, port).instrument(self.span())
    }

    fn unblock<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> impl Future<Output = T> + Send {
        let span = self.span();
        self.runtime.unblock(move || span.in_scope(work))
    }

    fn now(&self) -> Instant {
        self.runtime.now()
    }

    fn unix_time(&self) -> Duration {
        self.runtime.unix_time()
    }

    fn random<const N: usize>(&self) -> io::Result<[u8; N]> {
        self.runtime.random()
    }
}
