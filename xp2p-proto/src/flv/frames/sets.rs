//! Parameter sets of a video stream by kind and id.

use std::collections::BTreeMap;
use std::fmt;

use super::FrameError;

/// Parameter sets of one kind that are kept; the record of H.264 cannot count more SPS.
pub const MAX_SETS: usize = 31;

/// What a NAL unit is to the muxer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NalKind {
    Slice { key: bool },
    Set(SetKind),
    Delimiter,
    Padding,
    Other,
}

/// A kind of parameter set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SetKind {
    /// Video parameter set (H.265 only).
    Vps,
    /// Sequence parameter set.
    Sps,
    /// Picture parameter set.
    Pps,
}

impl SetKind {
    pub(super) const ALL: [Self; 3] = [Self::Vps, Self::Sps, Self::Pps];
}

impl fmt::Display for SetKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Vps => "VPS",
            Self::Sps => "SPS",
            Self::Pps => "PPS",
        })
    }
}

/// Parameter sets, each at most [`super::MAX_PARAMETER_SET`] bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ParameterSets {
    by_id: BTreeMap<(SetKind, u32), Vec<u8>>,
}

impl ParameterSets {
    /// Keeps a set in place of one with its id.
    pub(super) fn put(&mut self, kind: SetKind, id: u32, nal: &[u8]) -> Result<(), FrameError> {
        if !self.by_id.contains_key(&(kind, id)) && self.count(kind) >= MAX_SETS {
            return Err(FrameError::TooManySets { kind });
        }
        self.by_id.insert((kind, id), nal.to_vec());
        Ok(())
    }

    /// Takes in all of `other`.
    pub(super) fn merge(&mut self, other: &Self) -> Result<(), FrameError> {
        other.by_id.iter().try_for_each(|(&(kind, id), nal)| self.put(kind, id, nal))
    }

    /// Takes out what `other` has just the same.
    pub(super) fn remove_known(&mut self, other: &Self) {
        self.by_id.retain(|key, nal| other.by_id.get(key) != Some(nal));
    }

    /// Those of one kind, by their id.
    pub(super) fn of(&self, kind: SetKind) -> impl Iterator<Item = &[u8]> {
        self.by_id.range((kind, 0)..=(kind, u32::MAX)).map(|(_, nal)| nal.as_slice())
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &[u8]> {
        self.by_id.values().map(Vec::as_slice)
    }

    pub(super) fn first(&self, kind: SetKind) -> Option<&[u8]> {
        self.of(kind).next()
    }

    pub(super) fn count(&self, kind: SetKind) -> usize {
        self.of(kind).count()
    }

    /// Writes the sets as both records have them: each behind its 16-bit length.
    pub(super) fn write(&self, kind: SetKind, out: &mut Vec<u8>) {
        for nal in self.of(kind) {
            // MAX_PARAMETER_SET is far below 2^16.
            out.extend_from_slice(&(nal.len() as u16).to_be_bytes());
            out.extend_from_slice(nal);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_of_the_same_id_replace_each_other_and_their_number_is_bounded() {
        let mut sets = ParameterSets::default();
        for id in 0..MAX_SETS as u32 {
            sets.put(SetKind::Pps, id, &[1]).unwrap();
        }
        assert_eq!(sets.put(SetKind::Pps, 99, &[1]), Err(FrameError::TooManySets { kind: SetKind::Pps }));
        sets.put(SetKind::Pps, 0, &[2]).unwrap();
        sets.put(SetKind::Sps, 0, &[3]).unwrap();
        assert_eq!((sets.count(SetKind::Pps), sets.first(SetKind::Pps)), (MAX_SETS, Some(&[2][..])));
        assert_eq!(sets.all().next(), Some(&[3][..]));
    }
}
