//! NAL units between start codes: ITU-T H.264 and H.265, Annex B.

use super::FrameError;

/// A NAL unit and where it begins in its buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Nal<'a> {
    pub(super) offset: usize,
    /// Header and payload; never empty.
    pub(super) data: &'a [u8],
    /// The first byte of `data`.
    pub(super) first: u8,
}

/// Where the next three bytes `00 00 01` begin.
fn start_code(data: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    while let Some(&third) = data.get(at + 2) {
        if third > 1 {
            at += 3; // no start code has such a byte at any of its places
        } else if third == 1 && data.get(at..at + 2) == Some(&[0, 0]) {
            return Some(at);
        } else {
            at += 1;
        }
    }
    None
}

/// Takes a buffer apart at its start codes of three or four bytes.
pub(super) fn split(data: &[u8], max: usize) -> Result<Vec<Nal<'_>>, FrameError> {
    let mut code = start_code(data, 0).ok_or(FrameError::NoStartCode { offset: 0 })?;
    if let Some(offset) = data.iter().take(code).position(|&b| b != 0) {
        return Err(FrameError::NoStartCode { offset });
    }
    let mut out = Vec::new();
    loop {
        let offset = code + 3;
        let next = start_code(data, offset);
        let end = next.unwrap_or(data.len());
        // Zeros before a start code or the end belong to no NAL unit; none ends in a zero (7.4.1).
        let nal = data.get(offset..end).unwrap_or_default();
        let len = nal.iter().rposition(|&b| b != 0).map_or(0, |last| last + 1);
        let nal = nal.get(..len).unwrap_or_default();
        let &first = nal.first().ok_or(FrameError::EmptyNal { offset })?;
        if first & 0x80 != 0 {
            return Err(FrameError::ForbiddenBit { offset });
        }
        if out.len() == max {
            return Err(FrameError::TooManyNals { max });
        }
        out.push(Nal { offset, data: nal, first });
        match next {
            Some(next) => code = next,
            None => return Ok(out),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn nals(data: &[u8]) -> Result<Vec<&[u8]>, FrameError> {
        split(data, 8).map(|all| all.iter().map(|n| n.data).collect())
    }

    #[test]
    fn start_codes_of_three_and_four_bytes_and_zeros_around_them() {
        let data = [0, 0, 0, 1, 9, 16, 0, 0, 1, 103, 0, 0, 3, 1, 0, 0, 0, 0, 1, 104, 2, 0, 0, 0];
        let want: [&[u8]; 3] = [&[9, 16], &[103, 0, 0, 3, 1], &[104, 2]];
        assert_eq!(nals(&data).unwrap(), want);
        assert_eq!(split(&data, 8).unwrap()[1].offset, 9);
    }

    #[test]
    fn what_is_no_annex_b_is_refused_with_its_place() {
        assert_eq!(nals(&[]), Err(FrameError::NoStartCode { offset: 0 }));
        assert_eq!(nals(&[0, 0, 0, 5, 101, 1, 2, 3, 4]), Err(FrameError::NoStartCode { offset: 0 }));
        assert_eq!(nals(&[0, 7, 0, 0, 1, 9]), Err(FrameError::NoStartCode { offset: 1 }));
        assert_eq!(nals(&[0, 0, 1]), Err(FrameError::EmptyNal { offset: 3 }));
        assert_eq!(nals(&[0, 0, 1, 0, 0, 1, 9]), Err(FrameError::EmptyNal { offset: 3 }));
        assert_eq!(nals(&[0, 0, 1, 0x89]), Err(FrameError::ForbiddenBit { offset: 3 }));
        assert_eq!(nals(&[0, 0, 1, 9].repeat(9)), Err(FrameError::TooManyNals { max: 8 }));
    }

    proptest! {
        #[test]
        fn what_was_joined_is_split_again(
            nals in prop::collection::vec((1..0x80_u8, prop::collection::vec(2..=255_u8, 0..9), 2..5_usize), 1..6),
        ) {
            let mut data = Vec::new();
            for (first, rest, zeros) in &nals {
                data.extend(std::iter::repeat_n(0, *zeros));
                data.extend([1, *first]);
                data.extend(rest);
            }
            let found: Vec<Vec<u8>> = split(&data, 6).unwrap().iter().map(|n| n.data.to_vec()).collect();
            let want: Vec<Vec<u8>> = nals.iter().map(|(f, r, _)| [&[*f][..], r].concat()).collect();
            prop_assert_eq!(found, want);
        }

        #[test]
        fn any_bytes_are_answered(data in prop::collection::vec(prop_oneof![0..3_u8, any::<u8>()], 0..80)) {
            if let Ok(nals) = split(&data, 8) {
                for nal in nals {
                    prop_assert_eq!(data.get(nal.offset..nal.offset + nal.data.len()), Some(nal.data));
                    prop_assert_eq!(nal.data.first(), Some(&nal.first));
                }
            }
        }
    }
}
