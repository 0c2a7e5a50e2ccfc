//! The documented commands: `action=inner_define&channel=N&cmd=...`.

use std::fmt;

use thiserror::Error;

use crate::request::{Action, CallType, Command, Params, Quality, RequestError};

/// What `get_device_st` asks about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceUse {
    /// Whether one more can watch.
    #[default]
    Live,
    /// Whether one can talk.
    Voice,
    /// Whether one can watch a recording.
    Playback,
}

impl DeviceUse {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Live, Self::Voice, Self::Playback];

    /// The word on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Voice => "voice",
            Self::Playback => "playback",
        }
    }
}

/// What `get_file_list` lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, PartialOrd, Ord)]
pub enum FileType {
    /// `0`: recordings.
    #[default]
    Video,
    /// `1`: pictures.
    Picture,
}

impl FileType {
    /// The number on the wire.
    pub const fn number(self) -> i64 {
        match self {
            Self::Video => 0,
            Self::Picture => 1,
        }
    }
}

/// Where `playback_seek` goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeekTo {
    /// `progress`: milliseconds after the start of the playback.
    Progress(u64),
    /// `time`: unix seconds.
    Time(u64),
}

/// What `call_...` commands say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallSignal {
    /// `call_answer`: somebody takes the call.
    Answer,
    /// `call_hang_up`: the call is over.
    HangUp,
    /// `call_reject`: nobody wants to take the call.
    Reject,
    /// `call_cancel`: the caller no longer wants it.
    Cancel,
    /// `call_busy`: there is another call.
    Busy,
    /// `call_timeout`: nobody took it in time.
    Timeout,
}

/// All call signals with their commands.
pub const CALL_SIGNALS: [(CallSignal, &str); 6] = [
    (CallSignal::Answer, "call_answer"),
    (CallSignal::HangUp, "call_hang_up"),
    (CallSignal::Reject, "call_reject"),
    (CallSignal::Cancel, "call_cancel"),
    (CallSignal::Busy, "call_busy"),
    (CallSignal::Timeout, "call_timeout"),
];

/// A month of the Gregorian calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct YearMonth {
    year: u16,
    month: u8,
}

/// Why a text is no month.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a month is written yyyymm, from 197001 to 999912")]
pub struct MonthError;

impl YearMonth {
    /// A month; `month` is 1 to 12, `year` 1970 to 9999.
    ///
    /// # Errors
    ///
    /// Outside of that.
    pub const fn new(year: u16, month: u8) -> Result<Self, MonthError> {
        if year < 1970 || year > 9999 || month < 1 || month > 12 {
            return Err(MonthError);
        }
        Ok(Self { year, month })
    }

    /// Reads `yyyymm`.
    ///
    /// # Errors
    ///
    /// Other than six digits that are a month.
    pub fn parse(text: &str) -> Result<Self, MonthError> {
        let number = Some(text)
            .filter(|t| t.len() == 6 && t.bytes().all(|b| b.is_ascii_digit()))
            .and_then(|t| t.parse::<u32>().ok())
            .ok_or(MonthError)?;
        // Six digits: both fit.
        Self::new((number / 100) as u16, (number % 100) as u8)
    }

    /// The year.
    pub const fn year(self) -> u16 {
        self.year
    }

    /// The month, 1 to 12.
    pub const fn month(self) -> u8 {
        self.month
    }
}

impl fmt::Display for YearMonth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}{:02}", self.year, self.month)
    }
}

/// A documented command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BuiltIn {
    /// `get_device_st`: whether the device takes one more. Reply: [`DeviceStatus`](super::DeviceStatus).
    DeviceStatus {
        /// For what.
        wanted: DeviceUse,
        /// In which quality.
        quality: Quality,
    },
    /// `get_device_info`: product and name, to check that an xp2pInfo is of the wanted device. Ours. Reply:
    /// [`DeviceInfo`](super::DeviceInfo).
    DeviceInfo,
    /// `get_nvr_list`: the channels. Reply: [`NvrList`](super::NvrList).
    NvrList,
    /// `get_record_index`: what is recorded. Reply: [`RecordIndex`](super::RecordIndex).
    RecordIndex {
        /// From, unix seconds.
        start_time: u64,
        /// To, unix seconds.
        end_time: u64,
        /// Only recordings of this kind.
        kind: Option<i64>,
    },
    /// `get_month_record`: days with recordings. Reply: [`MonthMask`](super::MonthMask).
    MonthRecord(YearMonth),
    /// `get_file_list`: files to download. Reply: [`FileList`](super::FileList).
    FileList {
        /// From, unix seconds.
        start_time: u64,
        /// To, unix seconds.
        end_time: u64,
        /// Which files.
        file_type: FileType,
    },
    /// `playback_pause`.
    PlaybackPause,
    /// `playback_resume`.
    PlaybackResume,
    /// `playback_seek`.
    PlaybackSeek(SeekTo),
    /// `playback_progress`. Reply: [`PlaybackProgress`](super::PlaybackProgress).
    PlaybackProgress,
    /// `playback_ff`: keyframes only, every `ff`th of them (1 to 3); 0 ends it.
    PlaybackFf {
        /// 0 to 3.
        ff: u8,
    },
    /// `playback_speed`: one video frame every `speed` milliseconds (1 to 10,000); 0 goes back to the recorded speed.
    PlaybackSpeed {
        /// Milliseconds per frame.
        speed: u32,
    },
    /// `playback_rewind`: keyframes backwards, from `end_time` to `start_time`.
    PlaybackRewind {
        /// Where it ends, unix seconds.
        start_time: u64,
        /// Where it begins, unix seconds.
        end_time: u64,
    },
    /// `request_iframe`: the encoder shall give a keyframe soon.
    RequestIframe,
    /// `call_answer` and the other signals of a call.
    Call(CallSignal),
}

const TIME: &str = "a time in unix seconds";
const MAX_SPEED: u64 = 10_000;

impl BuiltIn {
    /// What a command means. `None` for one that is not documented here, and for those of
    /// [`Action::UserDefine`]. Parameters that are not documented are left to the device.
    ///
    /// # Errors
    ///
    /// A parameter of it is missing or wrong.
    pub fn from_command(command: &Command) -> Result<Option<Self>, RequestError> {
        if command.action == Action::UserDefine {
            return Ok(None);
        }
        let params = &command.rest;
        Ok(Some(match command.cmd.as_str() {
            "get_device_st" => Self::DeviceStatus {
                wanted: word(params, "type", &DeviceUse::ALL, DeviceUse::name, "live, voice or playback")?,
                quality: word(params, "quality", &Quality::ALL, Quality::name, "standard, high or super")?,
            },
            "get_device_info" => Self::DeviceInfo,
            "get_nvr_list" => Self::NvrList,
            "get_record_index" => Self::RecordIndex {
                start_time: time(params, "start_time")?,
                end_time: time(params, "end_time")?,
                kind: match params.get("type") {
                    None | Some("") => None,
                    Some(text) => Some(text.parse().map_err(|_| value("type", "a whole number"))?),
                },
            },
            "get_month_record" => {
                let text = params.get("time").unwrap_or_default();
                Self::MonthRecord(
                    YearMonth::parse(text).map_err(|_| value("time", "a month as yyyymm, like 202611"))?,
                )
            }
            "get_file_list" => Self::FileList {
                start_time: time(params, "start_time")?,
                end_time: time(params, "end_time")?,
                file_type: match params.get("file_type") {
                    None | Some("0") => FileType::Video,
                    Some("1") => FileType::Picture,
                    Some(_) => return Err(value("file_type", "0 (video) or 1 (picture)")),
                },
            },
            "playback_pause" => Self::PlaybackPause,
            "playback_resume" => Self::PlaybackResume,
            "playback_seek" => match (params.get("progress"), params.get("time")) {
                (Some(text), None) => Self::PlaybackSeek(SeekTo::Progress(
                    decimal(text).ok_or_else(|| value("progress", "milliseconds from the start"))?,
                )),
                (None, Some(text)) => {
                    Self::PlaybackSeek(SeekTo::Time(decimal(text).ok_or_else(|| value("time", TIME))?))
                }
                _ => {
                    return Err(value(
                        "progress",
                        "given in milliseconds, or `time` in unix seconds, not both",
                    ));
                }
            },
            "playback_progress" => Self::PlaybackProgress,
            "playback_ff" => Self::PlaybackFf {
                ff: params
                    .get("ff")
                    .and_then(decimal)
                    .filter(|ff| *ff <= 3)
                    .and_then(|ff| u8::try_from(ff).ok())
                    .ok_or_else(|| value("ff", "1 to 3, or 0 for the recorded speed"))?,
            },
            "playback_speed" => Self::PlaybackSpeed {
                speed: params
                    .get("speed")
                    .and_then(decimal)
                    .filter(|speed| *speed <= MAX_SPEED)
                    .and_then(|speed| u32::try_from(speed).ok())
                    .ok_or_else(|| {
                        value("speed", "1 to 10000 milliseconds per frame, or 0 for the recorded speed")
                    })?,
            },
            "playback_rewind" => Self::PlaybackRewind {
                start_time: time(params, "start_time")?,
                end_time: time(params, "end_time")?,
            },
            "request_iframe" => Self::RequestIframe,
            cmd => match CALL_SIGNALS.iter().find(|(_, name)| *name == cmd) {
                Some((signal, _)) => Self::Call(*signal),
                None => return Ok(None),
            },
        }))
    }

    /// The word in `cmd`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::DeviceStatus { .. } => "get_device_st",
            Self::DeviceInfo => "get_device_info",
            Self::NvrList => "get_nvr_list",
            Self::RecordIndex { .. } => "get_record_index",
            Self::MonthRecord(_) => "get_month_record",
            Self::FileList { .. } => "get_file_list",
            Self::PlaybackPause => "playback_pause",
            Self::PlaybackResume => "playback_resume",
            Self::PlaybackSeek(_) => "playback_seek",
            Self::PlaybackProgress => "playback_progress",
            Self::PlaybackFf { .. } => "playback_ff",
            Self::PlaybackSpeed { .. } => "playback_speed",
            Self::PlaybackRewind { .. } => "playback_rewind",
            Self::RequestIframe => "request_iframe",
            // Every signal is in the table.
            Self::Call(signal) => CALL_SIGNALS.iter().find(|(s, _)| s == signal).map_or("", |(_, name)| name),
        }
    }

    /// The command to send to `channel`.
    pub fn to_command(&self, channel: u32) -> Command {
        let mut pairs: Vec<(&str, String)> = Vec::new();
        match *self {
            Self::DeviceStatus { wanted, quality } => {
                pairs.push(("type", wanted.name().to_owned()));
                pairs.push(("quality", quality.name().to_owned()));
            }
            Self::RecordIndex { start_time, end_time, kind } => {
                pairs.push(("start_time", start_time.to_string()));
                pairs.push(("end_time", end_time.to_string()));
                pairs.extend(kind.map(|kind| ("type", kind.to_string())));
            }
            Self::MonthRecord(month) => pairs.push(("time", month.to_string())),
            Self::FileList { start_time, end_time, file_type } => {
                pairs.push(("start_time", start_time.to_string()));
                pairs.push(("end_time", end_time.to_string()));
                pairs.push(("file_type", file_type.number().to_string()));
            }
            Self::PlaybackSeek(SeekTo::Progress(ms)) => pairs.push(("progress", ms.to_string())),
            Self::PlaybackSeek(SeekTo::Time(unix)) => pairs.push(("time", unix.to_string())),
            Self::PlaybackFf { ff } => pairs.push(("ff", ff.to_string())),
            Self::PlaybackSpeed { speed } => pairs.push(("speed", speed.to_string())),
            Self::PlaybackRewind { start_time, end_time } => {
                pairs.push(("start_time", start_time.to_string()));
                pairs.push(("end_time", end_time.to_string()));
            }
            Self::DeviceInfo
            | Self::NvrList
            | Self::PlaybackPause
            | Self::PlaybackResume
            | Self::PlaybackProgress
            | Self::RequestIframe
            | Self::Call(_) => {}
        }
        let mut rest = Params::new();
        for (name, text) in pairs {
            // At most three short pairs with names of ours, each once: nothing of it can be refused.
            let _ = rest.push(name, text);
        }
        Command { action: Action::InnerDefine, channel, cmd: self.name().to_owned(), rest }
    }
}

/// The call type that `call_answer` carries, where it says one.
impl CallType {
    /// Reads the parameter `calltype` of a call signal; audio where it is left out.
    pub fn of_signal(command: &Command) -> Self {
        match command.rest.get("calltype") {
            Some("video") => Self::Video,
            _ => Self::Audio,
        }
    }
}

fn value(name: &str, allowed: &'static str) -> RequestError {
    RequestError::Value { name: name.into(), allowed }
}

fn decimal(text: &str) -> Option<u64> {
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) { text.parse().ok() } else { None }
}

fn time(params: &Params, name: &'static str) -> Result<u64, RequestError> {
    let text = params.get(name).ok_or(RequestError::Missing { name, allowed: TIME })?;
    decimal(text).ok_or_else(|| value(name, TIME))
}

fn word<T: Copy + Default>(
    params: &Params,
    name: &'static str,
    all: &[T],
    name_of: fn(T) -> &'static str,
    allowed: &'static str,
) -> Result<T, RequestError> {
    let Some(text) = params.get(name) else { return Ok(T::default()) };
    all.iter().copied().find(|word| name_of(*word) == text).ok_or_else(|| value(name, allowed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Request;
    use proptest::prelude::*;

    fn parse(query: &str) -> Result<Option<BuiltIn>, RequestError> {
        match Request::parse(&format!("/command?action=inner_define&channel=0&{query}"))? {
            Request::Command(command) => BuiltIn::from_command(&command),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let error = |query: &str| parse(query).unwrap_err().to_string();
        assert!(error("cmd=get_month_record&time=202613").contains("yyyymm"));
        assert!(error("cmd=playback_seek").contains("progress"));
        assert!(error("cmd=playback_seek&progress=1&time=2").contains("not both"));
        assert!(error("cmd=playback_ff&ff=4").contains("1 to 3"));
        assert!(error("cmd=get_record_index&start_time=1").contains("end_time"));
        assert!(error("cmd=get_device_st&type=walk").contains("live, voice or playback"));
        assert!(error("cmd=playback_speed&speed=10001").contains("10000"));
    }

    #[test]
    fn unknown_commands_are_left_to_the_device() {
        assert_eq!(parse("cmd=make_coffee"), Ok(None));
        let user = Command {
            action: Action::UserDefine,
            channel: 0,
            cmd: "get_nvr_list".into(),
            rest: Params::new(),
        };
        assert_eq!(BuiltIn::from_command(&user), Ok(None));
    }

    fn any_builtin() -> impl Strategy<Value = BuiltIn> {
        let times = (any::<u64>(), any::<u64>());
        let file = prop_oneof![Just(FileType::Video), Just(FileType::Picture)];
        prop_oneof![
            (proptest::sample::select(&DeviceUse::ALL), proptest::sample::select(&Quality::ALL))
                .prop_map(|(wanted, quality)| BuiltIn::DeviceStatus { wanted, quality }),
            Just(BuiltIn::NvrList),
            Just(BuiltIn::DeviceInfo),
            (times, any::<Option<i64>>()).prop_map(|((start_time, end_time), kind)| BuiltIn::RecordIndex {
                start_time,
                end_time,
                kind
            }),
            (1970u16..10000, 1u8..13).prop_map(|(y, m)| BuiltIn::MonthRecord(YearMonth::new(y, m).unwrap())),
            (any::<u64>(), any::<u64>(), file).prop_map(|(start_time, end_time, file_type)| {
                BuiltIn::FileList { start_time, end_time, file_type }
            }),
            Just(BuiltIn::PlaybackPause),
            Just(BuiltIn::PlaybackResume),
            any::<u64>().prop_map(|ms| BuiltIn::PlaybackSeek(SeekTo::Progress(ms))),
            any::<u64>().prop_map(|unix| BuiltIn::PlaybackSeek(SeekTo::Time(unix))),
            Just(BuiltIn::PlaybackProgress),
            (0u8..4).prop_map(|ff| BuiltIn::PlaybackFf { ff }),
            (0u32..10_001).prop_map(|speed| BuiltIn::PlaybackSpeed { speed }),
            (any::<u64>(), any::<u64>())
                .prop_map(|(start_time, end_time)| BuiltIn::PlaybackRewind { start_time, end_time }),
            Just(BuiltIn::RequestIframe),
            proptest::sample::select(&CALL_SIGNALS).prop_map(|(signal, _)| BuiltIn::Call(signal)),
        ]
    }

    proptest! {
        #[test]
        fn every_command_survives_the_wire(command in any_builtin(), channel: u32) {
            let head = Request::Command(command.to_command(channel)).to_head().unwrap();
            let Request::Command(read) = Request::parse(&head.target()).unwrap() else { panic!() };
            prop_assert_eq!(read.channel, channel);
            prop_assert_eq!(BuiltIn::from_command(&read), Ok(Some(command)));
        }
    }
}
