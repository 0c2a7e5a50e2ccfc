//! What every answer of a local or public media server has in common.

use hyper::Response;
use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};

/// The type of words for a person.
const TEXT: &str = "text/plain; charset=utf-8";
/// The type of a stream.
const FLV: &str = "video/x-flv";

fn answer<B>(status: StatusCode, kind: HeaderValue, body: B) -> Response<B> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, kind);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// A stream, or the head of one.
pub(crate) fn flv<B>(body: B) -> Response<B> {
    answer(StatusCode::OK, HeaderValue::from_static(FLV), body)
}

/// A stream of another type.
pub(crate) fn media<B>(kind: HeaderValue, body: B) -> Response<B> {
    answer(StatusCode::OK, kind, body)
}

/// Words.
pub(crate) fn words<B>(status: StatusCode, body: B) -> Response<B> {
    answer(status, HeaderValue::from_static(TEXT), body)
}
