//! Tags of which a fuzzer decides kind, time and the begin of the body, so that it need not learn how they are framed.

use arbitrary::{Arbitrary, Result, Unstructured};
use bytes::Bytes;
use xp2p_proto::flv::{Tag, TagKind};

/// Bodies begin like one of these, mostly.
const HEADS: [&[u8]; 13] = [
    &[0x17, 0, 0, 0, 0],
    &[0x17, 1, 0, 0, 40],
    &[0x27, 1, 0, 0, 0],
    &[0x1c, 0, 0, 0, 0],
    &[0x1c, 1, 0, 0, 0],
    &[0x2c, 1, 0, 0, 0],
    &[0x90, b'h', b'v', b'c', b'1'],
    &[0x91, b'a', b'v', b'c', b'1', 0, 0, 0],
    &[0xaf, 0, 0x12, 0x10],
    &[0xaf, 1],
    &[0x72],
    &[0x36],
    &[],
];

/// A sequence header of H.264 that is right: 640x360.
pub(crate) const AVC: &[u8] = &[
    0x17, 0, 0, 0, 0, 0x01, 0x64, 0x00, 0x1e, 0xff, 0xe1, 0x00, 0x1a, 0x67, 0x64, 0x00, 0x1e, 0xac, 0xd9,
    0x40, 0xa0, 0x2f, 0xf9, 0x70, 0x11, 0x00, 0x00, 0x03, 0x00, 0x01, 0x00, 0x00, 0x03, 0x00, 0x32, 0x0f,
    0x16, 0x2d, 0x96, 0x01, 0x00, 0x06, 0x68, 0xeb, 0xe3, 0xcb, 0x22, 0xc0, 0xfd, 0xf8, 0xf8, 0x00,
];

/// One tag.
#[derive(Clone, Debug)]
pub(crate) struct AnyTag(pub(crate) Tag);

impl<'a> Arbitrary<'a> for AnyTag {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let kind = *u.choose(&[TagKind::Video, TagKind::Audio, TagKind::Script])?;
        // Mostly small steps; sometimes anywhere.
        let timestamp = if u.ratio(1, 8)? { u.arbitrary()? } else { u32::from(u.arbitrary::<u16>()?) };
        let head = u.int_in_range(0..=HEADS.len())?;
        let head = HEADS.get(head).copied().unwrap_or(AVC);
        let len = u.int_in_range(0..=64)?.min(u.len());
        Ok(Self(Tag { kind, timestamp, body: Bytes::from([head, u.bytes(len)?].concat()) }))
    }
}
