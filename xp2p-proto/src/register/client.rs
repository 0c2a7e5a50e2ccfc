//! The camera's side of a registration.

use std::net::SocketAddr;

use super::admission::AppKey;
use super::message::{Hello, Message, MessageReader, RefuseCode, RegisterError};
use super::transcript;
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

impl RegisterClient {
    /// Begins to register the camera of `secret` at the server that has proven `server`, on the connection that
    /// exported `binding`. Also returns the bytes to send.
    pub fn new(
        secret: &SecretKey,
        epoch: u32,
        server: PublicKey,
        binding: &[u8; 32],
        app_key: Option<&AppKey>,
        product: &str,
        name: &str,
    ) -> (Self, Vec<u8>) {
        let nonce = TicketNonce::of_epoch(secret, epoch);
        let ticket = Ticket::new(&secret.public(), &nonce);
        let hello = Message::Hello(Hello {
            app_id: app_key.map(|k| k.id.clone()).unwrap_or_default(),
            ticket,
            nonce,
            product: product.to_owned(),
            name: name.to_owned(),
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
