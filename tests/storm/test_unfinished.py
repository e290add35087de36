"""What clients hold of the server's memory before they have proven anything, whatever they have begun: no more
than the server's account of them."""

import os
import socket
import ssl
import struct

import pytest
from rookery_protocol import decode, encode

from harness.raw import BINARY, UPGRADE, WAIT_SECONDS, Raw, frame

# As `HANDSHAKE_BYTES` of edge/src/admission/memory.rs has it.
ACCOUNTED = 24 << 10

# Enough of them that what the server does else is nothing beside it.
CONNECTIONS = 400
SLACK = 2 << 20

RECORD_MAX = 1 << 14

REQUEST = ("GET / HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in UPGRADE.items())).encode()


@pytest.fixture(scope="module")
def server(servers):
    return servers.start()


class Client:
    """A TLS client that may cut its own records."""

    def __init__(self, server) -> None:
        self.socket = socket.create_connection(("127.0.0.1", server.tls_port), WAIT_SECONDS)
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = server.tls_context().wrap_bio(self._in, self._out, server_hostname="localhost")

    def _exchange(self, call):
        while True:
            try:
                return call()
            except ssl.SSLWantReadError:
                self.flush()
                data = self.socket.recv(1 << 16)
                assert data, "the server ended the connection"
                self._in.write(data)

    def shake_hands(self) -> None:
        self._exchange(self._tls.do_handshake)
        self.flush()

    def flush(self, but: int = 0) -> None:
        """Sends what is sealed, but for its last bytes."""
        data = self._out.read()
        self.socket.sendall(data[:len(data) - but])

    def say(self, data: bytes, but: int = 0) -> None:
        self._tls.write(data)
        self.flush(but)

    def upgrade(self) -> None:
        self.say(REQUEST + b"\r\n")
        assert self._exchange(lambda: self._tls.read(4096)).startswith(b"HTTP/1.1 101")


def hello(server) -> socket.socket:
    """Half of a large ClientHello, in one record."""
    client = socket.create_connection(("127.0.0.1", server.tls_port), WAIT_SECONDS)
    body = b"\x01\x00\x3e\x00\x03\x03" + os.urandom(15_000)
    client.sendall(b"\x16\x03\x01" + struct.pack(">H", 16_000) + body)
    return client


def hello_in_pieces(server, size: int = 15_000) -> socket.socket:
    """Half of a large ClientHello, in records of 100 bytes."""
    client = socket.create_connection(("127.0.0.1", server.tls_port), WAIT_SECONDS)
    body = b"\x01\x00\xf0\x00\x03\x03" + os.urandom(size)
    pieces = [body[at:at + 100] for at in range(0, len(body), 100)]
    client.sendall(b"".join(b"\x16\x03\x01" + struct.pack(">H", len(piece)) + piece for piece in pieces))
    return client


def request(server) -> socket.socket:
    """Half of a large request, behind a handshake, and a record that is cut."""
    client = Client(server)
    client.shake_hands()
    client.say(REQUEST + b"X-Half: " + b"x" * 7_000)
    client.say(b"x" * 1_000, but=10)
    return client.socket


def login(server) -> socket.socket:
    """Most of a large message on a WebSocket, and most of a record behind it."""
    client = Client(server)
    client.shake_hands()
    client.upgrade()
    whole = frame(BINARY, os.urandom(16_400))
    client.say(whole[:1_000])
    client.say(whole[1_000:-1], but=10)
    return client.socket


@pytest.mark.parametrize("begun", [hello, hello_in_pieces, request, login])
def test_what_is_begun_costs_no_more_than_is_accounted(servers, cases, begun):
    server = servers.start(config="[limits]\nlogin_timeout_ms = 300000\n")
    # What the first ones make the server allocate for all stays.
    for _ in range(50):
        begun(server).close()
    server.wait_connections(0)
    before = server.rss_bytes()
    held = [begun(server) for _ in range(CONNECTIONS)]
    server.wait_accepted()
    # Each has been looked at: this one, behind them, is answered.
    Client(server).shake_hands()
    each = (server.rss_bytes() - before) / CONNECTIONS
    for client in held:
        client.setblocking(False)
        with pytest.raises(BlockingIOError):
            while client.recv(1 << 16):
                pass
            raise AssertionError("the server ended it")
    cases.note(f"{CONNECTIONS} connections, each with {begun.__doc__.split('.')[0].lower()}: {each:,.0f} B each")
    assert each * CONNECTIONS <= ACCOUNTED * CONNECTIONS + SLACK
    for client in held:
        client.close()
    server.wait_connections(0)


def test_who_begins_more_is_ended(server):
    with hello_in_pieces(server, 17_000) as client:
        alert = client.recv(1 << 16)
        assert alert[:1] == b"\x15", alert
        assert client.recv(1) == b""
    with Raw(server).upgraded() as client:
        client.send(frame(BINARY, b"", claimed=16_500))
        assert client.close_code() == 1009
    # The same size is nothing special once it is known who it is, also right behind the Login.
    with Raw(server).upgraded() as client:
        login = {"token": server.token(7).encode(), "resume_token": b""}
        send = {"conversation_id": 1, "client_msg_id": bytes(range(16)), "payload": bytes(60_000)}
        client.send(frame(BINARY, encode("Login", login)) + frame(BINARY, encode("Send", send)))
        heard = [decode(client.read_frame()[1]) for _ in range(2)]
        assert [kind for kind, _ in heard] == ["Welcome", "Error"], heard
        assert heard[1][1]["code"] == 101, heard
