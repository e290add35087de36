"""Two servers in one consumer group: one joins, leaves, joins, is killed, and is frozen for longer than
its session, so that it wakes up as one that was thought dead."""

import asyncio

import pytest

from harness.crowd import Crowd
from harness.deployment import SESSION_SECONDS


@pytest.fixture(scope="module")
def first(deployment):
    return deployment.start(1)


async def test_servers_come_and_go(deployment, first, form, dice, tell):
    second = deployment.new(2)
    rounds = form.rounds(1, 3)
    servers = [first] if form.is_dry else [first, second]
    async with Crowd(servers, dice) as crowd:

        async def join() -> None:
            """The second one starts, and half of the members move to it."""
            await crowd.runs(form.seconds(1, 5))
            await second.begin()
            await crowd.settle_in()
            await crowd.runs(form.seconds(3, 10))

        for _ in range(rounds):
            await join()
            assert await asyncio.to_thread(second.stop) == 0, second.story()
            await crowd.until_acks()
            await join()
            second.kill()
            await crowd.until_acks()
            await crowd.runs(form.seconds(SESSION_SECONDS, 15))
            await join()
            second.freeze()
            await crowd.runs(form.seconds(SESSION_SECONDS + 3, 20))
            second.thaw()
            await crowd.runs(form.seconds(4, 10))
            assert second.is_alive(), second.story()
            assert await asyncio.to_thread(second.stop) == 0, second.story()
        await crowd.until_acks()
    tell(crowd, "the consumer group is rebalanced under load",
         "a second server joins, leaves politely, joins, is killed, joins, is frozen (SIGSTOP) for longer than its session "
         f"and wakes up, leaves; {rounds} times", "half of the members are on it each time; one dense order throughout")
