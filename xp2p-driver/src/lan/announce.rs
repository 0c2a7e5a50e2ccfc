//! A camera tells its own network where it is.

use std::net::SocketAddr;
use std::time::Duration;

use async_channel::{Receiver, Sender};
use futures_lite::future::or;
use mdns_sd::{DaemonEvent, IfKind, ServiceDaemon, ServiceInfo};
use xp2p_proto::camera::Camera;
use xp2p_proto::info::LanName;

use super::{CHECK, FLOOD_PAUSE, SERVICE, daemon, is_flooded, is_in_a_network};
use crate::handle::{Handle, WeakHandle};
use crate::runtime::{Runtime, sleep};

/// How long to wait for the last word to the network.
const GOODBYE: Duration = Duration::from_millis(300);

/// What a camera announces. Ends when all clones are dropped, or with [`stop`](Self::stop).
#[derive(Debug, Clone)]
pub(crate) struct Announcement {
    /// Closed when the announcement is to end. Nothing is sent by it.
    wanted: Sender<()>,
    /// Closed when it has ended.
    over: Receiver<()>,
}

enum News {
    Check,
    /// Somebody else claims our name.
    Conflict,
    Trouble(String),
    End,
}

/// Why an announcement ended.
#[derive(PartialEq, Eq)]
enum End {
    Unwanted,
    Flooded,
}

impl Announcement {
    /// Announces a camera. `None`: nobody else could reach its socket, or this machine does not let us.
    pub(crate) fn start<R: Runtime>(runtime: &R, camera: &Handle<Camera>) -> Option<Self> {
        let local = camera.local_addr();
        if !is_in_a_network(local) {
            return None;
        }
        let (wanted, unwanted) = async_channel::bounded(1);
        let (ended, over) = async_channel::bounded::<()>(1);
        let announcer = Announcer {
            runtime: runtime.clone(),
            camera: camera.clone().downgrade(),
            local,
            unwanted,
            complained: false,
        };
        runtime.spawn(Box::pin(async move {
            let _ended = ended;
            announcer.run().await;
        }));
        Some(Self { wanted, over })
    }

    /// Ends it, and waits until the network has been told.
    pub(crate) async fn stop(&self) {
        self.wanted.close();
        // Ends with an error, because nothing is ever sent.
        let _ = self.over.recv().await;
    }
}

struct Announcer<R> {
    runtime: R,
    camera: WeakHandle<Camera>,
    local: SocketAddr,
    unwanted: Receiver<()>,
    complained: bool,
}

impl<R: Runtime> Announcer<R> {
    async fn run(mut self) {
        loop {
            let daemon = match daemon(self.local) {
                Ok(daemon) => daemon,
                Err(e) => return self.complain(&e.to_string()),
            };
            let end = self.announce(&daemon).await;
            if let Ok(gone) = daemon.shutdown() {
                // The library takes back what it has told the network.
                or(async { drop(gone.recv_async().await) }, sleep(&self.runtime, GOODBYE)).await;
            }
            if end == End::Unwanted {
                return;
            }
            self.complain("somebody floods the network");
            let unwanted = async { self.unwanted.recv().await.unwrap_or(()) };
            or(unwanted, sleep(&self.runtime, FLOOD_PAUSE)).await;
        }
    }

    /// Once as a warning: the network may bring the same trouble again and again.
    fn complain(&mut self, text: &str) {
        if std::mem::replace(&mut self.complained, true) {
            tracing::debug!("multicast discovery: {text}");
        } else {
            tracing::warn!("multicast discovery: {text}; viewers in this network may need the server");
        }
    }

    /// Announces the camera under the name that it has at the time.
    async fn announce(&mut self, daemon: &ServiceDaemon) -> End {
        let troubles = match daemon.monitor() {
            Ok(troubles) => troubles,
            Err(e) => {
                self.complain(&e.to_string());
                return End::Unwanted;
            }
        };
        let mut told: Option<((_, _), String)> = None;
        let mut conflict = false;
        loop {
            let Some(handle) = self.camera.upgrade() else { return End::Unwanted };
            let Ok(named) = handle.call(|camera, _| (camera.key(), camera.ticket())).await else {
                return End::Unwanted;
            };
            drop(handle);
            if std::mem::take(&mut conflict) || told.as_ref().is_none_or(|(before, _)| *before != named) {
                if let Some((_, old)) = told.take()
                    && let Err(e) = daemon.unregister(&old)
                {
                    tracing::debug!("the old name stays in the network for a while: {e}");
                }
                // Another nonce as well: nobody shall see that both names are one camera's.
                let Ok(nonce) = self.runtime.random() else { return End::Unwanted };
                match register(daemon, self.local, LanName::new(&named.0, &named.1, nonce)) {
                    Ok(name) => told = Some((named, name)),
                    Err(e) => self.complain(&e.to_string()),
                }
            }
            let trouble = async {
                loop {
                    match troubles.recv_async().await {
                        Ok(DaemonEvent::Error(e)) => return News::Trouble(e.to_string()),
                        Ok(DaemonEvent::NameChange(_)) => return News::Conflict,
                        Ok(_) => {}
                        Err(_) => return News::End,
                    }
                }
            };
            let check = async {
                sleep(&self.runtime, CHECK).await;
                News::Check
            };
            let end = async {
                // Nothing is ever sent.
                let _ = self.unwanted.recv().await;
                News::End
            };
            match or(end, or(trouble, check)).await {
                News::Check if is_flooded(daemon).await => return End::Flooded,
                News::Check => {}
                News::Conflict => {
                    conflict = true;
                    // Whoever claims each of our names gets no more than this.
                    let unwanted = async { self.unwanted.recv().await.unwrap_or(()) };
                    or(unwanted, sleep(&self.runtime, CHECK)).await;
                }
                News::Trouble(text) => self.complain(&text),
                News::End => return End::Unwanted,
            }
        }
    }
}

/// Announces the camera under `name`. Returns its full name.
fn register(daemon: &ServiceDaemon, local: SocketAddr, name: LanName) -> mdns_sd::Result<String> {
    let name = name.to_string();
    // The host is named like the service: what this machine is called is nobody's business.
    let host = format!("{name}.local.");
    let ip = local.ip().to_canonical();
    let none: &[(&str, &str)] = &[];
    let mut service = ServiceInfo::new(SERVICE, &name, &host, "", local.port(), none)?.enable_addr_auto();
    // Nobody else has a random name of 16 bytes, so there is no need to ask around for a second first.
    service.set_requires_probe(false);
    if !ip.is_unspecified() {
        service.set_interfaces(vec![IfKind::Addr(ip)]);
    }
    let full = service.get_fullname().to_owned();
    daemon.register(service)?;
    Ok(full)
}
