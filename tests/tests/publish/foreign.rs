//! An origin that knows nothing of this: our own HTTP-FLV server in the test's process, which nobody told the server about.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use xp2p_smol::Smol;
use xp2p_smol::driver::origin::server::{Feed, OriginServer, OriginServerConfig, Publication};
use xp2p_tests::media::{Media, MediaConfig};

const NAME: &str = "room";

/// A live stream of about 1 Mbit/s.
pub(crate) struct Foreign {
    origin: OriginServer,
    url: String,
    publication: Mutex<Publication>,
    running: Arc<AtomicBool>,
}

impl Foreign {
    pub(crate) fn start() -> Self {
        let config = OriginServerConfig::new("127.0.0.1:0".parse().expect("an address"));
        let origin = OriginServer::bind(&Smol, config).expect("a port");
        let running = Arc::new(AtomicBool::new(true));
        let publication = Mutex::new(publish(&origin, &running));
        Self { url: origin.url(NAME), origin, publication, running }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn authority(&self) -> String {
        self.origin.local_addr().to_string()
    }

    pub(crate) fn clients(&self) -> usize {
        self.publication.lock().expect("not poisoned").stats().clients
    }

    /// Waits until nobody reads it any more: a connection that was closed is missed with the next tag.
    pub(crate) fn deserted(&self, patience: Duration) {
        let end = Instant::now() + patience;
        while self.clients() > 0 {
            assert!(Instant::now() < end, "{} still read it", self.clients());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The publisher goes, and comes again.
    pub(crate) fn restart(&self) {
        assert!(self.origin.unpublish(NAME));
        std::thread::sleep(Duration::from_millis(300));
        *self.publication.lock().expect("not poisoned") = publish(&self.origin, &self.running);
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        self.running.store(false, Ordering::Relaxed);
    }
}

fn publish(origin: &OriginServer, running: &Arc<AtomicBool>) -> Publication {
    let (tags, feed) = async_channel::bounded(64);
    let running = running.clone();
    std::thread::spawn(move || {
        let mut media = Media::new(MediaConfig::default());
        let start = Instant::now();
        while running.load(Ordering::Relaxed) {
            let due = start + Duration::from_millis(u64::from(media.next_time()));
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            for tag in media.next_tags() {
                if tags.send_blocking(tag).is_err() {
                    return;
                }
            }
        }
    });
    origin.publish(NAME, Feed::Tags(feed), None).expect("a publication")
}
