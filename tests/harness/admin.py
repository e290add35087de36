"""The admin port, asked as an operator's own script would: plain HTTP over its socket or over loopback."""

import asyncio
import http.client
import json
import os
import socket
import time
from collections import defaultdict
from pathlib import Path

from prometheus_client.openmetrics.parser import text_string_to_metric_families

from .server import Server

# So long a page may be given again.
PAGE_SECONDS = 0.3

# A hang, not a slow machine, should meet it.
PATIENCE_SECONDS = 30


class OverSocket(http.client.HTTPConnection):
    """HTTP over a Unix socket, however long its path is."""

    def __init__(self, path: Path) -> None:
        super().__init__("rookery", timeout=PATIENCE_SECONDS)
        self.path = path

    def connect(self) -> None:
        self.sock = open_socket(self.path)


def open_socket(path: Path) -> socket.socket:
    """By its folder's descriptor: an address has room for 107 bytes of a path."""
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        opened = socket.socket(socket.AF_UNIX)
        opened.settimeout(PATIENCE_SECONDS)
        opened.connect(f"/proc/self/fd/{folder}/{path.name}")
        return opened
    finally:
        os.close(folder)


class Admin:
    """A server's admin port: by its socket, or over loopback where a port is given."""

    def __init__(self, server: Server, port: int | None = None, token: str | None = None) -> None:
        self.path = server.data / "admin.sock"
        self.port = port
        self.headers = {"Authorization": f"Bearer {token}"} if token is not None else {}

    def connect(self) -> http.client.HTTPConnection:
        """A connection that has asked for nothing."""
        if self.port is None:
            return OverSocket(self.path)
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_SECONDS)

    def ask(self, method: str, path: str, **headers: str) -> tuple[int, bytes]:
        """The status and body of an answer."""
        connection = self.connect()
        try:
            connection.request(method, path, headers=self.headers | headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def get(self, path: str) -> tuple[int, bytes]:
        """The status and body of a GET's answer."""
        return self.ask("GET", path)

    def post(self, path: str) -> tuple[int, bytes]:
        """The status and body of a POST's answer."""
        return self.ask("POST", path)

    def json(self, path: str):
        """What a GET that must succeed answers."""
        status, body = self.get(path)
        assert status == 200, (status, body)
        return json.loads(body)

    def metrics(self) -> "Metrics":
        """The metrics page, read by another's parser."""
        time.sleep(PAGE_SECONDS)
        status, body = self.get("/metrics")
        assert status == 200, (status, body)
        return Metrics(body.decode())


class Metrics:
    """A metrics page: its series with their labels and values."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.series: dict[str, dict[tuple, float]] = defaultdict(dict)
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                self.series[sample.name][tuple(sorted(sample.labels.items()))] = sample.value

    def total(self, name: str, /, **labels: str) -> float:
        """The sum of the series of a name that have these labels."""
        wanted = set(labels.items())
        found = [value for of, value in self.series[name].items() if wanted <= set(of)]
        assert found, f"no series {name} {labels}"
        return sum(found)


async def until(check, what: str):
    """Waits until `check` gives something, and gives it; others go on meanwhile."""
    for _ in range(1_200):
        if found := await asyncio.to_thread(check):
            return found
        await asyncio.sleep(0.05)
    raise AssertionError(f"never: {what}")


def wait_until(check, what: str):
    """The same on this thread."""
    deadline = time.monotonic() + 60
    while not (found := check()):
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.1)
    return found
