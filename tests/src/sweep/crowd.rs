//! A small swarm in any scenario, with every invariant of the scheduler on.

use super::dice::Dice;
use crate::swarm::{Config, Scenario, run as run_swarm};

/// Simulated seconds: enough for the scenario's events, and short.
const SECONDS: u64 = 40;

pub(super) fn run(seed: u64) {
    let mut dice = Dice::new(seed);
    let viewers = 3 + dice.below(38) as usize;
    let scenario = Scenario::ALL[dice.below(Scenario::ALL.len() as u64) as usize]; // below its length
    let mut config = Config::new(viewers, SECONDS, scenario, seed);
    if dice.below(3) == 0 {
        config.with_abuse();
    }
    let report = run_swarm(&config);
    // `strict` stops at whatever must never happen; what is left is that the swarm works.
    assert_eq!(report.broken, 0, "{scenario:?}, {viewers} viewers: {:?}", report.violations);
    if matches!(scenario, Scenario::Origin | Scenario::Tracker) {
        // Who comes while the origin or the tracker is away waits for it, some until the end.
        return;
    }
    let pictureless = report.spans.iter().map(|span| span.pictureless).max();
    assert_eq!(pictureless, Some(0), "{scenario:?}, {viewers} viewers: viewers without a picture");
}
