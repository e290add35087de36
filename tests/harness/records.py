"""Records of the log, as `docs/log-records.md` gives them."""

import struct

VERSION = 1

# A message, and one that may be there already.
MESSAGE, REPETITION = 1, 3

_MESSAGE = struct.Struct("<BBQQQQIQ")


def message(conversation: int, sender: int, payload: bytes, *, message_id: int, hlc: int, client_msg_id: int) -> bytes:
    """A record of kind 1."""
    return _MESSAGE.pack(VERSION, MESSAGE, message_id, hlc, conversation, sender, 1, client_msg_id) + payload


def sender_and_id(record: bytes) -> tuple[int, int] | None:
    """Whose message it is and its client_msg_id; None for what is no message."""
    if len(record) < _MESSAGE.size or record[0] != VERSION or record[1] not in (MESSAGE, REPETITION):
        return None
    _, _, _, _, _, sender, _, client_msg_id = _MESSAGE.unpack_from(record)
    return sender, client_msg_id
