//! What is measured while a run goes on.

use serde::Serialize;
use xp2p_proto::swarm::{OriginReason, Snapshot, Stats};

use super::queue::{MS, Nanos, SECOND};

/// One simulated second. Where nothing else is said, honest viewers only.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Second {
    /// Viewers at its end.
    pub viewers: u32,
    /// With those that misbehave.
    pub members: u32,
    /// Most connections to the origin at one time within it, of all but excluded members.
    pub origin_connections: u32,
    /// Their mean over the second.
    pub origin_mean: f64,
    /// The most with those of excluded members.
    pub origin_connections_all: u32,
    /// Bytes from the origin to all but excluded members.
    pub origin_bytes: u64,
    /// The same for all members.
    pub origin_bytes_all: u64,
    /// Bytes of pieces that came for the first time and are genuine, to all but excluded members.
    pub useful_bytes: u64,
    /// The same for all members.
    pub useful_bytes_all: u64,
    /// Bytes of pieces from other members.
    pub p2p_bytes: u64,
    /// Of these, of pieces that were here already.
    pub duplicate_bytes: u64,
    /// Of these, of pieces that are not genuine.
    pub corrupt_bytes: u64,
    /// Bytes of messages on the wire, of all members, with the tracker's.
    pub control_bytes: u64,
    /// Of these, of digest batches.
    pub batch_bytes: u64,
    /// Time that viewers were there, in ms.
    pub viewer_ms: u64,
    /// Time that they played, in ms.
    pub played_ms: u64,
    /// How often playing stopped.
    pub stalls: u32,
    /// For how long, in ms.
    pub stall_ms: u64,
    /// Stops of more than a fifth of a second as the player saw them.
    pub gaps: u32,
    /// Segments left out.
    pub skips: u32,
    /// Pieces asked for one by one.
    pub pulls: u64,
    /// Parents that led in a circle.
    pub loops: u64,
    /// How far behind the origin pieces are played, in ms: the middle.
    pub latency_p50: u32,
    /// All but 5 % are at most so far behind.
    pub latency_p95: u32,
}

/// How the swarm looks, taken every five seconds. Means over honest viewers that play.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Shape {
    /// When.
    pub second: u64,
    /// Members between the origin and a viewer.
    pub depth: f64,
    /// The deepest viewer.
    pub depth_max: f64,
    /// How late pieces come, in ms.
    pub lag_ms: f64,
    /// What waits in the uplinks in truth, in ms.
    pub backlog_ms: f64,
    /// All but 5 % have at most so much waiting, in ms.
    pub backlog_p95: f64,
    /// Connections.
    pub neighbours: f64,
    /// Distinct parents.
    pub parents: f64,
    /// Substreams with a parent.
    pub lanes_fed: f64,
    /// Children.
    pub children: f64,
    /// Room for children.
    pub slots: f64,
    /// What the uplinks of all honest members carry, as a multiple of what all members need.
    pub uplink: f64,
    /// Substreams that two parents feed, per viewer.
    pub double_fed: f64,
}

impl Shape {
    /// Adds a viewer that plays.
    pub(crate) fn add(&mut self, snapshot: &Snapshot) {
        self.depth += f64::from(snapshot.depth);
        self.depth_max = self.depth_max.max(f64::from(snapshot.depth));
        self.lag_ms += snapshot.lag_ms as f64;
        self.neighbours += snapshot.neighbours as f64;
        self.parents += snapshot.parents as f64;
        self.lanes_fed += snapshot.lanes_fed as f64;
        self.children += snapshot.children as f64;
        self.slots += snapshot.slots as f64;
    }

    /// Makes means of sums; one backlog for each viewer that was added.
    pub(crate) fn finish(&mut self, mut backlogs: Vec<f64>) {
        let Some(last) = backlogs.len().checked_sub(1) else { return };
        backlogs.sort_by(f64::total_cmp);
        let playing = backlogs.len() as f64;
        self.backlog_ms = backlogs.iter().sum::<f64>() / playing;
        self.backlog_p95 = backlogs[last * 95 / 100];
        for mean in [
            &mut self.depth,
            &mut self.lag_ms,
            &mut self.neighbours,
            &mut self.parents,
            &mut self.lanes_fed,
            &mut self.children,
            &mut self.slots,
            &mut self.double_fed,
        ] {
            *mean /= playing;
        }
    }
}

/// Counts of times in steps of 10 ms.
#[derive(Clone, Debug)]
pub(crate) struct Histogram {
    steps: Vec<u32>,
    count: u64,
}

impl Histogram {
    const STEP: Nanos = 10 * MS;
    const STEPS: usize = 2000;

    pub(crate) fn new() -> Self {
        Self { steps: vec![0; Self::STEPS], count: 0 }
    }

    pub(crate) fn add(&mut self, time: Nanos) {
        let step = (time / Self::STEP) as usize;
        self.steps[step.min(Self::STEPS - 1)] += 1;
        self.count += 1;
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.steps.iter_mut().zip(&other.steps) {
            *mine += theirs;
        }
        self.count += other.count;
    }

    pub(crate) fn clear(&mut self) {
        if self.count > 0 {
            self.steps.fill(0);
            self.count = 0;
        }
    }

    /// The time in ms that a part of all does not pass; 0 without any.
    pub(crate) fn quantile(&self, part: f64) -> u32 {
        let rank = (self.count as f64 * part).ceil() as u64;
        let mut sum = 0;
        for (i, n) in self.steps.iter().enumerate() {
            sum += u64::from(*n);
            if sum >= rank && sum > 0 {
                return i as u32 * 10 + 5;
            }
        }
        0
    }
}

/// A span of time of which figures are wanted.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    pub(crate) name: &'static str,
    pub(crate) from: Nanos,
    pub(crate) to: Nanos,
    pub(crate) latency: Histogram,
}

/// A viewer's first picture.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Startup {
    pub(crate) joined: Nanos,
    /// `None`: none came before it left or the run ended.
    pub(crate) took: Option<Nanos>,
    /// How long it stayed.
    pub(crate) stayed: Nanos,
}

/// All that is measured.
#[derive(Debug)]
pub(crate) struct Measure {
    pub(crate) present: Second,
    pub(crate) seconds: Vec<Second>,
    pub(crate) shapes: Vec<Shape>,
    pub(crate) latency: Histogram,
    pub(crate) windows: Vec<Window>,
    pub(crate) startups: Vec<Startup>,
    pub(crate) origin_open: u32,
    pub(crate) origin_all: u32,
    origin_since: Nanos,
    origin_area: f64,
    /// Origin bytes by reason within the steady time, of all members, as they say themselves.
    pub(crate) reasons: [u64; OriginReason::COUNT],
    pub(crate) opens: u64,
    pub(crate) rescues: u64,
    pub(crate) parents_left: u64,
    pub(crate) honest_elected: u32,
    pub(crate) others_elected: u32,
    pub(crate) honest_excluded: u32,
    pub(crate) others_excluded: u32,
}

impl Measure {
    pub(crate) fn new(windows: Vec<Window>) -> Self {
        Self {
            present: Second::default(),
            seconds: Vec::new(),
            shapes: Vec::new(),
            latency: Histogram::new(),
            windows,
            startups: Vec::new(),
            origin_open: 0,
            origin_all: 0,
            origin_since: 0,
            origin_area: 0.0,
            reasons: [0; OriginReason::COUNT],
            opens: 0,
            rescues: 0,
            parents_left: 0,
            honest_elected: 0,
            others_elected: 0,
            honest_excluded: 0,
            others_excluded: 0,
        }
    }

    /// A connection to the origin is opened or closed, by a member that counts or by an excluded one.
    pub(crate) fn origin(&mut self, now: Nanos, opened: bool, counts: bool) {
        self.origin_area += f64::from(self.origin_open) * (now - self.origin_since) as f64;
        self.origin_since = now;
        let change = |n: u32| if opened { n + 1 } else { n - 1 };
        self.origin_all = change(self.origin_all);
        if counts {
            self.origin_open = change(self.origin_open);
        }
        self.present.origin_connections = self.present.origin_connections.max(self.origin_open);
        self.present.origin_connections_all = self.present.origin_connections_all.max(self.origin_all);
    }

    /// The second that ends at `now` is over.
    pub(crate) fn end_second(&mut self, now: Nanos) {
        self.origin_area += f64::from(self.origin_open) * (now - self.origin_since) as f64;
        self.origin_since = now;
        self.present.origin_mean = self.origin_area / SECOND as f64;
        self.origin_area = 0.0;
        self.present.latency_p50 = self.latency.quantile(0.5);
        self.present.latency_p95 = self.latency.quantile(0.95);
        for window in &mut self.windows {
            if window.from < now && now <= window.to {
                window.latency.merge(&self.latency);
            }
        }
        self.latency.clear();
        let next = Second {
            origin_connections: self.origin_open,
            origin_connections_all: self.origin_all,
            ..Second::default()
        };
        self.seconds.push(std::mem::replace(&mut self.present, next));
    }

    /// What a member has done since `mark`, which is moved on.
    pub(crate) fn account(&mut self, stats: &Stats, mark: &mut Stats, steady: bool, honest: bool) {
        if honest {
            self.present.played_ms += stats.played_ms.saturating_sub(mark.played_ms);
            self.present.stalls += stats.stalls - mark.stalls;
            // A stall under way is in the figures already and may turn out a little shorter.
            self.present.stall_ms += stats.stall_ms.saturating_sub(mark.stall_ms);
            self.present.skips += stats.skips - mark.skips;
        }
        self.present.pulls += stats.pulls - mark.pulls;
        self.present.loops += stats.loops - mark.loops;
        if steady {
            for (sum, (is, was)) in
                self.reasons.iter_mut().zip(stats.origin_bytes_by.iter().zip(&mark.origin_bytes_by))
            {
                *sum += is - was;
            }
            self.opens += u64::from(stats.origin_opens - mark.origin_opens);
            self.rescues += u64::from(stats.rescues - mark.rescues);
            self.parents_left += stats.parents_left - mark.parents_left;
        }
        *mark = *stats;
    }
}

/// Which of the newest pieces a member has got, by what was seen to arrive.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    /// The number after the newest.
    end: u64,
    bits: [u64; Self::WORDS],
}

impl Seen {
    const WORDS: usize = 8;
    const REACH: u64 = Self::WORDS as u64 * 64;

    /// Notes a piece and tells whether it is new.
    pub(crate) fn insert(&mut self, no: u64) -> bool {
        if no >= self.end {
            if no - self.end >= Self::REACH {
                self.bits = [0; Self::WORDS];
            } else {
                (self.end..=no).for_each(|n| *self.word(n).0 &= !(1 << (n % 64)));
            }
            self.end = no + 1;
        } else if self.end - no > Self::REACH {
            return false;
        }
        let (word, bit) = self.word(no);
        let new = *word & bit == 0;
        *word |= bit;
        new
    }

    fn word(&mut self, no: u64) -> (&mut u64, u64) {
        (&mut self.bits[(no / 64) as usize % Self::WORDS], 1 << (no % 64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::swarm::random::Random;

    #[test]
    fn a_piece_is_new_once() {
        let mut random = Random::new(1, 2);
        let (mut seen, mut model) = (Seen::default(), std::collections::BTreeSet::new());
        for step in 0..20_000_u64 {
            let no = step / 3 + random.below(300) as u64;
            assert_eq!(seen.insert(no), model.insert(no), "{no}");
        }
        assert!(!seen.insert(3), "too old to know");
        assert!(seen.insert(1 << 40));
    }

    #[test]
    fn quantiles_are_those_of_what_was_added() {
        let mut histogram = Histogram::new();
        assert_eq!(histogram.quantile(0.5), 0);
        (0..100).for_each(|i| histogram.add(i * 10 * MS));
        assert_eq!((histogram.quantile(0.5), histogram.quantile(0.95)), (495, 945));
    }
}
