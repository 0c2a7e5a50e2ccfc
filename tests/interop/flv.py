"""FLV: tags as they stand on streams (PROTOCOL.md, section 7), and files of them (Adobe's specification, annex E)."""

import heapq
import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import BinaryIO

from codec import Malformed, uint

HEADER = 11
MAX_BODY = 4 * 1024 * 1024


class Kind(IntEnum):
    """What a tag holds."""

    AUDIO = 8
    VIDEO = 9
    SCRIPT = 18


@dataclass(frozen=True)
class Tag:
    """A tag without PreviousTagSize. The timestamp is in ms."""

    kind: Kind
    timestamp: int
    body: bytes

    def encode(self) -> bytes:
        """The 11-byte header and the body."""
        time = uint(self.timestamp & 0xFFFFFF, 3) + uint(self.timestamp >> 24, 1)
        return uint(self.kind, 1) + uint(len(self.body), 3) + time + bytes(3) + self.body

    @property
    def is_picture(self) -> bool:
        """Whether it holds a coded picture: no sequence header or end of sequence, as H.264 (codec 7), H.265 (12) and
        enhanced FLV have besides."""
        if self.kind != Kind.VIDEO or len(self.body) < 2:
            return False
        if self.body[0] & 0x80:
            return self.body[0] & 0xF in (1, 3)
        return self.body[0] & 0xF not in (7, 12) or self.body[1] == 1

    @property
    def is_keyframe(self) -> bool:
        """Whether it is a picture that needs no other: frame type 1."""
        return self.is_picture and self.body[0] >> 4 & 7 == 1


class TagReader:
    """Takes tags off a stream of bytes, however those are cut."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def push(self, data: bytes) -> list[Tag]:
        """The tags that are complete with these bytes."""
        self._buffer += data
        tags = []
        while tag := self._next():
            tags.append(tag)
        return tags

    def finish(self) -> None:
        """The stream has ended: nothing may be left."""
        if self._buffer:
            raise Malformed(f"the stream ends {len(self._buffer)} bytes into a tag")

    def _next(self) -> Tag | None:
        buffer = self._buffer
        if len(buffer) < HEADER:
            return None
        size = int.from_bytes(buffer[1:4], "big")
        if buffer[0] not in list(Kind) or size > MAX_BODY:
            raise Malformed(f"no tag: kind {buffer[0]}, {size} bytes")
        if len(buffer) < HEADER + size:
            return None
        timestamp = int.from_bytes(buffer[7:8] + buffer[4:7], "big")
        tag = Tag(Kind(buffer[0]), timestamp, bytes(buffer[HEADER : HEADER + size]))
        del buffer[: HEADER + size]
        return tag


class Writer:
    """Writes an FLV file of two tracks that come independently, merged by time as far as both are known."""

    def __init__(self, file: BinaryIO, flags: int) -> None:
        self._file = file
        self._waiting: list[tuple[int, int, Tag]] = []
        self._newest = {kind: -1 for kind, bit in ((Kind.VIDEO, 1), (Kind.AUDIO, 4)) if flags & bit}
        self._count = 0
        self.tags = 0
        file.write(b"FLV\x01" + uint(flags, 1) + uint(9, 4) + uint(0, 4))

    def write_first(self, tag: Tag) -> None:
        """Writes a tag of the configuration: it is not of the time that its timestamp says."""
        self._write(tag)

    def write(self, tag: Tag) -> None:
        """Takes the next tag of its track."""
        self._count += 1
        heapq.heappush(self._waiting, (tag.timestamp, self._count, tag))
        if tag.kind in self._newest:
            self._newest[tag.kind] = tag.timestamp
        while self._waiting and self._waiting[0][0] <= min(self._newest.values(), default=0):
            self._write_oldest()

    def finish(self) -> None:
        """Writes what waits for the other track."""
        while self._waiting:
            self._write_oldest()
        self._file.close()

    def _write_oldest(self) -> None:
        self._write(heapq.heappop(self._waiting)[2])

    def _write(self, tag: Tag) -> None:
        data = tag.encode()
        self._file.write(data + struct.pack(">I", len(data)))
        self.tags += 1
