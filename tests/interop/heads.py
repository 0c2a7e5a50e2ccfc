"""Heads of requests and answers (PROTOCOL.md, section 6)."""

import re
from dataclasses import dataclass, field
from urllib.parse import quote, unquote_to_bytes

from codec import Malformed

MAX_HEAD = 64 * 1024
MAX_FIELDS = 32
MAX_PARAMETERS = 64
HOST = "ipc.p2p.com"
UNESCAPED = "-._~/,:"

_PATH = re.compile(r"/[A-Za-z0-9/._-]{0,255}")
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_ESCAPES = re.compile(r"(%[0-9A-Fa-f]{2}|[^%])*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


@dataclass
class Target:
    """Path and parameters."""

    path: str
    parameters: dict[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> "Target":
        path, _, query = text.partition("?")
        if not _PATH.fullmatch(path):
            raise Malformed(f"{path!r} is no path")
        target = cls(path)
        for part in query.split("&") if query else []:
            name, equals, value = part.partition("=")
            if not (equals and _NAME.fullmatch(name) and _ESCAPES.fullmatch(value)):
                raise Malformed(f"{part!r} is no parameter")
            if name in target.parameters or (name.startswith("_") and part != "_crypto=off"):
                raise Malformed(f"parameter {name} is not allowed here")
            target.parameters[name] = _utf8(unquote_to_bytes(value))
        if len(target.parameters) > MAX_PARAMETERS:
            raise Malformed("too many parameters")
        return target

    def __str__(self) -> str:
        query = "&".join(f"{name}={quote(value, safe=UNESCAPED)}" for name, value in self.parameters.items())
        return f"{self.path}?{query}" if query else self.path


@dataclass
class Request:
    """A request head. Names of headers are in lower case."""

    target: Target
    headers: dict[str, str] = field(default_factory=lambda: {"host": HOST})

    @classmethod
    def parse(cls, head: bytes) -> "Request":
        line, headers = _split(head)
        method, _, rest = line.partition(" ")
        target, _, version = rest.rpartition(" ")
        if method != "GET" or version != "HTTP/1.1":
            raise Malformed(f"{line!r} is no request")
        if headers.get("content-length", "0") != "0":
            raise Malformed("a request with a body")
        return cls(Target.parse(target), headers)

    def encode(self) -> bytes:
        return _join(f"GET {self.target} HTTP/1.1", self.headers)


@dataclass
class Response:
    """The head of an answer."""

    status: int
    phrase: str
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, head: bytes) -> "Response":
        line, headers = _split(head)
        found = re.fullmatch(r"HTTP/1\.1 (\d{3}) (.*)", line)
        if not found:
            raise Malformed(f"{line!r} is no answer")
        return cls(int(found[1]), found[2], headers)

    @property
    def length(self) -> int | None:
        """How many bytes follow, if that is known."""
        text = self.headers.get("content-length")
        if text is not None and not (text.isascii() and text.isdecimal() and int(text) < 1 << 64):
            raise Malformed(f"{text!r} is no length")
        return None if text is None else int(text)

    def encode(self) -> bytes:
        return _join(f"HTTP/1.1 {self.status} {self.phrase}", self.headers)


def head_length(data: bytes) -> int | None:
    """How many bytes of `data` the head has, or `None` if its end has not come."""
    end = data.find(b"\r\n\r\n")
    if max(end, len(data) if end < 0 else 0) > MAX_HEAD:
        raise Malformed("the head is too long")
    return None if end < 0 else end + 4


def _utf8(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise Malformed(f"not UTF-8: {error}") from error


def _split(head: bytes) -> tuple[str, dict[str, str]]:
    if head_length(head) != len(head):
        raise Malformed("not a head")
    line, *fields = _utf8(head[:-4]).split("\r\n")
    headers: dict[str, str] = {}
    for text in fields:
        name, colon, value = text.partition(":")
        name, value = name.lower(), value.strip(" \t")
        if not colon or not name or _CONTROL.search(text):
            raise Malformed(f"{text!r} is no header")
        if name in headers or name == "transfer-encoding":
            raise Malformed(f"header {name} is not allowed here")
        headers[name] = value
    if len(headers) > MAX_FIELDS:
        raise Malformed("too many headers")
    return line, headers


def _join(line: str, headers: dict[str, str]) -> bytes:
    return "".join(f"{text}\r\n" for text in [line, *(f"{n}: {v}" for n, v in headers.items()), ""]).encode()
