"""Fetches live video: the request, groups of pictures in order, sound, a file (PROTOCOL.md, sections 6 to 8)."""

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from aioquic.quic import events

from codec import Malformed
from flv import Tag, Writer
from heads import Response, Target, head_length
from info import Info
from live import Configuration, End, MediaStream, RecordReader, StreamKind
from session import Session

BUDGET_MS = 2000
NOT_NEEDED = 0
TIMEOUT = 15.0
GROUP_TIMEOUT = 10.0


class Refused(Exception):
    """The camera refuses a request."""


@dataclass
class Summary:
    """What has come."""

    groups: int = 0
    skipped: int = 0
    keyframes: int = 0
    pictures: int = 0
    sounds: int = 0
    tags: int = 0
    relayed_packets: int = 0
    observed: str = ""
    device: object = None


class Answer:
    """Takes the head off an answer's stream."""

    def __init__(self) -> None:
        self.head: Response | None = None
        self._buffer = b""

    def push(self, data: bytes) -> bytes:
        """What follows the head. A refusal raises `Refused`."""
        if self.head is not None:
            return data
        self._buffer += data
        end = head_length(self._buffer)
        if end is None:
            return b""
        self.head = Response.parse(self._buffer[:end])
        if self.head.status != 200:
            reason = self.head.headers.get("x-xp2p-reason", self.head.phrase)
            raise Refused(f"{self.head.status}: {reason}")
        return self._buffer[end:]


class Live:
    """A live stream that comes: shows groups in order, and skips those that were reset or stand still."""

    def __init__(self, request: int, path: Path) -> None:
        # A media stream names its request by the index of the stream: its id without the two bits of its type.
        self._request = request >> 2
        self._path = path
        self._answer, self._records = Answer(), RecordReader()
        self._configurations: dict[int, Configuration] = {}
        self._streams: dict[int, MediaStream] = {}
        self._groups: dict[int, tuple[MediaStream, list[Tag]]] = {}
        self._gone: set[int] = set()
        self._next_group = 0
        self._writer: Writer | None = None
        # Time of the newest picture.
        self._shown: int | None = None
        self.end: End | None = None
        self.summary = Summary()

    def answer(self, data: bytes) -> None:
        """Bytes of the answer's stream."""
        for record in self._records.push(self._answer.push(data)):
            if isinstance(record, End):
                self.end = record
            else:
                self._configurations[record.id] = record
        self._advance()

    def media(self, stream: int, data: bytes, end: bool) -> None:
        """Bytes of a unidirectional stream of the camera."""
        media = self._streams.setdefault(stream, MediaStream())
        tags = media.push(data, end)
        if end:
            del self._streams[stream]
        if media.head is None:
            return
        if media.head.request != self._request:
            raise Malformed(f"media of request {media.head.request}")
        if media.head.kind == StreamKind.SOUND:
            if self._show(media.head.configuration, tags):
                self.summary.sounds += len(tags)
        elif media.head.number >= self._next_group:
            self._groups.setdefault(media.head.number, (media, []))[1].extend(tags)
        self._advance()

    def reset(self, stream: int) -> None:
        """The camera has given up a stream."""
        media = self._streams.pop(stream, None)
        # Of one that was reset before its head came nothing is known but that a number is missing.
        if media and media.head and media.head.kind == StreamKind.GROUP:
            self._gone.add(media.head.number)
        self._advance()

    def finish(self) -> None:
        """Completes the file."""
        if self._writer:
            self._writer.finish()
            self.summary.tags = self._writer.tags

    def _advance(self) -> None:
        while True:
            media, tags = self._groups.get(self._next_group, (None, []))
            if media and media.head and self._show(media.head.configuration, tags):
                self.summary.pictures += sum(tag.is_picture for tag in tags)
                self.summary.keyframes += sum(tag.is_keyframe for tag in tags)
                self._shown = tags[-1].timestamp if tags else self._shown
                tags.clear()
            if media and media.ended and not tags:
                self.summary.groups += 1
            elif self._next_group in self._gone or self._stands_still():
                self.summary.skipped += 1
            else:
                return
            self._groups.pop(self._next_group, None)
            self._next_group += 1

    def _stands_still(self) -> bool:
        """Whether newer groups are ahead by more than the budget."""
        newer = [
            tag.timestamp for n, (_, tags) in self._groups.items() if n > self._next_group for tag in tags
        ]
        shown = min(newer, default=0) if self._shown is None else self._shown
        return max(newer, default=0) > shown + BUDGET_MS

    def _show(self, configuration: int, tags: list[Tag]) -> bool:
        """Writes tags, if their configuration has come. Sound that comes before it is left out."""
        found = self._configurations.get(configuration)
        if found is None:
            return False
        if self._writer is None:
            self._writer = Writer(self._path.open("wb"), found.flags)
            for tag in found.tags:
                self._writer.write_first(tag)
        for tag in tags:
            self._writer.write(tag)
        return True


def watch(info: Info, path: Path, groups: int) -> Summary:
    """Writes that many whole groups of pictures of channel 0 to a file."""
    with Session(info, TIMEOUT) as session:
        device = command(session, "get_device_info")
        request = session.ask(
            Target("/ipc.flv", {"action": "live", "channel": "0", "quality": "high"}),
            {"x-xp2p-latency": str(BUDGET_MS)},
        )
        live = Live(request, path)
        try:
            _receive(session, live, request, groups)
        finally:
            live.finish()
        session.stop(request, NOT_NEEDED)
        live.summary.relayed_packets = session.relay.packets
        live.summary.observed = str(session.relay.observed)
        live.summary.device = device
        return live.summary


def _receive(session: Session, live: Live, request: int, groups: int) -> None:
    """Until so many groups have come, or the stream ends."""
    for event in session.events(time.monotonic() + TIMEOUT + GROUP_TIMEOUT * groups):
        match event:
            case events.StreamDataReceived(data=data, end_stream=end, stream_id=stream):
                if stream == request:
                    live.answer(data)
                elif stream & 3 == 3:  # A unidirectional one of the server end (RFC 9000, section 2.1).
                    live.media(stream, data, end)
            case events.StreamReset(stream_id=stream):
                live.reset(stream)
        if live.summary.groups >= groups or live.end:
            return


def command(session: Session, word: str) -> object:
    """The reply to a built-in command without parameters (section 8)."""
    target = Target("/command", {"action": "inner_define", "channel": "0", "cmd": word})
    stream = session.ask(target)
    answer, body = Answer(), b""
    for event in session.events(time.monotonic() + TIMEOUT):
        if isinstance(event, events.StreamDataReceived) and event.stream_id == stream:
            body += answer.push(event.data)
            if event.end_stream:
                break
    if answer.head is None or answer.head.length != len(body):
        raise Malformed(f"the reply to {word} is cut off")
    reply: object = json.loads(body)
    return reply


def summary_json(summary: Summary) -> str:
    """For the test that runs this."""
    return json.dumps(asdict(summary))
