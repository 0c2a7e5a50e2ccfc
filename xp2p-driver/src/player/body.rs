//! The body of an answer of the local server.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame};

use super::event::Pull;
use super::hub::Subscription;
use super::mp4::Mp4Body;

/// Body of an answer.
pub(super) enum PlayerBody {
    Text(Option<Bytes>),
    /// FLV.
    Stream(Box<Subscription>, #[expect(dead_code, reason = "tells when it is dropped")] Pull),
    Mp4(Box<Mp4Body>, #[expect(dead_code, reason = "tells when it is dropped")] Pull),
}

impl Body for PlayerBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut *self {
            Self::Text(text) => {
                Poll::Ready(text.take().filter(|t| !t.is_empty()).map(|t| Ok(Frame::data(t))))
            }
            Self::Stream(subscription, _) => {
                subscription.poll_bytes(cx).map(|bytes| bytes.map(|b| Ok(Frame::data(b))))
            }
            Self::Mp4(mp4, _) => mp4.poll_bytes(cx).map(|bytes| bytes.map(|b| Ok(Frame::data(b)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Text(text) if text.as_ref().is_none_or(|t| t.is_empty()))
    }
}
