//! The documented replies.

use serde::{Serialize, Serializer};

use super::lenient::{count, number, text};
use super::{Lenient, MAX_ENTRIES, ReplyError};

/// A documented reply.
pub trait Reply: Sized {
    /// Reads a reply tolerantly.
    ///
    /// # Errors
    ///
    /// It is not what the documentation says, even with all allowances.
    fn parse(reply: &[u8]) -> Result<Self, ReplyError>;

    /// The reply in the documented form.
    fn to_json(&self) -> String;
}

fn print(value: &impl Serialize) -> String {
    // Structs of text and numbers only: nothing that JSON could not say.
    serde_json::to_string(value).unwrap_or_default()
}

/// `{"status":"N"}`.
pub fn status_text(status: u16) -> String {
    print(&PlaybackStatus { status })
}

/// Numbers go out as text, as the plug-ins have it.
fn as_text<S: Serializer>(number: &impl ToString, out: S) -> Result<S::Ok, S::Error> {
    out.serialize_str(&number.to_string())
}

fn as_text_if<S: Serializer>(number: &Option<u64>, out: S) -> Result<S::Ok, S::Error> {
    match number {
        Some(number) => out.serialize_str(&number.to_string()),
        None => out.serialize_none(),
    }
}

fn status(map: &serde_json::Map<String, serde_json::Value>) -> Result<u16, ReplyError> {
    let wanted = ReplyError::Field { field: "status", wanted: "a status" };
    u16::try_from(count(map, "status")?).map_err(|_| wanted)
}

/// Reply to `get_device_st`: `[{"status":"0","appConnectNum":"2","maxConnectNum":"4"}]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceStatus {
    /// 0 accept, 1 busy, 404 bad parameters, 405 too many apps, 406 command not supported.
    #[serde(serialize_with = "as_text")]
    pub status: u16,
    /// Apps that are connected.
    #[serde(serialize_with = "as_text_if", skip_serializing_if = "Option::is_none")]
    pub app_connect_num: Option<u64>,
    /// Most apps.
    #[serde(serialize_with = "as_text_if", skip_serializing_if = "Option::is_none")]
    pub max_connect_num: Option<u64>,
}

impl Reply for DeviceStatus {
    fn parse(reply: &[u8]) -> Result<Self, ReplyError> {
        let json = Lenient::parse(reply)?;
        let map = json.object()?;
        let optional = |field| if map.contains_key(field) { count(map, field).map(Some) } else { Ok(None) };
        Ok(Self {
            status: status(map)?,
            app_connect_num: optional("appConnectNum")?,
            max_connect_num: optional("maxConnectNum")?,
        })
    }

    fn to_json(&self) -> String {
        print(&[self])
    }
}

/// Reply to `get_device_info`: `{"ProductId":"cam","DeviceName":"door"}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DeviceInfo {
    /// The product.
    pub product_id: String,
    /// The device.
    pub device_name: String,
}

impl Reply for DeviceInfo {
    fn parse(reply: &[u8]) -> Result<Self, ReplyError> {
        let json = Lenient::parse(reply)?;
        let map = json.object()?;
        Ok(Self { product_id: text(map, "ProductId")?, device_name: text(map, "DeviceName")? })
    }

    fn to_json(&self) -> String {
        print(self)
    }
}

/// A channel of a recorder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct NvrChannel {
    /// Name of the camera at it.
    pub device_name: String,
    /// Its number.
    #[serde(serialize_with = "as_text")]
    pub channel: u32,
    /// Whether pictures come from it.
    #[serde(serialize_with = "online_text")]
    pub online: bool,
}

fn online_text<S: Serializer>(online: &bool, out: S) -> Result<S::Ok, S::Error> {
    out.serialize_str(if *online { "1" } else { "0" })
}

/// Reply to `get_nvr_list`: `[{"DeviceName":"door","Channel":"0","Online":"1"}]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct NvrList {
    /// The channels.
    pub channels: Vec<NvrChannel>,
}

impl Reply for NvrList {
    fn parse(reply: &[u8]) -> Result<Self, ReplyError> {
        let json = Lenient::parse(reply)?;
        let channels = json.objects("channels")?.into_iter().take(MAX_ENTRIES).map(|map| {
            let channel = u32::try_from(count(map, "Channel")?)
                .map_err(|_| ReplyError::Field { field: "Channel", wanted: "a channel" })?;
            Ok(NvrChannel {
                device_name: text(map, "DeviceName")?,
                channel,
                online: number(map, "Online")? != 0,
            })
        });
        Ok(Self { channels: channels.collect::<Result<_, ReplyError>>()? })
    }

    fn to_json(&self) -> String {
        print(self)
    }
}

/// A time in which something is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct RecordEntry {
    /// The device's own kind of recording.
    #[serde(rename = "type", serialize_with = "as_text")]
    pub kind: i64,
    /// Unix seconds.
    #[serde(serialize_with = "as_text")]
    pub start_time: u64,
    /// Unix seconds.
    #[serde(serialize_with = "as_text")]
    pub end_time: u64,
}

/// Reply to `get_record_index`: `{"video_list":[{"type","start_time","end_time"}]}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RecordIndex {
    /// In order of time.
    pub video_list: Vec<RecordEntry>,
}

impl Reply for RecordIndex {
    fn parse(reply: &[u8]) -> Result<Self, ReplyError> {
        let json = Lenient::parse(reply)?;
        let entries = json.objects("video_list")?.into_iter().take(MAX_ENTRIES).map(|map| {
            Ok(RecordEntry {
                kind: if map.contains_key("type") { number(map, "type")? } else { 0 },
                start_time: count(map, "start_time")?,
                end_time: count(map, "end_time")?,
            })
        });
        Ok(Self { video_list: entries.collect::<Result<_, ReplyError>>()? })
    }

    fn to_json(&self) -> String {
        print(self)
    }
}

/// Reply to `get_month_record`: `{"video_list":"8320"}`, a bit mask as text; bit 0 is day 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MonthMask {
    /// The bits.
    pub days: u32,
}

impl MonthMask {
    /// Marks a day, 1 to 31; others are ignored.
    pub fn set(&mut self, day: u8) {
        if (1..=31).contains(&day) {
            self.days |= 1 << (day - 1);
        }
    }

    /// The days that are marked, 1 to 31.
    pub fn days(self) -> impl Iterator<Item = u8> {
        (1..=31).filter(move |day| self.days >> (day - 1) & 1 == 1)
    }
}

impl Reply for MonthMask {
    fn parse(reply: &[u8]) -> Result<Self, ReplyError> {
        let json = Lenient::parse(reply)?;
        let days = u32::try_from(count(json.object()?, "video_list")?)
            .map_err(|_| ReplyError::Field { field: "video_list", wanted: "a mask of 31 bits" })?;
        Ok(Self { days })
    }

    fn to_json(&self) -> String {
        #[derive(Serialize)]
        struct Mask {
            video_list: String,
        }
        print(&Mask { video_list: self.days.to_string() })
    }
}

/// A file of a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileEntry {
    /// 0 video, 1 picture.
    #[serde(serialize_with = "as_text")]
    pub file_type: i64,
    /// The name to download it by.
    pub file_name: String,
    /// Bytes.
    #[serde(serialize_with = "as_text")]
    pub file_size: u64,
    /// Unix seconds.
    #[serde(serialize_with = "as_text")]
    pub start_time: u64,
    /// Unix seconds.
    #[serde(serialize_with = "as_text")]
    pub end_time: u64,
    /// Whatever the device adds.
    pub extra_info: String,
}

/// Reply to `get_file_list`: `{"file_list":[{...}]}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileList {
    /// In order of time.
    pub file_list: Vec<FileEntry>,
}

impl Reply for FileList {
    fn parse(reply: &[u8]) -> Result<Self, ReplyError> {
        let json = Lenient::parse(reply)?;
        let entries = json.objects("file_list")?.into_iter().take(MAX_ENTRIES).map(|map| {
            Ok(FileEntry {
                file_type: number(map, "file_type")?,
                file_name: text(map, "file_name")?,
                file_size: count(map, "file_size")?,
                start_time: count(map, "start_time")?,
                end_time: count(map, "end_time")?,
                extra_info: if map.contains_key("extra_info") {
                    text(map, "extra_info")?
                } else {
                    String::new()
                },
            })
        });
        Ok(Self { file_list: entries.collect::<Result<_, ReplyError>>()? })
    }

    fn to_json(&self) -> String {
        print(self)
    }
}

/// Reply to most `playback_...` commands, and to call signals: `{"status":"0"}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct PlaybackStatus {
    /// 0: done.
    #[serde(serialize_with = "as_text")]
    pub status: u16,
}

impl Reply for PlaybackStatus {
    fn parse(reply: &[u8]) -> Result<Self, ReplyError> {
        Ok(Self { status: status(Lenient::parse(reply)?.object()?)? })
    }

    fn to_json(&self) -> String {
        print(self)
    }
}

/// Reply to `playback_progress`: `{"status":"0","progress":"ms"}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct PlaybackProgress {
    /// 0: done.
    #[serde(serialize_with = "as_text")]
    pub status: u16,
    /// Milliseconds after the start of the playback.
    #[serde(serialize_with = "as_text")]
    pub progress: u64,
}

impl Reply for PlaybackProgress {
    fn parse(reply: &[u8]) -> Result<Self, ReplyError> {
        let json = Lenient::parse(reply)?;
        let map = json.object()?;
        Ok(Self { status: status(map)?, progress: count(map, "progress")? })
    }

    fn to_json(&self) -> String {
        print(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_have_the_documented_form() {
        let status = DeviceStatus { status: 0, app_connect_num: Some(2), max_connect_num: Some(4) };
        assert_eq!(status.to_json(), r#"[{"status":"0","appConnectNum":"2","maxConnectNum":"4"}]"#);
        let list =
            NvrList { channels: vec![NvrChannel { device_name: "door".into(), channel: 1, online: true }] };
        assert_eq!(list.to_json(), r#"[{"DeviceName":"door","Channel":"1","Online":"1"}]"#);
        let index = RecordIndex { video_list: vec![RecordEntry { kind: 0, start_time: 5, end_time: 10 }] };
        assert_eq!(index.to_json(), r#"{"video_list":[{"type":"0","start_time":"5","end_time":"10"}]}"#);
        assert_eq!(MonthMask { days: 8320 }.to_json(), r#"{"video_list":"8320"}"#);
        let progress = PlaybackProgress { status: 0, progress: 30_000 };
        assert_eq!(progress.to_json(), r#"{"status":"0","progress":"30000"}"#);
        assert_eq!(status_text(0), r#"{"status":"0"}"#);
        let files = FileList {
            file_list: vec![FileEntry {
                file_type: 0,
                file_name: "a.flv".into(),
                file_size: 7,
                start_time: 5,
                end_time: 10,
                extra_info: String::new(),
            }],
        };
        assert_eq!(
            files.to_json(),
            r#"{"file_list":[{"file_type":"0","file_name":"a.flv","file_size":"7","start_time":"5","end_time":"10","extra_info":""}]}"#
        );
        assert_eq!(FileList::parse(files.to_json().as_bytes()), Ok(files));
        assert_eq!(RecordIndex::parse(index.to_json().as_bytes()), Ok(index));
        assert_eq!(NvrList::parse(list.to_json().as_bytes()), Ok(list));
    }

    #[test]
    fn what_firmware_really_writes_is_understood() {
        let status = DeviceStatus { status: 1, app_connect_num: Some(2), max_connect_num: None };
        for text in [
            "[{\"status\":\"1\",\"appConnectNum\":\"2\"}]",
            "{\"status\":1,\"appConnectNum\":2}\0",
            "[{\"status\":\"1\",\"appConnectNum\":2}]\0\0\n",
            " [ {\"status\": 1, \"appConnectNum\": \" 2\"} ] ",
        ] {
            assert_eq!(DeviceStatus::parse(text.as_bytes()), Ok(status), "{text}");
        }
        let one = NvrList::parse(br#"{"DeviceName":"x","Channel":0,"Online":1}"#).unwrap();
        assert_eq!(one.channels.len(), 1);
        assert_eq!(MonthMask::parse(br#"{"video_list":8320}"#), Ok(MonthMask { days: 8320 }));
        assert_eq!(RecordIndex::parse(br#"{"video_list":[]}"#), Ok(RecordIndex { video_list: vec![] }));
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert_eq!(DeviceStatus::parse(b"[{]"), Err(ReplyError::Json { line: 1, column: 3 }));
        let error = DeviceStatus::parse(b"{}").unwrap_err();
        assert_eq!(error.to_string(), "the reply has no `status` that is a whole number");
        assert_eq!(Lenient::parse(&vec![b' '; super::super::MAX_REPLY + 1]), Err(ReplyError::TooLong));
        assert!(PlaybackProgress::parse(br#"{"status":"0","progress":"-1"}"#).is_err());
        assert!(NvrList::parse(b"7").is_err());
    }

    #[test]
    fn a_mask_has_bit_0_for_the_first_day() {
        let mut mask = MonthMask::default();
        [8, 14, 32, 0].into_iter().for_each(|day| mask.set(day));
        assert_eq!(mask.days().collect::<Vec<_>>(), [8, 14]);
        assert_eq!(mask.days, 8320);
    }
}
