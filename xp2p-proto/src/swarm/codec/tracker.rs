//! The bytes of [`ToTracker`] and [`FromTracker`].
//!
//! | type | to the tracker | body |
//! |---|---|---|
//! | 1 | join | network (1), slots (1), may pull (1), contact (length varint, bytes) |
//! | 2 | more | lanes (1) |
//! | 3 | report | slots (1), spare (1 each lane), depth (1 each lane), origin-fed (1), lag (2), ahead (2) |
//! | 4 | bad | peer (8), misdeed (1), piece there (1), piece (varint) |
//! | 5 | rescue | - |
//! | 6 | origin | open (1) |
//! | 7 | request batch | number (varint) |
//! | 8 | pong | - |
//! | 9 | leave | - |
//! | 10 | fill | first piece (varint), the one after the last (varint) |
//! | 11 | observed | number of pieces (1), then each: run (varint), index (2), time (8), time to its end (varint), length (2), hash (16) |
//!
//! | type | from the tracker | body |
//! |---|---|---|
//! | 1 | welcome | edge there (1), edge (varint), trust (1), candidates |
//! | 2 | candidates | candidates |
//! | 3 | lease | granted (1) |
//! | 4 | elect | - |
//! | 5 | demote | - |
//! | 6 | batch | the signed bytes |
//! | 7 | edge | ms (varint) |
//! | 8 | ping | - |
//! | 9 | excluded | - |
//! | 10 | fill | first piece (varint), the one after the last (varint) |
//! | 11 | meet | begin (1), a candidate |
//!
//! Candidates are their number (1), then each: peer (8), network (1), origin-fed (1), contact (length varint, bytes).

use bytes::Bytes;

use super::field::{
    CodecError, CodecReason, Field, MAX_VARINT, array, byte, bytes, flag, long, put_bytes, put_varint,
    refuse, short, signed, varint, whole,
};
use crate::swarm::constants::{MAX_CANDIDATES, MAX_CONTACT, MAX_OBSERVED, MAX_PIECE};
use crate::swarm::{
    Candidate, FromTracker, Misdeed, NatClass, Observed, PeerId, PieceNo, Report, ToTracker, Trust,
};

/// Longest time between the first and the last frame of a piece, in ms. A piece ends after 120 ms; frames may be far apart.
const MAX_PIECE_LASTS: u64 = 3_600_000;

/// [`FromTracker::Batch`], whose content is not parsed here.
const BATCH: u8 = 6;

/// What a tracker said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParsedFromTracker {
    /// Any message but a batch.
    Message(FromTracker),
    /// The signed bytes of a digest batch, which a [`Verifier`](crate::swarm::content::Verifier) has to read. They are a
    /// slice of the input.
    Batch(Bytes),
}

/// [`FromTracker::Meet`].
const MEET: u8 = 11;
/// [`ToTracker::Observed`].
const OBSERVED: u8 = 11;

/// The type of both messages about pieces to be filled in.
const FILL: u8 = 10;

fn put_range(out: &mut Vec<u8>, from: PieceNo, to: PieceNo) {
    out.push(FILL);
    put_varint(out, from);
    put_varint(out, to);
}

fn range(input: &[u8]) -> Field<'_, (PieceNo, PieceNo)> {
    let (rest, from) = varint("a piece", MAX_VARINT, input)?;
    let (rest, to) = varint("a piece", MAX_VARINT, rest)?;
    Ok((rest, (from, to)))
}

impl ToTracker {
    /// Appends the bytes. Values beyond their limits come out as they are, and are refused by [`parse`](Self::parse).
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Join { nat, slots, may_pull, contact } => {
                out.extend_from_slice(&[1, nat_byte(*nat), *slots, u8::from(*may_pull)]);
                put_bytes(out, contact);
            }
            Self::More { lanes } => out.extend_from_slice(&[2, *lanes]),
            Self::Report(report) => {
                out.extend_from_slice(&[3, report.slots]);
                out.extend_from_slice(&report.spare);
                out.extend_from_slice(&report.depth);
                out.push(u8::from(report.origin_fed));
                out.extend_from_slice(&report.lag.to_be_bytes());
                out.extend_from_slice(&report.ahead.to_be_bytes());
            }
            Self::Bad { peer, misdeed, piece } => {
                out.push(4);
                out.extend_from_slice(&peer.0.to_be_bytes());
                out.extend_from_slice(&[misdeed_byte(*misdeed), u8::from(piece.is_some())]);
                if let Some(piece) = piece {
                    put_varint(out, *piece);
                }
            }
            Self::Rescue => out.push(5),
            Self::Origin { open } => out.extend_from_slice(&[6, u8::from(*open)]),
            Self::RequestBatch { no } => {
                out.push(7);
                put_varint(out, *no);
            }
            Self::Pong => out.push(8),
            Self::Leave => out.push(9),
            Self::Fill { from, to } => put_range(out, *from, *to),
            Self::Observed(pieces) => {
                // Too many become 255, which is above the limit.
                out.extend_from_slice(&[OBSERVED, u8::try_from(pieces.len()).unwrap_or(u8::MAX)]);
                for piece in pieces {
                    put_varint(out, piece.run);
                    out.extend_from_slice(&piece.index.to_be_bytes());
                    out.extend_from_slice(&piece.time.to_be_bytes());
                    put_varint(out, piece.end.abs_diff(piece.time));
                    out.extend_from_slice(&piece.len.to_be_bytes());
                    out.extend_from_slice(&piece.hash);
                }
            }
        }
    }

    /// Reads a message. A contact is a slice of the input.
    ///
    /// # Errors
    ///
    /// The first wrong field and what is wrong with it.
    pub fn parse(input: &Bytes) -> Result<Self, CodecError> {
        whole(input, |i| to_tracker(input, i))
    }
}

impl FromTracker {
    /// Appends the bytes. Values beyond their limits come out as they are, and are refused by
    /// [`ParsedFromTracker::parse`].
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Welcome { edge, trust, candidates } => {
                out.extend_from_slice(&[1, u8::from(edge.is_some())]);
                if let Some(edge) = edge {
                    put_varint(out, *edge);
                }
                out.push(trust_byte(*trust));
                put_candidates(out, candidates);
            }
            Self::Meet { begin, candidate } => {
                out.extend_from_slice(&[MEET, u8::from(*begin)]);
                put_candidate(out, candidate);
            }
            Self::Candidates(candidates) => {
                out.push(2);
                put_candidates(out, candidates);
            }
            Self::Lease { granted } => out.extend_from_slice(&[3, u8::from(*granted)]),
            Self::Elect => out.push(4),
            Self::Demote => out.push(5),
            Self::Batch(batch) => {
                out.push(BATCH);
                out.extend_from_slice(&batch.raw);
            }
            Self::Edge(edge) => {
                out.push(7);
                put_varint(out, *edge);
            }
            Self::Ping => out.push(8),
            Self::Excluded => out.push(9),
            Self::Fill { from, to } => put_range(out, *from, *to),
        }
    }
}

impl ParsedFromTracker {
    /// Reads a message. Contacts are slices of the input.
    ///
    /// # Errors
    ///
    /// The first wrong field and what is wrong with it.
    pub fn parse(input: &Bytes) -> Result<Self, CodecError> {
        if input.first() == Some(&BATCH) {
            return signed(input).map(Self::Batch);
        }
        whole(input, |i| from_tracker(input, i)).map(Self::Message)
    }
}

fn to_tracker<'a>(whole: &Bytes, input: &'a [u8]) -> Field<'a, ToTracker> {
    let (rest, kind) = byte(input)?;
    match kind {
        1 => {
            let (rest, nat) = nat(rest)?;
            let (rest, slots) = byte(rest)?;
            let (rest, may_pull) = flag("may pull", rest)?;
            let (rest, contact) = contact(whole, rest)?;
            Ok((rest, ToTracker::Join { nat, slots, may_pull, contact }))
        }
        2 => byte(rest).map(|(rest, lanes)| (rest, ToTracker::More { lanes })),
        3 => {
            let (rest, slots) = byte(rest)?;
            let (rest, spare) = array(rest)?;
            let (rest, depth) = array(rest)?;
            let (rest, origin_fed) = flag("origin-fed", rest)?;
            let (rest, lag) = short(rest)?;
            let (rest, ahead) = short(rest)?;
            Ok((rest, ToTracker::Report(Report { slots, spare, depth, origin_fed, lag, ahead })))
        }
        4 => {
            let (rest, peer) = long(rest)?;
            let (rest, misdeed) = misdeed(rest)?;
            let (rest, there) = flag("a piece", rest)?;
            let (rest, piece) = optional(there, "a piece", rest)?;
            Ok((rest, ToTracker::Bad { peer: PeerId(peer), misdeed, piece }))
        }
        5 => Ok((rest, ToTracker::Rescue)),
        6 => flag("open", rest).map(|(rest, open)| (rest, ToTracker::Origin { open })),
        7 => {
            let (rest, no) = varint("a batch number", MAX_VARINT, rest)?;
            Ok((rest, ToTracker::RequestBatch { no }))
        }
        8 => Ok((rest, ToTracker::Pong)),
        9 => Ok((rest, ToTracker::Leave)),
        FILL => range(rest).map(|(rest, (from, to))| (rest, ToTracker::Fill { from, to })),
        OBSERVED => list("the number of pieces", MAX_OBSERVED, rest, observed)
            .map(|(rest, pieces)| (rest, ToTracker::Observed(pieces))),
        found => refuse(input, CodecReason::Type(found)),
    }
}

/// Their number (1), at most `max`, and so many items.
fn list<'a, T>(
    what: &'static str,
    max: usize,
    input: &'a [u8],
    item: impl Fn(&'a [u8]) -> Field<'a, T>,
) -> Field<'a, Vec<T>> {
    let (mut rest, count) = byte(input)?;
    if usize::from(count) > max {
        let (found, max) = (count.into(), max as u64);
        return refuse(input, CodecReason::TooLarge { what, found, max });
    }
    let mut items = Vec::with_capacity(count.into());
    for _ in 0..count {
        let (after, one) = item(rest)?;
        items.push(one);
        rest = after;
    }
    Ok((rest, items))
}

fn observed(input: &[u8]) -> Field<'_, Observed> {
    let (rest, run) = varint("a run", MAX_VARINT, input)?;
    let (times, index) = short(rest)?;
    let (rest, time) = long(times)?;
    // Two's complement.
    let time = time as i64;
    let (rest, lasts) = varint("the length of a piece in time", MAX_PIECE_LASTS, rest)?;
    let (at, len) = short(rest)?;
    if usize::from(len) > MAX_PIECE {
        let (found, max) = (len.into(), MAX_PIECE as u64);
        return refuse(rest, CodecReason::TooLarge { what: "the length of a piece", found, max });
    }
    let (rest, hash) = array(at)?;
    // At most MAX_PIECE_LASTS, which fits.
    let Some(end) = time.checked_add(lasts as i64) else {
        let (found, max) = (time as u64, i64::MAX as u64 - lasts);
        return refuse(times, CodecReason::TooLarge { what: "a time", found, max });
    };
    Ok((rest, Observed { run, index, time, end, len, hash }))
}

fn from_tracker<'a>(whole: &Bytes, input: &'a [u8]) -> Field<'a, FromTracker> {
    let (rest, kind) = byte(input)?;
    match kind {
        1 => {
            let (rest, there) = flag("an edge", rest)?;
            let (rest, edge) = optional(there, "an edge", rest)?;
            let (rest, trust) = trust(rest)?;
            let (rest, candidates) = candidates(whole, rest)?;
            Ok((rest, FromTracker::Welcome { edge, trust, candidates }))
        }
        2 => candidates(whole, rest).map(|(rest, c)| (rest, FromTracker::Candidates(c))),
        3 => flag("granted", rest).map(|(rest, granted)| (rest, FromTracker::Lease { granted })),
        4 => Ok((rest, FromTracker::Elect)),
        5 => Ok((rest, FromTracker::Demote)),
        7 => varint("an edge", MAX_VARINT, rest).map(|(rest, edge)| (rest, FromTracker::Edge(edge))),
        8 => Ok((rest, FromTracker::Ping)),
        9 => Ok((rest, FromTracker::Excluded)),
        FILL => range(rest).map(|(rest, (from, to))| (rest, FromTracker::Fill { from, to })),
        MEET => {
            let (rest, begin) = flag("who begins", rest)?;
            candidate(whole, rest).map(|(rest, candidate)| (rest, FromTracker::Meet { begin, candidate }))
        }
        found => refuse(input, CodecReason::Type(found)),
    }
}

fn optional<'a>(there: bool, what: &'static str, input: &'a [u8]) -> Field<'a, Option<u64>> {
    if !there {
        return Ok((input, None));
    }
    varint(what, MAX_VARINT, input).map(|(rest, value)| (rest, Some(value)))
}

fn contact<'a>(whole: &Bytes, input: &'a [u8]) -> Field<'a, Bytes> {
    let (rest, bytes) = bytes("the length of a contact", MAX_CONTACT, input)?;
    Ok((rest, whole.slice_ref(bytes)))
}

fn put_candidates(out: &mut Vec<u8>, candidates: &[Candidate]) {
    // Too many become 255, which is above the limit.
    out.push(u8::try_from(candidates.len()).unwrap_or(u8::MAX));
    candidates.iter().for_each(|candidate| put_candidate(out, candidate));
}

fn put_candidate(out: &mut Vec<u8>, candidate: &Candidate) {
    out.extend_from_slice(&candidate.peer.0.to_be_bytes());
    out.extend_from_slice(&[nat_byte(candidate.nat), u8::from(candidate.origin_fed)]);
    put_bytes(out, &candidate.contact);
}

fn candidates<'a>(whole: &Bytes, input: &'a [u8]) -> Field<'a, Vec<Candidate>> {
    list("the number of candidates", MAX_CANDIDATES, input, |i| candidate(whole, i))
}

fn candidate<'a>(whole: &Bytes, input: &'a [u8]) -> Field<'a, Candidate> {
    let (rest, peer) = long(input)?;
    let (rest, nat) = nat(rest)?;
    let (rest, origin_fed) = flag("origin-fed", rest)?;
    let (rest, contact) = contact(whole, rest)?;
    Ok((rest, Candidate { peer: PeerId(peer), nat, origin_fed, contact }))
}

const fn nat_byte(nat: NatClass) -> u8 {
    match nat {
        NatClass::Unknown => 0,
        NatClass::Public => 1,
        NatClass::Cone => 2,
        NatClass::Restricted => 3,
        NatClass::Symmetric => 4,
    }
}

fn nat(input: &[u8]) -> Field<'_, NatClass> {
    let (rest, found) = byte(input)?;
    let nat = match found {
        0 => NatClass::Unknown,
        1 => NatClass::Public,
        2 => NatClass::Cone,
        3 => NatClass::Restricted,
        4 => NatClass::Symmetric,
        _ => return refuse(input, CodecReason::Value { what: "a network", found }),
    };
    Ok((rest, nat))
}

const fn misdeed_byte(misdeed: Misdeed) -> u8 {
    match misdeed {
        Misdeed::Silent => 1,
        Misdeed::Withholds => 2,
        Misdeed::Corrupt => 3,
    }
}

fn misdeed(input: &[u8]) -> Field<'_, Misdeed> {
    let (rest, found) = byte(input)?;
    let misdeed = match found {
        1 => Misdeed::Silent,
        2 => Misdeed::Withholds,
        3 => Misdeed::Corrupt,
        _ => return refuse(input, CodecReason::Value { what: "a misdeed", found }),
    };
    Ok((rest, misdeed))
}

const fn trust_byte(trust: Trust) -> u8 {
    match trust {
        Trust::Source => 1,
        Trust::Witness => 2,
        Trust::Quorum => 3,
    }
}

fn trust(input: &[u8]) -> Field<'_, Trust> {
    let (rest, found) = byte(input)?;
    let trust = match found {
        1 => Trust::Source,
        2 => Trust::Witness,
        3 => Trust::Quorum,
        _ => return refuse(input, CodecReason::Value { what: "a trust", found }),
    };
    Ok((rest, trust))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::swarm::constants::MAX_BATCH;

    fn any_nat() -> impl Strategy<Value = NatClass> {
        prop_oneof![
            Just(NatClass::Unknown),
            Just(NatClass::Public),
            Just(NatClass::Cone),
            Just(NatClass::Restricted),
            Just(NatClass::Symmetric),
        ]
    }

    fn any_contact() -> impl Strategy<Value = Bytes> {
        prop::collection::vec(any::<u8>(), 0..=MAX_CONTACT).prop_map(Bytes::from)
    }

    fn any_to_tracker() -> impl Strategy<Value = ToTracker> {
        let misdeed = prop_oneof![Just(Misdeed::Silent), Just(Misdeed::Withholds), Just(Misdeed::Corrupt)];
        let report =
            (any::<u8>(), any::<[u8; 8]>(), any::<[u8; 8]>(), any::<bool>(), any::<u16>(), any::<u16>())
                .prop_map(|(slots, spare, depth, origin_fed, lag, ahead)| Report {
                    slots,
                    spare,
                    depth,
                    origin_fed,
                    lag,
                    ahead,
                });
        prop_oneof![
            (any_nat(), any::<u8>(), any::<bool>(), any_contact()).prop_map(
                |(nat, slots, may_pull, contact)| ToTracker::Join { nat, slots, may_pull, contact }
            ),
            any::<u8>().prop_map(|lanes| ToTracker::More { lanes }),
            report.prop_map(ToTracker::Report),
            (any::<u64>(), misdeed, prop::option::of(0..=MAX_VARINT))
                .prop_map(|(peer, misdeed, piece)| { ToTracker::Bad { peer: PeerId(peer), misdeed, piece } }),
            Just(ToTracker::Rescue),
            any::<bool>().prop_map(|open| ToTracker::Origin { open }),
            (0..=MAX_VARINT).prop_map(|no| ToTracker::RequestBatch { no }),
            Just(ToTracker::Pong),
            Just(ToTracker::Leave),
            (0..=MAX_VARINT, 0..=MAX_VARINT).prop_map(|(from, to)| ToTracker::Fill { from, to }),
            prop::collection::vec(any_observed(), 0..=MAX_OBSERVED).prop_map(ToTracker::Observed),
        ]
    }

    fn any_observed() -> impl Strategy<Value = Observed> {
        let times = (-1_000_000_000_000..1_000_000_000_000_i64, 0..=MAX_PIECE_LASTS as i64);
        (0..=MAX_VARINT, any::<u16>(), times, 0..=MAX_PIECE as u16, any::<[u8; 16]>()).prop_map(
            |(run, index, (time, lasts), len, hash)| Observed {
                run,
                index,
                time,
                end: time + lasts,
                len,
                hash,
            },
        )
    }

    fn any_from_tracker() -> impl Strategy<Value = FromTracker> {
        let candidate = (any::<u64>(), any_nat(), any::<bool>(), any_contact())
            .prop_map(|(peer, nat, origin_fed, contact)| Candidate {
                peer: PeerId(peer),
                nat,
                origin_fed,
                contact,
            })
            .boxed();
        let candidates = prop::collection::vec(candidate.clone(), 0..=4).boxed();
        let trust = prop_oneof![Just(Trust::Source), Just(Trust::Witness), Just(Trust::Quorum)];
        prop_oneof![
            (prop::option::of(0..=MAX_VARINT), trust, candidates.clone())
                .prop_map(|(edge, trust, candidates)| FromTracker::Welcome { edge, trust, candidates }),
            candidates.prop_map(FromTracker::Candidates),
            (any::<bool>(), candidate).prop_map(|(begin, candidate)| FromTracker::Meet { begin, candidate }),
            any::<bool>().prop_map(|granted| FromTracker::Lease { granted }),
            Just(FromTracker::Elect),
            Just(FromTracker::Demote),
            (0..=MAX_VARINT).prop_map(FromTracker::Edge),
            Just(FromTracker::Ping),
            Just(FromTracker::Excluded),
            (0..=MAX_VARINT, 0..=MAX_VARINT).prop_map(|(from, to)| FromTracker::Fill { from, to }),
        ]
    }

    #[test]
    fn limits_are_kept() {
        let contact = Bytes::from(vec![7; MAX_CONTACT + 1]);
        let mut out = Vec::new();
        ToTracker::Join { nat: NatClass::Cone, slots: 1, may_pull: true, contact }.encode(&mut out);
        let reason = CodecReason::TooLarge { what: "the length of a contact", found: 257, max: 256 };
        assert_eq!(ToTracker::parse(&out.into()), Err(CodecError { offset: 4, reason }));
        let candidate = Candidate {
            peer: PeerId(1),
            nat: NatClass::Public,
            origin_fed: false,
            contact: Bytes::from(vec![7; MAX_CONTACT]),
        };
        for (count, good) in [(MAX_CANDIDATES, true), (MAX_CANDIDATES + 1, false), (300, false)] {
            let message = FromTracker::Candidates(vec![candidate.clone(); count]);
            let mut out = Vec::new();
            message.encode(&mut out);
            assert_eq!(ParsedFromTracker::parse(&out.into()).is_ok(), good, "{count}");
        }
        let batch = [&[BATCH][..], &vec![0; MAX_BATCH + 1]].concat();
        assert!(ParsedFromTracker::parse(&batch.into()).is_err());
    }

    /// Found by fuzzing: the end of such a piece was cut to the last time there is, and printed as another one.
    #[test]
    fn a_piece_that_ends_after_the_last_time_is_refused_where_its_time_stands() {
        let one = Observed { run: 3, index: 1, time: i64::MAX - 40, end: i64::MAX, len: 9, hash: [7; 16] };
        let mut bytes = Vec::new();
        ToTracker::Observed(vec![one]).encode(&mut bytes);
        assert_eq!(ToTracker::parse(&bytes.clone().into()), Ok(ToTracker::Observed(vec![one])));
        // Kind, number, run and index come before the time.
        bytes[5 + 7] += 1;
        let error = ToTracker::parse(&bytes.into()).unwrap_err();
        let (found, max) = (i64::MAX as u64 - 39, i64::MAX as u64 - 40);
        assert_eq!(error.offset, 5);
        assert_eq!(error.reason, CodecReason::TooLarge { what: "a time", found, max });
    }

    proptest! {
        #[test]
        fn what_is_printed_is_parsed(to in any_to_tracker(), from in any_from_tracker()) {
            let mut bytes = Vec::new();
            to.encode(&mut bytes);
            let bytes = Bytes::from(bytes);
            prop_assert_eq!(ToTracker::parse(&bytes), Ok(to));
            for len in 0..bytes.len() {
                let error = ToTracker::parse(&bytes.slice(..len)).unwrap_err();
                prop_assert_eq!(error, CodecError { offset: len, reason: CodecReason::Truncated });
            }
            let mut bytes = Vec::new();
            from.encode(&mut bytes);
            let bytes = Bytes::from(bytes);
            prop_assert_eq!(ParsedFromTracker::parse(&bytes), Ok(ParsedFromTracker::Message(from)));
            for len in 0..bytes.len() {
                let error = ParsedFromTracker::parse(&bytes.slice(..len)).unwrap_err();
                prop_assert_eq!(error, CodecError { offset: len, reason: CodecReason::Truncated });
            }
        }

        #[test]
        fn what_is_parsed_is_printed(bytes in prop::collection::vec(prop_oneof![any::<u8>(), 0..10_u8], 0..60)) {
            let bytes = Bytes::from(bytes);
            let mut out = Vec::new();
            if let Ok(message) = ToTracker::parse(&bytes) {
                message.encode(&mut out);
                prop_assert_eq!(&out, &bytes);
            }
            out.clear();
            if let Ok(ParsedFromTracker::Message(message)) = ParsedFromTracker::parse(&bytes) {
                message.encode(&mut out);
                prop_assert_eq!(&out, &bytes);
            }
        }
    }
}
