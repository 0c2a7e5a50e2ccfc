//! What a member shows to others so that they know that the tracker has let it in.
//!
//! | field | bytes |
//! |---|---|
//! | version, 1 | 1 |
//! | door, see [`DoorTag`] | 8 |
//! | expiry, unix seconds of the server's clock: the first one in which it does not hold | 8 |
//! | Ed25519 signature of the server | 64 |
//!
//! The signature covers `"xp2p membership v1\0"`, the stream id, the member's public key, and the 17 bytes before it. Stream and
//! member are known to whoever reads it, the member from the handshake of its connection: in the hands of anybody else, or
//! at another stream, the same bytes are no token.

use std::fmt;

use thiserror::Error;

use crate::keys::{PublicKey, SIGNATURE_LEN, SecretKey};
use crate::swarm::StreamId;

/// Bytes of a token.
pub const TOKEN_LEN: usize = HEAD_LEN + SIGNATURE_LEN;
/// Version, door, expiry: the bytes before the signature.
const HEAD_LEN: usize = 1 + DoorTag::LEN + 8;
const VERSION: u8 = 1;
/// Keeps these signatures apart from all others that a server's key makes.
const CONTEXT: &[u8] = b"xp2p membership v1\0";
/// What tags are derived under.
const DOOR_CONTEXT: &str = "xp2p 2026-11 door of a stream";

/// Under which conditions the tracker let members in, so that those who were let in before they changed can be told from those
/// who came after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DoorTag([u8; Self::LEN]);

impl DoorTag {
    /// Bytes of a tag.
    pub const LEN: usize = 8;
    /// Of a stream that is for everybody.
    pub const OPEN: Self = Self([0; Self::LEN]);

    /// Of a stream that is for those who have a capability of `camera` of this epoch: the first 8 bytes of BLAKE3 over both.
    pub fn of(camera: &PublicKey, epoch: u32) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(DOOR_CONTEXT);
        hasher.update(camera.as_bytes()).update(&epoch.to_be_bytes());
        let mut tag = [0; Self::LEN];
        // 8 of 32 bytes.
        tag.copy_from_slice(&hasher.finalize().as_bytes()[..Self::LEN]);
        Self(tag)
    }

    /// The 8 bytes.
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

/// A server's word that somebody is a member of a swarm. Short-lived; of no use to anybody but the member.
#[derive(Clone, PartialEq, Eq)]
pub struct MembershipToken {
    door: DoorTag,
    expiry: u64,
    signature: [u8; SIGNATURE_LEN],
}

/// Why bytes are no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TokenError {
    /// Wrong length.
    #[error("a membership token has {TOKEN_LEN} bytes, this has {found}")]
    Length {
        /// Bytes found.
        found: usize,
    },
    /// A version that we do not know.
    #[error("version {found} of membership tokens is unknown, this software knows {VERSION}; update it")]
    Version {
        /// The version.
        found: u8,
    },
}

impl MembershipToken {
    /// Signs one with the identity of a server.
    pub fn issue(
        server: &SecretKey,
        stream: &StreamId,
        member: &PublicKey,
        door: DoorTag,
        expiry: u64,
    ) -> Self {
        let mut token = Self { door, expiry, signature: [0; SIGNATURE_LEN] };
        token.signature = server.sign(&token.message(stream, member));
        token
    }

    /// Reads a token. This does not check the signature; [`is_signed_by`](Self::is_signed_by) does.
    ///
    /// # Errors
    ///
    /// When the bytes have another length or an unknown version.
    pub fn parse(bytes: &[u8]) -> Result<Self, TokenError> {
        let bytes: &[u8; TOKEN_LEN] =
            bytes.try_into().map_err(|_| TokenError::Length { found: bytes.len() })?;
        let ([version], rest) = bytes.split_first_chunk().expect("81 bytes, checked above");
        let (door, rest) = rest.split_first_chunk().expect("80 bytes are left");
        let (expiry, signature) = rest.split_first_chunk().expect("72 bytes are left");
        if *version != VERSION {
            return Err(TokenError::Version { found: *version });
        }
        Ok(Self {
            door: DoorTag(*door),
            expiry: u64::from_be_bytes(*expiry),
            signature: signature.try_into().expect("81 - 17 bytes are 64"),
        })
    }

    /// The 81 bytes.
    pub fn to_bytes(&self) -> [u8; TOKEN_LEN] {
        let mut bytes = [0; TOKEN_LEN];
        bytes[..HEAD_LEN].copy_from_slice(&self.head());
        bytes[HEAD_LEN..].copy_from_slice(&self.signature);
        bytes
    }

    /// Whether the server of key `server` signed it for `member` at `stream`, whatever its door and expiry.
    pub fn is_signed_by(&self, server: &PublicKey, stream: &StreamId, member: &PublicKey) -> bool {
        server.verify(&self.message(stream, member), &self.signature)
    }

    /// Under which conditions the member was let in.
    pub const fn door(&self) -> DoorTag {
        self.door
    }

    /// The unix second of the server's clock from which on it does not hold.
    pub const fn expiry(&self) -> u64 {
        self.expiry
    }

    fn head(&self) -> [u8; HEAD_LEN] {
        let mut head = [0; HEAD_LEN];
        head[0] = VERSION;
        head[1..=DoorTag::LEN].copy_from_slice(&self.door.0);
        head[1 + DoorTag::LEN..].copy_from_slice(&self.expiry.to_be_bytes());
        head
    }

    fn message(&self, stream: &StreamId, member: &PublicKey) -> Vec<u8> {
        [CONTEXT, stream.as_bytes(), member.as_bytes(), &self.head()].concat()
    }
}

impl fmt::Debug for MembershipToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the signature: nobody needs it in a log.
        f.debug_struct("MembershipToken")
            .field("door", &self.door)
            .field("expiry", &self.expiry)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const STREAM: StreamId = StreamId::from_bytes([7; 16]);
    const EXPIRY: u64 = 1_800_000_300;

    fn key(n: u8) -> SecretKey {
        SecretKey::from_bytes([n; 32])
    }

    fn token() -> MembershipToken {
        let door = DoorTag::of(&key(9).public(), 3);
        MembershipToken::issue(&key(1), &STREAM, &key(2).public(), door, EXPIRY)
    }

    fn holds(token: &MembershipToken) -> bool {
        token.is_signed_by(&key(1).public(), &STREAM, &key(2).public())
    }

    #[test]
    fn a_token_comes_back_and_holds_for_its_member_and_stream_only() {
        let token = token();
        assert_eq!(MembershipToken::parse(&token.to_bytes()), Ok(token.clone()));
        assert_eq!((token.door(), token.expiry()), (DoorTag::of(&key(9).public(), 3), EXPIRY));
        assert!(holds(&token));
        assert!(!token.is_signed_by(&key(3).public(), &STREAM, &key(2).public()), "another server");
        assert!(!token.is_signed_by(&key(1).public(), &STREAM, &key(3).public()), "another member");
        let other = StreamId::from_bytes([8; 16]);
        assert!(!token.is_signed_by(&key(1).public(), &other, &key(2).public()), "another stream");
        let own = MembershipToken::issue(&key(2), &STREAM, &key(2).public(), DoorTag::OPEN, EXPIRY);
        assert!(!holds(&own), "made by the member itself");
    }

    #[test]
    fn no_part_of_a_token_is_one() {
        let bytes = token().to_bytes();
        for len in 0..bytes.len() {
            assert_eq!(MembershipToken::parse(&bytes[..len]), Err(TokenError::Length { found: len }));
        }
        let more = [&bytes[..], &[0]].concat();
        assert_eq!(MembershipToken::parse(&more), Err(TokenError::Length { found: TOKEN_LEN + 1 }));
    }

    #[test]
    fn every_changed_bit_is_noticed() {
        let bytes = token().to_bytes();
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes;
            changed[bit / 8] ^= 1 << (bit % 8);
            match MembershipToken::parse(&changed) {
                Ok(token) => assert!(!holds(&token), "bit {bit}"),
                Err(error) => {
                    assert_eq!((error, bit / 8), (TokenError::Version { found: changed[0] }, 0));
                }
            }
        }
    }

    #[test]
    fn doors_differ_by_camera_and_epoch() {
        let tags = [
            DoorTag::OPEN,
            DoorTag::of(&key(9).public(), 3),
            DoorTag::of(&key(9).public(), 4),
            DoorTag::of(&key(8).public(), 3),
        ];
        for (n, tag) in tags.iter().enumerate() {
            assert!(!tags[n + 1..].contains(tag), "{n}");
        }
    }

    #[test]
    fn a_log_holds_no_token() {
        let token = token();
        let shown = format!("{token:?}");
        assert!(shown.contains("1800000300") && shown.len() < 120, "{shown}");
    }

    proptest! {
        #[test]
        fn whatever_comes_is_refused_or_comes_back(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(token) = MembershipToken::parse(&bytes) {
                prop_assert_eq!(&token.to_bytes()[..], &bytes[..]);
                prop_assert!(!holds(&token));
            }
        }

        #[test]
        fn whatever_a_server_signs_comes_back(door in any::<[u8; 8]>(), expiry in any::<u64>(), version in any::<u8>()) {
            let token = MembershipToken::issue(&key(1), &STREAM, &key(2).public(), DoorTag(door), expiry);
            let mut bytes = token.to_bytes();
            prop_assert_eq!(MembershipToken::parse(&bytes), Ok(token));
            bytes[0] = version;
            prop_assert_eq!(MembershipToken::parse(&bytes).is_ok(), version == VERSION);
        }
    }
}
