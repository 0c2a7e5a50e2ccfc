//! The real programs over real networks: NATs, firewalls, tunnels and bad lines in network namespaces of this machine.
//!
//! Takes root and the commands that `./test` installs. `--nocapture` shows the tables of what was measured.
#![cfg(target_os = "linux")]

#[path = "networks/guessing.rs"]
mod guessing;
#[path = "networks/kinds.rs"]
mod kinds;
#[path = "networks/mapping.rs"]
mod mapping;
#[path = "networks/matrix.rs"]
mod matrix;
#[path = "networks/moves.rs"]
mod moves;
