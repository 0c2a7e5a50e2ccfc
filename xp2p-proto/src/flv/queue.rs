//! Received bytes in order, as the chunks they came in.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};

/// Chunks shorter than this are copied together, so that a sender of single bytes costs memory for bytes and not
/// for chunks.
const SMALL: usize = 512;

/// Capacity of the chunk that small ones are copied to.
const GATHER: usize = 8 * 1024;

/// More chunks than this are joined before a search goes through them again and again.
const MANY: usize = 64;

/// A queue of bytes that gives out slices of what was put in.
#[derive(Debug, Default)]
pub(super) struct Queue {
    chunks: VecDeque<Bytes>,
    /// Small chunks copied together; they come after `chunks`.
    gathered: BytesMut,
    len: usize,
    /// Bytes taken out so far.
    offset: u64,
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    pub(super) fn push(&mut self, data: Bytes) {
        if data.is_empty() {
            return;
        }
        self.len += data.len();
        if data.len() < SMALL && self.len > data.len() {
            // What a closed piece left of its allocation is used up first: a sender that mixes small and large
            // chunks would otherwise cost an allocation for each small one.
            if self.gathered.capacity() - self.gathered.len() < data.len() {
                self.close_gathered();
                self.gathered = BytesMut::with_capacity(GATHER);
            }
            self.gathered.extend_from_slice(&data);
        } else {
            self.close_gathered();
            self.chunks.push_back(data);
        }
    }

    fn close_gathered(&mut self) {
        if !self.gathered.is_empty() {
            self.chunks.push_back(self.gathered.split().freeze());
        }
    }

    /// Copies `N` bytes that begin `at` bytes from the front; `None` if they are not all there.
    pub(super) fn peek<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        if at.checked_add(N)? > self.len {
            return None;
        }
        let mut out = [0; N];
        let (mut skip, mut filled) = (at, 0);
        for chunk in self.chunks.iter().map(|c| &c[..]).chain([&self.gathered[..]]) {
            let Some(part) = chunk.get(skip..) else {
                skip -= chunk.len();
                continue;
            };
            skip = 0;
            let n = part.len().min(N - filled);
            out[filled..filled + n].copy_from_slice(&part[..n]); // `n` is no more than what either side has left
            filled += n;
            if filled == N {
                break;
            }
        }
        Some(out)
    }

    /// Takes `n` bytes: a slice of one chunk if they lie in one, otherwise a copy. `None` if they are not all there.
    pub(super) fn take(&mut self, n: usize) -> Option<Bytes> {
        if n > self.len {
            return None;
        }
        if self.chunks.is_empty() {
            self.close_gathered();
        }
        self.len -= n;
        self.offset += n as u64;
        let Some(front) = self.chunks.front_mut() else {
            return Some(Bytes::new()); // empty queue, so `n` is 0
        };
        if front.len() > n {
            return Some(front.split_to(n));
        }
        if front.len() == n {
            return self.chunks.pop_front();
        }
        let mut out = BytesMut::with_capacity(n);
        while out.len() < n {
            if self.chunks.is_empty() {
                self.close_gathered();
            }
            let Some(front) = self.chunks.front_mut() else { break }; // `len` says that it is not
            let part = front.split_to(front.len().min(n - out.len()));
            out.extend_from_slice(&part);
            if front.is_empty() {
                self.chunks.pop_front();
            }
        }
        Some(out.freeze())
    }

    /// Drops `n` bytes, or all there are.
    pub(super) fn skip(&mut self, n: usize) {
        let mut left = n.min(self.len);
        self.len -= left;
        self.offset += left as u64;
        while left > 0 {
            if self.chunks.is_empty() {
                self.close_gathered();
            }
            let Some(front) = self.chunks.front_mut() else { break }; // `len` says that it is not
            let part = front.len().min(left);
            front.advance(part);
            left -= part;
            if front.is_empty() {
                self.chunks.pop_front();
            }
        }
    }

    /// The bytes of the first chunk.
    pub(super) fn front(&mut self) -> &[u8] {
        if self.chunks.is_empty() {
            self.close_gathered();
        }
        self.chunks.front().map_or(&[], |c| &c[..])
    }

    /// Joins the chunks if there are many, so that looking ahead stays cheap.
    pub(super) fn join_if_many(&mut self) {
        if self.chunks.len() > MANY {
            let (len, offset) = (self.len, self.offset);
            if let Some(all) = self.take(len) {
                self.chunks.push_back(all);
            }
            (self.len, self.offset) = (len, offset);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(len: usize, first: u8) -> Bytes {
        (0..len).map(|i| first.wrapping_add(i as u8)).collect::<Vec<_>>().into()
    }

    #[test]
    fn a_piece_inside_one_chunk_is_not_copied() {
        let mut queue = Queue::default();
        let chunk = bytes(1000, 0);
        queue.push(chunk.clone());
        queue.skip(10);
        let part = queue.take(100).unwrap();
        assert_eq!(part.as_ptr(), chunk[10..].as_ptr());
        let rest = queue.take(890).unwrap();
        assert_eq!(rest.as_ptr(), chunk[110..].as_ptr(), "up to the end of the chunk, too");
        assert_eq!((queue.len(), queue.offset()), (0, 1000));
    }

    #[test]
    fn a_small_first_chunk_is_not_copied() {
        let mut queue = Queue::default();
        let chunk = bytes(20, 0);
        queue.push(chunk.clone());
        assert_eq!(queue.take(20).unwrap().as_ptr(), chunk.as_ptr());
    }

    #[test]
    fn single_bytes_are_gathered_to_few_chunks() {
        let mut queue = Queue::default();
        for i in 0..100_000_u32 {
            queue.push(bytes(1, i as u8));
        }
        assert!(queue.chunks.len() <= 1 + 100_000 / GATHER, "{} chunks", queue.chunks.len());
        assert_eq!(queue.take(100_000).unwrap(), bytes(100_000, 0));
    }

    /// Each small chunk between large ones used to hold an allocation of its own, 8 KiB for a byte.
    #[test]
    fn small_chunks_between_large_ones_share_an_allocation() {
        let mut queue = Queue::default();
        for _ in 0..20 {
            queue.push(bytes(SMALL, 0));
            queue.push(bytes(1, 0));
        }
        let mut small = Vec::new();
        for _ in 0..20 {
            queue.skip(SMALL);
            small.push(queue.take(1).unwrap());
        }
        for pair in small.windows(2) {
            assert_eq!(pair[0].as_ptr_range().end, pair[1].as_ptr());
        }
    }

    #[test]
    fn too_much_is_not_given() {
        let mut queue = Queue::default();
        assert_eq!(queue.take(0).unwrap(), Bytes::new());
        assert_eq!(queue.take(1), None);
        assert_eq!(queue.peek::<1>(0), None);
        assert_eq!(queue.front(), b"");
        queue.push(Bytes::new());
        queue.push(bytes(5, 0));
        assert_eq!(queue.take(6), None);
        assert_eq!(queue.peek::<2>(4), None);
        assert_eq!(queue.peek::<1>(usize::MAX), None);
        assert_eq!(queue.peek::<2>(3), Some([3, 4]));
        queue.skip(100);
        assert_eq!((queue.len(), queue.offset()), (0, 5));
    }

    #[derive(Clone, Debug)]
    enum Op {
        Push(usize),
        Take(usize),
        Skip(usize),
        Join,
    }

    fn op() -> impl Strategy<Value = Op> {
        let len = || prop_oneof![0..20_usize, 0..600_usize, 0..9000_usize];
        prop_oneof![
            6 => len().prop_map(Op::Push),
            2 => len().prop_map(Op::Take),
            2 => len().prop_map(Op::Skip),
            1 => Just(Op::Join),
        ]
    }

    proptest! {
        #[test]
        fn it_acts_as_one_long_buffer(
            start in 0..200_usize,
            ops in prop::collection::vec(op(), 0..80),
            at in 0..12_000_usize,
        ) {
            let mut queue = Queue::default();
            let mut model: VecDeque<u8> = VecDeque::new();
            let (mut written, mut offset) = (0_usize, 0);
            let many = std::iter::repeat_n(Op::Push(SMALL), start);
            for op in many.chain(ops) {
                match op {
                    Op::Push(n) => {
                        let data = bytes(n, (written / 7) as u8);
                        written += n;
                        model.extend(data.iter());
                        queue.push(data);
                    }
                    Op::Take(n) => {
                        let want = (n <= model.len()).then(|| model.drain(..n).collect::<Vec<_>>());
                        offset += want.as_ref().map_or(0, Vec::len);
                        prop_assert_eq!(queue.take(n).map(|b| b.to_vec()), want);
                    }
                    Op::Skip(n) => {
                        offset += n.min(model.len());
                        model.drain(..n.min(model.len()));
                        queue.skip(n);
                    }
                    Op::Join => {
                        queue.join_if_many();
                        prop_assert!(queue.chunks.len() <= MANY);
                    }
                }
                prop_assert_eq!((queue.len(), queue.offset()), (model.len(), offset as u64));
                let want = (at + 7 <= model.len()).then(|| model.range(at..at + 7).copied().collect::<Vec<_>>());
                prop_assert_eq!(queue.peek::<7>(at).map(|p| p.to_vec()), want);
                let front = queue.front().to_vec();
                prop_assert_eq!(front.is_empty(), model.is_empty());
                prop_assert!(model.iter().take(front.len()).eq(front.iter()));
            }
        }
    }
}
