"""PostgreSQL fails over to a copy that lacks its last second: what was sent to a conversation that was opened in
it is acked, and the log has its opening."""

import asyncio
import time

import pytest

from harness.crowd import Crowd
from harness.services import STORE

# Positions are written every two seconds.
PASSED_SECONDS = 3

# From a start until the openings of the last seconds were read again and written.
BACK_SECONDS = 60


@pytest.fixture
def server(deployment):
    started = deployment.start()
    yield started
    assert started.stop() == 0


async def say(crowd: Crowd, conversation: int, text: bytes) -> None:
    """A message of the first member's, acked."""
    member = crowd.members[0]
    await crowd.until_acked(member, crowd.ledger.new(member.user, conversation, text))


async def test_a_copy_that_lacks_the_last_second(deployment, server, services, form, dice, tell):
    rounds, letters, back = form.rounds(1, 3), [], []
    async with Crowd([server], dice) as crowd:
        for _ in range(rounds):
            await crowd.runs(form.seconds(1, 5))
            lost = await crowd.open_conversation()
            await say(crowd, lost, b"stored")
            # The position of its partition is behind the opening by now.
            await crowd.runs(form.seconds(PASSED_SECONDS, PASSED_SECONDS))
            # Acked, and consumed by nobody.
            await services.freeze(STORE)
            await say(crowd, lost, b"acked")
            await crowd.until_acks()
            server.kill()
            if not form.is_dry:
                for table, column in (("members", "conversation_id"), ("conversations", "id")):
                    deployment.query(f"DELETE FROM {table} WHERE {column} = {lost}")
            await services.thaw(STORE)
            begin = time.monotonic()
            await server.begin()
            while not form.is_dry and not deployment.query(f"SELECT id FROM conversations WHERE id = {lost}"):
                letters = await asyncio.to_thread(deployment.kafka.records, deployment.dead_letters)
                assert not letters, f"acked and put aside: {letters}"
                assert time.monotonic() < begin + BACK_SECONDS, f"conversation {lost} is not there again"
                await asyncio.sleep(0.2)
            back.append(time.monotonic() - begin)
            await say(crowd, lost, b"and then")
            crowd.conversations.append(lost)
            await crowd.until_acks()
    if not form.is_dry:
        letters = await asyncio.to_thread(deployment.kafka.records, deployment.dead_letters)
        assert not letters, f"acked and put aside: {letters}"
    tell(crowd, "PostgreSQL fails over to a copy that lacks its last second",
         f"a conversation deleted that was just opened, between SIGKILL to the server and its start, {rounds} times",
         f"there again with all of its messages {max(back):.1f} s after the order to start; nothing in the dead letters")
