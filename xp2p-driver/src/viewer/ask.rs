//! What a viewer asks a camera before it watches.

use thiserror::Error;
use xp2p_proto::command::{BuiltIn, CommandOutcome, DeviceInfo, DeviceStatus, DeviceUse, Reply};
use xp2p_proto::request::{Command, Live, Status};
use xp2p_proto::viewer::ServiceId;

use super::{StartError, ViewerHandle};
use crate::runtime::Runtime;

/// Why a question has no answer.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AskError {
    /// It could not be asked.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The camera refuses, does not answer, or answers something else.
    #[error("the camera does not tell {what}: {reason}")]
    NoAnswer {
        /// What was asked.
        what: &'static str,
        /// What came instead.
        reason: String,
    },
}

/// Whether a status says that a camera serves as many as it can.
pub fn is_full(status: u16) -> bool {
    status == Status::TooManyViewers.number() || status == Status::TooManyApps.number()
}

impl<R: Runtime> ViewerHandle<R> {
    async fn ask(&self, service: ServiceId, command: Command) -> Result<CommandOutcome, StartError> {
        self.command(service, command, None).await
    }

    /// Whether the camera takes one more viewer of this (`get_device_st`). Other reasons why it would refuse are none of a
    /// lack of room.
    ///
    /// # Errors
    ///
    /// [`AskError`].
    pub async fn has_room(&self, service: ServiceId, live: &Live) -> Result<bool, AskError> {
        /// `get_device_st`: busy.
        const BUSY: u16 = 1;
        let wanted = BuiltIn::DeviceStatus { wanted: DeviceUse::Live, quality: live.quality };
        let reason = match self.ask(service, wanted.to_command(live.channel)).await? {
            CommandOutcome::Success { data } => match DeviceStatus::parse(&data) {
                Ok(said) => return Ok(said.status != BUSY && !is_full(said.status)),
                Err(e) => e.to_string(),
            },
            CommandOutcome::Failure { status, .. } if is_full(status) => return Ok(false),
            other => no_answer(&other),
        };
        Err(AskError::NoAnswer { what: "whether it has room", reason })
    }

    /// Which device it is (`get_device_info`).
    ///
    /// # Errors
    ///
    /// [`AskError`].
    pub async fn device_info(&self, service: ServiceId) -> Result<DeviceInfo, AskError> {
        let reason = match self.ask(service, BuiltIn::DeviceInfo.to_command(0)).await? {
            CommandOutcome::Success { data } => match DeviceInfo::parse(&data) {
                Ok(said) => return Ok(said),
                Err(e) => e.to_string(),
            },
            other => no_answer(&other),
        };
        Err(AskError::NoAnswer { what: "who it is", reason })
    }
}

fn no_answer(outcome: &CommandOutcome) -> String {
    match outcome {
        CommandOutcome::Failure { status, errmsg } => format!("it says {status}: {errmsg}"),
        CommandOutcome::Error { errmsg } => errmsg.clone(),
        other => other.kind().to_owned(),
    }
}
