//! What happens next. A calendar: a ring of short spans of time, each with its unsorted entries, of which only the
//! present one is kept in order; what lies beyond the ring waits in a heap. Entries of one instant come in the order in
//! which they were put in.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Nanoseconds since the start of the simulation.
pub(crate) type Nanos = u64;

/// A millisecond.
pub(crate) const MS: Nanos = 1_000_000;
/// A second.
pub(crate) const SECOND: Nanos = 1000 * MS;

/// A span is 2^18 ns, about 0.26 ms: some hundred entries with ten thousand members.
const SPAN_BITS: u32 = 18;
/// The ring reaches about one second, within which nearly everything is planned.
const SPANS: usize = 4096;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry<T> {
    at: Nanos,
    order: u64,
    what: T,
}

/// The calendar.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    /// The number of the present span.
    span: u64,
    /// The entries of the present span and of those before it.
    present: BinaryHeap<Reverse<Entry<T>>>,
    ring: Vec<Vec<Entry<T>>>,
    /// How many are in the ring.
    in_ring: usize,
    far: BinaryHeap<Reverse<Entry<T>>>,
    order: u64,
}

impl<T: Copy + Ord> Queue<T> {
    pub(crate) fn new() -> Self {
        Self {
            span: 0,
            present: BinaryHeap::new(),
            ring: (0..SPANS).map(|_| Vec::new()).collect(),
            in_ring: 0,
            far: BinaryHeap::new(),
            order: 0,
        }
    }

    pub(crate) fn push(&mut self, at: Nanos, what: T) {
        let entry = Entry { at, order: self.order, what };
        self.order += 1;
        self.place(entry);
    }

    fn place(&mut self, entry: Entry<T>) {
        let span = entry.at >> SPAN_BITS;
        if span <= self.span {
            self.present.push(Reverse(entry));
        } else if span - self.span < SPANS as u64 {
            self.ring[span as usize % SPANS].push(entry);
            self.in_ring += 1;
        } else {
            self.far.push(Reverse(entry));
        }
    }

    pub(crate) fn pop(&mut self) -> Option<(Nanos, T)> {
        loop {
            if let Some(Reverse(entry)) = self.present.pop() {
                return Some((entry.at, entry.what));
            }
            if self.in_ring == 0 {
                // Nothing for a long time: straight to the next of the far ones.
                let Reverse(next) = self.far.peek()?;
                self.span = next.at >> SPAN_BITS;
            } else {
                self.span += 1;
                let bucket = &mut self.ring[self.span as usize % SPANS];
                self.in_ring -= bucket.len();
                self.present.extend(bucket.drain(..).map(Reverse));
            }
            while let Some(Reverse(next)) = self.far.peek()
                && next.at >> SPAN_BITS < self.span + SPANS as u64
            {
                let Reverse(entry) = self.far.pop().expect("just seen");
                self.place(entry);
            }
        }
    }
}

/// Things that keep their place, with the free places used again.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    places: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Slab<T> {
    pub(crate) const fn new() -> Self {
        Self { places: Vec::new(), free: Vec::new() }
    }

    pub(crate) fn insert(&mut self, value: T) -> u32 {
        match self.free.pop() {
            Some(place) => {
                self.places[place as usize] = Some(value);
                place
            }
            None => {
                self.places.push(Some(value));
                u32::try_from(self.places.len() - 1).expect("fewer than 2^32 things under way")
            }
        }
    }

    pub(crate) fn take(&mut self, place: u32) -> T {
        self.free.push(place);
        self.places[place as usize].take().expect("every event has its thing")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::swarm::random::Random;

    #[test]
    fn entries_come_by_time_then_by_order_of_entry() {
        let mut random = Random::new(3, 0);
        let mut queue = Queue::new();
        let mut model = Vec::new();
        let (mut now, mut got, mut number) = (0, Vec::new(), 0_u32);
        for _ in 0..20_000 {
            if random.chance(0.5) {
                // Now, soon, within the ring, beyond it.
                let ahead = [0, 1 << 10, 1 << 22, 1 << 33][random.below(4)];
                let at = now + random.below(ahead + 1) as u64;
                queue.push(at, number);
                model.push((at, number));
                number += 1;
            } else if let Some((at, what)) = queue.pop() {
                assert!(at >= now);
                now = at;
                got.push((at, what));
            }
        }
        got.extend(std::iter::from_fn(|| queue.pop()));
        model.sort_unstable();
        assert_eq!(got, model);
    }

    #[test]
    fn freed_places_are_used_again() {
        let mut slab = Slab::new();
        let (a, b) = (slab.insert('a'), slab.insert('b'));
        assert_eq!(slab.take(a), 'a');
        assert_eq!(slab.insert('c'), a);
        assert_eq!((slab.take(b), slab.take(a)), ('b', 'c'));
    }
}
