"""Reads the commit log's files as `docs/commit-log.md` gives them, to damage them at known places."""

import hashlib
import struct
from dataclasses import dataclass
from pathlib import Path

BLOCK = 4096


@dataclass
class Batch:
    """A group commit: where it is and how long."""

    segment: Path
    at: int
    length: int
    first_offset: int
    records: int

    @property
    def end(self) -> int:
        """Where the next batch would begin."""
        return self.at + -(-self.length // BLOCK) * BLOCK


def segments(data: Path) -> list[Path]:
    """Segments in use, in the order of their epochs."""
    live = []
    for path in data.glob("log/segment-*"):
        head = path.read_bytes()[:56]
        if head[:8] == b"RKRYSEGM":
            live.append((struct.unpack_from("<Q", head, 32)[0], path))
    return [path for _, path in sorted(live)]


def batches(segment: Path) -> list[Batch]:
    """The batches of this life of the segment."""
    content = segment.read_bytes()
    epoch = struct.unpack_from("<Q", content, 32)[0]
    found, at = [], BLOCK
    while at + 40 <= len(content) and content[at:at + 4] == b"RKBA":
        length, batch_epoch, first, records = struct.unpack_from("<I8xQQI", content, at + 4)
        if batch_epoch != epoch:
            break
        found.append(Batch(segment, at, length, first, records))
        at = found[-1].end
    return found


def overwrite(path: Path, at: int, data: bytes) -> None:
    """Writes in place."""
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


def flip(path: Path, at: int) -> None:
    """Flips one bit."""
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 0x10]))


def fingerprint(folder: Path) -> dict[str, str]:
    """What is in a folder, to show that nothing was changed."""
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.rglob("*")) if path.is_file()}
