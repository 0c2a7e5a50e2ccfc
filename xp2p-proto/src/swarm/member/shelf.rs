//! The pieces that are known, and those that are here.

use std::collections::VecDeque;

use super::ask::Asks;
use crate::swarm::constants::MAX_PIECES;
use crate::swarm::{HaveMap, Path, PeerId, PieceInfo, PieceNo};

/// What is known of one piece.
#[derive(Debug)]
pub(super) struct Slot<P> {
    pub(super) info: PieceInfo,
    /// Its digest has come. Pieces of the origin may be here before.
    pub(super) confirmed: bool,
    pub(super) payload: Option<P>,
    pub(super) path: Path,
    pub(super) from_origin: bool,
    pub(super) asks: Asks,
    /// Who could not give it.
    pub(super) refused: [Option<PeerId>; 2],
}

impl<P> Slot<P> {
    pub(super) fn is_here(&self) -> bool {
        self.payload.is_some()
    }

    pub(super) fn was_refused_by(&self, peer: PeerId) -> bool {
        self.refused.contains(&Some(peer))
    }

    pub(super) fn refuse(&mut self, peer: PeerId) {
        if !self.was_refused_by(peer) {
            self.refused = [Some(peer), self.refused[0]];
        }
    }
}

/// What became of an announcement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Announced {
    /// The piece was not known.
    New,
    /// A piece that came from the origin before is now confirmed.
    Confirmed,
    /// Known and confirmed already.
    Known,
    /// What came from the origin is something else; it is forgotten.
    Mismatch,
    /// Too old or too far ahead to be kept.
    Outside,
}

/// Pieces in the order of their numbers, as many as [`MAX_PIECES`].
#[derive(Debug)]
pub(super) struct Shelf<P> {
    first: PieceNo,
    slots: VecDeque<Option<Slot<P>>>,
    /// What is here and confirmed.
    pub(super) have: HaveMap,
}

impl<P> Shelf<P> {
    pub(super) fn new() -> Self {
        Self { first: 0, slots: VecDeque::new(), have: HaveMap::default() }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::new();
    }

    /// The number after the last known piece.
    pub(super) fn end(&self) -> PieceNo {
        self.first + self.slots.len() as u64
    }

    pub(super) fn first(&self) -> PieceNo {
        self.first
    }

    fn index(&self, no: PieceNo) -> Option<usize> {
        usize::try_from(no.checked_sub(self.first)?).ok()
    }

    pub(super) fn get(&self, no: PieceNo) -> Option<&Slot<P>> {
        self.slots.get(self.index(no)?)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, no: PieceNo) -> Option<&mut Slot<P>> {
        let index = self.index(no)?;
        self.slots.get_mut(index)?.as_mut()
    }

    /// The newest known piece.
    pub(super) fn newest(&self) -> Option<&Slot<P>> {
        self.slots.iter().rev().find_map(Option::as_ref)
    }

    /// Where the slots from `no` on begin.
    fn offset(&self, no: PieceNo) -> usize {
        usize::try_from(no.saturating_sub(self.first)).unwrap_or(usize::MAX).min(self.slots.len())
    }

    /// Known pieces from `no` on, oldest first.
    pub(super) fn from(&self, no: PieceNo) -> impl DoubleEndedIterator<Item = &Slot<P>> {
        self.slots.range(self.offset(no)..).filter_map(Option::as_ref)
    }

    /// The same, to change them.
    pub(super) fn iter_from_mut(&mut self, no: PieceNo) -> impl Iterator<Item = &mut Slot<P>> {
        self.slots.range_mut(self.offset(no)..).filter_map(Option::as_mut)
    }

    /// Makes room for `no`; `None` if it is too old or unreasonably far ahead.
    fn place(&mut self, no: PieceNo) -> Option<&mut Option<Slot<P>>> {
        if self.slots.is_empty() {
            self.first = no;
        }
        let mut index = self.index(no)?;
        if index >= 2 * MAX_PIECES {
            // Everything known is far behind: begin anew.
            self.slots.clear();
            self.first = no;
            index = 0;
        }
        while self.slots.len() <= index {
            self.slots.push_back(None);
        }
        while self.slots.len() > MAX_PIECES {
            self.slots.pop_front();
            self.first += 1;
        }
        let index = self.index(no)?;
        self.slots.get_mut(index)
    }

    /// Takes in what a verified digest batch says.
    pub(super) fn announce(&mut self, info: PieceInfo) -> Announced {
        let Some(place) = self.place(info.no) else { return Announced::Outside };
        match place {
            Some(slot) if slot.confirmed => Announced::Known,
            Some(slot) if slot.info.hash == info.hash && slot.info.len == info.len => {
                slot.info = info;
                slot.confirmed = true;
                self.have.insert(info.no);
                Announced::Confirmed
            }
            other => {
                let mismatch = other.is_some();
                *other = Some(Slot::missing(info, true));
                if mismatch { Announced::Mismatch } else { Announced::New }
            }
        }
    }

    /// Takes in a piece that was cut from the origin. Returns whether it was not here.
    pub(super) fn put_origin(&mut self, info: PieceInfo, payload: P) -> bool {
        let Some(place) = self.place(info.no) else { return false };
        let slot = place.get_or_insert_with(|| Slot::missing(info, false));
        if slot.is_here() || (slot.confirmed && slot.info.hash != info.hash) {
            return false;
        }
        slot.payload = Some(payload);
        slot.path = Path::EMPTY;
        slot.from_origin = true;
        slot.asks = Asks::default();
        if slot.confirmed {
            self.have.insert(info.no);
        }
        true
    }

    /// Takes in a verified piece of a neighbour. The slot must exist and be confirmed.
    pub(super) fn put(&mut self, no: PieceNo, payload: P, path: Path) {
        if let Some(slot) = self.get_mut(no) {
            slot.payload = Some(payload);
            slot.path = path;
            slot.from_origin = false;
            slot.asks = Asks::default();
            self.have.insert(no);
        }
    }

    /// Forgets the pieces before `no`.
    pub(super) fn trim(&mut self, no: PieceNo) {
        while self.first < no && self.slots.pop_front().is_some() {
            self.first += 1;
        }
    }

    /// How many ms can be played from `no` on with what is here, at most a little more than `enough`.
    pub(super) fn contiguous_ms(&self, no: PieceNo, enough: i64) -> i64 {
        let Some(start) = self.get(no).filter(|s| s.is_here()).map(|s| s.info.time) else { return 0 };
        let mut end = start;
        for no in no.. {
            match self.get(no).filter(|s| s.is_here()) {
                Some(slot) => end = end.max(slot.info.end),
                None => break,
            }
            if (end - start) as i64 >= enough {
                break;
            }
        }
        (end - start) as i64
    }
}

impl<P> Slot<P> {
    fn missing(info: PieceInfo, confirmed: bool) -> Self {
        Self {
            info,
            confirmed,
            payload: None,
            path: Path::EMPTY,
            from_origin: false,
            asks: Asks::default(),
            refused: [None; 2],
        }
    }
}
