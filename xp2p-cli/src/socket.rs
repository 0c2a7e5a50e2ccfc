//! UDP sockets with buffers of the size that was asked for.

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use xp2p_driver::socket::BoundSocket;

/// Binds a socket, with `--socket-buffer`.
pub(crate) fn bind(addr: SocketAddr, buffer: Option<u32>) -> Result<BoundSocket> {
    sized(BoundSocket::bind(addr)?, buffer)
}

/// The same socket with buffers of so many KiB.
pub(crate) fn sized(socket: BoundSocket, buffer: Option<u32>) -> Result<BoundSocket> {
    let Some(kib) = buffer else { return Ok(socket) };
    // At most 1 GiB, as the arguments have been checked.
    let bytes = kib as usize * 1024;
    let socket = socket.with_buffers(bytes, bytes).context("--socket-buffer")?;
    let (receive, send) = socket.buffers()?;
    if receive.min(send) < bytes {
        tracing::warn!(
            "the system gives socket buffers of {receive} and {send} bytes only; on Linux see net.core.rmem_max"
        );
    }
    Ok(socket)
}
