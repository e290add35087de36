"""The host's clock jumps by an hour, while the server runs and across restarts: ids and stamps still grow."""

import asyncio
import glob

import pytest

from harness.crowd import Crowd

HOUR = 3600

LIBRARY = "/usr/lib/*/faketime/libfaketime.so.1"


class Clock:
    """The server's wall clock, through libfaketime. Its monotonic clock is the host's."""

    def __init__(self, file) -> None:
        found = glob.glob(LIBRARY)
        assert found, f"{LIBRARY} is missing: install libfaketime"
        self.file = file
        self.set(0)
        self.environment = {
            "LD_PRELOAD": found[0], "FAKETIME_TIMESTAMP_FILE": str(file), "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1",
        }

    def set(self, offset: int) -> None:
        """So many seconds off from now on."""
        self.file.write_text(f"{offset:+d}", encoding="ascii")


@pytest.fixture
def clock(folder):
    return Clock(folder / "clock")


async def test_jumps(deployment, clock, form, dice, tell):
    server = deployment.start(environment=clock.environment)
    jumps = [HOUR, -HOUR, 0, -HOUR, HOUR] * form.rounds(1, 6)
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
                await asyncio.to_thread(server.start)
            else:
                clock.set(offset)
            await crowd.until_acks(5)
        begin = crowd.ledger.next_id
        await crowd.runs(form.seconds(1.5, 5))
        stretches.append(crowd.acked_from(begin))
    await crowd.audit()
    assert all(stretches), "nothing was sent between two jumps"
    hlc = {message["message_id"]: message["hlc"] for order in crowd.ledger.order.values() for message in order}
    for earlier, later in zip(stretches, stretches[1:]):
        assert max(earlier) < min(later), f"ids went back: {max(earlier)}, then {min(later)}"
        newest, oldest = max(hlc[each] for each in earlier), min(hlc[each] for each in later)
        assert newest < oldest, f"stamps went back: {newest}, then {oldest}"
    tell(crowd, "the wall clock jumps", f"an hour forth and back {len(jumps)} times (libfaketime), half of them across a "
         "restart", "every id and stamp of a stretch is above all of the stretch before")
