//! What a device answers.

use std::fmt;

use crate::info::CapabilityError;

/// The statuses that a device sends, with the numbers of the plug-ins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u16)]
pub enum Status {
    /// Data follows.
    Ok = 200,
    /// Not HTTP, or not as this protocol has it.
    BadRequest = 400,
    /// No capability, or one that does not hold (any more).
    Unauthorized = 401,
    /// A capability that does not allow this.
    Forbidden = 403,
    /// Bad parameters, or no such channel or file.
    NotFound = 404,
    /// More apps than the device serves.
    TooManyApps = 405,
    /// The device does not know the command.
    CommandUnsupported = 406,
    /// Somebody else talks to the device.
    TalkBusy = 409,
    /// More viewers than the device serves.
    TooManyViewers = 503,
}

impl Status {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Ok,
        Self::BadRequest,
        Self::Unauthorized,
        Self::Forbidden,
        Self::NotFound,
        Self::TooManyApps,
        Self::CommandUnsupported,
        Self::TalkBusy,
        Self::TooManyViewers,
    ];

    /// The number.
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// The status of a number, if a device of ours sends it.
    pub fn from_number(number: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.number() == number)
    }

    /// What it means, in a few words; also the reason phrase on the wire.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::BadRequest => "Bad request",
            Self::Unauthorized => "No valid capability",
            Self::Forbidden => "Not allowed by the capability",
            Self::NotFound => "Bad parameters, or no such channel or file",
            Self::TooManyApps => "Too many apps are connected",
            Self::CommandUnsupported => "The device does not know this command",
            Self::TalkBusy => "Somebody else talks to the device",
            Self::TooManyViewers => "Too many viewers",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.number(), self.text())
    }
}

impl From<&CapabilityError> for Status {
    fn from(error: &CapabilityError) -> Self {
        match error {
            CapabilityError::RightMissing { .. } => Self::Forbidden,
            _ => Self::Unauthorized,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::info::{Right, Rights};

    #[test]
    fn numbers_are_the_documented_ones() {
        let numbers = Status::ALL.map(Status::number);
        assert_eq!(numbers, [200, 400, 401, 403, 404, 405, 406, 409, 503]);
        for status in Status::ALL {
            assert_eq!(Status::from_number(status.number()), Some(status));
            assert!(status.text().bytes().all(|b| b.is_ascii_graphic() || b == b' '));
        }
        assert_eq!(Status::from_number(500), None);
    }

    #[test]
    fn a_missing_right_is_forbidden_and_all_else_unauthorized() {
        let missing = CapabilityError::RightMissing { right: Right::Live, granted: Rights::ALL };
        assert_eq!(Status::from(&missing), Status::Forbidden);
        assert_eq!(Status::from(&CapabilityError::BadSignature), Status::Unauthorized);
        assert_eq!(Status::from(&CapabilityError::ClockUnknown), Status::Unauthorized);
    }
}
