//! The xp2pInfo: all that a viewer needs to find a camera and to prove that it may watch.
//!
//! Text: `XP2P`, the payload in base64url without padding (RFC 4648 section 5), `%`, the device's version, flag
//! letters:
//!
//! ```text
//! XP2PAQ...%2.4.0
//! ```
//!
//! Payload, at most [`MAX_PAYLOAD`] bytes:
//!
//! | bytes | |
//! |---|---|
//! | 1 | format, 1 |
//! | 32 | public key of the camera |
//! | 16 | ticket |
//! | 1 | number of servers, 1 to 3; for each: |
//! | 32 | its public key |
//! | 1 | number of its addresses, 1 to 4, plus 64 if a TCP port follows them; for each: |
//! | 1 | kind: 4, 6 or 0 |
//! | 4, 16, or 1 + n | the address; for kind 0 the length of a name and the name |
//! | 2 | port, big endian, not 0 |
//! | 2 | with the 64: the server's port for the relay over TCP, not 0; else it is that of UDP |
//! | 1 | number of addresses in the local network, 0 to 4; each as above, of kind 4 or 6 |
//! | 1 | bytes of the capability, 0 or 86 |
//! | 0 or 86 | the [`Capability`], signed by this camera |
//!
//! There is one text for one value only: no padding, no stray bits, no capitals in names, nothing twice, nothing
//! behind the end.

mod addr;
mod capability;
mod error;
mod lan;
mod payload;
mod rights;
#[cfg(test)]
mod tests;
mod text;
mod transit;
mod version;

use std::fmt;
use std::net::SocketAddr;

pub use self::addr::{
    AddrError, DnsName, Host, HostPort, HostPortError, MAX_HOST_PORT, MAX_LABEL, MAX_NAME, NameError,
    ServerAddr, ServerSpec,
};
pub use self::capability::{
    CAPABILITY_LEN, CAPABILITY_TEXT_LEN, Capability, CapabilityError, CapabilityFormatError, NarrowError,
    SERIAL_LEN,
};
pub use self::error::{BuildInfoError, InfoError, PayloadError, PayloadReason};
pub use self::lan::{LanName, LanNameError};
use self::payload::Payload;
pub use self::rights::{Right, Rights, RightsError};
pub use self::transit::transit_serial;
pub use self::version::{Feature, FlagError, Flags, MAX_VERSION_TEXT, Version, VersionError, VersionTooLow};
use crate::keys::{PublicKey, Ticket};
use crate::link::{TcpPort, TcpRelay};

/// First characters of an xp2pInfo.
pub const PREFIX: &str = "XP2P";
/// Longest payload in bytes.
pub const MAX_PAYLOAD: usize = 512;
/// Longest text in bytes: prefix, payload, `%`, version, one flag.
pub const MAX_TEXT: usize = PREFIX.len() + (MAX_PAYLOAD * 4).div_ceil(3) + 1 + MAX_VERSION_TEXT + 1;
/// Most servers in one xp2pInfo.
pub const MAX_SERVERS: usize = 3;
/// Most addresses of one server.
pub const MAX_ADDRS: usize = 4;
/// Most addresses of the camera in its local network.
pub const MAX_LAN: usize = 4;
/// The payload format that this version reads and writes.
pub const PAYLOAD_FORMAT: u8 = 1;

/// An xp2pInfo. Every value prints and parses; there is no other way to get one.
///
/// With a capability in it, its text is a secret: whoever has it can use the camera. So there is no `Display`, and
/// `Debug` shows neither capability nor ticket.
#[derive(Clone, PartialEq, Eq)]
pub struct Xp2pInfo {
    payload: Payload,
    version: Version,
    flags: Flags,
}

impl Xp2pInfo {
    /// An xp2pInfo without capability, local addresses and flags.
    ///
    /// # Errors
    ///
    /// When there are no or too many servers or addresses, some twice, some where nobody can be, or all together
    /// too long.
    pub fn new(
        camera: PublicKey,
        ticket: Ticket,
        servers: Vec<ServerAddr>,
        version: Version,
    ) -> Result<Self, BuildInfoError> {
        let payload = Payload { camera, ticket, servers, lan: Vec::new(), capability: None };
        Self { payload, version, flags: Flags::default() }.checked()
    }

    /// The same with other addresses of the camera in its local network.
    ///
    /// # Errors
    ///
    /// When there are more than [`MAX_LAN`], some twice, some where nobody can be, or all together too long.
    pub fn with_lan(mut self, lan: Vec<SocketAddr>) -> Result<Self, BuildInfoError> {
        self.payload.lan = lan;
        self.checked()
    }

    /// The same with another capability, or none.
    ///
    /// # Errors
    ///
    /// When it was not signed by this camera, or all together is too long.
    pub fn with_capability(mut self, capability: Option<Capability>) -> Result<Self, BuildInfoError> {
        self.payload.capability = capability;
        self.checked()
    }

    /// The same with other flags.
    #[must_use]
    pub fn with_flags(mut self, flags: Flags) -> Self {
        self.flags = flags;
        self
    }

    /// Reads the binary part; `version` and `flags` are what stands behind it in the text form.
    ///
    /// # Errors
    ///
    /// What is wrong and where.
    pub fn from_payload(bytes: &[u8], version: Version, flags: Flags) -> Result<Self, PayloadError> {
        Ok(Self { payload: Payload::parse(bytes)?, version, flags })
    }

    /// The binary part.
    pub fn to_payload(&self) -> Vec<u8> {
        self.payload.encode()
    }

    /// The key that the camera proves.
    pub const fn camera(&self) -> &PublicKey {
        &self.payload.camera
    }

    /// The name under which servers find the camera.
    pub const fn ticket(&self) -> &Ticket {
        &self.payload.ticket
    }

    /// The servers, the best first.
    pub fn servers(&self) -> &[ServerAddr] {
        &self.payload.servers
    }

    /// Where a server takes over TCP what it does not get over UDP. `at` is where the server was found: one of its addresses,
    /// or what its name was resolved to.
    pub fn tcp_relay(server: &ServerAddr, at: SocketAddr) -> TcpRelay {
        TcpPort::from_option(server.tcp_port).of(at, Some(server.key))
    }

    /// Addresses of the camera in its local network.
    pub fn lan(&self) -> &[SocketAddr] {
        &self.payload.lan
    }

    /// What the bearer may do. Its signature is the camera's; epoch and expiry are not checked.
    pub const fn capability(&self) -> Option<&Capability> {
        self.payload.capability.as_ref()
    }

    /// The device's version.
    pub const fn version(&self) -> Version {
        self.version
    }

    /// The device's flags.
    pub const fn flags(&self) -> Flags {
        self.flags
    }

    /// One set of rules for what is made and what is read: what is made is read back.
    fn checked(mut self) -> Result<Self, BuildInfoError> {
        self.payload =
            Payload::parse(&self.payload.encode()).map_err(|error| BuildInfoError(error.reason))?;
        Ok(self)
    }
}

impl fmt::Debug for Xp2pInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Xp2pInfo")
            .field("camera", self.camera())
            .field("ticket", self.ticket())
            .field("servers", &self.servers())
            .field("lan", &self.lan())
            .field("capability", &self.capability())
            .field("version", &self.version.to_string())
            .field("flags", &self.flags)
            .finish()
    }
}
