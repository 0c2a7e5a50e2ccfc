//! Capabilities, as bytes and as text.

use xp2p_proto::info::{Capability, Right};
use xp2p_proto::keys::SecretKey;
use xp2p_proto::peer::MembershipToken;

/// One input.
pub fn run(data: &[u8]) {
    match Capability::parse(data) {
        Ok(capability) => {
            assert_eq!(capability.to_bytes(), data, "there is one form");
            let text = capability.to_base64();
            assert_eq!(Capability::from_base64(&text).as_ref(), Ok(&capability));
            let secret = SecretKey::from_bytes([1; 32]);
            let camera = secret.public();
            for right in Right::ALL {
                for now in [None, Some(0), Some(u64::MAX)] {
                    if capability.verify(&camera, capability.epoch(), now, right).is_ok() {
                        assert!(capability.is_signed_by(&camera) && capability.rights().contains(right));
                        assert!(capability.expiry().is_none_or(|end| now.is_some_and(|now| now < end.get())));
                    }
                }
            }
        }
        Err(error) => assert!(error.offset() <= data.len(), "{error} in {} bytes", data.len()),
    }
    if let Ok(capability) =
        std::str::from_utf8(data).map_err(drop).and_then(|t| Capability::from_base64(t).map_err(drop))
    {
        assert_eq!(capability.to_base64().as_bytes(), data, "there is one text");
    }
    if let Ok(token) = MembershipToken::parse(data) {
        assert_eq!(token.to_bytes(), data, "there is one form");
    }
}
