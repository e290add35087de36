"""What a device missed, on the real services: from either server of a deployment, over its restart, and from a
conversation that is too large for inbox rows."""

import asyncio
import time

import pytest

from harness.deployment import Deployment
from harness.peer import Peer
from harness.services import Addresses

# Inbox rows and receipts are written once a second; a hang, not a slow machine, should meet it.
WAIT_SECONDS = 30
ANNA, BERT = 31, 32


@pytest.fixture(scope="module")
def deployment(folder):
    made = Deployment(folder, Addresses.from_environment()).prepare()
    yield made
    made.end()


async def until(peer: Peer, wanted: list[int]) -> None:
    """Waits until a walk through the outbox brings these messages, each once."""
    deadline = time.monotonic() + WAIT_SECONDS
    while (found := sorted(message["message_id"] for message in (await peer.whole_outbox(7))[0])) != sorted(wanted):
        assert time.monotonic() < deadline, (found, wanted)
        await asyncio.sleep(0.1)


async def test_a_device_comes_back_to_another_server(deployment):
    first, second = deployment.start(1), deployment.start(2)
    async with await Peer.login(first, BERT) as bert:
        direct = await bert.open_direct(ANNA)
        crowd = (await bert.create([ANNA, *range(1_000, 1_300)]))["conversation_id"]
        sent = [await bert.send((direct, crowd)[number % 2], b"%d" % number) for number in range(30)]
    missed = [ack["message_id"] for ack in sent][::-1]
    of_crowd = [ack["message_id"] for ack in sent if ack["conversation_id"] == crowd][::-1]
    for server in (first, second):
        async with await Peer.login(server, ANNA) as anna:
            await until(anna, missed)
    async with await Peer.login(second, ANNA) as anna:
        await anna.received(direct, 15)
        await until(anna, of_crowd)
        assert not (await anna.outbox())["needs_full_sync"]
    async with await Peer.login(first, ANNA) as anna:
        # The other server writes the ack within a second or so.
        await until(anna, of_crowd)
        await anna.received(crowd, 14)
        await until(anna, of_crowd[:1])
    first.stop()
    second.stop()
    async with await Peer.login(deployment.start(3), ANNA) as anna:
        await until(anna, of_crowd[:1])
    async with await Peer.login(deployment.start(4), ANNA, 2) as other:
        await until(other, missed)
