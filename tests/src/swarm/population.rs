//! Who the viewers are.

use std::time::Duration;

use xp2p_proto::swarm::{NatClass, PeerId};

use super::model::{Model, millis};
use super::queue::Nanos;
use super::random::{Random, mix};

/// How a member behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Character {
    Honest,
    /// Accepts children and sends them nothing.
    Freeloader,
    /// Sends rubbish.
    Poisoner,
    /// Reports innocents.
    Liar,
}

/// What is drawn for a viewer before it comes.
#[derive(Clone, Debug)]
pub(crate) struct Traits {
    pub(crate) id: PeerId,
    pub(crate) character: Character,
    pub(crate) nat: NatClass,
    pub(crate) region: u8,
    /// bit/s in truth.
    pub(crate) uplink: u64,
    /// bit/s as it believes.
    pub(crate) belief: u64,
    pub(crate) limit: Option<u64>,
    pub(crate) origin_delay: Nanos,
    /// One way to the tracker.
    pub(crate) to_tracker: Nanos,
    pub(crate) seed: [u8; 32],
}

/// How finely uplinks are graded.
const SAMPLES: usize = 4096;

/// Draws viewers.
#[derive(Debug)]
pub(crate) struct Population {
    seed: u64,
    /// Uplinks in order, each as likely as the others.
    uplinks: Vec<f64>,
}

impl Population {
    pub(crate) fn new(model: &Model, seed: u64) -> Self {
        let wanted = model.uplink_mean * model.rate as f64;
        // The middle uplink is chosen such that the mean is as wished in spite of the limits.
        let (mut low, mut high) = (10.0_f64, 18.0_f64);
        let draw = |mu| {
            let mut random = Random::new(1, 1);
            (0..SAMPLES).map(|_| draw_uplink(model, mu, &mut random)).collect::<Vec<f64>>()
        };
        for _ in 0..40 {
            let mu = (low + high) / 2.0;
            let mean = draw(mu).iter().sum::<f64>() / SAMPLES as f64;
            if mean < wanted { low = mu } else { high = mu }
        }
        let mut uplinks = draw(low);
        uplinks.sort_by(f64::total_cmp);
        Self { seed, uplinks }
    }

    /// The viewer of this number. Characters and uplinks are stratified, so that few viewers have the right parts and the
    /// right mean, too: what a crowd can do hangs on the few large uplinks in it.
    pub(crate) fn draw(&self, model: &Model, number: u32) -> Traits {
        let mut random = Random::new(self.seed, 0x1000_0000 + u64::from(number));
        // Golden-ratio steps from a random start: any run of numbers holds each kind in its part.
        let mut starts = Random::new(self.seed, 3);
        let (start, other_start) = (starts.unit(), starts.unit());
        let place = (start + f64::from(number) * 0.618_033_988_749_895).fract();
        let (a, b, c) = (model.freeloaders, model.poisoners, model.liars);
        let character = if place < a {
            Character::Freeloader
        } else if place < a + b {
            Character::Poisoner
        } else if place < a + b + c {
            Character::Liar
        } else {
            Character::Honest
        };
        let region = pick(&model.regions, random.unit());
        // Another irrational step, so that uplink and character have nothing to do with each other.
        let rank = (other_start + f64::from(number) * 0.754_877_666_246_693).fract();
        let uplink = self.uplinks[(rank * SAMPLES as f64) as usize];
        let nat = Model::NATS[pick(&model.nats, random.unit())];
        let limited = random.chance(model.limited);
        Traits {
            // The lower half is the number, so that an id leads to its member without a map; the upper half, by which paths
            // name members, is a permutation of it.
            id: PeerId((mix32(number ^ self.seed as u32) << 32) | u64::from(number)),
            character,
            nat,
            region: region as u8,
            uplink: uplink as u64,
            belief: (uplink * random.range(model.uplink_belief)) as u64,
            limit: limited.then_some((uplink / 2.0) as u64),
            origin_delay: millis(random.range(model.origin_delay)),
            to_tracker: millis(model.rtt_tracker[region] / 2.0 * random.range((0.9, 1.1))),
            seed: random.seed(),
        }
    }

    /// The round trip between two viewers.
    pub(crate) fn rtt(&self, model: &Model, a: (u32, u8), b: (u32, u8)) -> Duration {
        let ((a, in_a), (b, in_b)) = if a.0 < b.0 { (a, b) } else { (b, a) };
        let pair = mix(u64::from(a) << 32 | u64::from(b)) ^ self.seed;
        let mut random = Random::new(pair, 5);
        let ms = if in_a == in_b {
            random.range(model.rtt_inside)
        } else {
            // Two regions have a distance of their own, from which pairs differ a little.
            let (x, y) = (in_a.min(in_b), in_a.max(in_b));
            let distance = Random::new(u64::from(x) * 8 + u64::from(y), 6).range(model.rtt_between);
            (distance * random.range((0.9, 1.1))).clamp(model.rtt_between.0, model.rtt_between.1)
        };
        Duration::from_nanos(millis(ms))
    }
}

fn draw_uplink(model: &Model, mu: f64, random: &mut Random) -> f64 {
    // Nearly normal, as for frame sizes.
    let z = ((0..12).map(|_| random.unit()).sum::<f64>()) - 6.0;
    (mu + model.uplink_sigma * z).exp().clamp(model.uplink_range.0, model.uplink_range.1)
}

/// Which part `at` falls into.
fn pick(parts: &[f64], at: f64) -> usize {
    let mut sum = 0.0;
    for (i, part) in parts.iter().enumerate() {
        sum += part;
        if at < sum {
            return i;
        }
    }
    parts.len() - 1
}

/// A permutation of 32 bits.
fn mix32(mut x: u32) -> u64 {
    x ^= x >> 16;
    x = x.wrapping_mul(0x7feb_352d);
    x ^= x >> 15;
    x = x.wrapping_mul(0x846c_a68b);
    u64::from(x ^ (x >> 16))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::swarm::model::Scenario;

    #[test]
    fn the_crowd_is_as_the_model_says() {
        for (scenario, factor) in [(Scenario::Calm, 1.8), (Scenario::Tight, 1.1), (Scenario::Abuse, 1.8)] {
            let model = Model::of(scenario);
            let population = Population::new(&model, 9);
            let crowd: Vec<_> = (0..4000).map(|n| population.draw(&model, n)).collect();
            let mean = crowd.iter().map(|t| t.uplink as f64).sum::<f64>() / 4000.0 / model.rate as f64;
            assert!((factor * 0.95..factor * 1.05).contains(&mean), "{mean}");
            let part = |c| crowd.iter().filter(|t| t.character == c).count() as f64 / 4000.0;
            assert!((part(Character::Freeloader) - model.freeloaders).abs() < 0.005);
            assert!((part(Character::Poisoner) - model.poisoners).abs() < 0.005);
            let mut shorts: Vec<_> = crowd.iter().map(|t| t.id.short()).collect();
            shorts.sort_unstable();
            shorts.dedup();
            assert_eq!(shorts.len(), 4000);
        }
    }

    #[test]
    fn round_trips_are_the_same_both_ways_and_depend_on_regions() {
        let model = Model::of(Scenario::Calm);
        let population = Population::new(&model, 9);
        let ms = |a, b| population.rtt(&model, a, b).as_secs_f64() * 1000.0;
        for n in 1..50 {
            assert_eq!(ms((0, 1), (n, 2)), ms((n, 2), (0, 1)));
            assert!((40.0..180.1).contains(&ms((0, 1), (n, 2))));
            assert!((15.0..30.0).contains(&ms((0, 1), (n, 1))));
        }
    }
}
