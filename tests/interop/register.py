"""Messages of a registration (PROTOCOL.md, section 5)."""

import hashlib
import hmac
from dataclasses import dataclass

from codec import Malformed, Reader, uint
from info import CAPABILITY
from wire import TICKET, Address

MAX_MESSAGE = 1024
CONTEXT = b"xp2p register v1\0"
BINDING_LABEL = b"EXPORTER-xp2p-register"


@dataclass(frozen=True)
class Hello:
    """Who a camera says it is. `transit` is a capability (section 17)."""

    app: str
    ticket: bytes
    nonce: bytes
    product: str
    name: str
    transit: bytes = b""

    def encode(self) -> bytes:
        texts = _text(self.app) + self.ticket + self.nonce + _text(self.product) + _text(self.name)
        return _message(1, texts + self.transit)


@dataclass(frozen=True)
class Proof:
    """That it is."""

    signature: bytes
    mac: bytes

    def encode(self) -> bytes:
        return _message(3, self.signature + self.mac)


@dataclass(frozen=True)
class Registered:
    """Viewers can come."""

    observed: Address
    keep_alive_ms: int
    most_flows: int

    def encode(self) -> bytes:
        return _message(4, self.observed.encode() + uint(self.keep_alive_ms, 4) + uint(self.most_flows, 2))


@dataclass(frozen=True)
class Refused:
    """No."""

    code: int
    text: str

    def encode(self) -> bytes:
        return _message(5, uint(self.code, 1) + _text(self.text))


@dataclass(frozen=True)
class Draining:
    """Register somewhere else."""

    def encode(self) -> bytes:
        return _message(6, b"")


Message = Hello | Proof | Registered | Refused | Draining


def signed_text(binding: bytes, server: bytes, ticket: bytes) -> bytes:
    """What the signature of a Proof is over."""
    return CONTEXT + binding + server + ticket


def mac(secret: bytes, binding: bytes, camera: bytes, ticket: bytes) -> bytes:
    """The MAC of a Proof."""
    return hmac.digest(secret, CONTEXT + binding + camera + ticket, hashlib.sha256)


def parse(data: bytes) -> Message:
    """A message with its length."""
    outer = Reader(data)
    size = outer.uint(2)
    if not 0 < size <= MAX_MESSAGE:
        raise Malformed(f"a message of {size} bytes")
    reader = Reader(outer.take(size))
    outer.end()
    message = _body(reader.uint(1), reader)
    reader.end()
    return message


def _body(kind: int, reader: Reader) -> Message:
    match kind:
        case 1:
            app, ticket, nonce = _read_text(reader), reader.take(TICKET), reader.take(16)
            product, name = _read_text(reader), _read_text(reader)
            return Hello(app, ticket, nonce, product, name, reader.take(CAPABILITY if reader.left else 0))
        case 3:
            return Proof(reader.take(64), reader.take(32))
        case 4:
            return Registered(Address.read(reader), reader.uint(4), reader.uint(2))
        case 5:
            return Refused(reader.uint(1), _read_text(reader))
        case 6:
            return Draining()
        case other:
            raise Malformed(f"{other} is no message")


def _message(kind: int, body: bytes) -> bytes:
    return uint(len(body) + 1, 2) + uint(kind, 1) + body


def _text(text: str) -> bytes:
    data = text.encode()
    return uint(len(data), 1) + data


def _read_text(reader: Reader) -> str:
    data = reader.take(reader.uint(1))
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise Malformed(f"not UTF-8: {error}") from error
