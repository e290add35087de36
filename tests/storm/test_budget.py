"""What clients may hold of the server's memory together: many who do not read, who ask and do not read, and who send
messages by halves. It stays within `limits.buffer_bytes_max`, and the memory that the server took within what it
printed at its start; who reads loses nothing and is not skipped."""

import asyncio
import contextlib
import os
import re
import socket
import threading

import pytest
from rookery_protocol import encode

from harness.admin import Admin
from harness.chatter import Chatter
from harness.peer import Peer
from harness.raw import BINARY, CLOSE, frame
from harness.raw_session import Deaf, RawSession

MIB = 1 << 20

# A budget that some hundred clients would pass several times, and the rest of memory as small as it gets.
BUFFERS = 32 * MIB
CONFIG = f"""
[limits]
buffer_bytes_max = {BUFFERS}
connections_max = 2000
handshakes_max = 500
"""

# What one turn may add before it is looked at: a fan-out of a message to everybody.
TURN = 4 * MIB

SENDER, READER, FIRST = 5000, 5001, 5100
DEAF = 120
MESSAGES, BYTES = 60, 50_000


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
        assert self.rss <= most_bytes(self.server), f"{self.rss / MIB:.1f} MiB"


def most_bytes(server) -> int:
    """What the server said at its start that it takes at most, without the kernel's part."""
    line = next(line for line in server.said if line.startswith("memory at most "))
    parts = {name: int(mib) * MIB for name, mib in re.findall(r"([a-z][a-zA-Z ]+) (\d+)", line.split(":")[1])}
    assert sum(parts.values()) >= int(line.split()[3]) * MIB
    return sum(size for name, size in parts.items() if not name.startswith("kernel"))


@pytest.fixture
def server(servers):
    return servers.start(config=CONFIG, shards=1, key=os.urandom(32))


@contextlib.contextmanager
def sessions(server, kind, count: int):
    """So many users who are logged in."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(kind(server, FIRST + nth, 1)) for nth in range(count)]


def test_many_who_do_not_read(server, cases):
    async def flood() -> int:
        async with await Peer.login(server, SENDER) as sender, await Peer.login(server, READER) as reader:
            members = [READER, *(FIRST + nth for nth in range(DEAF))]
            conversation = (await sender.create(members))["conversation_id"]
            for sent in range(1, MESSAGES + 1):
                await sender.send(conversation, bytes(BYTES))
                await reader.wait_for(lambda: len(reader.delivered[conversation]) >= sent or reader.lagged)
            assert reader.lagged == 0, f"who reads was skipped {reader.lagged} times"
            assert reader.seqs(conversation) == list(range(1, MESSAGES + 1))
            return sender.lagged

    with Sampler(server) as sampler, Chatter(server) as chatter, sessions(server, Deaf, DEAF):
        asyncio.run(flood())
        chatter.check()
        shed = sampler.shed("queue")
    sampler.check()
    cases.note(f"{DEAF} that did not read {MESSAGES * BYTES / MIB:.1f} MiB each: at most {sampler.held / MIB:.1f} MiB "
               f"held of {BUFFERS / MIB:.0f}, {shed} ended; the server took {sampler.rss / MIB:.0f} of "
               f"{most_bytes(server) / MIB:.0f} MiB")
    assert sampler.held > BUFFERS / 2, "they held so little that nothing was tried"


def test_many_who_ask_and_do_not_read(server, cases):
    async def fill() -> list[int]:
        async with await Peer.login(server, SENDER) as sender:
            opened = [await sender.open_direct(FIRST + nth) for nth in range(DEAF)]
            for conversation in opened:
                await asyncio.gather(*(sender.send(conversation, bytes(BYTES)) for _ in range(6)))
            return opened

    conversations = asyncio.run(fill())
    with Sampler(server) as sampler, Chatter(server) as chatter, sessions(server, Deaf, DEAF) as deaf:
        for client, conversation in zip(deaf, conversations, strict=True):
            client.socket.settimeout(0.2)
            with contextlib.suppress(OSError):
                for number in range(1, 5):
                    client.ask("History", request_id=number, conversation_id=conversation, before_seq=0, limit=100)
        chatter.check()
        read_all(server, conversations[-1])
        chatter.check()
        shed = sampler.shed("queue")
    sampler.check()
    cases.note(f"{DEAF} asked for four pages of history and did not read: at most {sampler.held / MIB:.1f} MiB held of "
               f"{BUFFERS / MIB:.0f}, {shed} ended")
    assert shed > 0, "nobody had to go"


def read_all(server, conversation: int) -> None:
    """Who reads what it asks for gets all of it."""
    with RawSession(server, SENDER, 2) as reader:
        for number in range(1, 21):
            reader.ask("History", request_id=number, conversation_id=conversation, before_seq=0, limit=100)
        heard = [len(reader.hear_kind("HistoryPage")["messages"]) for _ in range(20)]
        assert all(heard), heard


class Halting(RawSession):
    """A client that sends most of a message."""

    def __init__(self, server, user: int, device: int) -> None:
        super().__init__(server, user, device, tls=False)
        send = {"conversation_id": 1, "client_msg_id": bytes(range(16)), "payload": bytes(65_000)}
        self.socket.sendall(frame(BINARY, encode("Send", send))[:-10])


def test_many_who_send_by_halves(server, cases):
    count = 700
    with Sampler(server) as sampler, Chatter(server) as chatter, sessions(server, Halting, count) as halting:
        chatter.check()
        shed = sampler.shed("input")
        ended = [client for client in halting if is_readable(client)]
        codes = {code_of(client) for client in ended}
        chatter.check()
    sampler.check()
    cases.note(f"{count} sent most of a message: at most {sampler.held / MIB:.1f} MiB held of {BUFFERS / MIB:.0f}, "
               f"{shed} ended with {codes}")
    assert shed > 0 and codes == {1013}, (shed, codes)


def is_readable(client: RawSession) -> bool:
    client.socket.setblocking(False)
    try:
        client.socket.recv(1, socket.MSG_PEEK)
        return True
    except BlockingIOError:
        return False
    finally:
        client.socket.settimeout(10)


def code_of(client: RawSession) -> int:
    while True:
        opcode, payload = client.read_frame()
        if opcode == CLOSE:
            return int.from_bytes(payload[:2], "big")
