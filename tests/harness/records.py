"""Records of the log, as `docs/log-records.md` gives them."""

import struct
from dataclasses import dataclass

VERSION = 1

# A message, and one that may be there already.
MESSAGE, REPETITION = 1, 3

_MESSAGE = struct.Struct("<BBQQQQI16s")


@dataclass(frozen=True)
class Message:
    """A record of kind 1 or 3."""

    message_id: int
    hlc: int
    conversation: int
    sender: int
    device: int
    client_msg_id: bytes
    payload: bytes

    def packed(self) -> bytes:
        """As a record of kind 1."""
        return _MESSAGE.pack(VERSION, MESSAGE, self.message_id, self.hlc, self.conversation, self.sender, self.device,
                             self.client_msg_id) + self.payload


def message(record: bytes) -> Message | None:
    """What a record holds; None for what is no message."""
    if len(record) < _MESSAGE.size or record[0] != VERSION or record[1] not in (MESSAGE, REPETITION):
        return None
    _, _, *fields = _MESSAGE.unpack_from(record)
    return Message(*fields, payload=record[_MESSAGE.size:])
