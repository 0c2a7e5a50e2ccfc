//! Random worlds: who is behind which NAT, what the lines are like, what is asked for and what goes wrong, all by chance from a
//! seed. Whatever happens, nothing breaks, and when it is over everything works again.
//!
//! The bin `sweep` runs a thousand of them; the test `random_worlds` some.
//!
//! * `pair`: a viewer, a camera and a server over packets. `misfortune`: what happens to them. `load`: what is asked of the camera
//!   meanwhile.
//! * `crowd`: a swarm at the level of messages, with its invariants.

mod crowd;
mod dice;
mod load;
mod misfortune;
mod pair;

/// One world in so many is a swarm.
const CROWDS: u64 = 4;

/// Runs the world of a seed.
///
/// # Panics
/// If an invariant does not hold; the message says which, and what had happened.
pub fn run(seed: u64) {
    if seed % CROWDS == CROWDS - 1 { crowd::run(seed) } else { pair::run(seed) }
}
