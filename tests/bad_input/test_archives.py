"""Frames of the protocol that do not validate, and requests whose fields make no sense."""

import pytest
from rookery_protocol import decode, encode

from harness import vectors
from harness.raw import BINARY, CLOSE, frame
from harness.raw_session import RawSession

pytestmark = pytest.mark.usefixtures("undisturbed")

CLOSES = {"Empty": 4404, "Kind": 4404, "Invalid": 4404, "Version": 4405, "TooLong": 4406}
REFUSED = {vector["name"]: vector for vector in vectors.refused()}

BAD_REQUEST, NOT_MEMBER, UNKNOWN = 100, 101, 102


@pytest.mark.parametrize("name", REFUSED)
def test_a_frame_that_does_not_validate(server, name):
    vector = REFUSED[name]
    with RawSession(server, 4200) as session:
        session.send(frame(BINARY, vector["frame"]))
        assert session.close_code() == CLOSES[vector["error"]]


def test_a_servers_kind(server):
    with RawSession(server, 4201) as session:
        session.ask("Lagged", skipped=1)
        assert session.close_code() == 4404


def test_every_byte_changed(server, cases):
    """Each byte of a Send changed in turn: an answer or a documented close, never silence."""
    good = encode("Send", {"client_msg_id": 1, "conversation_id": 2, "payload": b"hello"})
    session = RawSession(server, 4202)
    for at in range(len(good)):
        for value in (good[at] ^ 0x01, good[at] ^ 0x80, 0xFF):
            bad = good[:at] + bytes([value]) + good[at + 1:]
            session.send(frame(BINARY, bad))
            session.ask("Ping", nonce=at)
            opcode, payload = session.read_frame()
            if opcode == CLOSE:
                assert int.from_bytes(payload[:2], "big") in CLOSES.values(), payload
                session.expect_end()
                session.socket.close()
                session = RawSession(server, 4202)
            elif decode(payload)[0] == "Error":
                session.hear_kind("Pong")
            else:
                assert decode(payload)[0] == "Pong", payload
            cases.passes()
    session.socket.close()


REQUESTS = {
    "Sync with limit 0": ("Sync", {"conversation_id": 1, "have_seq": 0, "limit": 0}),
    "Sync with a limit over the page": ("Sync", {"conversation_id": 1, "have_seq": 0, "limit": 101}),
    "History with limit 0": ("History", {"conversation_id": 1, "before_message_id": 0, "limit": 0}),
    "OpenDirect with nobody": ("OpenDirect", {"peer_user_id": 0}),
    "OpenDirect with oneself": ("OpenDirect", {"peer_user_id": 4203}),
    "CreateConversation with nobody": ("CreateConversation", {"member_user_ids": []}),
    "CreateConversation with user 0": ("CreateConversation", {"member_user_ids": [5, 0]}),
    "CreateConversation with a user over 2^63": ("CreateConversation", {"member_user_ids": [1 << 63]}),
    "ListConversations with limit 0": ("ListConversations", {"after_conversation_id": 0, "limit": 0}),
}


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


@pytest.mark.parametrize("conversation", [0, 1, 12345, (1 << 64) - 1])
def test_a_send_to_a_conversation_one_is_not_in(server, conversation):
    with RawSession(server, 4204) as session:
        session.ask("Send", client_msg_id=9, conversation_id=conversation, payload=b"hello")
        error = session.hear_kind("Error")
        assert error["request_id"] == 9
        assert error["code"] in (NOT_MEMBER, UNKNOWN, BAD_REQUEST)
        session.ask("Ping", nonce=1)
        assert session.hear() == ("Pong", {"nonce": 1})


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
