//! The driver's event loop in virtual time: it is fair under overload, rests when there is nothing to do, and holds no more
//! than it may when the socket takes nothing.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_lite::future::block_on;
use xp2p_proto::camera::{CameraConfig, CameraEvent, CameraServer};
use xp2p_proto::info::Rights;
use xp2p_proto::keys::SecretKey;
use xp2p_proto::link::Entropy;
use xp2p_proto::machine::{Datagram, Machine, Transmit};
use xp2p_proto::server::ServerConfig;
use xp2p_proto::viewer::ViewerConfig;
use xp2p_smol::driver::camera::CameraHandle;
use xp2p_smol::driver::event_loop::Role;
use xp2p_smol::driver::handle::Handle;
use xp2p_smol::driver::runtime::Runtime as _;
use xp2p_smol::driver::server::ServerHandle;
use xp2p_smol::driver::viewer::{ServiceEvent, ViewerHandle};
use xp2p_tests::simrt::{SimRuntime, Weather, give_way, task};

const MINUTE: Duration = Duration::from_secs(60);

/// Has always more to send, and counts what it gets.
#[derive(Debug, Default)]
struct Greedy {
    to: Option<SocketAddr>,
    taken: u64,
    received: u64,
    /// Asks to be woken at a time that has passed.
    hasty: Option<Instant>,
}

impl Machine for Greedy {
    type Event = ();

    fn handle_datagram(&mut self, _now: Instant, _datagram: Datagram) {
        self.received += 1;
    }

    fn handle_timeout(&mut self, _now: Instant) {}

    fn poll_transmit(&mut self, _now: Instant, buf: &mut Vec<u8>) -> Option<Transmit> {
        let remote = self.to?;
        self.taken += 1;
        buf.resize(1200, 0);
        Some(Transmit { local: None, remote, ecn: None, size: 1200, segment_size: None })
    }

    fn poll_event(&mut self) -> Option<()> {
        None
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.hasty
    }

    fn set_wall_clock(&mut self, _now: Instant, _unix: Duration) {}

    fn set_local_addresses(&mut self, _now: Instant, _addrs: &[SocketAddr]) {}
}

struct Nothing;

impl Role<Greedy> for Nothing {
    fn on_event(&mut self, _machine: &mut Greedy, _now: Instant, _event: ()) {}

    fn shutdown(&mut self, _machine: &mut Greedy, _now: Instant) {}

    fn is_closed(&self, _machine: &Greedy) -> bool {
        true
    }
}

fn anywhere() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// A machine that sends to itself.
fn greedy(runtime: &SimRuntime, hasty: bool) -> Handle<Greedy> {
    Handle::spawn(runtime, &[anywhere()], |bound, now| {
        let to = (!hasty).then(|| bound[0]);
        Ok((Greedy { to, hasty: hasty.then_some(now), ..Greedy::default() }, Nothing))
    })
    .expect("a socket")
}

fn turns<M: Machine + Send + Unpin + 'static>(handle: &Handle<M>) -> u64 {
    handle.loop_stats().turns.load(Ordering::Relaxed)
}

#[test]
fn nobody_starves_under_overload() {
    let runtime = SimRuntime::default();
    runtime.set_weather(Weather::Overload);
    let handle = greedy(&runtime, false);
    // Another task on the same thread, which counts its turns.
    let ticks = Arc::new(AtomicU64::new(0));
    let counted = ticks.clone();
    runtime.spawn(task(async move {
        loop {
            counted.fetch_add(1, Ordering::Relaxed);
            give_way().await;
        }
    }));
    let done = Arc::new(AtomicU64::new(0));
    for _ in 0..1000 {
        let done = done.clone();
        block_on(handle.notify(move |_, _| {
            done.fetch_add(1, Ordering::Relaxed);
        }))
        .expect("running");
    }
    for _ in 0..100 {
        assert!(runtime.step(), "there is always something to do");
    }
    let stats = handle.loop_stats();
    let turns = stats.turns.load(Ordering::Relaxed);
    let (received, sent) = (stats.received.load(Ordering::Relaxed), stats.sent.load(Ordering::Relaxed));
    println!("{turns} turns: {received} datagrams received, {sent} batches sent");
    assert_eq!(ticks.load(Ordering::Relaxed), 50, "every other step is the other task's");
    assert_eq!(done.load(Ordering::Relaxed), 1000, "commands");
    // All that a turn has time for, and no more: 64 batches out, and 8 batches of 8 datagrams in.
    assert!((turns * 32..=turns * 64).contains(&sent), "{sent} in {turns} turns");
    assert!((turns * 8..=turns * 64).contains(&received), "{received} in {turns} turns");
    assert!(turns <= 50 * 8, "{turns} turns in 50 steps");
}

#[test]
fn a_socket_that_takes_nothing_costs_bounded_memory_and_holds_nothing_else_up() {
    let runtime = SimRuntime::default();
    let handle = greedy(&runtime, false);
    runtime.set_weather(Weather::Refuses);
    runtime.run_for(MINUTE);
    let count = || block_on(zip_call(&runtime, &handle, |m| (m.taken, m.received)));
    let (taken, _) = count();
    let stats = handle.loop_stats();
    let dropped = stats.dropped.load(Ordering::Relaxed);
    let minute = turns(&handle);
    println!("{taken} batches were taken from the machine, {dropped} given up, in {minute} turns");
    // 16 wait. What has waited for two seconds is given up and makes room, when there is a turn.
    assert!(taken <= dropped + 16, "{taken} taken, {dropped} given up");
    assert!(taken <= 16 * 31, "{taken}");
    assert!(minute < 200, "{minute} turns");
    // Commands are done at once all the while, and it goes on when the socket does.
    for n in 0..100 {
        let (now, _) = count();
        assert!(now <= taken + 16, "after {n} commands: {now}");
    }
    runtime.set_weather(Weather::Fair);
    for _ in 0..10 {
        runtime.step();
    }
    let (now, _) = count();
    assert!(now > taken + 100, "{now}");
}

/// Runs a call while the rest of the runtime takes single steps only: a greedy machine never lets it rest.
async fn zip_call<T: Send + 'static>(
    runtime: &SimRuntime,
    handle: &Handle<Greedy>,
    call: impl FnOnce(&mut Greedy) -> T + Send + 'static,
) -> T {
    let called = handle.call(move |machine, _| call(machine));
    let steps = async {
        loop {
            runtime.step();
            give_way().await;
        }
    };
    futures_lite::future::or(async { called.await.expect("running") }, steps).await
}

#[test]
fn a_machine_that_is_always_in_a_hurry_does_not_take_the_processor() {
    let runtime = SimRuntime::default();
    let handle = greedy(&runtime, true);
    // A loop that does not rest would never come back from this.
    runtime.run_for(MINUTE);
    let faults = handle.loop_stats().busy_timers.load(Ordering::Relaxed);
    println!("{faults} faults, {} turns", turns(&handle));
    assert!((1..=6_100).contains(&faults), "once in 10 ms: {faults}");
    assert!(turns(&handle) <= 3 * 6_100, "{}", turns(&handle));
}

#[test]
fn idle_services_take_few_turns() {
    let runtime = SimRuntime::default();
    let identity = || {
        let secret = SecretKey::from_bytes(runtime.random().expect("randomness"));
        (secret, Entropy::from_os(runtime.random().expect("randomness")))
    };
    let (secret, entropy) = identity();
    let key = secret.public();
    let config = ServerConfig::new(secret, entropy, anywhere());
    let (server, _) = ServerHandle::spawn(&runtime, anywhere(), None, config).expect("a server");
    let at = server.local_addr();
    let (secret, entropy) = identity();
    let known = CameraServer {
        key: Some(key),
        addrs: vec![at],
        advertised: vec![at.into()],
        tcp_port: None,
        app_key: None,
    };
    let config = CameraConfig::new(secret, entropy, vec![known]);
    let (camera, events) = CameraHandle::spawn(&runtime, anywhere(), config).expect("a camera");
    runtime.block_on(async move {
        while !matches!(events.recv().await.expect("an event"), CameraEvent::Registered { .. }) {}
    });
    let asked = camera.clone();
    let info = runtime.block_on(async move { asked.xp2p_info(Rights::ALL, None).await });
    let info = info.expect("running").expect("a known key");
    let (secret, entropy) = identity();
    let viewer = ViewerHandle::spawn(&runtime, anywhere(), ViewerConfig::new(secret, entropy)).expect("one");
    let connecting = viewer.clone();
    let _service = runtime.block_on(async move {
        let service = connecting.connect(info).await.expect("a service");
        while !matches!(service.events.recv().await.expect("an event"), ServiceEvent::Connected { .. }) {}
        service
    });
    // Paths are tried out and settled.
    runtime.run_for(MINUTE);
    let turns = || [turns(server.machine()), turns(camera.machine()), turns(viewer.machine())];
    let before = turns();
    runtime.run_for(MINUTE);
    let minute: Vec<u64> = turns().into_iter().zip(before).map(|(after, before)| after - before).collect();
    println!("turns in an idle minute: server {}, camera {}, viewer {}", minute[0], minute[1], minute[2]);
    // Keep-alives on two paths each way and to the server, their acknowledgements, and a look at the paths after each. A turn
    // does the work, a second one finds that there is no more.
    assert!(minute.iter().all(|turns| *turns < 1_000), "{minute:?}");
    for stats in [server.machine().loop_stats(), camera.machine().loop_stats(), viewer.machine().loop_stats()]
    {
        assert_eq!(stats.busy_timers.load(Ordering::Relaxed), 0);
    }
}
