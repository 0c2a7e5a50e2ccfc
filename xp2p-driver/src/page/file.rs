//! Files of the camera as downloads of the browser.

use std::io;

use futures_lite::stream::unfold;
use hyper::header::{CONTENT_DISPOSITION, CONTENT_LENGTH, HeaderValue};
use hyper::{Response, StatusCode};
use xp2p_proto::error::ErrorCode;
use xp2p_proto::request::{Download, Params, Request};
use xp2p_proto::viewer::{Resume, ServiceId};

use super::answer::{Problem, answer, channel};
use crate::player::{PageBody, encode_id};
use crate::runtime::Runtime;
use crate::viewer::{DownloadEvent, DownloadHandle, ViewerHandle};

/// Reads `?channel=0&name=...`.
pub(super) fn wanted(params: &Params) -> Result<Download, Problem> {
    let name = params.get("name").unwrap_or_default();
    let download = Download { channel: channel(params)?, file_name: name.to_owned(), offset: 0 };
    Request::Download(download.clone()).to_head()?;
    Ok(download)
}

/// Fetches a file. The camera sends no faster than the browser takes it, and stops when the browser does.
pub(super) async fn send<R: Runtime>(
    viewer: &ViewerHandle<R>,
    service: ServiceId,
    wanted: Download,
) -> Result<Response<PageBody>, Problem> {
    let name = disposition(&wanted.file_name);
    let download = viewer.download(service, wanted, Resume::default()).await?;
    let size = loop {
        match download.next().await {
            Some(DownloadEvent::Headers { left: Some(left), .. }) => break left,
            // A refusal; its reason follows.
            Some(DownloadEvent::Headers { .. }) => {}
            Some(DownloadEvent::Failed { status, reason }) => return Err(refused(status, &reason)),
            _ => return Err(refused(None, "the connection to the camera is over")),
        }
    };
    let body = PageBody::pieces(unfold(Some(Pieces { download, taken: 0 }), |pieces| async {
        let mut pieces = pieces?;
        let piece = pieces.next().await?;
        let more = piece.is_ok().then_some(pieces);
        Some((piece, more))
    }));
    let mut response = answer(StatusCode::OK, "application/octet-stream", body);
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(size));
    response.headers_mut().insert(CONTENT_DISPOSITION, name);
    Ok(response)
}

struct Pieces {
    download: DownloadHandle,
    /// Bytes that the browser's connection has taken, which the camera does not know yet.
    taken: usize,
}

impl Pieces {
    async fn next(&mut self) -> Option<io::Result<bytes::Bytes>> {
        // Whoever asks for the next piece has room for it.
        let taken = std::mem::take(&mut self.taken);
        if taken > 0 {
            self.download.release(taken).await;
        }
        loop {
            match self.download.next().await {
                Some(DownloadEvent::Data { data, .. }) => {
                    self.taken = data.len();
                    return Some(Ok(data));
                }
                Some(DownloadEvent::Done { .. }) => return None,
                Some(DownloadEvent::Failed { reason, .. }) => return Some(Err(io::Error::other(reason))),
                // Again after a reconnection: it goes on where it was.
                Some(_) => {}
                None => return Some(Err(io::ErrorKind::ConnectionAborted.into())),
            }
        }
    }
}

fn refused(status: Option<u16>, reason: &str) -> Problem {
    let known = status.and_then(|status| StatusCode::from_u16(status).ok());
    let status = known.unwrap_or(StatusCode::BAD_GATEWAY);
    let message = format!("the camera does not give this file: {reason}; look at the list again");
    Problem::new(status, Some(ErrorCode::DownloadFailed), message)
}

/// `attachment` with the last part of a name: plain for old browsers, and as RFC 6266 and RFC 8187 say.
fn disposition(name: &str) -> HeaderValue {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    // A name that begins with a dot would be hidden.
    let last = last.trim_start_matches('.');
    let last = if last.is_empty() { "file" } else { last };
    let plain: String = last
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || "-_. ()".contains(c) { c } else { '_' })
        .collect();
    let encoded = encode_id(last);
    let text = format!("attachment; filename=\"{plain}\"; filename*=UTF-8''{encoded}");
    // Letters, digits and a few signs only.
    HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static("attachment"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_camera_choose_no_place_and_no_header() {
        let told = |name| disposition(name).to_str().unwrap().to_owned();
        assert_eq!(
            told("2026-11-24T02-04-30Z.flv"),
            "attachment; filename=\"2026-11-24T02-04-30Z.flv\"; filename*=UTF-8''2026-11-24T02-04-30Z.flv"
        );
        assert_eq!(
            told("../../etc/T\u{fc}r \"1\".mp4"),
            "attachment; filename=\"T_r _1_.mp4\"; filename*=UTF-8''T%C3%BCr%20%221%22.mp4"
        );
        assert!(told("a\r\nset-cookie: x").starts_with("attachment; filename=\"a__set-cookie_ x\""));
        assert!(told(".bashrc").contains("\"bashrc\"") && told("..").contains("\"file\""));
    }
}
