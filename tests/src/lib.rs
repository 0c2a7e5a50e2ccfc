//! Whole-system tests of xp2p and the deterministic network simulator that they run in.

pub mod app;
pub mod media;
pub mod poisoner;
pub mod processes;
pub mod sim;
pub mod swarm;
pub mod world;
