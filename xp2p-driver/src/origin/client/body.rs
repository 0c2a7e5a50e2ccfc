//! One exchange with an origin, up to the end of the body.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming};
use hyper::client::conn::http1::SendRequest;
use hyper::{Request, Response};

use super::MAX_HEAD;
use super::error::OriginError;
use crate::origin::stream::Stream;
use crate::player::HyperIo;
use crate::runtime::{Runtime, Timer};

/// What a GET sends after its head.
struct Nothing;

impl Body for Nothing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        true
    }
}

/// The connection, which does nothing unless it is polled. It is nobody else's task: dropping it closes the socket.
struct Connection {
    work: Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>,
    over: bool,
    _sender: SendRequest<Nothing>,
}

impl Connection {
    /// Its own errors also reach whoever waits for head or body.
    fn poll(&mut self, cx: &mut Context<'_>) {
        if !self.over && self.work.as_mut().poll(cx).is_ready() {
            self.over = true;
        }
    }
}

/// Sends a GET and waits for the response head, without a time limit.
pub(super) async fn get(
    io: Box<dyn Stream>,
    authority: &str,
    path: &str,
    user_agent: &str,
) -> Result<(Response<()>, Exchange), OriginError> {
    let request = Request::get(path)
        .header("host", authority)
        .header("user-agent", user_agent)
        .header("accept", "*/*")
        .header("connection", "close")
        .body(Nothing)
        .map_err(|e| OriginError::Url(e.to_string()))?;
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .max_buf_size(MAX_HEAD)
        .handshake(HyperIo::with_buffer(io, MAX_HEAD))
        .await
        .map_err(|e| failed(&e))?;
    let mut response = Box::pin(sender.send_request(request));
    let mut connection = Connection { work: Box::pin(connection), over: false, _sender: sender };
    let response = std::future::poll_fn(|cx| {
        connection.poll(cx);
        match response.as_mut().poll(cx) {
            Poll::Pending if connection.over => {
                Poll::Ready(Err(OriginError::Http("it closed the connection at once".to_owned())))
            }
            result => result.map_err(|e| failed(&e)),
        }
    })
    .await?;
    let (head, body) = response.into_parts();
    Ok((Response::from_parts(head, ()), Exchange { connection, body, received: 0, over: false }))
}

fn failed(error: &hyper::Error) -> OriginError {
    if error.is_parse_too_large() {
        return OriginError::HeadTooLarge;
    }
    OriginError::Http(reason(error))
}

/// hyper's errors keep what is behind them to themselves.
fn reason(error: &hyper::Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// An exchange whose response head has come.
pub(super) struct Exchange {
    connection: Connection,
    body: Incoming,
    received: u64,
    over: bool,
}

impl Exchange {
    /// The same with a limit to silence.
    pub(super) fn with_limit<R: Runtime>(self, runtime: &R, stall: Duration) -> LiveBody<R> {
        let mut timer = runtime.timer();
        timer.reset(Some(runtime.now() + stall));
        LiveBody { exchange: self, runtime: runtime.clone(), timer, stall }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, OriginError>> {
        loop {
            if self.over {
                return Poll::Ready(Ok(None));
            }
            self.connection.poll(cx);
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    // Trailers mean nothing here.
                    if let Ok(data) = frame.into_data()
                        && !data.is_empty()
                    {
                        self.received += data.len() as u64;
                        return Poll::Ready(Ok(Some(data)));
                    }
                }
                Poll::Ready(Some(Err(e))) => {
                    self.over = true;
                    return Poll::Ready(Err(self.lost(reason(&e))));
                }
                Poll::Ready(None) => self.over = true,
                Poll::Pending if self.connection.over => {
                    self.over = true;
                    return Poll::Ready(Err(self.lost("it was closed".to_owned())));
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn lost(&self, reason: String) -> OriginError {
        OriginError::Lost { bytes: self.received, reason }
    }
}

/// The body of a live stream.
pub(super) struct LiveBody<R: Runtime> {
    exchange: Exchange,
    runtime: R,
    timer: R::Timer,
    stall: Duration,
}

impl<R: Runtime> LiveBody<R> {
    /// The next bytes. `None`: it is over.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, OriginError>> {
        // What has come counts, however late it is asked for: the timer is looked at last.
        if let Poll::Ready(result) = self.exchange.poll(cx) {
            self.timer.reset(Some(self.runtime.now() + self.stall));
            return Poll::Ready(result);
        }
        self.timer.poll(cx).map(|()| {
            self.exchange.over = true;
            Err(OriginError::Stalled(self.stall))
        })
    }

    /// Bytes of the body so far.
    pub(super) fn received(&self) -> u64 {
        self.exchange.received
    }
}
