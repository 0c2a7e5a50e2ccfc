//! A stream on its way to players, recorders and programs.
//!
//! A [`Hub`] takes tags in once and gives them to any number of [`Subscription`]s, each of which begins with a picture.
//! [`PlayerServer`] serves hubs over HTTP: as FLV to media players, as fragmented MP4 to web pages and to players that
//! like it better.

pub(crate) mod answer;
mod body;
mod config;
mod event;
mod feature;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod http;
mod hub;
mod intake;
mod io;
mod live;
mod mp4;
mod page;
mod path;

pub use self::config::{PlayerConfig, StatSource};
pub use self::event::{PlayerEvent, SERVER_ERROR};
pub use self::feature::{Feature, FeatureSwitch, Sharing};
pub use self::http::PlayerServer;
pub use self::hub::{Hub, HubStats, MAX_QUEUE, Subscription};
pub(crate) use self::intake::Intake;
pub(crate) use self::io::{HyperIo, HyperTimer};
pub use self::page::{MAX_PAGE_BODY, OpenStream, PageBody, PageRequest, PageSource};
pub(crate) use self::path::encode_id;
