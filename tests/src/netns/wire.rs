//! A cable with delay and loss: two TAP devices and threads that carry frames between them.
//!
//! Kernels without `netem` can do it too, and what is lost follows from a seed.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};
use tun_rs::{DeviceBuilder, Layer, SyncDevice};

use super::space::Namespace;

/// Largest Ethernet frame that is carried.
const MAX_FRAME: usize = 65_536;

/// What a cable does to frames, each way.
#[derive(Debug, Clone, Copy)]
pub struct Trouble {
    /// How long each frame takes.
    pub delay: Duration,
    /// Frames lost, in thousandths.
    pub loss: u32,
}

/// Lays such a cable from interface `mine` of `here` to interface `theirs` of `there`. Both are up. It lasts as long as the
/// namespaces do.
pub fn connect(here: &Namespace, mine: &str, there: &Namespace, theirs: &str, trouble: Trouble) {
    let tap = |space: &Namespace, name: &str| {
        let device = space.run(|| DeviceBuilder::new().name(name).layer(Layer::L2).build_sync());
        let device = Arc::new(device.unwrap_or_else(|e| panic!("a TAP device: {e}")));
        space.ip(&format!("link set {name} up"));
        device
    };
    let (a, b) = (tap(here, mine), tap(there, theirs));
    carry(a.clone(), b.clone(), trouble, 1);
    carry(b, a, trouble, 2);
}

/// One direction.
fn carry(from: Arc<SyncDevice>, to: Arc<SyncDevice>, trouble: Trouble, seed: u64) {
    let (sender, frames) = channel();
    std::thread::spawn(move || {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut buffer = vec![0; MAX_FRAME];
        // Ends with the namespace that the device is in.
        while let Some(len) = read(&from, &mut buffer) {
            let lost = random.next_u32() % 1000 < trouble.loss;
            if !lost && sender.send((Instant::now() + trouble.delay, buffer[..len].to_vec())).is_err() {
                return;
            }
        }
    });
    std::thread::spawn(move || deliver(&frames, &to));
}

fn read(device: &SyncDevice, buffer: &mut [u8]) -> Option<usize> {
    loop {
        match device.recv(buffer) {
            Ok(len) => return Some(len),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
}

fn deliver(frames: &Receiver<(Instant, Vec<u8>)>, to: &SyncDevice) {
    while let Ok((due, frame)) = frames.recv() {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        // Lost if that end is down at the moment. The reader of this direction tells when the devices are gone.
        let _ = to.send(&frame);
    }
}
