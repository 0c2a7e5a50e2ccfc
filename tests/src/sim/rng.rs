//! Seeded randomness. Every host and every NAT draws from a stream of its own, so that a further host in a test
//! does not change the luck of those before it.

use rand_chacha::ChaCha12Rng;
use rand_core::{Rng, SeedableRng};

/// One stream of random numbers.
#[derive(Debug)]
pub(crate) struct Dice(ChaCha12Rng);

impl Dice {
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        let mut rng = ChaCha12Rng::seed_from_u64(seed);
        rng.set_stream(stream);
        Self(rng)
    }

    /// True with probability `p`. Draws nothing if the answer is certain.
    pub(crate) fn chance(&mut self, p: f64) -> bool {
        if p <= 0.0 {
            return false;
        }
        if p >= 1.0 {
            return true;
        }
        // 53 random bits: exactly what an f64 in [0, 1) holds.
        ((self.0.next_u64() >> 11) as f64) < p * (1u64 << 53) as f64
    }

    /// Uniform in `0..=max`.
    pub(crate) fn up_to(&mut self, max: u64) -> u64 {
        match max.checked_add(1) {
            None => self.0.next_u64(),
            Some(1) => 0,
            // Multiply-shift; the bias of at most max / 2^64 is far below what a simulation can show.
            Some(n) => ((u128::from(self.0.next_u64()) * u128::from(n)) >> 64) as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_of_one_seed_differ_and_repeat() {
        let draw = |seed, stream| {
            let mut dice = Dice::new(seed, stream);
            std::array::from_fn::<u64, 4, _>(|_| dice.up_to(u64::MAX))
        };
        assert_eq!(draw(1, 2), draw(1, 2));
        assert_ne!(draw(1, 2), draw(1, 3));
        assert_ne!(draw(1, 2), draw(2, 2));
    }

    #[test]
    fn up_to_reaches_both_ends_and_nothing_beyond() {
        let mut dice = Dice::new(1, 1);
        let mut seen = [false; 4];
        for _ in 0..200 {
            seen[dice.up_to(3) as usize] = true;
        }
        assert_eq!(seen, [true; 4]);
    }
}
