//! One task that owns a machine and its sockets.
//!
//! The order of a turn: send what waits, receive, TCP connections, commands, timer, events; each with a budget, so that none starves the
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
use crate::outbox::{Batch, Outbox};
use crate::runtime::{Runtime, Timer};
use crate::streams::Streams;
use crate::udp::{MachineSocket, is_transient, local_addresses};

/// Batches that are received in one turn.
const RECEIVE_BUDGET: usize = 8;
/// Batches that are sent in one turn.
const SEND_BUDGET: usize = 64;
/// Commands in one turn.
const COMMAND_BUDGET: usize = 64;
/// Turns before other tasks get theirs.
const TURN_BUDGET: usize = 8;
/// How often the host's addresses are looked at, at least.
pub(crate) const ADDRESS_CHECK: Duration = Duration::from_secs(5);
/// How often they are looked at while there is something to do anyway: a host that has lost its network has, since its packets
/// stay without an answer, and the picture stands still until its new address is found.
const ADDRESS_CHECK_AWAKE: Duration = Duration::from_millis(250);
/// How often the machine is told the time of day.
const CLOCK_CHECK: Duration = Duration::from_secs(60);
/// How long a machine may take to say goodbye.
const SHUTDOWN_TIME: Duration = Duration::from_secs(1);
/// Timers in a row that are due right after they were handled before that is called a fault.
const BUSY_TIMERS: u32 = 1_000;
/// How long a machine's timers rest after such a fault.
const BUSY_PAUSE: Duration = Duration::from_millis(10);
/// How often such faults are told.
const COMPLAIN_EVERY: Duration = Duration::from_secs(10);
/// Errors in a row that may be those of single datagrams; after more the socket gets a pause.
const RECEIVE_ERRORS: u32 = 64;
/// How long a socket rests after an error of its own.
const RECEIVE_PAUSE: Duration = Duration::from_millis(50);
/// Pauses in a row (2 s) after which a socket is given up.
const RECEIVE_PAUSES: u32 = 40;

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
    /// Batches that the system refused, because of their size or for want of a way to their destination.
    pub send_errors: AtomicU64,
    /// Batches that were dropped because the socket took nothing for two seconds.
    pub dropped: AtomicU64,
    /// Errors on receiving.
    pub receive_errors: AtomicU64,
    /// Times that the machine asked to be woken at once, again and again.
    pub busy_timers: AtomicU64,
}

pub(crate) fn count(counter: &AtomicU64, n: usize) {
    counter.fetch_add(n as u64, Ordering::Relaxed);
}

/// A socket and what belongs to it.
struct Lane<U> {
    socket: MachineSocket<U>,
    outbox: Outbox,
    /// Errors on receiving since it last had something, or nothing, in order.
    errors: u32,
    pauses: u32,
    /// Not to be read before.
    rest: Option<Instant>,
}

pub(crate) struct EventLoop<R: Runtime, M: Machine, O: Role<M>> {
    runtime: R,
    machine: M,
    role: O,
    lanes: Vec<Lane<R::Udp>>,
    streams: Streams,
    commands: Pin<Box<async_channel::Receiver<Command<M>>>>,
    stats: Arc<LoopStats>,
    timer: R::Timer,
    /// Buffers to be used again.
    spare: Vec<Vec<u8>>,
    addresses: Vec<SocketAddr>,
    next_address_check: Instant,
    next_clock_check: Instant,
    /// The machine's timers are left alone until then.
    timers_rest: Option<Instant>,
    next_complaint: Instant,
    closing: Option<Instant>,
    done: Vec<async_channel::Sender<()>>,
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
        let lane = |socket| Lane { socket, outbox: Outbox::default(), errors: 0, pauses: 0, rest: None };
        Self {
            runtime,
            machine,
            role,
            lanes: sockets.into_iter().map(lane).collect(),
            streams: Streams::default(),
            commands: Box::pin(commands),
            stats,
            timer,
            spare: Vec::new(),
            addresses: Vec::new(),
            next_address_check: now,
            next_clock_check: now,
            timers_rest: None,
            next_complaint: now,
            closing: None,
            done: Vec::new(),
        }
    }

    /// Sends what waits. Returns whether the machine gave anything, and whether it has no more to give.
    fn send(&mut self, cx: &mut Context<'_>, now: Instant) -> (bool, bool) {
        for lane in &mut self.lanes {
            lane.outbox.flush(cx, now, &mut lane.socket, &self.stats, &mut self.spare);
        }
        for taken in 0..SEND_BUDGET {
            // What a full socket refuses stays in the machine, which knows best what to do about it.
            if self.lanes.iter().any(|lane| lane.outbox.is_full()) {
                return (taken > 0, false);
            }
            let mut data = self.spare.pop().unwrap_or_default();
            let Some(transmit) = self.machine.poll_transmit(now, &mut data) else {
                self.spare.push(data);
                return (taken > 0, true);
            };
            let index = self.socket_for(transmit.local);
            let Some(lane) = self.lanes.get_mut(index) else { return (true, true) };
            lane.outbox.push(Batch::new(transmit, data, now));
            lane.outbox.flush(cx, now, &mut lane.socket, &self.stats, &mut self.spare);
        }
        (true, false)
    }

    /// The socket to send from: the very one, else the first of its port, else the main one.
    fn socket_for(&self, local: Option<SocketAddr>) -> usize {
        let Some(local) = local else { return 0 };
        let exact = self.lanes.iter().position(|l| l.socket.local() == local);
        exact.or_else(|| self.lanes.iter().position(|l| l.socket.local().port() == local.port())).unwrap_or(0)
    }

    fn receive(&mut self, cx: &mut Context<'_>, now: Instant) -> io::Result<bool> {
        let mut progress = false;
        for lane in &mut self.lanes {
            if lane.rest.is_some_and(|until| now < until) {
                continue;
            }
            lane.rest = None;
            for _ in 0..RECEIVE_BUDGET {
                let machine = &mut self.machine;
                match lane.socket.poll_recv(cx, |datagrams| machine.handle_datagrams(now, datagrams)) {
                    Poll::Ready(Ok(n)) => {
                        count(&self.stats.received, n);
                        (lane.errors, lane.pauses) = (0, 0);
                        progress = true;
                    }
                    Poll::Ready(Err(e)) => {
                        count(&self.stats.receive_errors, 1);
                        progress = true;
                        lane.errors += 1;
                        // ICMP errors of earlier datagrams come out here on some systems.
                        if is_transient(&e) && lane.errors <= RECEIVE_ERRORS {
                            continue;
                        }
                        lane.pauses += 1;
                        if lane.pauses > RECEIVE_PAUSES {
                            return Err(e);
                        }
                        if lane.socket.may_complain(now) {
                            tracing::warn!("cannot receive: {e}");
                        }
                        lane.rest = Some(now + RECEIVE_PAUSE);
                        break;
                    }
                    Poll::Pending => {
                        (lane.errors, lane.pauses) = (0, 0);
                        break;
                    }
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
                Poll::Ready(Some(Command::Listen(listening))) => {
                    self.streams.accept_from(listening);
                    progress = true;
                }
                Poll::Ready(Some(Command::Shutdown(done))) => {
                    self.begin_shutdown(now);
                    self.done.push(done);
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

    /// Runs the machine's timers that are due. Returns whether there were any.
    fn timers(&mut self, now: Instant) -> bool {
        if self.timers_rest.is_some_and(|until| now < until) {
            return false;
        }
        self.timers_rest = None;
        for handled in 0..BUSY_TIMERS {
            if self.machine.poll_timeout().is_none_or(|at| at > now) {
                return handled > 0;
            }
            self.machine.handle_timeout(now);
        }
        // A fault of the machine must not take the whole processor.
        count(&self.stats.busy_timers, 1);
        self.timers_rest = Some(now + BUSY_PAUSE);
        if now >= self.next_complaint {
            self.next_complaint = now + COMPLAIN_EVERY;
            tracing::error!("the machine asks to be woken at once, again and again; this is a fault of xp2p");
        }
        true
    }

    fn chores(&mut self, now: Instant) {
        if now + ADDRESS_CHECK >= self.next_address_check + ADDRESS_CHECK_AWAKE {
            self.next_address_check = now + ADDRESS_CHECK;
            match self.lanes.first().map(|main| local_addresses(main.socket.local())) {
                Some(Ok(addrs)) if addrs != self.addresses => {
                    self.machine.set_local_addresses(now, &addrs);
                    self.addresses = addrs;
                }
                Some(Err(e)) => tracing::debug!("cannot list the network interfaces: {e}"),
                Some(Ok(_)) | None => {}
            }
        }
        if now >= self.next_clock_check {
            self.next_clock_check = now + CLOCK_CHECK;
            self.machine.set_wall_clock(now, self.runtime.unix_time());
        }
    }

    /// When to look again if nothing comes.
    fn wake_at(&self) -> Option<Instant> {
        let timeout = match (self.machine.poll_timeout(), self.timers_rest) {
            (Some(at), Some(rest)) => Some(at.max(rest)),
            (at, _) => at,
        };
        let rests = self.lanes.iter().map(|lane| lane.rest);
        let streams = self.streams.next();
        [timeout, Some(self.next_address_check), Some(self.next_clock_check), self.closing, streams]
            .into_iter()
            .chain(rests)
            .flatten()
            .min()
    }

    /// Whether all is said. `drained`: the machine had no more to send since it was told to close.
    fn is_over(&self, now: Instant, drained: bool) -> bool {
        let sent =
            || drained && self.lanes.iter().all(|lane| lane.outbox.is_empty()) && self.streams.are_flushed();
        self.closing.is_some_and(|until| now >= until || (sent() && self.role.is_closed(&self.machine)))
    }
}

impl<R: Runtime, M: Machine + Send + Unpin + 'static, O: Role<M> + Unpin> Future for EventLoop<R, M, O> {
    type Output = io::Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        for _ in 0..TURN_BUDGET {
            let now = this.runtime.now();
            count(&this.stats.turns, 1);
            this.chores(now);
            let was_closing = this.closing.is_some();
            let (mut progress, drained) = this.send(cx, now);
            progress |= this.receive(cx, now)?;
            progress |= this.streams.turn(cx, now, &this.runtime, &mut this.machine);
            progress |= this.take_commands(cx, now);
            progress |= this.timers(now);
            while let Some(event) = this.machine.poll_event() {
                this.role.on_event(&mut this.machine, now, event);
                progress = true;
            }
            if progress {
                this.role.on_turn(&mut this.machine, now);
            }
            if this.is_over(now, was_closing && drained) {
                for done in this.done.drain(..) {
                    // Fails only if nobody waits any more.
                    let _ = done.try_send(());
                }
                return Poll::Ready(Ok(()));
            }
            if !progress {
                this.timer.reset(this.wake_at());
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
    let best =
        local_addresses(bound).unwrap_or_default().into_iter().find(|a| !a.ip().is_loopback() && a.is_ipv4());
    best.unwrap_or_else(|| SocketAddr::new(std::net::Ipv4Addr::LOCALHOST.into(), bound.port()))
}
