//! A small HTTP server for operators: health, metrics, whatever an application wants to tell.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};

use crate::player::{HyperIo, HyperTimer};
use crate::runtime::{Listener, Runtime, sleep};

/// Most connections at a time.
const MAX_CONNECTIONS: usize = 32;
/// A request head must be whole after this long.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// An answer: content type and text.
pub type Page = (&'static str, String);

/// Makes the answer to a path. `None`: there is nothing.
pub type Pages = Arc<dyn Fn(&str) -> Pin<Box<dyn Future<Output = Option<Page>> + Send>> + Send + Sync>;

/// Serves `pages` on `listen` for as long as the program runs. Returns where it listens.
///
/// # Errors
///
/// The address cannot be listened on.
pub fn serve<R: Runtime>(runtime: &R, listen: SocketAddr, pages: Pages) -> io::Result<SocketAddr> {
    let mut listener = runtime
        .listen(listen)
        .map_err(|e| io::Error::new(e.kind(), format!("cannot listen on TCP {listen}: {e}")))?;
    let bound = listener.local_addr()?;
    let spawner = runtime.clone();
    let open = Arc::new(());
    runtime.spawn(Box::pin(async move {
        loop {
            match listener.accept().await {
                Ok(_) if Arc::strong_count(&open) > MAX_CONNECTIONS => {}
                Ok((tcp, _)) => {
                    let (pages, runtime, guard) = (pages.clone(), spawner.clone(), open.clone());
                    spawner.spawn(Box::pin(async move {
                        let _guard = guard;
                        let service = service_fn(|request| answer(&pages, request));
                        let connection = hyper::server::conn::http1::Builder::new()
                            .timer(HyperTimer(runtime))
                            .header_read_timeout(HEAD_TIMEOUT)
                            .serve_connection(HyperIo::new(tcp), service);
                        if let Err(e) = connection.await {
                            tracing::debug!("a status connection ended: {e}");
                        }
                    }));
                }
                Err(e) => {
                    tracing::debug!("cannot accept: {e}");
                    sleep(&spawner, Duration::from_millis(50)).await;
                }
            }
        }
    }));
    Ok(bound)
}

async fn answer(pages: &Pages, request: Request<Incoming>) -> Result<Response<Text>, Infallible> {
    let page = match *request.method() {
        Method::GET | Method::HEAD => pages(request.uri().path()).await,
        _ => None,
    };
    let (status, (kind, text)) = match page {
        Some(page) => (StatusCode::OK, page),
        None => (StatusCode::NOT_FOUND, ("text/plain; charset=utf-8", "there is nothing here\n".to_owned())),
    };
    let mut response = Response::new(Text(Some(text.into())));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

struct Text(Option<Bytes>);

impl Body for Text {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.take().map(|t| Ok(Frame::data(t))))
    }
}
