//! The way of a piece through the swarm.

use super::PeerId;

/// Most members that a path may name. A piece that came further is not passed on.
pub const MAX_HOPS: usize = 20;

/// The members that have passed something on, the first one first: an exact list, because a filter that may err would drop
/// good parents. Without it, members feed each other in circles, which pull repair keeps alive for ever.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Path {
    len: u8,
    /// [`PeerId::short`] of each.
    hops: [u32; MAX_HOPS],
}

impl Path {
    /// The path of what was made here.
    pub const EMPTY: Self = Self { len: 0, hops: [0; MAX_HOPS] };

    /// Number of members on it.
    pub const fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether it names nobody.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The short ids on it.
    pub fn hops(&self) -> &[u32] {
        self.hops.get(..self.len()).unwrap_or_default()
    }

    /// Whether `peer` is on it.
    pub fn contains(&self, peer: PeerId) -> bool {
        self.hops().contains(&peer.short())
    }

    /// The path with `peer` at its end; `None` if it is full.
    pub fn with(mut self, peer: PeerId) -> Option<Self> {
        let end = self.len();
        *self.hops.get_mut(end)? = peer.short();
        self.len += 1;
        Some(self)
    }

    /// A path of these short ids; `None` if they are too many.
    pub fn from_hops(ids: &[u32]) -> Option<Self> {
        let mut path = Self::EMPTY;
        path.hops.get_mut(..ids.len())?.copy_from_slice(ids);
        // At most MAX_HOPS, as the line above has seen.
        path.len = ids.len() as u8;
        Some(path)
    }
}

impl std::fmt::Debug for Path {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.hops().iter().map(|h| format!("{h:08x}"))).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_ends_where_it_is_full() {
        let mut path = Path::EMPTY;
        for i in 0..MAX_HOPS as u64 {
            let peer = PeerId(i << 32);
            assert!(!path.contains(peer));
            path = path.with(peer).expect("room");
            assert!(path.contains(peer));
        }
        assert_eq!(path.len(), MAX_HOPS);
        assert_eq!(path.with(PeerId(1)), None);
        assert_eq!(Path::from_hops(path.hops()), Some(path));
        assert_eq!(Path::from_hops(&[0; MAX_HOPS + 1]), None);
    }
}
