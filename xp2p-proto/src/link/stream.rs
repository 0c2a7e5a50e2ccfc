//! Reading and writing streams without the ceremony of QUIC's own interface.

use bytes::Bytes;
use noq_proto::{Connection, ReadError, StreamId, VarInt, WriteError};

/// Why reading stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadEnd {
    /// Nothing more is there yet; [`LinkEvent::Readable`](super::LinkEvent::Readable) will tell.
    Blocked,
    /// As much was read as the caller wanted. There may be more, and no event will tell.
    Limit,
    /// The peer has finished the stream, and everything was read.
    Finished,
    /// The peer has given the stream up with this code.
    Reset(u64),
    /// The stream is not there (any more).
    Closed,
}

/// Reads up to about `limit` bytes of stream `id` in order (the last piece may go past it) and gives each piece to
/// `each`, without copying.
pub fn read(conn: &mut Connection, id: StreamId, limit: usize, mut each: impl FnMut(Bytes)) -> ReadEnd {
    let mut stream = conn.recv_stream(id);
    let Ok(mut chunks) = stream.read(true) else { return ReadEnd::Closed };
    let mut taken = 0;
    let end = loop {
        if taken >= limit {
            break ReadEnd::Limit;
        }
        match chunks.next(usize::MAX) {
            Ok(Some(chunk)) => {
                taken += chunk.bytes.len();
                each(chunk.bytes);
            }
            Ok(None) => break ReadEnd::Finished,
            Err(ReadError::Blocked) => break ReadEnd::Blocked,
            Err(ReadError::Reset(code)) => break ReadEnd::Reset(code.into_inner()),
        }
    };
    // QUIC looks for window updates to send whenever it is polled next, which every caller does.
    let _ = chunks.finalize();
    end
}

/// Why writing stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteEnd {
    /// Everything was taken.
    Done,
    /// Flow control, congestion or our own send window; [`LinkEvent::Writable`](super::LinkEvent::Writable) will tell.
    Blocked,
    /// The peer does not want the stream, or it is gone.
    Stopped,
}

/// Writes `chunks` to stream `id`. What was not taken stays in `chunks`. Returns the bytes taken as well.
pub fn write(conn: &mut Connection, id: StreamId, mut chunks: &mut [Bytes]) -> (usize, WriteEnd) {
    let mut stream = conn.send_stream(id);
    let mut total = 0;
    while !chunks.is_empty() {
        match stream.write_chunks(&mut chunks) {
            Ok(0) => return (total, WriteEnd::Blocked),
            Ok(n) => total += n,
            Err(WriteError::Blocked) => return (total, WriteEnd::Blocked),
            Err(WriteError::Stopped(_) | WriteError::ClosedStream) => return (total, WriteEnd::Stopped),
        }
    }
    (total, WriteEnd::Done)
}

/// Ends the sending side of stream `id`: `None` in order, `Some(code)` at once.
pub fn end(conn: &mut Connection, id: StreamId, reset: Option<u32>) {
    let mut stream = conn.send_stream(id);
    // Both fail only for a stream that has ended already, which is what is wanted.
    match reset {
        None => drop(stream.finish()),
        Some(code) => drop(stream.reset(VarInt::from_u32(code))),
    }
}

/// Tells the peer that the rest of stream `id` is not wanted.
pub fn stop(conn: &mut Connection, id: StreamId, code: u32) {
    // Fails only for a stream that has ended already.
    let _ = conn.recv_stream(id).stop(VarInt::from_u32(code));
}
