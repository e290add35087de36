"""Our process is killed: at random moments, and at the three that matter, between append and ack, ack and
store, store and commit."""

import asyncio
import time
from collections import Counter

import pytest

from harness import records as records_of
from harness.crowd import AUDITOR, Crowd, patient_sync
from harness.peer import Peer
from harness.services import BROKERS, STORE


@pytest.fixture
def server(deployment, services):
    """One for each test, so that a kill that goes wrong shows where it was."""
    started = deployment.start()
    yield started
    assert started.stop() == 0


async def restart(server) -> float:
    """How long it took to be ready, s."""
    begin = time.monotonic()
    await server.begin()
    return time.monotonic() - begin


async def twice_in_the_log(deployment, crowd: Crowd) -> int:
    """Messages of the crowd's of which the log has more than one record."""
    records = await asyncio.to_thread(deployment.kafka.records, deployment.topic)
    messages = [message for record in records if (message := records_of.message(record.value))]
    counted = Counter((message.sender, message.client_msg_id) for message in messages)
    return sum(counted[key] > 1 for key in crowd.ledger.sent)


async def test_at_random_moments(deployment, server, form, dice, tell):
    kills, restarts = form.rounds(5, 30), []
    async with Crowd([server], dice) as crowd:
        for number in range(kills):
            await crowd.runs(dice.uniform(0.1, 1.5))
            server.kill()
            if number % 3 == 2:
                # In the middle of the start too.
                server.launch()
                await asyncio.sleep(dice.uniform(0.0, 1.0))
                server.kill()
            restarts.append(await restart(server))
            await crowd.until_acks(5)
        await crowd.retry_acked(50)
    twice = await twice_in_the_log(deployment, crowd)
    tell(crowd, "our process is killed at random moments", f"SIGKILL {kills} times under load, every third time in the "
         "middle of the start as well", f"ready again after at most {max(restarts):.1f} s; {twice} messages are in the log "
         "more than once, each once in its conversation")


async def test_between_append_and_ack(deployment, server, services, form, dice, tell):
    """Followers that do not answer: the leader has the records, and their senders have no ack."""
    rounds, unacked = form.rounds(1, 6), 0
    async with Crowd([server], dice) as crowd:
        for number in range(rounds):
            await crowd.runs(form.seconds(1, 3))
            followers = [broker for broker in BROKERS if broker != BROKERS[number % len(BROKERS)]]
            await services.freeze(*followers)
            await crowd.runs(form.seconds(0.5, 1))
            unacked += sum(sent.message_id is None for sent in crowd.ledger.sent.values())
            server.kill()
            await services.thaw(*followers)
            await restart(server)
            await crowd.until_acks()
    form.expect(unacked > 0, "every message was acked before the kill")
    twice = await twice_in_the_log(deployment, crowd)
    tell(crowd, "our process is killed between append and ack", f"two brokers frozen (SIGSTOP), SIGKILL, {rounds} times",
         f"{unacked} messages under way at the kills; {twice} messages are in the log more than once, each once in its "
         "conversation")


async def test_between_ack_and_store(server, services, form, dice, tell):
    """A store that does not answer: messages are acked, and not there yet."""
    rounds = form.rounds(1, 6)
    async with Crowd([server], dice) as crowd:
        for _ in range(rounds):
            await crowd.runs(form.seconds(1, 3))
            await services.freeze(STORE)
            await crowd.until_acks(100)
            server.kill()
            await services.thaw(STORE)
            await restart(server)
            await crowd.until_acks()
    tell(crowd, "our process is killed between ack and store",
         f"the store frozen (SIGSTOP), SIGKILL after 100 acks, {rounds} times")


async def test_between_store_and_commit(server, form, dice, tell):
    """Offsets are committed about once a second: within it the store has what the group has not."""
    rounds = form.rounds(3, 15)
    async with Crowd([server], dice) as crowd:
        for _ in range(rounds):
            await crowd.runs(dice.uniform(0.2, 1.2))
            await until_stored(crowd, server)
            server.kill()
            await restart(server)
            await crowd.until_acks()
    tell(crowd, "our process is killed between store and commit",
         f"SIGKILL as soon as Sync shows a message that was just sent, {rounds} times")


async def until_stored(crowd: Crowd, server) -> None:
    """Until a message that is acked from now on is in the store."""
    member, conversation = crowd.members[0], crowd.conversations[0]
    message = crowd.ledger.new(member.user, conversation, b"and then the power went")
    await crowd.until_acked(member, message)
    async with await Peer.login(server, member.user, AUDITOR, token=crowd.token(server, member.user, AUDITOR)) as auditor:
        have = 0
        while not any(it["message_id"] == message.message_id for it in auditor.delivered[conversation] if it["seq"] <= have):
            have = (await patient_sync(auditor, conversation, have))["last_seq"]
