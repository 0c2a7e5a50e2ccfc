//! The device version that ends an xp2pInfo, its flag letters, and what each version can do.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::error::ErrorCode;

/// The version of a device, as written after the `%` of an xp2pInfo: `2.4.0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// First number.
    pub major: u16,
    /// Second number.
    pub minor: u16,
    /// Third number.
    pub patch: u16,
}

/// Longest text of a version: three numbers of five digits and two dots.
pub const MAX_VERSION_TEXT: usize = 17;

/// What a device may lack because its version is too old.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Feature {
    /// Talk to the device.
    Voice,
    /// Live pictures.
    Live,
    /// Commands.
    Command,
    /// Download of files.
    Download,
    /// Talk in AAC without echo.
    EchoFreeTalk,
    /// The first picture without a wait for the next keyframe.
    FastFirstPicture,
}

impl Feature {
    /// All features.
    pub const ALL: [Self; 6] =
        [Self::Voice, Self::Live, Self::Command, Self::Download, Self::EchoFreeTalk, Self::FastFirstPicture];

    /// The first version that can have the feature.
    pub const fn since(self) -> Version {
        match self {
            Self::Voice | Self::Live | Self::Command | Self::Download | Self::EchoFreeTalk => {
                Version::new(2, 3, 0)
            }
            Self::FastFirstPicture => Version::new(2, 4, 0),
        }
    }

    /// Its name for people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Voice => "talk",
            Self::Live => "live pictures",
            Self::Command => "commands",
            Self::Download => "downloads",
            Self::EchoFreeTalk => "echo-free talk",
            Self::FastFirstPicture => "a fast first picture",
        }
    }
}

/// The device is too old for a feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "the device has version {found}, but {} needs at least {}; update the device's firmware",
    feature.name(), feature.since()
)]
pub struct VersionTooLow {
    /// What was asked for.
    pub feature: Feature,
    /// What the device has.
    pub found: Version,
}

impl VersionTooLow {
    /// The documented code: -2005.
    pub const fn code(&self) -> ErrorCode {
        ErrorCode::DeviceVersionTooLow
    }
}

/// Why a text is no version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "not a version at character {position}: write three numbers from 0 to 65535 without leading zeros, like 2.4.0"
)]
pub struct VersionError {
    /// Position of the first wrong character, from 0.
    pub position: usize,
}

impl Version {
    /// The version that devices made with this library announce.
    pub const CURRENT: Self = Self::new(2, 4, 0);

    /// Puts a version together.
    pub const fn new(major: u16, minor: u16, patch: u16) -> Self {
        Self { major, minor, patch }
    }

    /// Whether a device of this version can have `feature`.
    ///
    /// # Errors
    ///
    /// [`VersionTooLow`], code -2005, with both versions.
    pub fn require(self, feature: Feature) -> Result<(), VersionTooLow> {
        if self < feature.since() { Err(VersionTooLow { feature, found: self }) } else { Ok(()) }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl FromStr for Version {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        let mut numbers = [0; 3];
        let mut at = 0;
        for (i, number) in numbers.iter_mut().enumerate() {
            let rest = text.get(at..).unwrap_or_default();
            let part = if i < 2 { rest.split('.').next().unwrap_or_default() } else { rest };
            *number = decimal(part).map_err(|wrong| VersionError { position: at + wrong })?;
            at += part.len();
            if i < 2 {
                if at >= text.len() {
                    return Err(VersionError { position: text.len() });
                }
                at += 1;
            }
        }
        let [major, minor, patch] = numbers;
        Ok(Self { major, minor, patch })
    }
}

/// A number in its only form; the error is the position of the first wrong character.
fn decimal(part: &str) -> Result<u16, usize> {
    if let Some(wrong) = part.bytes().position(|b| !b.is_ascii_digit()) {
        return Err(wrong);
    }
    if part.len() > 1 && part.starts_with('0') {
        return Err(0);
    }
    part.parse().map_err(|_| 0)
}

/// The flag letters that may follow the version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Flags {
    /// `m`: the device sends MJPEG.
    pub mjpeg: bool,
}

/// A letter behind the version that is unknown or repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "unknown or repeated flag `{}` behind the version; only one `m` (MJPEG) may follow it",
    found.escape_default()
)]
pub struct FlagError {
    /// Position of the character, from 0.
    pub position: usize,
    /// The character.
    pub found: char,
}

impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.mjpeg { "m" } else { "" })
    }
}

impl FromStr for Flags {
    type Err = FlagError;

    fn from_str(text: &str) -> Result<Self, FlagError> {
        let mut flags = Self::default();
        for (position, found) in text.chars().enumerate() {
            match found {
                'm' if !flags.mjpeg => flags.mjpeg = true,
                _ => return Err(FlagError { position, found }),
            }
        }
        Ok(flags)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_print_and_parse_in_one_form_only() {
        for text in ["0.0.0", "2.4.29", "65535.65535.65535"] {
            assert_eq!(text.parse::<Version>().unwrap().to_string(), text);
            assert!(text.len() <= MAX_VERSION_TEXT);
        }
        let wrong = |text: &str| text.parse::<Version>().unwrap_err().position;
        assert_eq!(wrong(""), 0);
        assert_eq!(wrong("2"), 1);
        assert_eq!(wrong("2.4"), 3);
        assert_eq!(wrong("2.4."), 4);
        assert_eq!(wrong("2.04.1"), 2);
        assert_eq!(wrong("2.4.x"), 4);
        assert_eq!(wrong("2.4.1.1"), 5);
        assert_eq!(wrong("2.4.65536"), 4);
        assert_eq!(wrong("+2.4.1"), 0);
        assert_eq!(wrong("2.4é.1"), 3);
    }

    #[test]
    fn an_empty_number_is_refused_where_it_should_be() {
        assert_eq!("2..1".parse::<Version>(), Err(VersionError { position: 2 }));
        assert_eq!(".1.1".parse::<Version>(), Err(VersionError { position: 0 }));
    }

    #[test]
    fn features_need_their_versions() {
        let old = Version::new(2, 2, 65535);
        for feature in Feature::ALL {
            let error = old.require(feature).unwrap_err();
            assert_eq!(error.code().number(), -2005);
            assert!(error.to_string().contains(&feature.since().to_string()), "{error}");
            assert_eq!(Version::CURRENT.require(feature), Ok(()));
            assert_eq!(feature.since().require(feature), Ok(()));
        }
        assert!(Version::new(2, 3, 9).require(Feature::FastFirstPicture).is_err());
        assert!(Version::new(2, 3, 0).require(Feature::Download).is_ok());
        assert!(Version::new(10, 0, 0).require(Feature::FastFirstPicture).is_ok());
    }

    #[test]
    fn only_one_m_is_a_flag() {
        assert_eq!("".parse(), Ok(Flags::default()));
        assert_eq!("m".parse(), Ok(Flags { mjpeg: true }));
        assert_eq!("mm".parse::<Flags>(), Err(FlagError { position: 1, found: 'm' }));
        let error = "\u{1b}".parse::<Flags>().unwrap_err();
        assert!(error.to_string().contains("\\u{1b}"), "{error}");
    }
}
