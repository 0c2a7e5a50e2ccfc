//! At which of its addresses a server is asked by whom: answers that come from another one do not get through NATs and
//! firewalls, and clients throw them away.

use std::collections::BTreeMap;
use std::net::SocketAddr;

/// Knows the address that each peer asked last. A peer that is not known gets its answer from where the system likes.
#[derive(Debug)]
pub(super) struct Asked {
    at: BTreeMap<SocketAddr, SocketAddr>,
    most: usize,
}

impl Asked {
    /// For at most so many peers; past it all are forgotten. Those that are really there are known again with their next
    /// packet, forged ones are not.
    pub(super) fn new(most: usize) -> Self {
        Self { at: BTreeMap::new(), most }
    }

    /// A packet of `remote` has come to `local`.
    pub(super) fn note(&mut self, remote: SocketAddr, local: SocketAddr) {
        if local.ip().is_unspecified() {
            return;
        }
        if self.at.len() >= self.most && !self.at.contains_key(&remote) {
            self.at.clear();
        }
        self.at.insert(remote, local);
    }

    /// Where to answer `remote` from.
    pub(super) fn at(&self, remote: SocketAddr) -> Option<SocketAddr> {
        self.at.get(&remote).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_address_counts_and_their_number_is_bounded() {
        let addr = |n: u16| SocketAddr::from(([127, 0, 0, 1], n));
        let mut asked = Asked::new(3);
        asked.note(addr(1), addr(80));
        asked.note(addr(1), addr(81));
        asked.note(addr(2), SocketAddr::from(([0, 0, 0, 0], 80)));
        assert_eq!((asked.at(addr(1)), asked.at(addr(2))), (Some(addr(81)), None));
        for n in 3..100 {
            asked.note(addr(n), addr(80));
            assert!(asked.at.len() <= 3 && asked.at(addr(n)) == Some(addr(80)));
        }
    }
}
