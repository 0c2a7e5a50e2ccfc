//! Bits of a parameter set: ITU-T H.264 section 7.4.1 and H.265 section 7.4.2 (emulation prevention), 9.1 and 9.2
//! (Exp-Golomb codes).

use super::FrameError;

/// Bytes of one parameter set that are looked at; real ones have less than 200.
pub const MAX_PARAMETER_SET: usize = 4096;

/// The payload of a NAL unit without the bytes that keep start codes out of it.
pub(super) fn rbsp(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len());
    let mut zeros = 0;
    for &byte in payload {
        if zeros >= 2 && byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        out.push(byte);
    }
    out
}

/// Reads bits from the highest on. Work is bounded by the length of the data: each read either advances or fails.
#[derive(Debug)]
pub(super) struct Bits<'a> {
    data: &'a [u8],
    /// Bits read so far.
    at: usize,
    /// What is being read, for errors.
    what: &'static str,
}

impl<'a> Bits<'a> {
    pub(super) fn new(data: &'a [u8], what: &'static str) -> Self {
        Self { data, at: 0, what }
    }

    /// One bit, 0 or 1.
    pub(super) fn bit(&mut self) -> Result<u32, FrameError> {
        let byte = self
            .data
            .get(self.at / 8)
            .ok_or(FrameError::ParameterSetEnds { what: self.what, bit: self.at })?;
        let bit = byte >> (7 - self.at % 8) & 1;
        self.at += 1;
        Ok(u32::from(bit))
    }

    /// `u(n)`: up to 32 bits.
    pub(super) fn bits(&mut self, n: u32) -> Result<u32, FrameError> {
        debug_assert!(n <= 32);
        let mut value = 0;
        for _ in 0..n {
            value = value << 1 | self.bit()?;
        }
        Ok(value)
    }

    /// Passes over bits that mean nothing here.
    pub(super) fn skip(&mut self, n: u32) -> Result<(), FrameError> {
        for _ in 0..n {
            self.bit()?;
        }
        Ok(())
    }

    /// `ue(v)`: an unsigned Exp-Golomb code of at most `max`, which is called `field` in the standard.
    pub(super) fn ue(&mut self, field: &'static str, max: u32) -> Result<u32, FrameError> {
        let start = self.at;
        let mut zeros = 0;
        while self.bit()? == 0 {
            zeros += 1;
            if zeros > 31 {
                return Err(FrameError::BadField { what: self.what, field, bit: start });
            }
        }
        // At most 2^31 - 1 + 2^31 - 1, which fits.
        let value = (1_u32 << zeros) - 1 + self.bits(zeros)?;
        if value > max {
            return Err(FrameError::BadField { what: self.what, field, bit: start });
        }
        Ok(value)
    }

    /// The four offsets of a window of the picture, if the next bit says that there are any.
    pub(super) fn window(&mut self, field: &'static str) -> Result<Window, FrameError> {
        let mut offsets = [0; 4];
        if self.bit()? == 1 {
            for offset in &mut offsets {
                *offset = self.ue(field, u32::MAX)?;
            }
        }
        Ok(Window { offsets })
    }

    /// The error of a field that contradicts others.
    pub(super) fn bad(&self, field: &'static str) -> FrameError {
        FrameError::BadField { what: self.what, field, bit: self.at }
    }

    /// `u(n)` of at most `max`, which is called `field` in the standard.
    pub(super) fn field(&mut self, n: u32, field: &'static str, max: u32) -> Result<u32, FrameError> {
        let start = self.at;
        let value = self.bits(n)?;
        if value > max {
            return Err(FrameError::BadField { what: self.what, field, bit: start });
        }
        Ok(value)
    }
}

/// What is cut off a coded picture: left, right, top, bottom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    offsets: [u32; 4],
}

impl Window {
    /// The size of what is left. `None`: nothing is, or more than 16 bits can tell.
    pub(super) fn shown(self, (width, height): (u32, u32), unit: (u32, u32)) -> Option<(u16, u16)> {
        let [left, right, top, bottom] = self.offsets;
        let side = |len: u32, before: u32, after: u32, unit: u32| {
            let cut = before.checked_add(after)?.checked_mul(unit)?;
            u16::try_from(len.checked_sub(cut)?).ok().filter(|&left| left > 0)
        };
        Some((side(width, left, right, unit.0)?, side(height, top, bottom, unit.1)?))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn emulation_prevention_is_taken_out() {
        assert_eq!(rbsp(&[0, 0, 3, 1, 0, 0, 3, 0, 0, 3]), [0, 0, 1, 0, 0, 0, 0]);
        assert_eq!(rbsp(&[0, 3, 0, 0, 1]), [0, 3, 0, 0, 1]);
    }

    #[test]
    fn exp_golomb_codes_are_those_of_the_standard() {
        // 1 | 010 | 011 | 00100 | 00111: 0, 1, 2, 3, 6 (H.264 table 9-2)
        let data = [0b1010_0110, 0b0100_0011, 0b1000_0000];
        let mut bits = Bits::new(&data, "SPS");
        for want in [0, 1, 2, 3, 6] {
            assert_eq!(bits.ue("x", 10), Ok(want));
        }
        let mut bits = Bits::new(&data[1..], "SPS");
        assert_eq!(bits.bits(2), Ok(1));
        assert_eq!(bits.ue("x", 5), Err(FrameError::BadField { what: "SPS", field: "x", bit: 2 }));
    }

    #[test]
    fn the_longest_code_fits_and_a_longer_one_is_refused() {
        let data = [0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff];
        assert_eq!(Bits::new(&data, "SPS").ue("x", u32::MAX), Ok(u32::MAX - 1));
        let bad = FrameError::BadField { what: "SPS", field: "x", bit: 0 };
        assert_eq!(Bits::new(&[0; 9], "SPS").ue("x", u32::MAX), Err(bad));
        let ends = FrameError::ParameterSetEnds { what: "SPS", bit: 16 };
        assert_eq!(Bits::new(&[0; 2], "SPS").ue("x", 1), Err(ends));
    }

    #[test]
    fn a_window_leaves_something_or_is_none() {
        let window = |offsets| Window { offsets }.shown((64, 48), (2, 2));
        assert_eq!(window([0, 0, 0, 0]), Some((64, 48)));
        assert_eq!(window([1, 2, 3, 4]), Some((58, 34)));
        for none in [[16, 16, 0, 0], [0, 0, 30, 0], [u32::MAX, 1, 0, 0], [0, 0, u32::MAX, 0]] {
            assert_eq!(window(none), None, "{none:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bits_are_answered(data in prop::collection::vec(any::<u8>(), 0..40), n in 0..=32_u32) {
            let data = rbsp(&data);
            let mut bits = Bits::new(&data, "SPS");
            while bits.ue("x", u32::MAX).is_ok() && bits.bits(n).is_ok() {}
            prop_assert!(bits.at <= data.len() * 8);
        }
    }
}
