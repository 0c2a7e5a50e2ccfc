//! The camera's side of a registration.

use std::net::SocketAddr;

use super::admission::AppKey;
use super::message::{Hello, Message, MessageReader, RefuseCode, RegisterError};
use super::transcript;
use crate::info::Capability;
use crate::keys::{PublicKey, SecretKey, Ticket, TicketNonce};

/// What the camera has to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientOutcome {
    /// Send these bytes.
    Send(Vec<u8>),
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
    Proved,
    Done,
}

/// The camera's side.
#[derive(Debug)]
pub struct RegisterClient {
    secret: SecretKey,
    server: PublicKey,
    ticket: Ticket,
    app_key: Option<AppKey>,
    reader: MessageReader,
    state: State,
}

impl RegisterClient {
    /// Begins to register the camera of `secret` at the server that has proven `server`. With `transit`, the server may show
    /// it to many viewers. Also returns the first bytes to send.
    pub fn new(
        secret: SecretKey,
        epoch: u32,
        server: PublicKey,
        app_key: Option<AppKey>,
        product: &str,
        name: &str,
        transit: Option<Capability>,
    ) -> (Self, Vec<u8>) {
        let nonce = TicketNonce::of_epoch(&secret, epoch);
        let ticket = Ticket::new(&secret.public(), &nonce);
        let hello = Message::Hello(Hello {
            app_id: app_key.as_ref().map(|k| k.id.clone()).unwrap_or_default(),
            ticket,
            nonce,
            product: product.to_owned(),
            name: name.to_owned(),
            transit,
        });
        let client =
            Self { secret, server, ticket, app_key, reader: MessageReader::default(), state: State::Asked };
        (client, hello.encode())
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
            (State::Asked, Message::Challenge(challenge)) => {
                self.state = State::Proved;
                let signature = self.secret.sign(&transcript(&challenge, &self.server, &self.ticket));
                let authenticated = transcript(&challenge, &self.secret.public(), &self.ticket);
                let mac = self.app_key.as_ref().map_or([0; 32], |key| key.authenticate(&authenticated));
                Ok(ClientOutcome::Send(Message::Proof { signature, mac }.encode()))
            }
            (State::Proved, Message::Registered(registered)) => {
                self.state = State::Done;
                Ok(ClientOutcome::Registered {
                    observed: registered.observed,
                    keep_alive_ms: registered.keep_alive_ms,
                    max_flows: registered.max_flows,
                })
            }
            (State::Asked | State::Proved, Message::Refused { code, text }) => {
                Ok(ClientOutcome::Refused { code, text })
            }
            (State::Done, Message::Draining) => Ok(ClientOutcome::Draining),
            (_, message) => Err(RegisterError::Order { kind: message.kind() }),
        }
    }
}
