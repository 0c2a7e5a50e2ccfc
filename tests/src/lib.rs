//! The network simulator.
