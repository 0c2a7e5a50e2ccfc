//! What happens when.

use super::measure::{Histogram, Window};
use super::model::{Config, Model, Plan, Scenario};
use super::queue::{MS, Nanos};
use super::random::Random;

/// The spans of time that a scenario is judged by.
pub(crate) fn windows(config: &Config, plan: &Plan) -> Vec<Window> {
    let window =
        |name, from: Nanos, to: Nanos| Window { name, from, to: to.min(plan.end), latency: Histogram::new() };
    let steady_end = plan.events.first().copied().unwrap_or(plan.end);
    let mut windows = vec![window("whole", 0, plan.end), window("steady", plan.steady, steady_end)];
    if let Some((from, to)) = plan.flash {
        windows.push(window("flash", from, to));
    }
    let length = match config.scenario {
        Scenario::Origin => config.model.origin_outage * MS + plan.window / 3,
        Scenario::Tracker => config.model.tracker_outage * MS,
        _ => plan.window,
    };
    for (name, at) in ["event", "event 2", "event 3"].into_iter().zip(&plan.events) {
        windows.push(window(name, *at, at + length));
    }
    if let Some(last) = plan.events.last() {
        windows.push(window("after", last + length, plan.end));
    }
    windows
}

/// When viewers come (`None`) and when the scenario's events happen (with their numbers), in order of planning.
pub(crate) fn agenda(config: &Config, plan: &Plan) -> Vec<(Nanos, Option<u32>)> {
    let mut random = Random::new(config.seed, 7);
    let mut agenda = Vec::new();
    let first = if plan.flash.is_some() { config.viewers.div_ceil(10) } else { config.viewers };
    let mut come = |number: usize, from: Nanos, to: Nanos| {
        for _ in 0..number {
            agenda.push((from + random.below((to - from) as usize) as Nanos, None));
        }
    };
    come(first, plan.start, plan.ramp_end);
    if let Some((from, to)) = plan.flash {
        come(config.viewers - first, from, to);
    }
    agenda.extend(plan.events.iter().enumerate().map(|(i, at)| (*at, Some(i as u32))));
    agenda
}

/// Who vanishes in [`Scenario::Region`], of those who are here with their regions: all of one region, or of two.
pub(crate) fn region_victims(model: &Model, mut here: Vec<(u32, u8)>, random: &mut Random) -> Vec<u32> {
    let regions = model.regions.len();
    let first = random.below(regions);
    let wanted = (here.len() as f64 * model.vanish).round() as usize;
    here.sort_unstable();
    let mut victims = Vec::new();
    for step in 0..regions {
        let region = ((first + step) % regions) as u8;
        victims.extend(here.iter().filter(|(_, r)| *r == region).map(|(i, _)| *i));
        if victims.len() >= wanted {
            break;
        }
    }
    victims.truncate(wanted);
    victims
}
