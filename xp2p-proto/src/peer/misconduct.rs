//! Members that misbehave: what a swarm has to bear, for simulations only.

use std::time::Instant;

use bytes::{Bytes, BytesMut};
use rand_core::Rng;

use super::Peer;
use crate::swarm::{Action, Misdeed, PeerId, PieceNo, ToTracker};

/// What a member does that it should not.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Misconduct {
    /// It takes children and sends them nothing.
    Freeloads,
    /// So much of what it sends is not what was signed, as a part of 1.
    Poisons(f64),
}

impl Peer {
    /// From now on it misbehaves.
    pub fn misbehave(&mut self, misconduct: Misconduct) {
        self.misconduct = Some(misconduct);
    }

    /// Tells the tracker something bad of another member, whether it is true or not.
    pub fn accuse(&mut self, now: Instant, peer: PeerId, misdeed: Misdeed, piece: Option<PieceNo>) {
        self.act(now, Action::Tracker(ToTracker::Bad { peer, misdeed, piece }));
        self.turn(now);
    }

    /// What becomes of a piece that is to be sent.
    pub(super) fn tamper(&mut self, content: Bytes) -> Option<Bytes> {
        match self.misconduct {
            None => Some(content),
            Some(Misconduct::Freeloads) => None,
            Some(Misconduct::Poisons(part)) => {
                if f64::from(self.rng.next_u32()) >= part * f64::from(u32::MAX) {
                    return Some(content);
                }
                let mut harmed = BytesMut::from(content.as_ref());
                if let Some(byte) = harmed.last_mut() {
                    *byte ^= 1;
                }
                Some(harmed.freeze())
            }
        }
    }
}
