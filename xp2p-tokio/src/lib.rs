//! `xp2p-tokio`: xp2p on the tokio runtime.
//!
//! Everything is in [`xp2p_driver`]; this crate fills in the runtime. `examples/tokio_camera.rs` and
//! `examples/tokio_viewer.rs` are programs to begin with.
//!
//! # Which crate to pick
//!
//! `xp2p-tokio` for a program that runs on tokio already: cameras and viewers become tasks of its own runtime, and no
//! threads are added. `xp2p-smol` for everything else: it needs no runtime to be set up (its handles work under any
//! `block_on`), and has fewer dependencies. Both have the same API and speak the same protocol, so a viewer on one
//! watches a camera on the other; both pass the same conformance tests.
//!
//! # Inside and outside of a runtime
//!
//! A [`Tokio`] belongs to one runtime, multi-thread or current-thread, which needs its IO and time drivers
//! (`enable_all`). [`Tokio::current`] takes the one it is called in, and is an error outside of any; [`Tokio::new`] takes
//! any, from anywhere. From then on it does not matter where calls come from: tasks, sockets and timers go to that
//! runtime, and futures may be awaited on others.
//!
//! ```
//! use xp2p_tokio::Tokio;
//!
//! # fn main() -> std::io::Result<()> {
//! assert!(Tokio::current().is_err(), "no runtime here");
//!
//! let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
//! let inside = runtime.block_on(async { Tokio::current() });
//! assert!(inside.is_ok());
//! let tokio = Tokio::new(runtime.handle().clone());
//! # let _ = tokio;
//! # Ok(())
//! # }
//! ```
//!
//! When the runtime is shut down, its tasks go with it: handles then say [`Gone`](xp2p_driver::handle::Gone). tokio itself
//! panics where a timer is made or awaited after that, and where a driver was not enabled.

mod tcp;
mod time;
mod udp;

use std::future::Future;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _, UdpSocket};

use tokio::runtime::Handle;
pub use xp2p_driver as driver;
pub use xp2p_driver::camera::CameraHandle;
pub use xp2p_driver::proto;
use xp2p_driver::runtime::{Runtime, Task};

pub use self::tcp::{TokioListener, TokioTcp};
pub use self::time::TokioTimer;
pub use self::udp::TokioUdp;

/// A running viewer on tokio.
pub type ViewerHandle = xp2p_driver::viewer::ViewerHandle<Tokio>;

/// A running watcher of a shared stream on tokio.
pub type Watcher = xp2p_driver::watch::Watcher<Tokio>;

/// The viewer side under the names of the plug-ins, on tokio.
pub type P2pModule = xp2p_driver::module::P2pModule<Tokio>;

/// A tokio runtime. It does not keep it running.
#[derive(Debug, Clone)]
pub struct Tokio {
    handle: Handle,
}

impl Tokio {
    /// The runtime of `handle`, from anywhere.
    pub fn new(handle: Handle) -> Self {
        Self { handle }
    }

    /// The runtime that this is called in.
    ///
    /// # Errors
    ///
    /// It is called outside of a runtime.
    pub fn current() -> io::Result<Self> {
        Handle::try_current().map(Self::new).map_err(|e| {
            let text = format!("xp2p-tokio needs a tokio runtime, and this thread is in none: {e}");
            io::Error::other(text)
        })
    }
}

impl From<Handle> for Tokio {
    fn from(handle: Handle) -> Self {
        Self::new(handle)
    }
}

impl Runtime for Tokio {
    type Udp = TokioUdp;
    type Timer = TokioTimer;
    type Tcp = TokioTcp;
    type Listener = TokioListener;

    fn spawn(&self, task: Task) {
        // Runs on when its handle is dropped; on a runtime that was shut down it is dropped at once.
        drop(self.handle.spawn(task));
    }

    fn timer(&self) -> TokioTimer {
        TokioTimer::new(&self.handle)
    }

    fn udp(&self, socket: UdpSocket) -> io::Result<TokioUdp> {
        TokioUdp::new(&self.handle, socket)
    }

    fn listen(&self, addr: SocketAddr) -> io::Result<TokioListener> {
        TokioListener::bind(&self.handle, addr)
    }

    async fn connect(&self, addr: SocketAddr) -> io::Result<TokioTcp> {
        tcp::connect(&self.handle, addr).await
    }

    async fn resolve(&self, host: String, port: u16) -> io::Result<Vec<SocketAddr>> {
        let look_up = move || Ok((host.as_str(), port).to_socket_addrs()?.collect());
        // Fails when the runtime is being shut down.
        self.handle.spawn_blocking(look_up).await.map_err(io::Error::other)?
    }

    async fn unblock<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        match self.handle.spawn_blocking(work).await {
            Ok(done) => done,
            Err(e) => match e.try_into_panic() {
                // A panic goes to whoever waits, as if the work were done here.
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is being shut down: so is whoever waits, if it is one of its tasks.
                Err(_) => std::future::pending().await,
            },
        }
    }
}

/// Polls `future` inside the runtime, whoever polls.
async fn inside<F: Future>(handle: &Handle, future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(|cx| {
        let _inside = handle.enter();
        future.as_mut().poll(cx)
    })
    .await
}
