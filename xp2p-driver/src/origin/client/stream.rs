//! The tags of an origin's stream.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use xp2p_proto::flv::{Demuxer, FileHeader, FlvError, Item, Limits, Tag};

use super::body::LiveBody;
use super::error::OriginError;
use crate::runtime::Runtime;

/// How much an origin has sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Received {
    /// Bytes of FLV.
    pub body: u64,
    /// Bytes of TCP's payload: the same with HTTP and TLS around them, redirects included.
    pub wire: u64,
}

/// An open stream. Dropping it closes the connection.
pub struct OriginStream<R: Runtime> {
    body: LiveBody<R>,
    demuxer: Demuxer,
    header: Option<FileHeader>,
    content_type: Option<String>,
    wire: Arc<AtomicU64>,
    over: bool,
}

impl<R: Runtime> std::fmt::Debug for OriginStream<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OriginStream").field("received", &self.received()).finish_non_exhaustive()
    }
}

impl<R: Runtime> OriginStream<R> {
    pub(super) fn new(
        body: LiveBody<R>,
        limits: Limits,
        content_type: Option<String>,
        wire: Arc<AtomicU64>,
    ) -> Self {
        Self { body, demuxer: Demuxer::new(limits), header: None, content_type, wire, over: false }
    }

    /// The next tag, as it was sent. Nothing is lost if the future is dropped.
    ///
    /// # Errors
    ///
    /// [`OriginError::Ended`] when the origin has ended the stream, and at every call after any other error;
    /// [`OriginError::NotFlv`], [`OriginError::Stalled`], [`OriginError::Lost`].
    pub async fn next_tag(&mut self) -> Result<Tag, OriginError> {
        std::future::poll_fn(|cx| self.poll_tag(cx)).await
    }

    /// [`next_tag`](Self::next_tag) for futures that are written by hand.
    ///
    /// # Errors
    ///
    /// The same.
    pub fn poll_tag(&mut self, cx: &mut Context<'_>) -> Poll<Result<Tag, OriginError>> {
        if self.over {
            return Poll::Ready(Err(OriginError::Ended { bytes: self.body.received() }));
        }
        let result = ready!(self.poll_next(cx));
        self.over = result.is_err();
        Poll::Ready(result)
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Tag, OriginError>> {
        loop {
            match self.demuxer.poll() {
                Ok(Some(Item::Tag(tag))) => return Poll::Ready(Ok(tag)),
                Ok(Some(Item::Header(header))) => {
                    self.header = Some(header);
                    continue;
                }
                Ok(None) => {}
                Err(error) => return Poll::Ready(Err(self.not_flv(error))),
            }
            match ready!(self.body.poll(cx)) {
                Ok(Some(bytes)) => {
                    if let Err(error) = self.demuxer.push(bytes) {
                        return Poll::Ready(Err(self.not_flv(error)));
                    }
                }
                Ok(None) => return Poll::Ready(Err(self.end())),
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// A stream that ends inside a tag has ended all the same; one that never began was none.
    fn end(&mut self) -> OriginError {
        let bytes = self.body.received();
        match self.demuxer.finish() {
            Err(error) if self.header.is_none() && bytes > 0 => self.not_flv(error),
            _ => OriginError::Ended { bytes },
        }
    }

    /// The content type explains what was taken for FLV; of a stream that was FLV it says nothing.
    fn not_flv(&self, error: FlvError) -> OriginError {
        let content_type = self.content_type.clone().filter(|_| self.header.is_none());
        OriginError::NotFlv { content_type, error }
    }

    /// The file header, once it has come: before the first tag.
    pub fn header(&self) -> Option<FileHeader> {
        self.header
    }

    /// How much has come.
    pub fn received(&self) -> Received {
        Received { body: self.body.received(), wire: self.wire.load(Ordering::Relaxed) }
    }

    /// Bytes of damaged input that were skipped; see [`Limits::strict`].
    pub fn skipped(&self) -> u64 {
        self.demuxer.skipped()
    }
}
