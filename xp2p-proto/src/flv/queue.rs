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
            if self.gathered.len() + data.len() > GATHER {
                self.close_gathered();
            }
            if self.gathered.is_empty() {
                self.gathered.reserve(GATHER);
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
