//! The numbered results that the plug-ins document, kept as they are.

use std::fmt;

/// A documented result code. `as i32` gives the number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(i32)]
pub enum ErrorCode {
    /// Success.
    Ok = 0,
    /// A parameter is missing or wrong.
    Parameter = -2000,
    /// The xp2pInfo is missing, malformed, or of another device.
    Xp2pInfoInvalid = -2001,
    /// The module is not initialised.
    NotInitialised = -2002,
    /// The module was started twice.
    ModuleStartedTwice = -2003,
    /// The action is not supported.
    Unsupported = -2004,
    /// The device's version lacks the feature.
    DeviceVersionTooLow = -2005,
    /// A NAT probe or reset is already running.
    ProbeRunning = -2201,
    /// The NAT probe failed.
    ProbeFailed = -2202,
    /// The local server failed.
    LocalServer = -2301,
    /// A service with this id was started before.
    ServiceStartedTwice = -2401,
    /// The stream could not be started.
    StreamStartFailed = -2402,
    /// The service is not started.
    ServiceNotStarted = -2403,
    /// Neither UDP nor TCP sockets are possible here.
    EnvironmentUnsupported = -2404,
    /// Encryption failed on the sending side.
    EncryptionFailed = -2501,
    /// Decryption failed on the receiving side.
    DecryptionFailed = -2502,
    /// Talk could not be started.
    VoiceStartFailed = -2601,
    /// A download failed.
    DownloadFailed = -2701,
    /// 1v1 to 1vN: the query of the device's status failed.
    DeviceStatusFailed = -2801,
}

impl ErrorCode {
    /// All codes, in the order of the documentation.
    pub const ALL: [Self; 19] = [
        Self::Ok,
        Self::Parameter,
        Self::Xp2pInfoInvalid,
        Self::NotInitialised,
        Self::ModuleStartedTwice,
        Self::Unsupported,
        Self::DeviceVersionTooLow,
        Self::ProbeRunning,
        Self::ProbeFailed,
        Self::LocalServer,
        Self::ServiceStartedTwice,
        Self::StreamStartFailed,
        Self::ServiceNotStarted,
        Self::EnvironmentUnsupported,
        Self::EncryptionFailed,
        Self::DecryptionFailed,
        Self::VoiceStartFailed,
        Self::DownloadFailed,
        Self::DeviceStatusFailed,
    ];

    /// The number.
    pub const fn number(self) -> i32 {
        self as i32
    }

    /// The code of a number.
    pub fn from_number(number: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.number() == number)
    }

    /// What it means, in a few words.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Ok => "success",
            Self::Parameter => "a parameter is missing or wrong",
            Self::Xp2pInfoInvalid => "the xp2pInfo is invalid",
            Self::NotInitialised => "the module is not initialised",
            Self::ModuleStartedTwice => "the module was started twice",
            Self::Unsupported => "not supported",
            Self::DeviceVersionTooLow => "the device's version is too low",
            Self::ProbeRunning => "a NAT probe is already running",
            Self::ProbeFailed => "the NAT probe failed",
            Self::LocalServer => "the local server failed",
            Self::ServiceStartedTwice => "the service was started twice",
            Self::StreamStartFailed => "the stream could not be started",
            Self::ServiceNotStarted => "the service is not started",
            Self::EnvironmentUnsupported => "this environment has no usable sockets",
            Self::EncryptionFailed => "encryption failed",
            Self::DecryptionFailed => "decryption failed",
            Self::VoiceStartFailed => "talk could not be started",
            Self::DownloadFailed => "the download failed",
            Self::DeviceStatusFailed => "the device's status could not be queried",
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.text(), self.number())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_the_documented_ones_and_unique() {
        let numbers: Vec<i32> = ErrorCode::ALL.iter().map(|c| c.number()).collect();
        let documented = [
            0, -2000, -2001, -2002, -2003, -2004, -2005, -2201, -2202, -2301, -2401, -2402, -2403, -2404,
            -2501, -2502, -2601, -2701, -2801,
        ];
        assert_eq!(numbers, documented);
        for code in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_number(code.number()), Some(code));
        }
        assert_eq!(ErrorCode::from_number(-1), None);
    }
}
