//! The little that differs between runtimes.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_io::{AsyncRead, AsyncWrite};
use noq_udp::{RecvMeta, Transmit, UdpSocketState};

/// A future that a runtime can be given to run.
pub type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// An asynchronous runtime. It is also the only source of time and randomness of the driver.
pub trait Runtime: Clone + std::fmt::Debug + Send + Sync + Unpin + 'static {
    /// Its UDP sockets.
    type Udp: Udp;
    /// Its timers.
    type Timer: Timer;
    /// Its TCP connections.
    type Tcp: AsyncRead + AsyncWrite + Send + Unpin + 'static;
    /// Its TCP listeners.
    type Listener: Listener<Tcp = Self::Tcp>;

    /// Runs `task` in the background.
    fn spawn(&self, task: Task);

    /// A timer that is not set.
    fn timer(&self) -> Self::Timer;

    /// Takes over a socket that is bound and nonblocking.
    ///
    /// # Errors
    ///
    /// The runtime cannot watch it.
    fn udp(&self, socket: std::net::UdpSocket) -> io::Result<Self::Udp>;

    /// Listens for TCP connections.
    ///
    /// # Errors
    ///
    /// The address cannot be listened on.
    fn listen(&self, addr: SocketAddr) -> io::Result<Self::Listener>;

    /// Opens a TCP connection. There is no time limit of its own: whoever waits drops the future.
    ///
    /// # Errors
    ///
    /// Nobody listens there, or there is no way.
    fn connect(&self, addr: SocketAddr) -> impl Future<Output = io::Result<Self::Tcp>> + Send;

    /// Looks up the addresses of a host.
    fn resolve(&self, host: String, port: u16) -> impl Future<Output = io::Result<Vec<SocketAddr>>> + Send;

    /// Runs `work`, which may block, on a thread for such work.
    fn unblock<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> impl Future<Output = T> + Send;

    /// The present time.
    fn now(&self) -> Instant {
        Instant::now()
    }

    /// Time since 1970 (UTC).
    fn unix_time(&self) -> Duration {
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default()
    }

    /// Fresh randomness of the operating system.
    ///
    /// # Errors
    ///
    /// The system has none, which practically cannot happen.
    fn random<const N: usize>(&self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        getrandom::fill(&mut bytes).map_err(io::Error::other)?;
        Ok(bytes)
    }
}

/// A UDP socket of a runtime.
pub trait Udp: Send + Unpin + 'static {
    /// Receives batches. Pending: the task is woken when something has come.
    fn poll_recv(
        &mut self,
        cx: &mut Context<'_>,
        state: &UdpSocketState,
        bufs: &mut [io::IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>>;

    /// Sends a datagram or a batch. Pending: the task is woken when there is room.
    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        state: &UdpSocketState,
        transmit: &Transmit<'_>,
    ) -> Poll<io::Result<()>>;

    /// Where it is bound.
    ///
    /// # Errors
    ///
    /// The system does not tell.
    fn local_addr(&self) -> io::Result<SocketAddr>;
}

/// A timer that can be set again and again.
pub trait Timer: Send + Sync + Unpin + 'static {
    /// Sets it, or switches it off.
    fn reset(&mut self, at: Option<Instant>);

    /// Ready at and after the time it was set to. Pending: the task is woken then.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()>;
}

/// A TCP listener of a runtime.
pub trait Listener: Send + 'static {
    /// Its connections.
    type Tcp;

    /// The next connection.
    fn accept(&mut self) -> impl Future<Output = io::Result<(Self::Tcp, SocketAddr)>> + Send;

    /// Where it listens.
    ///
    /// # Errors
    ///
    /// The system does not tell.
    fn local_addr(&self) -> io::Result<SocketAddr>;
}

/// Waits for a while.
pub async fn sleep<R: Runtime>(runtime: &R, time: Duration) {
    let mut timer = runtime.timer();
    timer.reset(Some(runtime.now() + time));
    std::future::poll_fn(|cx| timer.poll(cx)).await;
}
