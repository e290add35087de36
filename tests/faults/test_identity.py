"""A log and a store that are not, or not any more, each other's: partitions that are added, topics and
keyspaces that are exchanged, made anew or lost, offsets of the group that are set elsewhere. Either nothing is
lost or nothing is taken."""

import asyncio
import time

import pytest

from harness import cql
from harness.crowd import Crowd, patient_sync, patiently
from harness.deployment import PARTITIONS, Deployment
from harness.peer import Peer
from harness.services import Addresses

CONVERSATIONS = 20
MESSAGES = 5

# Everything is looked at every 30 s, on a machine that is busy.
LOOK_SECONDS = 120

pytestmark = pytest.mark.skipif("config.getoption('--embedded')", reason="there is nothing to exchange")


@pytest.fixture
def own(folder):
    """Migrated, of this test alone."""
    made = Deployment(folder, Addresses.from_environment())
    made.prepare()
    yield made
    made.end()


async def until(what: str, condition) -> None:
    """Waits for something that takes a look of the server's at most."""
    deadline = time.monotonic() + LOOK_SECONDS
    while not await asyncio.to_thread(condition):
        assert time.monotonic() < deadline, f"not in {LOOK_SECONDS} s: {what}"
        await asyncio.sleep(0.5)


def migrated(deployment: Deployment, *options: str) -> str:
    """What `migrate` made."""
    ended = deployment.migrate(*options)
    assert ended.returncode == 0, f"{ended.stdout}{ended.stderr}"
    return ended.stdout


def refused(deployment: Deployment, *options: str) -> str:
    """Why `migrate` did not."""
    ended = deployment.migrate(*options)
    assert ended.returncode == 1 and "panicked" not in ended.stderr, f"{ended.stdout}{ended.stderr}"
    return ended.stderr


def refuses_to_start(deployment: Deployment) -> str:
    """What a server says that ends by itself."""
    server = deployment.new()
    server.launch()
    return ended(server)


def ended(server) -> str:
    """What a server said before it ended by itself."""
    assert server.process.wait(LOOK_SECONDS) == 1, server.story()
    return server.story()


async def numbered(peer: Peer, conversation: int, count: int) -> list[tuple[int, int, bytes]]:
    """Seqs, ids and payloads once all are there: dense, each once."""
    deadline = time.monotonic() + LOOK_SECONDS
    while True:
        have = 0
        while (page := await patient_sync(peer, conversation, have))["last_seq"] > have:
            have = page["last_seq"]
        by_seq = {message["seq"]: message for message in peer.delivered[conversation]}
        if len(by_seq) >= count:
            assert sorted(by_seq) == list(range(1, count + 1)), sorted(by_seq)
            return [(seq, by_seq[seq]["message_id"], by_seq[seq]["payload"]) for seq in sorted(by_seq)]
        assert time.monotonic() < deadline, f"{len(by_seq)} of {count} acked messages are there"
        await asyncio.sleep(0.5)


async def say(server, conversations: list[int], peers: int, round_: int) -> list[int]:
    """Some messages to each of some conversations, which are opened where there are none."""
    async with await Peer.login(server, peers) as ann:
        if not conversations:
            conversations = [await patiently(lambda n=n: ann.open_direct(peers + 1 + n)) for n in range(CONVERSATIONS)]
        for number in range(MESSAGES):
            for conversation in conversations:
                await patiently(lambda conversation=conversation, number=number: ann.send(
                    conversation, f"{round_}/{number}".encode()))
    return conversations


async def all_are_there(server, conversations: list[int], user: int, rounds: int) -> dict[int, list]:
    """Every message, in the order in which it was sent."""
    async with await Peer.login(server, user, 2) as ann:
        found = {conversation: await numbered(ann, conversation, rounds * MESSAGES) for conversation in conversations}
    said = [f"{round_}/{number}".encode() for round_ in range(rounds) for number in range(MESSAGES)]
    for messages in found.values():
        assert [payload for _, _, payload in messages] == said
        assert len({message_id for _, message_id, _ in messages}) == len(messages)
    return found


async def test_partitions_that_somebody_adds_change_nothing_until_migrate_adopts_them(own, dice):
    user = dice.randrange(1 << 20, 1 << 40)
    server = own.start()
    conversations = await say(server, [], user, 0)
    own.kafka.grow(own.topic, 2 * PARTITIONS)
    conversations = await say(server, conversations, user, 1)
    await until("the edge says so", lambda: "somebody added the others" in server.log.read_text())
    assert server.stop() == 0
    # One that takes the count from the brokers would put half of them elsewhere.
    server = own.start()
    conversations = await say(server, conversations, user, 2)
    await all_are_there(server, conversations, user, 3)
    assert "fewer" in refused(own, "--partitions", str(PARTITIONS - 1))
    assert f"--partitions {2 * PARTITIONS}" in refused(own, "--partitions", str(2 * PARTITIONS - 1))
    migrated(own, "--partitions", str(2 * PARTITIONS))
    assert "everything is there already" in migrated(own, "--partitions", str(2 * PARTITIONS))
    assert server.stop() == 0
    server = own.start()
    await say(server, conversations, user, 3)
    await all_are_there(server, conversations, user, 4)
    more = await say(server, [], user + 1000, 0)
    places = {own.kafka.partition_of(own.topic, conversation) for conversation in more}
    assert any(place >= PARTITIONS for place in places), places
    await all_are_there(server, more, user + 1000, 1)


async def test_partitions_are_added_under_load(own, dice, tell):
    servers = [own.start(1), own.start(2)]
    async with Crowd(servers, dice) as crowd:
        await crowd.runs(5)
        await asyncio.to_thread(migrated, own, "--partitions", str(2 * PARTITIONS))
        for server in servers:
            await until("both hear of it", lambda server=server: "partitions were added" in server.log.read_text())
        places: dict[int, int] = {}
        for _ in range(12):
            opened = await crowd.open_conversation()
            crowd.conversations.append(opened)
        await crowd.until_acks(300)
        await crowd.runs(5)
        records = await asyncio.to_thread(own.kafka.records, own.topic)
        for record in records:
            conversation = int.from_bytes(record.key, "big")
            if conversation:
                assert places.setdefault(conversation, record.partition) == record.partition, "a conversation moved"
        assert any(place >= PARTITIONS for place in places.values()), places
        # And again, at rest.
        for server in servers:
            server.kill()
        await asyncio.to_thread(migrated, own, "--partitions", str(3 * PARTITIONS))
        for server in servers:
            await server.begin()
        crowd.conversations.append(await crowd.open_conversation())
        await crowd.until_acks(100)
    tell(crowd, "partitions are added", f"`migrate --partitions` from {PARTITIONS} to {2 * PARTITIONS} under load with two "
         f"servers, then to {3 * PARTITIONS} while both are down", "each conversation stayed in its partition")


async def test_two_migrations_at_once_agree(folder, dice):
    made = Deployment(folder, Addresses.from_environment())
    made.create_database()
    outcomes = await asyncio.gather(*(asyncio.to_thread(made.migrate) for _ in range(3)))
    assert [ended.returncode for ended in outcomes] == [0, 0, 0], [ended.stderr for ended in outcomes]
    rows = cql.execute(made.addresses.cql, f"SELECT log_id, epoch, partitions FROM {made.keyspace}.epochs")
    assert len(rows) == 1 and rows[0].partitions == PARTITIONS, rows
    grown = await asyncio.gather(*(asyncio.to_thread(made.migrate, "--partitions", str(count)) for count in (8, 8, 12)))
    assert grown[2].returncode == 0, grown[2].stderr
    rows = cql.execute(made.addresses.cql, f"SELECT log_id, epoch, partitions FROM {made.keyspace}.epochs")
    counts = [row.partitions for row in rows]
    assert counts[0] == PARTITIONS and counts == sorted(set(counts)) and counts[-1] == 12, counts
    assert len({row.log_id for row in rows}) == 1, rows
    server = made.start()
    user = dice.randrange(1 << 20, 1 << 40)
    await all_are_there(server, await say(server, [], user, 0), user, 1)
    made.end()


async def test_another_prefix_or_topic_on_the_same_keyspace_is_refused(own, folder, dice):
    other = Deployment(folder, own.addresses)
    other.prepare()
    user = dice.randrange(1 << 20, 1 << 40)
    server = own.start()
    conversations = await say(server, [], user, 0)
    assert server.stop() == 0
    prefix, own.prefix = own.prefix, "t-nobody"
    assert "there is no topic t-nobody.messages" in refused(own)
    own.prefix = other.prefix
    for why in (refuses_to_start(own), refused(own)):
        assert "was filled from the log" in why and f"{other.topic} is the log" in why, why
    own.prefix = prefix
    server = own.start()
    await all_are_there(server, conversations, user, 1)
    other.end()


async def test_the_offsets_of_the_group_mean_nothing(own, dice):
    user = dice.randrange(1 << 20, 1 << 40)
    server = own.start()
    conversations = await say(server, [], user, 0)
    await all_are_there(server, conversations, user, 1)
    for round_, change in enumerate((lambda: own.kafka.rewind(own.group, own.topic),
                                     lambda: own.kafka.delete_group(own.group)), 1):
        assert server.stop() == 0
        change()
        server = own.start()
        await say(server, conversations, user, round_)
        await all_are_there(server, conversations, user, round_ + 1)


async def test_a_topic_that_is_made_anew_takes_nothing(own, dice):
    user = dice.randrange(1 << 20, 1 << 40)
    server = own.start()
    conversations = await say(server, [], user, 0)
    own.kafka.delete(own.topic)
    await asyncio.sleep(2)
    own.kafka.create(own.topic, PARTITIONS)
    acked = 0
    async with await Peer.login(server, user) as ann:
        while server.is_alive() and acked == 0:
            try:
                await ann.send(conversations[0], b"into the void")
                acked += 1
            except Exception:  # noqa: BLE001 - refused, or the server has ended
                await asyncio.sleep(1)
    said = await asyncio.to_thread(ended, server)
    assert acked == 0, said
    assert "made anew" in said and "keyspace" in said, said
    for why in (refuses_to_start(own), refused(own)):
        assert "was filled from the log" in why and "made anew" in why, why


async def test_a_keyspace_that_is_lost_is_filled_again(own, dice):
    user = dice.randrange(1 << 20, 1 << 40)
    server = own.start()
    conversations = await say(server, [], user, 0)
    before = await all_are_there(server, conversations, user, 1)
    cql.execute(own.addresses.cql, f"DROP KEYSPACE {own.keyspace}")
    said = await asyncio.to_thread(migrated, own)
    assert "which edges fill from the log's beginning" in said, said
    # What it has in memory is of the keyspace of before.
    said = await asyncio.to_thread(ended, server)
    assert "dropped and made anew" in said, said
    server = own.start()
    assert await all_are_there(server, conversations, user, 1) == before
    await say(server, conversations, user, 1)
    await all_are_there(server, conversations, user, 2)
