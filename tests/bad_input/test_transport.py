"""Bytes that are no TLS, no HTTP, or an upgrade to something else."""

import os
import socket
import ssl
import time

import pytest

from harness.raw import Raw

pytestmark = pytest.mark.usefixtures("undisturbed")

ALERT = 21


def tcp(server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.tls_port), 60)


def read_all(connection: socket.socket) -> bytes:
    data = b""
    try:
        while more := connection.recv(65536):
            data += more
    except ConnectionError:
        pass
    return data


@pytest.mark.parametrize("size", [1, 5, 100, 16_000, 300_000])
def test_garbage_instead_of_tls(server, size):
    with tcp(server) as connection:
        garbage = b"\x00" + os.urandom(size - 1)
        try:
            connection.sendall(garbage)
            connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        answer = read_all(connection)
    assert answer == b"" or answer[0] == ALERT, answer[:100]


def test_a_handshake_record_of_garbage(server):
    with tcp(server) as connection:
        connection.sendall(b"\x16\x03\x01\x02\x00" + os.urandom(512))
        answer = read_all(connection)
    assert answer[0] == ALERT, answer[:100]


def test_a_record_longer_than_allowed(server):
    with tcp(server) as connection:
        connection.sendall(b"\x16\x03\x01\xff\xff" + os.urandom(1000))
        answer = read_all(connection)
    assert answer == b"" or answer[0] == ALERT, answer[:100]


def test_garbage_within_tls(server):
    with Raw(server) as connection:
        connection.send(os.urandom(20_000))
        assert connection.read_to_end().startswith(b"HTTP/1.1 4")


def test_a_broken_record_after_the_handshake(server):
    """A record that does not decrypt: TLS answers with an alert, and nothing of it is read."""
    context = server.tls_context()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with tcp(server) as connection:
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                connection.sendall(outgoing.read())
                incoming.write(connection.recv(65536))
        connection.sendall(outgoing.read())
        tls.write(b"GET / HTTP/1.1\r\n")
        record = bytearray(outgoing.read())
        record[-1] ^= 1
        connection.sendall(record)
        # The alert is encrypted: an outer application record, then the end.
        incoming.write(read_all(connection))
        with pytest.raises(ssl.SSLError, match="BAD_RECORD_MAC"):
            while tls.read(65536):
                pass


def test_a_plain_client_on_the_tls_port(server):
    with Raw(server, tls=False, port=server.tls_port) as connection:
        answer = connection.request()
        assert answer.status == 400
        assert b"TLS" in answer.body


@pytest.mark.parametrize("line", [b"GET http://localhost/ HTTP/1.1", b"GET ws://localhost/v1 HTTP/1.1",
                                  b"OPTIONS * HTTP/1.1", b"CONNECT localhost:443 HTTP/1.1", b"GET"])
def test_plain_http_of_any_form_on_the_tls_port(server, line):
    with Raw(server, tls=False, port=server.tls_port) as connection:
        connection.send(line + b"\r\nHost: localhost\r\n\r\n" if b" " in line else line + b" / HTTP/1.1\r\n\r\n")
        answer = connection.answer()
        assert answer.status == 400 and b"TLS" in answer.body, answer
        assert answer.headers["content-type"].startswith("text/plain")
        connection.expect_end()


@pytest.mark.parametrize("tls", [True, False], ids=["tls", "plain"])
@pytest.mark.parametrize("target", ["http://localhost/", "https://localhost:8443/v1?x=1", "ws://other.example/v1",
                                    "WSS://localhost", "wss://localhost?x=/"])
def test_a_target_in_absolute_form(server, tls, target):
    """RFC 9112 section 3.2.2: a server takes it."""
    with Raw(server, tls=tls) as connection:
        assert connection.request(path=target).status == 101


@pytest.mark.parametrize("target", ["ftp://localhost/", "http:///v1", "http://localhost/other", "a.example/v1", "*"])
def test_a_target_that_is_not_here(server, target):
    with Raw(server) as connection:
        assert connection.request(path=target).status in (400, 404)
        connection.expect_end()


def test_a_tls_client_on_the_plain_port(server):
    with socket.create_connection(("127.0.0.1", server.plain_port), 60) as plain:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            server.tls_context().wrap_socket(plain, server_hostname="localhost")


def test_garbage_instead_of_http(server):
    with Raw(server, tls=False) as connection:
        connection.send(b"\x00\x01\x02 what is this\r\n\r\n")
        assert connection.answer().status == 400
        connection.expect_end()


REFUSED = {
    "another subprotocol": (400, {"Sec_WebSocket_Protocol": "mqtt"}),
    "no subprotocol": (400, {"Sec_WebSocket_Protocol": None}),
    "another version": (426, {"Sec_WebSocket_Version": "8"}),
    "no version": (426, {"Sec_WebSocket_Version": None}),
    "no upgrade": (426, {"Upgrade": None}),
    "upgrade to something else": (426, {"Upgrade": "h2c"}),
    "no key": (400, {"Sec_WebSocket_Key": None}),
    "a short key": (400, {"Sec_WebSocket_Key": "c2hvcnQ="}),
    "no host": (400, {"Host": None}),
    "another path": (404, {"path": "/elsewhere"}),
    "another method": (405, {"method": "POST"}),
    "a body": (413, {"Content_Length": "5"}),
    "HTTP/1.0": (505, {"version": "HTTP/1.0"}),
    "a huge header": (431, {"X_Huge": "x" * 20_000}),
    "too many headers": (431, {f"X_{number}": "1" for number in range(200)}),
}


@pytest.mark.parametrize("tls", [True, False], ids=["tls", "plain"])
@pytest.mark.parametrize("name", REFUSED)
def test_an_upgrade_that_is_refused(server, name, tls):
    status, changes = REFUSED[name]
    with Raw(server, tls=tls) as connection:
        answer = connection.request(**changes)
        assert answer.status == status, answer
        if status == 426:
            assert answer.headers["sec-websocket-version"] == "13"
        connection.expect_end()


def test_a_token_in_the_url_does_not_log_in(server):
    with Raw(server) as connection:
        assert connection.request(path=f"/?token={server.token(4001)}").status == 101
        assert connection.close_code() == 4400


def test_compression_is_declined(server):
    with Raw(server) as connection:
        answer = connection.request(Sec_WebSocket_Extensions="permessage-deflate")
        assert answer.status == 101
        assert "sec-websocket-extensions" not in answer.headers


def test_a_thousand_half_open_handshakes(server, chatter, cases):
    """Connections that begin a handshake and stop: they are dropped at the login timeout, and the
    pair goes on all the time."""
    hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + os.urandom(60)
    before = server.connections()
    opened = [tcp(server) for _ in range(1000)]
    for connection in opened:
        connection.sendall(hello)
    chatter.check()
    server.wait_connections(before)
    for connection in opened:
        # It ends; an alert may have come before.
        read_all(connection)
        connection.close()
        cases.passes()
    cases.note(f"{len(opened)} half-open handshakes were dropped, the pair talked on")


def test_a_thousand_silent_connections(server, chatter, cases):
    before = server.connections()
    opened = [tcp(server) for _ in range(1000)]
    chatter.check()
    server.wait_connections(before)
    for connection in opened:
        connection.close()
    cases.passes(len(opened))


def test_connections_reset_in_the_middle(server, chatter):
    """RST at every stage of a connection's life."""
    linger = (1).to_bytes(4, "little") + (0).to_bytes(4, "little")
    for number in range(200):
        connection = tcp(server)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        if number % 4 == 1:
            connection.sendall(b"\x16\x03\x01")
        elif number % 4 == 2:
            connection = server.tls_context().wrap_socket(connection, server_hostname="localhost")
        elif number % 4 == 3:
            connection = server.tls_context().wrap_socket(connection, server_hostname="localhost")
            connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")
            time.sleep(0.002)
        connection.close()
    chatter.check()
