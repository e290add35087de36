"""SIGKILL at random moments under load, 100 times on the same data directory.

After each kill: every acked message is there, once, in one dense order for every member; what was
delivered live before the kill has the same seq after it; a retry of what was not acked gets one
message id, and a retry of what was acked gets the id that it had.
"""

import asyncio
import os
import random
import time
from dataclasses import dataclass, field

from harness.peer import Peer
from harness.server import Server

KILLS = 100
USERS = (7001, 7002, 7003, 7004)
IN_FLIGHT = 6

# Small segments, so that they are filled and used again many times.
CONFIG = "[router]\nlog_segment_bytes = 4194304\n"


@dataclass
class Sent:
    """One message of ours."""

    user: int
    conversation: int
    client_msg_id: int
    payload: bytes
    message_id: int | None = None


@dataclass
class Ledger:
    """What was sent, and the order that was seen, by conversation."""

    sent: dict[tuple[int, int], Sent] = field(default_factory=dict)
    order: dict[int, list[dict]] = field(default_factory=dict)
    live: dict[tuple[int, int], int] = field(default_factory=dict)
    next_id: int = 1
    retried: int = 0
    retries_of_acked: int = 0

    def new(self, user: int, conversation: int, payload: bytes) -> Sent:
        """A message with an id of its own."""
        message = Sent(user, conversation, self.next_id, payload)
        self.next_id += 1
        self.sent[(user, message.client_msg_id)] = message
        return message

    def acked(self, message: Sent, ack: dict) -> None:
        """The message is durable: its id never changes."""
        assert message.message_id in (None, ack["message_id"]), f"two ids for one message: {message} {ack}"
        message.message_id = ack["message_id"]

    def saw_live(self, peers: list[Peer]) -> None:
        """Remembers live Delivers: a seq that was seen belongs to that message for ever."""
        for peer in peers:
            for conversation, messages in peer.delivered.items():
                for message in messages:
                    key = (conversation, message["seq"])
                    assert self.live.setdefault(key, message["message_id"]) == message["message_id"], message


async def load(peer: Peer, conversations: list[int], ledger: Ledger, dice: random.Random) -> None:
    """Sends for as long as the server lives."""

    async def one_after_the_other() -> None:
        while True:
            payload = dice.randbytes(dice.choice((8, 100, 300, 3000)))
            message = ledger.new(peer.user, dice.choice(conversations), payload)
            ledger.acked(message, await peer.send(message.conversation, payload, message.client_msg_id))

    await asyncio.gather(*(one_after_the_other() for _ in range(IN_FLIGHT)), return_exceptions=True)


async def log_in(server: Server) -> list[Peer]:
    return list(await asyncio.gather(*(Peer.login(server, user) for user in USERS)))


async def under_load(server: Server, conversations: list[int], ledger: Ledger, dice: random.Random) -> None:
    """Four users send, until the server is killed at a random moment."""
    peers = await log_in(server)
    senders = [asyncio.create_task(load(peer, conversations, ledger, dice)) for peer in peers]
    await asyncio.sleep(dice.uniform(0.0, 0.3))
    server.kill()
    await asyncio.gather(*senders, return_exceptions=True)
    await asyncio.gather(*(peer.close() for peer in peers), return_exceptions=True)
    ledger.saw_live(peers)


async def retry(peers: list[Peer], ledger: Ledger, dice: random.Random) -> None:
    """Sends again what was not acked, some of it twice, and a little of what was acked."""
    by_user = {peer.user: peer for peer in peers}
    open_ones = [message for message in ledger.sent.values() if message.message_id is None]
    done = [message for message in list(ledger.sent.values())[-500:] if message.message_id is not None]
    again = dice.sample(done, min(10, len(done)))
    ledger.retried += len(open_ones)
    ledger.retries_of_acked += len(again)

    async def once(message: Sent) -> None:
        peer = by_user[message.user]
        ack = await peer.send(message.conversation, message.payload, message.client_msg_id)
        ledger.acked(message, ack)

    await asyncio.gather(*(once(message) for message in open_ones + again))
    twice = dice.sample(open_ones, min(5, len(open_ones)))
    await asyncio.gather(*(once(message) for message in twice))


async def verify(peers: list[Peer], conversations: list[int], ledger: Ledger, *, from_start: bool = False) -> None:
    """Every member syncs what is new to the ledger, and all see the same."""
    for conversation in conversations:
        known = ledger.order.setdefault(conversation, [])
        have = 0 if from_start else len(known)
        seen = await asyncio.gather(*(tail(peer, conversation, have) for peer in peers))
        for peer, messages in zip(peers, seen, strict=True):
            seqs = [message["seq"] for message in messages]
            assert seqs == list(range(have + 1, have + 1 + len(seqs))), f"user {peer.user}: {seqs[:20]}"
            assert messages == seen[0], f"user {peer.user} sees another order"
        if from_start:
            assert seen[0] == known, "the past has changed"
        else:
            known += seen[0]


async def tail(peer: Peer, conversation: int, have: int) -> list[dict]:
    """What a member gets by Sync after a seq."""
    peer.delivered[conversation].clear()
    while True:
        end = await peer.sync(conversation, have)
        if (have := end["last_seq"]) >= end["head_seq"]:
            messages = {message["seq"]: message for message in peer.delivered[conversation]}
            return [messages[seq] for seq in sorted(messages)]


def settle(conversations: list[int], ledger: Ledger) -> int:
    """Holds the order against what was sent; how many messages there are."""
    total = 0
    for conversation in conversations:
        keys = [(message["sender_user_id"], message["client_msg_id"]) for message in ledger.order[conversation]]
        assert len(set(keys)) == len(keys), "a message is there twice"
        total += len(keys)
        for message, key in zip(ledger.order[conversation], keys, strict=True):
            sent = ledger.sent[key]
            assert sent.conversation == conversation and sent.payload == message["payload"], message
            assert sent.message_id == message["message_id"], f"acked as {sent.message_id}, is {message}"
            live = ledger.live.get((conversation, message["seq"]), message["message_id"])
            assert live == message["message_id"], f"delivered live as {live}, is {message}"
    acked = sum(sent.message_id is not None for sent in ledger.sent.values())
    assert acked == len(ledger.sent) == total, f"{len(ledger.sent)} sent, {acked} acked, {total} there"
    return total


def kill_while_starting(server: Server, dice: random.Random) -> None:
    """A kill in the middle of recovery."""
    server.launch()
    time.sleep(dice.uniform(0.0, 0.2))
    server.kill()


async def prepare(server: Server) -> list[int]:
    """A direct conversation would have two members: here every user must see every message."""
    async with await Peer.login(server, USERS[0]) as first:
        return [(await first.create(list(USERS[1:])))["conversation_id"] for _ in range(3)]


def test_killed_a_hundred_times(servers, cases):
    seed = int(os.environ.get("ROOKERY_SEED", random.SystemRandom().randrange(1 << 32)))
    print(f"ROOKERY_SEED={seed}")
    dice = random.Random(seed)
    server = servers.start(config=CONFIG, key=dice.randbytes(32))
    conversations = asyncio.run(prepare(server))
    ledger = Ledger()
    recoveries, restart_seconds = 0, []

    async def round_of() -> None:
        peers = await log_in(server)
        await retry(peers, ledger, dice)
        await verify(peers, conversations, ledger)
        await asyncio.gather(*(peer.close() for peer in peers))

    for number in range(KILLS):
        asyncio.run(under_load(server, conversations, ledger, dice))
        if number % 5 == 4:
            kill_while_starting(server, dice)
            recoveries += 1
        started = time.monotonic()
        server.start()
        restart_seconds.append(time.monotonic() - started)
        asyncio.run(round_of())
        cases.passes()

    async def at_the_end() -> None:
        peers = await log_in(server)
        await verify(peers, conversations, ledger, from_start=True)
        await asyncio.gather(*(peer.close() for peer in peers))

    asyncio.run(at_the_end())
    total = settle(conversations, ledger)
    restart_seconds.sort()
    cases.note(f"seed {seed}: {KILLS} kills under load and {recoveries} more during recovery; {total} messages acked, "
               f"each there once, in one dense order for {len(USERS)} members")
    cases.note(f"{len(ledger.live)} live Delivers kept their seq; {ledger.retried} unacked messages retried, "
               f"{ledger.retries_of_acked} acked ones too, each with one id")
    cases.note(f"restart to ready: median {restart_seconds[len(restart_seconds) // 2]:.2f} s, "
               f"most {restart_seconds[-1]:.2f} s")
    assert total > KILLS * 10, f"only {total} messages: that is no load"
