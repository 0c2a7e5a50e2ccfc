//! What a capability allows.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// One thing that a viewer may be allowed to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Right {
    /// Watch live.
    Live = 1,
    /// Watch recordings.
    Playback = 2,
    /// Send commands (turn the camera, change settings).
    Command = 4,
    /// Talk.
    Voice = 8,
    /// Fetch files.
    Download = 16,
}

impl Right {
    /// All rights, in the order of their bits.
    pub const ALL: [Self; 5] = [Self::Live, Self::Playback, Self::Command, Self::Voice, Self::Download];

    /// The word for it in [`Rights`]' text form.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Playback => "playback",
            Self::Command => "command",
            Self::Voice => "voice",
            Self::Download => "download",
        }
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of rights, never empty. Text form: `all`, or names with commas between, like `live,command`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rights(u8);

/// Why something is no set of rights.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RightsError {
    /// A capability without rights would be of no use.
    #[error("no rights given; name some of live, playback, command, voice, download, or all")]
    Empty,
    /// Bits that mean nothing.
    #[error(
        "unknown rights in the bits {bits:#04x}; this software knows 0x01 to 0x10 (a newer version made them?)"
    )]
    UnknownBits {
        /// The whole byte.
        bits: u8,
    },
    /// A word that names no right.
    #[error(
        "word {position} is no right; the rights are live, playback, command, voice, download, or all alone"
    )]
    UnknownName {
        /// Which word of the list, from 1.
        position: usize,
    },
    /// A word that comes twice.
    #[error("{right} is named twice")]
    Twice {
        /// The right.
        right: Right,
    },
}

impl Rights {
    /// Everything.
    pub const ALL: Self = Self(31);

    /// The set of these bits (see [`Right`]).
    ///
    /// # Errors
    ///
    /// [`RightsError::Empty`] or [`RightsError::UnknownBits`].
    pub const fn from_bits(bits: u8) -> Result<Self, RightsError> {
        match bits {
            0 => Err(RightsError::Empty),
            1..=31 => Ok(Self(bits)),
            _ => Err(RightsError::UnknownBits { bits }),
        }
    }

    /// The bits.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Whether `right` is among them.
    pub const fn contains(self, right: Right) -> bool {
        self.0 & right as u8 != 0
    }

    /// These rights and `right`.
    #[must_use]
    pub const fn with(self, right: Right) -> Self {
        Self(self.0 | right as u8)
    }

    /// What both sets allow, if anything.
    pub const fn intersection(self, other: Self) -> Option<Self> {
        match self.0 & other.0 {
            0 => None,
            bits => Some(Self(bits)),
        }
    }

    /// What `self` allows and `other` does not, if anything.
    pub const fn minus(self, other: Self) -> Option<Self> {
        match self.0 & !other.0 {
            0 => None,
            bits => Some(Self(bits)),
        }
    }

    /// The rights one by one.
    pub fn iter(self) -> impl Iterator<Item = Right> {
        Right::ALL.into_iter().filter(move |right| self.contains(*right))
    }
}

impl From<Right> for Rights {
    fn from(right: Right) -> Self {
        Self(right as u8)
    }
}

impl fmt::Display for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::ALL {
            return f.write_str("all");
        }
        for (i, right) in self.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            f.write_str(right.name())?;
        }
        Ok(())
    }
}

impl fmt::Debug for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rights({self})")
    }
}

impl FromStr for Rights {
    type Err = RightsError;

    fn from_str(text: &str) -> Result<Self, RightsError> {
        match text.trim() {
            "" => return Err(RightsError::Empty),
            "all" => return Ok(Self::ALL),
            _ => {}
        }
        let mut bits = 0;
        for (i, word) in text.split(',').enumerate() {
            let right = Right::ALL
                .into_iter()
                .find(|right| right.name() == word.trim())
                .ok_or(RightsError::UnknownName { position: i + 1 })?;
            if bits & right as u8 != 0 {
                return Err(RightsError::Twice { right });
            }
            bits |= right as u8;
        }
        Self::from_bits(bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_set_of_rights_round_trips_as_text_and_bits() {
        for bits in 1..=31 {
            let rights = Rights::from_bits(bits).unwrap();
            assert_eq!(rights.to_string().parse(), Ok(rights));
            assert_eq!(rights.bits(), bits);
            assert_eq!(rights.iter().fold(0, |bits, right| bits | right as u8), bits);
        }
        assert_eq!(" live , command ".parse(), Ok(Rights::from(Right::Live).with(Right::Command)));
    }

    #[test]
    fn what_is_no_right_is_refused() {
        assert_eq!(Rights::from_bits(0), Err(RightsError::Empty));
        assert_eq!(Rights::from_bits(32), Err(RightsError::UnknownBits { bits: 32 }));
        assert_eq!("".parse::<Rights>(), Err(RightsError::Empty));
        assert_eq!("live,".parse::<Rights>(), Err(RightsError::UnknownName { position: 2 }));
        assert_eq!("live,all".parse::<Rights>(), Err(RightsError::UnknownName { position: 2 }));
        assert_eq!("live,live".parse::<Rights>(), Err(RightsError::Twice { right: Right::Live }));
    }

    #[test]
    fn sets_are_cut_and_subtracted() {
        let (live, both) = (Rights::from(Right::Live), Rights::from(Right::Live).with(Right::Voice));
        assert_eq!(both.intersection(live), Some(live));
        assert_eq!(both.minus(live), Some(Rights::from(Right::Voice)));
        assert_eq!(live.minus(both), None);
        assert_eq!(live.intersection(Rights::from(Right::Voice)), None);
    }
}
