//! Whole-system tests of xp2p and the deterministic simulators that they run in: of the network, and of swarms.

pub mod app;
pub mod flow;
pub mod intruder;
pub mod local;
pub mod media;
#[cfg(target_os = "linux")]
pub mod netns;
pub mod on_link;
pub mod packets;
pub mod poisoner;
pub mod probing;
pub mod processes;
pub mod sim;
pub mod simrt;
pub mod swarm;
pub mod sweep;
pub mod web;
pub mod world;
