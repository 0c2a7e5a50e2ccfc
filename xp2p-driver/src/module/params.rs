//! What the module is started with.

use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

use xp2p_proto::error::ErrorCode;
use xp2p_proto::info::ServerSpec;

use super::ModuleError;
use crate::origin::client::OriginConfig;

/// What `init` needs: the plug-ins' `appParams`, and ours.
#[derive(Debug, Clone)]
pub struct AppParams {
    /// `appid`.
    pub appid: String,
    /// `appOauthId`.
    pub app_oauth_id: String,
    /// `appKey`: the id of the app key for the servers of `servers`, if they ask for one.
    pub app_key: String,
    /// `appSecretKey`: its secret.
    pub app_secret_key: String,
    /// `appPackage`.
    pub app_package: String,
    /// The server that the network is probed with. `None`: it is not probed.
    pub probe_server: Option<SocketAddr>,
    /// Servers where those meet who share a stream, as `xp2p server` prints them, with their keys. For each stream it is the
    /// one whose host also serves it, else the first. None: such streams come from their origins alone.
    pub servers: Vec<ServerSpec>,
    /// How the origins of such streams are read.
    pub origin: OriginConfig,
    /// UDP address to use. Any by default.
    pub bind: SocketAddr,
    /// Where players connect to. A free port on loopback by default.
    pub player: SocketAddr,
    /// How long a service tries to come back before it reports `disconnect`. 30 s by default.
    pub patience: Duration,
    /// Whether cameras are also looked for in one's own network, and connected to there without a server. True by default.
    pub lan: bool,
    /// Whether the router is asked to let cameras and other viewers in. True by default.
    pub port_mapping: bool,
}

impl AppParams {
    /// The five documented fields, and the defaults of ours.
    pub fn new(
        appid: &str,
        app_oauth_id: &str,
        app_key: &str,
        app_secret_key: &str,
        app_package: &str,
    ) -> Self {
        Self {
            appid: appid.to_owned(),
            app_oauth_id: app_oauth_id.to_owned(),
            app_key: app_key.to_owned(),
            app_secret_key: app_secret_key.to_owned(),
            app_package: app_package.to_owned(),
            probe_server: None,
            servers: Vec::new(),
            origin: OriginConfig::default(),
            bind: SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 0),
            player: SocketAddr::from(([127, 0, 0, 1], 0)),
            patience: Duration::from_secs(30),
            lan: true,
            port_mapping: true,
        }
    }

    /// Whether everything is there.
    pub(super) fn check(&self) -> Result<(), ModuleError> {
        let fields = [
            ("appid", &self.appid),
            ("appOauthId", &self.app_oauth_id),
            ("appKey", &self.app_key),
            ("appSecretKey", &self.app_secret_key),
            ("appPackage", &self.app_package),
        ];
        if let Some((name, _)) = fields.iter().find(|(_, value)| value.is_empty()) {
            let text = format!("the field {name} is missing in appParams");
            return Err(ModuleError::new(ErrorCode::Parameter, text));
        }
        match self.servers.iter().find(|server| server.key.is_none()) {
            Some(server) => Err(ModuleError::new(
                ErrorCode::Parameter,
                format!(
                    "the key of the server {} is missing; give HOST:PORT#KEY, as it prints it",
                    server.addr
                ),
            )),
            None => Ok(()),
        }
    }
}
