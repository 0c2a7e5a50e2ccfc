//! What all answers of the page have in common.

use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Response, StatusCode};
use serde_json::{Map, Value, json};
use xp2p_proto::error::ErrorCode;
use xp2p_proto::request::{Params, RequestError};
use xp2p_proto::viewer::ViewerError;

use crate::handle::Gone;
use crate::player::PageBody;
use crate::viewer::StartError;

/// Only our own files, nothing inline, and nobody may show the page in a frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; \
                      media-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

/// An answer of the page with the headers that keep it to itself.
pub(super) fn answer(status: StatusCode, kind: &'static str, body: PageBody) -> Response<PageBody> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let fixed: [(HeaderName, &'static str); 7] = [
        (CONTENT_TYPE, kind),
        (CACHE_CONTROL, "no-store"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// JSON.
pub(super) fn json_answer(status: StatusCode, value: &Value) -> Response<PageBody> {
    answer(status, "application/json", PageBody::whole(value.to_string()))
}

/// What went wrong: an HTTP status, the documented code if there is one, and words that say what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) status: StatusCode,
    pub(super) code: Option<ErrorCode>,
    pub(super) message: String,
}

/// What the API gives.
pub(super) type Outcome = Result<Value, Problem>;

impl Problem {
    pub(super) fn new(status: StatusCode, code: Option<ErrorCode>, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    /// The page asked for something that cannot be asked for.
    pub(super) fn parameter(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, Some(ErrorCode::Parameter), message)
    }

    /// There is nothing of that name.
    pub(super) fn unknown() -> Self {
        Self::new(StatusCode::NOT_FOUND, None, "there is no such question; reload the page")
    }

    pub(super) fn answer(&self) -> Response<PageBody> {
        let code = self.code.map(ErrorCode::number);
        let mut response =
            json_answer(self.status, &json!({ "error": { "code": code, "message": self.message } }));
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, POST"));
        }
        response
    }
}

impl From<RequestError> for Problem {
    fn from(error: RequestError) -> Self {
        Self::parameter(error.to_string())
    }
}

impl From<Gone> for Problem {
    fn from(gone: Gone) -> Self {
        let message = format!("xp2p is ending ({gone}); start it again and open the address that it prints");
        Self::new(StatusCode::GONE, Some(ErrorCode::NotInitialised), message)
    }
}

impl From<StartError> for Problem {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Gone(gone) => gone.into(),
            StartError::Viewer(ViewerError::Request(e)) => e.into(),
            StartError::Viewer(ViewerError::NoService) => Self::new(
                StatusCode::GONE,
                Some(ErrorCode::ServiceNotStarted),
                "the connection to the camera is over; start xp2p again",
            ),
            other => {
                let message = format!("{other}; try again in a moment");
                Self::new(StatusCode::BAD_GATEWAY, Some(ErrorCode::StreamStartFailed), message)
            }
        }
    }
}

/// Answers with what the API has given.
pub(super) fn outcome(outcome: Outcome) -> Response<PageBody> {
    match outcome {
        Ok(value) => json_answer(StatusCode::OK, &value),
        Err(problem) => problem.answer(),
    }
}

/// Reads a query.
pub(super) fn query(text: &str) -> Result<Params, Problem> {
    Params::parse(text).map_err(|e| Problem::parameter(e.to_string()))
}

/// Reads a JSON object.
pub(super) fn object(body: &[u8]) -> Result<Map<String, Value>, Problem> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Err(Problem::parameter("send a JSON object")),
        Err(e) => Err(Problem::parameter(format!("that is no JSON: {e}"))),
    }
}

/// The channel in a query; 0 when it is left out.
pub(super) fn channel(params: &Params) -> Result<u32, Problem> {
    match params.get("channel") {
        None => Ok(0),
        Some(text) => text.parse().map_err(|_| Problem::parameter("channel is a number from 0 on")),
    }
}

/// The channel in a JSON object; 0 when it is left out.
pub(super) fn channel_of(map: &Map<String, Value>) -> Result<u32, Problem> {
    match map.get("channel") {
        None => Ok(0),
        Some(value) => value
            .as_u64()
            .and_then(|n| u32::try_from(n).ok())
            .ok_or_else(|| Problem::parameter("channel is a number from 0 on")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_tells_its_code_and_what_to_do() {
        let response = Problem::parameter("say which month").answer();
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
        assert!(
            response.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap().starts_with("default-src 'none'")
        );
        assert_eq!(response.headers()[CACHE_CONTROL], "no-store");
    }

    #[test]
    fn channels_are_numbers() {
        assert_eq!(channel(&query("channel=3").unwrap()).unwrap(), 3);
        assert_eq!(channel(&query("").unwrap()).unwrap(), 0);
        assert!(channel(&query("channel=-1").unwrap()).is_err());
        assert_eq!(channel_of(&object(br#"{"channel":2}"#).unwrap()).unwrap(), 2);
        assert!(channel_of(&object(br#"{"channel":"2"}"#).unwrap()).is_err());
        assert!(object(b"[]").is_err() && object(b"{").is_err());
    }
}
