//! Runtime-neutral async half of xp2p.
