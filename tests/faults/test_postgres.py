"""PostgreSQL is away: known conversations go on, new ones are refused with retry-after."""

import asyncio
import time

import pytest

from harness.crowd import Crowd, patiently
from harness.peer import Peer, Refused
from harness.services import DATABASE

REFUSAL_SECONDS = 15


@pytest.fixture(scope="module")
def server(deployment):
    return deployment.start()


async def opening(crowd: Crowd) -> Refused | None:
    """Opens a conversation that nobody knows; how that was refused."""
    begin = time.monotonic()
    try:
        await crowd.members[0].peer.open_direct(crowd.dice.randrange(1 << 41, 1 << 42))
        return None
    except Refused as refused:
        assert time.monotonic() < begin + REFUSAL_SECONDS, "the refusal took too long"
        return refused


@pytest.mark.produces(203)
@pytest.mark.parametrize("how", ["killed", "frozen"])
async def test_gone_and_back(how, server, services, form, dice, tell):
    outage = form.seconds(6, 60)
    hurt, heal = (services.kill, services.start) if how == "killed" else (services.freeze, services.thaw)
    async with Crowd([server], dice) as crowd:
        await crowd.runs(form.seconds(1, 10))
        await hurt(DATABASE)
        down = time.monotonic()
        await crowd.runs(outage / 2)
        refused = await opening(crowd)
        form.expect(refused, "a conversation was opened without the authority over members")
        assert refused is None or refused.retry_after_ms > 0, f"refused for good: {refused}"
        await crowd.runs(outage / 2)
        acked, silence = crowd.acked_since(down), crowd.silence(down)
        assert acked > 0 and silence < 10, f"{acked} acks, none for {silence:.1f} s in conversations that are known"
        up = time.monotonic()
        await heal(DATABASE)
        crowd.conversations.append(await crowd.open_conversation())
        opened = time.monotonic() - up
        await patiently(lambda: crowd.members[0].peer.open_direct(crowd.members[1].user))
        await crowd.runs(form.seconds(1, 10))
    crowd.stayed()
    tell(crowd, f"PostgreSQL is {how}", f"{'SIGKILL' if how == 'killed' else 'SIGSTOP'}, back after {outage:.0f} s",
         f"{acked} acks in known conversations meanwhile, none for at most {silence:.1f} s; a new one refused ({refused}), "
         f"opened {opened:.1f} s after the order to start")


async def refused(request) -> float:
    """How long a request waited for its refusal."""
    begin = time.monotonic()
    with pytest.raises(Refused):
        await request
    return time.monotonic() - begin


async def test_frozen_under_a_hostile_sender(server, services, form, dice, tell):
    """Whoever asks for what only PostgreSQL knows waits for it alone."""
    rounds = form.rounds(30, 300)
    async with Crowd([server], dice) as crowd:
        await crowd.runs(form.seconds(1, 10))
        hostile = await Peer.login(server, dice.randrange(1 << 42, 1 << 43))
        await services.freeze(DATABASE)
        down = time.monotonic()
        # The first of them find out that it hangs.
        first = await refused(hostile.send(1, b"to nobody"))
        waited = [acked for acked in crowd.acks if down + first / 2 < acked < down + first]
        assert waited, f"nobody's message was acked while this one waited for {first:.1f} s"
        asked = 0
        for _ in range(rounds):
            nobody = dice.randrange(1 << 43, 1 << 44)
            await asyncio.gather(refused(hostile.send(1, b"to nobody")), refused(hostile.open_direct(nobody)))
            asked += 2
            await asyncio.sleep(0.1)
        acked, silence = crowd.acked_since(down), crowd.silence(down)
        await services.thaw(DATABASE)
        await patiently(lambda: hostile.open_direct(crowd.members[0].user))
        await crowd.runs(form.seconds(1, 10))
    crowd.stayed()
    tell(crowd, "PostgreSQL is frozen under a hostile sender", "SIGSTOP; a stranger sends to a conversation that does not exist and "
         f"opens others, {asked} requests", f"{acked} acks in known conversations meanwhile, none for at most {silence:.1f} s; the "
         f"stranger's first request waited for {first:.1f} s")
