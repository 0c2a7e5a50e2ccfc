//! Names of swarms and of their members.

use std::fmt;

use crate::keys::PublicKey;

/// Names a live stream that viewers share: the first 16 bytes of a BLAKE3 hash over its address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId([u8; Self::LEN]);

impl StreamId {
    /// Bytes of an id.
    pub const LEN: usize = 16;

    /// An id as it came from somewhere.
    pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes.
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

impl fmt::Debug for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = self.0;
        write!(f, "StreamId({a:02x}{b:02x}{c:02x}{d:02x}..)")
    }
}

/// Names a member of a swarm within it: the first eight bytes of its public key. The tracker keeps them unique, and
/// whoever connects checks the whole key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub u64);

impl PeerId {
    /// The id of the holder of `key`.
    pub fn of(key: &PublicKey) -> Self {
        let [a, b, c, d, e, f, g, h, ..] = *key.as_bytes();
        Self(u64::from_be_bytes([a, b, c, d, e, f, g, h]))
    }

    /// The four bytes by which a [`Path`](super::Path) names it.
    pub const fn short(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerId({:08x}..)", self.0 >> 32)
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0 >> 32)
    }
}
