//! G.711: 16-bit samples to 8 bits and back, by A-law and by mu-law (ITU-T G.711, tables 1 and 2).
//!
//! The standard codes 13 bits (A-law) or 14 bits (mu-law), left-justified here in 16. Every 16-bit sample has a
//! code; those above the overload point (mu-law 32,636) get the outermost one. Negative samples are coded by
//! their one's complement, so that the intervals lie as the decision values of the standard do, mirrored at zero.

/// Bits that A-law inverts on the line (every even one).
const ALAW_MASK: u8 = 0x55;

/// What mu-law adds to a magnitude of 14 bits, so that its segments begin at powers of two.
const MULAW_BIAS: u16 = 33;

/// The greatest biased magnitude, 13 bits.
const MULAW_CLIP: u16 = 0x1fff;

static ALAW: [i16; 256] = table(true);
static MULAW: [i16; 256] = table(false);

const fn table(alaw: bool) -> [i16; 256] {
    let mut table = [0; 256];
    let mut code = 0;
    while code < table.len() {
        table[code] = if alaw { expand_alaw(code as u8) } else { expand_mulaw(code as u8) };
        code += 1;
    }
    table
}

/// Table 1 of the standard, columns 6 to 8: the value in the middle of the code's interval.
const fn expand_alaw(code: u8) -> i16 {
    let bits = code ^ ALAW_MASK;
    let segment = (bits >> 4) & 0x07;
    let step = (bits & 0x0f) as i16;
    // In 13 bits an interval is 2 wide in the first two segments; shifted by 3, and the half of it added.
    let low = (step << 4) + 8;
    let value = if segment == 0 { low } else { (low + 0x100) << (segment - 1) };
    if bits & 0x80 == 0 { -value } else { value }
}

/// Table 2 of the standard.
const fn expand_mulaw(code: u8) -> i16 {
    let bits = !code;
    let segment = (bits >> 4) & 0x07;
    let step = (bits & 0x0f) as i16;
    let value = (((step << 1) + MULAW_BIAS as i16) << segment) - MULAW_BIAS as i16;
    if bits & 0x80 == 0 { value << 2 } else { -(value << 2) }
}

/// The magnitude that is coded: one's complement for negative samples, so that -32,768 has one too.
fn magnitude(sample: i16) -> u16 {
    // Neither a sample that is not negative nor the complement of a negative one has the sign bit.
    (if sample < 0 { !sample } else { sample }) as u16
}

/// The number of the highest bit that is set, 0 for none.
fn top_bit(value: u16) -> u8 {
    // At most 15.
    15_u32.saturating_sub(value.leading_zeros()) as u8
}

/// Codes a sample by A-law.
///
/// ```
/// use xp2p_proto::voice::g711;
///
/// assert_eq!(g711::encode_alaw(0), 0xd5);
/// assert_eq!(g711::decode_alaw(0xd5), 8);
/// ```
pub fn encode_alaw(sample: i16) -> u8 {
    let value = magnitude(sample) >> 4; // 11 bits
    let bits = if value < 0x20 {
        value as u8 // the first two segments have the same steps
    } else {
        let segment = top_bit(value) - 3; // the highest bit is 5 to 10, segments are 2 to 7
        segment << 4 | (value >> (segment - 1)) as u8 & 0x0f
    };
    let sign = if sample < 0 { 0 } else { 0x80 };
    (bits | sign) ^ ALAW_MASK
}

/// The sample that an A-law code stands for: the middle of its interval.
pub fn decode_alaw(code: u8) -> i16 {
    ALAW[usize::from(code)]
}

/// Codes a sample by mu-law.
///
/// Samples from -4 to -1 become 0x7f ("negative zero").
///
/// ```
/// use xp2p_proto::voice::g711;
///
/// assert_eq!(g711::encode_mulaw(32_767), 0x80);
/// assert_eq!(g711::decode_mulaw(0x80), 32_124);
/// ```
pub fn encode_mulaw(sample: i16) -> u8 {
    let value = ((magnitude(sample) >> 2) + MULAW_BIAS).min(MULAW_CLIP);
    let segment = top_bit(value) - 5; // the bias makes bit 5 the lowest that is the highest, the clip bit 12
    let bits = segment << 4 | (value >> (segment + 1)) as u8 & 0x0f;
    let sign = if sample < 0 { 0x80 } else { 0 };
    !(bits | sign)
}

/// The sample that a mu-law code stands for: the middle of its interval, and 0 for both zeros.
pub fn decode_mulaw(code: u8) -> i16 {
    MULAW[usize::from(code)]
}

/// Codes samples by A-law and appends one byte for each.
pub fn encode_alaw_slice(samples: &[i16], out: &mut Vec<u8>) {
    out.extend(samples.iter().copied().map(encode_alaw));
}

/// Appends the sample of each A-law code.
pub fn decode_alaw_slice(codes: &[u8], out: &mut Vec<i16>) {
    out.extend(codes.iter().copied().map(decode_alaw));
}

/// Codes samples by mu-law and appends one byte for each.
pub fn encode_mulaw_slice(samples: &[i16], out: &mut Vec<u8>) {
    out.extend(samples.iter().copied().map(encode_mulaw));
}

/// Appends the sample of each mu-law code.
pub fn decode_mulaw_slice(codes: &[u8], out: &mut Vec<i16>) {
    out.extend(codes.iter().copied().map(decode_mulaw));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One interval of the standard: the least magnitude, the one behind the greatest, and the value.
    type Interval = (u32, u32, i32);

    /// The 128 intervals of a law from the widths of its intervals, as the tables of the standard list them.
    fn intervals(widths: impl Iterator<Item = u32>) -> Vec<Interval> {
        let mut low = 0;
        let list: Vec<_> = widths
            .map(|width| {
                let from = low;
                low += width;
                (from, low, (from + low) as i32 / 2)
            })
            .collect();
        assert_eq!(list.len(), 128);
        list
    }

    /// Table 1: two segments of steps of 2 (13 bits), then each twice the one before, up to 4,096.
    fn alaw_intervals() -> Vec<Interval> {
        let list = intervals([2, 2, 4, 8, 16, 32, 64, 128].into_iter().flat_map(|w| [w * 8; 16]));
        assert_eq!(list.last().unwrap().1, 4_096 * 8);
        list
    }

    /// Table 2: the first step is 1 (14 bits) around zero, fifteen of 2, then each segment twice, up to 8,159.
    fn mulaw_intervals() -> Vec<Interval> {
        let mut list =
            intervals([2, 4, 8, 16, 32, 64, 128, 256].into_iter().enumerate().flat_map(|(segment, w)| {
                let mut widths = [w * 4; 16];
                if segment == 0 {
                    widths[0] = 4;
                }
                widths
            }));
        assert_eq!(list.last().unwrap().1, 8_159 * 4);
        list[0].2 = 0; // the interval goes over both sides of zero
        list[127].1 = 32_768; // overload
        list
    }

    /// Proves each 16-bit sample's code and each code's sample against the intervals.
    fn prove(
        intervals: &[Interval],
        positive: impl Fn(u8) -> u8,
        encode: fn(i16) -> u8,
        decode: fn(u8) -> i16,
    ) {
        let mut samples = 0;
        for (n, &(from, to, value)) in intervals.iter().enumerate() {
            let code = positive(n as u8);
            let negative = code ^ 0x80;
            assert_eq!(i32::from(decode(code)), value, "{code:#04x}");
            assert_eq!(i32::from(decode(negative)), -value, "{negative:#04x}");
            for magnitude in from..to {
                let sample = i16::try_from(magnitude).unwrap();
                assert_eq!(encode(sample), code, "{sample}");
                assert_eq!(encode(!sample), negative, "{}", !sample);
                samples += 2;
            }
        }
        assert_eq!(samples, 65_536, "every sample was tried");
    }

    #[test]
    fn alaw_is_the_table_of_the_standard() {
        prove(&alaw_intervals(), |n| (n | 0x80) ^ 0x55, encode_alaw, decode_alaw);
    }

    #[test]
    fn mulaw_is_the_table_of_the_standard() {
        prove(&mulaw_intervals(), |n| !n, encode_mulaw, decode_mulaw);
    }

    #[test]
    fn known_codes_have_their_known_values() {
        for (code, sample) in
            [(0xd5, 8), (0x55, -8), (0xaa, 32_256), (0x2a, -32_256), (0xd4, 24), (0x80, 5_504)]
        {
            assert_eq!(decode_alaw(code), sample, "{code:#04x}");
        }
        for (code, sample) in
            [(0xff, 0), (0x7f, 0), (0x80, 32_124), (0x00, -32_124), (0xfe, 8), (0x7e, -8), (0xef, 132)]
        {
            assert_eq!(decode_mulaw(code), sample, "{code:#04x}");
        }
    }

    #[test]
    fn a_decoded_code_codes_to_itself_except_for_the_negative_zero() {
        for code in 0..=255 {
            assert_eq!(encode_alaw(decode_alaw(code)), code);
            let again = encode_mulaw(decode_mulaw(code));
            assert_eq!(again, if code == 0x7f { 0xff } else { code });
        }
    }

    #[test]
    fn louder_never_becomes_quieter() {
        for law in [|s| decode_alaw(encode_alaw(s)), |s| decode_mulaw(encode_mulaw(s))] {
            let mut last = i16::MIN;
            for sample in i16::MIN..=i16::MAX {
                let now = law(sample);
                assert!(now >= last, "{sample}: {now} after {last}");
                last = now;
            }
        }
    }

    #[test]
    fn slices_are_coded_sample_by_sample_and_appended() {
        let samples = [0, -1, 1_000, i16::MIN, i16::MAX];
        let (mut codes, mut back) = (vec![1], vec![2]);
        encode_alaw_slice(&samples, &mut codes);
        decode_alaw_slice(&codes[1..], &mut back);
        assert_eq!(codes, [1, 0xd5, 0x55, 0xfa, 0x2a, 0xaa]);
        assert_eq!(back, [2, 8, -8, 1_008, -32_256, 32_256]);

        let (mut codes, mut back) = (vec![1], vec![2]);
        encode_mulaw_slice(&samples, &mut codes);
        decode_mulaw_slice(&codes[1..], &mut back);
        assert_eq!(codes, [1, 0xff, 0x7f, 0xce, 0x00, 0x80]);
        assert_eq!(back, [2, 0, 0, 988, -32_124, 32_124]);
    }
}
