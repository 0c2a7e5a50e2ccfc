"""Live media: records of the answer's stream, and streams of media (PROTOCOL.md, section 7)."""

from dataclasses import dataclass
from enum import IntEnum

from codec import Malformed, Reader, uint, varint
from flv import Kind, Tag, TagReader

MAX_RECORD = 128 * 1024


@dataclass(frozen=True)
class Configuration:
    """What a player needs before the first picture."""

    id: int
    flags: int
    tags: tuple[Tag, ...]

    @classmethod
    def read(cls, reader: Reader) -> "Configuration":
        number, flags = reader.varint(), reader.uint(1)
        tags = TagReader()
        found = tuple(tags.push(reader.rest()))
        tags.finish()
        if len({tag.kind for tag in found}) < len(found):
            raise Malformed("two tags of a kind in a configuration")
        return cls(number, flags, found)

    def encode(self) -> bytes:
        body = varint(self.id) + uint(self.flags, 1) + b"".join(tag.encode() for tag in self.tags)
        return b"\x01" + varint(len(body)) + body


@dataclass(frozen=True)
class End:
    """The end of a live stream."""

    streams: int

    def encode(self) -> bytes:
        body = varint(self.streams)
        return b"\x02" + varint(len(body)) + body


class RecordReader:
    """Takes records off the answer's stream, however that is cut."""

    def __init__(self) -> None:
        self._buffer = b""

    def push(self, data: bytes) -> list[Configuration | End]:
        """The records that are complete with these bytes. Unknown types are skipped."""
        self._buffer += data
        records: list[Configuration | End] = []
        while self._buffer:
            reader = Reader(self._buffer)
            try:
                kind, size = reader.uint(1), reader.varint()
            except Malformed:
                break
            if size > MAX_RECORD:
                raise Malformed(f"a record of {size} bytes")
            if reader.left < size:
                break
            body = Reader(reader.take(size))
            if kind == 1:
                records.append(Configuration.read(body))
            elif kind == 2:
                records.append(End(body.varint()))
                body.end()
            self._buffer = reader.rest()
        return records


class StreamKind(IntEnum):
    """What a stream of media carries."""

    GROUP = 1
    SOUND = 2


@dataclass(frozen=True)
class StreamHead:
    """What a stream of media begins with."""

    kind: StreamKind
    request: int
    number: int
    configuration: int

    @classmethod
    def read(cls, reader: Reader) -> "StreamHead":
        kind = reader.uint(1)
        if kind not in list(StreamKind):
            raise Malformed(f"{kind} is no kind of stream")
        return cls(StreamKind(kind), reader.varint(), reader.varint(), reader.varint())

    def encode(self) -> bytes:
        return uint(self.kind, 1) + varint(self.request) + varint(self.number) + varint(self.configuration)


class MediaStream:
    """One stream of media."""

    def __init__(self) -> None:
        self.head: StreamHead | None = None
        self.ended = False
        self._start = b""
        self._tags = TagReader()
        self._begun = False

    def push(self, data: bytes, end: bool) -> list[Tag]:
        """The tags that are complete with these bytes."""
        if self.head is None:
            self._start += data
            reader = Reader(self._start)
            try:
                self.head = StreamHead.read(reader)
            except Malformed:
                # Its longest form has 25 bytes.
                if end or len(self._start) >= 25 or self._start[:1] not in (b"", b"\1", b"\2"):
                    raise
                return []
            data = reader.rest()
        tags = self._tags.push(data)
        if tags and not self._begun:
            self._begun = True
            if self.head.kind == StreamKind.GROUP and not tags[0].is_keyframe:
                raise Malformed("a group that does not begin with a keyframe")
        wanted = (Kind.VIDEO,) if self.head.kind == StreamKind.GROUP else (Kind.AUDIO, Kind.SCRIPT)
        if any(tag.kind not in wanted for tag in tags):
            raise Malformed("a tag on a stream where it does not belong")
        if end:
            self._tags.finish()
            self.ended = True
        return tags
