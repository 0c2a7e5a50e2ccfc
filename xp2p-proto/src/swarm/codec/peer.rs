//! The bytes of [`Message`] and [`PieceHead`].
//!
//! | type | message | body |
//! |---|---|---|
//! | 1 | status | have end (varint), have bits (16), batch (varint), backlog (2), origin-fed (1), of each lane: lag (2), depth (1), spare (1), smallest value (1) |
//! | 2 | subscribe | lane (1), from (varint), value (1) |
//! | 3 | accept | lane (1), path |
//! | 4 | reject | lane (1) |
//! | 5 | unsubscribe | lane (1) |
//! | 6 | evict | lane (1), alternative there (1), alternative (8) |
//! | 7 | request | piece (varint), slack (2) |
//! | 8 | no have | piece (varint) |
//! | 9 | cancel | piece (varint) |
//! | 10 | batch | the signed bytes |
//! | 11 | request batch | number (varint) |
//! | 12 | bye | - |
//! | 13 | way | lane (1), path |
//! | 14 | lost | lane (1), steps (1) |
//!
//! A path is its length (1), then four bytes for each member. In front of a piece: number (varint), pushed (1), path.

use bytes::Bytes;

use super::field::{
    CodecError, CodecReason, Field, MAX_VARINT, array, byte, flag, long, map_bits, put_varint, refuse, short,
    signed, varint, whole,
};
use crate::swarm::constants::LANES;
use crate::swarm::{HaveMap, LaneStatus, MAX_HOPS, Message, Path, PeerId, PieceHead, Status};

const STATUS: u8 = 1;
const SUBSCRIBE: u8 = 2;
const ACCEPT: u8 = 3;
const REJECT: u8 = 4;
const UNSUBSCRIBE: u8 = 5;
const EVICT: u8 = 6;
const REQUEST: u8 = 7;
const NO_HAVE: u8 = 8;
const CANCEL: u8 = 9;
const BATCH: u8 = 10;
const REQUEST_BATCH: u8 = 11;
const BYE: u8 = 12;
const WAY: u8 = 13;
const LOST: u8 = 14;

/// What another member said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// Any message but a batch.
    Message(Message),
    /// The signed bytes of a digest batch, which a [`Verifier`](crate::swarm::content::Verifier) has to read. They are a
    /// slice of the input.
    Batch(Bytes),
}

impl Message {
    /// Appends the bytes. Values beyond their limits come out as they are, and are refused by [`Parsed::parse`].
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Status(status) => {
                out.push(STATUS);
                put_status(out, status);
            }
            Self::Subscribe { lane, from, value } => {
                out.extend_from_slice(&[SUBSCRIBE, *lane]);
                put_varint(out, *from);
                out.push(*value);
            }
            Self::Accept { lane, path } => {
                out.extend_from_slice(&[ACCEPT, *lane]);
                put_path(out, path);
            }
            Self::Reject { lane } => out.extend_from_slice(&[REJECT, *lane]),
            Self::Unsubscribe { lane } => out.extend_from_slice(&[UNSUBSCRIBE, *lane]),
            Self::Evict { lane, alternative } => {
                out.extend_from_slice(&[EVICT, *lane, u8::from(alternative.is_some())]);
                if let Some(PeerId(id)) = alternative {
                    out.extend_from_slice(&id.to_be_bytes());
                }
            }
            Self::Request { piece, slack } => {
                out.push(REQUEST);
                put_varint(out, *piece);
                out.extend_from_slice(&slack.to_be_bytes());
            }
            Self::NoHave { piece } => {
                out.push(NO_HAVE);
                put_varint(out, *piece);
            }
            Self::Cancel { piece } => {
                out.push(CANCEL);
                put_varint(out, *piece);
            }
            Self::Batch(batch) => {
                out.push(BATCH);
                out.extend_from_slice(&batch.raw);
            }
            Self::RequestBatch { no } => {
                out.push(REQUEST_BATCH);
                put_varint(out, *no);
            }
            Self::Bye => out.push(BYE),
            Self::Way { lane, path } => {
                out.extend_from_slice(&[WAY, *lane]);
                put_path(out, path);
            }
            Self::Lost { lane, hops } => out.extend_from_slice(&[LOST, *lane, *hops]),
        }
    }
}

impl Parsed {
    /// Reads a message.
    ///
    /// # Errors
    ///
    /// The first wrong field and what is wrong with it.
    pub fn parse(input: &Bytes) -> Result<Self, CodecError> {
        if input.first() == Some(&BATCH) {
            return signed(input).map(Self::Batch);
        }
        whole(input, message).map(Self::Message)
    }
}

impl PieceHead {
    /// Appends the bytes that go in front of the piece's content.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, self.no);
        out.push(u8::from(self.pushed));
        put_path(out, &self.path);
    }

    /// Reads a head of exactly these bytes; [`piece_head`] reads one with the content behind it.
    ///
    /// # Errors
    ///
    /// The first wrong field and what is wrong with it.
    pub fn parse(input: &[u8]) -> Result<Self, CodecError> {
        whole(input, head)
    }
}

/// Splits what came with a piece into its head and its content, which is a slice of the input.
///
/// # Errors
///
/// The first wrong field of the head and what is wrong with it.
pub fn piece_head(input: &Bytes) -> Result<(PieceHead, Bytes), CodecError> {
    let mut len = 0;
    let head = whole(input, |i| {
        let (rest, head) = head(i)?;
        len = i.len() - rest.len();
        Ok((&[], head))
    })?;
    Ok((head, input.slice(len..)))
}

fn head(input: &[u8]) -> Field<'_, PieceHead> {
    let (input, no) = varint("a piece", MAX_VARINT, input)?;
    let (input, pushed) = flag("pushed", input)?;
    let (input, path) = path(input)?;
    Ok((input, PieceHead { no, pushed, path }))
}

fn message(input: &[u8]) -> Field<'_, Message> {
    let (rest, kind) = byte(input)?;
    let piece = |i| varint("a piece", MAX_VARINT, i);
    match kind {
        STATUS => status(rest).map(|(rest, s)| (rest, Message::Status(Box::new(s)))),
        SUBSCRIBE => {
            let (rest, lane) = lane(rest)?;
            let (rest, from) = piece(rest)?;
            let (rest, value) = byte(rest)?;
            Ok((rest, Message::Subscribe { lane, from, value }))
        }
        ACCEPT => {
            let (rest, lane) = lane(rest)?;
            let (rest, path) = path(rest)?;
            Ok((rest, Message::Accept { lane, path }))
        }
        REJECT => lane(rest).map(|(rest, lane)| (rest, Message::Reject { lane })),
        UNSUBSCRIBE => lane(rest).map(|(rest, lane)| (rest, Message::Unsubscribe { lane })),
        EVICT => {
            let (rest, lane) = lane(rest)?;
            let (rest, there) = flag("an alternative", rest)?;
            if !there {
                return Ok((rest, Message::Evict { lane, alternative: None }));
            }
            let (rest, id) = long(rest)?;
            Ok((rest, Message::Evict { lane, alternative: Some(PeerId(id)) }))
        }
        REQUEST => {
            let (rest, piece) = piece(rest)?;
            let (rest, slack) = short(rest)?;
            Ok((rest, Message::Request { piece, slack }))
        }
        NO_HAVE => piece(rest).map(|(rest, piece)| (rest, Message::NoHave { piece })),
        CANCEL => piece(rest).map(|(rest, piece)| (rest, Message::Cancel { piece })),
        REQUEST_BATCH => {
            let (rest, no) = varint("a batch number", MAX_VARINT, rest)?;
            Ok((rest, Message::RequestBatch { no }))
        }
        BYE => Ok((rest, Message::Bye)),
        WAY => {
            let (rest, lane) = lane(rest)?;
            let (rest, path) = path(rest)?;
            Ok((rest, Message::Way { lane, path }))
        }
        LOST => {
            let (rest, lane) = lane(rest)?;
            let (rest, hops) = byte(rest)?;
            Ok((rest, Message::Lost { lane, hops }))
        }
        found => refuse(input, CodecReason::Type(found)),
    }
}

fn put_status(out: &mut Vec<u8>, status: &Status) {
    put_varint(out, status.have.end());
    out.extend_from_slice(&status.have.bits().to_be_bytes());
    put_varint(out, status.batch);
    out.extend_from_slice(&status.backlog.to_be_bytes());
    out.push(u8::from(status.origin_fed));
    for lane in &status.lanes {
        out.extend_from_slice(&lane.lag.to_be_bytes());
        out.extend_from_slice(&[lane.depth, lane.spare, lane.min_value]);
    }
}

fn status(input: &[u8]) -> Field<'_, Status> {
    let (input, end) = varint("the end of a map", MAX_VARINT, input)?;
    let (input, bits) = map_bits(input)?;
    let (input, batch) = varint("a batch number", MAX_VARINT, input)?;
    let (input, backlog) = short(input)?;
    let (mut input, origin_fed) = flag("origin-fed", input)?;
    let mut lanes = [LaneStatus::NONE; LANES];
    for lane in &mut lanes {
        let (rest, lag) = short(input)?;
        let (rest, [depth, spare, min_value]) = array(rest)?;
        *lane = LaneStatus { lag, depth, spare, min_value };
        input = rest;
    }
    let have = HaveMap::from_parts(end, bits);
    Ok((input, Status { have, batch, backlog, origin_fed, lanes }))
}

fn lane(input: &[u8]) -> Field<'_, u8> {
    match byte(input)? {
        (rest, lane) if usize::from(lane) < LANES => Ok((rest, lane)),
        (_, found) => refuse(input, CodecReason::Value { what: "a lane", found }),
    }
}

fn put_path(out: &mut Vec<u8>, path: &Path) {
    // At most MAX_HOPS.
    out.push(path.len() as u8);
    for hop in path.hops() {
        out.extend_from_slice(&hop.to_be_bytes());
    }
}

fn path(input: &[u8]) -> Field<'_, Path> {
    let (mut rest, len) = byte(input)?;
    let too_long =
        CodecReason::TooLarge { what: "the length of a path", found: len.into(), max: MAX_HOPS as u64 };
    if usize::from(len) > MAX_HOPS {
        return refuse(input, too_long);
    }
    let mut hops = Vec::with_capacity(len.into());
    for _ in 0..len {
        let (after, hop) = array(rest)?;
        hops.push(u32::from_be_bytes(hop));
        rest = after;
    }
    match Path::from_hops(&hops) {
        Some(path) => Ok((rest, path)),
        None => refuse(input, too_long),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::swarm::constants::MAX_BATCH;

    fn print(message: &Message) -> Bytes {
        let mut out = Vec::new();
        message.encode(&mut out);
        out.into()
    }

    fn any_path() -> impl Strategy<Value = Path> {
        prop::collection::vec(any::<u32>(), 0..=MAX_HOPS).prop_map(|h| Path::from_hops(&h).unwrap())
    }

    fn any_status() -> impl Strategy<Value = Status> {
        let lane = (any::<u16>(), any::<u8>(), any::<u8>(), any::<u8>())
            .prop_map(|(lag, depth, spare, min_value)| LaneStatus { lag, depth, spare, min_value });
        let map = (0..=MAX_VARINT, any::<u128>()).prop_map(|(end, bits)| HaveMap::from_parts(end, bits));
        (map, 0..=MAX_VARINT, any::<u16>(), any::<bool>(), prop::array::uniform8(lane)).prop_map(
            |(have, batch, backlog, origin_fed, lanes)| Status { have, batch, backlog, origin_fed, lanes },
        )
    }

    fn any_message() -> impl Strategy<Value = Message> {
        let lane = || 0..LANES as u8;
        let no = || 0..=MAX_VARINT;
        prop_oneof![
            any_status().prop_map(|s| Message::Status(Box::new(s))),
            (lane(), no(), any::<u8>()).prop_map(|(lane, from, value)| Message::Subscribe {
                lane,
                from,
                value
            }),
            (lane(), any_path()).prop_map(|(lane, path)| Message::Accept { lane, path }),
            lane().prop_map(|lane| Message::Reject { lane }),
            lane().prop_map(|lane| Message::Unsubscribe { lane }),
            (lane(), any::<Option<u64>>())
                .prop_map(|(lane, id)| Message::Evict { lane, alternative: id.map(PeerId) }),
            (no(), any::<u16>()).prop_map(|(piece, slack)| Message::Request { piece, slack }),
            no().prop_map(|piece| Message::NoHave { piece }),
            no().prop_map(|piece| Message::Cancel { piece }),
            no().prop_map(|no| Message::RequestBatch { no }),
            Just(Message::Bye),
            (lane(), any_path()).prop_map(|(lane, path)| Message::Way { lane, path }),
            (lane(), any::<u8>()).prop_map(|(lane, hops)| Message::Lost { lane, hops }),
        ]
    }

    #[test]
    fn a_status_is_short() {
        let status = Status {
            have: HaveMap::from_parts(1 << 20, u128::MAX),
            batch: 1 << 15,
            backlog: 9,
            origin_fed: true,
            lanes: [LaneStatus::NONE; LANES],
        };
        assert_eq!(print(&Message::Status(Box::new(status))).len(), 68);
    }

    #[test]
    fn limits_are_kept() {
        let refused = |bytes: &[u8]| Parsed::parse(&Bytes::copy_from_slice(bytes)).unwrap_err();
        let lane = CodecReason::Value { what: "a lane", found: 8 };
        assert_eq!(refused(&[REJECT, 8]), CodecError { offset: 1, reason: lane });
        let path = CodecReason::TooLarge { what: "the length of a path", found: 21, max: 20 };
        assert_eq!(refused(&[ACCEPT, 0, 21]), CodecError { offset: 2, reason: path });
        assert_eq!(refused(&[0]), CodecError { offset: 0, reason: CodecReason::Type(0) });
        assert_eq!(refused(&[15]), CodecError { offset: 0, reason: CodecReason::Type(15) });
        assert_eq!(refused(&[BYE, 0]), CodecError { offset: 1, reason: CodecReason::Trailing(1) });
        assert_eq!(refused(&[]), CodecError { offset: 0, reason: CodecReason::Truncated });
        let long = [&[BATCH][..], &vec![0; MAX_BATCH + 1]].concat();
        assert!(matches!(refused(&long).reason, CodecReason::TooLarge { what: "a batch", .. }));
    }

    #[test]
    fn a_batch_is_passed_on_as_it_was_signed() {
        let raw = Bytes::from_static(b"whatever was signed");
        let batch =
            crate::swarm::Batch { chain: 1, no: 2, epoch: 3, edge: 4, pieces: vec![], raw: raw.clone() };
        assert_eq!(Parsed::parse(&print(&Message::Batch(batch.into()))), Ok(Parsed::Batch(raw)));
    }

    proptest! {
        #[test]
        fn what_is_printed_is_parsed(message in any_message()) {
            let bytes = print(&message);
            prop_assert_eq!(Parsed::parse(&bytes), Ok(Parsed::Message(message)));
            for len in 0..bytes.len() {
                let error = Parsed::parse(&bytes.slice(..len)).unwrap_err();
                prop_assert_eq!(error, CodecError { offset: len, reason: CodecReason::Truncated });
            }
        }

        #[test]
        fn what_is_parsed_is_printed(bytes in prop::collection::vec(prop_oneof![any::<u8>(), 0..14_u8], 0..120)) {
            let bytes = Bytes::from(bytes);
            if let Ok(Parsed::Message(message)) = Parsed::parse(&bytes) {
                prop_assert_eq!(print(&message), bytes);
            }
        }

        #[test]
        fn heads_stand_before_content(no in 0..=MAX_VARINT, pushed: bool, path in any_path(), content: Vec<u8>) {
            let head = PieceHead { no, pushed, path };
            let mut bytes = Vec::new();
            head.encode(&mut bytes);
            prop_assert_eq!(PieceHead::parse(&bytes), Ok(head));
            bytes.extend_from_slice(&content);
            prop_assert_eq!(piece_head(&bytes.into()), Ok((head, Bytes::from(content))));
        }
    }
}
