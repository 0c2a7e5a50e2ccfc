//! The body of an answer of the local server.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame};

use super::event::Pull;
use super::hub::Subscription;
use super::mp4::Mp4Body;
use super::page::PageBody;

/// Body of an answer.
pub(super) enum PlayerBody {
    Text(Option<Bytes>),
    /// FLV.
    Stream(Box<Subscription>, #[expect(dead_code, reason = "tells when it is dropped")] Pull),
    Mp4(Box<Mp4Body>, #[expect(dead_code, reason = "tells when it is dropped")] Pull),
    Page(PageBody),
}

impl Body for PlayerBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match &mut *self {
            Self::Text(text) => {
                Poll::Ready(text.take().filter(|t| !t.is_empty()).map(|t| Ok(Frame::data(t))))
            }
            Self::Stream(subscription, _) => {
                subscription.poll_bytes(cx).map(|bytes| bytes.map(|b| Ok(Frame::data(b))))
            }
            Self::Mp4(mp4, _) => mp4.poll_bytes(cx).map(|bytes| bytes.map(|b| Ok(Frame::data(b)))),
            Self::Page(body) => body.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Text(text) => text.as_ref().is_none_or(|t| t.is_empty()),
            Self::Page(body) => body.is_end(),
            Self::Stream(..) | Self::Mp4(..) => false,
        }
    }
}
