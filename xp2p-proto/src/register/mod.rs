//! How a camera registers at a server: a short exchange on one QUIC stream (ALPN [`SERVER_ALPN`]).
//!
//! Each message is a length (16 bits, of what follows it), a type and a body. The camera says who it is and
//! proves it in one go: what it signs contains a secret of this very connection, which TLS makes and both ends know, so
//! no round trip is needed for a challenge. TLS has already proven that the camera holds its key; the signature binds
//! the ticket to it, and the MAC proves that the operator admits the camera.

mod admission;
mod client;
mod message;
mod server;

pub use self::admission::{Admission, AppKey, AppKeys};
pub use self::client::{ClientOutcome, Introduction, RegisterClient};
pub use self::message::{
    Hello, MAX_MESSAGE, MAX_TEXT, Message, MessageReader, RefuseCode, RegisterError, Registered,
};
pub use self::server::{RegisterServer, ServerOutcome};

use crate::keys::{PublicKey, Ticket};

/// Application protocol between cameras and servers.
pub const SERVER_ALPN: &[u8] = b"xp2p-server/1";

/// Product id under which members of swarms register: they are counted apart, and are no cameras to anybody.
pub const PEER_PRODUCT: &str = "xp2p-peer";

/// The label under which TLS exports what binds a registration to its connection.
pub const BINDING_LABEL: &[u8] = b"EXPORTER-xp2p-register";

/// What signature and MAC begin with, so that neither can be taken for anything else.
const CONTEXT: &[u8] = b"xp2p register v1\0";

/// What is signed, and with the camera's key in place of the server's what is authenticated.
fn transcript(binding: &[u8; 32], key: &PublicKey, ticket: &Ticket) -> Vec<u8> {
    [CONTEXT, binding, key.as_bytes(), ticket.as_bytes()].concat()
}
