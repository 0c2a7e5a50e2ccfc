//! What happens next: packets ordered by time and sequence number, and one timer per host.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;

use bytes::BytesMut;
use xp2p_proto::machine::Ecn;

use super::time::Nanos;

/// The sender of an injected packet.
pub(crate) const NOBODY: u32 = u32::MAX;

/// Where a packet is when its time comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// It has left the sender's up link.
    Edge,
    /// It has crossed the core.
    Crossed,
    /// It has left the receiver's down link.
    Deliver,
}

/// A datagram under way.
#[derive(Debug, Clone)]
pub(crate) struct Packet {
    pub(crate) id: u64,
    /// As on the wire at this place: NATs rewrite them.
    pub(crate) src: SocketAddr,
    pub(crate) dst: SocketAddr,
    pub(crate) payload: BytesMut,
    pub(crate) ecn: Option<Ecn>,
    pub(crate) from: u32,
    /// The receiving host, once known.
    pub(crate) to: u32,
    /// The address space that it is in.
    pub(crate) realm: u32,
    pub(crate) stage: Stage,
    /// It does not use the access links.
    pub(crate) lan: bool,
}

/// Packets by (time, order of entry). The heap holds small keys, the packets stay where they are, and freed
/// places are used again: no allocation per packet.
#[derive(Debug, Default)]
pub(crate) struct PacketQueue {
    heap: BinaryHeap<Reverse<(Nanos, u64, u32)>>,
    slots: Vec<Option<Packet>>,
    free: Vec<u32>,
    sequence: u64,
}

impl PacketQueue {
    pub(crate) fn push(&mut self, at: Nanos, packet: Packet) {
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = Some(packet);
                slot
            }
            None => {
                self.slots.push(Some(packet));
                u32::try_from(self.slots.len() - 1).expect("fewer than 2^32 packets in flight")
            }
        };
        self.heap.push(Reverse((at, self.sequence, slot)));
        self.sequence += 1;
    }

    pub(crate) fn next_at(&self) -> Option<Nanos> {
        self.heap.peek().map(|Reverse((at, ..))| *at)
    }

    pub(crate) fn pop(&mut self) -> Option<(Nanos, Packet)> {
        let Reverse((at, _, slot)) = self.heap.pop()?;
        self.free.push(slot);
        let packet = self.slots[slot as usize].take().expect("every key in the heap has its packet");
        Some((at, packet))
    }

    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }
}

/// The next wake-up of every host: a binary heap of host numbers that knows the place of each, so that a timer
/// moves without leaving a stale entry behind.
#[derive(Debug, Default)]
pub(crate) struct TimerIndex {
    /// (time, host), ordered as a min-heap.
    heap: Vec<(Nanos, u32)>,
    /// Host to place in `heap`; `NOWHERE` if it has no timer.
    place: Vec<u32>,
}

const NOWHERE: u32 = u32::MAX;

impl TimerIndex {
    /// Sets or clears the timer of a host.
    pub(crate) fn set(&mut self, host: u32, at: Option<Nanos>) {
        if self.place.len() <= host as usize {
            self.place.resize(host as usize + 1, NOWHERE);
        }
        let place = self.place[host as usize];
        match (place == NOWHERE, at) {
            (true, None) => {}
            (true, Some(at)) => {
                self.heap.push((at, host));
                self.place[host as usize] = (self.heap.len() - 1) as u32;
                self.up(self.heap.len() - 1);
            }
            (false, Some(at)) => {
                let place = place as usize;
                if self.heap[place].0 != at {
                    self.heap[place].0 = at;
                    let place = self.up(place);
                    self.down(place);
                }
            }
            (false, None) => {
                let place = place as usize;
                let last = self.heap.len() - 1;
                self.swap(place, last);
                self.heap.pop();
                self.place[host as usize] = NOWHERE;
                if place < last {
                    let place = self.up(place);
                    self.down(place);
                }
            }
        }
    }

    pub(crate) fn next(&self) -> Option<(Nanos, u32)> {
        self.heap.first().copied()
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.heap.swap(a, b);
        self.place[self.heap[a].1 as usize] = a as u32;
        self.place[self.heap[b].1 as usize] = b as u32;
    }

    fn up(&mut self, mut place: usize) -> usize {
        while place > 0 && self.heap[place] < self.heap[(place - 1) / 2] {
            self.swap(place, (place - 1) / 2);
            place = (place - 1) / 2;
        }
        place
    }

    fn down(&mut self, mut place: usize) {
        loop {
            let left = 2 * place + 1;
            if left >= self.heap.len() {
                return;
            }
            let right = left + 1;
            let least =
                if right < self.heap.len() && self.heap[right] < self.heap[left] { right } else { left };
            if self.heap[place] <= self.heap[least] {
                return;
            }
            self.swap(place, least);
            place = least;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::sim::rng::Dice;

    fn packet(id: u64) -> Packet {
        let addr = SocketAddr::from(([0, 0, 0, 0], 0));
        Packet {
            id,
            src: addr,
            dst: addr,
            payload: BytesMut::new(),
            ecn: None,
            from: NOBODY,
            to: NOBODY,
            realm: 0,
            stage: Stage::Edge,
            lan: false,
        }
    }

    #[test]
    fn packets_come_by_time_then_by_order_of_entry() {
        let mut queue = PacketQueue::default();
        for (at, id) in [(5, 0), (3, 1), (5, 2), (3, 3), (9, 4)] {
            queue.push(at, packet(id));
        }
        assert_eq!(queue.next_at(), Some(3));
        let order: Vec<_> = std::iter::from_fn(|| queue.pop()).map(|(at, p)| (at, p.id)).collect();
        assert_eq!(order, [(3, 1), (3, 3), (5, 0), (5, 2), (9, 4)]);
        queue.push(1, packet(5));
        assert_eq!(queue.slots.len(), 5, "a freed place is used again");
        // Freed places come back in another order than they were left in, which must not show.
        for id in 6..10 {
            queue.push(1, packet(id));
        }
        let order: Vec<_> = std::iter::from_fn(|| queue.pop()).map(|(_, p)| p.id).collect();
        assert_eq!(order, [5, 6, 7, 8, 9]);
        assert_eq!(queue.slots.len(), 5);
    }

    #[test]
    fn timers_agree_with_a_plain_map_under_random_changes() {
        let mut dice = Dice::new(1, 0);
        let mut timers = TimerIndex::default();
        let mut model = BTreeMap::new();
        for _ in 0..20_000 {
            let host = dice.up_to(40) as u32;
            let at = dice.chance(0.7).then(|| dice.up_to(500));
            timers.set(host, at);
            match at {
                Some(at) => model.insert(host, at),
                None => model.remove(&host),
            };
            assert_eq!(timers.next(), model.iter().map(|(host, at)| (*at, *host)).min());
        }
    }
}
