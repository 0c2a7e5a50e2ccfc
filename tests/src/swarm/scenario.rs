//! What happens when.

use super::measure::{Histogram, Window};
use super::model::{Config, Plan, Scenario};
use super::queue::{MS, Nanos};
use super::random::Random;
use super::world::{Event, World};

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

/// Plans the coming of viewers and the scenario's events.
pub(crate) fn begin(world: &mut World) {
    let mut random = Random::new(world.config.seed, 7);
    let (plan, viewers) = (world.plan.clone(), world.config.viewers);
    let first = if plan.flash.is_some() { viewers.div_ceil(10) } else { viewers };
    let mut come = |number: usize, from: Nanos, to: Nanos| {
        for _ in 0..number {
            let at = from + random.below((to - from) as usize) as Nanos;
            world.queue.push(at, Event::Join);
        }
    };
    come(first, plan.start, plan.ramp_end);
    if let Some((from, to)) = plan.flash {
        come(viewers - first, from, to);
    }
    for (i, at) in plan.events.iter().enumerate() {
        world.queue.push(*at, Event::Scenario(i as u32));
    }
}

/// The scenario's event happens.
pub(crate) fn happen(world: &mut World, _number: u32) {
    let now = world.now;
    match world.config.scenario {
        Scenario::Region => {
            let regions = world.config.model.regions.len();
            let first = world.random.below(regions);
            let wanted = (world.alive.len() as f64 * world.config.model.vanish).round() as usize;
            let mut victims = Vec::new();
            for step in 0..regions {
                let region = ((first + step) % regions) as u8;
                let mut here: Vec<u32> = world.alive.clone();
                here.retain(|i| world.peers[*i as usize].traits.region == region);
                here.sort_unstable();
                victims.extend(here);
                if victims.len() >= wanted {
                    break;
                }
            }
            victims.truncate(wanted);
            victims.into_iter().for_each(|i| world.crash(i, false));
        }
        Scenario::Pullers => {
            let mut victims = world.alive.clone();
            victims.retain(|i| world.peers[*i as usize].origin_open);
            victims.sort_unstable();
            victims.into_iter().for_each(|i| world.crash(i, true));
        }
        Scenario::Origin => world.origin_outage(now + world.config.model.origin_outage * MS),
        Scenario::Tracker => world.tracker_outage(now + world.config.model.tracker_outage * MS),
        Scenario::Calm | Scenario::Churn | Scenario::Flash | Scenario::Abuse | Scenario::Tight => {}
    }
}
