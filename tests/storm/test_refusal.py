"""Who is not let in: 503 with Retry-After before the upgrade, 1013 after it, and the limits per address."""

import re
import socket
import ssl
import time

import pytest

from harness.raw import Raw, frame, BINARY
from harness.raw_session import RawSession
from rookery_protocol import decode, encode

# A hang, not a slow machine, should meet it.
WAIT_SECONDS = 60

# Sessions that fill a server whose limit is this.
FULL = 5

# Silent connections of which the server is asked, each time, whether it takes more; and how many would be
# twice what its memory is for, by its own account of a handshake (24 KiB).
AT_ONCE, FAR_TOO_MANY = 200, 2 * (48 << 20) // (24 << 10)

OVERLOADED, TRY_AGAIN_LATER = 201, 1013


def refused(server, **options) -> int:
    """A client that must get a 503; the seconds that it is told to wait."""
    with Raw(server, **options) as late:
        answer = late.request()
        assert answer.status == 503, answer
        assert answer.headers["connection"] == "close", answer
        late.expect_end()
        return int(answer.headers["retry-after"])


def get_in(server, user: int, **options) -> RawSession:
    """A session, as soon as the server lets one in."""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            return RawSession(server, user, **options)
        except (AssertionError, OSError):
            assert time.monotonic() < deadline, f"nobody is let in again\n{server.story()}"
            time.sleep(0.1)


def lets_in(server) -> bool:
    """Whether a client is let in now; one that is not is told when to come again."""
    with Raw(server) as probe:
        answer = probe.request()
        assert answer.status in (101, 503), answer
        return answer.status == 101


def logs_in(server, upgraded: Raw, user: int) -> bool:
    """Whether one that was upgraded is let in; one that is not is told why, and when to come again."""
    login = {"token": server.token(user).encode(), "resume_token": b""}
    upgraded.send(frame(BINARY, encode("Login", login)))
    _, payload = upgraded.read_frame()
    kind, fields = decode(payload)
    if kind == "Error":
        assert (fields["code"], upgraded.close_code()) == (OVERLOADED, TRY_AGAIN_LATER), fields
    return kind == "Welcome"


def wait_logged(server, words: str) -> None:
    """Waits until admission has said so. It does once a second."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not re.search(words, server.story()):
        assert time.monotonic() < deadline, f"{words} was not logged\n{server.story()}"
        time.sleep(0.2)


@pytest.mark.parametrize("tls", [True, False], ids=["tls", "plain"])
def test_a_full_server_says_when_to_come_again(servers, tls):
    server = servers.start(config=f"[limits]\nconnections_max = {FULL}\nreconnect_jitter_ms = 4000\n")
    inside = [RawSession(server, user, tls=tls) for user in range(1, FULL + 1)]
    seconds = [refused(server, tls=tls) for _ in range(20)]
    assert all(1 <= wait <= 5 for wait in seconds), seconds
    assert len(set(seconds)) > 1, "all would come again at once"
    # Those inside notice nothing, and one that leaves makes room for one.
    for session in inside:
        session.ask("Ping", nonce=7)
        assert session.hear_kind("Pong") == {"nonce": 7}
    inside.pop().socket.close()
    inside.append(get_in(server, FULL + 1, tls=tls))
    refused(server, tls=tls)
    wait_logged(server, r"refused_full \d")
    for session in inside:
        session.socket.close()


def test_connections_per_address(servers):
    """127.0.0.1 has two, and what it does is nobody else's trouble."""
    server = servers.start(config="[limits]\nexempt_networks = []\nconnections_per_address_max = 2\n", address="0.0.0.0")
    with RawSession(server, 1) as first, RawSession(server, 2):
        refused(server)
        wait_logged(server, r"refused_address \d")
        other = socket.create_connection(("127.0.0.1", server.plain_port), WAIT_SECONDS, ("127.0.0.9", 0))
        with other:
            other.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert other.recv(100).startswith(b"HTTP/1.1 426 "), "another address is let in and judged"
        first.socket.close()
        get_in(server, 3).socket.close()


def test_handshakes_per_address_and_second(servers):
    """What comes too fast is closed before TLS, and the next second is a new one."""
    server = servers.start(config="[limits]\nexempt_networks = []\nhandshakes_per_address_per_second_max = 10\n")
    server.tls_context()
    inside, cut_off = [], 0
    for user in range(1, 101):
        try:
            inside.append(RawSession(server, user))
        except (OSError, ssl.SSLError, AssertionError):
            cut_off += 1
    assert inside and cut_off, (len(inside), cut_off)
    wait_logged(server, r"cut_off_rate \d")
    inside.append(get_in(server, 200))
    for session in inside:
        session.ask("Ping", nonce=1)
        assert session.hear_kind("Pong") == {"nonce": 1}
        session.socket.close()


@pytest.mark.produces(OVERLOADED, TRY_AGAIN_LATER)
def test_no_memory_for_more(servers):
    """Above the limit nobody is let in; who was upgraded before it was reached is told 1013 at the login."""
    probe = servers.start()
    with RawSession(probe, 1) as session:
        refusing = probe.rss_bytes() + (48 << 20)
        session.socket.close()
    assert probe.stop() == 0

    # Nobody is closed for being late before there is no memory, however long that takes.
    server = servers.start(config=f"[limits]\nmemory_max_bytes = {max(refusing, 64 << 20)}\nlogin_timeout_ms = 300000\n")
    with RawSession(server, 1) as inside:
        upgraded = [Raw(server).upgraded() for _ in range(20)]
        # Connections that say nothing, each counted as a handshake until the next look at memory, and
        # with what they have said of a ClientHello in the server's buffers. The server takes as long for
        # them as it needs: it is asked when it has accepted them all.
        crowd: list[socket.socket] = []
        hello = b"\x16\x03\x01\x3f\xff\x01\x00\x3f\xfb\x03\x03" + bytes(12_000)
        # A look may find that they take less than they were counted for, and then there is room again.
        while lets_in(server) or logs_in(server, upgraded.pop(), 2):
            assert len(crowd) < FAR_TOO_MANY, f"memory has no bound\n{server.story()}"
            for _ in range(AT_ONCE):
                one = socket.create_connection(("127.0.0.1", server.tls_port), WAIT_SECONDS)
                one.sendall(hello)
                crowd.append(one)
            server.wait_accepted()
        wait_logged(server, r"refused_memory \d")
        inside.ask("Ping", nonce=3)
        assert inside.hear_kind("Pong") == {"nonce": 3}
        for one in crowd + [late.socket for late in upgraded]:
            one.close()
        get_in(server, 3).socket.close()


def test_more_handshakes_than_may_be_under_way(servers):
    """Connections that have begun one and say no more: the oldest of them go."""
    server = servers.start(config="[limits]\nhandshakes_max = 50\nlogin_timeout_ms = 60000\n")
    silent = [socket.create_connection(("127.0.0.1", server.tls_port), WAIT_SECONDS) for _ in range(300)]
    for one in silent:
        one.sendall(b"\x16")
    sessions = [RawSession(server, user) for user in range(1, 21)]
    wait_logged(server, r"cut_off_silent \d")
    for session in sessions:
        session.ask("Ping", nonce=9)
        assert session.hear_kind("Pong") == {"nonce": 9}
        session.socket.close()
    for one in silent:
        one.close()
    server.wait_connections(0)
