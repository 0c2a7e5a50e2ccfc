//! xp2pInfo: text and payload, and the texts that a person types: addresses, servers, versions, keys, key files.

use std::fmt::Display;
use std::str::FromStr;

use xp2p_proto::info::{Flags, HostPort, MAX_PAYLOAD, MAX_TEXT, Rights, ServerSpec, Version, Xp2pInfo};
use xp2p_proto::keys::{KeyFile, PublicKey};

/// What is read is printed in a form that reads the same, and `exact` says whether that is the very text.
fn printed<T: FromStr + Display + PartialEq>(text: &str, exact: bool) {
    let Ok(value) = text.parse::<T>() else { return };
    let print = value.to_string();
    assert!(!exact || print == text, "{text:?} is printed as {print:?}");
    assert!(
        print.parse::<T>().is_ok_and(|again| again == value),
        "{text:?} is printed as {print:?}, which reads otherwise"
    );
}

/// One input.
pub fn run(data: &[u8]) {
    if let Ok(info) = Xp2pInfo::from_payload(data, Version::CURRENT, Flags::default()) {
        assert_eq!(info.to_payload(), data, "there is one payload for one value");
        assert!(data.len() <= MAX_PAYLOAD);
        let text = info.to_text();
        assert!(text.len() <= MAX_TEXT);
        assert_eq!(Xp2pInfo::parse(&text).as_ref(), Ok(&info));
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Xp2pInfo::parse(text) {
        Ok(info) => {
            assert_eq!(info.to_text(), text, "there is one text for one value");
            let payload = info.to_payload();
            let again = Xp2pInfo::from_payload(&payload, info.version(), info.flags());
            assert_eq!(again.as_ref(), Ok(&info));
            if let Some(capability) = info.capability() {
                assert!(capability.is_signed_by(info.camera()), "a capability of another camera was taken");
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    printed::<HostPort>(text, false);
    printed::<ServerSpec>(text, false);
    printed::<Version>(text, true);
    printed::<Flags>(text, true);
    printed::<Rights>(text, false);
    if let Ok(key) = text.parse::<PublicKey>() {
        assert_eq!(key.to_string().parse().as_ref(), Ok(&key));
    }
    if let Ok(file) = KeyFile::parse(text) {
        let print = file.to_text();
        let again = KeyFile::parse(&print).expect("what is written is read");
        assert_eq!(again.to_text(), print);
    }
}
