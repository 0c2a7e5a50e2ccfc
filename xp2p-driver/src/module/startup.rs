//! How long each step up to the first picture took.

use std::time::Duration;

/// Steps of a start, each as a time after the one before it unless it says otherwise. `None`: not reached yet.
///
/// Source: the per-step timing of the plug-ins' demo (player, init, service, check, start, header, data, keyframe).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Startup {
    /// The local server for players listens.
    pub player: Option<Duration>,
    /// `init` was done, the probe of the network included.
    pub init: Option<Duration>,
    /// The camera was connected and had proven its key: time after the start of the service.
    pub service: Option<Duration>,
    /// The camera had said that it is the wanted one. `None` also if nobody asked.
    pub check: Option<Duration>,
    /// The stream was asked for: time after the start of the service, as all below.
    pub start: Option<Duration>,
    /// The camera's answer was there.
    pub header: Option<Duration>,
    /// The first byte was there.
    pub data: Option<Duration>,
    /// The first whole keyframe was there.
    pub keyframe: Option<Duration>,
}
