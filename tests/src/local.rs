//! A server, a camera and viewers in this process, on real sockets of this machine.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_lite::future::or;
use xp2p_proto::camera::{CameraConfig, CameraEvent, CameraServer};
use xp2p_proto::info::{Rights, Xp2pInfo};
use xp2p_proto::keys::SecretKey;
use xp2p_proto::link::Entropy;
use xp2p_proto::server::ServerConfig;
use xp2p_proto::viewer::ViewerConfig;
use xp2p_smol::driver::camera::{CameraApp, CameraHandle};
use xp2p_smol::driver::runtime::{Runtime as _, sleep};
use xp2p_smol::driver::server::ServerHandle;
use xp2p_smol::{Smol, ViewerHandle};

fn identity() -> (SecretKey, Entropy) {
    let secret = SecretKey::from_bytes(Smol.random().expect("randomness"));
    (secret, Entropy::from_os(Smol.random().expect("randomness")))
}

/// A server that relays without limits of rate.
pub struct Home {
    /// The server.
    pub server: ServerHandle,
    /// Its key.
    key: xp2p_proto::keys::PublicKey,
}

impl Home {
    /// A server at `listen`.
    pub fn new(listen: SocketAddr) -> Self {
        let (secret, entropy) = identity();
        let key = secret.public();
        let mut config = ServerConfig::new(secret, entropy, listen);
        config.relay.camera_rate = None;
        config.relay.flow_rate = None;
        let (server, _) = ServerHandle::spawn(&Smol, listen, None, config).expect("a server");
        Self { server, key }
    }

    /// A camera at `bind` that reaches the server at `at` and tells viewers to reach it at `advertised`. Registered.
    pub async fn camera(
        &self,
        bind: SocketAddr,
        at: SocketAddr,
        advertised: SocketAddr,
        app: Arc<dyn CameraApp>,
    ) -> (CameraHandle, Xp2pInfo) {
        self.camera_with(bind, at, advertised, app, |_| ()).await
    }

    /// The same after a change of its configuration.
    pub async fn camera_with(
        &self,
        bind: SocketAddr,
        at: SocketAddr,
        advertised: SocketAddr,
        app: Arc<dyn CameraApp>,
        change: impl FnOnce(&mut CameraConfig),
    ) -> (CameraHandle, Xp2pInfo) {
        let (secret, entropy) = identity();
        let server = CameraServer {
            key: Some(self.key),
            addrs: vec![at],
            advertised: vec![advertised.into()],
            tcp_port: None,
            app_key: None,
        };
        let mut config = CameraConfig::new(secret, entropy, vec![server]);
        change(&mut config);
        let (camera, events) = CameraHandle::spawn_with(&Smol, bind, config, app).expect("a camera");
        let registered = async {
            while !matches!(events.recv().await.expect("an event"), CameraEvent::Registered { .. }) {}
        };
        or(registered, async {
            sleep(&Smol, Duration::from_secs(15)).await;
            panic!("the camera is not registered");
        })
        .await;
        let info = camera.xp2p_info(Rights::ALL, None).await.expect("a camera").expect("a known key");
        (camera, info)
    }
}

/// A viewer at `bind`.
pub fn viewer(bind: SocketAddr) -> ViewerHandle {
    let (secret, entropy) = identity();
    ViewerHandle::spawn(&Smol, bind, ViewerConfig::new(secret, entropy)).expect("a viewer")
}
