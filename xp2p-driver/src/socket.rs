//! UDP sockets before a machine runs on them: bound here, or given from outside.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

use socket2::{Domain, Protocol, SockRef, Socket, Type};

/// Buffers that the system is asked for, so that a burst of video does not overflow them. It may give less.
const BUFFER: usize = 2 << 20;

/// A UDP socket that is bound, for [`CameraHandle::spawn_on`](crate::camera::CameraHandle::spawn_on) and its like.
///
/// [`bind`](Self::bind) makes one as the `spawn` of each role does. [`from_std`](Self::from_std) takes one from outside: from
/// the service manager (socket activation), or with options that only its owner knows (`SO_MARK`, `SO_BINDTODEVICE`,
/// `SO_PRIORITY`).
///
/// ```
/// use xp2p_driver::socket::BoundSocket;
///
/// # fn main() -> std::io::Result<()> {
/// // A small camera that has no memory to spare.
/// let socket = BoundSocket::bind("127.0.0.1:0".parse().expect("an address"))?.with_buffers(64 << 10, 64 << 10)?;
/// assert_ne!(socket.local_addr()?.port(), 0);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct BoundSocket(UdpSocket);

impl BoundSocket {
    /// Binds a socket. An unspecified IPv6 address takes IPv4 as well; where there is no IPv6 it becomes IPv4. The buffers are
    /// 2 MiB each, or what the system gives.
    ///
    /// # Errors
    ///
    /// The address is taken, or none of this host.
    pub fn bind(addr: SocketAddr) -> io::Result<Self> {
        let bound = match open(addr) {
            Err(_) if addr.is_ipv6() && addr.ip().is_unspecified() => {
                open(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), addr.port()))
            }
            result => result,
        };
        let socket =
            bound.map_err(|e| io::Error::new(e.kind(), format!("cannot listen on UDP {addr}: {e}")))?;
        for result in [
            SockRef::from(&socket).set_recv_buffer_size(BUFFER),
            SockRef::from(&socket).set_send_buffer_size(BUFFER),
        ] {
            // Best effort: less than asked for works, only worse under load.
            if let Err(e) = result {
                tracing::debug!("the socket buffer stays as it is: {e}");
            }
        }
        Ok(Self(socket))
    }

    /// Takes over a socket from outside. Its options stay as they are, but for those that QUIC needs: it becomes
    /// nonblocking, is not to fragment, and reports ECN bits and the addresses that datagrams were sent to.
    ///
    /// # Errors
    ///
    /// `InvalidInput`: it is no UDP socket, not bound, or connected to one peer.
    pub fn from_std(socket: UdpSocket) -> io::Result<Self> {
        let wrong = |text: &str| Err(io::Error::new(io::ErrorKind::InvalidInput, text.to_owned()));
        if SockRef::from(&socket).r#type()? != Type::DGRAM {
            return wrong("the socket that was given is no UDP socket");
        }
        if socket.local_addr()?.port() == 0 {
            return wrong("the socket that was given is not bound");
        }
        if socket.peer_addr().is_ok() {
            return wrong("the socket that was given is connected, but there will be several peers");
        }
        socket.set_nonblocking(true)?;
        Ok(Self(socket))
    }

    /// Asks the system for buffers of so many bytes for receiving (`SO_RCVBUF`) and sending (`SO_SNDBUF`). It may give less,
    /// or more: [`buffers`](Self::buffers) tells.
    ///
    /// # Errors
    ///
    /// The system refuses.
    pub fn with_buffers(self, receive: usize, send: usize) -> io::Result<Self> {
        let socket = SockRef::from(&self.0);
        socket.set_recv_buffer_size(receive)?;
        socket.set_send_buffer_size(send)?;
        Ok(self)
    }

    /// The sizes of its buffers for receiving and sending, as the system counts them (Linux: twice what was asked for).
    ///
    /// # Errors
    ///
    /// The system does not tell.
    pub fn buffers(&self) -> io::Result<(usize, usize)> {
        let socket = SockRef::from(&self.0);
        Ok((socket.recv_buffer_size()?, socket.send_buffer_size()?))
    }

    /// Where it is bound.
    ///
    /// # Errors
    ///
    /// The system does not tell.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    pub(crate) fn into_std(self) -> UdpSocket {
        self.0
    }
}

fn open(addr: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(!addr.ip().is_unspecified())?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    Ok(socket.into())
}
