"""What clients may hold of the server's memory together: many who do not read, who ask and do not read, and who send
messages by halves. It stays within `limits.buffer_bytes_max`, and the memory that the server took within what it
printed at its start; who reads loses nothing and is not skipped."""

import asyncio
import contextlib
import os
import socket

import pytest
from rookery_protocol import encode

from harness.chatter import Chatter
from harness.peer import Peer
from harness.raw import BINARY, CLOSE, frame
from harness.raw_session import Deaf, RawSession
from harness.sampler import BUFFERS, CONFIG, Sampler

MIB = 1 << 20

SENDER, READER, FIRST = 5000, 5001, 5100

# Up to 10,000, which take a minute to come.
DEAF = int(os.environ.get("BUDGET_CLIENTS", "120"))
MESSAGES, BYTES = 60, 50_000


@pytest.fixture
def server(servers):
    # What is sent to fill them is no matter here.
    return servers.start(config=CONFIG + 'rate_mode = "count"\n', shards=1, key=os.urandom(32))


@contextlib.contextmanager
def sessions(server, kind, count: int):
    """So many users who are logged in."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(kind(server, FIRST + nth, 1)) for nth in range(count)]


def test_many_who_do_not_read(server, cases):
    async def flood() -> int:
        async with await Peer.login(server, SENDER) as sender, await Peer.login(server, READER) as reader:
            members = [READER, *(FIRST + nth for nth in range(min(DEAF, 1_000)))]
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
               f"{sampler.most_bytes / MIB:.0f} MiB")
    assert sampler.held > BUFFERS / 2, "they held so little that nothing was tried"


def test_many_who_ask_and_do_not_read(server, cases):
    async def fill() -> list[int]:
        users = range(FIRST, FIRST + DEAF)
        async with await Peer.login(server, SENDER) as sender:
            of_each = []
            for group in (users[at:at + 1_000] for at in range(0, DEAF, 1_000)):
                conversation = (await sender.create(list(group)))["conversation_id"]
                for _ in range(6):
                    await sender.send(conversation, bytes(BYTES))
                of_each += [conversation] * len(group)
            return of_each

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
