"""Addresses, the frames of a UDP datagram (PROTOCOL.md, section 3), and datagrams in a row, as over TCP."""

import ipaddress
from dataclasses import dataclass
from enum import IntEnum

from codec import Malformed, Reader, uint

TICKET = 16
FLOW = 8
COOKIE = 16
MAX_DATAGRAM_OVER_TCP = 1517


@dataclass(frozen=True)
class Address:
    """An IP address and a port."""

    ip: ipaddress.IPv4Address | ipaddress.IPv6Address
    port: int

    @classmethod
    def read(cls, reader: Reader) -> "Address":
        """Family, IP and port."""
        family = reader.uint(1)
        if family not in (4, 6):
            raise Malformed(f"{family} is no address family")
        return cls.read_family(reader, family)

    @classmethod
    def read_family(cls, reader: Reader, family: int) -> "Address":
        """IP and port of a family that is known already."""
        ip = ipaddress.ip_address(reader.take(4 if family == 4 else 16))
        return cls(ip, reader.uint(2))

    def encode(self) -> bytes:
        """Family, IP and port."""
        return uint(self.ip.version, 1) + self.ip.packed + uint(self.port, 2)

    def __str__(self) -> str:
        return f"{self.ip}:{self.port}" if self.ip.version == 4 else f"[{self.ip}]:{self.port}"


class Refusal(IntEnum):
    """Why a server opens no flow."""

    UNKNOWN_TICKET = 1
    TOO_MANY_FLOWS = 2
    TOO_MANY_ATTEMPTS = 3
    NOT_ALLOWED = 4
    STOPPING = 5
    FULL = 6


@dataclass(frozen=True)
class Open:
    """A viewer's first packets."""

    ticket: bytes
    payload: bytes

    def encode(self) -> bytes:
        return b"\x04" + self.ticket + self.payload


@dataclass(frozen=True)
class Forward:
    """A packet of a flow that is known."""

    flow: bytes
    payload: bytes

    def encode(self) -> bytes:
        return b"\x05" + self.flow + self.payload


@dataclass(frozen=True)
class Opened:
    """The flow's id, and where the server sees the viewer."""

    ticket: bytes
    flow: bytes
    observed: Address

    def encode(self) -> bytes:
        return b"\x06" + self.ticket + self.flow + self.observed.encode()


@dataclass(frozen=True)
class Refused:
    """There is no flow."""

    ticket: bytes
    reason: Refusal

    def encode(self) -> bytes:
        return b"\x07" + self.ticket + uint(self.reason, 1)


@dataclass(frozen=True)
class Cookie:
    """The server wants to know that a flow is used from a new address."""

    flow: bytes
    cookie: bytes

    def encode(self) -> bytes:
        return b"\x08" + self.flow + self.cookie


@dataclass(frozen=True)
class CookieEcho:
    """The answer to that."""

    flow: bytes
    cookie: bytes

    def encode(self) -> bytes:
        return b"\x09" + self.flow + self.cookie


@dataclass(frozen=True)
class UnknownFlow:
    """The server knows no such flow."""

    flow: bytes

    def encode(self) -> bytes:
        return b"\x0a" + self.flow


@dataclass(frozen=True)
class Knock:
    """Opens a NAT."""

    def encode(self) -> bytes:
        return b"\x0b"


Frame = Open | Forward | Opened | Refused | Cookie | CookieEcho | UnknownFlow | Knock


def is_quic(datagram: bytes) -> bool:
    """Whether a datagram is a QUIC packet by its first byte."""
    return bool(datagram) and datagram[0] & 0x40 != 0


def split(stream: bytes) -> list[bytes]:
    """Whole datagrams that follow each other on a TCP connection, each behind its length."""
    reader, datagrams = Reader(stream), []
    while reader.left:
        size = reader.uint(2)
        if not 1 <= size <= MAX_DATAGRAM_OVER_TCP:
            raise Malformed(f"a datagram of {size} bytes")
        datagrams.append(reader.take(size))
    return datagrams


def join(datagrams: list[bytes]) -> bytes:
    """The reverse."""
    return b"".join(uint(len(datagram), 2) + datagram for datagram in datagrams)


def parse(datagram: bytes) -> Frame:
    """A frame that fills its datagram exactly."""
    reader = Reader(datagram)
    frame = _frame(reader)
    reader.end()
    return frame


def _frame(reader: Reader) -> Frame:
    match reader.uint(1):
        case 4:
            return Open(reader.take(TICKET), _payload(reader))
        case 5:
            return Forward(reader.take(FLOW), _payload(reader))
        case 6:
            return Opened(reader.take(TICKET), reader.take(FLOW), Address.read(reader))
        case 7:
            return Refused(reader.take(TICKET), _refusal(reader))
        case 8:
            return Cookie(reader.take(FLOW), reader.take(COOKIE))
        case 9:
            return CookieEcho(reader.take(FLOW), reader.take(COOKIE))
        case 10:
            return UnknownFlow(reader.take(FLOW))
        case 11:
            return Knock()
        case other:
            raise Malformed(f"{other} is no frame")


def _payload(reader: Reader) -> bytes:
    payload = reader.rest()
    if not is_quic(payload):
        raise Malformed("the payload is no QUIC packet")
    return payload


def _refusal(reader: Reader) -> Refusal:
    reason = reader.uint(1)
    try:
        return Refusal(reason)
    except ValueError as error:
        raise Malformed(f"{reason} is no reason") from error
