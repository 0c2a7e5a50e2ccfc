//! Ctrl-C and its like.

use anyhow::{Context as _, Result};

/// A channel that gets a message at each Ctrl-C, SIGTERM or SIGHUP.
pub(crate) fn signals() -> Result<async_channel::Receiver<()>> {
    let (sender, receiver) = async_channel::bounded(4);
    ctrlc::set_handler(move || {
        // A full channel holds a message already.
        let _ = sender.try_send(());
    })
    .context("cannot catch Ctrl-C")?;
    Ok(receiver)
}
