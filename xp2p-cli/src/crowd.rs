//! `xp2p view` of a camera that has no room: together with others, from a server.

use anyhow::{Context as _, Result};
use xp2p_driver::transit::{media_url, meeting_place, servers_of};
use xp2p_driver::viewer::ViewerHandle;
use xp2p_proto::info::Xp2pInfo;
use xp2p_proto::viewer::ServiceId;

use crate::args::{View, Watch};
use crate::rt::Rt;
use crate::when::usage;

/// What `xp2p watch` does instead, at `domain`.
pub(crate) async fn instead(
    args: &View,
    domain: &str,
    viewer: &ViewerHandle<Rt>,
    service: ServiceId,
    camera: &Xp2pInfo,
) -> Result<Watch> {
    let said = viewer.device_info(service).await.context("-2801")?;
    let url = media_url(domain, &said.product_id, &said.device_name, camera.capability())
        .map_err(|e| usage(format!("--live-stream-domain: {e}")))?;
    Ok(Watch {
        url,
        tracker: meeting_place(&servers_of(camera), domain).map(|spec| spec.to_string()),
        app_key: None,
        listen: args.listen,
        no_player: false,
        open: args.open,
        allow_origins: args.allow_origins.clone(),
        out: args.out.clone(),
        seconds: args.seconds,
        upload_limit: "off".to_owned(),
        no_peers: false,
        stream: None,
        signers: Vec::new(),
        ca: args.ca.clone(),
        bind: std::net::SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, 0)),
        router: args.router,
        json: args.json,
        interval: None,
    })
}
