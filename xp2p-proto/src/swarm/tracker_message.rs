//! What members and the tracker say to each other.

use std::sync::Arc;

use bytes::Bytes;

use super::PeerId;
use super::constants::LANES;
use super::piece::{Batch, Observed, PieceNo};

/// What a member's network lets others do, most open first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NatClass {
    /// Anyone can send to it.
    Public,
    /// Endpoint-independent mapping, and a filter that at most looks at the address (RFC 4787).
    Cone,
    /// Endpoint-independent mapping, and a filter that looks at address and port.
    Restricted,
    /// A mapping for each destination.
    Symmetric,
    /// Not known yet.
    #[default]
    Unknown,
}

impl NatClass {
    /// Whether two members behind such networks can be expected to reach each other directly.
    pub fn reaches(self, other: Self) -> bool {
        !matches!(
            (self, other),
            (Self::Symmetric, Self::Symmetric | Self::Restricted) | (Self::Restricted, Self::Symmetric)
        )
    }

    /// Whether a member behind such a network has to begin the connection to `other`: nobody can know the address that it will
    /// have there before it has sent something.
    pub fn must_begin(self, other: Self) -> bool {
        self == Self::Symmetric && other != Self::Symmetric
    }

    /// Whether others can reach it easily.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Public | Self::Cone)
    }
}

/// A member that another one may connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its id.
    pub peer: PeerId,
    /// Its network.
    pub nat: NatClass,
    /// Whether it is fed by the origin.
    pub origin_fed: bool,
    /// How to reach it: opaque to the scheduler, at most [`MAX_CONTACT`](super::constants::MAX_CONTACT) bytes.
    pub contact: Bytes,
}

/// Why a member is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Misdeed {
    /// It says nothing any more.
    Silent,
    /// It has pieces and does not send what it promised.
    Withholds,
    /// It sent a piece that is not what its digest says.
    Corrupt,
}

/// What a member says about itself when it joins and every 4 s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// How many children it can feed in all, or could if it did not read the origin for others: members are compared by it.
    pub slots: u8,
    /// How many more it would take in each substream.
    pub spare: [u8; LANES],
    /// Members between the origin and it, in each substream.
    pub depth: [u8; LANES],
    /// Whether it is fed by the origin.
    pub origin_fed: bool,
    /// How late pieces are here, in ms.
    pub lag: u16,
    /// How far ahead of the signer's clock the origin is as this member reads it, in ms; 0 for one that does not read it. A
    /// witness sees the stream later than a puller may.
    pub ahead: u16,
}

/// From a member to the tracker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToTracker {
    /// I watch this stream.
    Join {
        /// My network.
        nat: NatClass,
        /// How many children I can feed.
        slots: u8,
        /// Whether I would read the origin for others.
        may_pull: bool,
        /// How to reach me.
        contact: Bytes,
    },
    /// I need more neighbours. The bits of `lanes` are the substreams without a parent.
    More {
        /// Bit k: substream k.
        lanes: u8,
    },
    /// How I am.
    Report(Report),
    /// Another member misbehaves.
    Bad {
        /// Who.
        peer: PeerId,
        /// What it did.
        misdeed: Misdeed,
        /// The piece it sent, for [`Misdeed::Corrupt`].
        piece: Option<PieceNo>,
    },
    /// May I open the origin?
    Rescue,
    /// I read the origin (or no longer).
    Origin {
        /// Whether a connection is open.
        open: bool,
    },
    /// A digest batch is missing.
    RequestBatch {
        /// Its number.
        no: u64,
    },
    /// I read the origin for others now, but it gave me only what it has from its newest keyframe on: what is missing before?
    Fill {
        /// The first piece that is missing.
        from: PieceNo,
        /// The first piece that the origin gave.
        to: PieceNo,
    },
    /// Nobody signs this stream, and these pieces I have read from its origin, in order, at most
    /// [`MAX_OBSERVED`](super::constants::MAX_OBSERVED) of them.
    Observed(Vec<Observed>),
    /// I am still here.
    Pong,
    /// I leave.
    Leave,
}

/// From the tracker to a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromTracker {
    /// Answers [`ToTracker::Join`].
    Welcome {
        /// The signer's canonical time at this moment, in ms; `None` while nothing is known.
        edge: Option<u64>,
        /// How far a viewer may rely on what it gets.
        trust: Trust,
        /// Whom to connect to.
        candidates: Vec<Candidate>,
    },
    /// Answers [`ToTracker::More`], and names new pullers to those whose parents are dead.
    Candidates(Vec<Candidate>),
    /// Another member has just been told of this one: both do at the same time what it takes to reach each other.
    Meet {
        /// Whether this one is to connect to the other. Else it opens its network for it.
        begin: bool,
        /// The other one.
        candidate: Candidate,
    },
    /// Answers [`ToTracker::Rescue`].
    Lease {
        /// Whether the origin may be opened.
        granted: bool,
    },
    /// Read the origin from now on, for others.
    Elect,
    /// No longer read the origin for others.
    Demote,
    /// The newest digest batch, and where the signer is.
    Batch(Arc<Batch>),
    /// The signer's canonical time at this moment, in ms.
    Edge(u64),
    /// Answers [`ToTracker::Fill`]: the server, which has read the stream to sign it, sends these pieces.
    Fill {
        /// The first one.
        from: PieceNo,
        /// The one after the last.
        to: PieceNo,
    },
    /// Are you there?
    Ping,
    /// You are excluded.
    Excluded,
}

/// How far viewers of a stream may rely on what they get from each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Who makes the stream signs it: the camera or our own origin.
    Source,
    /// A witness at the tracker reads the stream as any viewer would and signs what it saw.
    Witness,
    /// Nobody signs: what two members in different networks read alike counts.
    Quorum,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_one_of_a_pair_that_can_meet_begins() {
        use NatClass::{Cone, Public, Restricted, Symmetric, Unknown};
        for asker in [Public, Cone, Restricted, Symmetric, Unknown] {
            for asked in [Public, Cone, Restricted, Symmetric, Unknown] {
                // The one that asks begins unless the other one must.
                let begins = asked.must_begin(asker);
                assert_eq!(begins, asked == Symmetric && asker != Symmetric);
                assert!(!(asker.must_begin(asked) && begins), "{asker:?} {asked:?}");
            }
        }
    }
}
