//! UDP sockets.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::task::{Context, Poll, ready};

use noq_udp::{RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use tokio::io::Interest;
use tokio::runtime::Handle;
use xp2p_driver::runtime::Udp;

/// A UDP socket on tokio.
#[derive(Debug)]
pub struct TokioUdp(tokio::net::UdpSocket);

impl TokioUdp {
    pub(crate) fn new(handle: &Handle, socket: UdpSocket) -> io::Result<Self> {
        let _inside = handle.enter();
        // tokio takes over nonblocking sockets only.
        socket.set_nonblocking(true)?;
        Ok(Self(tokio::net::UdpSocket::from_std(socket)?))
    }
}

impl Udp for TokioUdp {
    fn poll_recv(
        &mut self,
        cx: &mut Context<'_>,
        state: &UdpSocketState,
        bufs: &mut [io::IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        loop {
            // First try, then wait: under load there is nearly always something, and tokio, which looks at its sockets only
            // now and then while tasks are busy, does not know of it yet.
            match state.recv(UdpSockRef::from(&self.0), bufs, metas) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => ready!(self.0.poll_recv_ready(cx))?,
                result => return Poll::Ready(result),
            }
            // What tokio takes for readable may have been read above; this tells it so.
            let receive = || state.recv(UdpSockRef::from(&self.0), bufs, metas);
            match self.0.try_io(Interest::READABLE, receive) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
        }
    }

    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        state: &UdpSocketState,
        transmit: &Transmit<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            match state.try_send(UdpSockRef::from(&self.0), transmit) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => ready!(self.0.poll_send_ready(cx))?,
                result => return Poll::Ready(result),
            }
            let send = || state.try_send(UdpSockRef::from(&self.0), transmit);
            match self.0.try_io(Interest::WRITABLE, send) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}
