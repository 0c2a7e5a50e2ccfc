//! The page of one camera.

use std::sync::Arc;

use hyper::{Method, Response, StatusCode};
use serde_json::{Value, json};
use xp2p_proto::command::{BuiltIn, CommandOutcome};
use xp2p_proto::error::ErrorCode;
use xp2p_proto::info::{Feature, Rights, Version, Xp2pInfo};
use xp2p_proto::request::Live;
use xp2p_proto::viewer::{ServiceId, StreamKey};

use super::answer::{Outcome, Problem, channel, json_answer, outcome, query};
use super::state::{News, features};
use super::streams::Streams;
use super::talk::Talks;
use super::{command, file, records, web};
use crate::player::{Hub, PageBody, PageRequest, PlayerConfig};
use crate::runtime::Runtime;
use crate::viewer::{ServiceEvent, StatStream, ViewerHandle};

/// Whose page it is.
#[derive(Debug, Clone)]
pub struct CameraAbout {
    /// Under which id players find its streams.
    pub id: String,
    /// The device's version, which decides what it can do.
    pub version: Version,
    /// What the viewer may; `None`: that is not known.
    pub rights: Option<Rights>,
    /// The stream that runs anyway.
    pub live: Live,
    /// Its name within the viewer.
    pub stream: StreamKey,
    /// Where its tags go.
    pub hub: Hub,
}

impl CameraAbout {
    /// That of the camera of an xp2pInfo, of which no more than version and rights are kept.
    pub fn new(id: &str, info: &Xp2pInfo, live: Live, stream: StreamKey, hub: Hub) -> Self {
        let rights = info.capability().map(|capability| capability.rights());
        Self { id: id.to_owned(), version: info.version(), rights, live, stream, hub }
    }
}

struct Inner<R> {
    viewer: ViewerHandle<R>,
    service: ServiceId,
    about: CameraAbout,
    streams: Streams<R>,
    talks: Talks,
    news: News,
}

/// The page of one camera: `/TOKEN/`, `/TOKEN/page/...` and `/TOKEN/api/...` of a local server. Clones are the same.
pub struct CameraPage<R>(Arc<Inner<R>>);

impl<R> Clone for CameraPage<R> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<R> std::fmt::Debug for CameraPage<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CameraPage").field("id", &self.0.about.id).finish_non_exhaustive()
    }
}

impl<R: Runtime> CameraPage<R> {
    /// The page of a service that was started, and of the live stream that was started on it.
    pub fn new(viewer: &ViewerHandle<R>, service: ServiceId, about: CameraAbout) -> Self {
        let streams = Streams::new(viewer.clone(), service, about.live.clone(), about.hub.clone());
        let news = News::new(viewer.runtime().unix_time().as_secs());
        let (viewer, talks) = (viewer.clone(), Talks::default());
        Self(Arc::new(Inner { viewer, service, about, streams, talks, news }))
    }

    /// Lets a local server show the page, and start the streams that players ask for.
    pub fn attach(&self, config: &mut PlayerConfig) {
        let page = self.clone();
        config.page = Some(Arc::new(move |request| {
            let page = page.clone();
            Box::pin(async move { page.answer(request).await })
        }));
        let page = self.clone();
        config.open = Some(Arc::new(move |id, query| {
            let page = page.clone();
            Box::pin(async move {
                if id != page.0.about.id {
                    return Ok(None);
                }
                let opened = page.0.streams.open(&query).await;
                opened.map(Some).map_err(|p| (p.status, format!("{}\n", p.message)))
            })
        }));
    }

    /// Takes in the news of the service, which whoever started it gets.
    pub fn note(&self, event: &ServiceEvent) {
        // What the camera says to other streams, their players are told.
        if matches!(event, ServiceEvent::Parsed { stream, .. } if *stream != self.0.about.stream) {
            return;
        }
        self.0.news.note(self.0.viewer.runtime().unix_time().as_secs(), event);
    }

    async fn answer(&self, request: PageRequest) -> Response<PageBody> {
        let Some(question) = request.path.strip_prefix("api/") else { return web::file(&request.path) };
        if (question, &request.method) == ("file", &Method::GET) {
            return self.file(&request.query).await.unwrap_or_else(|problem| problem.answer());
        }
        outcome(self.ask(question, &request).await)
    }

    async fn ask(&self, question: &str, request: &PageRequest) -> Outcome {
        let inner = &*self.0;
        let (get, post) = (request.method == Method::GET, request.method == Method::POST);
        match question {
            "state" if get => self.state().await,
            "command" if post => {
                self.require(Feature::Command)?;
                let (wanted, timeout) = command::parse(&request.body)?;
                let told = inner.viewer.command(inner.service, wanted, Some(timeout)).await?;
                Ok(command::told(&told))
            }
            "ptz" if post => {
                self.require(Feature::Command)?;
                let wanted = command::parse_ptz(&request.body)?;
                Ok(command::told(&inner.viewer.command(inner.service, wanted, None).await?))
            }
            "records/month" if get => {
                let params = query(&request.query)?;
                let channel = channel(&params)?;
                let answer = self.listing(channel, records::month(&params)?).await?;
                records::month_told(channel, records::data(&answer)?)
            }
            "records/day" if get => {
                let params = query(&request.query)?;
                let (channel, day) = (channel(&params)?, records::day(&params)?);
                let answer = self.listing(channel, day.question()).await?;
                day.told(channel, records::data(&answer)?)
            }
            "files" if get => {
                let params = query(&request.query)?;
                let channel = channel(&params)?;
                let answer = self.listing(channel, records::files(&params)?).await?;
                records::files_told(channel, records::data(&answer)?)
            }
            "talk/start" if post => {
                self.require(Feature::Voice)?;
                inner.talks.start(&inner.viewer, inner.service, &request.body).await
            }
            "talk" if post => inner.talks.say(&query(&request.query)?, &request.body),
            "talk/stop" if post => inner.talks.stop(inner.viewer.runtime(), &query(&request.query)?).await,
            _ => Err(Problem::unknown()),
        }
    }

    async fn listing(&self, channel: u32, question: BuiltIn) -> Result<CommandOutcome, Problem> {
        self.require(Feature::Command)?;
        let command = question.to_command(channel);
        Ok(self.0.viewer.command(self.0.service, command, None).await?)
    }

    async fn file(&self, text: &str) -> Result<Response<PageBody>, Problem> {
        self.require(Feature::Download)?;
        let wanted = file::wanted(&query(text)?)?;
        file::send(&self.0.viewer, self.0.service, wanted).await
    }

    fn require(&self, feature: Feature) -> Result<(), Problem> {
        let old = |e: xp2p_proto::info::VersionTooLow| {
            Problem::new(StatusCode::NOT_IMPLEMENTED, Some(ErrorCode::DeviceVersionTooLow), e.to_string())
        };
        self.0.about.version.require(feature).map_err(old)
    }

    async fn state(&self) -> Outcome {
        let inner = &*self.0;
        // In the background: nobody waits for a camera that does not answer.
        let (news, viewer, service) = (inner.news.clone(), inner.viewer.clone(), inner.service);
        inner.viewer.runtime().spawn(Box::pin(async move { news.ask(&viewer, service).await }));
        let about = &inner.about;
        let main = StatStream { action: "live", key: about.stream, hub: about.hub.clone() };
        let more = inner.streams.list().into_iter();
        let more = more.map(|(action, key, hub)| StatStream { action, key, hub });
        let streams = std::iter::once(main).chain(more).collect();
        let mut told = inner.viewer.stat(&about.id, inner.service, streams).await?.to_json();
        let first = told["streams"][0]["first_keyframe_ms"].clone();
        let more = [
            ("kind", json!("camera")),
            ("version", json!(about.version.to_string())),
            ("features", features(about.version, about.rights)),
            ("main", json!({ "channel": about.live.channel, "quality": about.live.quality.name() })),
            ("first_picture_ms", first),
            ("talking", json!(inner.talks.is_on())),
            ("more_streams", json!(inner.streams.count())),
        ];
        if let (Value::Object(told), Value::Object(news)) = (&mut told, inner.news.told()) {
            told.extend(news);
            told.extend(more.map(|(name, value)| (name.to_owned(), value)));
        }
        Ok(told)
    }
}

/// An answer for a page whose kind does not have this.
pub(super) fn not_here(what: &str) -> Response<PageBody> {
    json_answer(StatusCode::NOT_FOUND, &json!({ "error": { "code": null, "message": what } }))
}
