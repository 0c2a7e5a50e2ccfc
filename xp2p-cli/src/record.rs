//! Recording a stream to a file.

use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use xp2p_driver::player::Hub;

/// A recording on a thread of its own, because disks block.
pub(crate) struct Recording {
    thread: std::thread::JoinHandle<std::io::Result<()>>,
    failed: async_channel::Receiver<std::io::Error>,
    stop: async_channel::Sender<()>,
}

/// Writes everything that goes through a hub from now on as an FLV file.
pub(crate) fn record(out: &Path, hub: &Hub) -> Result<Recording> {
    let mut subscription = hub.subscribe();
    let mut file: Box<dyn std::io::Write + Send> = if out == Path::new("-") {
        Box::new(std::io::stdout())
    } else {
        let file = std::fs::File::create(out).with_context(|| format!("cannot write {}", out.display()))?;
        Box::new(std::io::BufWriter::new(file))
    };
    let (failed_sender, failed) = async_channel::bounded(1);
    let (stop, stopped) = async_channel::bounded::<()>(1);
    let thread = std::thread::Builder::new()
        .name("xp2p recorder".to_owned())
        .spawn(move || {
            let result = loop {
                let next = futures_lite::future::or(subscription.next_bytes(), async {
                    // Ends only when the other end is dropped.
                    let _ = stopped.recv().await;
                    None
                });
                match futures_lite::future::block_on(next) {
                    Some(bytes) => {
                        if let Err(e) = file.write_all(&bytes) {
                            break Err(e);
                        }
                    }
                    None => break file.flush(),
                }
            };
            if let Err(e) = &result {
                // Nobody waits any more only if the program ends anyway.
                let _ = failed_sender.try_send(std::io::Error::new(e.kind(), e.to_string()));
            }
            // The hub has this receiver until here, so what was pushed before the end is in the file.
            result
        })
        .context("cannot start a thread")?;
    Ok(Recording { thread, failed, stop })
}

impl Recording {
    /// Ready only when it has failed.
    pub(crate) async fn failed(&self) -> std::io::Result<()> {
        match self.failed.recv().await {
            Ok(e) => Err(e),
            Err(_) => std::future::pending().await,
        }
    }

    /// Writes what is still on its way.
    pub(crate) fn finish(self) -> std::io::Result<()> {
        drop(self.stop);
        self.thread.join().unwrap_or_else(|_| Err(std::io::Error::other("the recorder has failed")))
    }
}
