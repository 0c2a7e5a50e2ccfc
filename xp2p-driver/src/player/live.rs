//! What `live.mp4` answers.

use std::time::Duration;

use hyper::header::{HeaderName, HeaderValue};
use hyper::{Response, StatusCode};

use super::answer;
use super::body::PlayerBody;
use super::event::Pull;
use super::hub::Hub;
use super::mp4::{self, Mp4Body, Mp4Start, NoMp4};
use crate::runtime::{Runtime, sleep};

/// Says in words what of the stream is left out.
pub(super) const NOTICE: HeaderName = HeaderName::from_static("x-xp2p-notice");
/// Who asks for the head only does not wait for a stream as a player does.
const HEAD_WAIT: Duration = Duration::from_secs(5);

/// The stream. Waits until its configuration is known, because that is in the head.
pub(super) async fn get(hub: &Hub, pull: Pull) -> Response<PlayerBody> {
    match mp4::begin(hub.subscribe()).await {
        Ok(start) => respond(start, |body| PlayerBody::Mp4(Box::new(body), pull)),
        Err(none) => refuse(&none),
    }
}

/// The head of the same answer.
pub(super) async fn head<R: Runtime>(runtime: &R, hub: &Hub) -> Response<PlayerBody> {
    let begun = async { Some(mp4::begin(hub.subscribe()).await) };
    let late = async {
        sleep(runtime, HEAD_WAIT).await;
        None
    };
    match futures_lite::future::or(begun, late).await {
        Some(Ok(start)) => respond(start, |_| PlayerBody::Text(None)),
        Some(Err(none)) => refuse(&none),
        None => words(StatusCode::SERVICE_UNAVAILABLE, "the stream has not shown its configuration yet"),
    }
}

fn respond(start: Mp4Start, body: impl FnOnce(Mp4Body) -> PlayerBody) -> Response<PlayerBody> {
    let Ok(kind) = HeaderValue::try_from(start.content_type) else {
        // Codecs are letters, digits and dots; this cannot be.
        return refuse(&NoMp4::Boxes);
    };
    let mut response = answer::media(kind, body(start.body));
    let notices: Vec<String> = start.notices.iter().map(ToString::to_string).collect();
    if let Some(notice) = HeaderValue::try_from(notices.join("; ")).ok().filter(|_| !notices.is_empty()) {
        response.headers_mut().insert(NOTICE, notice);
    }
    response
}

fn refuse(none: &NoMp4) -> Response<PlayerBody> {
    let status = match none {
        NoMp4::Nothing(_) | NoMp4::Boxes => StatusCode::NOT_IMPLEMENTED,
        NoMp4::Ended => StatusCode::SERVICE_UNAVAILABLE,
    };
    words(status, &none.to_string())
}

fn words(status: StatusCode, words: &str) -> Response<PlayerBody> {
    answer::words(status, PlayerBody::Text(Some(format!("{words}\n").into())))
}
