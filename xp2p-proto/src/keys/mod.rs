//! Identities and what is derived from them: key pairs, relay tickets, the key file.
//!
//! A camera, a server and a viewer are each known by an Ed25519 public key (RFC 8032). There are no certificates.

mod file;
mod ticket;

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE64URL_NOPAD;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use thiserror::Error;

pub use self::file::{KeyFile, KeyFileError, MAX_KEY_FILE};
pub use self::ticket::{Ticket, TicketNonce};

/// Bytes of a public key, and of a secret one.
pub const KEY_LEN: usize = 32;
/// Bytes of a signature.
pub const SIGNATURE_LEN: usize = 64;

/// What the key that signs streams is derived under.
const STREAMS_CONTEXT: &str = "xp2p 2026-11 key that signs streams";
/// SubjectPublicKeyInfo of an Ed25519 key up to the key itself (RFC 8410 section 4).
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// PKCS #8 version 1 of an Ed25519 key up to the seed (RFC 8410 section 7).
const PKCS8_PREFIX: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// Why bytes or text are no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum KeyError {
    /// Wrong length.
    #[error("a key has {expected} bytes, this has {found}")]
    Length {
        /// Bytes of a key.
        expected: usize,
        /// Bytes found.
        found: usize,
    },
    /// Not base64url.
    #[error("not base64url at character {position}; a key has 43 of the characters A-Z a-z 0-9 - _")]
    Base64 {
        /// Position of the first wrong character, from 0.
        position: usize,
    },
    /// Not a point of the curve, or one of small order that anybody could sign for.
    #[error("these bytes are no valid Ed25519 public key")]
    NotAKey,
    /// Not the DER form of an Ed25519 key.
    #[error("not an Ed25519 SubjectPublicKeyInfo")]
    NotSpki,
}

/// The public half of an identity. Text form: base64url without padding, 43 characters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; KEY_LEN]);

impl PublicKey {
    /// Checks that `bytes` are a usable key: on the curve and not of small order.
    ///
    /// # Errors
    ///
    /// [`KeyError::NotAKey`].
    pub fn from_bytes(bytes: [u8; KEY_LEN]) -> Result<Self, KeyError> {
        match VerifyingKey::from_bytes(&bytes) {
            Ok(key) if !key.is_weak() => Ok(Self(bytes)),
            _ => Err(KeyError::NotAKey),
        }
    }

    /// Reads the DER form that TLS carries (RFC 7250).
    ///
    /// # Errors
    ///
    /// [`KeyError::NotSpki`] or [`KeyError::NotAKey`].
    pub fn from_spki_der(der: &[u8]) -> Result<Self, KeyError> {
        let key = der.strip_prefix(&SPKI_PREFIX).ok_or(KeyError::NotSpki)?;
        Self::from_bytes(key.try_into().map_err(|_| KeyError::NotSpki)?)
    }

    /// The DER form that TLS carries (RFC 7250).
    pub fn spki_der(&self) -> [u8; SPKI_PREFIX.len() + KEY_LEN] {
        let mut der = [0; SPKI_PREFIX.len() + KEY_LEN];
        der[..SPKI_PREFIX.len()].copy_from_slice(&SPKI_PREFIX);
        der[SPKI_PREFIX.len()..].copy_from_slice(&self.0);
        der
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; KEY_LEN] {
        &self.0
    }

    /// Whether the holder of this key signed `message`. Strict: one signature has one form only (RFC 8032 and the
    /// "taming" rules), so nobody can make a second valid form of a capability.
    pub fn verify(&self, message: &[u8], signature: &[u8; SIGNATURE_LEN]) -> bool {
        VerifyingKey::from_bytes(&self.0)
            .is_ok_and(|key| key.verify_strict(message, &Signature::from_bytes(signature)).is_ok())
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64URL_NOPAD.encode(&self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        Self::from_bytes(decode32(text)?)
    }
}

/// The secret half of an identity. Never printed, and wiped from memory when dropped.
#[derive(Clone)]
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// The identity that follows from 32 bytes, which must come from the operating system's randomness or a key
    /// file.
    pub fn from_bytes(seed: [u8; KEY_LEN]) -> Self {
        Self(SigningKey::from_bytes(&seed))
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// Signs `message` (Ed25519, deterministic).
    pub fn sign(&self, message: &[u8]) -> [u8; SIGNATURE_LEN] {
        self.0.sign(message).to_bytes()
    }

    /// The key with which the holder of this identity signs streams. It follows from the identity, so there is nothing more to
    /// store, and is another key, so that a signature of one kind is never one of the other.
    pub fn for_streams(&self) -> Self {
        Self::from_bytes(self.derive(STREAMS_CONTEXT, &[]))
    }

    /// The DER form that TLS libraries load (PKCS #8 version 1).
    pub(crate) fn pkcs8_der(&self) -> [u8; PKCS8_PREFIX.len() + KEY_LEN] {
        let mut der = [0; PKCS8_PREFIX.len() + KEY_LEN];
        der[..PKCS8_PREFIX.len()].copy_from_slice(&PKCS8_PREFIX);
        der[PKCS8_PREFIX.len()..].copy_from_slice(self.0.as_bytes());
        der
    }

    /// A secret for another purpose, bound to this identity. `context` names the purpose, unique in the project.
    pub(crate) fn derive(&self, context: &str, input: &[u8]) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_derive_key(context);
        hasher.update(self.0.as_bytes()).update(input);
        *hasher.finalize().as_bytes()
    }

    fn to_base64(&self) -> String {
        BASE64URL_NOPAD.encode(self.0.as_bytes())
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey(of {})", self.public())
    }
}

fn decode32(text: &str) -> Result<[u8; KEY_LEN], KeyError> {
    let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|e| match e.kind {
        data_encoding::DecodeKind::Length => {
            KeyError::Length { expected: KEY_LEN, found: text.len() * 3 / 4 }
        }
        _ => KeyError::Base64 { position: e.position },
    })?;
    bytes.try_into().map_err(|b: Vec<u8>| KeyError::Length { expected: KEY_LEN, found: b.len() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(n: u8) -> SecretKey {
        SecretKey::from_bytes([n; 32])
    }

    #[test]
    fn rfc_8032_test_vector_1() {
        let seed = data_encoding::HEXLOWER
            .decode(b"9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
            .unwrap();
        let key = SecretKey::from_bytes(seed.try_into().unwrap());
        let public = data_encoding::HEXLOWER.encode(key.public().as_bytes());
        assert_eq!(public, "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
        let signature = key.sign(b"");
        assert!(data_encoding::HEXLOWER.encode(&signature).starts_with("e5564300c360ac729086e2cc806e828a"));
        assert!(key.public().verify(b"", &signature));
    }

    #[test]
    fn text_and_der_forms_round_trip() {
        let key = secret(1).public();
        assert_eq!(key.to_string().parse(), Ok(key));
        assert_eq!(PublicKey::from_spki_der(&key.spki_der()), Ok(key));
        assert_eq!(PublicKey::from_spki_der(&key.spki_der()[1..]), Err(KeyError::NotSpki));
    }

    #[test]
    fn weak_and_broken_keys_are_refused() {
        assert_eq!(PublicKey::from_bytes([0; 32]), Err(KeyError::NotAKey), "a point of small order");
        let mut one = [0; 32];
        one[0] = 1;
        assert_eq!(PublicKey::from_bytes(one), Err(KeyError::NotAKey), "the neutral element");
        assert_eq!("abc".parse::<PublicKey>(), Err(KeyError::Length { expected: 32, found: 2 }));
        let text = secret(1).public().to_string().replacen(|_| true, "!", 1);
        assert_eq!(text.parse::<PublicKey>(), Err(KeyError::Base64 { position: 0 }));
    }

    #[test]
    fn a_signature_holds_for_its_key_and_message_only() {
        let signature = secret(1).sign(b"message");
        assert!(secret(1).public().verify(b"message", &signature));
        assert!(!secret(2).public().verify(b"message", &signature));
        assert!(!secret(1).public().verify(b"massage", &signature));
    }

    #[test]
    fn a_secret_key_never_prints_itself() {
        let key = secret(7);
        let shown = format!("{key:?}");
        assert!(!shown.contains(&key.to_base64()));
        assert!(shown.contains(&key.public().to_string()));
    }
}
