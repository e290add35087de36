"""Logins that are missing, late, wrong or no longer good: an Error that says why, then its close code."""

import time

import pytest
from rookery_protocol import encode

from harness import tokens
from harness.raw import BINARY, Raw, frame
from harness.raw_session import RawSession, refusal

pytestmark = pytest.mark.usefixtures("undisturbed")

USER = 4300
INVALID, EXPIRED, EXPECTED, LATE, TWICE = (300, 4401), (301, 4403), (302, 4402), (303, 4400), (304, 4407)


def login(server, token: bytes) -> tuple[int | None, int]:
    """What a login with this token is refused with."""
    with Raw(server) as connection:
        connection.upgraded()
        connection.send(frame(BINARY, encode("Login", {"token": token, "resume_token": b""})))
        return refusal(connection)


@pytest.mark.produces(*LATE)
def test_nothing_at_all(server):
    with Raw(server) as connection:
        connection.upgraded()
        assert refusal(connection) == LATE


def test_only_pings(server):
    with Raw(server) as connection:
        connection.upgraded()
        connection.send(frame(0x9, b"still here"))
        assert connection.read_frame() == (0xA, b"still here")
        assert refusal(connection) == LATE


@pytest.mark.produces(*EXPECTED)
@pytest.mark.parametrize("kind, fields", [
    ("Ping", {"nonce": 1}),
    ("Send", {"client_msg_id": bytes(16), "conversation_id": 1, "payload": b"hello"}),
    ("ListConversations", {"request_id": 1, "after_conversation_id": 0, "limit": 1}),
])
def test_something_else_first(server, kind, fields):
    with Raw(server) as connection:
        connection.upgraded()
        connection.send(frame(BINARY, encode(kind, fields)))
        assert refusal(connection) == EXPECTED


@pytest.mark.produces(*TWICE)
def test_twice(server):
    with RawSession(server, USER) as session:
        session.ask("Login", token=server.token(USER).encode(), resume_token=b"")
        assert refusal(session) == TWICE


def altered(user: int, **changes) -> dict:
    return {name: value for name, value in (tokens.claims(user) | changes).items() if value is not None}


def signed(server, header: dict | None = None, **changes) -> str:
    return tokens.sign({"alg": "HS256", "typ": "JWT"} | (header or {}), altered(USER, **changes), server.key)


BAD = {
    "empty": lambda server: "",
    "garbage": lambda server: "garbage",
    "two parts": lambda server: server.token(USER).rsplit(".", 1)[0],
    "four parts": lambda server: server.token(USER) + ".x",
    "signature of zeroes": lambda server: server.token(USER).rsplit(".", 1)[0] + "." + "A" * 43,
    "signed by another key": lambda server: tokens.hs256(USER, b"x" * 32),
    "another user's claims": lambda server: ".".join(
        [server.token(USER).split(".")[0], server.token(USER + 1).split(".")[1], server.token(USER).split(".")[2]]),
    "algorithm none": lambda server: tokens.none(USER),
    "algorithm none, signed": lambda server: signed(server, {"alg": "none"}),
    "algorithm None": lambda server: signed(server, {"alg": "None"}),
    "algorithm HS512 over HS256": lambda server: signed(server, {"alg": "HS512"}),
    "algorithm RS256": lambda server: signed(server, {"alg": "RS256"}),
    "algorithm ES256": lambda server: signed(server, {"alg": "ES256"}),
    "no user": lambda server: signed(server, sub=None),
    "user 0": lambda server: signed(server, sub="0"),
    "user over 2^63": lambda server: signed(server, sub=str(1 << 63)),
    "user as words": lambda server: signed(server, sub="anna"),
    "user as a number": lambda server: signed(server, sub=USER),
    "user with a leading zero": lambda server: signed(server, sub=f"0{USER}"),
    "user with a sign": lambda server: signed(server, sub=f"+{USER}"),
    "device as words": lambda server: signed(server, device="1"),
    "expiry as words": lambda server: signed(server, exp=str(int(time.time()) + 3600)),
    "no device": lambda server: signed(server, device=None),
    "device 0": lambda server: signed(server, device=0),
    "device over 2^32": lambda server: signed(server, device=1 << 32),
    "no expiry": lambda server: signed(server, exp=None),
    "expiry in milliseconds": lambda server: signed(server, exp=int(time.time() * 1000) + 3_600_000),
    "expiry at the end of all time": lambda server: signed(server, exp=1e300),
    "expiry without end": lambda server: signed(server, exp=float("inf")),
    "for another service": lambda server: signed(server, aud="mail"),
    "for nobody": lambda server: signed(server, aud=[]),
    "not good yet": lambda server: signed(server, nbf=int(time.time()) + 3600),
}


@pytest.mark.produces(*INVALID)
@pytest.mark.parametrize("name", BAD)
def test_a_bad_token(server, name):
    assert login(server, BAD[name](server).encode()) == INVALID


def test_the_reason_names_the_claim(server):
    with Raw(server) as connection:
        connection.upgraded()
        token = signed(server, sub=USER).encode()
        connection.send(frame(BINARY, encode("Login", {"token": token, "resume_token": b""})))
        opcode, error = connection.read_frame()
        assert opcode == BINARY
        reason = b"the token's claim `sub` is a number; it must be a text, the user id from 1 to 2^63-1 in digits"
        assert reason in error


@pytest.mark.produces(*EXPIRED)
def test_an_expired_token(server):
    assert login(server, signed(server, exp=int(time.time()) - 10).encode()) == EXPIRED


def test_a_token_longer_than_allowed(server):
    error, code = login(server, b"x" * 8193)
    assert code == 4406


def test_a_token_of_non_utf8_bytes(server):
    assert login(server, b"\xff\xfe.\x00.\x80") == INVALID


def test_a_token_that_expires_on_a_live_connection(server):
    with Raw(server) as connection:
        connection.upgraded()
        token = tokens.hs256(USER, server.key, ttl=3)
        connection.send(frame(BINARY, encode("Login", {"token": token.encode(), "resume_token": b""})))
        assert connection.read_frame()[0] == BINARY
        assert refusal(connection)[1] == 4403


def test_a_forged_resume_token_logs_in_no_one_else(server):
    """It carries no rights: the token alone says who it is."""
    with RawSession(server, USER):
        pass
    with Raw(server) as connection:
        connection.upgraded()
        login_frame = encode("Login", {"token": tokens.none(USER).encode(), "resume_token": b"\x01" * 60})
        connection.send(frame(BINARY, login_frame))
        assert refusal(connection) == INVALID


def test_slow_bytes_before_the_login(server):
    """A byte at a time, never finished: the timeout counts from the connection, not from the last byte."""
    with Raw(server) as connection:
        connection.upgraded()
        whole = frame(BINARY, encode("Login", {"token": server.token(USER).encode(), "resume_token": b""}))
        started = time.monotonic()
        for byte in whole[:-1]:
            connection.send(bytes([byte]))
            time.sleep(0.1)
            if time.monotonic() - started > 3:
                break
        assert refusal(connection) == LATE


def test_slow_bytes_of_a_request_head(server):
    with Raw(server, tls=False) as connection:
        for byte in b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 10:
            connection.send(bytes([byte]))
            time.sleep(0.05)
        connection.expect_end()


def test_single_bytes_of_a_good_login(server):
    with Raw(server) as connection:
        connection.upgraded()
        whole = frame(BINARY, encode("Login", {"token": server.token(USER).encode(), "resume_token": b""}))
        for byte in whole:
            connection.send(bytes([byte]))
        assert connection.read_frame()[0] == BINARY
