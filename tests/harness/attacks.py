"""What a client can do to the others on its server, as fast as one process can: each runs until it is ended."""

import contextlib
import itertools
import os
import selectors
import socket
import struct
import sys
import threading
import time

from rookery_protocol import encode

from .raw import BINARY, PING, Raw, frame
from .raw_session import Deaf, RawSession
from .target import Target, beside

FIRST = 700_000


class Attack:
    """Runs one until its end; `is_on` once it is in full swing."""

    def __init__(self, server, name: str) -> None:
        self._process = beside("harness.attacks", server, name)

    def __enter__(self) -> "Attack":
        assert self._process.stdout.readline() == "on\n", "it did not begin"
        return self

    def __exit__(self, *_: object) -> None:
        ended = self._process.poll()
        self._process.kill()
        self._process.wait()
        assert ended is None, f"it ended by itself: {ended}"


def _on() -> None:
    print("on", flush=True)


def _reset(connection: socket.socket) -> None:
    """Ends it without a word: what is on its way is thrown away."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def connection_churn(target: Target) -> None:
    """Connects and goes, each time a step further: at once, within the ClientHello, after the handshake, after the
    upgrade, after the login; by turns orderly and by a reset."""
    half_hello = bytes.fromhex("1603010200010001fc0303") + bytes(200)
    _on()
    for number in itertools.count():
        with contextlib.suppress(OSError, AssertionError):
            step = number % 5
            if step < 2:
                connection = socket.create_connection(("127.0.0.1", target.tls_port))
                connection.sendall(half_hello[:200 * step])
            elif step == 2:
                connection = Raw(target).socket
            elif step == 3:
                connection = Raw(target).upgraded().socket
            else:
                connection = RawSession(target, FIRST + number % 1_000).socket
            (_reset if number // 5 % 2 else socket.socket.close)(connection)


def small_sends(target: Target) -> None:
    """One client that sends without waiting for anything."""
    with RawSession(target, FIRST, tls=False) as flood:
        flood.ask("OpenDirect", request_id=1, peer_user_id=FIRST + 1)
        conversation = flood.hear_kind("ConversationOpened")["conversation_id"]
        threading.Thread(target=_drain, args=([flood.socket],), daemon=True).start()
        _on()
        while True:
            flood.socket.sendall(b"".join(
                frame(BINARY, encode("Send", {"conversation_id": conversation, "client_msg_id": os.urandom(16), "payload": b"x"}), mask=bytes(4))
                for _ in range(500)))


def large_fan_out(target: Target) -> None:
    """64 KiB to a group of 1,024, of whom 500 are there and read, one after the other is acked or refused."""
    members = [FIRST + nth for nth in range(1, 1_024)]
    sender = RawSession(target, FIRST, tls=False)
    here = [RawSession(target, member, tls=False).socket for member in members[:500]]
    sender.ask("CreateConversation", request_id=1, member_user_ids=members)
    conversation = sender.hear_kind("ConversationOpened")["conversation_id"]
    threading.Thread(target=_drain, args=(here,), daemon=True).start()
    _on()
    while True:
        sender.ask("Send", conversation_id=conversation, client_msg_id=os.urandom(16), payload=bytes(65_000))
        while True:
            kind, fields = sender.hear()
            if kind == "SendAck":
                break
            if kind == "Error":
                time.sleep(fields["retry_after_ms"] / 1_000)
                break


def pings(target: Target) -> None:
    """A thousand pings at once, before and after the login, again and again."""
    flood = frame(PING, b"flood", mask=bytes(4)) * 1_300
    _on()
    for number in itertools.count():
        with contextlib.suppress(OSError, AssertionError):
            with (RawSession(target, FIRST + number % 100) if number % 2 else Raw(target).upgraded()) as connection:
                connection.send(flood)
                while connection.socket.recv(1 << 16):
                    pass


def unread_pages(target: Target) -> None:
    """Clients that ask for four pages of history and do not read, and come again where they are ended."""
    with RawSession(target, FIRST, tls=False) as sender:
        members = [FIRST + nth for nth in range(1, 201)]
        sender.ask("CreateConversation", request_id=1, member_user_ids=members)
        conversation = sender.hear_kind("ConversationOpened")["conversation_id"]
        for _ in range(8):
            sender.ask("Send", conversation_id=conversation, client_msg_id=os.urandom(16), payload=bytes(60_000))
            sender.hear_kind("SendAck")
    deaf: dict[int, Deaf] = {}
    for round_ in itertools.count():
        for member in members:
            with contextlib.suppress(OSError, AssertionError):
                if member in deaf:
                    deaf.pop(member).socket.close()
                deaf[member] = Deaf(target, member, 1)
                for number in range(1, 5):
                    deaf[member].ask("History", request_id=number, conversation_id=conversation, before_seq=0, limit=100)
        if round_ == 0:
            _on()


def half_messages(target: Target) -> None:
    """Clients that send most of a message, and come again where they are ended."""
    part = frame(BINARY, encode("Send", {"conversation_id": 1, "client_msg_id": bytes(16), "payload": bytes(65_000)}))[:-10]
    halting: dict[int, RawSession] = {}
    for round_ in itertools.count():
        for member in range(FIRST, FIRST + 800):
            with contextlib.suppress(OSError, AssertionError):
                if member in halting:
                    halting.pop(member).socket.close()
                halting[member] = RawSession(target, member, tls=False)
                halting[member].socket.sendall(part)
        if round_ == 0:
            _on()


def _drain(sockets: list[socket.socket]) -> None:
    """Reads all that comes."""
    ready = selectors.DefaultSelector()
    for one in sockets:
        one.setblocking(True)
        ready.register(one, selectors.EVENT_READ)
    while True:
        for key, _ in ready.select():
            if not key.fileobj.recv(1 << 18):
                ready.unregister(key.fileobj)


ATTACKS = {run.__name__: run for run in (connection_churn, small_sends, large_fan_out, pings, unread_pages, half_messages)}

if __name__ == "__main__":
    ATTACKS[sys.argv[2]](Target.parse(sys.argv[1]))
