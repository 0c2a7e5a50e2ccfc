"""Messages of swarm members and of the tracker (PROTOCOL.md, section 15), from tables of their fields."""

from collections.abc import Callable
from typing import Any

from codec import Malformed, Reader, uint, varint

Message = dict[str, Any]
"""Its fields by name, and its own name as `type`."""

_Read = Callable[[Reader], Any]
_Write = Callable[[Any], bytes]

MAX_CONTACT = 256
MAX_HOPS = 20
MAX_CANDIDATES = 32
MAX_OBSERVED = 48
LANES = 8
NO_SOURCE = 255


def read_path(reader: Reader) -> list[bytes]:
    """The first four bytes of the key of each member on a path."""
    hops = reader.uint(1)
    if hops > MAX_HOPS:
        raise Malformed(f"a path of {hops} members")
    return [reader.take(4) for _ in range(hops)]


def write_path(path: list[bytes]) -> bytes:
    """The reverse."""
    return uint(len(path), 1) + b"".join(path)


def _number(size: int) -> tuple[_Read, _Write]:
    return lambda reader: reader.uint(size), lambda value: uint(value, size)


def _array(size: int) -> tuple[_Read, _Write]:
    return lambda reader: reader.take(size), lambda value: value


def _optional(kind: str) -> tuple[_Read, _Write]:
    """A flag, and the field only if the flag is set."""
    return (
        lambda reader: _KINDS[kind][0](reader) if reader.flag() else None,
        lambda value: b"\0" if value is None else b"\1" + _KINDS[kind][1](value),
    )


def _list(most: int, fields: str) -> tuple[_Read, _Write]:
    """A number (1 byte) of groups of fields."""

    def read(reader: Reader) -> list[Message]:
        count = reader.uint(1)
        if count > most:
            raise Malformed(f"{count} entries, at most {most}")
        return [_read(fields, reader) for _ in range(count)]

    return read, lambda values: uint(len(values), 1) + b"".join(_write(fields, value) for value in values)


def _lanes(reader: Reader) -> list[Message]:
    return [_read(_LANE, reader) for _ in range(LANES)]


def _contact(reader: Reader) -> bytes:
    size = reader.short_varint()
    if size > MAX_CONTACT:
        raise Malformed(f"a contact of {size} bytes")
    return reader.take(size)


_LANE = "lag:u16 depth:u8 spare:u8 smallest_value:u8"
_CANDIDATE = "peer:id network:u8 origin_fed:flag contact:contact"
_OBSERVED = "run:varint index:u16 time:i64 length_ms:varint length:u16 hash:hash"

_KINDS: dict[str, tuple[_Read, _Write]] = {
    "u8": _number(1),
    "u16": _number(2),
    "u128": _number(16),
    "i64": (
        lambda reader: int.from_bytes(reader.take(8), "big", signed=True),
        lambda value: value.to_bytes(8, "big", signed=True),
    ),
    "id": _array(8),
    "hash": _array(16),
    "eight": _array(LANES),
    "varint": (Reader.short_varint, varint),
    "flag": (Reader.flag, lambda value: uint(value, 1)),
    "rest": (Reader.rest, lambda value: value),
    "path": (read_path, write_path),
    "contact": (_contact, lambda value: varint(len(value)) + value),
    "lanes": (_lanes, lambda lanes: b"".join(_write(_LANE, lane) for lane in lanes)),
    "candidate": (lambda reader: _read(_CANDIDATE, reader), lambda value: _write(_CANDIDATE, value)),
    "candidates": _list(MAX_CANDIDATES, _CANDIDATE),
    "observed": _list(MAX_OBSERVED, _OBSERVED),
    "id?": _optional("id"),
    "varint?": _optional("varint"),
}

_STATUS = "have_end:varint have:u128 batch:varint backlog_ms:u16 origin_fed:flag lanes:lanes"

BETWEEN_MEMBERS = {
    1: f"status {_STATUS}",
    2: "subscribe lane:u8 from:varint value:u8",
    3: "accept lane:u8 path:path",
    4: "reject lane:u8",
    5: "unsubscribe lane:u8",
    6: "evict lane:u8 alternative:id?",
    7: "request piece:varint slack_ms:u16",
    8: "no-have piece:varint",
    9: "cancel piece:varint",
    10: "batch signed:rest",
    11: "request-batch number:varint",
    12: "bye",
    13: "way lane:u8 path:path",
    14: "lost lane:u8 steps:u8",
}
TO_THE_TRACKER = {
    1: "join network:u8 slots:u8 may_pull:flag contact:contact",
    2: "more lanes:u8",
    3: "report slots:u8 spare:eight depth:eight origin_fed:flag lag_ms:u16 ahead_ms:u16",
    4: "bad peer:id misdeed:u8 piece:varint?",
    5: "rescue",
    6: "origin open:flag",
    7: "request-batch number:varint",
    8: "pong",
    9: "leave",
    10: "fill first:varint end:varint",
    11: "observed pieces:observed",
}
FROM_THE_TRACKER = {
    1: "welcome edge_ms:varint? trust:u8 candidates:candidates",
    2: "candidates candidates:candidates",
    3: "lease granted:flag",
    4: "elect",
    5: "demote",
    6: "batch signed:rest",
    7: "edge ms:varint",
    8: "ping",
    9: "excluded",
    10: "fill first:varint end:varint",
    11: "meet begin:flag candidate:candidate",
}


def parse(table: dict[int, str], data: bytes) -> Message:
    """A message of one of the tables above."""
    reader = Reader(data)
    kind = reader.uint(1)
    if kind not in table:
        raise Malformed(f"{kind} is no message")
    name, _, fields = table[kind].partition(" ")
    message = {"type": name} | _read(fields, reader)
    reader.end()
    return message


def encode(table: dict[int, str], message: Message) -> bytes:
    """The reverse."""
    kind = next(kind for kind, entry in table.items() if entry.split()[0] == message["type"])
    return uint(kind, 1) + _write(table[kind].partition(" ")[2], message)


def _read(fields: str, reader: Reader) -> Message:
    return {name: _KINDS[kind][0](reader) for name, kind in map(_split, fields.split())}


def _write(fields: str, values: Message) -> bytes:
    return b"".join(_KINDS[kind][1](values[name]) for name, kind in map(_split, fields.split()))


def _split(field: str) -> tuple[str, str]:
    name, _, kind = field.partition(":")
    return name, kind
