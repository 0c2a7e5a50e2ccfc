//! Asks a STUN server one thing after the other.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand_chacha::ChaCha12Rng;
use rand_core::Rng;

use super::report::{Behaviour, NatReport};
use crate::link::Entropy;
use crate::machine::{Datagram, Machine, Transmit};
use crate::stun::{Attribute, CHANGE_IP, CHANGE_PORT, Class, Message, TransactionId};

/// First pause until a request is sent again; doubles (RFC 8489 section 6.2.1, shortened: a person waits).
const RTO: Duration = Duration::from_millis(250);
/// How often a request is sent. The last wait ends 3.75 s after the first.
const TRIES: u32 = 4;

/// The steps, in an order in which no answer depends on what an earlier request has opened in the NAT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Where are we seen?
    Basic,
    /// Does an answer from another IP and port come in?
    FilterAll,
    /// Does one from another port come in?
    FilterPort,
    /// Where are we seen by another IP?
    MapAddress,
    /// Where by another IP and port?
    MapPort,
    Done,
}

/// Probes one server. Its only event is the report.
#[derive(Debug)]
pub struct NatProber {
    server: SocketAddr,
    other: Option<SocketAddr>,
    local: Vec<SocketAddr>,
    rng: ChaCha12Rng,
    step: Step,
    transaction: TransactionId,
    sent_at: Option<Instant>,
    retry_at: Option<Instant>,
    tries: u32,
    queue: VecDeque<(SocketAddr, Vec<u8>)>,
    report: NatReport,
    by_address: Option<SocketAddr>,
    event: Option<NatReport>,
}

impl NatProber {
    /// Begins to probe `server`.
    pub fn new(server: SocketAddr, entropy: &Entropy, now: Instant) -> Self {
        let mut prober = Self {
            server,
            other: None,
            local: Vec::new(),
            rng: entropy.rng("nat prober"),
            step: Step::Basic,
            transaction: [0; 12],
            sent_at: None,
            retry_at: None,
            tries: 0,
            queue: VecDeque::new(),
            report: NatReport {
                public: None,
                rtt: None,
                translated: None,
                mapping: Behaviour::Unknown,
                filtering: Behaviour::Unknown,
                keeps_port: None,
            },
            by_address: None,
            event: None,
        };
        prober.begin(now, Step::Basic);
        prober
    }

    fn begin(&mut self, now: Instant, step: Step) {
        self.step = step;
        self.tries = 0;
        self.rng.fill_bytes(&mut self.transaction);
        self.send(now);
    }

    fn send(&mut self, now: Instant) {
        let (to, change) = match (self.step, self.other) {
            (Step::FilterAll, _) => (self.server, CHANGE_IP | CHANGE_PORT),
            (Step::FilterPort, _) => (self.server, CHANGE_PORT),
            (Step::MapAddress, Some(other)) => (SocketAddr::new(other.ip(), self.server.port()), 0),
            (Step::MapPort, Some(other)) => (other, 0),
            (Step::Basic | Step::MapAddress | Step::MapPort | Step::Done, _) => (self.server, 0),
        };
        // The flags go into every request, so that all are as long as their answers may need them to be.
        let request = Message::request(self.transaction, vec![Attribute::ChangeRequest(change)]);
        self.queue.push_back((to, request.encode()));
        self.sent_at = Some(now);
        self.retry_at = Some(now + RTO * 2u32.pow(self.tries));
        self.tries += 1;
    }

    fn answered(&mut self, now: Instant, answer: &Message) {
        let Some(mapped) = answer.mapped() else { return };
        match self.step {
            Step::Basic => {
                // An answer to a second try may belong to the first: no measurement then.
                self.report.rtt = self.sent_at.filter(|_| self.tries == 1).map(|at| now - at);
                self.report.public = Some(mapped);
                if !self.local.is_empty() {
                    self.report.translated = Some(!self.local.iter().any(|l| l.ip() == mapped.ip()));
                    self.report.keeps_port = self.local.first().map(|l| l.port() == mapped.port());
                }
                self.other =
                    answer.other().filter(|o| o.ip() != self.server.ip() && o.port() != self.server.port());
                match self.other {
                    Some(_) => self.begin(now, Step::FilterAll),
                    None => self.finish(),
                }
            }
            Step::FilterAll => {
                self.report.filtering = Behaviour::EndpointIndependent;
                self.begin(now, Step::MapAddress);
            }
            Step::FilterPort => {
                self.report.filtering = Behaviour::AddressDependent;
                self.begin(now, Step::MapAddress);
            }
            Step::MapAddress => {
                if self.report.public == Some(mapped) {
                    self.report.mapping = Behaviour::EndpointIndependent;
                    self.finish();
                } else {
                    self.by_address = Some(mapped);
                    self.begin(now, Step::MapPort);
                }
            }
            Step::MapPort => {
                self.report.mapping = if self.by_address == Some(mapped) {
                    Behaviour::AddressDependent
                } else {
                    Behaviour::AddressAndPortDependent
                };
                self.finish();
            }
            Step::Done => {}
        }
    }

    fn unanswered(&mut self, now: Instant) {
        match self.step {
            Step::FilterAll => self.begin(now, Step::FilterPort),
            Step::FilterPort => {
                self.report.filtering = Behaviour::AddressAndPortDependent;
                self.begin(now, Step::MapAddress);
            }
            Step::Basic | Step::MapAddress | Step::MapPort => self.finish(),
            Step::Done => {}
        }
    }

    fn finish(&mut self) {
        self.step = Step::Done;
        self.retry_at = None;
        self.event = Some(self.report.clone());
    }
}

impl Machine for NatProber {
    type Event = NatReport;

    fn handle_datagram(&mut self, now: Instant, datagram: Datagram) {
        let answer = Message::parse(&datagram.payload).ok().filter(|m| m.class == Class::Success);
        if let Some(answer) = answer.filter(|m| m.transaction == self.transaction) {
            self.answered(now, &answer);
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        if self.retry_at.is_some_and(|at| at <= now) {
            self.retry_at = None;
            if self.tries < TRIES { self.send(now) } else { self.unanswered(now) }
        }
    }

    fn poll_transmit(&mut self, _now: Instant, buf: &mut Vec<u8>) -> Option<Transmit> {
        let (remote, data) = self.queue.pop_front()?;
        buf.extend_from_slice(&data);
        Some(Transmit { local: None, remote, ecn: None, size: data.len(), segment_size: None })
    }

    fn poll_event(&mut self) -> Option<NatReport> {
        self.event.take()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.retry_at
    }

    fn set_wall_clock(&mut self, _now: Instant, _unix: Duration) {}

    fn set_local_addresses(&mut self, _now: Instant, addrs: &[SocketAddr]) {
        self.local = addrs.to_vec();
    }
}
