//! One task that owns a machine and its sockets.
//!
//! The order of a turn: send what waits, receive, commands, timer, events; each with a budget, so that none starves the
//! others. A socket that refuses to send holds back sending only.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_lite::Stream;
use xp2p_proto::machine::Machine;

use crate::handle::Command;
use crate::runtime::{Runtime, Timer};
use crate::udp::{MachineSocket, Unsent, is_transient, local_addresses};

/// Batches that are received in one turn.
const RECEIVE_BUDGET: usize = 8;
/// Batches that are sent in one turn.
const SEND_BUDGET: usize = 64;
/// Commands in one turn.
const COMMAND_BUDGET: usize = 64;
/// Turns before other tasks get theirs.
const TURN_BUDGET: usize = 8;
/// How often the host's addresses are looked at.
const ADDRESS_CHECK: Duration = Duration::from_secs(5);
/// How often the machine is told the time of day.
const CLOCK_CHECK: Duration = Duration::from_secs(60);
/// How long a machine may take to say goodbye.
const SHUTDOWN_TIME: Duration = Duration::from_secs(1);
/// Timers in a row that are due right after they were handled before that is called a fault.
const BUSY_TIMERS: u32 = 1_000;
/// A datagram that no socket takes is dropped after this long.
const SEND_PATIENCE: Duration = Duration::from_secs(2);

/// What a role does with its machine's events.
pub trait Role<M: Machine>: Send + 'static {
    /// Takes in an event. Runs in the machine's task: it must not block.
    fn on_event(&mut self, machine: &mut M, now: Instant, event: M::Event);

    /// After each turn in which something happened.
    fn on_turn(&mut self, _machine: &mut M, _now: Instant) {}

    /// Begins to say goodbye.
    fn shutdown(&mut self, machine: &mut M, now: Instant);

    /// Whether everybody knows that we go.
    fn is_closed(&self, machine: &M) -> bool;
}

/// Counters of an event loop, to be read from anywhere.
#[derive(Debug, Default)]
pub struct LoopStats {
    /// Turns.
    pub turns: AtomicU64,
    /// Datagrams received.
    pub received: AtomicU64,
    /// Batches sent.
    pub sent: AtomicU64,
    /// Datagrams that could not be sent.
    pub send_errors: AtomicU64,
    /// Times that the machine asked to be woken at once, again and again.
    pub busy_timers: AtomicU64,
}

fn count(counter: &AtomicU64, n: usize) {
    counter.fetch_add(n as u64, Ordering::Relaxed);
}

pub(crate) struct EventLoop<R: Runtime, M: Machine, O: Role<M>> {
    pub(crate) runtime: R,
    pub(crate) machine: M,
    pub(crate) role: O,
    pub(crate) sockets: Vec<MachineSocket<R::Udp>>,
    pub(crate) commands: Pin<Box<async_channel::Receiver<Command<M>>>>,
    pub(crate) stats: Arc<LoopStats>,
    pub(crate) timer: R::Timer,
    pub(crate) unsent: Vec<Unsent>,
    pub(crate) spare: Vec<u8>,
    pub(crate) next_address_check: Instant,
    pub(crate) next_clock_check: Instant,
    pub(crate) closing: Option<Instant>,
    pub(crate) done: Option<async_channel::Sender<()>>,
}

impl<R: Runtime, M: Machine + Send + 'static, O: Role<M>> EventLoop<R, M, O> {
    pub(crate) fn new(
        runtime: R,
        machine: M,
        role: O,
        sockets: Vec<MachineSocket<R::Udp>>,
        commands: async_channel::Receiver<Command<M>>,
        stats: Arc<LoopStats>,
    ) -> Self {
        let now = runtime.now();
        let timer = runtime.timer();
        Self {
            runtime,
            machine,
            role,
            sockets,
            commands: Box::pin(commands),
            stats,
            timer,
            unsent: Vec::new(),
            spare: Vec::new(),
            next_address_check: now,
            next_clock_check: now,
            closing: None,
            done: None,
        }
    }

    /// Sends what waits. Returns whether anything happened.
    fn send(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let mut progress = false;
        for _ in 0..SEND_BUDGET {
            // Each socket holds at most one batch back, so this list stays as short as the list of sockets.
            if self.unsent.is_empty() {
                let mut data = std::mem::take(&mut self.spare);
                data.clear();
                let Some(transmit) = self.machine.poll_transmit(now, &mut data) else {
                    self.spare = data;
                    break;
                };
                progress = true;
                self.unsent.push(Unsent { transmit, data, done: 0, since: now });
            }
            let Some(mut unsent) = self.unsent.pop() else { break };
            let index = self.socket_for(unsent.transmit.local);
            let Some(socket) = self.sockets.get_mut(index) else { break };
            match send_batch(cx, socket, &mut unsent) {
                Poll::Ready(Ok(())) => {
                    count(&self.stats.sent, 1);
                    self.spare = unsent.data;
                }
                Poll::Ready(Err(e)) => {
                    count(&self.stats.send_errors, 1);
                    if is_transient(&e) {
                        tracing::trace!("not sent to {}: {e}", unsent.transmit.remote);
                    } else {
                        tracing::warn!("cannot send: {e}");
                    }
                    self.spare = unsent.data;
                }
                Poll::Pending if now.saturating_duration_since(unsent.since) > SEND_PATIENCE => {
                    count(&self.stats.send_errors, 1);
                    self.spare = unsent.data;
                }
                Poll::Pending => {
                    self.unsent.push(unsent);
                    break;
                }
            }
        }
        progress
    }

    /// The socket to send from: the very one, else the first of its port, else the main one.
    fn socket_for(&self, local: Option<SocketAddr>) -> usize {
        let Some(local) = local else { return 0 };
        let exact = self.sockets.iter().position(|s| s.local() == local);
        exact.or_else(|| self.sockets.iter().position(|s| s.local().port() == local.port())).unwrap_or(0)
    }

    fn receive(&mut self, cx: &mut Context<'_>, now: Instant) -> io::Result<bool> {
        let mut progress = false;
        for socket in &mut self.sockets {
            for _ in 0..RECEIVE_BUDGET {
                let machine = &mut self.machine;
                match socket.poll_recv(cx, |datagram| machine.handle_datagram(now, datagram)) {
                    Poll::Ready(Ok(n)) => {
                        count(&self.stats.received, n);
                        progress = true;
                    }
                    // ICMP errors of earlier datagrams come out here on some systems.
                    Poll::Ready(Err(e)) if is_transient(&e) => progress = true,
                    Poll::Ready(Err(e)) => return Err(e),
                    Poll::Pending => break,
                }
            }
        }
        Ok(progress)
    }

    fn take_commands(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let mut progress = false;
        for _ in 0..COMMAND_BUDGET {
            match self.commands.as_mut().poll_next(cx) {
                Poll::Ready(Some(Command::Call(call))) => {
                    call(&mut self.machine, now);
                    progress = true;
                }
                Poll::Ready(Some(Command::Shutdown(done))) => {
                    self.begin_shutdown(now);
                    self.done = Some(done);
                    progress = true;
                }
                // All handles are gone: nobody can want anything any more.
                Poll::Ready(None) => {
                    progress |= self.begin_shutdown(now);
                    break;
                }
                Poll::Pending => break,
            }
        }
        progress
    }

    fn begin_shutdown(&mut self, now: Instant) -> bool {
        if self.closing.is_some() {
            return false;
        }
        self.closing = Some(now + SHUTDOWN_TIME);
        self.role.shutdown(&mut self.machine, now);
        true
    }

    fn chores(&mut self, now: Instant) {
        if now >= self.next_address_check {
            self.next_address_check = now + ADDRESS_CHECK;
            if let Some(main) = self.sockets.first() {
                self.machine.set_local_addresses(now, &local_addresses(main.local()));
            }
        }
        if now >= self.next_clock_check {
            self.next_clock_check = now + CLOCK_CHECK;
            self.machine.set_wall_clock(now, self.runtime.unix_time());
        }
    }

    fn is_over(&self, now: Instant) -> bool {
        self.closing.is_some_and(|until| {
            now >= until || (self.role.is_closed(&self.machine) && self.unsent.is_empty())
        })
    }
}

fn send_batch<U: crate::runtime::Udp>(
    cx: &mut Context<'_>,
    socket: &mut MachineSocket<U>,
    unsent: &mut Unsent,
) -> Poll<io::Result<()>> {
    let segment = unsent.transmit.segment_size.unwrap_or(unsent.transmit.size).max(1);
    let most = segment * socket.max_segments().max(1);
    let end = unsent.transmit.size.min(unsent.data.len());
    while unsent.done < end {
        let next = end.min(unsent.done + most);
        let mut transmit = unsent.transmit;
        let piece = &unsent.data[unsent.done..next];
        transmit.segment_size = (piece.len() > segment).then_some(segment);
        match socket.poll_send(cx, &transmit, piece) {
            Poll::Ready(Ok(())) => unsent.done = next,
            Poll::Ready(Err(e)) => return Poll::Ready(Err(e)),
            Poll::Pending => return Poll::Pending,
        }
    }
    Poll::Ready(Ok(()))
}

impl<R: Runtime, M: Machine + Send + Unpin + 'static, O: Role<M> + Unpin> Future for EventLoop<R, M, O> {
    type Output = io::Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let mut busy = 0;
        for _ in 0..TURN_BUDGET {
            let now = this.runtime.now();
            count(&this.stats.turns, 1);
            this.chores(now);
            let mut progress = this.send(cx, now);
            progress |= this.receive(cx, now)?;
            progress |= this.take_commands(cx, now);
            while this.machine.poll_timeout().is_some_and(|at| at <= now) {
                this.machine.handle_timeout(now);
                progress = true;
                busy += 1;
                if busy > BUSY_TIMERS {
                    // A fault of the machine must not take the whole processor.
                    count(&this.stats.busy_timers, 1);
                    tracing::error!("the machine asks to be woken at once, again and again");
                    break;
                }
            }
            while let Some(event) = this.machine.poll_event() {
                this.role.on_event(&mut this.machine, now, event);
                progress = true;
            }
            if progress {
                this.role.on_turn(&mut this.machine, now);
            }
            if this.is_over(now) {
                if let Some(done) = this.done.take() {
                    // Fails only if nobody waits any more.
                    let _ = done.try_send(());
                }
                return Poll::Ready(Ok(()));
            }
            if !progress {
                let wake = [
                    this.machine.poll_timeout(),
                    Some(this.next_address_check),
                    Some(this.next_clock_check),
                    this.closing,
                ];
                this.timer.reset(wake.into_iter().flatten().min());
                if this.timer.poll(cx).is_pending() {
                    return Poll::Pending;
                }
            }
        }
        // There is more to do, but others want their turn as well.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// The address that a machine's main socket is bound to, with an address to reach it at if that is unspecified.
pub(crate) fn reachable(bound: SocketAddr) -> SocketAddr {
    if !bound.ip().is_unspecified() {
        return bound;
    }
    let best = local_addresses(bound).into_iter().find(|a| !a.ip().is_loopback() && a.is_ipv4());
    best.unwrap_or_else(|| SocketAddr::new(std::net::Ipv4Addr::LOCALHOST.into(), bound.port()))
}
