//! The sharing switch of the module's local server.

use std::sync::{Arc, Mutex};

use super::State;
use crate::player::{FeatureSwitch, Sharing};
use crate::runtime::Runtime;

/// Turns the switch of all streams. Holds the module weakly, which owns the server that owns this.
pub(super) fn switch<R: Runtime>(state: &Arc<Mutex<State<R>>>) -> FeatureSwitch {
    let state = Arc::downgrade(state);
    Arc::new(move |change| {
        let state = state.upgrade();
        let found = state.and_then(|state| match &mut *state.lock().unwrap_or_else(|e| e.into_inner()) {
            State::Running(running) => {
                running.shared.sharing = running.shared.sharing.changed(change);
                Some((running.shared.sharing, running.services.values().cloned().collect::<Vec<_>>()))
            }
            _ => None,
        });
        Box::pin(async move {
            // None only while the module is destroyed.
            let Some((sharing, services)) = found else { return Sharing::default() };
            for service in services {
                service.set_sharing(sharing.upload, sharing.download).await;
            }
            sharing
        })
    })
}
