"""The host's clock jumps by hours, falls back across a crash, is days ahead at a start: ids and stamps grow, none
is from the future, and a server whose clock is off takes nothing until it is right."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from harness.clock import Clock
from harness.crowd import Crowd
from harness.server import Server

# More than the hour by which brokers let a producer's clock be ahead, as they ship.
HOURS = 2 * 3600
FOUR_DAYS = 4 * 86_400

# What the server says when its clock is off, and when it is right again.
OFF, RIGHT = "this host's clock is not that of", "this host's clock is right"

# How far ids may be ahead of the clock: what is reserved of them, and what a clock may be off.
AHEAD_SECONDS = 15 + 10
PATIENCE_SECONDS = 60

# Of the 41 bits of ms in an id: 2025-01-01T00:00:00Z.
EPOCH_MS = 1_735_689_600_000


@pytest.fixture
def clock(folder):
    return Clock(folder)


def said(server: Server, what: str) -> int:
    """How often it said so, over all its starts."""
    return server.log.read_text(encoding="utf-8", errors="replace").count(what)


async def until(crowd: Crowd, condition: Callable[[], object], otherwise: str) -> None:
    """Lets them talk until it is so."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, otherwise
        await crowd.runs(0.1)


class Stretches:
    """What was sent and acked while the clock was right, stretch by stretch."""

    def __init__(self, crowd: Crowd) -> None:
        self.crowd = crowd
        self.all: list[set[int]] = []
        self.begin = crowd.ledger.next_id

    async def run(self, seconds: float) -> None:
        """One stretch."""
        await self.crowd.until_acks(5)
        self.begin = self.crowd.ledger.next_id
        await self.crowd.runs(seconds)
        self.all.append(self.crowd.acked_from(self.begin))

    def grow(self) -> None:
        """After the audit: each is above the one before, nothing is there twice, and nothing is of the future."""
        assert all(self.all), "nothing was sent between two jumps"
        ledger = self.crowd.ledger
        hlc = {message["message_id"]: message["hlc"] for order in ledger.order.values() for message in order}
        assert len(hlc) == len(ledger.sent), "an id was given twice"
        for earlier, later in zip(self.all, self.all[1:]):
            assert max(earlier) < min(later), f"ids went back: {max(earlier)}, then {min(later)}"
            newest, oldest = max(hlc[each] for each in earlier), min(hlc[each] for each in later)
            assert newest < oldest, f"stamps went back: {newest}, then {oldest}"
        self.present()

    def present(self) -> None:
        """No id and no stamp is of the future."""
        latest_ms = (time.time() + AHEAD_SECONDS) * 1000
        for order in self.crowd.ledger.order.values():
            for message in order:
                ahead_ms = max((message["message_id"] >> 22) + EPOCH_MS, message["hlc"] >> 16) - latest_ms
                assert ahead_ms < 0, f"{message['message_id']} is {ahead_ms / 1000} s ahead"


async def test_jumps(deployment, clock, form, dice, tell):
    server = deployment.start(environment=clock.environment)
    jumps = [HOURS, -HOURS, -HOURS, HOURS] * form.rounds(1, 3)

    async def set_clock(offset: int, restart: bool) -> None:
        if restart:
            assert await asyncio.to_thread(server.stop) == 0, server.story()
        clock.set(offset)
        if restart:
            await server.begin()

    async with Crowd([server], dice) as crowd:
        stretches = Stretches(crowd)
        for number, offset in enumerate(jumps):
            await stretches.run(form.seconds(1.5, 5))
            moment = time.monotonic()
            await set_clock(offset, number % 2 == 0)
            if not form.is_dry:
                await until(crowd, lambda moment=moment: crowd.refused_since(moment) >= 8, "it takes what it is sent")
                silent = time.monotonic()
                await crowd.runs(1)
                assert not crowd.acked_since(silent), "it gives ids while its clock is off"
            await set_clock(0, number % 4 >= 2)
        await stretches.run(form.seconds(1.5, 5))
    if not form.is_dry:
        stretches.grow()
        assert (said(server, OFF), said(server, RIGHT)) == (len(jumps), len(jumps) // 2), server.story()
    tell(crowd, "the wall clock jumps", f"two hours forth or back {len(jumps)} times (the server's alone) and right again, half "
         "of them across a restart", "what is sent meanwhile is refused with retry-after; every id and stamp of a stretch is "
         "above all of the stretch before, and none is of the future")
    assert await asyncio.to_thread(server.stop) == 0, server.story()


async def test_set_back_across_a_crash(deployment, clock, form, dice, tell):
    server = deployment.start(2, environment=clock.environment)
    # Less than a server refuses, so that it goes on across the same milliseconds.
    offsets = [-3, -6, -9] * form.rounds(1, 5)
    async with Crowd([server], dice, pause=0.02) as crowd:
        stretches = Stretches(crowd)
        for offset in offsets:
            await stretches.run(form.seconds(1.2, 3))
            server.kill()
            clock.set(offset)
            await server.begin()
        await stretches.run(form.seconds(1.2, 3))
    stretches.grow()
    form.expect(said(server, OFF) == 0, server.story())
    tell(crowd, "our process is killed and the clock set back", f"SIGKILL under load, three seconds back before the next start, "
         f"{len(offsets)} times", "no id was given twice, and every id and stamp is above all before the crash")
    assert await asyncio.to_thread(server.stop) == 0, server.story()


async def test_four_days_ahead(deployment, clock, form, dice, tell):
    beside, ahead = deployment.start(3), deployment.start(4, environment=clock.environment)
    servers = [beside] if form.is_dry else [beside, ahead]

    async def begin_again(server: Server, offset: int = 0) -> None:
        assert await asyncio.to_thread(server.stop) == 0, server.story()
        clock.set(offset)
        await server.begin()
        await crowd.settle_in()

    async with Crowd(servers, dice) as crowd:
        stretches = Stretches(crowd)
        await stretches.run(form.seconds(1.5, 5))
        moment = time.monotonic()
        await begin_again(ahead, FOUR_DAYS)
        if not form.is_dry:
            await until(crowd, lambda: crowd.refused_since(moment) >= 8, "it takes what it is sent")
        moment = time.monotonic()
        await crowd.runs(form.seconds(4, 20))
        meanwhile, silence = crowd.acked_since(moment), crowd.silence(moment)
        clock.set(0)
        if not form.is_dry:
            await until(crowd, lambda: said(ahead, RIGHT), "it does not notice that its clock is right")
        await stretches.run(form.seconds(1.5, 5))
        for server in servers:
            await begin_again(server)
        await stretches.run(form.seconds(1.5, 5))
    assert all(stretches.all), "nothing was sent"
    if not form.is_dry:
        stretches.present()
        assert (said(ahead, OFF), said(ahead, RIGHT)) == (1, 1), ahead.story()
        assert said(beside, OFF) == 0, beside.story()
        assert meanwhile and silence < 2, f"{meanwhile} acks beside it, none for {silence} s"
    tell(crowd, "a server starts with its clock four days ahead", "another one beside it; set right after "
         f"{form.seconds(4, 20):g} s, then both started again", f"{meanwhile} acks on the other one meanwhile, none for at most "
         f"{silence:.1f} s; no id or stamp of either is of the future")
    for server in (beside, ahead):
        assert await asyncio.to_thread(server.stop) == 0, server.story()
