"""Frames that a server refuses, from the golden vectors in `docs/protocol-vectors.json`."""

import json
from pathlib import Path

FILE = Path(__file__).parents[2] / "docs/protocol-vectors.json"

def blob(value: str | list) -> bytes:
    """Bytes as hex, or parts of hex and [byte, count] runs."""
    if isinstance(value, str):
        return bytes.fromhex(value)
    parts = [bytes.fromhex(part) if isinstance(part, str) else bytes.fromhex(part[0]) * part[1] for part in value]
    return b"".join(parts)


def refused() -> list[dict]:
    """Frames that a server refuses: name, error, frame."""
    return [{"name": it["name"], "error": error(it), "frame": blob(it["frame"])}
            for it in json.loads(FILE.read_text(encoding="utf-8"))["refused"]]


def error(vector: dict) -> str:
    """What a server says of it: a kind that only servers send is an unknown one to it, whatever else is wrong."""
    frame = blob(vector["frame"])
    of_servers = len(frame) > 1 and frame[1] >= 0x80
    return "Kind" if of_servers and vector["error"] in ("Invalid", "TooLong") else vector["error"]
