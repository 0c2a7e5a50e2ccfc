//! The uplink: what waits to be sent, in the order in which it is due.

use std::collections::VecDeque;

use super::Ms;
use crate::swarm::constants::{
    FULL_SHARE, IN_FLIGHT_MS, LIMIT_SHARE, MAX_QUEUED, MIN_IN_FLIGHT, MIN_PIECE_SHARE, OVERHEAD, OWN_SHARE,
    PAST_DUE_MS,
};
use crate::swarm::{PeerId, PieceNo};

/// A piece for somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Queued {
    pub(super) to: PeerId,
    pub(super) no: PieceNo,
    pub(super) lane: u8,
    pub(super) len: usize,
    pub(super) due: Ms,
    pub(super) pushed: bool,
}

/// The queue and what the carrier has of it.
#[derive(Debug)]
pub(super) struct Uplink {
    /// In the order of `due`.
    queue: VecDeque<Queued>,
    queued_bytes: usize,
    in_flight: Vec<(PeerId, PieceNo, usize)>,
    in_flight_bytes: usize,
    /// bit/s.
    pub(super) rate: u64,
    /// What goes out besides pieces, in bit/s.
    own: u64,
    limit: Option<u64>,
    /// What was handed over in the last second, for the limit.
    last_second: VecDeque<(Ms, usize)>,
    last_second_bytes: usize,
}

impl Uplink {
    pub(super) fn new(rate: u64, limit: Option<u64>) -> Self {
        Self {
            queue: VecDeque::new(),
            queued_bytes: 0,
            in_flight: Vec::new(),
            in_flight_bytes: 0,
            rate: rate.max(1),
            own: 0,
            limit,
            last_second: VecDeque::new(),
            last_second_bytes: 0,
        }
    }

    pub(super) fn set_limit(&mut self, limit: Option<u64>) {
        self.limit = limit;
    }

    /// The stream has so many bit/s: what is said about it goes out besides pieces.
    pub(super) fn set_stream_rate(&mut self, rate: f64) {
        self.own = (rate * OWN_SHARE) as u64;
    }

    /// What it can carry, in bit/s.
    pub(super) fn usable(&self) -> u64 {
        self.limit.map_or(self.rate, |limit| limit.min(self.rate))
    }

    /// What it has for pieces besides what else goes out, in bit/s.
    pub(super) fn for_pieces(&self) -> u64 {
        let left = self.rate.saturating_sub(self.own).max((self.rate as f64 * MIN_PIECE_SHARE) as u64);
        self.limit.map_or(left, |limit| limit.min(left)).max(1)
    }

    /// The most of it that pieces may take all the time without a queue that stays, in bit/s.
    pub(super) fn sustained(&self) -> u64 {
        let left = ((self.rate as f64 * FULL_SHARE) as u64).saturating_sub(self.own);
        self.limit.map_or(left, |limit| limit.min(left))
    }

    /// How long what waits will take, in ms.
    pub(super) fn backlog_ms(&self) -> i64 {
        let bits = (self.queued_bytes + self.in_flight_bytes) as u64 * 8;
        (bits * 1000 / self.for_pieces()) as i64
    }

    /// How long something takes to leave that is due at `due`, in ms: what is due later waits for it.
    pub(super) fn wait_ms(&self, due: Ms) -> i64 {
        let before: usize = self.queue.iter().take_while(|q| q.due <= due).map(|q| q.len).sum();
        let bits = (before + self.in_flight_bytes) as u64 * 8;
        (bits * 1000 / self.for_pieces()) as i64
    }

    pub(super) fn push(&mut self, item: Queued) {
        if self.queue.iter().any(|q| q.to == item.to && q.no == item.no)
            || self.in_flight.iter().any(|(to, no, _)| *to == item.to && *no == item.no)
        {
            return;
        }
        let at = self.queue.partition_point(|q| q.due <= item.due);
        self.queued_bytes += item.len;
        self.queue.insert(at, item);
        if self.queue.len() > MAX_QUEUED
            && let Some(last) = self.queue.pop_back()
        {
            self.queued_bytes -= last.len;
        }
    }

    /// Removes what `unwanted` says.
    pub(super) fn remove(&mut self, unwanted: impl Fn(&Queued) -> bool) {
        let bytes = &mut self.queued_bytes;
        self.queue.retain(|q| {
            let go = unwanted(q);
            if go {
                *bytes -= q.len;
            }
            !go
        });
    }

    /// Whether the carrier has this piece for this neighbour.
    pub(super) fn carries(&self, to: PeerId, no: PieceNo) -> bool {
        self.in_flight.iter().any(|(t, n, _)| *t == to && *n == no)
    }

    /// Everything that the carrier has.
    pub(super) fn carried(&self) -> impl Iterator<Item = (PeerId, PieceNo)> {
        self.in_flight.iter().map(|(to, no, _)| (*to, *no))
    }

    pub(super) fn sent(&mut self, to: PeerId, no: PieceNo) {
        if let Some(i) = self.in_flight.iter().position(|(t, n, _)| *t == to && *n == no) {
            let (_, _, len) = self.in_flight.swap_remove(i);
            self.in_flight_bytes -= len;
        }
    }

    pub(super) fn forget(&mut self, peer: PeerId) {
        self.remove(|q| q.to == peer);
        let bytes = &mut self.in_flight_bytes;
        self.in_flight.retain(|(to, _, len)| {
            if *to == peer {
                *bytes -= len;
            }
            *to != peer
        });
    }

    fn window(&self) -> usize {
        let bytes = self.for_pieces() as i64 / 8 * IN_FLIGHT_MS / 1000;
        (bytes as usize).max(MIN_IN_FLIGHT)
    }

    /// The next piece to hand to the carrier, if it and the limit take one more.
    pub(super) fn pop(&mut self, now: Ms) -> Option<Queued> {
        while let Some(front) = self.queue.front().copied() {
            if now - front.due > PAST_DUE_MS {
                self.queue.pop_front();
                self.queued_bytes -= front.len;
                continue;
            }
            if self.in_flight_bytes > 0 && self.in_flight_bytes + front.len > self.window() {
                return None;
            }
            let cost = (front.len as f64 * OVERHEAD) as usize;
            if let Some(limit) = self.limit {
                while self.last_second.front().is_some_and(|(at, _)| now - at >= 1000) {
                    if let Some((_, bytes)) = self.last_second.pop_front() {
                        self.last_second_bytes -= bytes;
                    }
                }
                let room = (limit as f64 / 8.0 * LIMIT_SHARE) as usize;
                if self.last_second_bytes + cost > room {
                    return None;
                }
                self.last_second.push_back((now, cost));
                self.last_second_bytes += cost;
            }
            self.queue.pop_front();
            self.queued_bytes -= front.len;
            self.in_flight.push((front.to, front.no, front.len));
            self.in_flight_bytes += front.len;
            return Some(front);
        }
        None
    }
}
