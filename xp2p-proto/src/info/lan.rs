//! The name that a camera goes by in its own network, where only who holds its xp2pInfo recognises it.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::keys::{PublicKey, Ticket};

const CONTEXT: &str = "xp2p 2026-11 name in the local network";

/// The instance name of a camera for multicast discovery: a nonce, and a hash over the nonce that takes the camera's key and
/// ticket to make.
///
/// Whoever holds the xp2pInfo has both and finds out with one hash whether a name is that of the camera. To everybody else it
/// is 16 random bytes. With a fresh nonce at each start, a neighbour cannot tell by it that two names are the same camera's.
/// It proves nothing: whoever has seen it can repeat it, so the camera's key is what a connection is checked against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LanName {
    nonce: [u8; Self::HALF],
    tag: [u8; Self::HALF],
}

/// A text is not the name of a camera.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("not the name of a camera in the local network: that is 32 hexadecimal digits")]
pub struct LanNameError;

impl LanName {
    /// Bytes of the nonce, and of the hash.
    pub const HALF: usize = 8;

    /// The name of the camera with this key and ticket, for one nonce.
    pub fn new(camera: &PublicKey, ticket: &Ticket, nonce: [u8; Self::HALF]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
        hasher.update(camera.as_bytes()).update(ticket.as_bytes()).update(&nonce);
        let mut tag = [0; Self::HALF];
        hasher.finalize_xof().fill(&mut tag);
        Self { nonce, tag }
    }

    /// Whether it is a name of the camera with this key and ticket.
    pub fn is_of(&self, camera: &PublicKey, ticket: &Ticket) -> bool {
        *self == Self::new(camera, ticket, self.nonce)
    }
}

impl fmt::Display for LanName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.nonce.iter().chain(&self.tag).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for LanName {
    type Err = LanNameError;

    fn from_str(text: &str) -> Result<Self, LanNameError> {
        let mut bytes = [0; 2 * Self::HALF];
        // Names of the DNS are the same in either case.
        let decoded = data_encoding::HEXLOWER_PERMISSIVE.decode_len(text.len()) == Ok(bytes.len())
            && data_encoding::HEXLOWER_PERMISSIVE.decode_mut(text.as_bytes(), &mut bytes).is_ok();
        if !decoded {
            return Err(LanNameError);
        }
        let (mut nonce, mut tag) = ([0; Self::HALF], [0; Self::HALF]);
        nonce.copy_from_slice(&bytes[..Self::HALF]);
        tag.copy_from_slice(&bytes[Self::HALF..]);
        Ok(Self { nonce, tag })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::SecretKey;

    fn camera(n: u8) -> (PublicKey, Ticket) {
        (SecretKey::from_bytes([n; 32]).public(), Ticket::from_bytes([n; Ticket::LEN]))
    }

    #[test]
    fn only_who_knows_key_and_ticket_recognises_a_name() {
        let (key, ticket) = camera(1);
        let (other_key, other_ticket) = camera(2);
        let name = LanName::new(&key, &ticket, *b"a nonce.");
        assert!(name.is_of(&key, &ticket));
        assert!(!name.is_of(&other_key, &ticket), "the ticket alone travels in the clear");
        assert!(!name.is_of(&key, &other_ticket), "after a revocation the name is another");
        let another = LanName::new(&key, &ticket, *b"a nonc3.");
        assert!(another.is_of(&key, &ticket));
        assert_ne!(name.tag, another.tag, "nothing of it stays");
    }

    #[test]
    fn names_survive_the_way_through_the_network() {
        let (key, ticket) = camera(1);
        let name = LanName::new(&key, &ticket, [0xa5; 8]);
        assert_eq!(name.to_string().parse(), Ok(name));
        assert_eq!(name.to_string().to_uppercase().parse(), Ok(name));
        for wrong in
            ["", "a5", "living room", &"a5".repeat(15), &"a5".repeat(17), &"x5".repeat(16), &"ä".repeat(16)]
        {
            assert_eq!(wrong.parse::<LanName>(), Err(LanNameError), "{wrong}");
        }
    }
}
