//! Where the stream of a camera can be had when the camera has no room (1v1 to 1vN).

use async_channel::Sender;
use xp2p_proto::command::DeviceInfo;
use xp2p_proto::error::ErrorCode;
use xp2p_proto::info::Xp2pInfo;

use super::ModuleError;
use super::service::StreamInfo;
use super::shared::{Shared, SharedConfig};
use crate::runtime::Runtime;
use crate::transit::{MediaUrlError, media_url, servers_of};
use crate::viewer::ServiceEvent;

/// A `liveStreamDomain`, and what it takes to go there.
#[derive(Debug)]
pub(super) struct Elsewhere {
    domain: String,
    camera: Xp2pInfo,
    config: SharedConfig,
    events: Sender<ServiceEvent>,
}

impl Elsewhere {
    /// `None`: the application names none.
    pub(super) fn of(
        info: &StreamInfo,
        camera: &Xp2pInfo,
        shared: SharedConfig,
        events: &Sender<ServiceEvent>,
    ) -> Result<Option<Self>, ModuleError> {
        if info.live_stream_domain.is_empty() {
            return Ok(None);
        }
        // Any name of a camera will do to see whether the domain is one.
        media_url(&info.live_stream_domain, "product", "device", None).map_err(wrong)?;
        // Those who watch the camera meet at its own servers, whatever the module uses for other streams.
        let config = SharedConfig { servers: servers_of(camera), ..shared };
        let (domain, camera) = (info.live_stream_domain.clone(), camera.clone());
        Ok(Some(Self { domain, camera, config, events: events.clone() }))
    }

    pub(super) fn domain(&self) -> &str {
        &self.domain
    }

    /// The stream of the camera that has said who it is.
    pub(super) fn stream<R: Runtime>(
        &self,
        runtime: &R,
        said: &DeviceInfo,
    ) -> Result<Shared<R>, ModuleError> {
        let url = media_url(&self.domain, &said.product_id, &said.device_name, self.camera.capability());
        Shared::new(runtime, self.config.clone(), url.map_err(wrong)?, self.events.clone())
    }
}

fn wrong(error: MediaUrlError) -> ModuleError {
    ModuleError::new(ErrorCode::Parameter, format!("liveStreamDomain: {error}"))
}
