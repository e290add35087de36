"""Clients that do not read, or read too late: bounded memory, and nobody else waits for them."""

import asyncio

import pytest

from harness.peer import Peer
from harness.raw import CLOSE
from harness.raw_session import Deaf, RawSession, decode

pytestmark = pytest.mark.usefixtures("undisturbed")

READER, SENDER = 4400, 4401
MESSAGES, BYTES = 400, 60_000
# 300 kB at a time: they fit into the queue of a device that reads.
BURST = 5
FLOODS = 4
SLOW_READER = 4002

# 24 MB are sent to a client that does not read; 1 MiB of it may be queued. The rest is what the store
# and the allocator move by after they have seen such floods.
MEMORY_SLACK = 12 << 20


async def nobody_to_wait_for(conversation: int, sent: int) -> None:
    """Sends on at once."""


async def flood(server, conversation_with: int, wait_for=nobody_to_wait_for) -> tuple[int, int]:
    """Sends to a user, waiting after each burst; the conversation and how many messages."""
    async with await Peer.login(server, SENDER) as sender:
        conversation = await sender.open_direct(conversation_with)
        for start in range(0, MESSAGES, BURST):
            await asyncio.gather(*(sender.send(conversation, bytes(BYTES)) for _ in range(BURST)))
            await wait_for(conversation, start + BURST)
    return conversation, MESSAGES


def test_a_client_that_never_reads(server, chatter, cases):
    # The same floods first without such a client: the store's write buffers go around once.
    rss = 0
    for _ in range(FLOODS):
        asyncio.run(flood(server, READER))
        rss = max(rss, server.rss_bytes())
    with Deaf(server, READER, 1) as deaf:

        async def good_device_gets_all() -> tuple[int, int]:
            async with await Peer.login(server, READER, 2) as good:

                async def good_has(conversation: int, sent: int) -> None:
                    await good.wait_for(lambda: len(good.delivered[conversation]) + good.lagged >= sent)

                conversation, sent = await flood(server, READER, good_has)
                assert good.lagged == 0, f"the device that reads was skipped {good.lagged} times"
                assert good.seqs(conversation) == list(range(FLOODS * sent + 1, (FLOODS + 1) * sent + 1))
                return conversation, sent

        conversation, sent = asyncio.run(good_device_gets_all())
        chatter.check()
        grown = server.wait_rss_bytes(rss + MEMORY_SLACK) - rss

        delivered, skipped, closed = 0, 0, None
        deaf.ask("Ping", nonce=1)
        while delivered + skipped < sent and closed is None:
            opcode, payload = deaf.read_frame()
            if opcode == CLOSE:
                closed = int.from_bytes(payload[:2], "big")
                continue
            kind, fields = decode(payload)
            delivered += kind == "Deliver" and fields["conversation_id"] == conversation
            skipped += fields["skipped"] if kind == "Lagged" else 0
        assert closed in (None, SLOW_READER), closed
        assert closed or skipped > 0, "24 MB fitted into a queue of 1 MiB"
    cases.note(f"a client that did not read {sent * BYTES >> 20} MiB: {delivered} delivered, {skipped} skipped and "
               f"told so, closed with {closed}; server grew by {grown >> 10} KiB")

    async def catches_up() -> None:
        async with await Peer.login(server, READER, 1) as back:
            messages = await back.sync_all(conversation)
            assert [message["seq"] for message in messages] == list(range(1, (FLOODS + 1) * sent + 1))

    asyncio.run(catches_up())


def test_a_client_that_asks_and_never_reads(server, chatter):
    """The answers to its own requests are bounded too."""
    rss = server.rss_bytes()

    async def fill() -> int:
        async with await Peer.login(server, 4402) as sender:
            conversation = await sender.open_direct(4403)
            await asyncio.gather(*(sender.send(conversation, bytes(BYTES)) for _ in range(50)))
            return conversation

    conversation = asyncio.run(fill())
    with Deaf(server, 4403, 1) as deaf:
        deaf.socket.settimeout(0.2)
        try:
            for number in range(1, 2000):
                deaf.ask("History", request_id=number, conversation_id=conversation, before_seq=0, limit=100)
        except TimeoutError:
            pass  # It is not read from any more: that is the bound.
        chatter.check()
        # Answers on their way when the limit was met are dropped; the allocator takes a second or two.
        server.wait_rss_bytes(rss + MEMORY_SLACK)


def read_many_pages(server) -> int:
    """Asks for more pages at once than any queue holds; the bytes that came."""
    pages, messages = 64, 50

    async def fill() -> int:
        async with await Peer.login(server, 4404) as sender:
            conversation = await sender.open_direct(4405)
            await asyncio.gather(*(sender.send(conversation, bytes(BYTES)) for _ in range(messages)))
            return conversation

    conversation = asyncio.run(fill())
    with RawSession(server, 4405, tls=False) as slow:
        for number in range(1, pages + 1):
            slow.ask("History", request_id=number, conversation_id=conversation, before_seq=0, limit=100)
        slow.ask("Ping", nonce=1)
        read, heard, ponged = 0, set(), False
        # The Pong may overtake the last pages: a Ping asks nothing of the store. Messages that were acked
        # may still be on their way to the conversation's members.
        while len(heard) < pages or not ponged:
            kind, fields = slow.hear()
            if kind in ("Pong", "Deliver"):
                ponged = ponged or kind == "Pong"
                continue
            assert kind == "HistoryPage", (kind, fields)
            assert fields["messages"], "an empty page of a full conversation"
            heard.add(fields["request_id"])
            read += sum(len(message["payload"]) for message in fields["messages"])
        assert heard == set(range(1, pages + 1))
    return read


def test_many_pages_asked_for_at_once_all_come(server, chatter, cases):
    """A client may ask for all that it lacks in one go. It gets as much as it reads, takes no more of the
    server meanwhile than one that asks page by page, and is not closed for being slower than the store."""
    read = read_many_pages(server)
    chatter.check()
    cases.note(f"64 pages asked for at once, {read >> 20} MiB: all came")
    assert read > 2 << 20, "they would have fitted into a send queue"


def test_the_smallest_queue_holds_the_pages_that_are_asked_for(servers, cases):
    """A queue that holds one message gets pages of one message, one at a time."""
    small = servers.start(config="[limits]\npayload_bytes_max = 61000\nsend_queue_bytes_max = 62100\n")
    read = read_many_pages(small)
    cases.note(f"64 pages through a queue of 62,100 B, {read >> 20} MiB: all came")
