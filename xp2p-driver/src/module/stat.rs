//! What the module's local server tells at `/stat`.

use std::sync::{Arc, Mutex};

use super::State;
use crate::player::StatSource;
use crate::runtime::Runtime;
use crate::viewer::stat_json;

/// Tells of all services. Holds the module weakly, which owns the server that owns this.
pub(super) fn source<R: Runtime>(state: &Arc<Mutex<State<R>>>) -> StatSource {
    let state = Arc::downgrade(state);
    Arc::new(move || {
        let state = state.upgrade();
        let services =
            state.map_or_else(Vec::new, |state| match &*state.lock().unwrap_or_else(|e| e.into_inner()) {
                State::Running(running) => running.services.values().cloned().collect(),
                _ => Vec::new(),
            });
        Box::pin(async move {
            let mut stats = Vec::with_capacity(services.len());
            for service in services {
                // Fails only when the module is destroyed meanwhile.
                stats.extend(service.stat().await.ok());
            }
            stat_json(&stats)
        })
    })
}
