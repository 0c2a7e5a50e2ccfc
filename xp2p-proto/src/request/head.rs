//! Heads of requests and answers.

use std::fmt;
use std::fmt::Write as _;

use httparse::EMPTY_HEADER;
use thiserror::Error;

use super::headers::{Headers, Reason};
use super::params::{Params, ParamsError};
use super::{MAX_HEAD, MAX_HEADERS, MAX_PATH, Status};
use crate::error::ErrorCode;

/// What the bytes so far are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parsed<T> {
    /// The start of a head; more must come.
    Incomplete,
    /// A whole head.
    Complete {
        /// The head.
        head: T,
        /// Its bytes; what follows is the body.
        len: usize,
    },
}

/// Why bytes are no head.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HeadError {
    /// No end within the limit.
    #[error("the head is longer than {MAX_HEAD} bytes")]
    TooLong,
    /// Too many header fields.
    #[error("the head has more than {MAX_HEADERS} header fields")]
    TooManyHeaders,
    /// Not HTTP.
    #[error("not an HTTP/1.1 head: byte {offset} is not allowed there")]
    Syntax {
        /// Offset of the byte, from 0.
        offset: usize,
    },
    /// Another version of HTTP.
    #[error("HTTP/1.1 is needed")]
    Version,
    /// Another method.
    #[error("only the method GET is known")]
    Method,
    /// A bad path.
    #[error(
        "the request target must be a path of 1 to {MAX_PATH} bytes of A-Z a-z 0-9 / . _ - that begins with /"
    )]
    Path,
    /// A request with a body.
    #[error("a request has no body; leave content-length out")]
    Body,
    /// A bad header field.
    #[error("the header field `{name}` must be {allowed}")]
    Field {
        /// Its name.
        name: &'static str,
        /// What is allowed.
        allowed: &'static str,
    },
    /// A status that HTTP does not have.
    #[error("{found} is no status; it is a number from 100 to 599")]
    Status {
        /// The number.
        found: u16,
    },
    /// Bad parameters.
    #[error(transparent)]
    Params(#[from] ParamsError),
}

impl HeadError {
    /// What a device answers: 404 for parameters, else 400.
    pub const fn status(&self) -> Status {
        match self {
            Self::Params(error) => error.status(),
            _ => Status::BadRequest,
        }
    }

    /// What a caller gets: -2000.
    pub const fn code(&self) -> ErrorCode {
        ErrorCode::Parameter
    }
}

/// The two kinds of heads, for [`HeadReader`](super::HeadReader).
pub trait Head: Sized {
    /// Reads the head at the start of `bytes`.
    ///
    /// # Errors
    ///
    /// When no bytes that could follow would make it a head.
    fn parse(bytes: &[u8]) -> Result<Parsed<Self>, HeadError>;
}

/// Head of a request. The method is always GET.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHead {
    path: String,
    /// The query.
    pub params: Params,
    /// The known header fields.
    pub headers: Headers,
}

impl RequestHead {
    /// A head without header fields.
    ///
    /// # Errors
    ///
    /// [`HeadError::Path`].
    pub fn new(path: &str, params: Params) -> Result<Self, HeadError> {
        let known = |b: u8| b.is_ascii_alphanumeric() || b"/._-".contains(&b);
        if !path.starts_with('/') || path.len() > MAX_PATH || !path.bytes().all(known) {
            return Err(HeadError::Path);
        }
        Ok(Self { path: path.to_owned(), params, headers: Headers::default() })
    }

    /// A head of a request target: `/path?query`.
    ///
    /// # Errors
    ///
    /// When path or query are malformed.
    pub fn from_target(target: &str) -> Result<Self, HeadError> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        // The path first: what has none is no request target at all.
        let mut head = Self::new(path, Params::new())?;
        head.params = Params::parse(query)?;
        Ok(head)
    }

    /// The path: 1 to [`MAX_PATH`] bytes of `A-Z a-z 0-9 / . _ -`, the first a `/`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Path and query.
    pub fn target(&self) -> String {
        if self.params.is_empty() { self.path.clone() } else { format!("{}?{}", self.path, self.params) }
    }

    /// The bytes on the wire, at most [`MAX_HEAD`].
    pub fn to_bytes(&self) -> Vec<u8> {
        // RFC 9112 section 3.2 asks for a host; the plug-ins have this one.
        let mut out = format!("GET {} HTTP/1.1\r\nhost: ipc.p2p.com\r\n", self.target());
        // A request never announces a body.
        Headers { content_length: None, ..self.headers.clone() }.print(&mut out);
        out.push_str("\r\n");
        out.into_bytes()
    }
}

impl Head for RequestHead {
    fn parse(bytes: &[u8]) -> Result<Parsed<Self>, HeadError> {
        check_start(bytes, b"GET ").map_err(|offset| match bytes.get(offset) {
            Some(b) if b.is_ascii_uppercase() => HeadError::Method,
            _ => HeadError::Syntax { offset },
        })?;
        let bytes = &bytes[..bytes.len().min(MAX_HEAD)];
        let mut fields = [EMPTY_HEADER; MAX_HEADERS];
        let mut request = httparse::Request::new(&mut fields);
        let status = request.parse(bytes).map_err(|error| {
            locate(bytes, error, |prefix| {
                httparse::Request::new(&mut [EMPTY_HEADER; MAX_HEADERS]).parse(prefix).is_err()
            })
        })?;
        let httparse::Status::Complete(len) = status else { return incomplete(bytes) };
        if request.version != Some(1) {
            return Err(HeadError::Version);
        }
        let mut head = Self::from_target(request.path.unwrap_or_default())?;
        for field in request.headers.iter() {
            head.headers.read(field.name, field.value)?;
        }
        // A stated length of nothing means the same as none.
        match head.headers.content_length.take() {
            None | Some(0) => Ok(Parsed::Complete { head, len }),
            Some(_) => Err(HeadError::Body),
        }
    }
}

impl fmt::Display for RequestHead {
    /// The request line without the header fields, fit for a log: the capability is not in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GET {}", self.target())
    }
}

/// Head of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseHead {
    status: u16,
    phrase: String,
    /// The known header fields.
    pub headers: Headers,
}

impl ResponseHead {
    /// A head without header fields.
    pub fn new(status: Status) -> Self {
        Self { status: status.number(), phrase: status.text().to_owned(), headers: Headers::default() }
    }

    /// What precedes live pictures and recordings: 200, and the type of an FLV stream.
    pub fn media() -> Self {
        let mut head = Self::new(Status::Ok);
        head.headers.content_type = Some("video/x-flv".to_owned());
        head
    }

    /// A refusal, with a text for a person.
    pub fn refusal(status: Status, reason: &str) -> Self {
        let mut head = Self::new(status);
        head.headers.reason = Some(Reason::new(reason));
        head
    }

    /// The number of the status, 100 to 599; [`Status::from_number`] knows ours.
    pub const fn status(&self) -> u16 {
        self.status
    }

    /// Whether data follows (2xx).
    pub const fn is_success(&self) -> bool {
        self.status / 100 == 2
    }

    /// The device's text for the status: printable ASCII.
    pub fn phrase(&self) -> &str {
        &self.phrase
    }

    /// The bytes on the wire.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _ = write!(out, "HTTP/1.1 {} {}\r\n", self.status, self.phrase);
        self.headers.print(&mut out);
        out.push_str("\r\n");
        out.into_bytes()
    }
}

impl Head for ResponseHead {
    fn parse(bytes: &[u8]) -> Result<Parsed<Self>, HeadError> {
        check_start(bytes, b"HTTP/1.").map_err(|offset| HeadError::Syntax { offset })?;
        let bytes = &bytes[..bytes.len().min(MAX_HEAD)];
        let mut fields = [EMPTY_HEADER; MAX_HEADERS];
        let mut response = httparse::Response::new(&mut fields);
        let status = response.parse(bytes).map_err(|error| {
            locate(bytes, error, |prefix| {
                httparse::Response::new(&mut [EMPTY_HEADER; MAX_HEADERS]).parse(prefix).is_err()
            })
        })?;
        let httparse::Status::Complete(len) = status else { return incomplete(bytes) };
        if response.version != Some(1) {
            return Err(HeadError::Version);
        }
        let status = response.code.unwrap_or_default();
        if !(100..600).contains(&status) {
            return Err(HeadError::Status { found: status });
        }
        let phrase = response.reason.unwrap_or_default();
        if let Some(at) = phrase.bytes().position(|b| !(b.is_ascii_graphic() || b == b' ')) {
            return Err(HeadError::Syntax { offset: "HTTP/1.1 200 ".len() + at });
        }
        let mut head = Self { status, phrase: phrase.to_owned(), headers: Headers::default() };
        for field in response.headers.iter() {
            head.headers.read(field.name, field.value)?;
        }
        Ok(Parsed::Complete { head, len })
    }
}

/// Whether `bytes` begin with `start`, as far as they go. HTTP libraries skip empty lines before a head; here they
/// would be a way to keep a parser busy for nothing.
fn check_start(bytes: &[u8], start: &[u8]) -> Result<(), usize> {
    bytes.iter().zip(start).position(|(a, b)| a != b).map_or(Ok(()), Err)
}

fn incomplete<T>(bytes: &[u8]) -> Result<Parsed<T>, HeadError> {
    if bytes.len() >= MAX_HEAD { Err(HeadError::TooLong) } else { Ok(Parsed::Incomplete) }
}

/// The offset of the first byte after which nothing can become a head: the parser reads from left to right, so a
/// prefix that fails fails however it goes on, and the shortest one is found by halving.
fn locate(bytes: &[u8], error: httparse::Error, fails: impl Fn(&[u8]) -> bool) -> HeadError {
    match error {
        httparse::Error::TooManyHeaders => HeadError::TooManyHeaders,
        httparse::Error::Version => HeadError::Version,
        _ => {
            let (mut good, mut bad) = (0, bytes.len());
            while good + 1 < bad {
                let middle = usize::midpoint(good, bad);
                if fails(&bytes[..middle]) {
                    bad = middle;
                } else {
                    good = middle;
                }
            }
            HeadError::Syntax { offset: good }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::info::{Capability, Rights};
    use crate::keys::SecretKey;
    use proptest::prelude::*;

    fn request(text: &str) -> Result<RequestHead, HeadError> {
        match RequestHead::parse(text.as_bytes())? {
            Parsed::Complete { head, len } => {
                assert_eq!(len, text.len());
                Ok(head)
            }
            Parsed::Incomplete => panic!("incomplete: {text:?}"),
        }
    }

    fn response(text: &str) -> Result<ResponseHead, HeadError> {
        match ResponseHead::parse(text.as_bytes())? {
            Parsed::Complete { head, .. } => Ok(head),
            Parsed::Incomplete => panic!("incomplete: {text:?}"),
        }
    }

    #[test]
    fn a_request_has_one_printed_form() {
        let mut head = RequestHead::from_target("/ipc.flv?action=live&channel=0&quality=high").unwrap();
        head.headers.request = Some(9);
        let bytes = head.to_bytes();
        let text = "GET /ipc.flv?action=live&channel=0&quality=high HTTP/1.1\r\nhost: ipc.p2p.com\r\nx-xp2p-request: 9\r\n\r\n";
        assert_eq!(String::from_utf8(bytes).unwrap(), text);
        assert_eq!(request(text), Ok(head));
    }

    #[test]
    fn every_split_of_a_head_is_incomplete_until_its_end() {
        let mut head = RequestHead::from_target("/command?action=user_define&cmd=%1B").unwrap();
        head.headers.capability =
            Some(Capability::issue(&SecretKey::from_bytes([1; 32]), Rights::ALL, 1, None, [0; 8]));
        let bytes = head.to_bytes();
        for len in 0..bytes.len() {
            assert_eq!(RequestHead::parse(&bytes[..len]), Ok(Parsed::Incomplete), "{len}");
        }
        let with_body = [bytes.as_slice(), b"body"].concat();
        assert_eq!(RequestHead::parse(&with_body), Ok(Parsed::Complete { head, len: bytes.len() }));

        let head = ResponseHead::refusal(Status::TooManyViewers, "3 of 3 viewers");
        let bytes = head.to_bytes();
        for len in 0..bytes.len() {
            assert_eq!(ResponseHead::parse(&bytes[..len]), Ok(Parsed::Incomplete), "{len}");
        }
        assert_eq!(ResponseHead::parse(&bytes), Ok(Parsed::Complete { head, len: bytes.len() }));
    }

    #[test]
    fn what_is_no_request_is_refused_at_its_byte() {
        assert_eq!(request("POST / HTTP/1.1\r\n\r\n"), Err(HeadError::Method));
        assert_eq!(request("\r\n\r\nGET / HTTP/1.1\r\n\r\n"), Err(HeadError::Syntax { offset: 0 }));
        assert_eq!(request("\x16\x03\x01"), Err(HeadError::Syntax { offset: 0 }), "TLS");
        assert_eq!(request("GET / HTTP/1.0\r\n\r\n"), Err(HeadError::Version));
        assert_eq!(request("GET / HTTP/1.1\r\na b: c\r\n\r\n"), Err(HeadError::Syntax { offset: 17 }));
        assert_eq!(request("GET /\x1b[2J HTTP/1.1\r\n\r\n"), Err(HeadError::Syntax { offset: 5 }));
        for target in ["ipc.flv", "http://a/ipc.flv", "/a%2e", "/a#b", "*"] {
            assert_eq!(request(&format!("GET {target} HTTP/1.1\r\n\r\n")), Err(HeadError::Path), "{target}");
        }
        let long = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(MAX_PATH));
        assert_eq!(request(&long), Err(HeadError::Path));
        let body = |length| request(&format!("GET / HTTP/1.1\r\ncontent-length: {length}\r\n\r\n"));
        assert_eq!(body("1"), Err(HeadError::Body));
        assert_eq!(body("0").map(|head| head.headers), Ok(Headers::default()));
        let error = request("GET /?_token=1 HTTP/1.1\r\n\r\n").unwrap_err();
        assert_eq!((error.code().number(), error.status()), (-2000, Status::NotFound));
        assert_eq!(HeadError::Method.status(), Status::BadRequest);
    }

    #[test]
    fn giant_heads_are_refused() {
        let fields = |n: usize| format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(n));
        assert!(request(&fields(MAX_HEADERS)).is_ok());
        assert_eq!(request(&fields(MAX_HEADERS + 1)), Err(HeadError::TooManyHeaders));
        let giant = format!("GET /?a={}", "b".repeat(MAX_HEAD));
        assert_eq!(RequestHead::parse(giant.as_bytes()), Err(HeadError::TooLong));
        assert_eq!(RequestHead::parse(&giant.as_bytes()[..MAX_HEAD - 1]), Ok(Parsed::Incomplete));
        let giant = format!("HTTP/1.1 200 OK\r\na: {}", "b".repeat(MAX_HEAD));
        assert_eq!(ResponseHead::parse(giant.as_bytes()), Err(HeadError::TooLong));
    }

    #[test]
    fn the_largest_request_that_can_be_made_fits() {
        let mut params = Params::new();
        params.push("cmd", "\"".repeat((super::super::MAX_QUERY - 5) / 3)).unwrap();
        let mut head = RequestHead::new(&format!("/{}", "a".repeat(MAX_PATH - 1)), params).unwrap();
        head.headers = Headers {
            latency: Some(std::time::Duration::from_millis(1_500)),
            capability: Some(Capability::issue(
                &SecretKey::from_bytes([1; 32]),
                Rights::ALL,
                1,
                None,
                [0; 8],
            )),
            request: Some(u64::MAX),
            reason: Some(Reason::new(&"摄".repeat(300))),
            content_length: None,
            content_type: Some("a".repeat(128)),
            etag: Some("e".repeat(super::super::MAX_ETAG)),
            position: Some(u64::MAX),
            paused: true,
        };
        let bytes = head.to_bytes();
        assert!(bytes.len() <= MAX_HEAD);
        assert_eq!(RequestHead::parse(&bytes), Ok(Parsed::Complete { head, len: bytes.len() }));
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        assert_eq!(response("HTTP/2 200 OK\r\n\r\n"), Err(HeadError::Syntax { offset: 5 }));
        assert_eq!(response("HTTP/1.1 099 OK\r\n\r\n"), Err(HeadError::Status { found: 99 }));
        assert_eq!(response("HTTP/1.1 600 OK\r\n\r\n"), Err(HeadError::Status { found: 600 }));
        assert_eq!(response("HTTP/1.1 200 a\tb\r\n\r\n"), Err(HeadError::Syntax { offset: 14 }));
        assert_eq!(response("HTTP/1.1 200 \x1b[2J\r\n\r\n"), Err(HeadError::Syntax { offset: 13 }));
        let head = response("HTTP/1.1 206 \r\ncontent-length: 5\r\n\r\n").unwrap();
        assert!(head.is_success() && head.phrase().is_empty());
        assert_eq!(head.headers.content_length, Some(5));
        assert!(!ResponseHead::new(Status::NotFound).is_success());
    }

    proptest! {
        #[test]
        fn changed_heads_never_panic_and_print_what_reads_the_same(
            at in any::<prop::sample::Index>(),
            to in any::<u8>(),
        ) {
            let mut bytes = b"GET /ipc.flv?action=live&user_args=%20x HTTP/1.1\r\nhost: a\r\nx-xp2p-request: 12\r\n\r\n".to_vec();
            let at = at.index(bytes.len());
            bytes[at] = to;
            match RequestHead::parse(&bytes) {
                Ok(Parsed::Complete { head, .. }) => {
                    let printed = head.to_bytes();
                    let len = printed.len();
                    prop_assert_eq!(RequestHead::parse(&printed), Ok(Parsed::Complete { head, len }));
                }
                Ok(Parsed::Incomplete) => {}
                Err(HeadError::Syntax { offset }) => prop_assert!(offset < bytes.len()),
                Err(error) => prop_assert!(!error.to_string().contains(char::is_control)),
            }
        }

        #[test]
        fn changed_answers_never_panic_and_print_what_reads_the_same(
            at in any::<prop::sample::Index>(),
            to in any::<u8>(),
        ) {
            let mut bytes = ResponseHead::refusal(Status::TalkBusy, "busy: é").to_bytes();
            let at = at.index(bytes.len());
            bytes[at] = to;
            if let Ok(Parsed::Complete { head, .. }) = ResponseHead::parse(&bytes) {
                let printed = head.to_bytes();
                let len = printed.len();
                prop_assert_eq!(ResponseHead::parse(&printed), Ok(Parsed::Complete { head, len }));
            }
        }
    }
}
