//! Reads streams that members of swarms watch, as an ordinary client of their origin, and signs what it sees: one copy of each
//! stream for the server, and the origin need not know anything.
//!
//! Members name the URL, so it is no more than a wish: only hosts that the operator allows are read, at public addresses, without
//! anybody's user name, password or signature, as many streams and as many bytes per second as configured.

mod reader;
mod url;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use xp2p_proto::keys::SecretKey;
use xp2p_proto::server::ServerEvent;
use xp2p_proto::swarm::StreamId;

use crate::origin::client::{AddressPolicy, HostPattern, OriginClient, OriginConfig};
use crate::runtime::Runtime;
use crate::server::ServerHandle;

/// Most events that wait for the application; the oldest are dropped then.
const MAX_EVENTS: usize = 256;
/// Most streams that wait for a place.
const MAX_WAITING: usize = 1_000;

/// Configuration of a [`Witness`].
#[derive(Debug, Clone)]
pub struct WitnessConfig {
    /// Signs; see [`SecretKey::for_streams`].
    pub key: SecretKey,
    /// Which hosts it may read. None: no stream is witnessed.
    pub allow: Vec<HostPattern>,
    /// What is appended to the query of URLs of these hosts: the operator's own permission to read there. The first pattern that
    /// matches counts.
    pub queries: Vec<(HostPattern, String)>,
    /// Most streams at a time. Default 16.
    pub max_streams: usize,
    /// Most bytes per second of one stream, over 10 s. A stream that has more is not witnessed. Default 2,500,000.
    pub max_rate: u64,
    /// How origins are read. Its policy is replaced by one that follows from `allow`.
    pub origin: OriginConfig,
}

impl WitnessConfig {
    /// The defaults, which allow nothing.
    pub fn new(key: SecretKey) -> Self {
        Self {
            key,
            allow: Vec::new(),
            queries: Vec::new(),
            max_streams: 16,
            max_rate: 2_500_000,
            origin: OriginConfig::default(),
        }
    }
}

/// News of a [`Witness`]. No URL holds a signature, a user or a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WitnessEvent {
    /// A stream is read and signed.
    Began {
        /// The stream.
        stream: StreamId,
        /// Where it is read.
        url: String,
    },
    /// A stream is not signed, so its members stay with the origin.
    Refused {
        /// The stream.
        stream: StreamId,
        /// Why.
        reason: String,
    },
    /// A stream cannot be read at this moment; it is tried again.
    Trouble {
        /// The stream.
        stream: StreamId,
        /// Why.
        reason: String,
    },
    /// A stream is read no longer, because nobody watches it.
    Ended {
        /// The stream.
        stream: StreamId,
    },
}

/// Counters of a [`Witness`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WitnessStats {
    /// Streams that are read at present, or tried.
    pub streams: usize,
    /// Streams that wait for a place.
    pub waiting: usize,
    /// Streams that were refused so far.
    pub refused: u64,
    /// Bytes so far that origins have sent, with HTTP and TLS around them: traffic of the server that no viewer sees.
    pub bytes: u64,
}

/// A stream that is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witnessed {
    /// The stream.
    pub stream: StreamId,
    /// Where it is read.
    pub url: String,
    /// Whether the connection is open at present.
    pub open: bool,
    /// Bytes so far, as [`WitnessStats::bytes`].
    pub bytes: u64,
}

/// A stream in work.
#[derive(Debug)]
struct Running {
    url: String,
    reading: Arc<reader::Reading>,
    /// Ends the reader when it is dropped.
    _stop: async_channel::Sender<()>,
}

#[derive(Debug, Default)]
struct State {
    running: BTreeMap<StreamId, Running>,
    /// Where those come from that are wanted while all places are taken.
    waiting: BTreeMap<StreamId, String>,
    /// Those that are signed by somebody else in this process.
    signed_elsewhere: BTreeSet<StreamId>,
}

#[derive(Debug)]
struct Shared<R> {
    runtime: R,
    server: ServerHandle,
    client: OriginClient<R>,
    config: WitnessConfig,
    state: Mutex<State>,
    refused: AtomicU64,
    bytes: AtomicU64,
    events: async_channel::Sender<WitnessEvent>,
}

/// Witnesses the streams of one server. Clones are the same one; it ends when all are dropped.
#[derive(Debug, Clone)]
pub struct Witness<R: Runtime>(Arc<Shared<R>>);

impl<R: Runtime> Witness<R> {
    /// A witness for the tracker of `server`. Also returns what there is to tell.
    pub fn new(
        runtime: &R,
        server: &ServerHandle,
        config: WitnessConfig,
    ) -> (Self, async_channel::Receiver<WitnessEvent>) {
        let (events, receiver) = async_channel::bounded(MAX_EVENTS);
        let policy = AddressPolicy::Public { allow: config.allow.clone() };
        let client = OriginClient::new(runtime, OriginConfig { policy, ..config.origin.clone() });
        let shared = Shared {
            runtime: runtime.clone(),
            server: server.clone(),
            client,
            config,
            state: Mutex::default(),
            refused: AtomicU64::default(),
            bytes: AtomicU64::default(),
            events,
        };
        (Self(Arc::new(shared)), receiver)
    }

    /// These are signed by somebody else in this process, such as our own origin.
    pub fn leave_out(&self, streams: &[StreamId]) {
        self.0.lock().signed_elsewhere.extend(streams);
    }

    /// Takes in an event of the server. It does not wait.
    pub fn handle(&self, event: &ServerEvent) {
        match event {
            ServerEvent::StreamWanted { stream, url } => self.wanted(*stream, url.as_deref()),
            ServerEvent::StreamUnwanted { stream } => self.unwanted(*stream),
            _ => {}
        }
    }

    /// What it has done so far.
    pub fn stats(&self) -> WitnessStats {
        let state = self.0.lock();
        WitnessStats {
            streams: state.running.len(),
            waiting: state.waiting.len(),
            refused: self.0.refused.load(Ordering::Relaxed),
            bytes: self.0.bytes.load(Ordering::Relaxed),
        }
    }

    /// The streams that are read.
    pub fn streams(&self) -> Vec<Witnessed> {
        let state = self.0.lock();
        let one = |(stream, running): (&StreamId, &Running)| Witnessed {
            stream: *stream,
            url: running.url.clone(),
            open: running.reading.is_open(),
            bytes: running.reading.bytes(),
        };
        state.running.iter().map(one).collect()
    }

    fn wanted(&self, stream: StreamId, url: Option<&str>) {
        let shared = &self.0;
        if shared.lock().signed_elsewhere.contains(&stream) {
            return;
        }
        let Some(url) = url else { return };
        let checked = url::plain(url).and_then(|url| shared.client.check(&url).map(|()| url));
        let url = match checked {
            Ok(url) => url,
            Err(e) => return shared.refuse(stream, e.to_string()),
        };
        let mut state = shared.lock();
        if state.running.contains_key(&stream) || state.waiting.contains_key(&stream) {
            return;
        }
        if state.running.len() < shared.config.max_streams {
            Shared::start(shared, &mut state, stream, url);
            return;
        }
        if state.waiting.len() < MAX_WAITING {
            state.waiting.insert(stream, url);
        }
        drop(state);
        shared.refuse(
            stream,
            format!("{} streams are read already, which is the limit", shared.config.max_streams),
        );
    }

    fn unwanted(&self, stream: StreamId) {
        let mut state = self.0.lock();
        state.waiting.remove(&stream);
        if state.running.remove(&stream).is_some() {
            self.0.tell(WitnessEvent::Ended { stream });
            Shared::next(&self.0, &mut state);
        }
    }
}

impl<R: Runtime> Shared<R> {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics half-way, so what a poisoned lock holds is whole.
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn tell(&self, event: WitnessEvent) {
        tracing::debug!(?event, "witness");
        // An application that does not listen loses the oldest, and then the channel itself.
        let _ = self.events.force_send(event);
    }

    fn refuse(&self, stream: StreamId, reason: String) {
        self.refused.fetch_add(1, Ordering::Relaxed);
        self.tell(WitnessEvent::Refused { stream, reason });
    }

    fn start(this: &Arc<Self>, state: &mut State, stream: StreamId, url: String) {
        let (stop, stopped) = async_channel::bounded::<()>(1);
        let reading = Arc::new(reader::Reading::default());
        let running = Running { url: url.clone(), reading: reading.clone(), _stop: stop };
        state.running.insert(stream, running);
        // The task must not keep the witness alive, or it would never end.
        let (shared, runtime) = (Arc::downgrade(this), this.runtime.clone());
        let job = reader::Job {
            runtime: this.runtime.clone(),
            server: this.server.machine().clone().downgrade(),
            client: this.client.clone(),
            request: this.request(&url),
            url,
            stream,
            key: this.config.key.clone(),
            max_rate: this.config.max_rate,
            reading: reading.clone(),
        };
        let counters = shared.clone();
        runtime.spawn(Box::pin(async move {
            let stopped = async {
                // Ends only with an error, because nothing is ever sent.
                let _ = stopped.recv().await;
                None
            };
            let tell = move |event: reader::News| {
                if let Some(shared) = counters.upgrade() {
                    match event {
                        reader::News::Bytes(n) => {
                            shared.bytes.fetch_add(n, Ordering::Relaxed);
                        }
                        reader::News::Event(event) => shared.tell(event),
                    }
                }
            };
            let ended = futures_lite::future::or(stopped, async { Some(job.run(tell).await) }).await;
            let (Some(reason), Some(shared)) = (ended, shared.upgrade()) else { return };
            shared.refuse(stream, reason);
            let mut state = shared.lock();
            // The stream may have been given up and begun anew meanwhile.
            if state.running.get(&stream).is_some_and(|r| Arc::ptr_eq(&r.reading, &reading)) {
                state.running.remove(&stream);
                Self::next(&shared, &mut state);
            }
        }));
    }

    /// A place is free.
    fn next(this: &Arc<Self>, state: &mut State) {
        if let Some((stream, url)) = state.waiting.pop_first() {
            Self::start(this, state, stream, url);
        }
    }

    /// The URL with the operator's own permission.
    fn request(&self, url: &str) -> String {
        let own = self.config.queries.iter().find(|(pattern, _)| pattern.covers(url));
        own.map_or_else(|| url.to_owned(), |(_, query)| url::with_query(url, query))
    }
}
