//! The server: brings viewers to cameras and members of swarms to each other, and carries their packets until they reach each
//! other directly.
//!
//! A [`Server`] is driven as [`Machine`](crate::machine::Machine) says. Nothing that it holds needs to survive a
//! restart: cameras register again within seconds, and sessions that are direct do not notice.

mod asked;
mod config;
mod cookie;
mod doors;
mod event;
mod filling;
mod limits;
mod machine;
mod registrations;
pub mod relay;
mod store;
mod stun;
mod tracking;
pub mod tunnels;

pub use self::config::{ServerConfig, ServerError, TrackingConfig};
pub use self::doors::Door;
pub use self::event::{ServerEvent, ServerStats};
pub use self::machine::Server;
