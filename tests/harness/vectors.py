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
    return [{"name": it["name"], "error": it["error"], "frame": blob(it["frame"])}
            for it in json.loads(FILE.read_text(encoding="utf-8"))["refused"]]
