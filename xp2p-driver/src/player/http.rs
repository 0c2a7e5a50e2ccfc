//! The local HTTP server that media players open.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ALLOW, CONTENT_TYPE, HOST, HeaderValue, ORIGIN, VARY,
};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};

use super::answer;
use super::body::PlayerBody;
use super::config::PlayerConfig;
use super::event::{PlayerEvent, Pull, SERVER_ERROR, tell};
use super::feature::Feature;
use super::hub::Hub;
use super::io::{HyperIo, HyperTimer};
use super::live;
use super::page::{self, PageRequest, PageSource};
use super::path::{Wanted, encode_id, is_our_host, wanted};
use crate::runtime::{Listener, Runtime};

/// A request head must be whole after this long.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// News that waits for the application; the oldest is lost then.
const MAX_EVENTS: usize = 256;

struct Shared {
    token: String,
    bound: SocketAddr,
    config: PlayerConfig,
    /// By id and `action` of the query; no action: for all that have no hub of their own.
    hubs: Mutex<BTreeMap<(String, Option<String>), Hub>>,
    news: async_channel::Sender<PlayerEvent>,
    connections: AtomicUsize,
    /// Closed when the server is dropped.
    stop: async_channel::Receiver<()>,
}

/// The local server. Clones are the same one; it stops when all are dropped.
#[derive(Clone)]
pub struct PlayerServer {
    shared: Arc<Shared>,
    events: async_channel::Receiver<PlayerEvent>,
    _stop: async_channel::Sender<()>,
}

impl std::fmt::Debug for PlayerServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PlayerServer").field("bound", &self.shared.bound).finish_non_exhaustive()
    }
}

impl PlayerServer {
    /// Listens, and serves in the background.
    ///
    /// # Errors
    ///
    /// The address cannot be listened on.
    pub fn bind<R: Runtime>(runtime: &R, config: PlayerConfig) -> io::Result<Self> {
        let listen = config.listen;
        let mut listener = runtime
            .listen(listen)
            .map_err(|e| io::Error::new(e.kind(), format!("cannot listen on TCP {listen}: {e}")))?;
        let bound = listener.local_addr()?;
        let token = data_encoding::BASE64URL_NOPAD.encode(&runtime.random::<16>()?);
        let (stop, stopped) = async_channel::bounded(1);
        let (news, events) = async_channel::bounded(MAX_EVENTS);
        tell(&news, PlayerEvent::Ready { local: bound });
        let shared = Arc::new(Shared {
            token,
            bound,
            config,
            hubs: Mutex::default(),
            news,
            connections: AtomicUsize::new(0),
            stop: stopped.clone(),
        });
        let (runtime, server) = (runtime.clone(), shared.clone());
        runtime.clone().spawn(Box::pin(async move {
            loop {
                let accepted = futures_lite::future::or(async { Some(listener.accept().await) }, async {
                    // Ends only with an error, because nothing is ever sent.
                    let _ = stopped.recv().await;
                    None
                })
                .await;
                match accepted {
                    Some(Ok((tcp, _))) => {
                        if server.connections.fetch_add(1, Ordering::Relaxed) >= server.config.max_connections
                        {
                            server.connections.fetch_sub(1, Ordering::Relaxed);
                            tracing::warn!("a player was turned away: too many connections");
                            continue;
                        }
                        let (connection, runtime2) = (server.clone(), runtime.clone());
                        runtime.spawn(Box::pin(async move {
                            serve(&runtime2, &connection, tcp).await;
                            connection.connections.fetch_sub(1, Ordering::Relaxed);
                        }));
                    }
                    // Out of file handles, or a client that left at once: the next one may have more luck.
                    Some(Err(e)) => {
                        tracing::debug!("cannot accept a player: {e}");
                        tell(&server.news, PlayerEvent::Error { code: SERVER_ERROR, reason: e.to_string() });
                        crate::runtime::sleep(&runtime, Duration::from_millis(50)).await;
                    }
                    None => break,
                }
            }
        }));
        Ok(Self { shared, events, _stop: stop })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.shared.bound
    }

    /// News of the server. Nothing is lost between [`bind`](Self::bind) and the first event, up to 256 of them.
    pub fn events(&self) -> async_channel::Receiver<PlayerEvent> {
        self.events.clone()
    }

    /// Serves `hub` under `id`, in place of what was there.
    pub fn insert(&self, id: &str, hub: Hub) {
        self.shared.hubs().insert((id.to_owned(), None), hub);
    }

    /// Serves `hub` under `id` to players that ask for this action (`live`, `playback`).
    pub fn insert_action(&self, id: &str, action: &str, hub: Hub) {
        self.shared.hubs().insert((id.to_owned(), Some(action.to_owned())), hub);
    }

    /// Serves nothing under `id` any more. Players that are connected stay until the hub ends.
    pub fn remove(&self, id: &str) {
        self.shared.hubs().retain(|(known, _), _| known != id);
    }

    /// Where the numbers of all streams are told.
    pub fn stat_url(&self) -> String {
        format!("http://{}/{}/stat", crate::event_loop::reachable(self.shared.bound), self.shared.token)
    }

    /// Where sharing is switched, with `?upload=on|off&download=on|off` behind it.
    pub fn feature_url(&self) -> String {
        format!("http://{}/{}/feature", crate::event_loop::reachable(self.shared.bound), self.shared.token)
    }

    /// Where the web page is, if there is one.
    pub fn page_url(&self) -> String {
        format!("http://{}/{}/", crate::event_loop::reachable(self.shared.bound), self.shared.token)
    }

    /// The URL of stream `id` when it is not that of a camera.
    pub fn stream_url(&self, id: &str) -> String {
        let bound = crate::event_loop::reachable(self.shared.bound);
        format!("http://{bound}/{}/{}/stream.flv", self.shared.token, encode_id(id))
    }

    /// The URL of the same as [`url`](Self::url) in fragmented MP4, for web pages and for players that want it.
    ///
    /// The `Content-Type` of the answer tells the codecs as Media Source Extensions want to know them. A header
    /// `x-xp2p-notice` says in words what of the stream is left out. When the codecs change, the answer ends, and
    /// another request gives the new ones.
    pub fn mp4_url(&self, id: &str, query: &str) -> String {
        let bound = crate::event_loop::reachable(self.shared.bound);
        format!("http://{bound}/{}/{}/live.mp4?{query}", self.shared.token, encode_id(id))
    }

    /// The URL of stream `id` with a query such as `action=live&channel=0&quality=high`.
    pub fn url(&self, id: &str, query: &str) -> String {
        let bound = crate::event_loop::reachable(self.shared.bound);
        format!("http://{bound}/{}/{}/ipc.flv?{query}", self.shared.token, encode_id(id))
    }
}

impl Shared {
    fn hubs(&self) -> MutexGuard<'_, BTreeMap<(String, Option<String>), Hub>> {
        self.hubs.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// The stream that a player asks for. Nothing is started for who wants the head only.
    async fn open(&self, id: &str, query: &str, head: bool) -> Result<Hub, (StatusCode, String)> {
        let opened = match &self.config.open {
            Some(open) if !head => open(id.to_owned(), query.to_owned()).await?,
            _ => None,
        };
        opened
            .or_else(|| self.hub(id, query))
            .ok_or_else(|| (StatusCode::NOT_FOUND, "there is no such stream\n".to_owned()))
    }

    fn hub(&self, id: &str, query: &str) -> Option<Hub> {
        let action = query.split('&').find_map(|pair| pair.strip_prefix("action="));
        let hubs = self.hubs();
        let of = |action: Option<&str>| hubs.get(&(id.to_owned(), action.map(str::to_owned))).cloned();
        action.and_then(|action| of(Some(action))).or_else(|| of(None))
    }
}

async fn serve<R: Runtime>(runtime: &R, shared: &Arc<Shared>, tcp: R::Tcp) {
    let service = service_fn(|request| {
        let (runtime, shared) = (runtime.clone(), shared.clone());
        async move { Ok::<_, Infallible>(answer(&runtime, &shared, request).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(HyperTimer(runtime.clone()))
        .header_read_timeout(HEAD_TIMEOUT)
        .half_close(false)
        .serve_connection(HyperIo::new(tcp), service);
    let stopped = async {
        // Ends only with an error, because nothing is ever sent.
        let _ = shared.stop.recv().await;
        Ok(())
    };
    if let Err(e) = futures_lite::future::or(connection, stopped).await {
        tracing::debug!("a player's connection ended: {e}");
    }
}

async fn answer<R: Runtime>(
    runtime: &R,
    shared: &Shared,
    mut request: Request<Incoming>,
) -> Response<PlayerBody> {
    // HTTP/1.0 players may send no Host; a browser always does, and only browsers can be tricked.
    let host = request.headers().get(HOST).map(|h| h.to_str().unwrap_or_default());
    let ours = host.map_or(request.version() == hyper::Version::HTTP_10, |h| is_our_host(h, shared.bound));
    if !ours {
        return text(
            StatusCode::FORBIDDEN,
            "the Host header must name the address that this server listens on\n",
        );
    }
    let path = request.uri().path().to_owned();
    let wanted = wanted(&path, &shared.token);
    let is_page = matches!(wanted, Wanted::Page { .. });
    let origin = request.headers().get(ORIGIN);
    let allowed = match origin {
        None => None,
        Some(o) if page::is_own_origin(o, host) => None,
        Some(o) => {
            let named = o.to_str().is_ok_and(|o| shared.config.allow_origins.iter().any(|a| a == o));
            // Who may play may not steer.
            if !named || is_page {
                return text(
                    StatusCode::FORBIDDEN,
                    "web pages of this origin may not play; start with --allow-origin ORIGIN to let them\n",
                );
            }
            Some(o.clone())
        }
    };
    if let (Wanted::Page { rest }, Some(source)) = (&wanted, &shared.config.page) {
        return page(runtime, source, rest, &mut request).await;
    }
    let mut response = match *request.method() {
        Method::GET | Method::HEAD => get(runtime, shared, &request, wanted).await,
        Method::OPTIONS => {
            let mut response = text(StatusCode::NO_CONTENT, "");
            let headers = response.headers_mut();
            headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD, OPTIONS"));
            if allowed.is_some() {
                headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, HEAD, OPTIONS"));
                headers.insert(
                    ACCESS_CONTROL_ALLOW_HEADERS,
                    HeaderValue::from_static("range, if-modified-since"),
                );
                if request.headers().contains_key("access-control-request-private-network") {
                    headers.insert("access-control-allow-private-network", HeaderValue::from_static("true"));
                }
            }
            response
        }
        _ => {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET, HEAD and OPTIONS\n");
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD, OPTIONS"));
            response
        }
    };
    if let Some(origin) = allowed {
        response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        response.headers_mut().insert(VARY, HeaderValue::from_static("Origin"));
        if response.headers().contains_key(live::NOTICE) {
            // Pages see only the headers that they are shown.
            response.headers_mut().insert(ACCESS_CONTROL_EXPOSE_HEADERS, live::NOTICE.into());
        }
    }
    response
}

/// Asks the page, once it is clear that who asks may.
async fn page<R: Runtime>(
    runtime: &R,
    source: &PageSource,
    path: &str,
    request: &mut Request<Incoming>,
) -> Response<PlayerBody> {
    if let Some((status, words)) = page::refusal(request.method(), path, request.headers()) {
        return text(status, words);
    }
    let body = futures_lite::future::or(page::read(request.body_mut()), async {
        crate::runtime::sleep(runtime, HEAD_TIMEOUT).await;
        None
    });
    let Some(body) = body.await else {
        return text(StatusCode::PAYLOAD_TOO_LARGE, "at most 64 KiB, within 10 seconds\n");
    };
    let head = request.method() == Method::HEAD;
    let asked = PageRequest {
        method: if head { Method::GET } else { request.method().clone() },
        path: path.to_owned(),
        query: request.uri().query().unwrap_or_default().to_owned(),
        body,
    };
    source(asked).await.map(|body| if head { PlayerBody::Text(None) } else { PlayerBody::Page(body) })
}

async fn get<R: Runtime>(
    runtime: &R,
    shared: &Shared,
    request: &Request<Incoming>,
    wanted: Wanted<'_>,
) -> Response<PlayerBody> {
    let head = request.method() == Method::HEAD;
    match &wanted {
        Wanted::Nothing | Wanted::Page { .. } => text(
            StatusCode::NOT_FOUND,
            "there is nothing here; open the whole address that xp2p has printed, with the random word in it\n",
        ),
        Wanted::Stat => {
            let json = match &shared.config.stat {
                Some(stat) => stat().await,
                None => "{}".to_owned(),
            };
            json_answer(json)
        }
        Wanted::Feature => {
            let Some(switch) = &shared.config.feature else {
                return text(StatusCode::NOT_FOUND, "there is nothing here to switch\n");
            };
            match Feature::parse(request.uri().query().unwrap_or_default()) {
                // Whoever asks for the head only must not change anything (RFC 9110, section 9.3.2).
                Some(_) if head => json_answer(String::new()),
                Some(change) => json_answer(switch(change).await.to_json()),
                None => text(StatusCode::BAD_REQUEST, "say upload=on|off, download=on|off, or both\n"),
            }
        }
        Wanted::Flv { id } | Wanted::Mp4 { id } => {
            let hub = match shared.open(id, request.uri().query().unwrap_or_default(), head).await {
                Ok(hub) => hub,
                Err((status, words)) => return answer::words(status, PlayerBody::Text(Some(words.into()))),
            };
            let pull = || Pull::begin(id, &shared.news);
            match (&wanted, head) {
                (Wanted::Mp4 { .. }, true) => live::head(runtime, &hub).await,
                (Wanted::Mp4 { .. }, false) => live::get(&hub, pull()).await,
                (_, true) => answer::flv(PlayerBody::Text(None)),
                (_, false) => answer::flv(PlayerBody::Stream(Box::new(hub.subscribe()), pull())),
            }
        }
    }
}

fn json_answer(json: String) -> Response<PlayerBody> {
    let mut response = text(StatusCode::OK, "");
    *response.body_mut() = PlayerBody::Text(Some(json.into()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn text(status: StatusCode, text: &'static str) -> Response<PlayerBody> {
    answer::words(status, PlayerBody::Text(Some(Bytes::from_static(text.as_bytes()))))
}
