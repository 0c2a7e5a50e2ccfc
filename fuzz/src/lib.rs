//! Fuzz targets.
//!
//! Each module is one target: `run` takes any bytes and panics if something is wrong. Nothing here needs a fuzzer, so
//! `tests/tests/corpus.rs` replays the committed corpus of every target on a stable compiler.
//!
//! * Codecs: what is parsed and printed again is the same bytes, or its one canonical form; the cut of a stream does not
//!   show; nothing panics; memory stays within the limits that the code names.
//! * Machines: see [`turns`] for what holds for each of them.

mod cut;
pub mod memory;
pub mod turns;

pub mod capability;
pub mod command;
pub mod endpoint;
pub mod flv_demux;
pub mod flv_mux;
pub mod frame;
pub mod head;
pub mod info;
pub mod live;
pub mod mp4;
pub mod register;
pub mod reply;
pub mod scheduler;
pub mod session;
pub mod stun;
pub mod swarm;
pub mod swarm_content;
pub mod swarm_peer;
pub mod swarm_tracker;
pub mod voice;

mod ops;
mod seeds;
mod tags;

pub use seeds::seeds;

/// A target.
pub struct Target {
    /// Its name: that of the binary and of the directory of its corpus.
    pub name: &'static str,
    /// Its body.
    pub run: fn(&[u8]),
    /// Bytes of memory that one input may make it hold.
    pub memory: usize,
}

const MIB: usize = 1 << 20;

const fn codec(name: &'static str, run: fn(&[u8])) -> Target {
    // A head may have 64 KiB, and what is read of it lives several times over: input, cuts, fields, prints.
    Target { name, run, memory: 4 * MIB }
}

const fn machine(name: &'static str, run: fn(&[u8]), memory: usize) -> Target {
    Target { name, run, memory }
}

/// All of them.
pub const TARGETS: &[Target] = &[
    codec("info", info::run),
    codec("capability", capability::run),
    codec("frame", frame::run),
    codec("head", head::run),
    codec("command", command::run),
    codec("reply", reply::run),
    codec("flv_demux", flv_demux::run),
    codec("flv_mux", flv_mux::run),
    codec("mp4", mp4::run),
    codec("live", live::run),
    codec("voice", voice::run),
    codec("register", register::run),
    codec("swarm_peer", swarm_peer::run),
    codec("swarm_tracker", swarm_tracker::run),
    codec("swarm_content", swarm_content::run),
    codec("stun", stun::run),
    codec("scheduler", scheduler::run),
    machine("endpoint", endpoint::run, 64 * MIB),
    machine("session", session::run, 256 * MIB),
    machine("swarm", swarm::run, 512 * MIB),
];

impl Target {
    /// The target of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        TARGETS.iter().find(|t| t.name == name)
    }

    /// Runs it with one input, with its limit of memory.
    ///
    /// # Panics
    ///
    /// If the input shows a fault.
    pub fn check(&self, data: &[u8]) {
        memory::bounded(self.memory, || (self.run)(data));
    }
}

/// What a fuzzer calls: runs the target of a name with one input.
///
/// # Panics
///
/// If the input shows a fault, or there is no such target.
pub fn check(name: &str, data: &[u8]) {
    Target::named(name).expect("a target of this name").check(data);
}
