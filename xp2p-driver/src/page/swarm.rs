//! The page of a stream that its viewers share.

use std::sync::{Arc, Mutex};

use hyper::{Method, Response};
use serde_json::{Value, json};

use super::answer::{Outcome, Problem, object, outcome};
use super::camera::not_here;
use super::web;
use crate::player::{Feature, PageBody, PageRequest, PlayerConfig, Sharing};
use crate::runtime::Runtime;
use crate::watch::Watcher;

/// The page of one watcher: picture, where its bytes come from, and the sharing switch. Clones are the same.
pub struct SwarmPage<R> {
    id: String,
    watcher: Watcher<R>,
    sharing: Arc<Mutex<Sharing>>,
}

impl<R: Clone> Clone for SwarmPage<R> {
    fn clone(&self) -> Self {
        Self { id: self.id.clone(), watcher: self.watcher.clone(), sharing: self.sharing.clone() }
    }
}

impl<R> std::fmt::Debug for SwarmPage<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SwarmPage").field("id", &self.id).finish_non_exhaustive()
    }
}

impl<R: Runtime> SwarmPage<R> {
    /// The page of a watcher whose hub players find under `id`, and which was started to share like this.
    pub fn new(id: &str, watcher: &Watcher<R>, sharing: Sharing) -> Self {
        Self { id: id.to_owned(), watcher: watcher.clone(), sharing: Arc::new(Mutex::new(sharing)) }
    }

    /// Lets a local server show the page, and turn the sharing switch.
    pub fn attach(&self, config: &mut PlayerConfig) {
        let page = self.clone();
        config.page = Some(Arc::new(move |request| {
            let page = page.clone();
            Box::pin(async move { page.answer(request).await })
        }));
        let page = self.clone();
        config.feature = Some(Arc::new(move |change| {
            let page = page.clone();
            Box::pin(async move { page.switch(change).await })
        }));
    }

    fn sharing(&self) -> Sharing {
        *self.sharing.lock().unwrap_or_else(|e| e.into_inner())
    }

    async fn switch(&self, change: Feature) -> Sharing {
        let now = {
            let mut sharing = self.sharing.lock().unwrap_or_else(|e| e.into_inner());
            *sharing = sharing.changed(change);
            *sharing
        };
        // Fails only when the watcher is gone, and its page with it.
        let _ = self.watcher.set_sharing(now.upload).await;
        let _ = self.watcher.set_use_peers(now.download).await;
        now
    }

    async fn answer(&self, request: PageRequest) -> Response<PageBody> {
        match (request.path.as_str(), &request.method) {
            ("api/state", &Method::GET) => outcome(self.state().await),
            ("api/sharing", &Method::POST) => outcome(self.set(&request.body).await),
            (path, _) if path.starts_with("api/") => not_here(
                "a stream that is shared has neither commands nor recordings; open the page of a camera",
            ),
            (path, _) => web::file(path),
        }
    }

    async fn set(&self, body: &[u8]) -> Outcome {
        let map = object(body)?;
        let on = |name: &str| match map.get(name) {
            None => Ok(None),
            Some(Value::Bool(on)) => Ok(Some(*on)),
            Some(_) => Err(Problem::parameter(format!("{name} is true or false"))),
        };
        let change = Feature { upload: on("upload")?, download: on("download")? };
        Ok(switch_json(self.switch(change).await))
    }

    async fn state(&self) -> Outcome {
        let stats = self.watcher.stats().await?;
        let received = stats.p2p_bytes + stats.origin_bytes;
        let (state, words) = match (stats.startup_ms, stats.peers) {
            (None, _) => ("connecting", "waiting for a picture"),
            (Some(_), 0) => ("connected", "the stream comes from its origin"),
            (Some(_), _) => ("connected", "the stream is shared with other viewers"),
        };
        let mut told = json!({
            "kind": "swarm",
            "id": self.id,
            "link": "shared",
            "connection": { "state": state, "words": words },
            "first_picture_ms": stats.startup_ms,
            "bytes": {
                "p2p": { "received": stats.p2p_bytes, "sent": stats.upload_bytes },
                "origin": { "received": stats.origin_bytes },
            },
            "streams": [{ "action": "live", "bytes": received, "players": self.watcher.hub().stats().receivers }],
            "switch": switch_json(self.sharing()),
        });
        told["sharing"] = stats.to_json();
        Ok(told)
    }
}

fn switch_json(sharing: Sharing) -> Value {
    json!({ "upload": sharing.upload, "download": sharing.download })
}
