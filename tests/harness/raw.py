"""A WebSocket client without manners: it sends any bytes and reads what the server answers."""

import os
import socket
import ssl
import struct
from dataclasses import dataclass

from . import codes
from .server import Server

# A hang, not a slow machine, should meet it.
WAIT_SECONDS = 60

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA

UPGRADE = {
    "Host": "localhost",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Protocol": "rookery.v1",
}


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, masked: bool = True, rsv: int = 0,
          claimed: int | None = None, mask: bytes | None = None) -> bytes:
    """A frame (RFC 6455 section 5.2); `claimed` is the length in its header, true or not; `mask` are the four
    bytes of its masking key, random ones by default."""
    length = len(payload) if claimed is None else claimed
    first = (0x80 if fin else 0) | rsv << 4 | opcode
    bit = 0x80 if masked else 0
    if length < 126:
        head = struct.pack(">BB", first, bit | length)
    elif length < 1 << 16:
        head = struct.pack(">BBH", first, bit | 126, length)
    else:
        head = struct.pack(">BBQ", first, bit | 127, length)
    if not masked:
        return head + payload
    mask = mask or os.urandom(4)
    return head + mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))


@dataclass
class Answer:
    """An HTTP response's head."""

    status: int
    headers: dict[str, str]
    body: bytes


class Raw:
    """One connection, TLS or plain, with as much of the protocol as the test wants; `over` is one that the test has
    opened itself."""

    def __init__(self, server: Server, *, tls: bool = True, port: int | None = None,
                 over: socket.socket | None = None) -> None:
        self.socket = over or self._connected(server, tls, port)
        self._ahead = b""

    @staticmethod
    def _connected(server: Server, tls: bool, port: int | None) -> socket.socket:
        connection = socket.create_connection(
            ("127.0.0.1", port or (server.tls_port if tls else server.plain_port)), WAIT_SECONDS)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls:
            connection = server.tls_context().wrap_socket(connection, server_hostname="localhost")
        return connection

    def __enter__(self) -> "Raw":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Sends, whether or not the server still listens."""
        try:
            self.socket.sendall(data)
        except (ConnectionError, ssl.SSLError):
            pass

    # -- HTTP ---------------------------------------------------------------------------------

    def request(self, path: str = "/", method: str = "GET", version: str = "HTTP/1.1", **changes) -> Answer:
        """An upgrade request with some headers changed, or left out where they are None."""
        headers = dict(UPGRADE)
        for name, value in changes.items():
            headers[name.replace("_", "-")] = value
        lines = [f"{method} {path} {version}"]
        lines += [f"{name}: {value}" for name, value in headers.items() if value is not None]
        self.send("\r\n".join([*lines, "", ""]).encode())
        return self.answer()

    def answer(self) -> Answer:
        """Reads a response."""
        head = b""
        while b"\r\n\r\n" not in head:
            more = self._receive()
            assert more, f"the connection ended within the answer {head!r}"
            head += more
        head, self._ahead = head.split(b"\r\n\r\n", 1)
        status, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, value in (line.split(":", 1) for line in lines)}
        body = b""
        if "content-length" in headers:
            body = self._exactly(int(headers["content-length"]))
        return Answer(int(status.split(" ")[1]), headers, body)

    def upgraded(self) -> "Raw":
        """The same connection, upgraded."""
        answer = self.request()
        assert answer.status == 101, answer
        assert answer.headers["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", answer
        return self

    # -- frames -------------------------------------------------------------------------------

    def read_frame(self) -> tuple[int, bytes]:
        """The next frame's opcode and payload. A server's frames are never masked."""
        first, second = self._exactly(2)
        assert not second & 0x80, "the server masked a frame"
        length = second & 0x7F
        if length == 126:
            length = struct.unpack(">H", self._exactly(2))[0]
        elif length == 127:
            length = struct.unpack(">Q", self._exactly(8))[0]
        opcode, payload = first & 0x0F, self._exactly(length)
        if opcode == CLOSE and payload:
            codes.saw(struct.unpack(">H", payload[:2])[0])
        elif opcode == BINARY:
            codes.saw_frame(payload)
        return opcode, payload

    def close_code(self) -> int:
        """Reads up to the server's close frame; its code. Then the connection must end."""
        while True:
            opcode, payload = self.read_frame()
            if opcode == CLOSE:
                code = struct.unpack(">H", payload[:2])[0] if payload else 1005
                payload[2:].decode()
                self.send(frame(CLOSE, payload[:2]))
                self.expect_end()
                return code

    def expect_end(self) -> None:
        """Reads until the server ends the connection."""
        try:
            while self._receive():
                pass
        except (ConnectionError, ssl.SSLError):
            pass

    def read_to_end(self) -> bytes:
        """Everything until the server ends the connection."""
        everything = b""
        try:
            while more := self._receive():
                everything += more
        except (ConnectionError, ssl.SSLError):
            pass
        return everything

    # -- bytes --------------------------------------------------------------------------------

    def _receive(self) -> bytes:
        if self._ahead:
            ahead, self._ahead = self._ahead, b""
            return ahead
        return self.socket.recv(65536)

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            more = self._receive()
            if not more:
                raise ConnectionError(f"the connection ended with {len(data)} of {count} bytes")
            data += more
        data, self._ahead = data[:count], data[count:] + self._ahead
        return data
