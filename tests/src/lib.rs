//! Whole-system tests of xp2p and the deterministic network simulator that they run in.

pub mod sim;
