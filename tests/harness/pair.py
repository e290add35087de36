"""Two users of whom one writes to the other, and how long each message takes: in a process of their own, so that what
the test does beside it does not count."""

import json
import os
import sys
import time

from .raw_session import RawSession
from .target import Target, beside

ANNA, BERT = 900_003, 900_004

PAUSE_SECONDS = 0.005


def exchange(server, messages: int) -> list[float]:
    """How long each took from its Send to its delivery, milliseconds. All came, in order."""
    process = beside("harness.pair", server, str(messages))
    said, _ = process.communicate()
    assert process.returncode == 0, "the pair was disturbed"
    return json.loads(said)


def _run(target: Target, messages: int) -> list[float]:
    with RawSession(target, ANNA) as anna:
        anna.ask("OpenDirect", request_id=1, peer_user_id=BERT)
        conversation = anna.hear_kind("ConversationOpened")["conversation_id"]
        return _exchange(anna, conversation, target, messages)


def _exchange(anna: RawSession, conversation: int, target: Target, messages: int) -> list[float]:
    took_ms = []
    with RawSession(target, BERT) as bert:
        last = None
        for _ in range(messages):
            began, message_id = time.monotonic(), os.urandom(16)
            anna.ask("Send", conversation_id=conversation, client_msg_id=message_id, payload=b"hello")
            kind, deliver = bert.hear()
            while kind == "ConversationOpened":
                # It may be told of the conversation after it logged in.
                kind, deliver = bert.hear()
            took_ms.append(1_000 * (time.monotonic() - began))
            assert kind == "Deliver", (kind, deliver)
            assert last is None or deliver["seq"] == last + 1, (deliver["seq"], last)
            last = deliver["seq"]
            acked = anna.hear_kind("SendAck")
            assert acked["client_msg_id"] == message_id, acked
            time.sleep(PAUSE_SECONDS)
    return took_ms


if __name__ == "__main__":
    print(json.dumps(_run(Target.parse(sys.argv[1]), int(sys.argv[2]))))
