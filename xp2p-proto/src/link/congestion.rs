//! Congestion control. Placeholder for measurement: CUBIC with an initial window of one keyframe.

use std::sync::Arc;
use std::time::Instant;

use noq_proto::congestion::{Controller, ControllerFactory, CubicConfig};

/// Builds the controller of each path.
#[derive(Debug, Clone)]
pub(super) struct LiveConfig {
    /// Bytes in flight before the first acknowledgement.
    pub(super) initial_window: u64,
}

impl ControllerFactory for LiveConfig {
    fn build(self: Arc<Self>, now: Instant, mtu: u16) -> Box<dyn Controller> {
        let mut cubic = CubicConfig::default();
        cubic.initial_window(self.initial_window);
        Arc::new(cubic).build(now, mtu)
    }
}
