//! Cookies: proof that whoever uses a flow from a new address receives what is sent there.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::wire::{Cookie, FlowId};

/// How long a cookie holds at least; it holds for at most twice that.
const LIFETIME: Duration = Duration::from_secs(10);

/// Makes and checks cookies without keeping any.
pub(super) struct Cookies {
    key: [u8; 32],
    start: Instant,
}

impl std::fmt::Debug for Cookies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cookies(..)")
    }
}

impl Cookies {
    pub(super) fn new(key: [u8; 32], now: Instant) -> Self {
        Self { key, start: now }
    }

    fn period(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.start).as_secs() / LIFETIME.as_secs()
    }

    fn of_period(&self, flow: FlowId, addr: SocketAddr, period: u64) -> Cookie {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(&flow.0.to_be_bytes()).update(&period.to_be_bytes()).update(&addr.port().to_be_bytes());
        match addr.ip().to_canonical() {
            std::net::IpAddr::V4(ip) => hasher.update(&ip.octets()),
            std::net::IpAddr::V6(ip) => hasher.update(&ip.octets()),
        };
        let mut cookie = [0; 16];
        cookie.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        cookie
    }

    pub(super) fn make(&self, now: Instant, flow: FlowId, addr: SocketAddr) -> Cookie {
        self.of_period(flow, addr, self.period(now))
    }

    pub(super) fn check(&self, now: Instant, flow: FlowId, addr: SocketAddr, cookie: &Cookie) -> bool {
        let period = self.period(now);
        let good = |p| {
            // BLAKE3's own comparison takes the same time for all inputs.
            let mut padded = [[0; 32]; 2];
            padded[0][..16].copy_from_slice(&self.of_period(flow, addr, p));
            padded[1][..16].copy_from_slice(cookie);
            blake3::Hash::from(padded[0]) == blake3::Hash::from(padded[1])
        };
        good(period) || period.checked_sub(1).is_some_and(good)
    }
}
