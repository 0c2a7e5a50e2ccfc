//! How a camera's connection is, in words and numbers.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use xp2p_proto::command::{BuiltIn, CommandOutcome, NvrList, Reply};
use xp2p_proto::info::{Feature, Right, Rights, Version};
use xp2p_proto::link::PathKind;
use xp2p_proto::request::Reason;
use xp2p_proto::viewer::ServiceId;

use crate::runtime::Runtime;
use crate::viewer::{ServiceEvent, ViewerHandle};

/// Most messages of the camera that are kept; the oldest go first.
const MAX_MESSAGES: usize = 8;
/// Longest message that is kept, in characters.
const MAX_MESSAGE: usize = 1_000;
/// A camera that did not say who it is is asked again after so long.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// What is known of the device itself.
#[derive(Debug, Clone, Default)]
struct Device {
    product: Option<String>,
    name: Option<String>,
    /// Number, name, and whether pictures come from it.
    channels: Option<Vec<(u32, String, bool)>>,
    asked: Option<Instant>,
}

#[derive(Debug)]
struct Inner {
    state: &'static str,
    words: String,
    /// When it became so, unix seconds.
    since: u64,
    messages: VecDeque<(u64, String)>,
    device: Device,
}

/// The last news of a service. Clones are the same.
#[derive(Debug, Clone)]
pub(super) struct News(Arc<Mutex<Inner>>);

impl News {
    pub(super) fn new(now: u64) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            state: "connecting",
            words: "connecting to the camera".to_owned(),
            since: now,
            messages: VecDeque::new(),
            device: Device::default(),
        })))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Takes news in.
    pub(super) fn note(&self, now: u64, event: &ServiceEvent) {
        let (state, words) = match event {
            ServiceEvent::Connected { .. } => ("connected", "the camera is connected".to_owned()),
            ServiceEvent::Path(PathKind::Direct) => {
                ("connected", "the camera is reached directly".to_owned())
            }
            ServiceEvent::Path(PathKind::Relay) => {
                ("connected", "the camera is reached over the relay of its server".to_owned())
            }
            ServiceEvent::Path(PathKind::RelayTcp) => (
                "connected",
                "the camera is reached over the relay of its server by TCP, because UDP does not get through"
                    .to_owned(),
            ),
            ServiceEvent::Reconnecting(reason) => ("reconnecting", format!("{reason}; trying to come back")),
            ServiceEvent::Disconnect { reason, .. } => {
                ("over", format!("{reason}; start xp2p again to go on"))
            }
            ServiceEvent::Parsed { status, headers, .. } if *status != 200 => {
                let reason = headers.reason.as_ref().map_or("no reason given", Reason::as_str);
                ("connected", format!("the camera refuses ({status}): {reason}"))
            }
            ServiceEvent::Message { text, .. } => {
                let mut inner = self.lock();
                if inner.messages.len() >= MAX_MESSAGES {
                    inner.messages.pop_front();
                }
                inner.messages.push_back((now, text.chars().take(MAX_MESSAGE).collect()));
                return;
            }
            _ => return,
        };
        let mut inner = self.lock();
        (inner.state, inner.words, inner.since) = (state, words, now);
    }

    /// Asks the camera who it is, once it can be asked and was not asked lately.
    pub(super) async fn ask<R: Runtime>(&self, viewer: &ViewerHandle<R>, service: ServiceId) {
        let now = viewer.runtime().now();
        {
            let mut inner = self.lock();
            let device = &mut inner.device;
            let known = device.name.is_some() && device.channels.is_some();
            let lately = device.asked.is_some_and(|asked| now.saturating_duration_since(asked) < ASK_AGAIN);
            if inner.state != "connected" || known || lately {
                return;
            }
            inner.device.asked = Some(now);
        }
        // Old devices do not know the question: their names stay unknown.
        let info = viewer.device_info(service).await.ok();
        let listed = viewer.command(service, BuiltIn::NvrList.to_command(0), None).await;
        let channels = match listed {
            Ok(CommandOutcome::Success { data }) => NvrList::parse(&data).ok(),
            _ => None,
        };
        let mut inner = self.lock();
        if let Some(info) = info {
            inner.device.product = Some(info.product_id);
            inner.device.name = Some(info.device_name);
        }
        if let Some(list) = channels {
            let channels = list.channels.into_iter().map(|c| (c.channel, c.device_name, c.online));
            inner.device.channels = Some(channels.collect());
        }
    }

    /// All of it.
    pub(super) fn told(&self) -> Value {
        let inner = self.lock();
        let channels = inner.device.channels.as_ref().map(|channels| {
            let told = |(channel, name, online): &(u32, String, bool)| json!({ "channel": channel, "name": name, "online": online });
            channels.iter().map(told).collect::<Vec<_>>()
        });
        let messages: Vec<Value> =
            inner.messages.iter().map(|(at, text)| json!({ "at": at, "text": text })).collect();
        json!({
            "product": inner.device.product,
            "device": inner.device.name,
            "channels": channels,
            "connection": { "state": inner.state, "words": inner.words, "since": inner.since },
            "messages": messages,
        })
    }
}

/// What a device of this version can do, as far as the capability of the viewer allows it.
pub(super) fn features(version: Version, rights: Option<Rights>) -> Value {
    let right = |feature| match feature {
        Feature::Voice | Feature::EchoFreeTalk => Right::Voice,
        Feature::Command => Right::Command,
        Feature::Download => Right::Download,
        Feature::Live | Feature::FastFirstPicture => Right::Live,
    };
    let mut told: Vec<Value> = Feature::ALL
        .into_iter()
        .map(|feature| {
            let old = version.require(feature).err().map(|e| e.to_string());
            let allowed = rights.is_none_or(|rights| rights.contains(right(feature)));
            let why = old.or_else(|| {
                (!allowed).then(|| "this xp2pInfo does not allow it; ask the owner for another".to_owned())
            });
            json!({ "name": key(feature), "words": feature.name(), "available": why.is_none(), "why": why })
        })
        .collect();
    let playback = rights.is_none_or(|rights| rights.contains(Right::Playback));
    let why = (!playback).then_some("this xp2pInfo does not allow it; ask the owner for another");
    told.push(json!({ "name": "playback", "words": "recordings", "available": playback, "why": why }));
    told.into()
}

fn key(feature: Feature) -> &'static str {
    match feature {
        Feature::Voice => "voice",
        Feature::Live => "live",
        Feature::Command => "command",
        Feature::Download => "download",
        Feature::EchoFreeTalk => "echo_free_talk",
        Feature::FastFirstPicture => "fast_first_picture",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news_become_words() {
        let news = News::new(5);
        assert_eq!(news.told()["connection"]["state"], "connecting");
        news.note(6, &ServiceEvent::Connected { rtt: Duration::ZERO });
        news.note(7, &ServiceEvent::Path(PathKind::Direct));
        let told = news.told();
        assert_eq!(
            told["connection"],
            json!({"state": "connected", "words": "the camera is reached directly", "since": 7})
        );
        news.note(8, &ServiceEvent::Reconnecting("no answer for 5 s".to_owned()));
        assert!(news.told()["connection"]["words"].as_str().unwrap().contains("trying to come back"));
    }

    #[test]
    fn features_follow_version_and_rights() {
        let of = |told: &Value, name: &str| {
            let all = told.as_array().unwrap();
            all.iter().find(|f| f["name"] == name).unwrap()["available"] == true
        };
        let all = features(Version::CURRENT, None);
        assert!(of(&all, "voice") && of(&all, "playback") && of(&all, "fast_first_picture"));
        let old = features(Version::new(2, 3, 0), Some("live".parse().unwrap()));
        assert!(of(&old, "live") && !of(&old, "fast_first_picture") && !of(&old, "voice"));
        assert!(!of(&old, "playback"));
    }
}
