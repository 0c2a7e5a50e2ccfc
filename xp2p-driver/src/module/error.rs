//! Errors with the documented codes.

use thiserror::Error;
use xp2p_proto::error::ErrorCode;
use xp2p_proto::request::RequestError;

use crate::handle::Gone;
use crate::viewer::{AskError, StartError};

/// Why a call failed: the documented code, and a text for a person.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{message} ({})", .code.number())]
pub struct ModuleError {
    /// The documented code.
    pub code: ErrorCode,
    /// What happened, and what to do.
    pub message: String,
}

impl ModuleError {
    pub(super) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// The viewer could not do it: `code`, unless a parameter was wrong.
    pub(super) fn start(code: ErrorCode, error: &StartError) -> Self {
        let code = match error {
            StartError::Viewer(xp2p_proto::viewer::ViewerError::Request(e)) => e.code(),
            StartError::Viewer(xp2p_proto::viewer::ViewerError::NoService) => ErrorCode::ServiceNotStarted,
            StartError::Gone(_) => ErrorCode::NotInitialised,
            _ => code,
        };
        Self::new(code, error.to_string())
    }
}

impl ModuleError {
    /// The camera does not answer a question: `code`, unless it could not be asked.
    pub(super) fn ask(code: ErrorCode, error: &AskError) -> Self {
        match error {
            AskError::Start(e @ StartError::Gone(_)) => Self::start(code, e),
            _ => Self::new(code, error.to_string()),
        }
    }
}

impl From<RequestError> for ModuleError {
    fn from(error: RequestError) -> Self {
        Self::new(error.code(), error.to_string())
    }
}

impl From<Gone> for ModuleError {
    fn from(gone: Gone) -> Self {
        Self::new(ErrorCode::NotInitialised, format!("the module was destroyed: {gone}"))
    }
}
