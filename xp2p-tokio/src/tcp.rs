//! TCP, with the traits of `futures-io` that all runtimes share.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_io::{AsyncRead, AsyncWrite};
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use xp2p_driver::runtime::Listener;

use crate::inside;

/// A TCP connection on tokio.
#[derive(Debug)]
pub struct TokioTcp(TcpStream);

impl TokioTcp {
    fn new(tcp: TcpStream) -> Self {
        // Live pictures do not wait until the last packet is acknowledged. A system that cannot do this is slower, no
        // more.
        let _ = tcp.set_nodelay(true);
        Self(tcp)
    }
}

pub(crate) async fn connect(handle: &Handle, addr: SocketAddr) -> io::Result<TokioTcp> {
    inside(handle, TcpStream::connect(addr)).await.map(TokioTcp::new)
}

impl AsyncRead for TokioTcp {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buf = ReadBuf::new(buf);
        ready!(Pin::new(&mut self.0).poll_read(cx, &mut buf))?;
        Poll::Ready(Ok(buf.filled().len()))
    }
}

impl AsyncWrite for TokioTcp {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bufs)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// A TCP listener on tokio.
#[derive(Debug)]
pub struct TokioListener {
    listener: TcpListener,
    handle: Handle,
}

impl TokioListener {
    pub(crate) fn bind(handle: &Handle, addr: SocketAddr) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind(addr)?;
        listener.set_nonblocking(true)?;
        let _inside = handle.enter();
        Ok(Self { listener: TcpListener::from_std(listener)?, handle: handle.clone() })
    }
}

impl Listener for TokioListener {
    type Tcp = TokioTcp;

    async fn accept(&mut self) -> io::Result<(TokioTcp, SocketAddr)> {
        // What is accepted is registered with the runtime.
        let (tcp, peer) = inside(&self.handle, self.listener.accept()).await?;
        Ok((TokioTcp::new(tcp), peer))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}
