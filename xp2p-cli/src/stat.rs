//! `/stat` of the local player server of a command that shows one stream.

use std::sync::Arc;

use xp2p_driver::player::StatSource;
use xp2p_driver::viewer::{StatStream, ViewerHandle, stat_json};
use xp2p_proto::viewer::ServiceId;

use crate::rt::Rt;

/// Tells of a service that players know as `id`.
pub(crate) fn source(
    viewer: &ViewerHandle<Rt>,
    id: &'static str,
    service: ServiceId,
    stream: StatStream,
) -> StatSource {
    let viewer = viewer.clone();
    Arc::new(move || {
        let (viewer, stream) = (viewer.clone(), stream.clone());
        Box::pin(async move {
            // Fails only while the command ends.
            let stat = viewer.stat(id, service, vec![stream]).await.ok();
            stat_json(&Vec::from_iter(stat))
        })
    })
}
