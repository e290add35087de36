"""The store is away: the log goes on, and what is read from the store is refused with retry-after."""

import asyncio
import time

import pytest

from harness.crowd import Crowd
from harness.peer import Refused
from harness.services import STORE

# In which a Sync must have its answer or its refusal: the driver's time limit and a busy machine.
REFUSAL_SECONDS = 15


@pytest.fixture(scope="module")
def server(deployment):
    return deployment.start()


async def refused_sync(crowd: Crowd) -> Refused | None:
    """A Sync, and how it was refused."""
    auditors = await crowd.auditors()
    begin = time.monotonic()
    try:
        await auditors[0].sync(crowd.conversations[0], 0)
        return None
    except Refused as refused:
        assert time.monotonic() < begin + REFUSAL_SECONDS, "the refusal took too long"
        return refused
    finally:
        await asyncio.gather(*(auditor.close() for auditor in auditors))


async def outage_of(hurt, heal, outage, server, form, dice) -> tuple[Crowd, str]:
    """A crowd that talks through an outage of the store, audited."""
    async with Crowd([server], dice) as crowd:
        await crowd.runs(form.seconds(2, 10))
        await hurt(STORE)
        down = time.monotonic()
        await crowd.runs(form.seconds(3, 10))
        refused = await refused_sync(crowd)
        form.expect(refused, "Sync was answered without a store")
        assert refused is None or refused.retry_after_ms > 0, f"refused for good: {refused}"
        await crowd.runs(max(0.0, down + outage - time.monotonic()))
        acked, silence = crowd.acked_since(down), crowd.silence(down)
        assert acked > 0 and silence < 10, f"{acked} acks, none for {silence:.1f} s: the log does not need the store"
        heard_at_its_end = heard(crowd)
        await crowd.ping()
        up = time.monotonic()
        await heal(STORE)
        back = time.monotonic()
    crowd.stayed()
    there = len(crowd.ledger.sent)
    seen = (f"{acked} acks during {back - down:.0f} s without the store, none for at most {silence:.1f} s; Sync refused "
            f"({refused}); {heard_at_its_end} of {there} messages heard live by then; the store took {back - up:.1f} s to start")
    return crowd, seen


def heard(crowd: Crowd) -> int:
    """Messages that the first member heard live."""
    return sum(len(set(crowd.members[0].peer.seqs(conversation))) for conversation in crowd.conversations)


async def test_the_store_is_killed(server, services, form, dice, tell):
    outage = form.seconds(15, 180)
    crowd, seen = await outage_of(services.kill, services.start, outage, server, form, dice)
    tell(crowd, "the store is down", f"SIGKILL to Cassandra, started again after {outage:.0f} s", seen)


async def test_the_store_hangs(server, services, form, dice, tell):
    """Its connections stay open and nothing answers: only time limits tell."""
    outage = form.seconds(8, 60)
    crowd, seen = await outage_of(services.freeze, services.thaw, outage, server, form, dice)
    tell(crowd, "the store hangs", f"SIGSTOP to Cassandra for {outage:.0f} s", seen)
