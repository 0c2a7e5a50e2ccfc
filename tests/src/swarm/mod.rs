//! A simulator of 1vN at the level of messages: the scheduler of [`xp2p_proto::swarm`] in a crowd of up to ten thousand
//! viewers, without QUIC in between. With [`Level::Packet`] the same crowd meets over real QUIC instead (`packets::crowd`).
//!
//! What is modelled, and with which numbers, stands in [`Model`]; what happens during a run is its [`Scenario`]. [`run`]
//! gives a [`Report`] with the goals of the design beside what was measured. Equal settings give equal reports.
//!
//! * `model`, `population`, `stream`, `scenario`: who watches what, and what happens to them.
//! * `net`, `wire`: connections, uplinks and downlinks; how much messages weigh.
//! * `queue`, `random`, `world`: time, luck, and the loop that drives members and tracker.
//! * `watch`: what must hold at every moment. `measure`, `report`, `plot`: figures.
//!
//! Simplifications: a connection carries what its sender's uplink lets through (no congestion control, no window), control
//! messages wait for the piece that is being sent but not for others, losses cost a round trip and 50 ms, batches of the
//! witness reach the tracker at once.

pub(crate) mod measure;
pub(crate) mod model;
mod net;
mod plot;
pub(crate) mod population;
pub(crate) mod queue;
pub(crate) mod random;
pub(crate) mod report;
pub(crate) mod scenario;
mod stream;
mod watch;
mod wire;
mod world;

pub use measure::{Second, Shape};
pub use model::{Config, Level, Model, Plan, Scenario};
pub use plot::plot;
pub use report::{Goal, Report, Span};

/// Runs a scenario.
///
/// # Panics
/// If the scheduler does what it must not and [`Config::strict`] is set; the message tells the seed and the time.
pub fn run(config: &Config) -> Report {
    run_with(config, |_| {})
}

/// Like [`run`]; `progress` hears of every simulated second.
///
/// # Panics
/// As [`run`].
pub fn run_with(config: &Config, mut progress: impl FnMut(u64)) -> Report {
    Report::new(match config.level {
        Level::Message => {
            let mut world = world::World::new(config);
            world.run(progress);
            world.outcome()
        }
        Level::Packet => crate::packets::crowd::run(config, &mut progress),
    })
}
