//! Commands between app and device: the documented ones with their replies, typed both ways, and those that only an
//! app and its devices understand.
//!
//! A command travels as a [`request::Command`](crate::request::Command); the reply is JSON text. A
//! [`BuiltIn`] is what an `inner_define` command means, the types in this module are what the replies mean. Replies of
//! foreign firmware are read tolerantly (see [`Lenient`]).
//!
//! ```
//! use xp2p_proto::command::{BuiltIn, DeviceStatus, DeviceUse, Reply};
//! use xp2p_proto::request::Request;
//!
//! let Request::Command(command) =
//!     Request::parse("/command?action=inner_define&channel=0&cmd=get_device_st&type=live&quality=high")?
//! else { unreachable!() };
//! assert!(matches!(BuiltIn::from_command(&command)?, Some(BuiltIn::DeviceStatus { wanted: DeviceUse::Live, .. })));
//! let status = DeviceStatus::parse(br#"{"status":0,"appConnectNum":"1"}"#)?;
//! assert_eq!((status.status, status.app_connect_num), (0, Some(1)));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod builtin;
mod lenient;
mod outcome;
mod reply;
mod user;

pub use self::builtin::{
    BuiltIn, CALL_SIGNALS, CallSignal, DeviceUse, FileType, MonthError, SeekTo, YearMonth,
};
pub use self::lenient::{Lenient, ReplyError};
pub use self::outcome::CommandOutcome;
pub use self::reply::{
    DeviceInfo, DeviceStatus, FileEntry, FileList, MonthMask, NvrChannel, NvrList, PlaybackProgress,
    PlaybackStatus, RecordEntry, RecordIndex, Reply, status_text,
};
pub use self::user::{Ptz, Topic, message, panel};

/// How long a command waits for its reply unless the caller says otherwise: 7.5 s, as the plug-ins do.
pub const DEFAULT_TIMEOUT: std::time::Duration = std::time::Duration::from_millis(7500);
/// Longest reply in bytes.
pub const MAX_REPLY: usize = 1024 * 1024;
/// Most entries of a list in a reply.
pub const MAX_ENTRIES: usize = 4096;
