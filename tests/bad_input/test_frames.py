"""WebSocket frames against the rules, each with its close code from docs/protocol.md."""

import struct

import pytest
from rookery_protocol import encode

from harness.raw import BINARY, CLOSE, CONTINUATION, PING, TEXT, Raw, frame
from harness.raw_session import RawSession

pytestmark = pytest.mark.usefixtures("undisturbed")

PROTOCOL, UNSUPPORTED, UTF8, POLICY, TOO_BIG = 1002, 1003, 1007, 1008, 1009


def closing(code: int, reason: bytes = b"") -> bytes:
    return frame(CLOSE, struct.pack(">H", code) + reason)


# The length 5 in two bytes, where the header itself has room.
LONG_FORM = b"\x82" + bytes([0x80 | 126]) + struct.pack(">H", 5) + b"\x00" * 4 + b"hello"

BAD = {
    "unmasked": (PROTOCOL, frame(BINARY, b"hello", masked=False)),
    "reserved bit 1": (PROTOCOL, frame(BINARY, b"hello", rsv=4)),
    "reserved bit 2": (PROTOCOL, frame(BINARY, b"hello", rsv=2)),
    "reserved bit 3": (PROTOCOL, frame(BINARY, b"hello", rsv=1)),
    "reserved data opcode": (PROTOCOL, frame(0x3, b"hello")),
    "reserved control opcode": (PROTOCOL, frame(0xB, b"hello")),
    "fragmented ping": (PROTOCOL, frame(PING, b"hello", fin=False)),
    "long ping": (PROTOCOL, frame(PING, b"x" * 126)),
    "continuation of nothing": (PROTOCOL, frame(CONTINUATION, b"hello")),
    "message within a message": (PROTOCOL, frame(BINARY, b"a", fin=False) + frame(BINARY, b"b")),
    "length not in its shortest form": (PROTOCOL, LONG_FORM),
    "length over 2^63": (PROTOCOL, frame(BINARY, b"", claimed=1 << 63)),
    "close with half a code": (PROTOCOL, frame(CLOSE, b"\x03")),
    "close with code 999": (PROTOCOL, closing(999)),
    "close with code 1005": (PROTOCOL, closing(1005)),
    "close with code 5000": (PROTOCOL, closing(5000)),
    "close reason not UTF-8": (UTF8, closing(1000, b"\xff\xfe")),
    "text": (UNSUPPORTED, frame(TEXT, b"hello")),
    "text not UTF-8": (UNSUPPORTED, frame(TEXT, b"\xff\xfe")),
    "one byte too big": (TOO_BIG, frame(BINARY, b"", claimed=65_619)),
    "a gigabyte": (TOO_BIG, frame(BINARY, b"", claimed=1 << 30)),
    "too big in fragments": (TOO_BIG, frame(BINARY, b"x" * 60_000, fin=False) + frame(CONTINUATION, b"x" * 6_000)),
    "a flood of fragments": (POLICY, frame(BINARY, b"", fin=False) + frame(CONTINUATION, b"", fin=False) * 200),
    "a flood of pings in a message": (POLICY, frame(BINARY, b"", fin=False) + frame(PING, b"") * 100),
}


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.produces(BAD[name][0])) for name in BAD])
def test_a_bad_frame_has_its_close_code(server, name):
    code, data = BAD[name]
    with RawSession(server, 4100) as session:
        session.send(data)
        assert session.close_code() == code


@pytest.mark.parametrize("name", BAD)
def test_also_when_it_comes_byte_by_byte(server, name):
    code, data = BAD[name]
    with RawSession(server, 4101, tls=False) as session:
        for byte in data[:300]:
            session.send(bytes([byte]))
        session.send(data[300:])
        assert session.close_code() == code


# What is wrong, and the code that says so.
FIRST = {
    "text": (UNSUPPORTED, lambda session: session.send(frame(TEXT, b"hello"))),
    "no frame of the protocol": (4404, lambda session: session.send(frame(BINARY, encode("Ping", {"nonce": 5})[:-1]))),
    "a token that is none": (4401, lambda session: session.ask("Login", token=b"none", resume_token=b"")),
}


@pytest.mark.parametrize("tls", [True, False], ids=["tls", "plain"])
@pytest.mark.parametrize("name", FIRST)
def test_the_close_code_arrives_whatever_was_sent_behind_the_bad_frame(server, name, tls):
    """Data that is unread at a close is answered by a reset (RFC 2525 section 2.17), which takes with it what the
    client has not read yet."""
    code, go_wrong = FIRST[name]
    behind = frame(BINARY, bytes(64_000), mask=bytes(4)) * 125
    for nth in range(10):
        session = RawSession(server, 4105 + nth, tls=tls) if code != 4401 else Unready(server, tls=tls)
        with session:
            go_wrong(session)
            session.socket.sendall(behind)
            while (heard := session.read_frame())[0] != CLOSE:
                pass
            assert int.from_bytes(heard[1][:2], "big") == code


class Unready(RawSession):
    """Upgraded, and not logged in."""

    def __init__(self, server, **options) -> None:
        Raw.__init__(self, server, **options)
        self.upgraded()


#= test of RFC 6455 section 5.5.1: If an endpoint receives a Close frame and did not previously send a Close frame, the endpoint MUST send a Close frame in response.
@pytest.mark.produces(1000)
def test_a_good_close_is_answered(server):
    with RawSession(server, 4102) as session:
        session.send(closing(1000, b"bye"))
        assert session.read_frame() == (CLOSE, struct.pack(">H", 1000))
        session.expect_end()


#= test of RFC 6455 section 5.5.2: Upon receipt of a Ping frame, an endpoint MUST send a Pong frame in response, unless it already received a Close frame.
#= test of RFC 6455 section 5.4: An endpoint MUST be capable of handling control frames in the middle of a fragmented message.
def test_a_ping_within_a_message_is_answered(server):
    with RawSession(server, 4103) as session:
        whole = encode("Ping", {"nonce": 5})
        session.send(frame(BINARY, whole[:3], fin=False) + frame(PING, b"between") + frame(CONTINUATION, whole[3:]))
        assert session.read_frame() == (0xA, b"between")
        assert session.hear() == ("Pong", {"nonce": 5})
