"""Redis goes and comes back, with its data and without. Old messages that are sent again stay one message."""

import asyncio
import os
import shutil
import subprocess
import time
from urllib.parse import urlsplit

import pytest

from harness.crowd import Crowd
from harness.services import CACHE

RETRIES = 40


@pytest.fixture(scope="module")
def server(deployment):
    return deployment.start()


async def flush(deployment, form) -> None:
    """Everything that Redis knows is lost, while it runs and everybody is connected."""
    if form.is_dry:
        return
    client = shutil.which("redis-cli")
    assert client, "redis-cli is missing: install redis-tools"
    where = urlsplit(deployment.addresses.redis)
    command = [client, "-h", where.hostname, "-p", str(where.port), "FLUSHALL"]
    # Not by its URL: without a user's name there it logs in as a user of no name.
    ended = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False, timeout=30,
                                    env={**os.environ, "REDISCLI_AUTH": where.password or ""})
    assert ended.stdout.strip() == "OK", ended.stdout + ended.stderr


async def test_gone_and_back_with_its_data(server, services, form, dice, tell):
    outage = form.seconds(5, 60)
    async with Crowd([server], dice) as crowd:
        await crowd.runs(form.seconds(3, 20))
        await crowd.retry_acked(RETRIES)
        await services.kill(CACHE)
        down = time.monotonic()
        await crowd.retry_acked(RETRIES)
        await crowd.runs(outage)
        await crowd.retry_acked(RETRIES)
        acked, silence = crowd.acked_since(down), crowd.silence(down)
        assert acked > RETRIES and silence < 10, f"{acked} acks, none for {silence:.1f} s: the store knows what was sent"
        await services.start(CACHE)
        await crowd.retry_acked(RETRIES)
        await crowd.runs(form.seconds(3, 20))
        await crowd.retry_acked(RETRIES)
    crowd.stayed()
    tell(crowd, "Redis is gone and comes back", f"SIGKILL, started again with its data after {outage:.0f} s",
         f"{acked} acks meanwhile, none for at most {silence:.1f} s; {crowd.ledger.retries_of_acked} acked messages sent "
         "again before, during and after: the same ids, one message each")


async def test_its_data_is_lost_while_it_runs(deployment, server, form, dice, tell):
    flushes = form.rounds(2, 10)
    async with Crowd([server], dice) as crowd:
        for _ in range(flushes):
            await crowd.runs(form.seconds(2, 5))
            await flush(deployment, form)
            await crowd.retry_acked(RETRIES)
        await crowd.runs(form.seconds(1, 10))
    crowd.stayed()
    tell(crowd, "Redis loses its data while it runs", f"FLUSHALL, {flushes} times",
         f"{crowd.ledger.retries_of_acked} acked messages sent again at once: the same ids, one message each")


async def test_gone_and_back_without_its_data(deployment, server, services, form, dice, tell):
    rounds = form.rounds(1, 3)
    async with Crowd([server], dice) as crowd:
        for _ in range(rounds):
            await crowd.runs(form.seconds(2, 10))
            await services.kill(CACHE)
            await crowd.runs(form.seconds(2, 15))
            await services.start(CACHE)
            await flush(deployment, form)
            await crowd.retry_acked(RETRIES)
            await crowd.runs(form.seconds(1, 10))
            await crowd.retry_acked(RETRIES)
    crowd.stayed()
    tell(crowd, "Redis comes back empty", f"SIGKILL, started again and FLUSHALL, {rounds} times",
         f"{crowd.ledger.retries_of_acked} acked messages sent again: the same ids, one message each")
