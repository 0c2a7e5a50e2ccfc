//! The text form of an xp2pInfo.

use std::str::FromStr;

use data_encoding::{BASE64URL_NOPAD, DecodeKind};

use super::error::InfoError;
use super::{MAX_TEXT, PREFIX, Xp2pInfo};

/// Payload lengths of the vendor's closed cloud, which nobody can mistake for ours: a payload of ours has at least
/// 90 bytes.
const VENDOR_PAYLOADS: [usize; 2] = [16, 18];

impl Xp2pInfo {
    /// The text. With a capability in it, it is a secret.
    pub fn to_text(&self) -> String {
        let payload = BASE64URL_NOPAD.encode(&self.to_payload());
        format!("{PREFIX}{payload}%{}{}", self.version(), self.flags())
    }

    /// Reads the text. White space around it is not removed: callers who read files do that.
    ///
    /// # Errors
    ///
    /// What is wrong and at which character; code -2001.
    pub fn parse(text: &str) -> Result<Self, InfoError> {
        if text.is_empty() {
            return Err(InfoError::Empty);
        }
        if text.len() > MAX_TEXT {
            return Err(InfoError::TooLong { found: text.len() });
        }
        let Some(body) = text.strip_prefix(PREFIX) else {
            let position = text.chars().zip(PREFIX.chars()).take_while(|(a, b)| a == b).count();
            return Err(InfoError::Prefix { position });
        };
        let (base64, tail) = match body.split_once('%') {
            Some((base64, tail)) => (base64, Some(tail)),
            None => (body, None),
        };
        if let Some(payload) = vendor_payload(base64) {
            return Err(InfoError::Vendor { payload });
        }
        let bytes = decode(base64)?;
        // All of it is ASCII so far, so that bytes and characters count alike.
        let Some(tail) = tail else {
            return Err(InfoError::NoVersion { position: text.len() });
        };
        let start = text.len() - tail.len();
        let numbers = tail.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (version, flags) = tail.split_at(numbers);
        let version = version.parse().map_err(|error: super::VersionError| InfoError::Version {
            position: start + error.position,
            error,
        })?;
        let start = start + numbers;
        let flags = flags
            .parse()
            .map_err(|error: super::FlagError| InfoError::Flag { position: start + error.position, error })?;
        Self::from_payload(&bytes, version, flags).map_err(|error| InfoError::Payload {
            // Each character holds 6 bits.
            position: PREFIX.len() + error.offset * 8 / 6,
            error,
        })
    }
}

impl FromStr for Xp2pInfo {
    type Err = InfoError;

    fn from_str(text: &str) -> Result<Self, InfoError> {
        Self::parse(text)
    }
}

/// The length of the payload if `base64` looks like the vendor's form, which uses either alphabet, padded or not.
fn vendor_payload(base64: &str) -> Option<usize> {
    let digits = base64.trim_end_matches('=');
    let known = |b: u8| b.is_ascii_alphanumeric() || b"+/-_".contains(&b);
    let bytes = digits.len() * 6 / 8;
    let whole = digits.len() == (bytes * 4).div_ceil(3) && base64.len() - digits.len() <= 2;
    (whole && VENDOR_PAYLOADS.contains(&bytes) && digits.bytes().all(known)).then_some(bytes)
}

fn decode(base64: &str) -> Result<Vec<u8>, InfoError> {
    let known = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if let Some((position, found)) = base64.char_indices().find(|(_, c)| !known(*c)) {
        return Err(InfoError::Character { position: PREFIX.len() + position, found });
    }
    BASE64URL_NOPAD.decode(base64.as_bytes()).map_err(|e| InfoError::Base64End {
        position: PREFIX.len()
            + match e.kind {
                DecodeKind::Length => base64.len().saturating_sub(1),
                _ => e.position,
            },
    })
}
