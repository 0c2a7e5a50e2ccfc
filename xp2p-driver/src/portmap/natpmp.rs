//! NAT-PMP (RFC 6886 section 3).

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::exchange::{Exchange, GOODBYE_TRIES, Refusal};
use super::{MappedTransport, is_no_host};

const VERSION: u8 = 0;
/// What is our address outside?
const ADDRESS: u8 = 0;
const MAP_UDP: u8 = 1;
const MAP_TCP: u8 = 2;
/// Added to the opcode in answers.
const ANSWER: u8 = 128;
/// Tries of each of both questions.
const TRIES: usize = 3;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) transport: MappedTransport,
    pub(super) local: Ipv4Addr,
    pub(super) port: u16,
    /// What it would like to get, or got before. Only a wish.
    pub(super) wish: u16,
    /// Zero gives it back.
    pub(super) lifetime: Duration,
}

impl Question {
    fn opcode(&self) -> u8 {
        match self.transport {
            MappedTransport::Udp => MAP_UDP,
            MappedTransport::Tcp => MAP_TCP,
        }
    }

    fn encode(&self) -> Vec<u8> {
        let lifetime = u32::try_from(self.lifetime.as_secs()).unwrap_or(u32::MAX);
        // Whoever gives a port back names none outside (section 3.4).
        let wish = if self.lifetime.is_zero() { 0 } else { self.wish };
        let mut out = vec![VERSION, self.opcode(), 0, 0];
        out.extend(self.port.to_be_bytes());
        out.extend(wish.to_be_bytes());
        out.extend(lifetime.to_be_bytes());
        out
    }

    fn read(&self, answer: &[u8]) -> Option<Result<(u16, Duration), Refusal>> {
        let rest = match head(self.opcode(), answer)? {
            Ok(rest) => rest,
            Err(refusal) => return Some(Err(refusal)),
        };
        let &[p, q, x, y, a, b, c, d, ..] = rest else { return None };
        if u16::from_be_bytes([p, q]) != self.port {
            return None;
        }
        let external = u16::from_be_bytes([x, y]);
        if external == 0 && !self.lifetime.is_zero() {
            return Some(Err(Refusal::Refused("the router names no usable port".to_owned())));
        }
        Some(Ok((external, Duration::from_secs(u32::from_be_bytes([a, b, c, d]).into()))))
    }

    pub(super) fn ask(&self, gateway: Ipv4Addr) -> Result<(SocketAddr, Duration), Refusal> {
        let exchange = Exchange::open(self.local, gateway).map_err(|e| Refusal::Refused(e.to_string()))?;
        if self.lifetime.is_zero() {
            let (port, lifetime) = exchange.ask(&self.encode(), GOODBYE_TRIES, |answer| self.read(answer))?;
            return Ok((SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port), lifetime));
        }
        let ip = exchange.ask(&[VERSION, ADDRESS], TRIES, read_address)?;
        let (port, lifetime) = exchange.ask(&self.encode(), TRIES, |answer| self.read(answer))?;
        Ok((SocketAddr::new(ip.into(), port), lifetime))
    }
}

/// What follows the head of an answer to `opcode`. `None`: it is no such answer.
fn head(opcode: u8, answer: &[u8]) -> Option<Result<&[u8], Refusal>> {
    let &[version, code, r, s, _, _, _, _, ref rest @ ..] = answer else { return None };
    if version != VERSION || code != ANSWER + opcode {
        return None;
    }
    match u16::from_be_bytes([r, s]) {
        0 => Some(Ok(rest)),
        1 | 5 => Some(Err(Refusal::Unknown("the router knows another version of NAT-PMP".to_owned()))),
        2 => Some(Err(Refusal::Refused("the router's owner does not allow it".to_owned()))),
        3 => Some(Err(Refusal::Refused("the router has no connection at present".to_owned()))),
        4 => Some(Err(Refusal::Refused("the router has no room for more mappings".to_owned()))),
        _ => Some(Err(Refusal::Refused(
            "the router refuses, for a reason that NAT-PMP does not name".to_owned(),
        ))),
    }
}

fn read_address(answer: &[u8]) -> Option<Result<Ipv4Addr, Refusal>> {
    let rest = match head(ADDRESS, answer)? {
        Ok(rest) => rest,
        Err(refusal) => return Some(Err(refusal)),
    };
    let &[a, b, c, d, ..] = rest else { return None };
    let ip = Ipv4Addr::new(a, b, c, d);
    if is_no_host(ip) {
        return Some(Err(Refusal::Refused(format!("the router names no usable address: {ip}"))));
    }
    Some(Ok(ip))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn question() -> Question {
        let local = Ipv4Addr::new(192, 168, 1, 2);
        let lifetime = Duration::from_secs(600);
        Question { transport: MappedTransport::Udp, local, port: 6000, wish: 6000, lifetime }
    }

    /// As a router (miniupnpd 2.3.1) gave it.
    const GRANTED: [u8; 16] = [0, 0x81, 0, 0, 0, 0, 0, 2, 0x17, 0x70, 0x17, 0x71, 0, 0, 2, 0x58];

    #[test]
    fn questions_have_the_bytes_of_the_rfc() {
        assert_eq!(question().encode(), [0, 1, 0, 0, 0x17, 0x70, 0x17, 0x70, 0, 0, 2, 0x58]);
        let goodbye = Question { lifetime: Duration::ZERO, transport: MappedTransport::Tcp, ..question() };
        assert_eq!(goodbye.encode(), [0, 2, 0, 0, 0x17, 0x70, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn answers_are_read_if_they_are_ours() {
        assert_eq!(question().read(&GRANTED), Some(Ok((6001, Duration::from_secs(600)))));
        for at in [0, 1, 8, 9] {
            let mut other = GRANTED;
            other[at] ^= 2;
            assert_eq!(question().read(&other), None, "byte {at}");
        }
        for len in 0..GRANTED.len() {
            assert_eq!(question().read(&GRANTED[..len]), None, "{len}");
        }
        let mut refused = GRANTED;
        refused[3] = 2;
        assert!(matches!(question().read(&refused), Some(Err(Refusal::Refused(_)))));
        assert_eq!(
            read_address(&[0, 0x80, 0, 0, 0, 0, 0, 2, 198, 51, 101, 10]),
            Some(Ok(Ipv4Addr::new(198, 51, 101, 10)))
        );
        let no_host = read_address(&[0, 0x80, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0]);
        assert!(matches!(no_host, Some(Err(Refusal::Refused(_)))), "not connected yet");
    }

    proptest! {
        #[test]
        fn nothing_that_a_router_says_breaks_anything(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = question().read(&bytes);
            let _ = read_address(&bytes);
        }
    }
}
