//! A connection to one camera, for commands that do not watch.

use std::time::Duration;

use anyhow::Result;
use xp2p_driver::viewer::{Service, ViewerHandle};
use xp2p_proto::info::{Feature, Xp2pInfo};

use crate::args::{Lan, Router};
use crate::rt::{Rt, rt};
use crate::view;

/// Latency budget; nothing live is watched.
const LATENCY: Duration = Duration::from_secs(2);

/// A camera that is being connected to.
pub(crate) struct Session {
    pub(crate) viewer: ViewerHandle<Rt>,
    pub(crate) service: Service,
}

impl Session {
    /// Begins to connect. `need` is what the camera must be able to do. `router`: `None` for what is over before asking the router
    /// would be worth it.
    pub(crate) async fn open(
        info: &str,
        need: Feature,
        lan: Lan,
        router: Option<Router>,
        patience: Option<Duration>,
    ) -> Result<Self> {
        let info: Xp2pInfo = crate::info::parse(info)?;
        info.version().require(need).map_err(|e| anyhow::anyhow!("{e} ({})", e.code().number()))?;
        let mut config = view::config(LATENCY)?;
        config.lan = !lan.no_lan;
        config.port_mapping = router.is_some_and(|router| !router.no_port_mapping);
        if let Some(patience) = patience {
            config.patience = patience;
        }
        let viewer = ViewerHandle::spawn(&rt(), "[::]:0".parse()?, config)?;
        let service = viewer.connect(info).await?;
        Ok(Self { viewer, service })
    }

    /// Says goodbye.
    pub(crate) async fn close(self) {
        self.viewer.shutdown().await;
    }
}
