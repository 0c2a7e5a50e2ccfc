//! How the rest of a program talks to the task that owns a machine.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use thiserror::Error;
use xp2p_proto::machine::Machine;

use crate::event_loop::{EventLoop, LoopStats, Role};
use crate::runtime::Runtime;
use crate::socket::BoundSocket;
use crate::streams::{self, Listening};
use crate::udp::MachineSocket;

/// Most commands that wait; callers then wait for room.
const MAX_COMMANDS: usize = 1024;

/// Something to be done with a machine.
type Call<M> = Box<dyn FnOnce(&mut M, Instant) + Send>;

pub(crate) enum Command<M> {
    Call(Call<M>),
    Listen(Listening),
    Shutdown(async_channel::Sender<()>),
}

/// The task that owned the machine has ended.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Gone {
    /// It was told to.
    #[error("it has been shut down")]
    ShutDown,
    /// Its socket could not be used any more.
    #[error("its socket has failed: {0}")]
    Socket(Arc<str>),
}

/// Why the task ended, once it has.
type End = Arc<OnceLock<Gone>>;

/// Belongs to the task, and goes with it: at its end, in a panic, and when the runtime is shut down under it.
struct Farewell<M> {
    queue: async_channel::Receiver<Command<M>>,
    end: End,
}

impl<M> Drop for Farewell<M> {
    fn drop(&mut self) {
        // A queue keeps what is in it for as long as anybody could send, and whoever waits for that would wait for ever.
        self.queue.close();
        while self.queue.try_recv().is_ok() {}
    }
}

/// A handle of a running machine. Clones talk to the same one; when all are gone, it shuts down.
pub struct Handle<M> {
    commands: async_channel::Sender<Command<M>>,
    stats: Arc<LoopStats>,
    local: SocketAddr,
    end: End,
    /// Of whoever started it: what a handle logs elsewhere belongs there too.
    span: tracing::Span,
}

impl<M> Clone for Handle<M> {
    fn clone(&self) -> Self {
        Self {
            commands: self.commands.clone(),
            stats: self.stats.clone(),
            local: self.local,
            end: self.end.clone(),
            span: self.span.clone(),
        }
    }
}

impl<M> fmt::Debug for Handle<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("local", &self.local).finish_non_exhaustive()
    }
}

impl<M: Machine + Send + Unpin + 'static> Handle<M> {
    /// Binds sockets to `addrs`, the first one being the main one, and runs the machine that `make` makes on them.
    /// `make` gets the addresses that they were bound to, in the same order, and the time.
    ///
    /// The camera, viewer and server have handles of their own; this is for machines of other kinds.
    ///
    /// # Errors
    ///
    /// A socket cannot be bound, or `make` fails.
    pub fn spawn<R: Runtime, O: Role<M> + Unpin>(
        runtime: &R,
        addrs: &[SocketAddr],
        make: impl FnOnce(&[SocketAddr], Instant) -> io::Result<(M, O)>,
    ) -> io::Result<Self> {
        let sockets = addrs.iter().map(|&addr| BoundSocket::bind(addr)).collect::<io::Result<Vec<_>>>()?;
        Self::spawn_on(runtime, sockets, make)
    }

    /// The same on sockets that are bound already, the first one being the main one.
    ///
    /// # Errors
    ///
    /// There is no socket, the runtime cannot watch one, or `make` fails.
    pub fn spawn_on<R: Runtime, O: Role<M> + Unpin>(
        runtime: &R,
        sockets: Vec<BoundSocket>,
        make: impl FnOnce(&[SocketAddr], Instant) -> io::Result<(M, O)>,
    ) -> io::Result<Self> {
        let sockets = sockets
            .into_iter()
            .map(|socket| MachineSocket::new(runtime, socket))
            .collect::<io::Result<Vec<_>>>()?;
        let bound: Vec<SocketAddr> = sockets.iter().map(MachineSocket::local).collect();
        let local = bound.first().copied().ok_or(io::ErrorKind::InvalidInput)?;
        let (machine, role) = make(&bound, runtime.now())?;
        let (commands, receiver) = async_channel::bounded(MAX_COMMANDS);
        let stats = Arc::new(LoopStats::default());
        let end = End::default();
        let farewell = Farewell { queue: receiver.clone(), end: end.clone() };
        let task = EventLoop::new(runtime.clone(), machine, role, sockets, receiver, stats.clone());
        runtime.spawn(Box::pin(async move {
            let farewell = farewell;
            // Known before the queue of commands is emptied, so that those who wait there find the reason.
            let mut task = std::pin::pin!(task);
            let why = match task.as_mut().await {
                Ok(()) => Gone::ShutDown,
                Err(e) => {
                    tracing::error!("the socket has failed: {e}");
                    Gone::Socket(e.to_string().into())
                }
            };
            // Set only here.
            let _ = farewell.end.set(why);
        }));
        Ok(Self { commands, stats, local, end, span: tracing::Span::current() })
    }

    /// Runs `call` on the machine and returns what it returns. Dropping the future before it is ready leaves the machine
    /// whole: the call then either runs or it does not.
    ///
    /// # Errors
    ///
    /// [`Gone`].
    pub async fn call<T: Send + 'static>(
        &self,
        call: impl FnOnce(&mut M, Instant) -> T + Send + 'static,
    ) -> Result<T, Gone> {
        let (sender, receiver) = async_channel::bounded(1);
        let command = Command::Call(Box::new(move |machine: &mut M, now| {
            // Fails only if the caller has lost interest.
            let _ = sender.try_send(call(machine, now));
        }));
        self.commands.send(command).await.map_err(|_| self.gone())?;
        receiver.recv().await.map_err(|_| self.gone())
    }

    /// Runs `call` on the machine some time later. Waits only while too many commands wait; dropping the future before
    /// it is ready means that the call does not run.
    ///
    /// # Errors
    ///
    /// [`Gone`].
    pub async fn notify(&self, call: impl FnOnce(&mut M, Instant) + Send + 'static) -> Result<(), Gone> {
        self.commands.send(Command::Call(Box::new(call))).await.map_err(|_| self.gone())
    }

    /// The same for threads that are not asynchronous, without waiting for the call to have run. Waits while too many
    /// commands wait.
    ///
    /// # Errors
    ///
    /// [`Gone`].
    pub fn notify_blocking(&self, call: impl FnOnce(&mut M, Instant) + Send + 'static) -> Result<(), Gone> {
        self.commands.send_blocking(Command::Call(Box::new(call))).map_err(|_| self.gone())
    }

    /// Takes TCP connections on `addr` for the machine, for as long as it runs. Returns where it listens.
    ///
    /// # Errors
    ///
    /// The address cannot be listened on, or the machine is [`Gone`].
    pub async fn listen<R: Runtime>(&self, runtime: &R, addr: SocketAddr) -> io::Result<SocketAddr> {
        let (bound, listening) = streams::listen(runtime, addr)
            .map_err(|e| io::Error::new(e.kind(), format!("cannot listen on TCP {addr}: {e}")))?;
        let sent = self.commands.send(Command::Listen(listening)).await;
        sent.map_err(|_| io::Error::other(self.gone()))?;
        Ok(bound)
    }

    /// Says goodbye to all peers and ends the task; waits for that, about a second at most.
    pub async fn shutdown(&self) {
        let (sender, receiver) = async_channel::bounded(1);
        if self.commands.send(Command::Shutdown(sender)).await.is_ok() {
            // Fails when the task ends without a word, which is an end as well.
            let _ = receiver.recv().await;
        }
    }

    fn gone(&self) -> Gone {
        self.end.get().cloned().unwrap_or(Gone::ShutDown)
    }

    /// Counters of the event loop.
    pub fn loop_stats(&self) -> &LoopStats {
        &self.stats
    }

    /// Where the main socket is bound.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }
}

/// A handle that does not keep the machine running.
#[derive(Debug)]
pub struct WeakHandle<M> {
    commands: async_channel::WeakSender<Command<M>>,
    stats: Arc<LoopStats>,
    local: SocketAddr,
    end: End,
    span: tracing::Span,
}

impl<M> Handle<M> {
    /// A handle that does not keep the machine running.
    pub fn downgrade(self) -> WeakHandle<M> {
        WeakHandle {
            commands: self.commands.downgrade(),
            stats: self.stats,
            local: self.local,
            end: self.end,
            span: self.span,
        }
    }
}

impl<M> WeakHandle<M> {
    /// Runs `call` on the machine some time later, if it still runs and is not hopelessly behind: for things that
    /// only save work, like stopping a stream that nobody reads.
    pub(crate) fn notify_soon(&self, call: impl FnOnce(&mut M, Instant) + Send + 'static) {
        if let Some(commands) = self.commands.upgrade()
            && commands.try_send(Command::Call(Box::new(call))).is_err()
        {
            self.span.in_scope(|| tracing::debug!("too busy to tidy up"));
        }
    }

    /// A full handle, if the machine still runs.
    pub fn upgrade(&self) -> Option<Handle<M>> {
        let commands = self.commands.upgrade()?;
        Some(Handle {
            commands,
            stats: self.stats.clone(),
            local: self.local,
            end: self.end.clone(),
            span: self.span.clone(),
        })
    }
}

impl<M> Clone for WeakHandle<M> {
    fn clone(&self) -> Self {
        Self {
            commands: self.commands.clone(),
            stats: self.stats.clone(),
            local: self.local,
            end: self.end.clone(),
            span: self.span.clone(),
        }
    }
}
