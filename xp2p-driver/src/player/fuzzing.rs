//! What fuzzing has to reach of the player server.

use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_lite::future::{block_on, poll_once};
use xp2p_proto::flv::{Config, Tag};

use super::Hub;
use super::mp4::begin;

/// The bytes of a whole stream as fragmented MP4, piece by piece. `config` is what the hub is told first, `before` comes before
/// the player, `after` while it waits. `None`: nothing of it can be played.
pub fn mp4(config: &[Tag], before: &[Tag], after: &[Tag]) -> Option<Vec<Bytes>> {
    let hub = Hub::default();
    let mut known = Config::default();
    config.iter().for_each(|tag| _ = known.update(tag));
    hub.configure(&Arc::new(known));
    before.iter().for_each(|tag| hub.push(tag));
    let mut waiting = pin!(begin(hub.subscribe()));
    let early = block_on(poll_once(waiting.as_mut()));
    after.iter().for_each(|tag| hub.push(tag));
    hub.end();
    let mut mp4 = early.unwrap_or_else(|| block_on(waiting)).ok()?;
    let mut pieces = Vec::new();
    while let Some(piece) = block_on(std::future::poll_fn(|cx| mp4.body.poll_bytes(cx))) {
        pieces.push(piece);
    }
    Some(pieces)
}
