//! Random worlds by the thousand: `cargo run --release -p xp2p-tests --bin sweep -- --seeds 1000`.
//!
//! Stops at the first broken invariant and says how to see it again.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use xp2p_tests::sweep;

/// Exit code when an invariant was broken.
const BROKEN: u8 = 1;

#[derive(Parser)]
#[command(about = "Runs random worlds and stops at the first broken invariant")]
struct Arguments {
    /// How many worlds.
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// This world alone.
    #[arg(long, conflicts_with_all = ["seeds", "from"])]
    seed: Option<u64>,
    /// Worlds at a time.
    #[arg(long, default_value_t = cores())]
    jobs: usize,
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let (from, count) = arguments.seed.map_or((arguments.from, arguments.seeds), |seed| (seed, 1));
    let bar = ProgressBar::new(count).with_style(
        ProgressStyle::with_template("{bar:40} {pos}/{len} worlds, {eta} left").expect("a template of ours"),
    );
    let (start, next, broken) = (Instant::now(), AtomicU64::new(0), AtomicBool::new(false));
    let failures = Mutex::new(Vec::new());
    // What went wrong is told once, at the end, and not from several threads at a time.
    std::panic::set_hook(Box::new(|_| {}));
    std::thread::scope(|scope| {
        for _ in 0..arguments.jobs.max(1) {
            scope.spawn(|| {
                while !broken.load(Ordering::Relaxed) {
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    if place >= count {
                        break;
                    }
                    let seed = from + place;
                    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| sweep::run(seed))) {
                        broken.store(true, Ordering::Relaxed);
                        failures.lock().expect("nothing panics with it").push((seed, words(&*panic)));
                    }
                    bar.inc(1);
                }
            });
        }
    });
    let _ = std::panic::take_hook();
    bar.finish_and_clear();
    let failures = failures.into_inner().expect("nothing panics with it");
    for (seed, what) in &failures {
        eprintln!("seed {seed}: {what}");
        eprintln!("again: cargo run --release -p xp2p-tests --bin sweep -- --seed {seed}");
    }
    if !failures.is_empty() {
        return ExitCode::from(BROKEN);
    }
    println!("{count} worlds from seed {from} on, no invariant broken, {:.0?}", start.elapsed());
    ExitCode::SUCCESS
}

fn words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "a panic without words".to_owned())
}
