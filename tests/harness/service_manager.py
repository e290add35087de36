"""A service manager's side of sd_notify(3): a socket that hears what a server tells it."""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# A hang, not a slow machine, should meet it.
WAIT_SECONDS = 60


class Manager:
    """Hears datagrams; each is a dictionary of its assignments."""

    def __init__(self, address: str, watchdog_seconds: float = 0) -> None:
        """`address` is a path, or `@` and an abstract name."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address.replace("@", "\0", 1) if address.startswith("@") else address)
        self.environment = {"NOTIFY_SOCKET": address}
        if watchdog_seconds:
            self.environment["WATCHDOG_USEC"] = str(round(watchdog_seconds * 1_000_000))
        self.heard: list[dict[str, str]] = []

    def close(self) -> None:
        self._socket.close()

    def hear(self, seconds: float) -> dict[str, str] | None:
        """The next message, or None where none comes in so long."""
        self._socket.settimeout(max(seconds, 0.001))
        try:
            text = self._socket.recv(65536).decode()
        except TimeoutError:
            return None
        self.heard.append(dict(line.split("=", 1) for line in text.splitlines()))
        return self.heard[-1]

    def hear_for(self, seconds: float) -> list[dict[str, str]]:
        """What comes in so long."""
        start = len(self.heard)
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.hear(left)
        return self.heard[start:]

    def drain(self) -> None:
        """Hears what waits."""
        while self.hear(0):
            pass

    def wait(self, key: str, value: str | None = None) -> dict[str, str]:
        """The next message that says so."""
        end = time.monotonic() + WAIT_SECONDS
        while (left := end - time.monotonic()) > 0:
            message = self.hear(left)
            if message and key in message and value in (None, message[key]):
                return message
        raise AssertionError(f"nothing said {key}={value or ''} in {WAIT_SECONDS} s; heard {self.heard}")


@contextmanager
def manager(folder: Path, watchdog_seconds: float = 0) -> Iterator[Manager]:
    """One with a socket in the folder."""
    path = folder / "notify"
    path.unlink(missing_ok=True)
    hearing = Manager(str(path), watchdog_seconds)
    try:
        yield hearing
    finally:
        hearing.close()
        path.unlink()
