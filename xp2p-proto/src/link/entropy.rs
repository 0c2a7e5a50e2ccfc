//! All randomness of a link, drawn from one seed.

use std::sync::{Arc, Mutex};

use noq_proto::crypto::{CryptoError, HandshakeTokenKey, HmacKey};
use noq_proto::{ConnectionId, ConnectionIdGenerator, InvalidCid};
use rand_chacha::ChaCha12Rng;
use rand_core::{Rng, SeedableRng};
use ring::{aead, hmac};

use crate::keys::SecretKey;

/// Length of our connection ids. Eight random bytes make an accidental match with stray traffic unlikely enough.
const CID_LEN: usize = 8;

/// 32 bytes of randomness, from which a machine derives all the randomness it needs.
///
/// In a product the driver fills it from the operating system, fresh for each machine. With the feature `sim` it
/// can also seed TLS, so that a whole run repeats byte for byte.
#[derive(Clone)]
pub struct Entropy {
    pub(super) seed: [u8; 32],
    #[cfg(feature = "sim")]
    pub(super) seeded_tls: bool,
}

impl std::fmt::Debug for Entropy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Entropy(..)")
    }
}

impl Entropy {
    /// Entropy for a product: `fresh` must come from the operating system and be used only once. TLS additionally
    /// uses the operating system's randomness by itself.
    pub fn from_os(fresh: [u8; 32]) -> Self {
        Self {
            seed: fresh,
            #[cfg(feature = "sim")]
            seeded_tls: false,
        }
    }

    /// Entropy for a simulation: everything, TLS included, follows from `seed`. No secrecy at all.
    #[cfg(feature = "sim")]
    pub fn seeded(seed: u64) -> Self {
        Self { seed: *blake3::hash(&seed.to_be_bytes()).as_bytes(), seeded_tls: true }
    }

    /// An independent generator for the purpose that `label` names.
    pub fn rng(&self, label: &str) -> ChaCha12Rng {
        ChaCha12Rng::from_seed(self.derive(label))
    }

    pub(super) fn derive(&self, label: &str) -> [u8; 32] {
        *blake3::keyed_hash(&self.seed, label.as_bytes()).as_bytes()
    }

    pub(super) fn token_key(&self) -> Arc<dyn HandshakeTokenKey> {
        Arc::new(TokenKey(self.derive("address validation token")))
    }

    pub(super) fn cid_generator(&self) -> SeededCids {
        SeededCids { rng: self.rng("connection ids") }
    }

    /// A source of first destination connection ids for outgoing connections.
    pub(super) fn initial_cids(&self) -> Arc<dyn Fn() -> ConnectionId + Send + Sync> {
        let rng = Mutex::new(self.rng("initial connection ids"));
        Arc::new(move || {
            let mut bytes = [0u8; 16];
            // A poisoned lock still holds a usable generator: nothing in here can panic half-way.
            rng.lock().unwrap_or_else(|e| e.into_inner()).fill_bytes(&mut bytes);
            ConnectionId::new(&bytes)
        })
    }
}

/// The key of stateless resets (RFC 9000 section 10.3). It follows from the identity, so that a process that has
/// just started can tell the peers of its predecessor that their connections are gone.
pub(super) fn reset_key(secret: &SecretKey) -> Arc<dyn HmacKey> {
    Arc::new(hmac::Key::new(hmac::HMAC_SHA256, &secret.derive("xp2p 2026-11 stateless reset", b"")))
}

pub(super) struct SeededCids {
    rng: ChaCha12Rng,
}

impl ConnectionIdGenerator for SeededCids {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut bytes = [0u8; CID_LEN];
        self.rng.fill_bytes(&mut bytes);
        ConnectionId::new(&bytes)
    }

    fn validate(&self, _cid: ConnectionId) -> Result<(), InvalidCid> {
        Ok(())
    }

    fn cid_len(&self) -> usize {
        CID_LEN
    }

    fn cid_lifetime(&self) -> Option<std::time::Duration> {
        None
    }
}

/// Seals address validation tokens (RFC 9000 section 8.1) with ChaCha20-Poly1305. The token's own 128 random bits
/// make the nonce, of which 96 are used: collisions stay unlikely for far more tokens than one process makes.
struct TokenKey([u8; 32]);

impl TokenKey {
    fn aead(&self) -> Result<aead::LessSafeKey, CryptoError> {
        let key = aead::UnboundKey::new(&aead::CHACHA20_POLY1305, &self.0).map_err(|_| CryptoError)?;
        Ok(aead::LessSafeKey::new(key))
    }

    fn nonce(token_nonce: u128) -> Result<aead::Nonce, CryptoError> {
        aead::Nonce::try_assume_unique_for_key(&token_nonce.to_be_bytes()[..aead::NONCE_LEN])
            .map_err(|_| CryptoError)
    }
}

impl HandshakeTokenKey for TokenKey {
    fn seal(&self, token_nonce: u128, data: &mut Vec<u8>) -> Result<(), CryptoError> {
        self.aead()?
            .seal_in_place_append_tag(Self::nonce(token_nonce)?, aead::Aad::empty(), data)
            .map_err(|_| CryptoError)
    }

    fn open<'a>(&self, token_nonce: u128, data: &'a mut [u8]) -> Result<&'a [u8], CryptoError> {
        self.aead()?
            .open_in_place(Self::nonce(token_nonce)?, aead::Aad::empty(), data)
            .map(|plain| &*plain)
            .map_err(|_| CryptoError)
    }
}
