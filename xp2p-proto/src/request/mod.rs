//! Requests and answers between viewer and camera: HTTP/1.1 heads (RFC 9112) on a bidirectional stream, so that they
//! read like those of the plug-ins: `GET /ipc.flv?action=live&channel=0&quality=high`.
//!
//! A [`HeadReader`] takes the bytes as they come and gives a [`RequestHead`] or [`ResponseHead`]; a [`Request`] is
//! what a request head means.

mod head;
mod headers;
mod message;
mod params;
mod reader;
mod status;
mod text;
mod typed;

pub use self::head::{Head, HeadError, Parsed, RequestHead, ResponseHead};
pub use self::headers::{Headers, MAX_ETAG, Reason};
pub use self::message::{MESSAGE_PATH, message_head, message_text};
pub use self::params::{MAX_PARAM_NAME, Params, ParamsError};
pub use self::reader::HeadReader;
pub use self::status::Status;
pub use self::text::printable;
pub use self::typed::{
    Action, CallType, Command, Download, Live, MIN_PLAYBACK, Playback, Quality, QualityError, Request,
    RequestError, Voice,
};

/// Longest command in bytes (the decoded value of `cmd`).
pub const MAX_COMMAND: usize = 16 * 1024;
/// Longest head in bytes: 16 KiB, and a command with each of its bytes percent-encoded.
pub const MAX_HEAD: usize = 16 * 1024 + 3 * MAX_COMMAND;
/// Longest query string in bytes. The rest of a head has room in what is left to [`MAX_HEAD`].
pub const MAX_QUERY: usize = MAX_HEAD - 4 * 1024;
/// Longest path in bytes.
pub const MAX_PATH: usize = 256;
/// Most headers in a head.
pub const MAX_HEADERS: usize = 32;
/// Most parameters in a request.
pub const MAX_PARAMS: usize = 64;
/// Longest text of a refusal in characters.
pub const MAX_REASON: usize = 256;
/// Longest content type in bytes.
pub const MAX_CONTENT_TYPE: usize = 128;
/// Longest `user_args` in bytes.
pub const MAX_USER_ARGS: usize = 1024;
/// Longest `requester` in bytes.
pub const MAX_REQUESTER: usize = 64;
/// Longest `file_name` in bytes.
pub const MAX_FILE_NAME: usize = 512;
/// Longest value of a command's own parameters in bytes.
pub const MAX_ARGUMENT: usize = 1024;
