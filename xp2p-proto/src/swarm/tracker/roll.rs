//! The members of a swarm.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::Ms;
use super::abuse::Accusation;
use crate::swarm::constants::LANES;
use crate::swarm::{NO_SOURCE, NatClass, PeerId, Report};

/// What the tracker knows of a member.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) nat: NatClass,
    pub(super) region: u32,
    pub(super) slots: u8,
    pub(super) may_pull: bool,
    pub(super) contact: Bytes,
    pub(super) joined: Ms,
    pub(super) heard: Ms,
    /// Places left in each substream, less those that were given out since.
    pub(super) spare: [u8; LANES],
    pub(super) depth: [u8; LANES],
    pub(super) lag: u16,
    pub(super) ahead: u16,
    pub(super) origin_open: bool,
    pub(super) origin_since: Ms,
    /// Round trip of the pings, in ms; 0: not measured yet.
    pub(super) rtt: i64,
    pub(super) hard: Vec<Accusation>,
    pub(super) soft: Vec<Accusation>,
    /// Others that it has accused, and since when they are counted.
    pub(super) accusations: (u32, Ms),
    pub(super) excluded: bool,
    index: usize,
}

impl Record {
    pub(super) fn new(
        nat: NatClass,
        region: u32,
        slots: u8,
        may_pull: bool,
        contact: Bytes,
        now: Ms,
    ) -> Self {
        Self {
            nat,
            region,
            slots,
            may_pull,
            contact,
            joined: now,
            heard: now,
            spare: [0; LANES],
            depth: [NO_SOURCE; LANES],
            lag: 0,
            ahead: 0,
            origin_open: false,
            origin_since: now,
            rtt: 0,
            hard: Vec::new(),
            soft: Vec::new(),
            accusations: (0, now),
            excluded: false,
            index: 0,
        }
    }

    pub(super) fn take(&mut self, report: &Report) {
        self.slots = report.slots;
        self.spare = report.spare;
        self.depth = report.depth;
        self.lag = report.lag;
        self.ahead = report.ahead;
    }
}

/// All members; one can be drawn by chance quickly.
#[derive(Debug, Default)]
pub(super) struct Roll {
    records: BTreeMap<PeerId, Record>,
    order: Vec<PeerId>,
}

impl Roll {
    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    pub(super) fn get(&self, peer: PeerId) -> Option<&Record> {
        self.records.get(&peer)
    }

    pub(super) fn get_mut(&mut self, peer: PeerId) -> Option<&mut Record> {
        self.records.get_mut(&peer)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (PeerId, &Record)> {
        self.records.iter().map(|(p, r)| (*p, r))
    }

    /// The member at a place in an order without meaning.
    pub(super) fn at(&self, index: usize) -> Option<PeerId> {
        self.order.get(index).copied()
    }

    /// Adds a member, or renews what it says of itself: what others say of it stays.
    pub(super) fn insert(&mut self, peer: PeerId, mut record: Record) {
        if let Some(old) = self.records.get_mut(&peer) {
            record.index = old.index;
            record.joined = old.joined;
            record.excluded = old.excluded;
            std::mem::swap(&mut record.hard, &mut old.hard);
            std::mem::swap(&mut record.soft, &mut old.soft);
            *old = record;
        } else {
            record.index = self.order.len();
            self.order.push(peer);
            self.records.insert(peer, record);
        }
    }

    pub(super) fn remove(&mut self, peer: PeerId) {
        let Some(record) = self.records.remove(&peer) else { return };
        // The record's index is its place in `order`, which the line below keeps true for the one that moves.
        self.order.swap_remove(record.index);
        if let Some(moved) = self.order.get(record.index)
            && let Some(moved) = self.records.get_mut(moved)
        {
            moved.index = record.index;
        }
    }
}
