"""Pieces, digest batches, stream ids and tokens of a shared stream (PROTOCOL.md, sections 15 and 16)."""

from dataclasses import dataclass
from urllib.parse import urlsplit

import blake3
from codec import Malformed, Reader, uint, varint, zigzag
from keys import is_signed
from messages import read_path, write_path

URL_CONTEXT = "xp2p 2026-11 stream id of a URL"
DOOR_CONTEXT = "xp2p 2026-11 door of a stream"
BATCH_TEXT = b"xp2p swarm batch v1\0"
TOKEN_TEXT = b"xp2p membership v1\0"
FULL_PIECE = 8192
MAX_PIECES = 64
SIGNATURE = 64


def stream_id(url: str, volatile: list[str], volatile_prefixes: list[str]) -> bytes:
    """The id of the stream at a URL."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Malformed(f"{url} is no URL of a stream")
    host = parts.hostname.removesuffix(".")
    host = f"[{host}]" if ":" in host else host
    port = 80 if parts.port in (None, 443) else parts.port

    def is_volatile(parameter: str) -> bool:
        name = parameter.partition("=")[0].lower()
        return name in volatile or name.startswith(tuple(volatile_prefixes))

    kept = sorted(p.encode() for p in parts.query.split("&") if p and not is_volatile(p))
    text = f"{host}:{port}{parts.path or '/'}?".encode() + b"&".join(kept)
    return blake3.derive_key(URL_CONTEXT, text)[:16]


@dataclass(frozen=True)
class Frame:
    """A coded picture (kind 9) or sound (8); `time` in ms after the segment's first frame."""

    kind: int
    time: int
    body: bytes


@dataclass(frozen=True)
class Segment:
    """What a segment begins with, and its frames."""

    tracks: int
    video_header: bytes
    audio_header: bytes
    frames: tuple[Frame, ...]

    @classmethod
    def parse(cls, content: bytes) -> "Segment":
        """The content of a whole segment."""
        reader = Reader(content)
        tracks = reader.uint(1)
        video, audio = (reader.take(reader.short_varint()) for _ in range(2))
        frames = []
        while reader.left:
            kind, time = reader.uint(1), zigzag(reader.short_varint())
            if kind not in (8, 9):
                raise Malformed(f"{kind} is no kind of frame")
            frames.append(Frame(kind, time, reader.take(reader.short_varint())))
        return cls(tracks, video, audio, tuple(frames))


@dataclass(frozen=True)
class Piece:
    """What a batch says of a piece. Times are canonical, in ms."""

    number: int
    segment: int
    index: int
    time: int
    end: int
    length: int
    hash: bytes

    @property
    def substream(self) -> int:
        """Which of the eight it belongs to."""
        return (self.index + 5 * self.segment) % 8


@dataclass(frozen=True)
class Batch:
    """A digest batch."""

    stream: bytes
    chain: int
    number: int
    epoch: int
    edge: int
    previous: bytes
    pieces: tuple[Piece, ...]
    unsigned: bytes
    signature: bytes

    @classmethod
    def parse(cls, data: bytes) -> "Batch":
        """Reads the fields; the signature is another question."""
        unsigned, signature = data[:-SIGNATURE], data[-SIGNATURE:]
        reader = Reader(unsigned)
        if reader.uint(1) != 1:
            raise Malformed("an unknown format of a batch")
        stream, chain = reader.take(16), reader.uint(8)
        number, epoch, edge = (reader.short_varint() for _ in range(3))
        previous = reader.take(16)
        first, segment, index = (reader.short_varint() for _ in range(3))
        count = reader.uint(1)
        if not 1 <= count <= MAX_PIECES:
            raise Malformed(f"a batch of {count} pieces")
        pieces: list[Piece] = []
        time = 0
        for i in range(count):
            flags = reader.uint(1)
            if i > 0:
                segment, index = (segment + 1, 0) if flags & 1 else (segment, index + 1)
            if flags > 3 or (flags & 1 == 1) != (index == 0):
                raise Malformed(f"flags {flags} of piece {first + i}")
            time += reader.short_varint()
            end = time + reader.short_varint()
            length = FULL_PIECE if flags & 2 else reader.short_varint()
            if end > edge or not (0 < length < FULL_PIECE or flags & 2):
                raise Malformed(f"time or length of piece {first + i}")
            pieces.append(Piece(first + i, segment, index, time, end, length, reader.take(16)))
        reader.end()
        return cls(stream, chain, number, epoch, edge, previous, tuple(pieces), unsigned, signature)

    def is_signed_by(self, key: bytes) -> bool:
        """Whether the holder of this key has announced it."""
        return is_signed(key, self.signature, BATCH_TEXT + self.unsigned)


@dataclass(frozen=True)
class PieceHead:
    """What stands in front of a piece."""

    number: int
    pushed: bool
    path: list[bytes]

    @classmethod
    def parse(cls, data: bytes) -> "PieceHead":
        reader = Reader(data)
        head = cls(reader.short_varint(), reader.flag(), read_path(reader))
        reader.end()
        return head

    def encode(self) -> bytes:
        return varint(self.number) + uint(self.pushed, 1) + write_path(self.path)


def door(camera: bytes, epoch: int) -> bytes:
    """The door of a camera's stream."""
    return blake3.derive_key(DOOR_CONTEXT, camera + uint(epoch, 4))[:8]


@dataclass(frozen=True)
class Token:
    """What shows that somebody is a member."""

    door: bytes
    expiry: int
    signature: bytes

    @classmethod
    def parse(cls, data: bytes) -> "Token":
        reader = Reader(data)
        if reader.uint(1) != 1:
            raise Malformed("an unknown version of a token")
        token = cls(reader.take(8), reader.uint(8), reader.take(SIGNATURE))
        reader.end()
        return token

    def _head(self) -> bytes:
        return uint(1, 1) + self.door + uint(self.expiry, 8)

    def is_signed_by(self, server: bytes, stream: bytes, member: bytes) -> bool:
        """Whether a server has given it to this member of this stream."""
        return is_signed(server, self.signature, TOKEN_TEXT + stream + member + self._head())

    def encode(self) -> bytes:
        return self._head() + self.signature
