"""The host's clock jumps by two hours, while the server runs and across restarts: ids and stamps still grow."""

import asyncio

import pytest

from harness.clock import Clock
from harness.crowd import Crowd

# More than the hour by which brokers let a producer's clock be ahead, as they ship.
HOURS = 2 * 3600

@pytest.fixture
def clock(folder):
    return Clock(folder)


async def test_jumps(deployment, clock, form, dice, tell):
    server = deployment.start(environment=clock.environment)
    jumps = [HOURS, -HOURS, 0, -HOURS, HOURS] * form.rounds(1, 3)
    # By jump: what was made after the last one and acked before it.
    stretches: list[set[int]] = []
    async with Crowd([server], dice) as crowd:
        for number, offset in enumerate(jumps):
            begin = crowd.ledger.next_id
            await crowd.runs(form.seconds(1.5, 5))
            stretches.append(crowd.acked_from(begin))
            if number % 2 == 0:
                assert await asyncio.to_thread(server.stop) == 0, server.story()
                clock.set(offset)
                await server.begin()
            else:
                clock.set(offset)
            await crowd.until_acks(5)
        begin = crowd.ledger.next_id
        await crowd.runs(form.seconds(1.5, 5))
        stretches.append(crowd.acked_from(begin))
    assert all(stretches), "nothing was sent between two jumps"
    hlc = {message["message_id"]: message["hlc"] for order in crowd.ledger.order.values() for message in order}
    for earlier, later in zip(stretches, stretches[1:]):
        assert max(earlier) < min(later), f"ids went back: {max(earlier)}, then {min(later)}"
        newest, oldest = max(hlc[each] for each in earlier), min(hlc[each] for each in later)
        assert newest < oldest, f"stamps went back: {newest}, then {oldest}"
    tell(crowd, "the wall clock jumps", f"two hours forth and back {len(jumps)} times (the server's alone), half of them across a "
         "restart", "every id and stamp of a stretch is above all of the stretch before")
