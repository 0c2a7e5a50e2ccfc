//! `xp2p-proto`: the sans-IO core of xp2p.
//!
//! No sockets, no clock, no threads, no async, no environment, no global state. See [`machine`] for the contract
//! that the role machines keep.

pub mod camera;
pub mod command;
pub mod error;
mod exchange;
pub mod flv;
pub mod info;
pub mod keys;
pub mod link;
pub mod live;
pub mod machine;
pub mod nat;
pub mod peer;
pub mod register;
mod registration;
pub mod request;
pub mod server;
pub mod stun;
pub mod swarm;
pub mod viewer;
pub mod voice;
pub mod wire;
