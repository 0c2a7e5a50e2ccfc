//! Waits for what a camera answers to a request for a stream.

use std::collections::BTreeMap;
use std::sync::Mutex;

use async_channel::{Sender, bounded};
use xp2p_proto::viewer::StreamKey;

use super::service::Inner;

/// Most answers that nobody has waited for; the oldest are forgotten.
const MAX_KEPT: usize = 16;

/// Answers by stream. `None`: the stream is over without one.
#[derive(Debug, Default)]
pub(super) struct Answers {
    came: BTreeMap<StreamKey, Option<u16>>,
    waiting: BTreeMap<StreamKey, Sender<Option<u16>>>,
}

impl Answers {
    /// An answer is here, or will not come.
    pub(super) fn came(&mut self, stream: StreamKey, status: Option<u16>) {
        if let Some(waiting) = self.waiting.remove(&stream) {
            // Whoever waited may have given up.
            let _ = waiting.try_send(status);
            return;
        }
        self.came.entry(stream).or_insert(status);
        if self.came.len() > MAX_KEPT {
            self.came.pop_first();
        }
    }

    /// No answer can come any more.
    pub(super) fn over(&mut self) {
        self.waiting.clear();
    }
}

/// The status that the camera answers with. `None`: it gave none.
pub(super) async fn answer(inner: &Mutex<Inner>, stream: StreamKey) -> Option<u16> {
    let waiting = {
        let mut inner = inner.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(status) = inner.answers.came.remove(&stream) {
            return status;
        }
        if matches!(inner.connected, Some(Err(_))) {
            return None;
        }
        let (sender, waiting) = bounded(1);
        inner.answers.waiting.insert(stream, sender);
        waiting
    };
    waiting.recv().await.ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_lite::future::{block_on, poll_once, zip};

    #[test]
    fn an_answer_is_found_whichever_comes_first() {
        let inner = Mutex::new(Inner::default());
        let key = StreamKey::foreign;
        let tell = |n, status| inner.lock().unwrap().answers.came(key(n), status);
        tell(1, Some(503));
        tell(1, None);
        block_on(async {
            assert_eq!(answer(&inner, key(1)).await, Some(503), "the first word counts");
            let told = async { tell(2, Some(200)) };
            assert_eq!(zip(answer(&inner, key(2)), told).await.0, Some(200));
            let over = async { inner.lock().unwrap().answers.over() };
            assert_eq!(zip(answer(&inner, key(3)), over).await.0, None);
            let mut waits = Box::pin(answer(&inner, key(4)));
            assert_eq!(poll_once(&mut waits).await, None);
        });
        (10..100).for_each(|n| tell(n, None));
        assert!(inner.lock().unwrap().answers.came.len() <= MAX_KEPT);
    }
}
