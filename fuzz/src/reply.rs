//! Replies of every command.

use xp2p_proto::command::{
    DeviceInfo, DeviceStatus, FileList, Lenient, MAX_ENTRIES, MonthMask, NvrList, PlaybackProgress,
    PlaybackStatus, RecordIndex, Reply,
};

/// What is understood is printed in a form that means the same.
fn printed<T: Reply + PartialEq + std::fmt::Debug>(data: &[u8]) -> Option<T> {
    let value = T::parse(data).ok()?;
    let print = value.to_json();
    assert_eq!(T::parse(print.as_bytes()).as_ref(), Ok(&value), "printed as {print}");
    Some(value)
}

/// One input.
pub fn run(data: &[u8]) {
    let _ = Lenient::parse(data);
    printed::<DeviceStatus>(data);
    printed::<DeviceInfo>(data);
    printed::<MonthMask>(data);
    printed::<PlaybackStatus>(data);
    printed::<PlaybackProgress>(data);
    assert!(printed::<NvrList>(data).is_none_or(|l| l.channels.len() <= MAX_ENTRIES));
    assert!(printed::<RecordIndex>(data).is_none_or(|l| l.video_list.len() <= MAX_ENTRIES));
    assert!(printed::<FileList>(data).is_none_or(|l| l.file_list.len() <= MAX_ENTRIES));
}
