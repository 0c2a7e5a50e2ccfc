//! STUN messages.

use xp2p_proto::stun::{Attribute, MAX_ATTRIBUTES, MAX_MESSAGE, Message};

/// One input.
pub fn run(data: &[u8]) {
    let Ok(message) = Message::parse(data) else { return };
    assert!(data.len() <= MAX_MESSAGE && message.attributes.len() <= MAX_ATTRIBUTES);
    let _ = (message.mapped(), message.other());
    // What is not understood is not printed, and long reasons are cut.
    // An IPv4 address in the clothes of IPv6 is printed as what it is.
    let plain = |a: &Attribute| match a {
        Attribute::Other(_) | Attribute::ErrorCode(..) => false,
        Attribute::XorMappedAddress(addr) | Attribute::MappedAddress(addr) => {
            addr.ip().to_canonical() == addr.ip()
        }
        Attribute::ResponseOrigin(addr) | Attribute::OtherAddress(addr) => {
            addr.ip().to_canonical() == addr.ip()
        }
        _ => true,
    };
    if message.attributes.iter().all(plain) {
        assert_eq!(Message::parse(&message.encode()).as_ref(), Ok(&message));
    } else {
        let printed = message.encode();
        let again = Message::parse(&printed).expect("what is printed is read");
        assert_eq!(again.encode(), printed);
    }
}
