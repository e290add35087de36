"""A raw connection that is logged in, for frames that no client would send."""

import socket

from rookery_protocol import decode, encode

from .raw import BINARY, CLOSE, Raw, frame
from .server import Server


class RawSession(Raw):
    """Upgraded and logged in; everything after that is the test's business."""

    def __init__(self, server: Server, user: int, device: int = 1, **options) -> None:
        super().__init__(server, **options)
        self.upgraded()
        self.ask("Login", token=server.token(user, device).encode(), resume_token=b"")
        kind, fields = self.hear()
        assert kind == "Welcome", (kind, fields)

    def ask(self, kind: str, **fields) -> None:
        """Sends a frame of the protocol."""
        self.send(frame(BINARY, encode(kind, fields)))

    def hear(self) -> tuple[str, dict]:
        """The next frame of the protocol."""
        while True:
            opcode, payload = self.read_frame()
            assert opcode != CLOSE, f"closed: {payload!r}"
            if opcode == BINARY:
                return decode(payload)

    def hear_kind(self, wanted: str) -> dict:
        """The next frame of a kind; others are skipped."""
        while True:
            kind, fields = self.hear()
            if kind == wanted:
                return fields


class Deaf(RawSession):
    """A session whose kernel buffer is small, so that the server's queue is what fills; but larger than
    loopback's segments of 64 KiB, or the window opens by the seconds of the persist timer only."""

    def __init__(self, server: Server, user: int, device: int) -> None:
        super().__init__(server, user, device, tls=False)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 17)


def refusal(connection: Raw) -> tuple[int | None, int]:
    """The code of the Error, if one came, and the code of the close that followed."""
    error = None
    while True:
        opcode, payload = connection.read_frame()
        if opcode == CLOSE:
            connection.send(frame(CLOSE, payload[:2]))
            connection.expect_end()
            return error, int.from_bytes(payload[:2], "big")
        if opcode == BINARY:
            kind, fields = decode(payload)
            assert kind == "Error", (kind, fields)
            error = fields["code"]
