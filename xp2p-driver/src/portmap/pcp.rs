//! PCP, opcode MAP (RFC 6887 sections 7 and 11).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::exchange::{Exchange, GOODBYE_TRIES, Refusal};
use super::{MappedTransport, is_no_host};

const VERSION: u8 = 2;
const MAP: u8 = 1;
/// Set in answers.
const ANSWER: u8 = 0x80;
const HEADER: usize = 24;
/// Header and MAP.
const LEN: usize = 60;
const UNSUPPORTED_VERSION: u8 = 1;
const UNSUPPORTED_OPCODE: u8 = 4;
const UNSUPPORTED_PROTOCOL: u8 = 9;
/// Tries: then the older protocol gets its turn.
const TRIES: usize = 2;

/// What is asked for. The nonce shows that a renewal comes from whoever asked first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) nonce: [u8; 12],
    pub(super) transport: MappedTransport,
    /// This host, as the router sees it.
    pub(super) local: Ipv4Addr,
    pub(super) port: u16,
    /// What it would like to get, or got before. Only a wish.
    pub(super) wish: SocketAddr,
    /// Zero gives it back.
    pub(super) lifetime: Duration,
}

fn protocol(transport: MappedTransport) -> u8 {
    match transport {
        MappedTransport::Udp => 17,
        MappedTransport::Tcp => 6,
    }
}

fn bytes(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}

impl Question {
    fn encode(&self) -> Vec<u8> {
        let lifetime = u32::try_from(self.lifetime.as_secs()).unwrap_or(u32::MAX);
        let mut out = vec![VERSION, MAP, 0, 0];
        out.extend(lifetime.to_be_bytes());
        out.extend(bytes(self.local.into()));
        out.extend(self.nonce);
        out.extend([protocol(self.transport), 0, 0, 0]);
        out.extend(self.port.to_be_bytes());
        out.extend(self.wish.port().to_be_bytes());
        out.extend(bytes(self.wish.ip()));
        out
    }

    /// `None`: it is no answer to this question.
    fn read(&self, answer: &[u8]) -> Option<Result<(SocketAddr, Duration), Refusal>> {
        let &[version, opcode, _, result, a, b, c, d, ..] = answer else { return None };
        if version != VERSION {
            // A router that knows only NAT-PMP says so in its own words (RFC 6887 section 9).
            return Some(Err(Refusal::Unknown("the router does not know PCP".to_owned())));
        }
        if opcode != ANSWER | MAP {
            return None;
        }
        // A router that did not get as far as the question need not repeat it.
        if matches!(result, UNSUPPORTED_VERSION | UNSUPPORTED_OPCODE | UNSUPPORTED_PROTOCOL) {
            return Some(Err(Refusal::Unknown(reason(result).to_owned())));
        }
        let map = answer.get(HEADER..LEN)?;
        let (nonce, rest) = map.split_at_checked(12)?;
        let &[protocol_number, _, _, _, p, q, x, y, ref ip @ ..] = rest else { return None };
        let ours = nonce == self.nonce
            && protocol_number == protocol(self.transport)
            && u16::from_be_bytes([p, q]) == self.port;
        if !ours {
            return None;
        }
        if result != 0 {
            return Some(Err(Refusal::Refused(reason(result).to_owned())));
        }
        let ip: [u8; 16] = ip.try_into().ok()?;
        let external = SocketAddr::new(Ipv6Addr::from(ip).to_canonical(), u16::from_be_bytes([x, y]));
        let lifetime = Duration::from_secs(u32::from_be_bytes([a, b, c, d]).into());
        match external.ip() {
            IpAddr::V4(ip) if external.port() != 0 && !is_no_host(ip) => Some(Ok((external, lifetime))),
            _ if self.lifetime.is_zero() => Some(Ok((external, lifetime))),
            _ => Some(Err(Refusal::Refused(format!("the router names no usable address: {external}")))),
        }
    }

    pub(super) fn ask(&self, gateway: Ipv4Addr) -> Result<(SocketAddr, Duration), Refusal> {
        let exchange = Exchange::open(self.local, gateway).map_err(|e| Refusal::Refused(e.to_string()))?;
        let tries = if self.lifetime.is_zero() { GOODBYE_TRIES } else { TRIES };
        exchange.ask(&self.encode(), tries, |answer| self.read(answer))
    }
}

/// The result codes of RFC 6887 section 7.4.
fn reason(result: u8) -> &'static str {
    match result {
        1 => "the router knows another version of PCP",
        2 => "the router's owner does not allow it",
        3 => "the router does not understand the question",
        4 => "the router does not know this kind of question",
        5 | 6 => "the router does not know an option",
        7 => "the router has no connection at present",
        8 => "the router has no room for more mappings",
        9 => "the router maps no such protocol",
        10 => "the router has given this machine all that it may have",
        11 => "the router cannot give the address that was wished for",
        12 => "there is another NAT between this machine and the router",
        13 => "the router has too many peers in its list",
        _ => "the router refuses, for a reason that PCP does not name",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn question() -> Question {
        Question {
            nonce: *b"twelve bytes",
            transport: MappedTransport::Udp,
            local: Ipv4Addr::new(192, 168, 1, 2),
            port: 5000,
            wish: "0.0.0.0:5000".parse().unwrap(),
            lifetime: Duration::from_secs(600),
        }
    }

    /// As a router (miniupnpd 2.3.1) gave it, with our nonce.
    fn answer() -> Vec<u8> {
        let mut answer = vec![2, 0x81, 0, 0, 0, 0, 2, 0x58, 0, 0, 0, 2];
        answer.extend([0; 12]);
        answer.extend(b"twelve bytes");
        answer.extend([17, 0, 0, 0, 0x13, 0x88, 0x17, 0x70]);
        answer.extend([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 198, 51, 101, 10]);
        answer
    }

    #[test]
    fn a_question_has_the_bytes_of_the_rfc() {
        let bytes = question().encode();
        assert_eq!(bytes.len(), LEN);
        assert_eq!(bytes[..8], [2, 1, 0, 0, 0, 0, 2, 0x58]);
        assert_eq!(bytes[8..24], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 168, 1, 2]);
        assert_eq!(bytes[24..36], *b"twelve bytes");
        assert_eq!(bytes[36..44], [17, 0, 0, 0, 0x13, 0x88, 0x13, 0x88]);
        assert_eq!(bytes[44..], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0]);
    }

    #[test]
    fn an_answer_is_read_if_it_is_ours() {
        let granted = ("198.51.101.10:6000".parse().unwrap(), Duration::from_secs(600));
        assert_eq!(question().read(&answer()), Some(Ok(granted)));
        for at in [24, 30, 36, 40] {
            let mut other = answer();
            other[at] ^= 1;
            assert_eq!(question().read(&other), None, "byte {at}");
        }
        for len in 4..LEN {
            assert!(!matches!(question().read(&answer()[..len]), Some(Ok(_))), "{len}");
        }
    }

    #[test]
    fn refusals_are_told_apart_from_other_protocols() {
        let with = |at: usize, value: u8| {
            let mut bytes = answer();
            bytes[at] = value;
            question().read(&bytes)
        };
        assert!(matches!(with(3, 2), Some(Err(Refusal::Refused(_)))), "not authorised");
        assert!(matches!(with(3, 4), Some(Err(Refusal::Unknown(_)))), "unknown opcode");
        assert!(matches!(with(0, 0), Some(Err(Refusal::Unknown(_)))), "NAT-PMP");
        assert!(matches!(with(56, 224), Some(Err(Refusal::Refused(_)))), "multicast");
        assert!(matches!(with(55, 0), Some(Err(Refusal::Refused(_)))), "no IPv4");
        // A router that knows NAT-PMP only (RFC 6886 section 3.5).
        let natpmp = [0, 0x81, 0, 1, 0, 0, 0, 9];
        assert!(matches!(question().read(&natpmp), Some(Err(Refusal::Unknown(_)))));
    }

    proptest! {
        #[test]
        fn nothing_that_a_router_says_breaks_anything(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = question().read(&bytes);
        }
    }
}
