//! One UDP socket of a machine: batches in and out, addresses in their plain form.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use noq_udp::{BATCH_SIZE, RecvMeta, UdpSockRef, UdpSocketState};
use xp2p_proto::machine::{Datagram, Ecn, Transmit};

use crate::runtime::{Runtime, Udp};
use crate::socket::BoundSocket;

/// How often one socket's troubles are told.
const COMPLAIN_EVERY: Duration = Duration::from_secs(10);
/// Datagrams that share one piece of memory: as many as a sender of our kind sends in one batch.
const SHARED: usize = 10;
/// Largest datagram with all its GRO companions.
const MAX_RECEIVE: usize = 64 * 1024;

pub(crate) struct MachineSocket<U> {
    io: U,
    state: UdpSocketState,
    local: SocketAddr,
    buffer: Vec<u8>,
    batch: usize,
    next_complaint: Option<Instant>,
}

impl<U: Udp> MachineSocket<U> {
    pub(crate) fn new<R: Runtime<Udp = U>>(runtime: &R, socket: BoundSocket) -> io::Result<Self> {
        let socket = socket.into_std();
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        let local = socket.local_addr()?;
        let io = runtime.udp(socket)?;
        let batch = BATCH_SIZE.min(8);
        Ok(Self { io, state, local, buffer: vec![0; batch * MAX_RECEIVE], batch, next_complaint: None })
    }

    pub(crate) fn local(&self) -> SocketAddr {
        self.local
    }

    /// Receives a batch and gives its datagrams to `take`.
    pub(crate) fn poll_recv(
        &mut self,
        cx: &mut Context<'_>,
        take: impl FnOnce(&mut dyn Iterator<Item = Datagram>),
    ) -> Poll<io::Result<usize>> {
        let mut metas = [RecvMeta::default(); BATCH_SIZE];
        let mut slices: Vec<IoSliceMut<'_>> =
            self.buffer.chunks_mut(MAX_RECEIVE).map(IoSliceMut::new).collect();
        let count = ready!(self.io.poll_recv(cx, &self.state, &mut slices, &mut metas[..self.batch]))?;
        drop(slices);
        let mut datagrams = 0;
        let local = self.local;
        let messages = metas.iter().zip(self.buffer.chunks(MAX_RECEIVE)).take(count);
        let mut all =
            messages.flat_map(|(meta, buffer)| Pieces::new(local, meta, buffer)).inspect(|_| datagrams += 1);
        take(&mut all);
        Poll::Ready(Ok(datagrams))
    }

    pub(crate) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        transmit: &Transmit,
        contents: &[u8],
    ) -> Poll<io::Result<()>> {
        let src_ip =
            transmit.local.map(|l| l.ip()).filter(|ip| !ip.is_unspecified()).map(|ip| self.for_family(ip));
        let destination = SocketAddr::new(self.for_family(transmit.remote.ip()), transmit.remote.port());
        let ecn = transmit.ecn.and_then(|e| noq_udp::EcnCodepoint::from_bits(e as u8));
        let whole =
            noq_udp::Transmit { destination, ecn, contents, segment_size: transmit.segment_size, src_ip };
        self.io.poll_send(cx, &self.state, &whole)
    }

    /// The most datagrams that the system takes in one call.
    pub(crate) fn max_segments(&self) -> usize {
        self.state.max_gso_segments().get()
    }

    /// Whether to log an error now: each packet may bring one.
    pub(crate) fn may_complain(&mut self, now: Instant) -> bool {
        let may = self.next_complaint.is_none_or(|at| now >= at);
        if may {
            self.next_complaint = Some(now + COMPLAIN_EVERY);
        }
        may
    }

    fn for_family(&self, ip: IpAddr) -> IpAddr {
        match (ip, self.local) {
            (IpAddr::V4(v4), SocketAddr::V6(_)) => IpAddr::V6(v4.to_ipv6_mapped()),
            (ip, _) => ip,
        }
    }
}

/// The datagrams of one message that the system has put together (GRO).
struct Pieces<'a> {
    local: SocketAddr,
    remote: SocketAddr,
    ecn: Option<Ecn>,
    rest: &'a [u8],
    stride: usize,
    /// Copied, to be cut.
    copied: BytesMut,
}

impl<'a> Pieces<'a> {
    fn new(local: SocketAddr, meta: &RecvMeta, buffer: &'a [u8]) -> Self {
        let ip = meta.dst_ip.map_or(local.ip(), |ip| ip.to_canonical());
        Self {
            local: SocketAddr::new(ip, local.port()),
            remote: SocketAddr::new(meta.addr.ip().to_canonical(), meta.addr.port()),
            ecn: meta.ecn.and_then(|e| Ecn::from_bits(e as u8)),
            rest: &buffer[..meta.len.min(buffer.len())],
            stride: meta.stride.max(1),
            copied: BytesMut::new(),
        }
    }
}

impl Iterator for Pieces<'_> {
    type Item = Datagram;

    fn next(&mut self) -> Option<Datagram> {
        if self.copied.is_empty() {
            // The only copy: from here on the bytes are shared by reference. A few datagrams share one piece of memory, which
            // lives as long as any of them; not all of a message, for a peer could have each kept for one of them.
            let (now, later) = self.rest.split_at(self.rest.len().min(SHARED * self.stride));
            self.rest = later;
            self.copied = BytesMut::from(now);
        }
        let payload = self.copied.split_to(self.stride.min(self.copied.len()));
        (!payload.is_empty()).then(|| Datagram {
            local: self.local,
            remote: self.remote,
            ecn: self.ecn,
            payload,
        })
    }
}

/// The host's own addresses, in order, with the port of a socket that is bound to `bound`.
///
/// # Errors
///
/// The system does not tell. That is no reason to believe that there are none.
pub(crate) fn local_addresses(bound: SocketAddr) -> io::Result<Vec<SocketAddr>> {
    if !bound.ip().is_unspecified() {
        return Ok(vec![bound]);
    }
    let mut addrs: Vec<SocketAddr> = if_addrs::get_if_addrs()?
        .iter()
        .map(|i| i.ip())
        .filter(|ip| bound.is_ipv6() || ip.is_ipv4())
        // Link-local addresses of IPv6 mean nothing without the interface, which differs on each host.
        .filter(|ip| !matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local()))
        .map(|ip| SocketAddr::new(ip, bound.port()))
        .collect();
    // The order in which the system lists them is no news.
    addrs.sort_unstable();
    addrs.dedup();
    Ok(addrs)
}

/// Errors of single datagrams: the network or the peer is not there at this moment, which is for QUIC to find out.
pub(crate) fn is_transient(error: &io::Error) -> bool {
    use io::ErrorKind as K;
    noq_udp::is_msg_size_err(error)
        || matches!(
            error.kind(),
            K::ConnectionRefused
                | K::ConnectionReset
                | K::NetworkUnreachable
                | K::HostUnreachable
                | K::NetworkDown
                | K::PermissionDenied
                | K::AddrNotAvailable
                | K::InvalidInput
                | K::Interrupted
        )
}
