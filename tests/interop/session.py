"""A viewer's connection to a camera: QUIC over a relay (PROTOCOL.md, sections 4 and 6)."""

import time
from collections.abc import Iterator
from types import TracebackType

from aioquic.quic import events
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from heads import Request, Target
from info import Info
from keys import base64url
from relay import Relay
from tls_raw import RawKeyConnection

ALPN = "xp2p/1"
NOTHING_IS_WRONG = 0


class Lost(Exception):
    """The connection has ended, or did not come about in time."""


class Session:
    """Connects in `__enter__`, closes in `__exit__`. All methods block."""

    def __init__(self, info: Info, timeout: float) -> None:
        self._info = info
        self._timeout = timeout
        self.relay = Relay(info.servers[0], info.ticket)
        # Any key will do: what a viewer may do is up to the capability.
        self._quic = RawKeyConnection(ALPN, Ed25519PrivateKey.generate(), info.camera)

    def __enter__(self) -> "Session":
        # aioquic only hands this address back.
        self._quic.connect(("camera", 0), now=time.monotonic())
        for event in self.events(time.monotonic() + self._timeout):
            if isinstance(event, events.HandshakeCompleted):
                return self
        self.relay.close()
        raise Lost(f"no connection within {self._timeout} s")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._quic.close(NOTHING_IS_WRONG)
        self._flush()
        self.relay.close()

    def events(self, deadline: float) -> Iterator[events.QuicEvent]:
        """What happens up to a point of `time.monotonic()`. Raises `Lost` when the connection has ended."""
        while (now := time.monotonic()) < deadline:
            self._flush()
            timer = self._quic.get_timer()
            packet = self.relay.receive(min(deadline, timer or deadline) - now)
            now = time.monotonic()
            if packet is not None:
                self._quic.receive_datagram(packet, ("camera", 0), now)
            if timer is not None and now >= timer:
                self._quic.handle_timer(now)
            while event := self._quic.next_event():
                if isinstance(event, events.ConnectionTerminated):
                    raise Lost(f"the connection has ended: code {event.error_code} {event.reason_phrase}")
                yield event

    def ask(self, target: Target, headers: dict[str, str] | None = None) -> int:
        """Sends a request with the capability and the end of the stream. Returns the stream's id."""
        request = Request(target)
        if self._info.capability:
            request.headers["x-xp2p-capability"] = base64url(self._info.capability.encode())
        request.headers |= headers or {}
        stream = self._quic.get_next_available_stream_id()
        self._quic.send_stream_data(stream, request.encode(), end_stream=True)
        return stream

    def stop(self, stream: int, code: int) -> None:
        """Wants no more of a stream (STOP_SENDING)."""
        self._quic.stop_stream(stream, code)

    def _flush(self) -> None:
        for packet, _ in self._quic.datagrams_to_send(time.monotonic()):
            self.relay.send(packet)
