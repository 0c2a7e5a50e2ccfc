//! Timers.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::runtime::Handle;
use tokio::time::Sleep;
use xp2p_driver::runtime::Timer;

/// A timer on tokio, exact to a millisecond.
#[derive(Debug)]
pub struct TokioTimer {
    sleep: Pin<Box<Sleep>>,
    /// What it is set to.
    at: Option<Instant>,
}

impl TokioTimer {
    pub(crate) fn new(handle: &Handle) -> Self {
        let _inside = handle.enter();
        // Made once and reset from then on; not registered anywhere before it is polled, which waits for `at`.
        Self { sleep: Box::pin(tokio::time::sleep_until(Instant::now().into())), at: None }
    }
}

impl Timer for TokioTimer {
    fn reset(&mut self, at: Option<Instant>) {
        // Where it already is, it need not be moved to: most turns of an event loop change nothing.
        if let Some(at) = at.filter(|_| at != self.at) {
            self.sleep.as_mut().reset(at.into());
        }
        self.at = at;
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self.at {
            Some(_) => self.sleep.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }
}
