//! Answers to requests.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use async_channel::Sender;
use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming};
use hyper::header::{ALLOW, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use hyper::{Method, Request, Response, StatusCode};

use super::Server;
use super::config::{Denied, OriginRequest};
use super::publication::Shared;
use crate::player::{Subscription, answer};

/// Where publications are.
const PREFIX: &str = "/live/";
const SUFFIX: &str = ".flv";
/// Longest name of a publication.
const MAX_NAME: usize = 64;

/// Whether a publication may have this name: letters, digits, `-`, `_`, `.`, which no URL needs to encode; or two such names
/// with `/` between them.
pub(crate) fn is_name(name: &str) -> bool {
    match name.split_once('/') {
        Some((first, second)) => is_part(first) && is_part(second),
        None => is_part(name),
    }
}

fn is_part(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    !name.is_empty() && name.len() <= MAX_NAME && !name.starts_with('.') && name.bytes().all(plain)
}

/// The path of a publication.
pub(super) fn path(name: &str) -> String {
    format!("{PREFIX}{name}{SUFFIX}")
}

fn name_of(path: &str) -> Option<&str> {
    path.strip_prefix(PREFIX)?.strip_suffix(SUFFIX).filter(|name| is_name(name))
}

/// `limit` is told until when the client may be served, if not for ever.
pub(super) fn answer(
    server: &Server,
    request: &Request<Incoming>,
    peer: SocketAddr,
    limit: &Sender<Duration>,
) -> Response<Answer> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    let Some(name) = name_of(request.uri().path()) else {
        return text(StatusCode::NOT_FOUND, "there is nothing here; streams are at /live/NAME.flv\n");
    };
    if let Some(authorize) = &server.config.authorize {
        match authorize(&OriginRequest::new(request, name, peer)) {
            Ok(permit) => {
                // There is one request on a connection, so there is room.
                let _ = permit.until.map(|until| limit.try_send(until));
            }
            Err(Denied::Unauthorized) => {
                let mut response = text(StatusCode::UNAUTHORIZED, "this stream needs a permission\n");
                response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
                return response;
            }
            Err(Denied::Forbidden) => {
                return text(StatusCode::FORBIDDEN, "the permission does not allow this stream\n");
            }
        }
    }
    let Some(publication) = server.find(name) else {
        return text(StatusCode::NOT_FOUND, "there is no stream of this name\n");
    };
    let body = if request.method() == Method::HEAD {
        Answer::Text(None)
    } else {
        let Some(seat) = Seat::take(&publication, server.config.max_clients) else {
            let mut response =
                text(StatusCode::SERVICE_UNAVAILABLE, "this stream has all the viewers it takes\n");
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("5"));
            return response;
        };
        Answer::Stream(Box::new(publication.hub.subscribe_unchanged()), seat)
    };
    answer::flv(body)
}

fn text(status: StatusCode, text: &'static str) -> Response<Answer> {
    answer::words(status, Answer::Text(Some(Bytes::from_static(text.as_bytes()))))
}

/// A client's place at a publication, given back when it is dropped.
pub(super) struct Seat(Arc<Shared>);

impl Seat {
    fn take(publication: &Arc<Shared>, most: usize) -> Option<Self> {
        // Counted at once, so that two that come together cannot both take the last.
        let seat = Self(publication.clone());
        if publication.clients.fetch_add(1, Ordering::Relaxed) >= most {
            return None;
        }
        publication.served.fetch_add(1, Ordering::Relaxed);
        seat.tell();
        Some(seat)
    }
}

impl Seat {
    fn tell(&self) {
        // Full: it is told already.
        let _ = self.0.changes.0.try_send(());
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.clients.fetch_sub(1, Ordering::Relaxed);
        self.tell();
    }
}

/// Body of an answer.
pub(super) enum Answer {
    Text(Option<Bytes>),
    Stream(Box<Subscription>, Seat),
}

impl Body for Answer {
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
            Self::Stream(subscription, seat) => subscription.poll_bytes(cx).map(|bytes| {
                let bytes = bytes?;
                seat.0.sent.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                Some(Ok(Frame::data(bytes)))
            }),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Text(text) if text.as_ref().is_none_or(|t| t.is_empty()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_publications() {
        assert_eq!(name_of("/live/door-1.flv"), Some("door-1"));
        assert_eq!(name_of(&path("a.b_c")), Some("a.b_c"));
        assert_eq!(name_of("/live/cam/door.flv"), Some("cam/door"));
        let long = path(&"x".repeat(MAX_NAME + 1));
        for bad in [
            "/",
            "/live/.flv",
            "/live/..flv",
            "/live/a/b/c.flv",
            "/live//b.flv",
            "/live/a/../b.flv",
            "/live/a",
            "/live/a%20.flv",
            "/a.flv",
            &long,
        ] {
            assert_eq!(name_of(bad), None, "{bad}");
        }
    }

    #[test]
    fn seats_are_given_back() {
        let publication = Arc::new(Shared::new("a"));
        let first = Seat::take(&publication, 1);
        assert!(first.is_some() && Seat::take(&publication, 1).is_none());
        drop(first);
        assert!(Seat::take(&publication, 1).is_some());
        assert_eq!(publication.clients.load(Ordering::Relaxed), 0);
        assert_eq!(publication.served.load(Ordering::Relaxed), 2);
    }
}
