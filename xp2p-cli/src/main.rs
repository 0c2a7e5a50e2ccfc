//! The xp2p program.

fn main() {}
