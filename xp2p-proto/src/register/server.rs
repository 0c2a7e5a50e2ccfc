//! The server's side of a registration.

use super::admission::AppKeys;
use super::message::{Hello, Message, MessageReader, RefuseCode, RegisterError, Registered};
use super::transcript;
use crate::info::Capability;
use crate::keys::{PublicKey, Ticket};

/// What the server has to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerOutcome {
    /// The camera has proven all it has to. Answer with [`RegisterServer::registered`] or
    /// [`RegisterServer::refusal`].
    Accepted {
        /// Its ticket.
        ticket: Ticket,
        /// Product id.
        product: String,
        /// Device name.
        name: String,
        /// The camera lets this server show it to many viewers.
        transit: Option<Capability>,
    },
    /// The camera is not let in.
    Refused {
        /// Why.
        code: RefuseCode,
        /// In words.
        text: String,
        /// What to send.
        reply: Vec<u8>,
    },
}

#[derive(Debug)]
enum State {
    New,
    Named(Hello),
    Done,
}

/// The server's side.
#[derive(Debug)]
pub struct RegisterServer {
    server: PublicKey,
    camera: PublicKey,
    binding: [u8; 32],
    /// The camera is let in without an app key.
    admitted: bool,
    reader: MessageReader,
    state: State,
}

impl RegisterServer {
    /// Waits for the camera that has proven `camera` to say what it wants. `binding` is what the connection exported;
    /// `admitted` tells whether it may come in without an app key.
    pub fn new(server: PublicKey, camera: PublicKey, binding: [u8; 32], admitted: bool) -> Self {
        Self { server, camera, binding, admitted, reader: MessageReader::default(), state: State::New }
    }

    /// The answer to an accepted camera.
    pub fn registered(registered: &Registered) -> Vec<u8> {
        Message::Registered(*registered).encode()
    }

    /// The answer to a camera that cannot be let in.
    pub fn refusal(code: RefuseCode) -> Vec<u8> {
        Message::Refused { code, text: code.to_string() }.encode()
    }

    /// Takes in what the camera sends.
    ///
    /// # Errors
    ///
    /// The camera broke the protocol.
    pub fn receive(&mut self, data: &[u8], keys: &AppKeys) -> Result<Vec<ServerOutcome>, RegisterError> {
        self.reader
            .push(data)?
            .into_iter()
            .filter_map(|message| self.handle(message, keys).transpose())
            .collect()
    }

    fn handle(&mut self, message: Message, keys: &AppKeys) -> Result<Option<ServerOutcome>, RegisterError> {
        match (std::mem::replace(&mut self.state, State::Done), message) {
            (State::New, Message::Hello(hello)) => {
                self.state = State::Named(hello);
                Ok(None)
            }
            (State::Named(hello), Message::Proof { signature, mac }) => {
                if Ticket::new(&self.camera, &hello.nonce) != hello.ticket {
                    return Ok(Some(refused(RefuseCode::WrongTicket)));
                }
                let signed = transcript(&self.binding, &self.server, &hello.ticket);
                let foreign = |c: &Capability| !c.is_signed_by(&self.camera);
                if !self.camera.verify(&signed, &signature) || hello.transit.as_ref().is_some_and(foreign) {
                    return Ok(Some(refused(RefuseCode::WrongSignature)));
                }
                let authenticated = transcript(&self.binding, &self.camera, &hello.ticket);
                let refusal = match keys.get(&hello.app_id) {
                    // Whoever names a key must know it, even where none is needed: a typing error should show.
                    Some(key) if !key.verify(&authenticated, &mac) => Some(RefuseCode::WrongAppKey),
                    Some(_) => None,
                    None if self.admitted => None,
                    None if hello.app_id.is_empty() => Some(RefuseCode::NotAllowed),
                    None => Some(RefuseCode::UnknownApp),
                };
                Ok(Some(match refusal {
                    Some(code) => refused(code),
                    None => ServerOutcome::Accepted {
                        ticket: hello.ticket,
                        product: hello.product,
                        name: hello.name,
                        transit: hello.transit,
                    },
                }))
            }
            (_, message) => Err(RegisterError::Order { kind: message.kind() }),
        }
    }
}

fn refused(code: RefuseCode) -> ServerOutcome {
    ServerOutcome::Refused { code, text: code.to_string(), reply: RegisterServer::refusal(code) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::SecretKey;
    use crate::register::{AppKey, Introduction, RegisterClient};

    fn public(n: u8) -> PublicKey {
        secret(n).public()
    }

    fn secret(n: u8) -> SecretKey {
        SecretKey::from_bytes([n; 32])
    }

    fn keys() -> AppKeys {
        let mut keys = AppKeys::default();
        keys.insert(AppKey::new("app", "secret"));
        keys
    }

    fn exchange(app_key: Option<AppKey>, admitted: bool, signer: u8, believed_server: u8) -> ServerOutcome {
        exchange_on([7; 32], app_key, admitted, signer, believed_server, None)
    }

    fn exchange_on(
        binding: [u8; 32],
        app_key: Option<AppKey>,
        admitted: bool,
        signer: u8,
        believed_server: u8,
        transit: Option<Capability>,
    ) -> ServerOutcome {
        let mut server = RegisterServer::new(secret(2).public(), secret(1).public(), [7; 32], admitted);
        let secret = secret(signer);
        let who = Introduction {
            secret: &secret,
            epoch: 0,
            app_key: app_key.as_ref(),
            product: "p",
            name: "n",
            transit,
        };
        let (_, hello) = RegisterClient::new(who, public(believed_server), &binding);
        server.receive(&hello, &keys()).unwrap().remove(0)
    }

    fn code(outcome: &ServerOutcome) -> Option<RefuseCode> {
        match outcome {
            ServerOutcome::Refused { code, .. } => Some(*code),
            _ => None,
        }
    }

    #[test]
    fn each_wrong_proof_is_refused_for_its_own_reason() {
        let right = Some(AppKey::new("app", "secret"));
        assert!(matches!(exchange(right.clone(), false, 1, 2), ServerOutcome::Accepted { .. }));
        assert!(matches!(exchange(None, true, 1, 2), ServerOutcome::Accepted { .. }));
        assert_eq!(code(&exchange(None, false, 1, 2)), Some(RefuseCode::NotAllowed));
        assert_eq!(
            code(&exchange(Some(AppKey::new("app", "wrong")), true, 1, 2)),
            Some(RefuseCode::WrongAppKey)
        );
        assert_eq!(
            code(&exchange(Some(AppKey::new("other", "secret")), false, 1, 2)),
            Some(RefuseCode::UnknownApp)
        );
        assert_eq!(
            code(&exchange(right.clone(), false, 3, 2)),
            Some(RefuseCode::WrongTicket),
            "ticket of another key"
        );
        assert_eq!(
            code(&exchange(right, false, 1, 4)),
            Some(RefuseCode::WrongSignature),
            "for another server"
        );
        let stolen = exchange_on([8; 32], None, true, 1, 2, None);
        assert_eq!(code(&stolen), Some(RefuseCode::WrongSignature), "of another connection");
    }

    #[test]
    fn nobody_allows_the_transit_of_another_camera() {
        let transit = |n| Some(Capability::for_transit(&secret(n), 0, &secret(2).public()));
        let with = |n| exchange_on([7; 32], None, true, 1, 2, transit(n));
        assert!(matches!(with(1), ServerOutcome::Accepted { transit: Some(_), .. }));
        assert_eq!(code(&with(3)), Some(RefuseCode::WrongSignature));
        assert!(matches!(exchange(None, true, 1, 2), ServerOutcome::Accepted { transit: None, .. }));
    }

    #[test]
    fn messages_out_of_order_are_refused() {
        let mut server = RegisterServer::new(secret(2).public(), secret(1).public(), [7; 32], true);
        let proof = Message::Proof { signature: [0; 64], mac: [0; 32] };
        assert_eq!(server.receive(&proof.encode(), &keys()), Err(RegisterError::Order { kind: 3 }));
        let (mut client, _) =
            RegisterClient::new(Introduction::of_peer(&secret(1), None), public(2), &[7; 32]);
        assert_eq!(client.receive(&Message::Draining.encode()), Err(RegisterError::Order { kind: 6 }));
    }
}
