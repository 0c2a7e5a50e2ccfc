//! A TLS provider without any randomness of its own, for simulations only (feature `sim`).
//!
//! rustls draws from two places: its `SecureRandom`, and the key exchange, which asks the operating system behind
//! rustls's back. Both are replaced, so that the same seed gives the same handshake, byte for byte.

use std::sync::Mutex;

use rand_chacha::ChaCha12Rng;
use rand_core::{Rng, SeedableRng};
use rustls::crypto::{
    ActiveKeyExchange, CryptoProvider, GetRandomFailed, SecureRandom, SharedSecret, SupportedKxGroup,
};
use rustls::{Error, NamedGroup, PeerMisbehaved};
use x25519_dalek::{PublicKey as XPublic, StaticSecret};

struct SeededRandom(Mutex<ChaCha12Rng>);

impl std::fmt::Debug for SeededRandom {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SeededRandom")
    }
}

impl SecureRandom for SeededRandom {
    fn fill(&self, buf: &mut [u8]) -> Result<(), GetRandomFailed> {
        self.0.lock().map_err(|_| GetRandomFailed)?.fill_bytes(buf);
        Ok(())
    }
}

#[derive(Debug)]
struct SeededX25519(&'static SeededRandom);

struct SeededExchange {
    secret: StaticSecret,
    public: [u8; 32],
}

impl SupportedKxGroup for SeededX25519 {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        let mut bytes = [0u8; 32];
        self.0.fill(&mut bytes)?;
        let secret = StaticSecret::from(bytes);
        let public = XPublic::from(&secret).to_bytes();
        Ok(Box::new(SeededExchange { secret, public }))
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}

impl ActiveKeyExchange for SeededExchange {
    fn complete(self: Box<Self>, peer: &[u8]) -> Result<SharedSecret, Error> {
        let peer: [u8; 32] = peer.try_into().map_err(|_| PeerMisbehaved::InvalidKeyShare)?;
        let shared = self.secret.diffie_hellman(&XPublic::from(peer));
        if !shared.was_contributory() {
            return Err(PeerMisbehaved::InvalidKeyShare.into());
        }
        Ok(SharedSecret::from(&shared.as_bytes()[..]))
    }

    fn pub_key(&self) -> &[u8] {
        &self.public
    }

    fn group(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}

/// A provider whose every random byte comes from `seed`.
///
/// rustls keeps references with static lifetime, so each call leaks about 200 bytes: fine for a test, one more
/// reason never to use it elsewhere.
pub(super) fn seeded_provider(seed: [u8; 32]) -> CryptoProvider {
    let random: &'static SeededRandom =
        Box::leak(Box::new(SeededRandom(Mutex::new(ChaCha12Rng::from_seed(seed)))));
    let kx: &'static SeededX25519 = Box::leak(Box::new(SeededX25519(random)));
    CryptoProvider { kx_groups: vec![kx], secure_random: random, ..super::tls::system_provider() }
}
