//! A connection of any runtime as hyper wants it.

use std::io;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use futures_io::{AsyncRead, AsyncWrite};
use hyper::rt::{ReadBufCursor, Sleep};

use crate::runtime::{Runtime, Timer};

/// Bytes that are read at a time. Requests of players are a few hundred.
const READ: usize = 4096;

pub(crate) struct HyperIo<T> {
    inner: T,
    buffer: Vec<u8>,
}

impl<T> HyperIo<T> {
    pub(crate) fn new(inner: T) -> Self {
        Self::with_buffer(inner, READ)
    }

    /// For connections that bring more than requests.
    pub(crate) fn with_buffer(inner: T, size: usize) -> Self {
        Self { inner, buffer: vec![0; size] }
    }
}

impl<T: AsyncRead + Unpin> hyper::rt::Read for HyperIo<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let most = buf.remaining().min(this.buffer.len());
        let n = ready!(Pin::new(&mut this.inner).poll_read(cx, &mut this.buffer[..most]))?;
        buf.put_slice(&this.buffer[..n]);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> hyper::rt::Write for HyperIo<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(cx)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }
}

/// The runtime's timers as hyper wants them.
#[derive(Debug, Clone)]
pub(crate) struct HyperTimer<R>(pub(crate) R);

struct Sleeping<T>(Mutex<T>);

impl<T: Timer> Future for Sleeping<T> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.lock().unwrap_or_else(|e| e.into_inner()).poll(cx)
    }
}

impl<T: Timer> Sleep for Sleeping<T> {}

impl<R: Runtime> hyper::rt::Timer for HyperTimer<R> {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(self.0.now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        let mut timer = self.0.timer();
        timer.reset(Some(deadline));
        Box::pin(Sleeping(Mutex::new(timer)))
    }
}
