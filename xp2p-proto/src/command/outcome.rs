//! How a command ends.

use bytes::Bytes;

use super::{Lenient, ReplyError};

/// How a command ends: the four result types of the plug-ins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandOutcome {
    /// The device did it.
    Success {
        /// Its reply, as it came.
        data: Bytes,
    },
    /// The device answered that it cannot or will not.
    Failure {
        /// The status: 401, 403, 404, 405, 406 ...
        status: u16,
        /// Why, for a person.
        errmsg: String,
    },
    /// No answer can come any more: the connection was lost after the command was sent, or the service has ended.
    /// Whether the device did it is unknown; it was not sent twice.
    Error {
        /// Why, for a person.
        errmsg: String,
    },
    /// No answer came in time.
    Timeout,
}

impl CommandOutcome {
    /// The word of the plug-ins: `success`, `failure`, `error` or `timeout`.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Success { .. } => "success",
            Self::Failure { .. } => "failure",
            Self::Error { .. } => "error",
            Self::Timeout => "timeout",
        }
    }

    /// The reply as JSON. `None` unless it is a success.
    pub fn json(&self) -> Option<Result<Lenient, ReplyError>> {
        match self {
            Self::Success { data } => Some(Lenient::parse(data)),
            _ => None,
        }
    }
}
