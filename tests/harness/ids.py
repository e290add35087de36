"""What clients call their messages: the bytes of UUIDs, of which the server reads nothing."""

import uuid


def msg_id(number: int) -> bytes:
    """The client_msg_id of a number. They sort as the numbers do."""
    return number.to_bytes(16, "big")


def fresh_msg_id() -> bytes:
    """One that nobody has."""
    return uuid.uuid4().bytes
