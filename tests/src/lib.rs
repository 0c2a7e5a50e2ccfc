//! Whole-system tests of xp2p and the deterministic network simulator that they run in.

pub mod app;
pub mod local;
pub mod media;
pub mod processes;
pub mod sim;
pub mod world;
