//! `xp2p-smol`: xp2p on the smol runtime.
//!
//! Everything is in [`xp2p_driver`]; this crate fills in the runtime. Tasks run on smol's global executor.
//! `examples/camera.rs` and `examples/viewer.rs` are programs to begin with.
//!
//! # Which crate to pick
//!
//! This one, unless the program runs on tokio already: it needs no runtime to be set up (its handles work under any
//! `block_on`), and has fewer dependencies. `xp2p-tokio` has the same API for programs on tokio, as tasks of their own
//! runtime. Both speak the same protocol, so a viewer on one watches a camera on the other; both pass the same conformance
//! tests.

use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use async_io::Async;
use noq_udp::{RecvMeta, Transmit, UdpSockRef, UdpSocketState};
pub use xp2p_driver as driver;
pub use xp2p_driver::camera::CameraHandle;
pub use xp2p_driver::proto;
use xp2p_driver::runtime::{Listener, Runtime, Task, Timer, Udp};

/// The smol runtime.
#[derive(Debug, Clone, Copy, Default)]
pub struct Smol;

/// A running viewer on smol.
pub type ViewerHandle = xp2p_driver::viewer::ViewerHandle<Smol>;

/// A running watcher of a shared stream on smol.
pub type Watcher = xp2p_driver::watch::Watcher<Smol>;

/// The viewer side under the names of the plug-ins, on smol.
pub type P2pModule = xp2p_driver::module::P2pModule<Smol>;

impl Runtime for Smol {
    type Udp = SmolUdp;
    type Timer = SmolTimer;
    type Tcp = Async<std::net::TcpStream>;
    type Listener = SmolListener;

    fn spawn(&self, task: Task) {
        smol::spawn(task).detach();
    }

    fn timer(&self) -> SmolTimer {
        SmolTimer { timer: async_io::Timer::never(), due: false }
    }

    fn udp(&self, socket: UdpSocket) -> io::Result<SmolUdp> {
        Ok(SmolUdp(Async::new_nonblocking(socket)?))
    }

    fn listen(&self, addr: SocketAddr) -> io::Result<SmolListener> {
        Ok(SmolListener(Async::<TcpListener>::bind(addr)?))
    }

    async fn connect(&self, addr: SocketAddr) -> io::Result<Self::Tcp> {
        let tcp = Async::<std::net::TcpStream>::connect(addr).await?;
        send_at_once(&tcp);
        Ok(tcp)
    }

    async fn resolve(&self, host: String, port: u16) -> io::Result<Vec<SocketAddr>> {
        smol::net::resolve((host, port)).await
    }

    async fn unblock<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        smol::unblock(work).await
    }
}

/// A UDP socket on smol.
#[derive(Debug)]
pub struct SmolUdp(Async<UdpSocket>);

impl Udp for SmolUdp {
    fn poll_recv(
        &mut self,
        cx: &mut Context<'_>,
        state: &UdpSocketState,
        bufs: &mut [io::IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        loop {
            // First try, then wait: under load there is nearly always something.
            match state.recv(UdpSockRef::from(self.0.get_ref()), bufs, metas) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => ready!(self.0.poll_readable(cx))?,
                result => return Poll::Ready(result),
            }
        }
    }

    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        state: &UdpSocketState,
        transmit: &Transmit<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            match state.try_send(UdpSockRef::from(self.0.get_ref()), transmit) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => ready!(self.0.poll_writable(cx))?,
                result => return Poll::Ready(result),
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.get_ref().local_addr()
    }
}

/// A timer on smol.
#[derive(Debug)]
pub struct SmolTimer {
    timer: async_io::Timer,
    /// It has fired; async-io tells that only once.
    due: bool,
}

impl Timer for SmolTimer {
    fn reset(&mut self, at: Option<Instant>) {
        self.due = false;
        match at {
            Some(at) => self.timer.set_at(at),
            None => self.timer = async_io::Timer::never(),
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.due {
            ready!(Pin::new(&mut self.timer).poll(cx));
            self.due = true;
        }
        Poll::Ready(())
    }
}

/// Live pictures do not wait until the last packet is acknowledged. A system that cannot do this is slower, no more.
fn send_at_once(tcp: &Async<std::net::TcpStream>) {
    let _ = tcp.get_ref().set_nodelay(true);
}

/// A TCP listener on smol.
#[derive(Debug)]
pub struct SmolListener(Async<TcpListener>);

impl Listener for SmolListener {
    type Tcp = Async<std::net::TcpStream>;

    async fn accept(&mut self) -> io::Result<(Self::Tcp, SocketAddr)> {
        let (tcp, peer) = self.0.accept().await?;
        send_at_once(&tcp);
        Ok((tcp, peer))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.get_ref().local_addr()
    }
}
