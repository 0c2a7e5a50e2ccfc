"""Reads every vector of docs/PROTOCOL.md, checks what it means, and writes it again."""

import ipaddress
import json
from collections.abc import Callable
from typing import Any

import blake3
import info
import live
import messages
import register
import swarm
import wire
from codec import Reader
from document import Document
from flv import Kind, Tag, TagReader
from heads import Request, Response, Target, head_length
from keys import base64url, public_bytes, secret_key, ticket, ticket_nonce

# "All vectors use the camera key pair with secret 01 × 32, the server key pair with secret 02 × 32, and epoch 0."
CAMERA, SERVER, MEMBER = (secret_key(bytes([n]) * 32) for n in (1, 2, 3))
CAMERA_KEY, SERVER_KEY, MEMBER_KEY = map(public_bytes, (CAMERA, SERVER, MEMBER))
TICKET = ticket(CAMERA_KEY, ticket_nonce(CAMERA, 0))
FLOW = bytes(range(1, 9))
EXPIRY = 1_800_000_000
LIVE_URL = "https://cdn.example/live/room.flv?txSecret=1&quality=high"


class Wrong(AssertionError):
    """A vector is not what this implementation makes of it."""


def same(found: object, expected: object) -> None:
    """Fails unless both are equal."""
    if found != expected:
        raise Wrong(f"found {found!r}, expected {expected!r}")


def check(document: Document) -> int:
    """Checks all vectors; returns how many there were."""
    vectors = _checks(document)
    lines: dict[str, Callable[[list[str]], None]] = {
        "info": lambda texts: _infos(texts, document),
        "commands": _commands,
        "lan-name": _lan_name,
        "replies": _json,
        "topics": _json,
        "volatile": _words,
        "volatile-prefixes": _words,
    }
    unknown = (document.vectors.keys() - vectors.keys()) | (document.lines.keys() - lines.keys())
    if unknown:
        raise Wrong(f"nothing here reads {', '.join(sorted(unknown))}")
    for name, data in document.vectors.items():
        _run(f"vector {name}", vectors[name], data)
        _notices_damage(name, vectors[name], data)
    for name, texts in document.lines.items():
        _run(f"lines {name}", lines[name], texts)
    return len(document.vectors) + len(document.lines)


def _run(name: str, function: Callable[[Any], None], value: object) -> None:
    try:
        function(value)
    except Exception as error:
        raise Wrong(f"{name}: {error}") from error


def _notices_damage(name: str, function: Callable[[bytes], None], data: bytes) -> None:
    """A check that takes a vector with another last byte would take anything."""
    try:
        function(data[:-1] + bytes([data[-1] ^ 0x80]))
    except (ValueError, AssertionError):
        return
    raise Wrong(f"vector {name}: its check does not notice that the last byte is wrong")


def _checks(document: Document) -> dict[str, Callable[[bytes], None]]:
    return _datagrams() | _live() | _conversation() | _swarm(document)


def _datagrams() -> dict[str, Callable[[bytes], None]]:
    """Sections 1 to 5, and what section 18 adds to them."""
    v4 = wire.Address(ipaddress.IPv4Address("192.0.2.99"), 4660)
    v6 = wire.Address(ipaddress.IPv6Address("2001:db8::99"), 4660)
    binding = bytes([4]) * 32

    def frame(expected: wire.Frame) -> Callable[[bytes], None]:
        def checked(data: bytes) -> None:
            same(wire.parse(data), expected)
            same(expected.encode(), data)

        return checked

    def message(expected: register.Message) -> Callable[[bytes], None]:
        def checked(data: bytes) -> None:
            same(register.parse(data), expected)
            same(expected.encode(), data)

        return checked

    def capability(data: bytes) -> None:
        same(info.Capability.parse(data), _capability())
        same(_capability().encode(), data)
        same([_capability().is_signed_by(key) for key in (CAMERA_KEY, SERVER_KEY)], [True, False])

    def payload(data: bytes) -> None:
        read = info.Info.parse_payload(data)
        same((read.camera, read.ticket), (CAMERA_KEY, TICKET))
        same([server.key for server in read.servers], [SERVER_KEY])
        addresses = ["192.0.2.1:20002", "[2001:db8::1]:20002", "server.example:20002"]
        same([str(address) for address in read.servers[0].addresses], addresses)
        same([str(address) for address in read.lan], ["192.168.1.7:4433"])
        same(read.capability, _capability())
        same(read.payload(), data)

    def payload_with_tcp_port(data: bytes) -> None:
        read = info.Info.parse_payload(data)
        same([server.tcp_port for server in read.servers], [443])
        same((read.camera, read.ticket), (CAMERA_KEY, TICKET))
        same(read.payload(), data)

    def proof(data: bytes) -> None:
        mac = register.mac(b"a very secret word", binding, CAMERA_KEY, TICKET)
        signature = CAMERA.sign(register.signed_text(binding, SERVER_KEY, TICKET))
        message(register.Proof(signature, mac))(data)

    def stream(data: bytes) -> None:
        datagrams = wire.split(data)
        forward, unknown = wire.Forward(FLOW, bytes.fromhex("40010203")), wire.UnknownFlow(FLOW)
        same([wire.parse(datagram) for datagram in datagrams], [forward, unknown])
        same(wire.join(datagrams), data)

    hello = register.Hello("app", TICKET, ticket_nonce(CAMERA, 0), "product", "device")
    return {
        "ticket": lambda data: same(data, TICKET),
        "capability": capability,
        "info-payload": payload,
        "info-payload-tcp-port": payload_with_tcp_port,
        "open": frame(wire.Open(TICKET, bytes.fromhex("c0010203"))),
        "forward": frame(wire.Forward(FLOW, bytes.fromhex("40010203"))),
        "opened-v4": frame(wire.Opened(TICKET, FLOW, v4)),
        "opened-v6": frame(wire.Opened(TICKET, FLOW, v6)),
        "refused": frame(wire.Refused(TICKET, wire.Refusal.UNKNOWN_TICKET)),
        "cookie": frame(wire.Cookie(FLOW, b"\xaa" * 16)),
        "cookie-echo": frame(wire.CookieEcho(FLOW, b"\xaa" * 16)),
        "unknown-flow": frame(wire.UnknownFlow(FLOW)),
        "knock": frame(wire.Knock()),
        "stream": stream,
        "register-hello": message(hello),
        "register-proof": proof,
        "register-registered": message(register.Registered(v4, 3000, 64)),
        "register-refused": message(register.Refused(6, "full")),
    }


def _capability() -> info.Capability:
    return info.Capability.issue(CAMERA, info.Rights(31), 0, EXPIRY, b"serial##")


def _live() -> dict[str, Callable[[bytes], None]]:
    """Section 7."""
    video = Tag(Kind.VIDEO, 0, bytes.fromhex("1700000000014d401f"))
    audio = Tag(Kind.AUDIO, 0, bytes.fromhex("af001190"))

    def head(data: bytes) -> None:
        read = live.StreamHead.read(Reader(data))
        same(read, live.StreamHead(live.StreamKind.GROUP, 3, 300, 1))
        same(read.encode(), data)

    def record(expected: live.Configuration | live.End) -> Callable[[bytes], None]:
        def checked(data: bytes) -> None:
            same(live.RecordReader().push(data), [expected])
            same(expected.encode(), data)

        return checked

    return {
        "live-head": head,
        "live-config": record(live.Configuration(1, 5, (video, audio))),
        "live-end": record(live.End(301)),
    }


def _conversation() -> dict[str, Callable[[bytes], None]]:
    """Sections 6 and 8 to 12."""
    inner, user = {"action": "inner_define", "channel": "0"}, {"action": "user_define", "channel": "0"}
    status = {"cmd": "get_device_st", "type": "live", "quality": "high"}
    turn = {"cmd": '{"data":{"cmd":"ptz_up_press"},"topic":"ptz"}'}
    live_ = {"action": "live", "channel": "0", "quality": "high", "user_args": "a&b é"}
    times = {"start_time": "1700000000", "end_time": "1700000060"}
    playback = {"action": "playback", "channel": "0"} | times | {"type": "1"}
    file = {"channel": "0", "file_name": "2026-11-24T02-04-30.123Z.flv", "offset": "2"}
    reply, content = '[{"status":"0","appConnectNum":"2","maxConnectNum":"4"}]', b"a small file"
    return {
        "request-live": _request("/ipc.flv", live_, {"x-xp2p-latency": "2000"}),
        "answer-media": _answer(200, {"content-type": "video/x-flv"}),
        "answer-refusal": _answer(503, {"x-xp2p-reason": "3 of 3 viewers"}),
        "command-request": _request("/command", inner | status),
        "command-reply": _answer(200, {"content-type": "application/json"}, reply.encode()),
        "command-user": _request("/command", user | turn),
        "message": _request("/message", {"text": '{"iv_private_cmd":"ring"}'}, capability=False),
        "message-reply": _answer(200, {}, b'{"status":"0"}'),
        "playback-request": _request(
            "/ipc.flv", playback, {"x-xp2p-position": "30000", "x-xp2p-paused": "1"}
        ),
        "playback-seek-marker": _seek_marker,
        "download-request": _request("/download", file),
        "download-answer": _answer(200, {"etag": '"12-1700000000"'}, content[2:] + blake3.digest(content)),
        "talk-request": _request("/voice", {"channel": "0", "calltype": "video"}),
        "talk-pcm-tag": lambda data: same(_sound(data, 0x32), [i * 100 for i in range(40)]),
        "talk-alaw-tag": _alaw,
        "talk-busy": _answer(409, {"x-xp2p-reason": "somebody talks already"}),
    }


def _request(
    path: str, parameters: dict[str, str], headers: dict[str, str] | None = None, capability: bool = True
) -> Callable[[bytes], None]:
    def checked(data: bytes) -> None:
        request = Request.parse(data)
        same(request.target, Target(path, parameters))
        expected = {"host": "ipc.p2p.com"}
        if capability:
            expected["x-xp2p-capability"] = base64url(_capability().encode())
        same(request.headers, expected | (headers or {}))
        same(request.encode(), data)

    return checked


def _answer(status: int, headers: dict[str, str], body: bytes | None = None) -> Callable[[bytes], None]:
    def checked(data: bytes) -> None:
        end = head_length(data) or 0
        response, found = Response.parse(data[:end]), data[end:]
        same((response.status, found), (status, body or b""))
        same(response.length, None if body is None else len(body))
        same({k: v for k, v in response.headers.items() if k != "content-length"}, headers)
        same(response.encode(), data[:end])

    return checked


def _tag(data: bytes) -> Tag:
    reader = TagReader()
    [tag] = reader.push(data)
    reader.finish()
    same(tag.encode(), data)
    return tag


def _seek_marker(data: bytes) -> None:
    name = b"xp2pSeek"
    # An AMF0 string (2) and an AMF0 number (0), a big-endian double.
    body = b"\x02" + len(name).to_bytes(2, "big") + name + b"\x00" + bytes.fromhex("40dd4c0000000000")
    same(_tag(data), Tag(Kind.SCRIPT, 30_000, body))


def _sound(data: bytes, codec: int) -> list[int]:
    tag = _tag(data)
    same((tag.kind, tag.timestamp, tag.body[0]), (Kind.AUDIO, 0, codec))
    samples = tag.body[1:]
    if codec >> 4 == 7:
        return [_a_law(byte) for byte in samples]
    return [int.from_bytes(samples[i : i + 2], "little", signed=True) for i in range(0, len(samples), 2)]


def _a_law(byte: int) -> int:
    """A sample of G.711 A-law as 16-bit PCM."""
    byte ^= 0x55
    segment, step = byte >> 4 & 7, byte & 0xF
    size = (step << 4) + 8 if segment == 0 else ((step << 4) + 0x108) << segment - 1
    return size if byte & 0x80 else -size


def _alaw(data: bytes) -> None:
    heard = _sound(data, 0x72)
    same(len(heard), 40)
    for i, sample in enumerate(heard):
        # A step of A-law is a 16th of a sample's size, and at least 16.
        if abs(sample - 100 * i) > max(16, 100 * i // 16):
            raise Wrong(f"sample {i} is {sample}, not about {100 * i}")


def _swarm(document: Document) -> dict[str, Callable[[bytes], None]]:
    """Sections 15 and 16."""
    stream = document.vectors["swarm-stream"]
    peer = FLOW
    path = [bytes.fromhex("01020304"), bytes.fromhex("a1a2a3a4")]
    candidate = {"peer": peer, "network": 1, "origin_fed": True, "contact": b"contact"}
    lane = {"lag": 300, "depth": 2, "spare": 1, "smallest_value": 255}
    none = {"lag": 0xFFFF, "depth": messages.NO_SOURCE, "spare": 0, "smallest_value": 255}
    status = {"have_end": 1001, "have": 0b1011, "batch": 70, "backlog_ms": 12, "origin_fed": False}
    pieces = [
        {"run": 1, "index": 3, "time": 2040, "length_ms": 80, "length": 700, "hash": b"\x5a" * 16},
        {"run": 1, "index": 4, "time": -40, "length_ms": 40, "length": 8192, "hash": b"\x5a" * 16},
    ]
    members: dict[str, messages.Message] = {
        "swarm-status": {"type": "status"} | status | {"lanes": [lane] * 7 + [none]},
        "swarm-accept": {"type": "accept", "lane": 3, "path": path},
        "swarm-evict": {"type": "evict", "lane": 3, "alternative": peer},
        "swarm-way": {"type": "way", "lane": 3, "path": path},
        "swarm-lost": {"type": "lost", "lane": 3, "steps": 2},
        "swarm-request": {"type": "request", "piece": 1000, "slack_ms": 850},
    }
    to_tracker: dict[str, messages.Message] = {
        "swarm-join": {"type": "join", "network": 2, "slots": 9, "may_pull": True, "contact": b"contact"},
        "swarm-observed": {"type": "observed", "pieces": pieces},
    }
    from_tracker: dict[str, messages.Message] = {
        "swarm-meet": {"type": "meet", "begin": False, "candidate": candidate},
        "swarm-welcome": {"type": "welcome", "edge_ms": 90_000, "trust": 2, "candidates": [candidate]},
    }

    def message(table: dict[int, str], expected: messages.Message) -> Callable[[bytes], None]:
        def checked(data: bytes) -> None:
            same(messages.parse(table, data), expected)
            same(messages.encode(table, expected), data)

        return checked

    def url(data: bytes) -> None:
        volatile = [" ".join(document.lines[name]).split() for name in ("volatile", "volatile-prefixes")]
        same(swarm.stream_id(LIVE_URL, *volatile), data)
        same(
            swarm.stream_id("http://CDN.example.:80/live/room.flv?quality=high&X-Amz-Date=1", *volatile), data
        )

    def segment(data: bytes) -> None:
        read = swarm.Segment.parse(data)
        same(
            (read.tracks, read.video_header.hex(), read.audio_header.hex()),
            (5, "1700000000014d401f", "af001190"),
        )
        frames = [(9, 0, "170100000065"), (8, 23, "af0121")]
        same([(frame.kind, frame.time, frame.body.hex()) for frame in read.frames], frames)

    def batch(data: bytes) -> None:
        read, content = swarm.Batch.parse(data), document.vectors["swarm-piece"]
        same((read.stream, read.chain, read.previous), (stream, 1_800_000_000_000, bytes(16)))
        same((read.number, read.epoch, read.edge), (0, 0, 23))
        piece = swarm.Piece(0, 0, 0, 0, 23, len(content), blake3.digest(content)[:16])
        same((read.pieces, piece.substream), ((piece,), 0))
        same((read.is_signed_by(CAMERA_KEY), read.is_signed_by(SERVER_KEY)), (True, False))

    def piece_head(data: bytes) -> None:
        read = swarm.PieceHead.parse(data)
        same(read, swarm.PieceHead(1000, True, path))
        same(read.encode(), data)

    def token(data: bytes) -> None:
        read = swarm.Token.parse(data)
        same((read.door, read.expiry), (swarm.door(CAMERA_KEY, 0), EXPIRY))
        signed = (read.is_signed_by(SERVER_KEY, stream, key) for key in (MEMBER_KEY, CAMERA_KEY))
        same(list(signed), [True, False])
        same(read.encode(), data)

    return (
        {"swarm-stream": url, "swarm-piece": segment, "swarm-batch": batch}
        | {"swarm-piece-head": piece_head, "swarm-token": token}
        | {name: message(messages.BETWEEN_MEMBERS, m) for name, m in members.items()}
        | {name: message(messages.TO_THE_TRACKER, m) for name, m in to_tracker.items()}
        | {name: message(messages.FROM_THE_TRACKER, m) for name, m in from_tracker.items()}
    )


def _infos(texts: list[str], document: Document) -> None:
    """Section 2: the text of the payload that is a vector, without and with a flag."""
    read = [info.InfoText.parse(text) for text in texts]
    same([str(one) for one in read], texts)
    same([one.info.payload() for one in read], [document.vectors["info-payload"]] * 2)
    same([(one.version, one.mjpeg) for one in read], [("2.4.0", False), ("2.4.0", True)])


def _lan_name(texts: list[str]) -> None:
    """Section 19: the nonce, and a tag that takes the xp2pInfo to make."""
    nonce = b"nonce..."
    tag = blake3.derive_key("xp2p 2026-11 name in the local network", CAMERA_KEY + TICKET + nonce)[:8]
    same(texts, [(nonce + tag).hex()])


def _commands(texts: list[str]) -> None:
    """Section 8."""
    for text in texts:
        target = Target.parse(text)
        same(str(target), text)
        parameters = list(target.parameters.items())
        same((target.path, parameters[:2]), ("/command", [("action", "inner_define"), ("channel", "0")]))
        same(parameters[2][0], "cmd")


def _json(texts: list[str]) -> None:
    """Section 8: replies and topics, which are JSON."""
    for text in texts:
        same(json.dumps(json.loads(text), separators=(",", ":")), text)


def _words(texts: list[str]) -> None:
    """Section 15: names of parameters, separated by spaces, in lower case, each once."""
    words = " ".join(texts).split()
    same((words, len(set(words))), ([word.lower() for word in words], len(words)))
