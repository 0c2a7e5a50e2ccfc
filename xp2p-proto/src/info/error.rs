//! What can be wrong with an xp2pInfo, and where.

use thiserror::Error;

use super::addr::{AddrError, NameError};
use super::capability::{CAPABILITY_LEN, CapabilityFormatError};
use super::version::{FlagError, VersionError};
use super::{MAX_ADDRS, MAX_LAN, MAX_PAYLOAD, MAX_SERVERS, MAX_TEXT, PAYLOAD_FORMAT, PREFIX};
use crate::error::ErrorCode;

/// What is wrong with a payload.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PayloadReason {
    /// It ends too early.
    #[error("it ends inside {what}; copy it again as a whole")]
    Truncated {
        /// Inside what.
        what: &'static str,
    },
    /// Something follows its end.
    #[error("{count} bytes follow the end; copy it again as a whole")]
    Trailing {
        /// How many.
        count: usize,
    },
    /// Too long.
    #[error("{found} bytes, at most {MAX_PAYLOAD} are allowed; name fewer or shorter server addresses")]
    TooLong {
        /// Its bytes.
        found: usize,
    },
    /// A format that we do not know.
    #[error("payload format {found} is unknown, this software knows {PAYLOAD_FORMAT}; update it")]
    Format {
        /// The format.
        found: u8,
    },
    /// Not a key.
    #[error("these bytes are no valid public key of the camera; copy the xp2pInfo again")]
    CameraKey,
    /// Not a key.
    #[error("these bytes are no valid public key of a server; copy the xp2pInfo again")]
    ServerKey,
    /// No server, or too many.
    #[error("{found} servers, 1 to {MAX_SERVERS} are allowed")]
    ServerCount {
        /// How many.
        found: u8,
    },
    /// No address, or too many.
    #[error("{found} addresses of one server, 1 to {MAX_ADDRS} are allowed")]
    AddressCount {
        /// How many.
        found: u8,
    },
    /// Too many.
    #[error("{found} addresses in the local network, at most {MAX_LAN} are allowed")]
    LanCount {
        /// How many.
        found: u8,
    },
    /// A kind of address that we do not know.
    #[error("address kind {found} is unknown here (4: IPv4, 6: IPv6, 0: a name, for servers only)")]
    AddressKind {
        /// The kind.
        found: u8,
    },
    /// An address where nobody is.
    #[error(transparent)]
    Addr(AddrError),
    /// Not a name.
    #[error(transparent)]
    Name(NameError),
    /// The same key again.
    #[error("two servers have the same key; name one server with several addresses instead")]
    ServerTwice,
    /// The same address again.
    #[error("the same address is there twice; name each once")]
    AddressTwice,
    /// Neither nothing nor the length of a capability.
    #[error("a capability of {found} bytes; it has {CAPABILITY_LEN}, or 0 when there is none")]
    CapabilityLength {
        /// Its bytes.
        found: u8,
    },
    /// Malformed.
    #[error("the capability is malformed: {0}")]
    Capability(CapabilityFormatError),
    /// Signed by somebody else.
    #[error("the capability was not signed by this camera, or was changed since; ask for a new xp2pInfo")]
    ForeignCapability,
}

/// What is wrong with a payload, and where.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("byte {offset} of the payload: {reason}")]
pub struct PayloadError {
    /// Offset of the first wrong byte, from 0.
    pub offset: usize,
    /// What is wrong.
    pub reason: PayloadReason,
}

/// Why a text is no xp2pInfo. All positions count characters from 0.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InfoError {
    /// Nothing there.
    #[error("the xp2pInfo is empty")]
    Empty,
    /// Too long.
    #[error("too long for an xp2pInfo ({found} bytes, at most {MAX_TEXT}); copy nothing else with it")]
    TooLong {
        /// Bytes found.
        found: usize,
    },
    /// Begins with something else.
    #[error("character {position}: an xp2pInfo begins with {PREFIX}; copy it from its first character on")]
    Prefix {
        /// Position of the first wrong character.
        position: usize,
    },
    /// Of the vendor's cloud.
    #[error(
        "this is an xp2pInfo of the vendor's closed cloud ({payload} bytes); this software does not speak that protocol. \
         Run `xp2p camera` at the camera and use the xp2pInfo that it prints"
    )]
    Vendor {
        /// Bytes of its payload.
        payload: usize,
    },
    /// No version.
    #[error("character {position}: the xp2pInfo ends without its version (like %2.4.0); copy it to its end")]
    NoVersion {
        /// Where it ends.
        position: usize,
    },
    /// A character that base64url does not have.
    #[error("character {position}: `{}` is not base64url (A-Z a-z 0-9 - _); copy it as one piece", found.escape_default())]
    Character {
        /// Position of the character.
        position: usize,
        /// The character.
        found: char,
    },
    /// Cut: base64url has no text of this length, or its last bits are not zero.
    #[error(
        "character {position}: the base64url part does not end here; a character is missing or wrong, copy it again"
    )]
    Base64End {
        /// Position of the last character.
        position: usize,
    },
    /// Not a version.
    #[error("character {position}: {error}")]
    Version {
        /// Position of the first wrong character.
        position: usize,
        /// Why; its own position counts from the start of the version.
        error: VersionError,
    },
    /// An unknown flag.
    #[error("character {position}: {error}")]
    Flag {
        /// Position of the letter.
        position: usize,
        /// Why; its own position counts from the first flag.
        error: FlagError,
    },
    /// The payload is malformed.
    #[error("character {position}: {error}")]
    Payload {
        /// Position of the character with the first bit of the wrong byte.
        position: usize,
        /// What is wrong with it.
        error: PayloadError,
    },
}

impl InfoError {
    /// The documented code: -2001.
    pub const fn code(&self) -> ErrorCode {
        ErrorCode::Xp2pInfoInvalid
    }

    /// Position of the first wrong character, from 0.
    pub const fn position(&self) -> usize {
        match self {
            Self::Empty => 0,
            Self::TooLong { .. } => MAX_TEXT,
            Self::Vendor { .. } => PREFIX.len(),
            Self::Prefix { position }
            | Self::NoVersion { position }
            | Self::Character { position, .. }
            | Self::Base64End { position }
            | Self::Version { position, .. }
            | Self::Flag { position, .. }
            | Self::Payload { position, .. } => *position,
        }
    }
}

/// Why an xp2pInfo cannot be made of these parts.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("no xp2pInfo can hold this: {0}")]
pub struct BuildInfoError(pub PayloadReason);

impl BuildInfoError {
    /// The documented code: -2001.
    pub const fn code(&self) -> ErrorCode {
        ErrorCode::Xp2pInfoInvalid
    }
}
