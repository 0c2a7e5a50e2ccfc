//! The capability that a camera gives to a server which may show it to many viewers (transit).

use super::{Capability, Right, SERIAL_LEN};
use crate::keys::{PublicKey, SecretKey};

const CONTEXT: &str = "xp2p 2026-11 transit of a server";

/// The serial number of every capability that is for the server of `server` alone.
pub fn transit_serial(server: &PublicKey) -> [u8; SERIAL_LEN] {
    let mut serial = [0; SERIAL_LEN];
    let hash = blake3::derive_key(CONTEXT, server.as_bytes());
    // 8 of 32 bytes.
    serial.copy_from_slice(&hash[..SERIAL_LEN]);
    serial
}

impl Capability {
    /// A capability of the camera of `secret` for live pictures, of use to nobody but the server of `server`: the camera
    /// takes it only from whoever proves that key.
    pub fn for_transit(secret: &SecretKey, epoch: u32, server: &PublicKey) -> Self {
        Self::issue(secret, Right::Live.into(), epoch, None, transit_serial(server))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_tells_for_which_server_it_is() {
        let key = |n| SecretKey::from_bytes([n; 32]);
        let one = Capability::for_transit(&key(1), 7, &key(2).public());
        assert_eq!(one.serial(), &transit_serial(&key(2).public()));
        assert_ne!(one.serial(), &transit_serial(&key(3).public()));
        assert_eq!(one.verify(&key(1).public(), 7, None, Right::Live), Ok(()));
        assert!(one.verify(&key(1).public(), 7, None, Right::Command).is_err());
    }
}
