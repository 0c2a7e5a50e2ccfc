//! From a name to a connection.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use url::Host;

use super::OriginConfig;
use super::error::OriginError;
use super::url::Target;
use crate::origin::stream::within;
use crate::runtime::{Runtime, Timer};

/// Most addresses of a host that are tried.
const MAX_ADDRS: usize = 8;
/// An address that has not answered for so long is no longer waited for alone (RFC 8305, section 5).
const NEXT_ADDRESS: Duration = Duration::from_millis(250);

type Attempt<'a, R> = Pin<Box<dyn Future<Output = io::Result<<R as Runtime>::Tcp>> + Send + 'a>>;

/// Connects to a target, if the policy lets it. What is checked is what is connected to: there is one look-up.
pub(super) async fn connect<R: Runtime>(
    runtime: &R,
    config: &OriginConfig,
    target: &Target,
) -> Result<R::Tcp, OriginError> {
    let (host, port) = (target.host(), target.port());
    config.policy.check_host(host, port)?;
    let limit = config.connect_timeout;
    let too_late =
        || io::Error::new(io::ErrorKind::TimedOut, format!("nothing for {} s", limit.as_secs_f32()));
    let addrs = match host {
        Host::Ipv4(ip) => vec![SocketAddr::new(IpAddr::V4(*ip), port)],
        Host::Ipv6(ip) => vec![SocketAddr::new(IpAddr::V6(*ip), port)],
        Host::Domain(name) => within(runtime, limit, runtime.resolve(name.clone(), port))
            .await
            .unwrap_or_else(|| Err(too_late()))
            .map_err(|error| OriginError::Dns { host: host.to_string(), error })?,
    };
    let addrs = config.policy.filter(host, port, addrs)?;
    if addrs.is_empty() {
        let error = io::Error::new(io::ErrorKind::NotFound, "it has none");
        return Err(OriginError::Dns { host: host.to_string(), error });
    }
    within(runtime, limit, any(runtime, in_turns(addrs)))
        .await
        .unwrap_or_else(|| Err(too_late()))
        .map_err(|error| OriginError::Connect { host: host.to_string(), error })
}

/// IPv6 and IPv4 in turns, beginning with what the system prefers: one of them may lead nowhere.
fn in_turns(addrs: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = addrs.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) = addrs.into_iter().partition(|a| a.is_ipv6() == first_is_v6);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut turns = Vec::new();
    while turns.len() < MAX_ADDRS {
        let before = turns.len();
        turns.extend(first.next());
        turns.extend(second.next());
        if turns.len() == before {
            break;
        }
    }
    turns.truncate(MAX_ADDRS);
    turns
}

/// The first connection that succeeds; the others are given up.
async fn any<R: Runtime>(runtime: &R, addrs: Vec<SocketAddr>) -> io::Result<R::Tcp> {
    let mut addrs = addrs.into_iter();
    let mut attempts: Vec<Attempt<'_, R>> = Vec::new();
    let mut next = runtime.timer();
    let mut error = io::Error::from(io::ErrorKind::NotFound);
    // Whether the next address is due.
    let mut due = true;
    std::future::poll_fn(move |cx| {
        loop {
            if due && let Some(addr) = addrs.next() {
                attempts.push(Box::pin(runtime.connect(addr)));
                next.reset(Some(runtime.now() + NEXT_ADDRESS));
            }
            due = false;
            let mut connected = None;
            attempts.retain_mut(|attempt| {
                if connected.is_some() {
                    return true;
                }
                match attempt.as_mut().poll(cx) {
                    Poll::Pending => true,
                    Poll::Ready(Ok(tcp)) => {
                        connected = Some(tcp);
                        false
                    }
                    Poll::Ready(Err(e)) => {
                        error = e;
                        due = true;
                        false
                    }
                }
            });
            if let Some(tcp) = connected {
                return Poll::Ready(Ok(tcp));
            }
            let more = addrs.len() > 0;
            if !more && attempts.is_empty() {
                let error = std::mem::replace(&mut error, io::ErrorKind::NotFound.into());
                return Poll::Ready(Err(error));
            }
            if more && (due || next.poll(cx).is_ready()) {
                due = true;
                continue;
            }
            return Poll::Pending;
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_tried_in_turns() {
        let addrs = |texts: &[&str]| -> Vec<SocketAddr> {
            texts.iter().map(|ip| SocketAddr::new(ip.parse().unwrap(), 1)).collect()
        };
        assert_eq!(
            in_turns(addrs(&["::1", "::2", "::3", "1.1.1.1", "2.2.2.2"])),
            addrs(&["::1", "1.1.1.1", "::2", "2.2.2.2", "::3"])
        );
        assert_eq!(in_turns(addrs(&["1.1.1.1"])), addrs(&["1.1.1.1"]));
        assert!(in_turns(Vec::new()).is_empty());
        let many: Vec<String> = (1..=50).map(|i| format!("1.1.1.{i}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(in_turns(addrs(&many)).len(), MAX_ADDRS);
    }
}
