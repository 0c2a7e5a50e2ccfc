//! Relay tickets: the name under which a server finds a camera.

use std::fmt;

use super::{PublicKey, SecretKey};

const NONCE_CONTEXT: &str = "xp2p 2026-11 ticket nonce";

/// Names a camera at its servers. Stable across restarts; changes with the capability epoch (decision 2).
///
/// It is the first half of a hash over the camera's key, so that a server can check a registration without having
/// heard of the camera before, and it tells the key to nobody who does not know it already.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket([u8; Self::LEN]);

impl Ticket {
    /// Bytes of a ticket.
    pub const LEN: usize = 16;

    /// The ticket of `camera` for `nonce`: the first 16 bytes of BLAKE3(key, nonce).
    pub fn new(camera: &PublicKey, nonce: &TicketNonce) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(camera.as_bytes()).update(&nonce.0);
        Self(half(hasher.finalize().as_bytes()))
    }

    /// A ticket as it came from somewhere.
    pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes.
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Whoever knows a whole ticket can knock at its camera; logs need only tell tickets apart.
        let [a, b, c, d, ..] = self.0;
        write!(f, "Ticket({a:02x}{b:02x}{c:02x}{d:02x}..)")
    }
}

/// What makes a ticket one of many that a camera key could have.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TicketNonce([u8; Self::LEN]);

impl TicketNonce {
    /// Bytes of a nonce.
    pub const LEN: usize = 16;

    /// The nonce of an epoch. It follows from the secret key, so that nobody else can tell the tickets of the
    /// epochs to come, and there is nothing to store.
    pub fn of_epoch(secret: &SecretKey, epoch: u32) -> Self {
        Self(half(&secret.derive(NONCE_CONTEXT, &epoch.to_be_bytes())))
    }

    /// A nonce as it came from somewhere.
    pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes.
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

impl fmt::Debug for TicketNonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TicketNonce(..)")
    }
}

fn half(hash: &[u8; 32]) -> [u8; 16] {
    let mut out = [0; 16];
    out.copy_from_slice(&hash[..16]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tickets_are_stable_and_change_with_the_epoch_and_the_key() {
        let (a, b) = (SecretKey::from_bytes([1; 32]), SecretKey::from_bytes([2; 32]));
        let ticket = |key: &SecretKey, epoch| Ticket::new(&key.public(), &TicketNonce::of_epoch(key, epoch));
        assert_eq!(ticket(&a, 0), ticket(&a, 0));
        assert_ne!(ticket(&a, 0), ticket(&a, 1));
        assert_ne!(ticket(&a, 0), ticket(&b, 0));
    }

    #[test]
    fn logs_do_not_show_a_whole_ticket() {
        assert_eq!(format!("{:?}", Ticket::from_bytes([0xab; 16])), "Ticket(abababab..)");
    }
}
