//! What the local server needs to know of a web page: who may ask for it, and how it answers.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures_lite::Stream;
use hyper::body::{Body, Frame, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Method, Response, StatusCode};

use super::hub::Hub;

/// Most bytes of a request to the page. Talk comes in pieces of a few kilobytes.
pub const MAX_PAGE_BODY: usize = 64 * 1024;

/// What a browser asks the page for. The server has checked who asks.
#[derive(Debug, Clone)]
pub struct PageRequest {
    /// GET or POST.
    pub method: Method,
    /// The path behind `/TOKEN/`: empty, `page/...` or `api/...`.
    pub path: String,
    /// The query, without its `?`.
    pub query: String,
    /// The body of a POST, at most [`MAX_PAGE_BODY`].
    pub body: Bytes,
}

/// Answers what a browser asks for.
pub type PageSource =
    Arc<dyn Fn(PageRequest) -> Pin<Box<dyn Future<Output = Response<PageBody>> + Send>> + Send + Sync>;

/// Finds or starts the stream that a player asks for: id and query, like `action=live&channel=1&quality=high`. None: the id
/// is that of another stream. Else the status to answer, and words for a person.
pub type OpenStream = Arc<
    dyn Fn(String, String) -> Pin<Box<dyn Future<Output = Result<Option<Hub>, (StatusCode, String)>> + Send>>
        + Send
        + Sync,
>;

/// Pieces of a long answer.
type Pieces = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

enum Content {
    Whole(Bytes),
    Pieces(Pieces),
}

/// Body of an answer of the page.
pub struct PageBody(Content);

impl std::fmt::Debug for PageBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PageBody").finish_non_exhaustive()
    }
}

impl PageBody {
    /// All of it at once.
    pub fn whole(bytes: impl Into<Bytes>) -> Self {
        Self(Content::Whole(bytes.into()))
    }

    /// Piece by piece, as fast as the browser takes them. An error breaks the connection off, so that the browser knows.
    pub fn pieces(pieces: impl Stream<Item = io::Result<Bytes>> + Send + 'static) -> Self {
        Self(Content::Pieces(Box::pin(pieces)))
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match &mut self.0 {
            Content::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
            }
            Content::Pieces(pieces) => pieces.as_mut().poll_next(cx).map(|p| p.map(|p| p.map(Frame::data))),
        }
    }

    pub(super) fn is_end(&self) -> bool {
        matches!(&self.0, Content::Whole(bytes) if bytes.is_empty())
    }
}

/// Whether an Origin header is that of our own page, served under the Host that the request names and that was checked.
pub(super) fn is_own_origin(origin: &HeaderValue, host: Option<&str>) -> bool {
    let place = origin.to_str().ok().and_then(|o| o.strip_prefix("http://"));
    match (place, host) {
        (Some(place), Some(host)) => place.eq_ignore_ascii_case(host),
        _ => false,
    }
}

/// Why a request to the page is refused before it is looked at.
pub(super) fn refusal(
    method: &Method,
    path: &str,
    headers: &HeaderMap,
) -> Option<(StatusCode, &'static str)> {
    let api = path.starts_with("api/");
    // Browsers say where a request comes from even where they send no Origin: images, scripts, navigation.
    let from = headers.get_all("sec-fetch-site").iter();
    if api && !from.map(HeaderValue::as_bytes).all(|site| site == b"same-origin" || site == b"none") {
        return Some((StatusCode::FORBIDDEN, "other web pages may not ask this; open the page itself\n"));
    }
    if *method == Method::GET || (*method == Method::HEAD && !api) {
        return None;
    }
    if !api || *method != Method::POST {
        return Some((StatusCode::METHOD_NOT_ALLOWED, "only GET, and POST below api/\n"));
    }
    // A form of another page cannot send either of these without asking first.
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    let known = ["application/json", "application/octet-stream"];
    if !known.iter().any(|known| kind.eq_ignore_ascii_case(known)) {
        let words = "send application/json or application/octet-stream, and say so in Content-Type\n";
        return Some((StatusCode::UNSUPPORTED_MEDIA_TYPE, words));
    }
    None
}

/// Reads a body. `None`: it is too long, or the browser is gone.
pub(super) async fn read(body: &mut Incoming) -> Option<Bytes> {
    if body.size_hint().lower() > MAX_PAGE_BODY as u64 {
        return None;
    }
    let mut whole = BytesMut::new();
    while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await {
        let Ok(data) = frame.ok()?.into_data() else { continue };
        if whole.len() + data.len() > MAX_PAGE_BODY {
            return None;
        }
        whole.extend_from_slice(&data);
    }
    Some(whole.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn only_our_own_page_is_ours() {
        let own = |origin, host| is_own_origin(&HeaderValue::from_static(origin), host);
        assert!(own("http://127.0.0.1:80", Some("127.0.0.1:80")));
        assert!(own("http://localhost:80", Some("LOCALHOST:80")));
        for (origin, host) in [
            ("http://127.0.0.1:81", Some("127.0.0.1:80")),
            ("https://127.0.0.1:80", Some("127.0.0.1:80")),
            ("http://localhost:80", Some("127.0.0.1:80")),
            ("null", Some("127.0.0.1:80")),
            ("http://127.0.0.1:80", None),
            ("", Some("")),
        ] {
            assert!(!own(origin, host), "{origin} {host:?}");
        }
    }

    #[test]
    fn other_sites_and_their_forms_get_nothing() {
        let status = |method: &Method, path, pairs: &[_]| refusal(method, path, &headers(pairs)).map(|r| r.0);
        let (get, post) = (&Method::GET, &Method::POST);
        assert_eq!(status(get, "", &[]), None);
        // Somebody follows a link to the page: that shows it to nobody else.
        assert_eq!(status(get, "", &[("sec-fetch-site", "cross-site")]), None);
        assert_eq!(status(get, "api/state", &[("sec-fetch-site", "none")]), None);
        for site in ["cross-site", "same-site", "", "same-origin, cross-site"] {
            let refused = Some(StatusCode::FORBIDDEN);
            assert_eq!(status(get, "api/state", &[("sec-fetch-site", site)]), refused, "{site}");
        }
        let twice = [("sec-fetch-site", "none"), ("sec-fetch-site", "cross-site")];
        assert_eq!(status(get, "api/state", &twice), Some(StatusCode::FORBIDDEN));
        let json = [("content-type", "Application/JSON; charset=utf-8"), ("sec-fetch-site", "same-origin")];
        assert_eq!(status(post, "api/command", &json), None);
        for kind in ["text/plain", "multipart/form-data", "application/x-www-form-urlencoded", ""] {
            let refused = Some(StatusCode::UNSUPPORTED_MEDIA_TYPE);
            assert_eq!(status(post, "api/command", &[("content-type", kind)]), refused, "{kind}");
        }
        assert_eq!(status(post, "api/command", &[]), Some(StatusCode::UNSUPPORTED_MEDIA_TYPE));
        assert_eq!(status(post, "", &json), Some(StatusCode::METHOD_NOT_ALLOWED));
        assert_eq!(status(&Method::HEAD, "", &[]), None);
        // It would start a download that nobody reads.
        assert_eq!(status(&Method::HEAD, "api/file", &[]), Some(StatusCode::METHOD_NOT_ALLOWED));
    }
}
