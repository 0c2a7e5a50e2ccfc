//! The UDP frames around QUIC: how a relay passes datagrams on between two who cannot reach each other yet.
//!
//! One socket carries everything; the first byte tells what a datagram is (RFC 9443): 0..=3 STUN, 4..=15 a frame of
//! ours, 64..=127 and 192..=255 QUIC. A frame is one type byte, fixed fields, and for [`Frame::Open`] and
//! [`Frame::Forward`] the datagram that is carried, up to the end. All numbers are big-endian.
//!
//! | type | frame | fields | from, to |
//! |---|---|---|---|
//! | 4 | OPEN | ticket 16, payload | viewer to server |
//! | 5 | FORWARD | flow 8, payload | any to server, server to any |
//! | 6 | OPENED | ticket 16, flow 8, address | server to viewer |
//! | 7 | REFUSED | ticket 16, reason 1 | server to viewer |
//! | 8 | COOKIE | flow 8, cookie 16 | server to any |
//! | 9 | COOKIE_ECHO | flow 8, cookie 16 | any to server |
//! | 10 | UNKNOWN_FLOW | flow 8 | server to any |
//!
//! Over TCP the same datagrams go one after the other, each behind its length (see [`Deframer`]).
//!
//! An address is its family (4 or 6), the IP, and a 16-bit port. Frames have no length field: what does not fill
//! its datagram exactly is refused.

mod address;
mod frame;
mod framing;
mod text;

pub(crate) use self::address::{address, put_address};
pub use self::frame::{
    Cookie, FORWARD_HEADER_LEN, FlowId, Frame, FrameError, Kind, MAX_CARRIED, OPEN_HEADER_LEN, RefuseReason,
    forward_header, open_header,
};
pub use self::framing::{Deframer, FramingError, MAX_FRAMED, frame_length};
pub use self::text::printable;
