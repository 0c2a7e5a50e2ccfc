//! What a request asks for.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use super::head::{HeadError, RequestHead};
use super::params::{Params, ParamsError};
use super::text::printable;
use super::{MAX_ARGUMENT, MAX_COMMAND, MAX_FILE_NAME, MAX_REQUESTER, MAX_USER_ARGS, Status};
use crate::error::ErrorCode;
use crate::info::Right;

/// Shortest playback in seconds.
pub const MIN_PLAYBACK: u64 = 5;

const STREAM: &str = "/ipc.flv";
const DOWNLOAD: &str = "/download";
const VOICE: &str = "/voice";
const COMMAND: &str = "/command";

/// Picture quality.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Quality {
    /// `standard`.
    Standard,
    /// `high`, where a request does not say.
    #[default]
    High,
    /// `super`.
    Super,
}

impl Quality {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Standard, Self::High, Self::Super];

    /// The word on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::High => "high",
            Self::Super => "super",
        }
    }
}

impl fmt::Display for Quality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a word is no quality.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the quality must be standard, high or super")]
pub struct QualityError;

impl FromStr for Quality {
    type Err = QualityError;

    fn from_str(text: &str) -> Result<Self, QualityError> {
        Self::ALL.into_iter().find(|q| q.name() == text).ok_or(QualityError)
    }
}

/// What a call carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum CallType {
    /// `audio`, where a request does not say.
    #[default]
    Audio,
    /// `video`: picture and sound.
    Video,
}

impl CallType {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Audio, Self::Video];

    /// The word on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Audio => "audio",
            Self::Video => "video",
        }
    }
}

/// Whose command it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// `inner_define`: one of the documented commands.
    InnerDefine,
    /// `user_define`: free text or JSON that only app and device understand.
    UserDefine,
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::InnerDefine, Self::UserDefine];

    /// The word on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::InnerDefine => "inner_define",
            Self::UserDefine => "user_define",
        }
    }
}

/// `/ipc.flv?action=live` or `live-audio`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Live {
    /// Channel of a recorder with several cameras, from 0.
    pub channel: u32,
    /// Quality.
    pub quality: Quality,
    /// Sound only.
    pub audio_only: bool,
    /// The app's own text for the device: printable, at most [`MAX_USER_ARGS`] bytes.
    pub user_args: Option<String>,
    /// The viewer's role: printable, at most [`MAX_REQUESTER`] bytes.
    pub requester: Option<String>,
}

/// `/ipc.flv?action=playback` or `playback-audio`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Playback {
    /// Channel, from 0.
    pub channel: u32,
    /// First second, unix time.
    pub start_time: u64,
    /// Last second, unix time, at least [`MIN_PLAYBACK`] later.
    pub end_time: u64,
    /// `type`: kind of recording, the device's own numbers.
    pub kind: Option<i64>,
    /// Sound only.
    pub audio_only: bool,
}

/// `/download`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Download {
    /// Channel, from 0.
    pub channel: u32,
    /// Name of the file as the device lists it: printable, 1 to [`MAX_FILE_NAME`] bytes, without `..` as a part.
    pub file_name: String,
    /// First byte to send.
    pub offset: u64,
}

/// `/voice`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Voice {
    /// Channel, from 0.
    pub channel: u32,
    /// What the call carries.
    pub calltype: CallType,
}

/// `/command`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// Whose command it is.
    pub action: Action,
    /// Channel, from 0.
    pub channel: u32,
    /// The command: for [`Action::InnerDefine`] a word of `a-z 0-9 _`, at most 64; else any text of at most
    /// [`MAX_COMMAND`] bytes.
    pub cmd: String,
    /// Its own parameters, printable, at most [`MAX_ARGUMENT`] bytes each.
    pub rest: Params,
}

/// What a viewer asks a camera for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Live pictures or sound.
    Live(Live),
    /// A recording.
    Playback(Playback),
    /// A file.
    Download(Download),
    /// Talk.
    Voice(Voice),
    /// A command.
    Command(Command),
}

/// Why a request is refused. Texts name parameters of this protocol only, or names of printable ASCII.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RequestError {
    /// No such path.
    #[error("unknown path; the paths are {STREAM}, {DOWNLOAD}, {VOICE} and {COMMAND}")]
    UnknownPath,
    /// A parameter is missing.
    #[error("the parameter `{name}` is missing; it must be {allowed}")]
    Missing {
        /// Its name.
        name: &'static str,
        /// What is allowed.
        allowed: &'static str,
    },
    /// A parameter has a bad value.
    #[error("the parameter `{name}` must be {allowed}")]
    Value {
        /// Its name.
        name: String,
        /// What is allowed.
        allowed: &'static str,
    },
    /// A parameter that this request does not have.
    #[error("the parameter `{name}` is unknown here; allowed are {allowed}")]
    Unknown {
        /// Its name.
        name: String,
        /// What is allowed.
        allowed: &'static str,
    },
    /// The parameters cannot be put on the wire.
    #[error(transparent)]
    Params(#[from] ParamsError),
    /// The head is malformed.
    #[error(transparent)]
    Head(HeadError),
}

impl RequestError {
    /// What a caller gets: -2000.
    pub const fn code(&self) -> ErrorCode {
        ErrorCode::Parameter
    }

    /// What a device answers: 404, or 400 when it is no request at all.
    pub const fn status(&self) -> Status {
        match self {
            Self::Head(error) => error.status(),
            _ => Status::NotFound,
        }
    }
}

const CHANNEL: &str = "a number from 0 to 4294967295";
const TIME: &str = "a time in unix seconds";
const LIVE_PARAMS: &str = "action, channel, quality, user_args and requester (put your own into user_args)";
const PLAYBACK_PARAMS: &str = "action, channel, start_time, end_time and type";

impl Request {
    /// Reads a request target: `/ipc.flv?action=live&channel=0`.
    ///
    /// # Errors
    ///
    /// What is wrong with which parameter; code -2000.
    pub fn parse(target: &str) -> Result<Self, RequestError> {
        Self::from_head(&RequestHead::from_target(target).map_err(RequestError::Head)?)
    }

    /// What a head asks for. `channel` is 0, `quality` high, `calltype` audio and `offset` 0 where they are left out.
    ///
    /// # Errors
    ///
    /// What is wrong with which parameter.
    pub fn from_head(head: &RequestHead) -> Result<Self, RequestError> {
        let params = &head.params;
        let request = match head.path() {
            STREAM => {
                let allowed = "live, live-audio, playback or playback-audio";
                match required(params, "action", allowed)? {
                    "live" => Self::Live(live(params, false)?),
                    "live-audio" => Self::Live(live(params, true)?),
                    "playback" => Self::Playback(playback(params, false)?),
                    "playback-audio" => Self::Playback(playback(params, true)?),
                    _ => return Err(value("action", allowed)),
                }
            }
            DOWNLOAD => Self::Download(download(params)?),
            VOICE => Self::Voice(Voice {
                channel: channel(params)?,
                calltype: word(params, "calltype", &CallType::ALL, CallType::name, "audio or video")?
                    .unwrap_or_default(),
            }),
            COMMAND => Self::Command(command(params)?),
            _ => return Err(RequestError::UnknownPath),
        };
        let (known, allowed): (&[&str], _) = match request {
            Self::Live(_) => (&["action", "channel", "quality", "user_args", "requester"], LIVE_PARAMS),
            Self::Playback(_) => (&["action", "channel", "start_time", "end_time", "type"], PLAYBACK_PARAMS),
            Self::Download(_) => {
                (&["action", "channel", "file_name", "offset"], "action, channel, file_name and offset")
            }
            Self::Voice(_) => (&["channel", "calltype"], "channel and calltype"),
            // A command has parameters of its own.
            Self::Command(_) => return request.checked(),
        };
        match params.iter().find(|(name, _)| !known.contains(name)) {
            Some((name, _)) => Err(RequestError::Unknown { name: name.into(), allowed }),
            None => request.checked(),
        }
    }

    /// The head that asks for this, without header fields.
    ///
    /// # Errors
    ///
    /// When a value is not allowed; the same rules as for what comes in.
    pub fn to_head(&self) -> Result<RequestHead, RequestError> {
        self.check()?;
        let mut params = Params::new();
        let path = match self {
            Self::Live(live) => {
                params.push("action", if live.audio_only { "live-audio" } else { "live" })?;
                params.push("channel", live.channel.to_string())?;
                params.push("quality", live.quality.name())?;
                if let Some(args) = &live.user_args {
                    params.push("user_args", args.as_str())?;
                }
                if let Some(requester) = &live.requester {
                    params.push("requester", requester.as_str())?;
                }
                STREAM
            }
            Self::Playback(playback) => {
                params.push("action", if playback.audio_only { "playback-audio" } else { "playback" })?;
                params.push("channel", playback.channel.to_string())?;
                params.push("start_time", playback.start_time.to_string())?;
                params.push("end_time", playback.end_time.to_string())?;
                if let Some(kind) = playback.kind {
                    params.push("type", kind.to_string())?;
                }
                STREAM
            }
            Self::Download(download) => {
                params.push("channel", download.channel.to_string())?;
                params.push("file_name", download.file_name.as_str())?;
                params.push("offset", download.offset.to_string())?;
                DOWNLOAD
            }
            Self::Voice(voice) => {
                params.push("channel", voice.channel.to_string())?;
                params.push("calltype", voice.calltype.name())?;
                VOICE
            }
            Self::Command(command) => {
                params.push("action", command.action.name())?;
                params.push("channel", command.channel.to_string())?;
                params.push("cmd", command.cmd.as_str())?;
                for (name, value) in command.rest.iter() {
                    params.push(name, value)?;
                }
                COMMAND
            }
        };
        RequestHead::new(path, params).map_err(RequestError::Head)
    }

    /// The right that a capability must give for this. A built-in command needs the right of what it belongs to, so
    /// that whoever may only watch can ask whether the device is free, but cannot turn it.
    pub fn right(&self) -> Right {
        match self {
            Self::Live(_) => Right::Live,
            Self::Playback(_) => Right::Playback,
            Self::Download(_) => Right::Download,
            Self::Voice(_) => Right::Voice,
            Self::Command(command) => command.right(),
        }
    }

    /// The channel.
    pub const fn channel(&self) -> u32 {
        match self {
            Self::Live(live) => live.channel,
            Self::Playback(playback) => playback.channel,
            Self::Download(download) => download.channel,
            Self::Voice(voice) => voice.channel,
            Self::Command(command) => command.channel,
        }
    }

    fn checked(self) -> Result<Self, RequestError> {
        self.check().map(|()| self)
    }

    /// The rules that the types do not keep by themselves.
    fn check(&self) -> Result<(), RequestError> {
        match self {
            Self::Live(live) => {
                let text = |name, allowed, text: &Option<String>, max| match text {
                    Some(text) if text.len() > max || !text.chars().all(printable) => {
                        Err(value(name, allowed))
                    }
                    _ => Ok(()),
                };
                text("user_args", "printable text of at most 1024 bytes", &live.user_args, MAX_USER_ARGS)?;
                text("requester", "printable text of at most 64 bytes", &live.requester, MAX_REQUESTER)
            }
            Self::Playback(playback) => match playback.start_time.checked_add(MIN_PLAYBACK) {
                Some(first) if playback.end_time >= first => Ok(()),
                _ => Err(value("end_time", "at least 5 seconds after start_time")),
            },
            Self::Download(download) => {
                let name = &download.file_name;
                let up = name.split(['/', '\\']).any(|part| part == "..");
                if name.is_empty() || name.len() > MAX_FILE_NAME || up || !name.chars().all(printable) {
                    let allowed = "printable text of 1 to 512 bytes without `..` as a part";
                    return Err(value("file_name", allowed));
                }
                Ok(())
            }
            Self::Voice(_) => Ok(()),
            Self::Command(command) => command.check(),
        }
    }
}

impl Command {
    fn check(&self) -> Result<(), RequestError> {
        match self.action {
            Action::InnerDefine => {
                let known = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
                if self.cmd.is_empty() || self.cmd.len() > 64 || !self.cmd.bytes().all(known) {
                    return Err(value("cmd", "a word of 1 to 64 of a-z 0-9 _, like get_device_st"));
                }
            }
            Action::UserDefine => {
                if self.cmd.is_empty() || self.cmd.len() > MAX_COMMAND {
                    return Err(value("cmd", "text of 1 to 16384 bytes"));
                }
            }
        }
        let fits = |text: &str| text.len() <= MAX_ARGUMENT && text.chars().all(printable);
        match self.rest.iter().find(|(_, text)| !fits(text)) {
            Some((name, _)) => Err(value(name, "printable text of at most 1024 bytes")),
            None => Ok(()),
        }
    }

    fn right(&self) -> Right {
        if self.action == Action::UserDefine {
            return Right::Command;
        }
        match self.cmd.as_str() {
            // Asks whether one of these may begin.
            "get_device_st" => match self.rest.get("type") {
                Some("voice") => Right::Voice,
                Some("playback") => Right::Playback,
                _ => Right::Live,
            },
            "get_nvr_list" | "get_device_info" | "request_iframe" => Right::Live,
            "get_record_index" | "get_month_record" => Right::Playback,
            "get_file_list" => Right::Download,
            cmd if cmd.starts_with("playback_") => Right::Playback,
            cmd if cmd.starts_with("call_") => Right::Voice,
            _ => Right::Command,
        }
    }
}

fn live(params: &Params, audio_only: bool) -> Result<Live, RequestError> {
    Ok(Live {
        channel: channel(params)?,
        quality: word(params, "quality", &Quality::ALL, Quality::name, "standard, high or super")?
            .unwrap_or_default(),
        audio_only,
        user_args: params.get("user_args").map(Into::into),
        requester: params.get("requester").map(Into::into),
    })
}

fn playback(params: &Params, audio_only: bool) -> Result<Playback, RequestError> {
    let time = |name| {
        let text = required(params, name, TIME)?;
        decimal(text).ok_or_else(|| value(name, TIME))
    };
    let kind = params.get("type").map(|text| {
        let magnitude = text.strip_prefix('-').unwrap_or(text);
        let digits = !magnitude.is_empty() && magnitude.bytes().all(|b| b.is_ascii_digit());
        text.parse().ok().filter(|_| digits).ok_or_else(|| value("type", "a whole number"))
    });
    Ok(Playback {
        channel: channel(params)?,
        start_time: time("start_time")?,
        end_time: time("end_time")?,
        kind: kind.transpose()?,
        audio_only,
    })
}

fn download(params: &Params) -> Result<Download, RequestError> {
    if params.get("action").is_some_and(|action| action != "download") {
        return Err(value("action", "download, or left out"));
    }
    let offset = params.get("offset").unwrap_or("0");
    Ok(Download {
        channel: channel(params)?,
        file_name: required(params, "file_name", "the name of a file of the device")?.into(),
        offset: decimal(offset).ok_or_else(|| value("offset", "a number of bytes"))?,
    })
}

fn command(params: &Params) -> Result<Command, RequestError> {
    let allowed = "inner_define or user_define";
    let action = word(params, "action", &Action::ALL, Action::name, allowed)?
        .ok_or(RequestError::Missing { name: "action", allowed })?;
    let mut rest = Params::new();
    for (name, value) in params.iter().filter(|(name, _)| !["action", "channel", "cmd"].contains(name)) {
        rest.push(name, value)?;
    }
    let cmd = required(params, "cmd", "the command")?.into();
    Ok(Command { action, channel: channel(params)?, cmd, rest })
}

fn value(name: &str, allowed: &'static str) -> RequestError {
    RequestError::Value { name: name.into(), allowed }
}

fn required<'a>(
    params: &'a Params,
    name: &'static str,
    allowed: &'static str,
) -> Result<&'a str, RequestError> {
    params.get(name).ok_or(RequestError::Missing { name, allowed })
}

fn channel(params: &Params) -> Result<u32, RequestError> {
    let number = decimal(params.get("channel").unwrap_or("0")).and_then(|n| u32::try_from(n).ok());
    number.ok_or_else(|| value("channel", CHANNEL))
}

/// Digits only: `parse` alone would take a `+` too.
fn decimal(text: &str) -> Option<u64> {
    if text.bytes().all(|b| b.is_ascii_digit()) { text.parse().ok() } else { None }
}

fn word<T: Copy>(
    params: &Params,
    name: &'static str,
    all: &[T],
    name_of: fn(T) -> &'static str,
    allowed: &'static str,
) -> Result<Option<T>, RequestError> {
    let Some(text) = params.get(name) else { return Ok(None) };
    let found = all.iter().copied().find(|word| name_of(*word) == text);
    found.map(Some).ok_or_else(|| value(name, allowed))
}

#[cfg(test)]
#[path = "typed_tests.rs"]
mod tests;
