//! The web page of a local server: what a plug-in's demo program is for a phone, for anyone with a browser.
//!
//! [`CameraPage`] is the page of one camera, [`SwarmPage`] that of a stream that its viewers share. Either is
//! [attached](CameraPage::attach) to the configuration of a [`PlayerServer`](crate::player::PlayerServer), which checks who
//! asks (Host, Origin, token) before anything gets here. No answer holds a secret: neither the xp2pInfo nor a key.
//!
//! * `web`: the files of the page, embedded; `answer`: what all answers have in common.
//! * `camera`, `swarm`: what `/TOKEN/api/...` does for the two kinds.
//! * `state`, `command`, `records`, `file`, `talk`: one part of the page each; `streams`: streams on demand.

mod answer;
mod camera;
mod command;
mod file;
mod records;
mod state;
mod streams;
mod swarm;
mod talk;
mod web;

pub use self::camera::{CameraAbout, CameraPage};
pub use self::swarm::SwarmPage;
