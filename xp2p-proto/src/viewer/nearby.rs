//! Attempts to connect to a camera in the viewer's own network, without a server.
//!
//! Addresses come from the xp2pInfo and from multicast discovery, which anybody in the network can answer. So they are only
//! tried: the connection is one to the camera's key like any other, and what is said at a wrong address means nothing.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Instant;

use crate::camera::{CLOSE_OK, VIEWER_ALPN};
use crate::keys::PublicKey;
use crate::link::{ConnId, Link, LostReason};

/// Most addresses that are kept for one camera, and tried at a time; the newest count.
pub(super) const MAX_NEARBY: usize = 8;

/// Where a camera may be in our own network.
#[derive(Debug, Default)]
pub(super) struct Nearby {
    /// The newest first.
    addrs: VecDeque<SocketAddr>,
    trying: BTreeMap<ConnId, SocketAddr>,
}

impl Nearby {
    /// Learns addresses. Returns whether any is new.
    pub(super) fn add(&mut self, addrs: &[SocketAddr]) -> bool {
        let before = self.addrs.clone();
        for addr in addrs.iter().take(MAX_NEARBY).rev() {
            self.addrs.retain(|known| known != addr);
            self.addrs.push_front(*addr);
        }
        self.addrs.truncate(MAX_NEARBY);
        self.addrs.iter().any(|addr| !before.contains(addr))
    }

    /// Tries all addresses that are not being tried.
    pub(super) fn connect(&mut self, now: Instant, link: &mut Link, camera: &PublicKey) {
        for addr in &self.addrs {
            if self.trying.len() >= MAX_NEARBY || self.trying.values().any(|trying| trying == addr) {
                continue;
            }
            match link.connect_direct(now, *camera, *addr, VIEWER_ALPN) {
                Ok(conn) => {
                    self.trying.insert(conn, *addr);
                }
                // Too many connections at this moment, or no address of that family: the way through the server is left.
                Err(error) => tracing::debug!(%addr, "the camera is not tried in the local network: {error}"),
            }
        }
    }

    /// Whether `conn` is one of the attempts.
    pub(super) fn is_trying(&self, conn: ConnId) -> bool {
        self.trying.contains_key(&conn)
    }

    /// An attempt has worked: it is no longer one.
    pub(super) fn take(&mut self, conn: ConnId) {
        self.trying.remove(&conn);
    }

    /// An attempt has failed. One that found somebody else there is not made again, unless it is heard of anew.
    pub(super) fn lost(&mut self, conn: ConnId, reason: &LostReason) {
        let Some(addr) = self.trying.remove(&conn) else { return };
        tracing::debug!(%addr, "the camera is not reached in the local network: {reason}");
        if *reason == LostReason::WrongKey {
            self.addrs.retain(|known| *known != addr);
        }
    }

    /// Ends all attempts.
    pub(super) fn stop(&mut self, now: Instant, link: &mut Link, reason: &str) {
        for conn in std::mem::take(&mut self.trying).into_keys() {
            link.close(now, conn, CLOSE_OK, reason);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_floods_the_network_with_addresses_gets_a_few_attempts() {
        let mut nearby = Nearby::default();
        let addr = |n: u16| SocketAddr::from(([192, 168, 1, 7], n));
        assert!(nearby.add(&[addr(1), addr(2)]));
        assert!(!nearby.add(&[addr(2)]), "known already");
        let flood: Vec<SocketAddr> = (100..200).map(addr).collect();
        assert!(nearby.add(&flood));
        assert!(nearby.add(&[addr(1)]), "the newest word counts");
        assert_eq!(nearby.addrs.len(), MAX_NEARBY);
        assert_eq!(nearby.addrs[0], addr(1));
    }
}
