"""A store that refuses some messages for good: a limit that its operator has set is below what a client may send."""

import asyncio
import time

import pytest

from harness import cql
from harness.crowd import AUDITOR, Crowd, patient_sync
from harness.deployment import Deployment, DryDeployment
from harness.ids import msg_id
from harness.peer import Peer
from harness.records import message as record_of
from harness.services import PASSWORD, USER, Addresses

# The guardrail of tests/services/cassandra/cassandra.yaml, which holds for roles that are no superuser.
LIMIT_BYTES = 40 << 10
ROLE = "rookery_plain"

# From an ack until the store's refusal was searched out, on a busy machine.
STORED_SECONDS = 60


class PlainDeployment(Deployment):
    """As an ordinary role of the store."""

    def config(self, node_id: int) -> str:
        head, store = super().config(node_id).split("[cql]\n")
        return f"{head}[cql]\n{store.replace(USER, ROLE, 1)}"

    def prepare(self) -> "Deployment":
        cql.execute(self.addresses.cql, f"CREATE ROLE IF NOT EXISTS {ROLE} WITH PASSWORD = '{PASSWORD}' AND LOGIN = true")
        return super().prepare()


@pytest.fixture(scope="module")
def deployment(form, folder):
    made = DryDeployment(folder) if form.is_dry else PlainDeployment(folder, Addresses.from_environment())
    made.prepare()
    yield made
    made.end()


@pytest.fixture(scope="module")
def server(deployment):
    return deployment.start()


async def test_messages_over_a_limit_of_the_store(deployment, server, form, dice, tell):
    async with Crowd([server], dice) as crowd:
        await crowd.runs(form.seconds(1, 10))
        one, other = crowd.members[:2]
        conversation = await one.peer.open_direct(other.user)
        sizes = [8, LIMIT_BYTES + 1, LIMIT_BYTES, 65_536, 65_535, 8]
        refused = [] if form.is_dry else [n for n, size in enumerate(sizes) if size > LIMIT_BYTES]
        texts = [dice.randbytes(size) for size in sizes]
        acks = []
        for n, text in enumerate(texts):
            acks.append(await one.peer.send(conversation, text, msg_id(n + 1)))
            await crowd.runs(form.seconds(0.2, 2))
        async with await Peer.login(server, other.user, AUDITOR, token=crowd.token(server, other.user, AUDITOR)) as auditor:
            deadline = time.monotonic() + STORED_SECONDS
            have = 0
            while have < len(sizes):
                assert time.monotonic() < deadline, f"{have} of {len(sizes)} messages are there"
                have = (await patient_sync(auditor, conversation, have))["last_seq"]
            found = {it["seq"]: it for it in (await auditor.history(conversation, 0))["messages"]}
        await crowd.until_acks(100)
        # A retry is told what it was.
        for n in refused:
            again = await one.peer.send(conversation, texts[n], msg_id(n + 1))
            assert again["message_id"] == acks[n]["message_id"], again
    crowd.stayed()
    for n, text in enumerate(texts):
        message = found[n + 1]
        assert message["message_id"] == acks[n]["message_id"], message
        assert message["payload"] == (b"" if n in refused else text), f"message {n} of {len(text)} bytes"
    if form.is_dry:
        return
    letters = await asyncio.to_thread(deployment.kafka.records, deployment.dead_letters)
    assert sorted(record_of(letter.value).payload for letter in letters) == sorted(texts[n] for n in refused)
    reasons = {letter.headers["reason"].decode() for letter in letters}
    assert all("the store refuses it" in reason for reason in reasons), reasons
    tell(crowd, "the store refuses messages for good",
         f"{len(refused)} messages over a limit of the store's (column_value_size_fail_threshold)",
         f"in the dead letters as they were, each seq with an empty message; what the store said: {'; '.join(sorted(reasons))}")
