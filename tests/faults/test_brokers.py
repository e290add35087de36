"""Kafka's brokers die under load: one that leads, and two of three."""

import asyncio
import time

import pytest

from harness.crowd import Crowd
from harness.services import BROKERS

# The broker's own session (3 s with `cargo xtask services`), the election, and a busy machine.
FAILOVER_SECONDS = 20

# A send that the brokers do not confirm is refused after kafka.delivery_timeout_ms.
DELIVERY_TIMEOUT_SECONDS = 10


@pytest.fixture(scope="module")
def server(deployment):
    return deployment.start()


async def test_the_leader_of_a_partition_is_killed(deployment, server, services, form, dice, tell):
    kills, silences = form.rounds(1, 4), []
    async with Crowd([server], dice) as crowd:
        await crowd.runs(form.seconds(2, 10))
        for number in range(kills):
            conversation = crowd.conversations[number % len(crowd.conversations)]
            leader = await asyncio.to_thread(deployment.kafka.leader_of, deployment.topic, conversation)
            killed = time.monotonic()
            await services.kill(leader)
            await crowd.runs(form.seconds(7, 30))
            silences.append(crowd.silence(killed))
            assert silences[-1] < FAILOVER_SECONDS, f"no acks for {silences[-1]:.1f} s with two brokers of three"
            await services.start(leader)
            await asyncio.to_thread(deployment.kafka.wait_in_sync, deployment.topic)
        await crowd.ping()
    crowd.stayed()
    tell(crowd, "the leader of a partition is killed",
         f"SIGKILL to the broker that leads a conversation's partition, {kills} times, started again after "
         f"{form.seconds(7, 30)} s", f"without an ack for at most {max(silences):.1f} s")


async def test_two_of_three_brokers_are_gone(deployment, server, services, form, dice, tell):
    outage = form.seconds(DELIVERY_TIMEOUT_SECONDS + 6, 120)
    async with Crowd([server], dice) as crowd:
        await crowd.runs(form.seconds(2, 10))
        await services.kill(*BROKERS[1:])
        down = time.monotonic()
        await crowd.runs(outage)
        await crowd.ping()
        refused = crowd.refused_since(down)
        form.expect(refused > 0, "nothing was refused although nothing could be made durable")
        # What was acked in the first moments was on two brokers already.
        late = crowd.acked_since(down + 2)
        form.expect(late == 0, f"{late} acks from one broker of three")
        up = time.monotonic()
        await services.start(*BROKERS[1:])
        await crowd.until_acks()
        again = min(at for at in crowd.acks if at >= up) - up if crowd.acked_since(up) else 0.0
        await crowd.runs(form.seconds(2, 20))
        await crowd.ping()
    crowd.stayed()
    tell(crowd, "two of three brokers are gone", f"SIGKILL to both, started again after {outage:.0f} s",
         f"{refused} refusals with retry-after meanwhile, no connection lost; acks {again:.1f} s after the order to start")
