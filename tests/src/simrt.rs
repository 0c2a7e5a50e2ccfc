//! A runtime of one thread in virtual time, with a network in memory: what the driver does is counted, and a loop that
//! never rests shows as one that never ends.

use std::collections::{BTreeMap, VecDeque};
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use noq_udp::{RecvMeta, Transmit, UdpSocketState};
use xp2p_smol::driver::runtime::{Listener, Runtime, Task, Timer, Udp};

/// Datagrams that wait for one socket; past it the newest is lost.
const MAX_WAITING: usize = 4096;
/// How long a datagram is under way.
const LATENCY: Duration = Duration::from_millis(5);
/// Bytes of a datagram that an overload consists of.
const OVERLOAD: [u8; 1200] = [0; 1200];

/// What the network does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Weather {
    /// Everything arrives.
    #[default]
    Fair,
    /// There is always something to receive, and everything can be sent (and is lost).
    Overload,
    /// No socket takes anything. What was sent before arrives.
    Refuses,
}

#[derive(Debug, Default)]
struct Socket {
    waiting: VecDeque<(SocketAddr, Vec<u8>)>,
    receiver: Option<Waker>,
    sender: Option<Waker>,
}

struct State {
    now: Instant,
    number: u64,
    tasks: BTreeMap<u64, Task>,
    timers: BTreeMap<(Instant, u64), Waker>,
    under_way: BTreeMap<(Instant, u64), (SocketAddr, SocketAddr, Vec<u8>)>,
    sockets: BTreeMap<SocketAddr, Socket>,
    weather: Weather,
}

impl State {
    fn next(&mut self) -> u64 {
        self.number += 1;
        self.number
    }
}

/// Tasks to be polled, in the order in which they were woken.
#[derive(Debug, Default)]
struct Ready(Mutex<VecDeque<u64>>);

struct Woken {
    task: u64,
    ready: Arc<Ready>,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        let mut ready = self.ready.0.lock().expect("no panic");
        if !ready.contains(&self.task) {
            ready.push_back(self.task);
        }
    }
}

/// The runtime. Clones are the same one.
#[derive(Clone)]
pub struct SimRuntime {
    state: Arc<Mutex<State>>,
    ready: Arc<Ready>,
    start: Instant,
}

impl std::fmt::Debug for SimRuntime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SimRuntime").finish_non_exhaustive()
    }
}

impl Default for SimRuntime {
    fn default() -> Self {
        let start = Instant::now();
        let state = State {
            now: start,
            number: 0,
            tasks: BTreeMap::new(),
            timers: BTreeMap::new(),
            under_way: BTreeMap::new(),
            sockets: BTreeMap::new(),
            weather: Weather::default(),
        };
        Self { state: Arc::new(Mutex::new(state)), ready: Arc::default(), start }
    }
}

impl SimRuntime {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic")
    }

    /// Changes the weather from now on.
    pub fn set_weather(&self, weather: Weather) {
        let wakers: Vec<Waker> = {
            let mut state = self.lock();
            state.weather = weather;
            state.sockets.values_mut().flat_map(|s| [s.receiver.take(), s.sender.take()]).flatten().collect()
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Polls the task that was woken first. False: all sleep.
    pub fn step(&self) -> bool {
        let Some(id) = self.ready.0.lock().expect("no panic").pop_front() else { return false };
        // Out of its place while it runs, because it may spawn others. Woken after its end, it is not there.
        let Some(mut task) = self.lock().tasks.remove(&id) else { return true };
        let waker = Waker::from(Arc::new(Woken { task: id, ready: self.ready.clone() }));
        if task.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
            self.lock().tasks.insert(id, task);
        }
        true
    }

    /// Lets time pass up to the next timer or datagram, at most to `end`. False: it was `end`.
    fn advance(&self, end: Instant) -> bool {
        let (waker, more) = {
            let mut state = self.lock();
            let timer = state.timers.keys().next().copied();
            let datagram = state.under_way.keys().next().copied();
            match [timer, datagram].into_iter().flatten().min().filter(|next| next.0 <= end) {
                None => {
                    state.now = end;
                    (None, false)
                }
                Some(next) => {
                    state.now = state.now.max(next.0);
                    let waker = match state.under_way.remove(&next) {
                        Some((from, to, bytes)) => state.sockets.get_mut(&to).and_then(|socket| {
                            if socket.waiting.len() < MAX_WAITING {
                                socket.waiting.push_back((from, bytes));
                            }
                            socket.receiver.take()
                        }),
                        None => state.timers.remove(&next),
                    };
                    (waker, true)
                }
            }
        };
        waker.into_iter().for_each(Waker::wake);
        more
    }

    /// Runs everything for so long.
    pub fn run_for(&self, time: Duration) {
        let end = self.lock().now + time;
        loop {
            while self.step() {}
            if !self.advance(end) {
                return;
            }
        }
    }

    /// Runs everything until `future` is done.
    ///
    /// # Panics
    ///
    /// An hour later it is not.
    pub fn block_on<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> T {
        let (sender, receiver) = async_channel::bounded(1);
        self.spawn(Box::pin(async move {
            // Only fails when nobody waits.
            let _ = sender.try_send(future.await);
        }));
        let end = self.lock().now + Duration::from_secs(3600);
        loop {
            while self.step() {
                if let Ok(done) = receiver.try_recv() {
                    return done;
                }
            }
            assert!(self.advance(end), "no end after an hour");
        }
    }
}

impl Runtime for SimRuntime {
    type Udp = SimUdp;
    type Timer = SimTimer;
    type Tcp = futures_lite::io::Cursor<Vec<u8>>;
    type Listener = NoListener;

    fn spawn(&self, task: Task) {
        let id = {
            let mut state = self.lock();
            let id = state.next();
            state.tasks.insert(id, task);
            id
        };
        self.ready.0.lock().expect("no panic").push_back(id);
    }

    fn timer(&self) -> SimTimer {
        let id = self.lock().next();
        SimTimer { runtime: self.clone(), id, at: None }
    }

    fn udp(&self, socket: std::net::UdpSocket) -> io::Result<SimUdp> {
        let local = socket.local_addr()?;
        self.lock().sockets.insert(local, Socket::default());
        Ok(SimUdp { runtime: self.clone(), local, _socket: socket })
    }

    fn listen(&self, _addr: SocketAddr) -> io::Result<NoListener> {
        Err(io::ErrorKind::Unsupported.into())
    }

    async fn connect(&self, _addr: SocketAddr) -> io::Result<Self::Tcp> {
        Err(io::ErrorKind::Unsupported.into())
    }

    async fn resolve(&self, _host: String, _port: u16) -> io::Result<Vec<SocketAddr>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    async fn unblock<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        work()
    }

    fn now(&self) -> Instant {
        self.lock().now
    }

    fn unix_time(&self) -> Duration {
        Duration::from_secs(1_700_000_000) + self.now().duration_since(self.start)
    }

    fn random<const N: usize>(&self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        let number = self.lock().next();
        blake3::Hasher::new().update(&number.to_be_bytes()).finalize_xof().fill(&mut bytes);
        Ok(bytes)
    }
}

/// A timer in virtual time.
#[derive(Debug)]
pub struct SimTimer {
    runtime: SimRuntime,
    id: u64,
    at: Option<Instant>,
}

impl Timer for SimTimer {
    fn reset(&mut self, at: Option<Instant>) {
        if let Some(before) = std::mem::replace(&mut self.at, at) {
            self.runtime.lock().timers.remove(&(before, self.id));
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(at) = self.at else { return Poll::Pending };
        let mut state = self.runtime.lock();
        if at <= state.now {
            return Poll::Ready(());
        }
        state.timers.insert((at, self.id), cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for SimTimer {
    fn drop(&mut self) {
        self.reset(None);
    }
}

/// A socket of the network in memory. The real one only keeps its address from others.
#[derive(Debug)]
pub struct SimUdp {
    runtime: SimRuntime,
    local: SocketAddr,
    _socket: std::net::UdpSocket,
}

impl Udp for SimUdp {
    fn poll_recv(
        &mut self,
        cx: &mut Context<'_>,
        _state: &UdpSocketState,
        bufs: &mut [io::IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut state = self.runtime.lock();
        let overload = state.weather == Weather::Overload;
        let socket = state.sockets.get_mut(&self.local).expect("there while this is");
        let mut count = 0;
        for (buf, meta) in bufs.iter_mut().zip(metas) {
            let (from, bytes) = match socket.waiting.pop_front() {
                Some(datagram) => datagram,
                None if overload => (self.local, OVERLOAD.to_vec()),
                None => break,
            };
            buf[..bytes.len()].copy_from_slice(&bytes);
            *meta = RecvMeta::default();
            (meta.addr, meta.len, meta.stride) = (from, bytes.len(), bytes.len());
            meta.dst_ip = Some(self.local.ip());
            count += 1;
        }
        if count > 0 {
            return Poll::Ready(Ok(count));
        }
        socket.receiver = Some(cx.waker().clone());
        Poll::Pending
    }

    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        _state: &UdpSocketState,
        transmit: &Transmit<'_>,
    ) -> Poll<io::Result<()>> {
        let mut state = self.runtime.lock();
        match state.weather {
            Weather::Overload => {}
            Weather::Refuses => {
                let socket = state.sockets.get_mut(&self.local).expect("there while this is");
                socket.sender = Some(cx.waker().clone());
                return Poll::Pending;
            }
            Weather::Fair => {
                let at = state.now + LATENCY;
                let segment = transmit.segment_size.unwrap_or(transmit.contents.len()).max(1);
                for datagram in transmit.contents.chunks(segment) {
                    let id = state.next();
                    state.under_way.insert((at, id), (self.local, transmit.destination, datagram.to_vec()));
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local)
    }
}

impl Drop for SimUdp {
    fn drop(&mut self) {
        self.runtime.lock().sockets.remove(&self.local);
    }
}

/// There is no TCP.
#[derive(Debug)]
pub struct NoListener;

impl Listener for NoListener {
    type Tcp = futures_lite::io::Cursor<Vec<u8>>;

    async fn accept(&mut self) -> io::Result<(Self::Tcp, SocketAddr)> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// Lets others have their turn once.
pub async fn give_way() {
    let mut before = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut before, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// A task as [`Runtime::spawn`] takes it.
pub fn task(future: impl Future<Output = ()> + Send + 'static) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(future)
}
