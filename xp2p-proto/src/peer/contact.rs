//! How others reach a member: opaque to scheduler and tracker.
//!
//! | field | bytes |
//! |---|---|
//! | version, 1 | 1 |
//! | public key | 32 |
//! | ticket at the server of the tracker | 16 |
//! | where the server sees it: 4 or 6, address, port | 1 + 4 or 16 + 2 |
//!
//! The server puts the address there and takes away what a member has put there itself, or members could make others send to
//! whom they like. More may follow in later versions; it is passed over.

use std::net::SocketAddr;

use bytes::Bytes;

use crate::keys::{KEY_LEN, PublicKey, Ticket};
use crate::swarm::PeerId;
use crate::wire::{address, put_address};

const VERSION: u8 = 1;

/// How to reach a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Contact {
    pub(super) key: PublicKey,
    pub(super) ticket: Ticket,
    /// Where the server sees it.
    pub(super) addr: Option<SocketAddr>,
}

/// Bytes of version, key and ticket.
const BASE: usize = 1 + KEY_LEN + Ticket::LEN;

/// The contact that a member has told a server, with nothing in it of where it is but what the server knows of that.
pub(crate) fn seen_at(contact: &Bytes, addr: SocketAddr) -> Bytes {
    let mut out = contact.slice(..contact.len().min(BASE)).to_vec();
    if out.len() < BASE {
        return contact.clone();
    }
    put_address(&mut out, SocketAddr::new(addr.ip().to_canonical(), addr.port()));
    out.into()
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
        let (ticket, rest) = rest.split_first_chunk::<{ Ticket::LEN }>()?;
        let key = PublicKey::from_bytes(*key).ok()?;
        (PeerId::of(&key) == peer).then_some(Self {
            key,
            ticket: Ticket::from_bytes(*ticket),
            addr: address(rest).ok().map(|(_, addr)| addr),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::SecretKey;

    #[test]
    fn a_contact_comes_back_and_belongs_to_one_member() {
        let key = SecretKey::from_bytes([1; 32]).public();
        let contact = Contact { key, ticket: Ticket::from_bytes([7; 16]), addr: None };
        let bytes = contact.encode();
        assert_eq!(Contact::parse(&bytes, PeerId::of(&key)), Some(contact));
        assert_eq!(Contact::parse(&bytes, PeerId(1)), None, "the key of another member");
        for len in 0..bytes.len() {
            assert_eq!(Contact::parse(&bytes[..len], PeerId::of(&key)), None);
        }
    }

    #[test]
    fn only_the_server_says_where_a_member_is() {
        let key = SecretKey::from_bytes([1; 32]).public();
        let bytes = Contact { key, ticket: Ticket::from_bytes([7; 16]), addr: None }.encode();
        let parse = |bytes: &Bytes| Contact::parse(bytes, PeerId::of(&key)).and_then(|c| c.addr);
        let other: SocketAddr = "198.51.100.1:7".parse().unwrap();
        for addr in ["192.0.2.7:99", "[2001:db8::7]:99"].map(|a| a.parse().unwrap()) {
            let seen = seen_at(&bytes, addr);
            assert_eq!(parse(&seen), Some(addr));
            assert_eq!(parse(&seen_at(&seen, other)), Some(other), "what a member says itself is taken away");
            (BASE..seen.len()).for_each(|len| assert_eq!(parse(&seen.slice(..len)), None));
        }
        let short = Bytes::from_static(b"short");
        assert_eq!(seen_at(&short, other), short);
    }
}
