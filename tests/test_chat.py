"""Two `rookery chat` talk over TLS: over pipes, and once in a pseudo-terminal as a person would."""

import contextlib
import os
import pty
import queue
import re
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


class Terminal:
    """A chat in a pseudo-terminal, whose screen is read all the time: a full one would stop the chat."""

    def __init__(self, server: Server, user: int, to: int, kind: str) -> None:
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.environ["TERM"] = kind
            os.execv(BINARY, command(server, user, to))
        self.screen = b""
        self.changed = threading.Condition()
        self.reader = threading.Thread(target=self._listen, daemon=True)
        self.reader.start()

    def _listen(self) -> None:
        with contextlib.suppress(OSError):
            while more := os.read(self.terminal, 65536):
                with self.changed:
                    self.screen += more
                    self.changed.notify()

    def type(self, keys: bytes) -> None:
        while keys:
            keys = keys[os.write(self.terminal, keys):]

    def shows(self, text: str) -> None:
        seen = lambda: text.encode() in ESCAPES.sub(b"", self.screen)
        with self.changed:
            assert self.changed.wait_for(seen, WAIT_SECONDS), f"{text!r} is not on the screen: {self.screen[-2000:]!r}"

    def leave(self) -> int:
        """Its exit code."""
        self.type(b"/quit\r")
        self.reader.join(WAIT_SECONDS)
        assert not self.reader.is_alive(), f"the chat does not end: {self.screen[-2000:]!r}"
        os.close(self.terminal)
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        if code:
            print(f"the chat ended with {code}: {self.screen[-2000:]!r}")
        return code


@pytest.mark.parametrize("kind", ["xterm-256color", "dumb", "emacs"])
def test_in_a_terminal(server, watch, kind):
    watch(server)
    bert = Chat(server, 38, 37)
    anna = Terminal(server, 37, 38, kind)
    anna.shows("with user 38")
    anna.type(b"typed by hand\r")
    bert.shows("typed by hand")
    bert.type("seen by eye")
    anna.shows("seen by eye")
    assert anna.leave() == 0
    assert bert.leave() == 0


@pytest.mark.parametrize("kind", ["xterm-256color", "dumb"])
def test_a_byte_that_is_no_utf8_ends_no_chat(server, watch, kind):
    watch(server)
    bert = Chat(server, 48, 47)
    anna = Terminal(server, 47, 48, kind)
    anna.shows("with user 48")
    anna.type(b"caf\xe9 au lait\r")
    # A terminal without an editor takes it as it does a pipe's: the rest of the line is text.
    if kind == "dumb":
        bert.shows("caf\N{REPLACEMENT CHARACTER} au lait")
    else:
        anna.shows("a byte that is no UTF-8")
    anna.type(b"and on\r")
    bert.shows("and on")
    assert anna.leave() == 0
    assert bert.leave() == 0


def test_a_long_paste_is_sent_whole(server, watch):
    watch(server)
    bert = Chat(server, 58, 57)
    anna = Terminal(server, 57, 58, "xterm-256color")
    anna.shows("with user 58")
    bert.shows("with user 57")
    pasted = "0123456789" * 7_000
    anna.type(b"\x1b[200~" + pasted.encode() + b"\x1b[201~\r")
    bert.shows(pasted[:10])
    anna.type(b"the end\r")
    bert.shows("the end")
    said = [line.split(": ", 1)[1] for line in bert.said if " 57: " in line]
    assert "".join(said) == pasted + "the end"
    assert anna.leave() == 0
    assert bert.leave() == 0
