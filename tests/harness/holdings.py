"""What a test holds, and how it is given back: a test that fails leaves no socket, no process and no server
behind, so that its neighbours in the same run are judged by themselves.

Python alone does not do it. pytest keeps the frames of the last failure, and with them everything that
the test had open.
"""

import contextlib
import os
import signal
import socket
import sys
import weakref
from pathlib import Path

_SOCKETS: weakref.WeakKeyDictionary[socket.socket, None] = weakref.WeakKeyDictionary()


def _note(event: str, arguments: tuple) -> None:
    """Of every socket of this process, whoever makes it."""
    if event == "socket.__new__" and isinstance(arguments[0], socket.socket):
        _SOCKETS[arguments[0]] = None


sys.addaudithook(_note)


def sockets() -> set[socket.socket]:
    """Those that are open."""
    return {each for each in list(_SOCKETS) if each.fileno() >= 0}


def children() -> set[int]:
    """Processes that this one has started and that nobody has waited for."""
    found = set()
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(ValueError, OSError):
            # The name in parentheses may hold anything.
            fields = (entry / "stat").read_text(encoding="latin-1").rpartition(")")[2].split()
            if int(fields[1]) == os.getpid():
                found.add(int(entry.name))
    return found


class Holdings:
    """What this process holds at one moment."""

    def __init__(self) -> None:
        self._sockets = sockets()
        self._children = children()

    def close_sockets(self) -> None:
        """Closes those that came since. First of all: with no descriptor left nothing else can be looked at."""
        for each in sockets() - self._sockets:
            with contextlib.suppress(OSError):
                each.close()

    def end_children(self, *, but: set[int]) -> None:
        """Kills those that came since, with these exceptions."""
        for child in children() - self._children - but:
            with contextlib.suppress(OSError):
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
