"""Frames of the Rookery protocol v1, by `struct`; written from docs/protocol.md alone.

A message is a dict of its fields. `encode(kind, fields)` and `decode(frame)` are each other's
inverse. Nothing here does I/O.
"""

import struct

VERSION = 1
PAYLOAD_BYTES_MAX = 65_536
TOKEN_BYTES_MAX = 8_192
MEMBERS_MAX = 1_024
PAGE_MESSAGES_MAX = 100
REASON_BYTES_MAX = 256
ALTERNATIVES_MAX = 8
ALTERNATIVE_BYTES_MAX = 256

_SCALARS = {"u8": "<B", "u16": "<H", "u32": "<I", "u64": "<Q", "u8[16]": "<16s", "u8[36]": "<36s"}

# The fields of each root, in order. A list field is ("list", element type, most elements).
_BYTES = lambda most: ("list", "u8", most)
_DELIVER = (
    ("conversation_id", "u64"),
    ("seq", "u64"),
    ("message_id", "u64"),
    ("sender_user_id", "u64"),
    ("sender_device_id", "u32"),
    ("client_msg_id", "u8[16]"),
    ("hlc", "u64"),
    ("payload", _BYTES(PAYLOAD_BYTES_MAX)),
)
_ALTERNATIVE = (("url", _BYTES(ALTERNATIVE_BYTES_MAX)),)
_HEAD = (("conversation_id", "u64"), ("head_seq", "u64"))

KINDS = {
    "Login": (0x01, (("token", _BYTES(TOKEN_BYTES_MAX)), ("resume_token", _BYTES(TOKEN_BYTES_MAX)))),
    "Send": (
        0x10,
        (("client_msg_id", "u8[16]"), ("conversation_id", "u64"), ("payload", _BYTES(PAYLOAD_BYTES_MAX))),
    ),
    "Sync": (
        0x11,
        (("request_id", "u64"), ("conversation_id", "u64"), ("have_seq", "u64"), ("limit", "u32")),
    ),
    "History": (
        0x12,
        (
            ("request_id", "u64"),
            ("conversation_id", "u64"),
            ("before_seq", "u64"),
            ("limit", "u32"),
        ),
    ),
    "DeliverAck": (0x13, (("conversation_id", "u64"), ("seq", "u64"))),
    "Outbox": (0x14, (("request_id", "u64"), ("cursor", "u8[36]"), ("limit", "u32"))),
    "OpenDirect": (0x20, (("request_id", "u64"), ("peer_user_id", "u64"))),
    "CreateConversation": (
        0x21,
        (("request_id", "u64"), ("member_user_ids", ("list", "u64", MEMBERS_MAX - 1))),
    ),
    "ListConversations": (
        0x22,
        (("request_id", "u64"), ("after_conversation_id", "u64"), ("limit", "u32")),
    ),
    "ListMembers": (0x23, (("request_id", "u64"), ("conversation_id", "u64"))),
    "Ping": (0x40, (("nonce", "u64"),)),
    "Pong": (0x41, (("nonce", "u64"),)),
    "Welcome": (
        0x81,
        (
            ("user_id", "u64"),
            ("device_id", "u32"),
            ("session_id", "u64"),
            ("resume_token", _BYTES(TOKEN_BYTES_MAX)),
            ("server_time_ms", "u64"),
            ("expires_at_ms", "u64"),
            ("heartbeat_interval_ms", "u32"),
            ("reconnect_jitter_ms", "u32"),
            ("payload_bytes_max", "u32"),
            ("page_messages_max", "u32"),
        ),
    ),
    "Reconnect": (
        0x82,
        (
            ("server_time_ms", "u64"),
            ("not_before_ms", "u32"),
            ("not_after_ms", "u32"),
            ("alternatives", ("list", _ALTERNATIVE, ALTERNATIVES_MAX)),
            ("reason", _BYTES(REASON_BYTES_MAX)),
        ),
    ),
    "SendAck": (
        0x90,
        (("client_msg_id", "u8[16]"), ("conversation_id", "u64"), ("message_id", "u64"), ("hlc", "u64")),
    ),
    "Deliver": (0x91, _DELIVER),
    "SyncEnd": (
        0x92,
        (("request_id", "u64"), ("conversation_id", "u64"), ("last_seq", "u64"), ("head_seq", "u64")),
    ),
    "HistoryPage": (
        0x93,
        (
            ("request_id", "u64"),
            ("conversation_id", "u64"),
            ("messages", ("list", _DELIVER, PAGE_MESSAGES_MAX)),
            ("has_more", "u8"),
        ),
    ),
    "Lagged": (0x94, (("skipped", "u64"),)),
    "OutboxPage": (
        0x95,
        (
            ("request_id", "u64"),
            ("messages", ("list", _DELIVER, PAGE_MESSAGES_MAX)),
            ("next_cursor", "u8[36]"),
            ("has_more", "u8"),
            ("needs_full_sync", "u8"),
        ),
    ),
    "ConversationOpened": (
        0xA0,
        (
            ("request_id", "u64"),
            ("conversation_id", "u64"),
            ("head_seq", "u64"),
            ("member_user_ids", ("list", "u64", MEMBERS_MAX)),
        ),
    ),
    "Conversations": (
        0xA1,
        (
            ("request_id", "u64"),
            ("conversations", ("list", _HEAD, PAGE_MESSAGES_MAX)),
            ("has_more", "u8"),
        ),
    ),
    "Members": (
        0xA2,
        (
            ("request_id", "u64"),
            ("conversation_id", "u64"),
            ("member_user_ids", ("list", "u64", MEMBERS_MAX)),
        ),
    ),
    "Error": (
        0xE0,
        (
            ("request_id", "u64"),
            ("client_msg_id", "u8[16]"),
            ("code", "u16"),
            ("retry_after_ms", "u32"),
            ("reason", _BYTES(REASON_BYTES_MAX)),
        ),
    ),
}
_NAMES = {number: name for name, (number, _) in KINDS.items()}


class FrameError(Exception):
    """A frame was refused; `name` is Empty, Version, Kind, Invalid or TooLong."""

    def __init__(self, name, detail=""):
        super().__init__(f"{name}: {detail}" if detail else name)
        self.name = name


def _size(type_):
    if isinstance(type_, str):
        return struct.calcsize(_SCALARS[type_])
    if type_[0] == "list":
        return 8
    return sum(_size(field_type) for _, field_type in type_)


def _pack(type_, value):
    packed = struct.pack(_SCALARS[type_], value)
    if isinstance(value, bytes) and len(value) != len(packed):
        raise ValueError(f"{len(value)} bytes for {type_}")
    return packed


def encode(kind, fields):
    """The frame of a message."""
    number, root = KINDS[kind]
    archive = bytearray()
    positions = _append_lists(archive, root, fields)
    _append_struct(archive, root, fields, positions)
    return bytes([VERSION, number]) + bytes(archive)


def _append_lists(archive, struct_type, fields):
    """Appends what the lists of a struct hold; the position of each, by field."""
    positions = {}
    for name, type_ in struct_type:
        if isinstance(type_, str):
            continue
        element, values = type_[1], fields[name]
        if element == "u8":
            positions[name] = len(archive)
            archive += values
        elif isinstance(element, str):
            positions[name] = len(archive)
            for value in values:
                archive += _pack(element, value)
        else:
            inner = [_append_lists(archive, element, value) for value in values]
            positions[name] = len(archive)
            for value, inner_positions in zip(values, inner):
                _append_struct(archive, element, value, inner_positions)
    return positions


def _append_struct(archive, struct_type, fields, positions):
    for name, type_ in struct_type:
        if isinstance(type_, str):
            archive += _pack(type_, fields[name])
        else:
            archive += struct.pack("<iI", positions[name] - len(archive), len(fields[name]))


def decode(frame):
    """The kind and the fields of a frame; raises FrameError."""
    if len(frame) < 2:
        raise FrameError("Empty")
    if frame[0] != VERSION:
        raise FrameError("Version", frame[0])
    kind = _NAMES.get(frame[1])
    if kind is None:
        raise FrameError("Kind", frame[1])
    root, archive = KINDS[kind][1], frame[2:]
    root_at = len(archive) - _size(root)
    if root_at < 0:
        raise FrameError("Invalid", "shorter than its root")
    # Whatever is invalid is so before anything is too long.
    too_long = []
    fields, end = _read_struct(archive, root, root_at, 0, root_at, too_long)
    if end != root_at:
        raise FrameError("Invalid", f"bytes {end}..{root_at} belong to no list")
    if frame[1] < 0x40 and fields.get("request_id") == 0:
        raise FrameError("Invalid", "a request without an id")
    if too_long:
        raise FrameError("TooLong", too_long[0])
    return kind, fields


def _read_struct(archive, struct_type, at, low, high, too_long):
    """Fields of a struct whose lists lie, in order and without a gap, from low, at most to high; and
    where they end."""
    fields = {}
    for name, type_ in struct_type:
        if isinstance(type_, str):
            (fields[name],) = struct.unpack_from(_SCALARS[type_], archive, at)
        else:
            fields[name], low = _read_list(archive, name, type_, at, low, high, too_long)
        at += _size(type_)
    return fields, low


def _read_list(archive, name, type_, at, low, high, too_long):
    _, element, most = type_
    pointer, count = struct.unpack_from("<iI", archive, at)
    start, size = at + pointer, _size(element)
    end = start + count * size
    # The lists of a list's elements stand in front of them.
    is_next = start == low if isinstance(element, str) else start >= low
    if not is_next or end > high:
        raise FrameError("Invalid", f"{name} lies at {start}..{end}, not in {low}..{high}")
    if count > most:
        too_long.append(f"{name} has {count} of {most}")
    if element == "u8":
        return bytes(archive[start:end]), end
    if isinstance(element, str):
        code = _SCALARS[element][1]
        return list(struct.unpack_from(f"<{count}{code}", archive, start)), end
    values, inner_low = [], low
    for position in range(start, end, size):
        value, inner_low = _read_struct(archive, element, position, inner_low, start, too_long)
        values.append(value)
    if inner_low != start:
        raise FrameError("Invalid", f"bytes {inner_low}..{start} belong to no list")
    return values, end
