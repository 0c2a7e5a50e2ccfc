"""xp2pInfo and capability (PROTOCOL.md, section 2)."""

import ipaddress
import re
from dataclasses import dataclass
from enum import IntFlag

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from codec import Malformed, Reader, uint
from keys import base64url, from_base64url, is_signed, public_bytes
from wire import TICKET, Address

FORMAT = 1
CAPABILITY = 86
MAX_PAYLOAD = 512
VENDOR_PAYLOADS = (16, 18)
SIGNED_TEXT = b"xp2p capability v1\0"
TCP_PORT_FOLLOWS = 64

_TEXT = re.compile(r"XP2P([A-Za-z0-9_-]+)%((?:0|[1-9]\d{0,4})(?:\.(?:0|[1-9]\d{0,4})){2})(m?)")
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_NUMBER = re.compile(r"\d*|0x[0-9a-f]*")


class Rights(IntFlag):
    """What a capability allows."""

    LIVE = 1
    PLAYBACK = 2
    COMMAND = 4
    VOICE = 8
    DOWNLOAD = 16


@dataclass(frozen=True)
class Capability:
    """What a camera allows whoever holds this."""

    rights: Rights
    epoch: int
    expiry: int
    serial: bytes
    signature: bytes

    @classmethod
    def issue(
        cls, camera: Ed25519PrivateKey, rights: Rights, epoch: int, expiry: int, serial: bytes
    ) -> "Capability":
        """One that the camera signs."""
        unsigned = cls(rights, epoch, expiry, serial, b"")
        signature = camera.sign(unsigned._signed_text(public_bytes(camera)))
        return cls(rights, epoch, expiry, serial, signature)

    @classmethod
    def parse(cls, data: bytes) -> "Capability":
        """Its 86 bytes. Whether the signature is the camera's is another question."""
        reader = Reader(data)
        if reader.uint(1) != FORMAT:
            raise Malformed("an unknown format of a capability")
        rights = reader.uint(1)
        if not 0 < rights < 32:
            raise Malformed(f"unknown rights {rights}")
        epoch, expiry = reader.uint(4), reader.uint(8)
        capability = cls(Rights(rights), epoch, expiry, reader.take(8), reader.take(64))
        reader.end()
        return capability

    def is_signed_by(self, camera: bytes) -> bool:
        """Whether the holder of this public key has issued it."""
        return is_signed(camera, self.signature, self._signed_text(camera))

    def _head(self) -> bytes:
        return (
            uint(FORMAT, 1) + uint(self.rights, 1) + uint(self.epoch, 4) + uint(self.expiry, 8) + self.serial
        )

    def _signed_text(self, camera: bytes) -> bytes:
        return SIGNED_TEXT + camera + self._head()

    def encode(self) -> bytes:
        """The 86 bytes."""
        return self._head() + self.signature


@dataclass(frozen=True)
class Name:
    """A DNS name and a port."""

    name: str
    port: int

    def __str__(self) -> str:
        return f"{self.name}:{self.port}"


@dataclass(frozen=True)
class Server:
    """A server's key and where it is. `tcp_port` if its relay over TCP has another port than UDP."""

    key: bytes
    addresses: tuple[Address | Name, ...]
    tcp_port: int | None = None


@dataclass(frozen=True)
class Info:
    """All that a viewer needs to know of a camera."""

    camera: bytes
    ticket: bytes
    servers: tuple[Server, ...]
    lan: tuple[Address, ...]
    capability: Capability | None

    @classmethod
    def parse_payload(cls, data: bytes) -> "Info":
        """The binary part."""
        if len(data) in VENDOR_PAYLOADS:
            raise Malformed("an xp2pInfo of a closed vendor cloud")
        if len(data) > MAX_PAYLOAD:
            raise Malformed("the payload is too long")
        reader = Reader(data)
        if reader.uint(1) != FORMAT:
            raise Malformed("an unknown format of an xp2pInfo")
        camera, ticket = reader.take(32), reader.take(TICKET)
        servers = tuple(_server(reader) for _ in range(_count(reader, 1, 3)))
        lan = tuple(_ip(reader, reader.uint(1)) for _ in range(_count(reader, 0, 4)))
        capability = None
        match reader.uint(1):
            case 0:
                pass
            case 86:
                capability = Capability.parse(reader.take(CAPABILITY))
                if not capability.is_signed_by(camera):
                    raise Malformed("the capability is of another camera")
            case other:
                raise Malformed(f"a capability of {other} bytes")
        reader.end()
        addresses = [address for server in servers for address in server.addresses]
        if len(set(addresses)) < len(addresses) or len(set(lan)) < len(lan):
            raise Malformed("an address twice")
        if len({server.key for server in servers}) < len(servers):
            raise Malformed("a server twice")
        return cls(camera, ticket, servers, lan, capability)

    def payload(self) -> bytes:
        """The binary part."""
        out = uint(FORMAT, 1) + self.camera + self.ticket + uint(len(self.servers), 1)
        for server in self.servers:
            more = 0 if server.tcp_port is None else TCP_PORT_FOLLOWS
            out += server.key + uint(len(server.addresses) + more, 1)
            for address in server.addresses:
                if isinstance(address, Name):
                    name = address.name.encode()
                    out += uint(0, 1) + uint(len(name), 1) + name + uint(address.port, 2)
                else:
                    out += address.encode()
            if server.tcp_port is not None:
                out += uint(server.tcp_port, 2)
        out += uint(len(self.lan), 1) + b"".join(address.encode() for address in self.lan)
        capability = self.capability.encode() if self.capability else b""
        return out + uint(len(capability), 1) + capability


@dataclass(frozen=True)
class InfoText:
    """An xp2pInfo with the version and the flag of the device."""

    info: Info
    version: str
    mjpeg: bool = False

    @classmethod
    def parse(cls, text: str) -> "InfoText":
        """The reverse of `str()`, which has exactly one form."""
        found = _TEXT.fullmatch(text)
        if not found:
            raise Malformed("not an xp2pInfo")
        payload, version, mjpeg = found.groups()
        if any(int(number) > 0xFFFF for number in version.split(".")):
            raise Malformed("a number of the version is above 65535")
        return cls(Info.parse_payload(from_base64url(payload)), version, bool(mjpeg))

    def __str__(self) -> str:
        return f"XP2P{base64url(self.info.payload())}%{self.version}{'m' if self.mjpeg else ''}"


def _count(reader: Reader, least: int, most: int) -> int:
    count = reader.uint(1)
    if not least <= count <= most:
        raise Malformed(f"byte {reader.position - 1}: {count} is not {least} to {most}")
    return count


def _server(reader: Reader) -> Server:
    key = reader.take(32)
    count = reader.uint(1)
    tcp = bool(count & TCP_PORT_FOLLOWS)
    count &= ~TCP_PORT_FOLLOWS
    if not 1 <= count <= 4:
        raise Malformed(f"{count} addresses of a server")
    addresses = tuple(_address(reader) for _ in range(count))
    return Server(key, addresses, _port(reader) if tcp else None)


def _port(reader: Reader) -> int:
    port = reader.uint(2)
    if port == 0:
        raise Malformed("port 0")
    return port


def _address(reader: Reader) -> Address | Name:
    tag = reader.uint(1)
    if tag != 0:
        return _ip(reader, tag)
    text = reader.take(reader.uint(1))
    if not text.isascii():
        raise Malformed("a name that is not ASCII")
    name = text.decode()
    labels = name.split(".")
    if len(name) > 253 or not all(map(_LABEL.fullmatch, labels)) or _NUMBER.fullmatch(labels[-1]):
        raise Malformed(f"{name!r} is no DNS name")
    return Name(name, _port(reader))


def _ip(reader: Reader, tag: int) -> Address:
    if tag not in (4, 6):
        raise Malformed(f"{tag} is no kind of address")
    address = Address.read_family(reader, tag)
    ip = address.ip
    mapped = isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None
    if mapped or ip.is_unspecified or ip.is_multicast or ip == ipaddress.IPv4Address("255.255.255.255"):
        raise Malformed(f"nobody can be at {ip}")
    if address.port == 0:
        raise Malformed("port 0")
    return address
