//! Where viewers are: their addresses, their lines, and how far they are from each other.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use crate::packets::home::Home;
use crate::sim::{HostConfig, LinkConfig, PipeConfig, Sim};
use crate::swarm::Model;
use crate::swarm::population::{Population, Traits};

/// The networks of the first region; the others follow. A region is a /16, by which the tracker tells them apart.
const REGIONS: u8 = 81;
/// Addresses beyond so many regions are those of others.
const MAX_REGIONS: u8 = 16;
/// What a line's queue holds: home routers keep about this much time.
const QUEUE: Duration = Duration::from_millis(300);
/// And no less than this.
const MIN_QUEUE: u64 = 64 * 1024;

/// The public address of viewer `number`.
fn address(number: u32, region: u8) -> Ipv4Addr {
    let number = u16::try_from(number).expect("fewer than 65,536 viewers in a run");
    let [high, low] = number.to_be_bytes();
    Ipv4Addr::new(REGIONS + region, 0, high, low)
}

/// Who is at a public address; `None`: the server.
fn who(ip: IpAddr) -> Option<(u32, u8)> {
    let IpAddr::V4(ip) = ip else { return None };
    let [region, zero, high, low] = ip.octets();
    let region = region.checked_sub(REGIONS).filter(|r| zero == 0 && *r < MAX_REGIONS)?;
    Some((u32::from(u16::from_be_bytes([high, low])), region))
}

/// Sets how long packets take between any two.
pub(super) fn set_distances(sim: &mut Sim, model: &Model, seed: u64) {
    let (model, population) = (model.clone(), Population::new(model, seed));
    sim.set_core_delay(move |from, to| match (who(from), who(to)) {
        (Some(a), Some(b)) => population.rtt(&model, a, b) / 2,
        (Some((number, _)), None) | (None, Some((number, _))) => {
            Duration::from_nanos(population.draw(&model, number).to_tracker)
        }
        (None, None) => Duration::ZERO,
    });
}

/// The line of a viewer. What is lost and what jitters is shared out between the two directions, as every packet between
/// members passes one of each.
fn line(model: &Model, traits: &Traits) -> LinkConfig {
    let pipe = |rate: u64| PipeConfig {
        jitter: Duration::from_secs_f64(model.jitter / 1000.0),
        loss: 1.0 - (1.0 - model.loss).sqrt(),
        bandwidth: Some(rate),
        queue_bytes: (rate as f64 / 8.0 * QUEUE.as_secs_f64()).max(MIN_QUEUE as f64) as usize,
        ..PipeConfig::default()
    };
    LinkConfig { up: pipe(traits.uplink), down: pipe(model.downlink) }
}

/// Puts viewer `number` into the world.
pub(super) fn settle(sim: &mut Sim, model: &Model, number: u32, traits: &Traits) -> HostConfig {
    let public = address(number, traits.region);
    let name = format!("viewer {number}");
    let config = match Home::of(traits.nat, number.is_multiple_of(2)).nat(public) {
        None => HostConfig::new(name, public),
        Some(nat) => {
            let nat = sim.add_nat(nat);
            let [_, _, high, low] = public.octets();
            HostConfig::new(name, Ipv4Addr::new(10, 0, high, low)).behind(nat)
        }
    };
    config.link(line(model, traits))
}
