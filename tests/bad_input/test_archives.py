"""Frames of the protocol that do not validate, and requests whose fields make no sense."""

import itertools
import time

import pytest
from rookery_protocol import decode, encode

from harness import vectors
from harness.ids import fresh_msg_id, msg_id
from harness.peer import FIRST_PAGE, NOBODYS
from harness.raw import BINARY, CLOSE, frame
from harness.raw_session import RawSession, refusal

pytestmark = pytest.mark.usefixtures("undisturbed")

CLOSES = {"Empty": 4404, "Kind": 4404, "Invalid": 4404, "Version": 4405, "TooLong": 4406}
REFUSED = {vector["name"]: vector for vector in vectors.refused()}

BAD_REQUEST, NOT_MEMBER = 100, 101

# A hang, not a slow machine, should meet it.
WAIT_SECONDS = 60


def closing(name: str):
    """The vector, and the code that it closes with."""
    return pytest.param(name, marks=pytest.mark.produces(CLOSES[REFUSED[name]["error"]]))


@pytest.mark.parametrize("name", [closing(name) for name in REFUSED])
def test_a_frame_that_does_not_validate_ends_the_connection_without_an_error(server, name):
    vector = REFUSED[name]
    with RawSession(server, 4200) as session:
        session.send(frame(BINARY, vector["frame"]))
        assert refusal(session) == (None, CLOSES[vector["error"]])


def test_a_servers_kind(server):
    with RawSession(server, 4201) as session:
        session.ask("Lagged", skipped=1)
        assert session.close_code() == 4404


def test_every_byte_changed(server, cases):
    """Each byte of a Send changed in turn: an answer or a documented close, never silence."""
    good = encode("Send", {"client_msg_id": msg_id(1), "conversation_id": 2, "payload": b"hello"})
    session = RawSession(server, 4202)
    for at in range(len(good)):
        for value in (good[at] ^ 0x01, good[at] ^ 0x80, 0xFF):
            session.send(frame(BINARY, good[:at] + bytes([value]) + good[at + 1:]))
            session.ask("Ping", nonce=at)
            if not goes_on(session):
                session.socket.close()
                session = RawSession(server, 4202)
            cases.passes()
    session.socket.close()


def goes_on(session: RawSession) -> bool:
    """Reads up to the Pong, or to a documented close; an Error may come before either."""
    while True:
        opcode, payload = session.read_frame()
        if opcode == CLOSE:
            assert int.from_bytes(payload[:2], "big") in CLOSES.values(), payload
            session.expect_end()
            return False
        kind, _ = decode(payload)
        if kind == "Pong":
            return True
        assert kind == "Error", kind


REQUESTS = {
    "OpenDirect with nobody": ("OpenDirect", {"peer_user_id": 0}),
    "OpenDirect with a user over 2^63": ("OpenDirect", {"peer_user_id": 1 << 63}),
    "CreateConversation with nobody": ("CreateConversation", {"member_user_ids": []}),
    "CreateConversation with user 0": ("CreateConversation", {"member_user_ids": [5, 0]}),
    "CreateConversation with a user over 2^63": ("CreateConversation", {"member_user_ids": [1 << 63]}),
}


@pytest.mark.produces(BAD_REQUEST)
@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_that_makes_no_sense(server, name):
    kind, fields = REQUESTS[name]
    with RawSession(server, 4203) as session:
        session.ask(kind, request_id=77, **fields)
        error = session.hear_kind("Error")
        assert (error["request_id"], error["code"], error["retry_after_ms"]) == (77, BAD_REQUEST, 0)
        assert error["reason"].decode()
        session.ask("Ping", nonce=1)
        assert session.hear() == ("Pong", {"nonce": 1})


@pytest.mark.parametrize("limit, rows", [(0, 1), (3, 3), ((1 << 32) - 1, 100)])
def test_a_limit_out_of_bounds_is_taken_as_the_nearest(server, limit, rows):
    with RawSession(server, 4210 + rows) as session:
        session.ask("OpenDirect", request_id=1, peer_user_id=4206)
        conversation = session.hear_kind("ConversationOpened")["conversation_id"]
        for number in range(1, 121):
            session.ask("Send", client_msg_id=msg_id(number), conversation_id=conversation, payload=b"m")
        while session.hear_kind("Deliver")["seq"] < 120:
            pass
        session.ask("History", request_id=2, conversation_id=conversation, before_seq=0, limit=limit)
        assert len(session.hear_kind("HistoryPage")["messages"]) == rows
        session.ask("Sync", request_id=3, conversation_id=conversation, have_seq=0, limit=limit)
        assert session.hear_kind("SyncEnd")["last_seq"] == rows
        seqs, page = [], {"next_cursor": FIRST_PAGE, "has_more": 1}
        while page["has_more"]:
            session.ask("Outbox", request_id=4, cursor=page["next_cursor"], limit=limit)
            page = session.hear_kind("OutboxPage")
            assert len(page["messages"]) == min(rows, 120 - len(seqs))
            seqs += [message["seq"] for message in page["messages"]]
        assert seqs == list(range(120, 0, -1))


def test_cursors_that_no_server_gave(server, cases):
    """One is opaque to a client, and one that a client made up leads nowhere else than to its own outbox."""
    with RawSession(server, 4212) as session:
        session.ask("OpenDirect", request_id=1, peer_user_id=4206)
        conversation = session.hear_kind("ConversationOpened")["conversation_id"]
        session.ask("Send", client_msg_id=fresh_msg_id(), conversation_id=conversation, payload=b"m")
        session.hear_kind("Deliver")
        session.ask("Outbox", request_id=2, cursor=FIRST_PAGE, limit=1)
        page = session.hear_kind("OutboxPage")
        given = page["next_cursor"]
        changed = (given[:at] + bytes([given[at] ^ bits]) + given[at + 1:] for at in range(36) for bits in (1, 0x80, 0xff))
        for cursor in (b"\xff" * 36, b"\0" * 35 + b"\1", *changed):
            session.ask("Outbox", request_id=3, cursor=cursor, limit=100)
            assert session.hear_kind("OutboxPage")["messages"] in ([], page["messages"]), cursor.hex()
            cases.passes()


@pytest.mark.produces(NOT_MEMBER)
@pytest.mark.parametrize("conversation", [0, 1, 12345, (1 << 64) - 1])
def test_a_send_to_a_conversation_one_is_not_in(server, conversation):
    with RawSession(server, 4204) as session:
        session.ask("Send", client_msg_id=msg_id(9), conversation_id=conversation, payload=b"hello")
        error = session.hear_kind("Error")
        assert (error["request_id"], error["client_msg_id"]) == (0, msg_id(9))
        assert error["code"] == NOT_MEMBER
        session.ask("Ping", nonce=1)
        assert session.hear() == ("Pong", {"nonce": 1})


def test_acks_of_what_was_never_delivered(server):
    """One for a conversation of others is refused, and names no request; one above the head counts for the
    messages that there are and for no others."""
    with RawSession(server, 4207) as session, RawSession(server, 4208) as other:
        other.ask("OpenDirect", request_id=1, peer_user_id=4209)
        foreign = other.hear_kind("ConversationOpened")["conversation_id"]
        for conversation, seq in ((foreign, 1), (12345, (1 << 64) - 1)):
            session.ask("DeliverAck", conversation_id=conversation, seq=seq)
            error = session.hear_kind("Error")
            assert (error["request_id"], error["client_msg_id"]) == (0, NOBODYS)
            assert (error["code"], error["retry_after_ms"]) == (NOT_MEMBER, 0)
        session.ask("OpenDirect", request_id=2, peer_user_id=4209)
        conversation = session.hear_kind("ConversationOpened")["conversation_id"]

        def say(number: int) -> None:
            session.ask("Send", client_msg_id=msg_id(number), conversation_id=conversation, payload=b"m")
            assert session.hear_kind("Deliver")["seq"] == number

        def outbox() -> list[int]:
            session.ask("Outbox", request_id=3, cursor=FIRST_PAGE, limit=100)
            return [message["seq"] for message in session.hear_kind("OutboxPage")["messages"]]

        say(1)
        session.ask("DeliverAck", conversation_id=conversation, seq=0)
        assert outbox() == [1]
        session.ask("DeliverAck", conversation_id=conversation, seq=(1 << 64) - 1)
        assert outbox() == []
        # It is cut to the head of then within some seconds, not to whatever comes: what is said from then
        # on is there, and stays there.
        deadline = time.monotonic() + WAIT_SECONDS
        for number in itertools.count(2):
            say(number)
            if (found := outbox())[:1] == [number]:
                break
            assert time.monotonic() < deadline, f"{found} after message {number}: the ack counts for what comes"
            time.sleep(0.5)
        say(number + 1)
        assert outbox()[:2] == [number + 1, number]


def test_a_flood_of_requests_is_answered_or_refused(server, cases):
    """Many requests without reading an answer: each is answered in the end."""
    with RawSession(server, 4205) as session:
        total = 2000
        for number in range(1, total + 1):
            session.ask("ListConversations", request_id=number, after_conversation_id=0, limit=1)
        answered = set()
        while len(answered) < total:
            kind, fields = session.hear()
            assert kind in ("Conversations", "Error"), kind
            answered.add(fields["request_id"])
        cases.note(f"{total} requests at once, {len(answered)} answered")
