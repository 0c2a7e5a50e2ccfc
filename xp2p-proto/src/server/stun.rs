//! The server's STUN responder, on the same port as everything else.

use std::net::SocketAddr;
use std::time::Instant;

use super::config::ServerConfig;
use super::limits::Bucket;
use crate::link::AMPLIFICATION;
use crate::machine::Datagram;
use crate::stun::{Attribute, CHANGE_IP, CHANGE_PORT, Class, Message};

#[derive(Debug)]
pub(super) struct StunResponder {
    bucket: Bucket,
    answers: u64,
    drops: u64,
}

impl StunResponder {
    pub(super) fn new(rate: u32, now: Instant) -> Self {
        let rate = u64::from(rate);
        Self { bucket: Bucket::new(rate, rate, now), answers: 0, drops: 0 }
    }

    pub(super) fn answers(&self) -> u64 {
        self.answers
    }

    pub(super) fn drops(&self) -> u64 {
        self.drops
    }

    /// The answer to a request: from where, to where, what.
    pub(super) fn answer(
        &mut self,
        now: Instant,
        config: &ServerConfig,
        datagram: &Datagram,
    ) -> Option<(Option<SocketAddr>, SocketAddr, Vec<u8>)> {
        let request = Message::parse(&datagram.payload).ok().filter(|m| m.class == Class::Request)?;
        if !self.bucket.take(now, 1) {
            self.drops += 1;
            return None;
        }
        let source = SocketAddr::new(datagram.remote.ip().to_canonical(), datagram.remote.port());
        let asked = datagram.local;
        let unknown: Vec<u16> = request
            .attributes
            .iter()
            .filter_map(|a| match a {
                Attribute::Other(kind) if *kind < 0x8000 => Some(*kind),
                _ => None,
            })
            .collect();
        let change = request.attributes.iter().find_map(|a| match a {
            Attribute::ChangeRequest(flags) => Some(*flags),
            _ => None,
        });
        let other = other_address(config, asked);
        let (class, from, attributes) = if unknown.is_empty() {
            let from = match (change.unwrap_or(0) & (CHANGE_IP | CHANGE_PORT), other) {
                (0, _) => asked,
                // Whoever wants an answer from elsewhere gets none from here.
                (_, None) => return None,
                (flags, Some(other)) => SocketAddr::new(
                    if flags & CHANGE_IP != 0 { other.ip() } else { asked.ip() },
                    if flags & CHANGE_PORT != 0 { other.port() } else { asked.port() },
                ),
            };
            let mut attributes = vec![Attribute::XorMappedAddress(source), Attribute::ResponseOrigin(from)];
            attributes.extend(other.map(Attribute::OtherAddress));
            (Class::Success, from, attributes)
        } else {
            let error = Attribute::ErrorCode(420, "Unknown Attribute".to_owned());
            (Class::Error, asked, vec![error, Attribute::UnknownAttributes(unknown)])
        };
        let bytes = Message { class, transaction: request.transaction, attributes }.encode();
        if bytes.len() > datagram.payload.len() * AMPLIFICATION {
            self.drops += 1;
            return None;
        }
        self.answers += 1;
        Some((Some(from), source, bytes))
    }
}

/// The address that differs from `asked` in IP and port, if this server has four sockets.
fn other_address(config: &ServerConfig, asked: SocketAddr) -> Option<SocketAddr> {
    let (main, alternative) = (config.local, config.alternative?);
    let ip = if asked.ip() == main.ip() { alternative.ip() } else { main.ip() };
    let port = if asked.port() == main.port() { alternative.port() } else { main.port() };
    Some(SocketAddr::new(ip, port))
}
