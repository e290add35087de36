"""Clients that connect and then say nothing, or begin to say something and stop: in processes of their own, at a
pace, the oldest giving way to new ones where they hold as many as they may."""

import mmap
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections import deque
from pathlib import Path

from .server import die_with_parent

# The beginning of a TLS record that is a ClientHello of 512 bytes.
_HALF_HELLO = bytes.fromhex("1603010200010001fc0303") + bytes(range(200))

_WORDS = {
    "nothing": b"",
    "a byte": _HALF_HELLO[:1],
    "half a ClientHello": _HALF_HELLO,
    "only a PROXY header": b"PROXY TCP4 192.0.2.1 203.0.113.9 50000 443\r\n",
    "half a request head": b"GET /v1 HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nX-Half: ",
}

KINDS = list(_WORDS)


# Descriptors are 20,000 to a process.
_HOLDS_MAX = 15_000


class Loiterers:
    """Runs them until its end."""

    def __init__(self, port: int, says: str, *, holds: int, per_second: int) -> None:
        count = -(-holds // _HOLDS_MAX)
        self._file = tempfile.NamedTemporaryFile()
        self._file.truncate(8 * count)
        self._counts = mmap.mmap(self._file.fileno(), 8 * count)
        self._processes = [
            subprocess.Popen(
                [sys.executable, "-m", "harness.loiterers", self._file.name, str(number), str(port), says,
                 str(holds // count), str(per_second // count)],
                cwd=Path(__file__).parent.parent, preexec_fn=die_with_parent)
            for number in range(count)
        ]

    @property
    def connects(self) -> int:
        """How many there were."""
        assert all(process.poll() is None for process in self._processes), "they have ended"
        return sum(struct.unpack(f"<{len(self._processes)}Q", self._counts[:]))

    def wait_for(self, connects: int) -> None:
        """Until so many have connected."""
        while self.connects < connects:
            time.sleep(0.01)

    def __enter__(self) -> "Loiterers":
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
        self._counts.close()
        self._file.close()


def _run(counts: str, process: int, port: int, says: str, holds: int, per_second: int) -> None:
    with Path(counts).open("r+b") as file:
        shared = mmap.mmap(file.fileno(), 0)
    held: deque[socket.socket] = deque()
    began = time.monotonic()
    for number in range(1 << 40):
        ahead = number / per_second - (time.monotonic() - began)
        if ahead > 0:
            time.sleep(ahead)
        if len(held) >= holds:
            held.popleft().close()
        one = socket.socket()
        # A server that starts later may want the port that this one leaves behind.
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # One address has too few ports.
        one.bind((f"127.0.{1 + process}.{1 + number % 100}", 0))
        one.setblocking(False)
        one.connect_ex(("127.0.0.1", port))
        held.append(one)
        # Said once the connection is there, which on loopback it is some connects later.
        if _WORDS[says] and len(held) > 50:
            try:
                held[-50].send(_WORDS[says])
            except OSError:
                pass
        struct.pack_into("<Q", shared, 8 * process, number + 1)


if __name__ == "__main__":
    _run(sys.argv[1], *[int(word) if word.isdigit() else word for word in sys.argv[2:]])
