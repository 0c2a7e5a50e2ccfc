//! How others reach a member: opaque to scheduler and tracker.
//!
//! | field | bytes |
//! |---|---|
//! | version, 1 | 1 |
//! | public key | 32 |
//! | ticket at the server of the tracker | 16 |
//!
//! More may follow in later versions; it is passed over.

use bytes::Bytes;

use crate::keys::{KEY_LEN, PublicKey, Ticket};
use crate::swarm::PeerId;

const VERSION: u8 = 1;

/// How to reach a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Contact {
    pub(super) key: PublicKey,
    pub(super) ticket: Ticket,
}

impl Contact {
    pub(super) fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(1 + KEY_LEN + Ticket::LEN);
        out.push(VERSION);
        out.extend_from_slice(self.key.as_bytes());
        out.extend_from_slice(self.ticket.as_bytes());
        out.into()
    }

    /// The contact of `peer`. `None`: malformed, or of somebody else.
    pub(super) fn parse(bytes: &[u8], peer: PeerId) -> Option<Self> {
        let [VERSION, rest @ ..] = bytes else { return None };
        let (key, rest) = rest.split_first_chunk::<KEY_LEN>()?;
        let (ticket, _) = rest.split_first_chunk::<{ Ticket::LEN }>()?;
        let key = PublicKey::from_bytes(*key).ok()?;
        (PeerId::of(&key) == peer).then_some(Self { key, ticket: Ticket::from_bytes(*ticket) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::SecretKey;

    #[test]
    fn a_contact_comes_back_and_belongs_to_one_member() {
        let key = SecretKey::from_bytes([1; 32]).public();
        let contact = Contact { key, ticket: Ticket::from_bytes([7; 16]) };
        let bytes = contact.encode();
        assert_eq!(Contact::parse(&bytes, PeerId::of(&key)), Some(contact));
        assert_eq!(Contact::parse(&bytes, PeerId(1)), None, "the key of another member");
        for len in 0..bytes.len() {
            assert_eq!(Contact::parse(&bytes[..len], PeerId::of(&key)), None);
        }
    }
}
