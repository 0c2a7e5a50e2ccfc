//! How much memory a target took at most: every allocation of the process is counted.

use peak_alloc::PeakAlloc;

#[global_allocator]
static COUNTED: PeakAlloc = PeakAlloc;

/// Bytes that are allocated to see whether they are counted.
const PROBE: usize = 256 * 1024;

/// Runs `f` and checks that at no time it held more than `limit` bytes beyond what was held before.
///
/// Other threads count, too: run nothing else meanwhile.
///
/// # Panics
///
/// If it held more, or if allocations are not counted.
pub fn bounded<R>(limit: usize, f: impl FnOnce() -> R) -> R {
    let before = COUNTED.current_usage();
    COUNTED.reset_peak_usage();
    let probe = std::hint::black_box(vec![0_u8; PROBE]);
    // Half of it may be hidden by what some other thread, as that of a test harness, gives back at this moment.
    assert!(COUNTED.peak_usage() >= before + PROBE / 2, "allocations are not counted");
    drop(probe);
    let before = COUNTED.current_usage();
    COUNTED.reset_peak_usage();
    let result = f();
    let most = COUNTED.peak_usage().saturating_sub(before);
    assert!(most <= limit, "{most} bytes were held, {limit} are allowed");
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "are allowed")]
    fn too_much_is_seen() {
        bounded(100_000, || std::hint::black_box(vec![1_u8; 200_000]).len());
    }
}
