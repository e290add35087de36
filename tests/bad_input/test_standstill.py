"""A server that does not run for a while: its process is stopped, its container paused, its host moved. What
clients sent in time waits in their sockets meanwhile. Nobody is closed for the server's own lateness, and who
said nothing still is."""

import os
import ssl
import time

import pytest
from rookery_protocol import decode

from harness.raw import BINARY, CLOSE, PING, PONG, Raw, frame
from harness.raw_session import RawSession, refusal

# Seconds. The server stands still for longer than any of its limits, which leave a slow machine its time.
LOGIN, HEARTBEAT, IDLE, STANDSTILL = 8, 1, 8, 10

CONFIG = (f"[limits]\nlogin_timeout_ms = {LOGIN * 1000}\nheartbeat_interval_ms = {HEARTBEAT * 1000}\n"
          f"idle_timeout_ms = {IDLE * 1000}\n")

LOGIN_LATE, HEARTBEAT_MISSED = 4400, 4001


@pytest.fixture(scope="module")
def server(servers):
    return servers.start(config=CONFIG, key=os.urandom(32))


@pytest.fixture
def standstill(server, watch):
    """Freezes the server for a while; in it, what the test says is done."""
    watch(server)

    def stand(meanwhile) -> None:
        server.freeze()
        try:
            meanwhile()
            time.sleep(STANDSTILL)
        finally:
            server.thaw()

    yield stand


class Unfinished(RawSession):
    """A TLS session whose handshake is done step by step."""

    def __init__(self, server) -> None:
        Raw.__init__(self, server, tls=False, port=server.tls_port)
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = server.tls_context().wrap_bio(self._in, self._out, server_hostname="localhost")

    def step(self) -> None:
        """Takes the handshake as far as it goes, and sends what follows from it."""
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            pass
        self.socket.sendall(self._out.read())

    def hear_server(self) -> None:
        """Waits for the server's flight."""
        data = self.socket.recv(65536)
        assert data, "the server ended the connection within the handshake"
        self._in.write(data)

    def send(self, data: bytes) -> None:
        self._tls.write(data)
        self.socket.sendall(self._out.read())

    def _receive(self) -> bytes:
        ahead, self._ahead = self._ahead, b""
        while not ahead:
            try:
                return self._tls.read(65536)
            except ssl.SSLWantReadError:
                self.hear_server()
        return ahead


def log_in(server, session: Raw, user: int) -> None:
    RawSession.ask(session, "Login", token=server.token(user).encode(), resume_token=b"")


def asked(server, first_user: int, count: int) -> list[RawSession]:
    """Sessions that were asked just now to say something, and have not."""
    sessions = [RawSession(server, first_user + nth) for nth in range(count)]
    for session in sessions:
        session.send(frame(PONG))
    for session in sessions:
        while session.read_frame()[0] != PING:
            pass
    return sessions


def test_a_login_that_lies_in_the_socket(server, standstill, cases):
    sessions = [Raw(server).upgraded() for _ in range(40)]
    standstill(lambda: [log_in(server, session, 4600 + nth) for nth, session in enumerate(sessions)])
    for session in sessions:
        opcode, payload = session.read_frame()
        assert opcode == BINARY and decode(payload)[0] == "Welcome", (opcode, payload)
        session.socket.close()
        cases.passes()


@pytest.mark.parametrize("answered", [False, True], ids=["of which nothing was read", "that was answered"])
def test_a_handshake_that_is_half_way(server, standstill, cases, answered):
    sessions = [Unfinished(server) for _ in range(40)]
    if answered:
        for session in sessions:
            session.step()
        for session in sessions:
            session.hear_server()
    standstill(lambda: [session.step() for session in sessions])
    for nth, session in enumerate(sessions):
        if not answered:
            session.hear_server()
            session.step()
        session.upgraded()
        log_in(server, session, 4650 + nth)
        assert session.hear()[0] == "Welcome"
        session.socket.close()
        cases.passes()


def test_a_pong_that_lies_in_the_socket(server, standstill, cases):
    sessions = asked(server, 4700, 100)
    standstill(lambda: [session.send(frame(PONG)) for session in sessions])
    for session in sessions:
        session.ask("Ping", nonce=9)
        assert session.hear_kind("Pong") == {"nonce": 9}
        session.socket.close()
        cases.passes()


def test_who_said_nothing_is_closed_all_the_same(server, standstill, cases):
    silent_logins = [Raw(server).upgraded() for _ in range(10)]
    silent_sessions = asked(server, 4850, 10)
    standstill(lambda: None)
    for login in silent_logins:
        assert refusal(login)[1] == LOGIN_LATE
        cases.passes()
    for session in silent_sessions:
        while (heard := session.read_frame())[0] != CLOSE:
            pass
        assert int.from_bytes(heard[1][:2], "big") == HEARTBEAT_MISSED
        session.socket.close()
        cases.passes()


def test_a_client_that_says_a_little_at_a_time_gains_nothing(server, watch):
    """Each byte comes in time for the deadline to find something to read."""
    watch(server)
    login = Raw(server).upgraded()
    began = time.monotonic()
    # 40 a second at most: over 60 are a flood.
    login.socket.settimeout(0.025)
    heard = b""
    try:
        while True:
            login.socket.sendall(frame(PONG))
            try:
                more = login.socket.recv(65536)
            except (TimeoutError, ssl.SSLWantReadError):
                continue
            if not more:
                break
            heard += more
            assert time.monotonic() - began < 60, "it lives for ever"
    except (ConnectionError, ssl.SSLError):
        pass
    assert LOGIN_LATE.to_bytes(2, "big") in heard
