//! The TCP connections of a machine: bytes in and out, connections asked for and accepted.
//!
//! Each connection wakes the task in its own name, so that a turn looks only at those that have something to do: a server has
//! thousands that are silent. Bytes to send are fetched from the machine when the socket takes some, not before: what waits
//! there is bounded.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use futures_io::{AsyncRead as _, AsyncWrite as _};
use futures_lite::stream;
use xp2p_proto::machine::{ByteStreamAction, ByteStreamId, Machine};

use crate::origin::stream::Stream;
use crate::runtime::{Listener, Runtime};

/// Bytes that are read at a time.
const READ_SIZE: usize = 16 * 1024;
/// Reads of one connection in one turn.
const READ_BUDGET: usize = 4;
/// Times that one connection is given bytes to send in one turn.
const WRITE_BUDGET: usize = 4;
/// Connections that are accepted in one turn.
const ACCEPT_BUDGET: usize = 8;
/// How long accepting rests after an error: mostly there are too many files open.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

type Connecting = Pin<Box<dyn Future<Output = io::Result<Box<dyn Stream>>> + Send>>;
/// Connections as they come.
pub(crate) type Listening =
    Pin<Box<dyn stream::Stream<Item = io::Result<(Box<dyn Stream>, SocketAddr)>> + Send>>;

/// Listens, and tells where.
pub(crate) fn listen<R: Runtime>(runtime: &R, addr: SocketAddr) -> io::Result<(SocketAddr, Listening)> {
    let listener = runtime.listen(addr)?;
    let bound = listener.local_addr()?;
    let accept = |mut listener: R::Listener| async move {
        let accepted = listener.accept().await;
        Some((accepted.map(|(tcp, remote)| (Box::new(tcp) as Box<dyn Stream>, remote)), listener))
    };
    Ok((bound, Box::pin(stream::unfold(listener, accept))))
}

/// Connections that have something to do.
#[derive(Default)]
struct Ready {
    streams: BTreeSet<ByteStreamId>,
    task: Option<Waker>,
}

struct LaneWaker {
    stream: ByteStreamId,
    ready: Arc<Mutex<Ready>>,
}

impl Wake for LaneWaker {
    fn wake(self: Arc<Self>) {
        let task = {
            let mut ready = lock(&self.ready);
            ready.streams.insert(self.stream);
            ready.task.take()
        };
        if let Some(task) = task {
            task.wake();
        }
    }
}

fn lock(ready: &Mutex<Ready>) -> MutexGuard<'_, Ready> {
    // Nothing in here can panic half-way.
    ready.lock().unwrap_or_else(|e| e.into_inner())
}

enum State {
    Connecting(Connecting),
    Open(Box<dyn Stream>),
}

struct Lane {
    state: State,
    waker: Waker,
    /// The machine has bytes.
    sends: bool,
    out: Vec<u8>,
    /// Bytes of `out` that are gone already.
    sent: usize,
}

/// What has come of a connection in a turn.
enum Outcome {
    /// It waits.
    Waits,
    /// It has more to do, but others are next.
    More,
    /// It is over.
    Over,
}

/// All TCP connections of one machine.
pub(crate) struct Streams {
    lanes: BTreeMap<ByteStreamId, Lane>,
    ready: Arc<Mutex<Ready>>,
    listening: Vec<Listening>,
    rest: Option<Instant>,
    buffer: Vec<u8>,
}

impl Default for Streams {
    fn default() -> Self {
        let ready = Arc::default();
        Self { lanes: BTreeMap::new(), ready, listening: Vec::new(), rest: None, buffer: Vec::new() }
    }
}

impl Streams {
    /// Accepts connections from now on.
    pub(crate) fn accept_from(&mut self, listening: Listening) {
        self.listening.push(listening);
    }

    /// When to look again if nothing comes.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.rest
    }

    /// Whether all bytes are gone that the machine has told of.
    pub(crate) fn are_flushed(&self) -> bool {
        self.lanes.values().all(|lane| !lane.sends && lane.out.is_empty())
    }

    /// Does what there is to do. Returns whether there was anything.
    pub(crate) fn turn<R: Runtime, M: Machine>(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        runtime: &R,
        machine: &mut M,
    ) -> bool {
        let mut progress = self.take_actions(runtime, machine);
        progress |= self.accept(cx, now, machine);
        let due = {
            let mut ready = lock(&self.ready);
            ready.task = Some(cx.waker().clone());
            std::mem::take(&mut ready.streams)
        };
        for stream in due {
            progress |= self.serve(now, stream, machine);
        }
        progress | self.take_actions(runtime, machine)
    }

    fn take_actions<R: Runtime, M: Machine>(&mut self, runtime: &R, machine: &mut M) -> bool {
        let mut progress = false;
        while let Some(action) = machine.poll_stream() {
            progress = true;
            match action {
                ByteStreamAction::Connect { stream, remote } => {
                    let runtime = runtime.clone();
                    let connect = async move {
                        runtime.connect(remote).await.map(|tcp| Box::new(tcp) as Box<dyn Stream>)
                    };
                    self.add(stream, State::Connecting(Box::pin(connect)));
                }
                ByteStreamAction::Send { stream } => {
                    if let Some(lane) = self.lanes.get_mut(&stream) {
                        lane.sends = true;
                        lock(&self.ready).streams.insert(stream);
                    }
                }
                ByteStreamAction::Close { stream } => {
                    self.lanes.remove(&stream);
                }
            }
        }
        progress
    }

    fn add(&mut self, stream: ByteStreamId, state: State) {
        let waker = Waker::from(Arc::new(LaneWaker { stream, ready: self.ready.clone() }));
        self.lanes.insert(stream, Lane { state, waker, sends: false, out: Vec::new(), sent: 0 });
        lock(&self.ready).streams.insert(stream);
    }

    fn accept<M: Machine>(&mut self, cx: &mut Context<'_>, now: Instant, machine: &mut M) -> bool {
        if self.rest.is_some_and(|until| now < until) {
            return false;
        }
        self.rest = None;
        let mut accepted = Vec::new();
        for listening in &mut self.listening {
            for _ in 0..ACCEPT_BUDGET {
                match listening.as_mut().poll_next(cx) {
                    Poll::Ready(Some(Ok(connection))) => accepted.push(connection),
                    Poll::Ready(Some(Err(e))) => {
                        tracing::debug!("cannot accept a TCP connection: {e}");
                        self.rest = Some(now + ACCEPT_PAUSE);
                        break;
                    }
                    // A listener does not end.
                    Poll::Ready(None) | Poll::Pending => break,
                }
            }
        }
        let progress = !accepted.is_empty();
        for (tcp, remote) in accepted {
            if let Some(stream) = machine.handle_stream_accepted(now, remote) {
                self.add(stream, State::Open(tcp));
            }
        }
        progress
    }

    /// Looks after one connection.
    fn serve<M: Machine>(&mut self, now: Instant, stream: ByteStreamId, machine: &mut M) -> bool {
        let Some(lane) = self.lanes.get_mut(&stream) else { return false };
        self.buffer.resize(READ_SIZE, 0);
        match lane.serve(now, stream, machine, &mut self.buffer) {
            Outcome::Waits => {}
            Outcome::More => {
                lock(&self.ready).streams.insert(stream);
            }
            Outcome::Over => {
                self.lanes.remove(&stream);
                machine.handle_stream_closed(now, stream);
            }
        }
        true
    }
}

impl Lane {
    fn serve<M: Machine>(
        &mut self,
        now: Instant,
        stream: ByteStreamId,
        machine: &mut M,
        buffer: &mut [u8],
    ) -> Outcome {
        let waker = self.waker.clone();
        let mut cx = Context::from_waker(&waker);
        if let State::Connecting(connecting) = &mut self.state {
            match connecting.as_mut().poll(&mut cx) {
                Poll::Pending => return Outcome::Waits,
                Poll::Ready(Ok(tcp)) => {
                    self.state = State::Open(tcp);
                    machine.handle_stream_opened(now, stream);
                    return Outcome::More;
                }
                Poll::Ready(Err(e)) => {
                    tracing::debug!("no TCP connection: {e}");
                    return Outcome::Over;
                }
            }
        }
        let State::Open(tcp) = &mut self.state else { return Outcome::Waits };
        let mut more = false;
        for done in 0..=READ_BUDGET {
            if done == READ_BUDGET {
                more = true;
                break;
            }
            match Pin::new(&mut *tcp).poll_read(&mut cx, buffer) {
                Poll::Ready(Ok(0)) => return Outcome::Over,
                // `n` is at most the buffer.
                Poll::Ready(Ok(n)) => machine.handle_stream_bytes(now, stream, &buffer[..n]),
                Poll::Ready(Err(e)) => {
                    tracing::debug!("a TCP connection broke: {e}");
                    return Outcome::Over;
                }
                Poll::Pending => break,
            }
        }
        let mut filled = 0;
        loop {
            if self.sent >= self.out.len() {
                self.out.clear();
                self.sent = 0;
                if !self.sends {
                    break;
                }
                if filled == WRITE_BUDGET {
                    more = true;
                    break;
                }
                filled += 1;
                machine.poll_stream_bytes(now, stream, &mut self.out);
                if self.out.is_empty() {
                    self.sends = false;
                    // Thousands may be silent: they need not keep a buffer.
                    self.out = Vec::new();
                    break;
                }
            }
            // `sent` is less than the length.
            match Pin::new(&mut *tcp).poll_write(&mut cx, &self.out[self.sent..]) {
                Poll::Ready(Ok(0)) => return Outcome::Over,
                Poll::Ready(Ok(n)) => self.sent += n,
                Poll::Ready(Err(e)) => {
                    tracing::debug!("a TCP connection broke: {e}");
                    return Outcome::Over;
                }
                Poll::Pending => break,
            }
        }
        if more { Outcome::More } else { Outcome::Waits }
    }
}
