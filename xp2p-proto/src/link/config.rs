//! Configuration of a link and the transport parameters that follow from it.

use std::sync::Arc;
use std::time::Duration;

use noq_proto::congestion::{ControllerFactory, CubicConfig};
use noq_proto::{IdleTimeout, MtuDiscoveryConfig, TransportConfig, VarInt};

use super::congestion::LiveConfig;
use super::entropy::Entropy;
use crate::keys::SecretKey;

/// Most candidate addresses of a peer that we look at (decision 8).
pub const MAX_CANDIDATES: u8 = 8;
/// Largest QUIC packet that path MTU discovery tries. With the relay header and an IPv6 header it still fits into
/// an Ethernet frame.
const MAX_MTU: u16 = 1_440;
/// RTT assumed before the first measurement. RFC 9002 says 333 ms, which makes the first retry of a lost Initial
/// wait a second; the first retries of hole punching also follow from it.
const INITIAL_RTT: Duration = Duration::from_millis(150);

/// How fast a link sends on each path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Congestion {
    /// Made for live pictures over networks that lose packets at random: see `docs/PROTOCOL.md`.
    #[default]
    Live,
    /// CUBIC (RFC 9438), which most of the internet uses. It takes every loss for congestion.
    Cubic,
    /// BBRv3 as the QUIC library has it. It draws randomness of its own, which nothing in this crate may: to be compared with only.
    #[cfg(feature = "sim")]
    Bbr3,
}

/// What a [`Link`](super::Link) needs to know at construction.
#[derive(Debug, Clone)]
pub struct LinkConfig {
    /// Our identity, proven in every handshake.
    pub secret: SecretKey,
    /// All the randomness of this link.
    pub entropy: Entropy,
    /// Application protocols for which connections are accepted. Empty: only outgoing connections.
    pub accept: Vec<&'static [u8]>,
    /// Most connections at one time; further ones are refused. Default 256.
    pub max_connections: usize,
    /// Whether, when there are as many, the oldest incoming one that nobody has [vouched for](super::Link::vouch) gives way to a
    /// new one, so that strangers cannot take all places. Default false.
    pub strangers_give_way: bool,
    /// Incoming handshakes in progress from which on clients must first prove their address with a Retry. Default 16.
    pub retry_from: usize,
    /// Most relay flows at one time (peers behind a server). Default 256.
    pub max_relay_flows: usize,
    /// Bytes that may be in flight before the first acknowledgement: one keyframe. Default 64 KiB, paced.
    pub initial_window: u64,
    /// Congestion control. Default [`Congestion::Live`]; the others are there to be compared with.
    pub congestion: Congestion,
    /// Bytes of all streams of one connection that a peer may have sent and we have not read. Default 8 MiB.
    pub receive_window: u32,
    /// Most unidirectional streams that a peer may have open: GOPs on their way. Default 64.
    pub max_uni_streams: u32,
    /// Most bidirectional streams that a peer may have open: requests. Default 64.
    pub max_bidi_streams: u32,
    /// After this long without any packet from the peer the connection is lost (decision 11). Default 30 s.
    pub idle_timeout: Duration,
    /// Interval of keep-alive packets on each path, shorter than the NAT mappings people meet. Default 5 s.
    pub keep_alive: Duration,
    /// The same for connections to servers, which should be missed sooner. Default 10 s.
    pub control_idle_timeout: Duration,
    /// Interval of keep-alive packets to servers. Default 3 s.
    pub control_keep_alive: Duration,
    /// Whether the driver's socket sets "don't fragment", so that path MTU discovery can work. Default true.
    pub path_mtu_discovery: bool,
    /// Whether we tell peers from which address we see them (the server does). Default false.
    pub report_addresses: bool,
    /// Whether whoever connects through a relay learns our addresses with the first answer, before its handshake has proven
    /// its key: direct paths come a round trip sooner. Only where others may know them anyway (members of a swarm do, who have
    /// each other's tickets from the tracker). Default false.
    pub offer_early: bool,
    /// Whether what is sent comes in bursts that a path carries with ease, such as pieces of a swarm: then a sender that pauses is
    /// not slowed down to what it has sent, and the window is not shut to find the shortest round trip. Not for a stream that
    /// may be faster than the path: it would keep the whole first window in flight. Default false.
    pub bursts: bool,
    /// Whether a stream of higher priority may interrupt one that is being sent. Otherwise what was lost of a group of pictures waits
    /// until nothing of the next one is left to send, seconds on a path that is hardly faster than the stream. Streams of equal
    /// priority take turns then; else they go out one after the other, because half of two things is worth less than one whole
    /// thing. Default false.
    pub preempt: bool,
    /// Most paths of one connection: the relay and a few direct ones, of which some are being replaced. Connection ids for all of
    /// them are exchanged at the beginning. Default 8.
    pub max_paths: u32,
    /// RTT assumed on each path before the first measurement. Three of it pass before what is lost at the beginning is sent
    /// again. RFC 9002 says 333 ms. Default 150 ms.
    pub initial_rtt: Duration,
    /// Whether direct paths to peers are looked for. Off, nobody can make us probe addresses (a server has nothing to look for).
    /// Default true.
    pub direct_paths: bool,
}

/// Most bytes in flight on one stream. QUIC keeps at most 1,024 separate spans of a stream and ends the connection beyond that:
/// a burst of losses on a fast path with a larger window would do so. In packets of 1,200 bytes this window has 875 spans at
/// most.
const MAX_STREAM_WINDOW: u32 = 2 * 1024 * 1024;

impl LinkConfig {
    /// The defaults, for one identity.
    pub fn new(secret: SecretKey, entropy: Entropy) -> Self {
        Self {
            secret,
            entropy,
            accept: Vec::new(),
            max_connections: 256,
            strangers_give_way: false,
            retry_from: 16,
            max_relay_flows: 256,
            initial_window: 64 * 1024,
            congestion: Congestion::default(),
            receive_window: 8 * 1024 * 1024,
            max_uni_streams: 64,
            max_bidi_streams: 64,
            idle_timeout: Duration::from_secs(30),
            keep_alive: Duration::from_secs(5),
            control_idle_timeout: Duration::from_secs(10),
            control_keep_alive: Duration::from_secs(3),
            path_mtu_discovery: true,
            report_addresses: false,
            offer_early: false,
            bursts: false,
            preempt: false,
            max_paths: 8,
            initial_rtt: INITIAL_RTT,
            direct_paths: true,
        }
    }

    pub(super) fn transport(&self, idle_timeout: Duration, keep_alive: Duration) -> TransportConfig {
        let mut transport = TransportConfig::default();
        let idle = u32::try_from(idle_timeout.as_millis()).unwrap_or(u32::MAX);
        let mut mtu = MtuDiscoveryConfig::default();
        mtu.upper_bound(MAX_MTU);
        transport
            .max_concurrent_bidi_streams(VarInt::from_u32(self.max_bidi_streams))
            .max_concurrent_uni_streams(VarInt::from_u32(self.max_uni_streams))
            .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(idle))))
            .stream_receive_window(VarInt::from_u32(self.receive_window.min(MAX_STREAM_WINDOW)))
            .receive_window(VarInt::from_u32(self.receive_window))
            .send_fairness(self.preempt)
            .initial_rtt(self.initial_rtt)
            .mtu_discovery_config(Some(mtu))
            .keep_alive_interval(Some(keep_alive))
            .datagram_receive_buffer_size(None)
            .congestion_controller_factory(self.controllers())
            .send_observed_address_reports(self.report_addresses)
            .receive_observed_address_reports(!self.report_addresses)
            .max_concurrent_multipath_paths(self.max_paths)
            .default_path_max_idle_timeout(Some(idle_timeout / 2))
            .default_path_keep_alive_interval(Some(keep_alive));
        if self.direct_paths {
            transport.max_remote_nat_traversal_addresses(MAX_CANDIDATES);
        }
        transport
    }

    fn controllers(&self) -> Arc<dyn ControllerFactory + Send + Sync> {
        match self.congestion {
            Congestion::Live => {
                Arc::new(LiveConfig { initial_window: self.initial_window, bursts: self.bursts })
            }
            Congestion::Cubic => {
                let mut cubic = CubicConfig::default();
                cubic.initial_window(self.initial_window);
                Arc::new(cubic)
            }
            #[cfg(feature = "sim")]
            Congestion::Bbr3 => {
                let mut bbr = noq_proto::congestion::Bbr3Config::default();
                bbr.initial_window(self.initial_window);
                Arc::new(bbr)
            }
        }
    }
}
