//! The camera's side of a registration.

use std::net::SocketAddr;

use super::admission::AppKey;
use super::message::{Hello, Message, MessageReader, RefuseCode, RegisterError};
use super::{PEER_PRODUCT, transcript};
use crate::info::Capability;
use crate::keys::{PublicKey, SecretKey, Ticket, TicketNonce};

/// What the camera has to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientOutcome {
    /// Viewers can come.
    Registered {
        /// Where the server sees the camera.
        observed: SocketAddr,
        /// How often the server wants to hear of it, in milliseconds.
        keep_alive_ms: u32,
        /// Most relay flows.
        max_flows: u16,
    },
    /// The server does not want this camera.
    Refused {
        /// Why.
        code: RefuseCode,
        /// In the server's words.
        text: String,
    },
    /// The server stops soon.
    Draining,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Asked,
    Done,
}

/// The camera's side.
#[derive(Debug)]
pub struct RegisterClient {
    reader: MessageReader,
    state: State,
}

/// What a camera, or a member of a swarm, says of itself.
#[derive(Debug)]
pub struct Introduction<'a> {
    /// Its key.
    pub secret: &'a SecretKey,
    /// Its capability epoch.
    pub epoch: u32,
    /// Proves that it belongs to an app.
    pub app_key: Option<&'a AppKey>,
    /// Product id.
    pub product: &'a str,
    /// Device name.
    pub name: &'a str,
    /// With this, the server may show it to many viewers.
    pub transit: Option<Capability>,
}

impl<'a> Introduction<'a> {
    /// That of a member of a swarm.
    pub fn of_peer(secret: &'a SecretKey, app_key: Option<&'a AppKey>) -> Self {
        Self { secret, epoch: 0, app_key, product: PEER_PRODUCT, name: "", transit: None }
    }
}

impl RegisterClient {
    /// Begins to register a camera at the server that has proven `server`, on the connection that
    /// exported `binding`. Also returns the bytes to send.
    pub fn new(who: Introduction<'_>, server: PublicKey, binding: &[u8; 32]) -> (Self, Vec<u8>) {
        let Introduction { secret, epoch, app_key, product, name, transit } = who;
        let nonce = TicketNonce::of_epoch(secret, epoch);
        let ticket = Ticket::new(&secret.public(), &nonce);
        let hello = Message::Hello(Hello {
            app_id: app_key.map(|k| k.id.clone()).unwrap_or_default(),
            ticket,
            nonce,
            product: product.to_owned(),
            name: name.to_owned(),
            transit,
        });
        let signature = secret.sign(&transcript(binding, &server, &ticket));
        let authenticated = transcript(binding, &secret.public(), &ticket);
        let mac = app_key.map_or([0; 32], |key| key.authenticate(&authenticated));
        let proof = Message::Proof { signature, mac };
        let client = Self { reader: MessageReader::default(), state: State::Asked };
        (client, [hello.encode(), proof.encode()].concat())
    }

    /// Takes in what the server sends.
    ///
    /// # Errors
    ///
    /// The server broke the protocol.
    pub fn receive(&mut self, data: &[u8]) -> Result<Vec<ClientOutcome>, RegisterError> {
        self.reader.push(data)?.into_iter().map(|message| self.handle(message)).collect()
    }

    fn handle(&mut self, message: Message) -> Result<ClientOutcome, RegisterError> {
        match (self.state, message) {
            (State::Asked, Message::Registered(registered)) => {
                self.state = State::Done;
                Ok(ClientOutcome::Registered {
                    observed: registered.observed,
                    keep_alive_ms: registered.keep_alive_ms,
                    max_flows: registered.max_flows,
                })
            }
            (State::Asked, Message::Refused { code, text }) => Ok(ClientOutcome::Refused { code, text }),
            (State::Done, Message::Draining) => Ok(ClientOutcome::Draining),
            (_, message) => Err(RegisterError::Order { kind: message.kind() }),
        }
    }
}
