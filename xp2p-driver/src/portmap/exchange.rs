//! A question of few bytes to the router by UDP, and its answer (port 5351).

use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

/// Where routers listen for PCP and NAT-PMP.
const PORT: u16 = 5351;
/// How long to wait for the answer to each try. The router is in the same network.
const WAITS: [Duration; 3] =
    [Duration::from_millis(150), Duration::from_millis(300), Duration::from_millis(600)];
/// Tries to give a port back: nobody waits for long at the end, and it runs out by itself.
pub(super) const GOODBYE_TRIES: usize = 1;
/// Largest answer (RFC 6887 section 7).
const MAX_ANSWER: usize = 1100;
/// Datagrams that are looked at for one try: others may come, but not without end.
const MAX_LOOKED_AT: usize = 16;

/// Why there is no mapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The router does not speak this protocol: another one may be tried.
    Unknown(String),
    /// It does, and refuses.
    Refused(String),
}

impl Refusal {
    pub(super) fn text(self) -> String {
        match self {
            Self::Unknown(text) | Self::Refused(text) => text,
        }
    }
}

/// A socket that hears the router only.
pub(super) struct Exchange(UdpSocket);

impl Exchange {
    /// From this host's address `local`.
    pub(super) fn open(local: Ipv4Addr, gateway: Ipv4Addr) -> io::Result<Self> {
        let socket = UdpSocket::bind((local, 0))?;
        socket.connect((gateway, PORT))?;
        Ok(Self(socket))
    }

    /// Asks up to `tries` times until `read` makes something of an answer; what it ignores is not for us.
    pub(super) fn ask<T>(
        &self,
        question: &[u8],
        tries: usize,
        mut read: impl FnMut(&[u8]) -> Option<Result<T, Refusal>>,
    ) -> Result<T, Refusal> {
        let mut answer = [0; MAX_ANSWER];
        for wait in WAITS.iter().take(tries) {
            self.0.send(question).map_err(silent)?;
            let end = Instant::now() + *wait;
            for _ in 0..MAX_LOOKED_AT {
                let left = end.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                self.0.set_read_timeout(Some(left)).map_err(silent)?;
                match self.0.recv(&mut answer) {
                    // `recv` never gives more than there is room for.
                    Ok(len) => {
                        if let Some(result) = read(&answer[..len]) {
                            return result;
                        }
                    }
                    Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                        break;
                    }
                    Err(e) => return Err(silent(e)),
                }
            }
        }
        Err(Refusal::Unknown("the router does not answer".to_owned()))
    }
}

/// Nobody listens there, or there is no way to it.
fn silent(e: io::Error) -> Refusal {
    Refusal::Unknown(match e.kind() {
        io::ErrorKind::ConnectionRefused => "the router has no such service".to_owned(),
        _ => format!("the router cannot be asked: {e}"),
    })
}
