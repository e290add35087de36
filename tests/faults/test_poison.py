"""Records that no Rookery wrote, in the middle of the log: they end in the dead letters, and the rest goes on."""

import asyncio
import time

import pytest

from harness.crowd import Crowd
from harness.ids import msg_id
from harness.records import Message

# From the topic to the dead letters: the consumer is live, and the machine busy.
BURIAL_SECONDS = 30

# Ids of ours have the time of day in them; this one is of 2025 and nobody's.
NOBODYS = 1 << 30


@pytest.fixture(scope="module")
def server(deployment):
    return deployment.start()


async def test_dead_letters(deployment, server, form, dice, tell):
    kafka, topic = deployment.kafka, deployment.topic
    async with Crowd([server], dice) as crowd:
        await crowd.runs(form.seconds(2, 10))
        conversation = crowd.conversations[0]
        key = conversation.to_bytes(8, "big")
        partition = await asyncio.to_thread(kafka.partition_of, topic, conversation)
        letters = {
            "garbage": (key, b"\xff" + dice.randbytes(60)),
            "empty": (key, b""),
            "cut off": (key, Message(1, 1, conversation, crowd.members[0].user, 1, msg_id(1), b"").packed()[:20]),
            "of an unknown conversation": (NOBODYS.to_bytes(8, "big"), Message(
                NOBODYS + 1, 1, NOBODYS, crowd.members[0].user, 1, msg_id(2), b"hello?").packed()),
        }
        placed = {}
        for name, (its_key, value) in letters.items():
            offset = await asyncio.to_thread(kafka.produce, topic, its_key, value, partition)
            placed[name] = (its_key, value, offset)
            await crowd.runs(form.seconds(0.5, 5))
        await crowd.until_acks(100)
        await crowd.ping()
    crowd.stayed()
    if form.is_dry:
        return

    deadline = time.monotonic() + BURIAL_SECONDS
    while len(buried := await asyncio.to_thread(kafka.records, deployment.dead_letters)) < len(placed):
        assert time.monotonic() < deadline, f"{len(buried)} dead letters of {len(placed)}: {buried}"
        await asyncio.sleep(0.5)
    by_offset = {int(letter.headers["offset"]): letter for letter in buried}
    assert len(by_offset) == len(buried) == len(placed), buried
    reasons = []
    for name, (its_key, value, offset) in placed.items():
        letter = by_offset[offset]
        assert (letter.key, letter.value or b"") == (its_key, value), f"{name} was changed: {letter}"
        assert int(letter.headers["partition"]) == partition, letter
        assert letter.headers["reason"], letter
        reasons.append(f"{name} ({letter.headers['reason'].decode()})")
    tell(crowd, "poison records", f"{len(placed)} records produced into a live conversation's partition by another client",
         f"all in the dead letters, key and value as they were: {'; '.join(reasons)}")
