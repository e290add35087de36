"""Servers for the tests, and the watch over them: after each test the server must still run, hold no
connection of the test any more, and have no more descriptors than before."""

import shutil
import tempfile
from pathlib import Path

import pytest

from harness.server import Server

# The counting and the running of coroutines, for the tests of `clients/python` too.
pytest_plugins = ["harness.plugin"]


@pytest.fixture(scope="module")
def folder():
    """A fresh folder, gone afterwards. Not pytest's: those are kept, and logs are large."""
    path = Path(tempfile.mkdtemp(prefix="rookery-test-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


class Servers:
    """Starts servers and ends those that it started."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.started: list[Server] = []

    def new(self, **options) -> Server:
        """A server with a fresh data directory, not started yet."""
        server = Server(self.folder / f"data{len(self.started)}", **options)
        self.started.append(server)
        return server

    def start(self, **options) -> Server:
        """A running server with a fresh data directory."""
        return self.new(**options).start()

    def end(self) -> None:
        """Ends them all; what still ran must stop when it is asked to."""
        codes = {server: server.stop() for server in self.started if server.is_alive()}
        for server, code in codes.items():
            assert code == 0, f"exit code {code}\n{server.story()}"


@pytest.fixture(scope="module")
def servers(folder: Path):
    """Servers that live as long as the tests of this file."""
    started = Servers(folder)
    yield started
    started.end()


class Watch:
    """Holds a server to what it was before the test."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.connections = server.connections()
        self.descriptors = server.descriptors()

    def check(self) -> None:
        """Asserts that it runs and leaked nothing."""
        assert self.server.is_alive(), f"the server died\n{self.server.story()}"
        self.server.wait_connections(self.connections)
        self.server.wait_descriptors(self.descriptors)
        assert "panicked" not in self.server.story(), self.server.story()


@pytest.fixture
def watch():
    """Watches servers from where the test says so to its end."""
    watched: list[Watch] = []
    yield lambda server: watched.append(Watch(server)) or server
    for each in watched:
        each.check()
