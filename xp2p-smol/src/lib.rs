//! xp2p over smol.
