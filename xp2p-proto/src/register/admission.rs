//! Who may register cameras.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Who may register cameras (decision 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Only programs on the same machine.
    LoopbackOnly,
    /// Everybody.
    Open,
    /// Those who know one of the app keys.
    AppKeys,
}

impl Admission {
    /// Whether a camera at `ip` is let in without an app key.
    pub fn allows(self, ip: IpAddr) -> bool {
        match self {
            Self::Open => true,
            Self::LoopbackOnly => ip.to_canonical().is_loopback(),
            Self::AppKeys => false,
        }
    }
}

/// An app key: an id that is told, a secret that is not.
#[derive(Clone, PartialEq, Eq)]
pub struct AppKey {
    /// The id, 1 to 64 bytes.
    pub id: String,
    secret: Vec<u8>,
}

impl AppKey {
    /// An app key.
    pub fn new(id: &str, secret: &str) -> Self {
        Self { id: id.to_owned(), secret: secret.as_bytes().to_vec() }
    }

    fn mac(&self, message: &[u8]) -> Option<Hmac<Sha256>> {
        // HMAC takes keys of any length, so this is always `Some`.
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.secret).ok()?;
        mac.update(message);
        Some(mac)
    }

    /// HMAC-SHA256 of `message` under the secret.
    pub fn authenticate(&self, message: &[u8]) -> [u8; 32] {
        self.mac(message).map_or([0; 32], |mac| mac.finalize().into_bytes().into())
    }

    /// Whether `tag` is the MAC of `message`, in a time that does not depend on where it differs.
    pub fn verify(&self, message: &[u8], tag: &[u8; 32]) -> bool {
        self.mac(message).is_some_and(|mac| mac.verify_slice(tag).is_ok())
    }
}

impl fmt::Debug for AppKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The app keys of a server, by id.
#[derive(Debug, Clone, Default)]
pub struct AppKeys(BTreeMap<String, AppKey>);

impl AppKeys {
    /// Adds a key, or replaces the one with its id.
    pub fn insert(&mut self, key: AppKey) {
        self.0.insert(key.id.clone(), key);
    }

    /// The key of an id.
    pub fn get(&self, id: &str) -> Option<&AppKey> {
        self.0.get(id)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn admission_is_what_the_operator_said() {
        let (loopback, other) = ("::ffff:127.0.0.1".parse().unwrap(), "192.0.2.1".parse().unwrap());
        assert!(Admission::LoopbackOnly.allows(loopback) && !Admission::LoopbackOnly.allows(other));
        assert!(Admission::Open.allows(other));
        assert!(!Admission::AppKeys.allows(loopback));
    }

    #[test]
    fn macs_hold_for_their_key_and_message_and_secrets_stay_hidden() {
        // RFC 4231, test case 2.
        let key = AppKey::new("id", "Jefe");
        let tag = key.authenticate(b"what do ya want for nothing?");
        assert_eq!(
            data_encoding::HEXLOWER.encode(&tag),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        assert!(key.verify(b"what do ya want for nothing?", &tag));
        assert!(!key.verify(b"what do ya want for nothing!", &tag));
        assert!(!AppKey::new("id", "jefe").verify(b"what do ya want for nothing?", &tag));
        assert!(!format!("{key:?}").contains("Jefe"));
    }
}
