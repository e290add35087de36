"""PostgreSQL is away: known conversations go on, new ones are refused with retry-after."""

import time

import pytest

from harness.crowd import Crowd, patiently
from harness.peer import Refused
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
