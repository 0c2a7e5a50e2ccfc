//! A viewer looks for its cameras in its own network.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use futures_lite::future::or;
use mdns_sd::{ResolvedService, ServiceDaemon, ServiceEvent};
use xp2p_proto::info::{LanName, Xp2pInfo};
use xp2p_proto::keys::{PublicKey, Ticket};
use xp2p_proto::viewer::{ServiceId, Viewer};

use super::{CHECK, FLOOD_PAUSE, SERVICE, daemon, is_flooded, is_in_a_network, on_link, stop};
use crate::handle::{Handle, WeakHandle};
use crate::runtime::{Runtime, sleep};

/// Most names in the network that are remembered, for services that are started later; the oldest go.
const MAX_SEEN: usize = 64;
/// Most addresses of one name that are looked at.
const MAX_ADDRS: usize = 8;

#[derive(Default)]
struct State {
    /// Whether a task searches.
    searching: bool,
    daemon: Option<ServiceDaemon>,
    wanted: BTreeMap<ServiceId, (PublicKey, Ticket)>,
    seen: VecDeque<(LanName, Vec<SocketAddr>)>,
}

/// The search of one viewer for all its cameras. It begins with the first of them. Clones are the same one; it ends when all are
/// dropped.
#[derive(Clone)]
pub(crate) struct LanSearch {
    local: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl std::fmt::Debug for LanSearch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LanSearch").field("wanted", &lock(&self.state).wanted.len()).finish_non_exhaustive()
    }
}

impl Drop for State {
    fn drop(&mut self) {
        if let Some(daemon) = &self.daemon {
            stop(daemon);
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(|e| e.into_inner())
}

impl LanSearch {
    /// For a viewer whose socket is bound to `local`. `None`: it reaches nobody else.
    pub(crate) fn new(local: SocketAddr) -> Option<Self> {
        is_in_a_network(local).then(|| Self { local, state: Arc::default() })
    }

    /// Looks for the camera of a service from now on.
    pub(crate) async fn look_for<R: Runtime>(
        &self,
        runtime: &R,
        viewer: &Handle<Viewer>,
        service: ServiceId,
        info: &Xp2pInfo,
    ) {
        let (camera, ticket) = (*info.camera(), *info.ticket());
        let near = {
            let mut state = lock(&self.state);
            state.wanted.insert(service, (camera, ticket));
            if !std::mem::replace(&mut state.searching, true) {
                let (weak, viewer) = (Arc::downgrade(&self.state), viewer.clone().downgrade());
                let (runtime2, local) = (runtime.clone(), self.local);
                runtime.spawn(Box::pin(async move { run(&runtime2, local, weak, viewer).await }));
            }
            let of = |(name, _): &&(LanName, Vec<SocketAddr>)| name.is_of(&camera, &ticket);
            state.seen.iter().filter(of).flat_map(|(_, addrs)| addrs.clone()).collect()
        };
        tell(viewer, &self.state, service, near).await;
    }

    /// A service has ended.
    pub(crate) fn forget(&self, service: ServiceId) {
        lock(&self.state).wanted.remove(&service);
    }
}

/// Tells the viewer where the camera of a service may be. Forgets the service if it is over.
async fn tell(viewer: &Handle<Viewer>, state: &Mutex<State>, service: ServiceId, addrs: Vec<SocketAddr>) {
    if addrs.is_empty() {
        return;
    }
    let told = viewer.call(move |viewer, now| viewer.add_nearby(now, service, &addrs)).await;
    if told != Ok(true) {
        lock(state).wanted.remove(&service);
    }
}

/// Searches until the viewer, or the search, is over.
async fn run<R: Runtime>(
    runtime: &R,
    local: SocketAddr,
    state: Weak<Mutex<State>>,
    viewer: WeakHandle<Viewer>,
) {
    while let Some(shared) = state.upgrade() {
        let daemon = match daemon(local) {
            Ok(daemon) => daemon,
            Err(e) => return tracing::debug!("no search in the local network: {e}"),
        };
        lock(&shared).daemon = Some(daemon.clone());
        drop(shared);
        search(runtime, &daemon, &state, &viewer).await;
        stop(&daemon);
        if state.strong_count() == 0 {
            return;
        }
        tracing::debug!("the local network is left alone for {FLOOD_PAUSE:?}");
        sleep(runtime, FLOOD_PAUSE).await;
    }
}

/// Searches until it is over, or somebody floods the network.
async fn search<R: Runtime>(
    runtime: &R,
    daemon: &ServiceDaemon,
    state: &Weak<Mutex<State>>,
    viewer: &WeakHandle<Viewer>,
) {
    let found = match daemon.browse(SERVICE) {
        Ok(found) => found,
        Err(e) => return tracing::debug!("no search in the local network: {e}"),
    };
    let mut check_at = runtime.now() + CHECK;
    loop {
        let check = async {
            sleep(runtime, check_at.saturating_duration_since(runtime.now())).await;
            None
        };
        match or(check, async { Some(found.recv_async().await) }).await {
            None if is_flooded(daemon).await => return,
            None => check_at = runtime.now() + CHECK,
            Some(Ok(ServiceEvent::ServiceResolved(service))) => {
                let Some((name, addrs)) = read(&service) else { continue };
                let (Some(state), Some(viewer)) = (state.upgrade(), viewer.upgrade()) else { return };
                let theirs = remember(&mut lock(&state), name, &addrs);
                for service in theirs {
                    tracing::debug!(?addrs, "a camera is in the local network");
                    tell(&viewer, &state, service, addrs.clone()).await;
                }
            }
            Some(Ok(_)) => {}
            // It is over, or so much was heard at once that the library gave up.
            Some(Err(_)) => return,
        }
    }
}

/// Keeps what was found. Returns the services whose camera it is.
fn remember(state: &mut State, name: LanName, addrs: &[SocketAddr]) -> Vec<ServiceId> {
    state.seen.retain(|(known, _)| *known != name);
    state.seen.push_front((name, addrs.to_vec()));
    state.seen.truncate(MAX_SEEN);
    let is_of = |(_, (camera, ticket)): &(&ServiceId, &(PublicKey, Ticket))| name.is_of(camera, ticket);
    state.wanted.iter().filter(is_of).map(|(&service, _)| service).collect()
}

/// The name and the usable addresses of what was found, if it may be a camera at all.
fn read(service: &ResolvedService) -> Option<(LanName, Vec<SocketAddr>)> {
    let name = service.fullname.split('.').next()?.parse().ok()?;
    let port = service.port;
    let addrs = service.addresses.iter().map(|ip| SocketAddr::new(ip.to_ip_addr(), port));
    let mut addrs = on_link(addrs.take(MAX_ADDRS));
    // The library gives them in any order.
    addrs.sort_unstable();
    (port != 0 && !addrs.is_empty()).then_some((name, addrs))
}

#[cfg(test)]
mod tests {
    use xp2p_proto::keys::SecretKey;

    use super::*;

    #[test]
    fn what_the_network_says_is_kept_within_bounds() {
        let mut state = State::default();
        let ticket = Ticket::from_bytes([7; Ticket::LEN]);
        let camera = SecretKey::from_bytes([1; 32]).public();
        let addr: SocketAddr = "192.168.1.7:5000".parse().unwrap();
        for n in 0..1000_u64 {
            let stranger = SecretKey::from_bytes([2; 32]).public();
            assert!(
                remember(&mut state, LanName::new(&stranger, &ticket, n.to_be_bytes()), &[addr]).is_empty()
            );
        }
        assert_eq!(state.seen.len(), MAX_SEEN);
        let name = LanName::new(&camera, &ticket, *b"a nonce.");
        remember(&mut state, name, &[addr]);
        remember(&mut state, name, &[addr]);
        assert_eq!(state.seen.iter().filter(|(seen, _)| *seen == name).count(), 1);
    }
}
