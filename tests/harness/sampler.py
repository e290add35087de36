"""What a server holds for its clients while a test does something to it."""

import re
import threading

from .admin import Admin

MIB = 1 << 20

# A budget that some hundred clients would pass several times, and the rest of memory as small as it gets.
BUFFERS = 32 * MIB
CONFIG = f"""
[limits]
buffer_bytes_max = {BUFFERS}
connections_max = 12000
handshakes_max = 500
"""

# What one turn may add before it is looked at: a fan-out of a message to everybody.
TURN = 4 * MIB


class Sampler:
    """Looks again and again at what the server holds, and remembers the most."""

    def __init__(self, server) -> None:
        self.server, self.admin = server, Admin(server)
        self.held = self.rss = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._stop.wait(0.05):
            metrics = self.admin.metrics()
            held = metrics.total("rookery_shard_queued_bytes") + metrics.total("rookery_session_input_bytes")
            self.held = max(self.held, held)
            self.rss = max(self.rss, self.server.rss_bytes())

    def __enter__(self) -> "Sampler":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def shed(self, what: str) -> int:
        return int(self.admin.metrics().total(f"rookery_admission_shed_{what}_total"))

    def check(self) -> None:
        assert self.held <= BUFFERS + TURN, f"{self.held / MIB:.1f} MiB were held"
        assert self.rss <= self.most_bytes, f"{self.rss / MIB:.1f} MiB"

    @property
    def most_bytes(self) -> int:
        """What the server said at its start that it takes at most, without the kernel's part."""
        line = next(line for line in self.server.said if line.startswith("memory at most "))
        parts = {name: int(mib) * MIB for name, mib in re.findall(r"([a-z][a-zA-Z ]+) (\d+)", line.split(":")[1])}
        assert sum(parts.values()) >= int(line.split()[3]) * MIB
        return sum(size for name, size in parts.items() if not name.startswith("kernel"))
