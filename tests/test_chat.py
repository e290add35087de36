"""Two `rookery chat` talk over TLS: over pipes, and once in a pseudo-terminal as a person would."""

import os
import pty
import queue
import re
import select
import subprocess
import threading
import time

import pytest

from harness.server import BINARY, Server, die_with_parent

# A hang, not a slow machine, should meet it.
WAIT_SECONDS = 60

ESCAPES = re.compile(rb"\x1b\[[0-9;?]*[ -/]*[@-~]|\r")


@pytest.fixture(scope="module")
def server(servers):
    return servers.start()


def command(server: Server, user: int, to: int, *options: str) -> list[str]:
    return [BINARY, "chat", "--user", str(user), "--to", str(to), "--data", str(server.data),
            "--url", f"wss://127.0.0.1:{server.tls_port}", *options]


class Chat:
    """A chat over pipes."""

    def __init__(self, server: Server, user: int, to: int) -> None:
        self.process = subprocess.Popen(command(server, user, to), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT, text=True, bufsize=1, preexec_fn=die_with_parent)
        self.lines: queue.Queue[str] = queue.Queue()
        self.said: list[str] = []
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        for line in self.process.stdout:
            self.lines.put(line.rstrip("\n"))

    def type(self, line: str) -> None:
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def shows(self, text: str) -> str:
        """Waits for a line with the text."""
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            try:
                line = self.lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"{text!r} was not shown, but {self.said}") from None
            self.said.append(line)
            if text in line:
                return line

    def leave(self) -> int:
        self.type("/quit")
        return self.process.wait(WAIT_SECONDS)


def test_two_people_talk(server, watch):
    watch(server)
    anna, bert = Chat(server, 7, 8), Chat(server, 8, 7)
    anna.type("hello Bert")
    bert.shows("hello Bert")
    bert.type("hello Anna, grüße ✓")
    anna.shows("hello Anna, grüße ✓")
    for number in range(50):
        anna.type(f"line {number}")
    for number in range(50):
        assert bert.shows(f"line {number}").endswith(f"line {number}")
    assert anna.leave() == 0
    assert bert.leave() == 0


def test_one_who_comes_later_sees_what_was_missed(server, watch):
    watch(server)
    anna = Chat(server, 17, 18)
    for number in range(3):
        anna.type(f"missed {number}")
        anna.shows(f"missed {number}")
    assert anna.leave() == 0
    bert = Chat(server, 18, 17)
    for number in range(3):
        bert.shows(f"missed {number}")
    assert bert.leave() == 0


def test_the_server_restarts_under_a_chat(servers):
    server = servers.start()
    anna, bert = Chat(server, 27, 28), Chat(server, 28, 27)
    anna.type("before")
    bert.shows("before")
    server.kill()
    server.start()
    anna.type("after")
    bert.shows("after")
    assert anna.leave() == 0
    assert bert.leave() == 0


def test_in_a_terminal(server, watch):
    watch(server)
    bert = Chat(server, 38, 37)
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ["TERM"] = "xterm-256color"
        os.execv(BINARY, command(server, 37, 38))

    screen = b""

    def shows(text: str) -> None:
        nonlocal screen
        deadline = time.monotonic() + WAIT_SECONDS
        while text.encode() not in ESCAPES.sub(b"", screen):
            assert time.monotonic() < deadline, f"{text!r} is not on the screen: {screen[-2000:]!r}"
            if select.select([terminal], [], [], 0.2)[0]:
                screen += os.read(terminal, 65536)

    os.write(terminal, b"typed by hand\r")
    bert.shows("typed by hand")
    bert.type("seen by eye")
    shows("seen by eye")
    os.write(terminal, b"/quit\r")
    deadline = time.monotonic() + WAIT_SECONDS
    while os.waitpid(pid, os.WNOHANG) == (0, 0):
        assert time.monotonic() < deadline, "the chat does not end"
        if select.select([terminal], [], [], 0.1)[0]:
            try:
                screen += os.read(terminal, 65536)
            except OSError:
                pass
    os.close(terminal)
    assert bert.leave() == 0
