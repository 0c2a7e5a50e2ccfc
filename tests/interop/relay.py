"""A viewer's way to a camera through a server, over UDP (PROTOCOL.md, section 3)."""

import socket

import wire
from codec import Malformed
from info import Name, Server


class NoWay(Exception):
    """The server does not bring us to the camera."""


class Relay:
    """A UDP socket that carries QUIC packets in frames: OPEN until the flow's id is known, then FORWARD."""

    def __init__(self, server: Server, ticket: bytes) -> None:
        address = server.addresses[0]
        host = address.name if isinstance(address, Name) else str(address.ip)
        family, kind, protocol, _, where = socket.getaddrinfo(host, address.port, type=socket.SOCK_DGRAM)[0]
        self._socket = socket.socket(family, kind, protocol)
        # Room for a keyframe that comes at once.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2 * 1024 * 1024)
        self._socket.connect(where)
        self._ticket = ticket
        self._flow: bytes | None = None
        self.observed: wire.Address | None = None
        self.packets = 0
        """How many QUIC packets came through the server."""

    def send(self, packet: bytes) -> None:
        """Sends a QUIC packet."""
        frame: wire.Frame
        if self._flow is None:
            frame = wire.Open(self._ticket, packet)
        else:
            frame = wire.Forward(self._flow, packet)
        self._socket.send(frame.encode())

    def receive(self, timeout: float) -> bytes | None:
        """Waits for a datagram; returns the QUIC packet in it, if there is one for this flow."""
        self._socket.settimeout(max(timeout, 0.001))
        try:
            datagram = self._socket.recv(65536)
        except TimeoutError:
            return None
        try:
            return self._take(wire.parse(datagram))
        except Malformed:
            # "A frame that does not fill its datagram exactly is dropped", and so is anything else that is none.
            return None

    def _take(self, frame: wire.Frame) -> bytes | None:
        match frame:
            case wire.Forward(flow, payload) if flow == self._flow:
                self.packets += 1
                return payload
            case wire.Opened(ticket, flow, observed) if ticket == self._ticket:
                self._flow, self.observed = flow, observed
            case wire.Refused(ticket, reason) if ticket == self._ticket:
                raise NoWay(f"the server refuses: {reason.name}")
            case wire.Cookie(flow, cookie) if flow == self._flow:
                self._socket.send(wire.CookieEcho(flow, cookie).encode())
            case wire.UnknownFlow(flow) if flow == self._flow:
                self._flow = None
            case _:
                pass
        return None

    def close(self) -> None:
        """Closes the socket."""
        self._socket.close()
