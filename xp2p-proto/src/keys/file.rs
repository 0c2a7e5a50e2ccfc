//! The key file: an identity and its capability epoch, as text.

use std::fmt::Write as _;

use thiserror::Error;

use super::{KeyError, SecretKey, decode32};

/// Longest key file that is read, in bytes.
pub const MAX_KEY_FILE: usize = 4096;

const MAGIC: &str = "xp2p-key-v1";

/// An identity with its capability epoch.
///
/// ```text
/// xp2p-key-v1
/// secret = <43 characters of base64url>
/// epoch = 0
/// ```
///
/// Lines that begin with `#` are comments.
#[derive(Debug, Clone)]
pub struct KeyFile {
    /// The identity.
    pub secret: SecretKey,
    /// Capabilities of older epochs are revoked.
    pub epoch: u32,
}

/// Why a key file cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum KeyFileError {
    /// Too long to be a key file.
    #[error(
        "too long for a key file ({found} bytes, at most {MAX_KEY_FILE}); make one with `xp2p keygen -o FILE`"
    )]
    TooLong {
        /// Its bytes.
        found: usize,
    },
    /// Not a key file.
    #[error("not a key file: the first line must be `{MAGIC}`; make one with `xp2p keygen -o FILE`")]
    NotAKeyFile,
    /// A line that means nothing.
    #[error("line {line} of the key file is not `secret = ...` or `epoch = ...`")]
    Line {
        /// Line number from 1.
        line: usize,
    },
    /// A name that comes twice.
    #[error("line {line} of the key file repeats `{name}`")]
    Twice {
        /// Line number from 1.
        line: usize,
        /// The name.
        name: &'static str,
    },
    /// The secret is malformed.
    #[error("line {line} of the key file: {error}")]
    Secret {
        /// Line number from 1.
        line: usize,
        /// What is wrong with it.
        error: KeyError,
    },
    /// The epoch is no number.
    #[error("line {line} of the key file: the epoch must be a number from 0 to 4294967295")]
    Epoch {
        /// Line number from 1.
        line: usize,
    },
    /// A line is missing.
    #[error("the key file has no `{name}` line")]
    Missing {
        /// The name of it.
        name: &'static str,
    },
}

impl KeyFile {
    /// Reads the text of a key file.
    ///
    /// # Errors
    ///
    /// When it is no key file; the error tells the line and never shows its content.
    pub fn parse(text: &str) -> Result<Self, KeyFileError> {
        if text.len() > MAX_KEY_FILE {
            return Err(KeyFileError::TooLong { found: text.len() });
        }
        let mut lines = text
            .lines()
            .enumerate()
            .map(|(i, line)| (i + 1, line.trim()))
            .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        if lines.next().map(|(_, line)| line) != Some(MAGIC) {
            return Err(KeyFileError::NotAKeyFile);
        }
        let (mut secret, mut epoch) = (None, None);
        for (line, text) in lines {
            let (name, value) = text.split_once('=').ok_or(KeyFileError::Line { line })?;
            match name.trim() {
                "secret" => {
                    let bytes =
                        decode32(value.trim()).map_err(|error| KeyFileError::Secret { line, error })?;
                    if secret.replace(SecretKey::from_bytes(bytes)).is_some() {
                        return Err(KeyFileError::Twice { line, name: "secret" });
                    }
                }
                "epoch" => {
                    let value = value.trim().parse().map_err(|_| KeyFileError::Epoch { line })?;
                    if epoch.replace(value).is_some() {
                        return Err(KeyFileError::Twice { line, name: "epoch" });
                    }
                }
                _ => return Err(KeyFileError::Line { line }),
            }
        }
        Ok(Self {
            secret: secret.ok_or(KeyFileError::Missing { name: "secret" })?,
            epoch: epoch.ok_or(KeyFileError::Missing { name: "epoch" })?,
        })
    }

    /// The text of the file. Whoever reads it holds the identity: write it with mode 0600 only.
    pub fn to_text(&self) -> String {
        let mut text = format!("{MAGIC}\n# Secret: whoever reads this file can act as this device.\n");
        // Writing to a string cannot fail.
        let _ = writeln!(text, "secret = {}\nepoch = {}", self.secret.to_base64(), self.epoch);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_round_trips() {
        let file = KeyFile { secret: SecretKey::from_bytes([9; 32]), epoch: 7 };
        let read = KeyFile::parse(&file.to_text()).unwrap();
        assert_eq!(read.secret.public(), file.secret.public());
        assert_eq!(read.epoch, 7);
        assert_eq!(read.to_text(), file.to_text());
    }

    #[test]
    fn a_bad_key_file_is_refused_with_its_line_and_without_its_secret() {
        let secret = SecretKey::from_bytes([9; 32]).to_base64();
        let parse = |text: &str| KeyFile::parse(text).unwrap_err();
        assert_eq!(parse(""), KeyFileError::NotAKeyFile);
        assert_eq!(parse("-----BEGIN PRIVATE KEY-----\n"), KeyFileError::NotAKeyFile);
        assert_eq!(parse("xp2p-key-v1\nepoch = 1\n"), KeyFileError::Missing { name: "secret" });
        assert_eq!(
            parse(&format!("xp2p-key-v1\nsecret = {secret}\n")),
            KeyFileError::Missing { name: "epoch" }
        );
        assert_eq!(parse("xp2p-key-v1\n\nepoch = -1\n"), KeyFileError::Epoch { line: 3 });
        assert_eq!(parse("xp2p-key-v1\nhello\n"), KeyFileError::Line { line: 2 });
        assert_eq!(parse("xp2p-key-v1\nepoch=1\nepoch=2"), KeyFileError::Twice { line: 3, name: "epoch" });
        let error = parse(&format!("xp2p-key-v1\nsecret = {}!\nepoch = 1", &secret[..42]));
        assert!(matches!(error, KeyFileError::Secret { line: 2, .. }), "{error:?}");
        assert!(!error.to_string().contains(&secret[..8]));
        assert_eq!(parse(&"#".repeat(5000)), KeyFileError::TooLong { found: 5000 });
    }
}
