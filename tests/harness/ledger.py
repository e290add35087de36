"""What was sent and what is there, and that the one agrees with the other: every acked message once, in
one dense order that is the same for every member, under the id of its ack."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from .ids import msg_id
from .peer import Peer

# How a member asks for what follows a seq: the SyncEnd; the messages are in `delivered`.
Sync = Callable[[Peer, int, int], Awaitable[dict]]


@dataclass
class Sent:
    """One message of ours."""

    user: int
    conversation: int
    client_msg_id: bytes
    payload: bytes
    message_id: int | None = None


@dataclass
class Ledger:
    """What was sent, and the order that was seen, by conversation."""

    sent: dict[tuple[int, bytes], Sent] = field(default_factory=dict)
    order: dict[int, list[dict]] = field(default_factory=dict)
    live: dict[tuple[int, int], int] = field(default_factory=dict)
    next_id: int = 1
    retried: int = 0
    retries_of_acked: int = 0

    def new(self, user: int, conversation: int, payload: bytes) -> Sent:
        """A message with an id of its own."""
        message = Sent(user, conversation, msg_id(self.next_id), payload)
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

    def there(self) -> int:
        """How many messages are in the order that was seen."""
        return sum(map(len, self.order.values()))


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


async def verify(peers: list[Peer], conversations: list[int], ledger: Ledger, *, from_start: bool = False,
                 while_moving: bool = False, sync: Sync = Peer.sync) -> None:
    """Every member syncs what is new to the ledger, and all see the same. `while_moving`: the server
    still catches up, so that who asks later may see more; what all have seen is compared."""
    for conversation in conversations:
        known = ledger.order.setdefault(conversation, [])
        have = 0 if from_start else len(known)
        seen = await asyncio.gather(*(tail(peer, conversation, have, sync, only_synced=while_moving) for peer in peers))
        for peer, messages in zip(peers, seen, strict=True):
            seqs = [message["seq"] for message in messages]
            missing = sorted(set(range(have + 1, max(seqs, default=have) + 1)) - set(seqs))
            assert not missing, f"user {peer.user} after {have}: {missing[:20]} of {seqs[-1]}"
        if while_moving:
            shortest = min(map(len, seen))
            seen = [messages[:shortest] for messages in seen]
        for peer, messages in zip(peers, seen, strict=True):
            assert messages == seen[0], f"user {peer.user} sees another order"
        if from_start:
            assert seen[0] == known, "the past has changed"
        else:
            known += seen[0]


async def tail(peer: Peer, conversation: int, have: int, sync: Sync = Peer.sync, *,
               only_synced: bool = False) -> list[dict]:
    """What a member gets by Sync after a seq. Live Delivers of what is older are repetitions. `only_synced`:
    without those beyond it too, which need not follow without a gap on a server whose deliveries run ahead
    of its store."""
    after = have
    peer.delivered[conversation].clear()
    while True:
        end = await sync(peer, conversation, have)
        if (have := end["last_seq"]) >= end["head_seq"]:
            messages = {message["seq"]: message for message in peer.delivered[conversation]}
            return [messages[seq] for seq in sorted(messages) if seq > after and (seq <= have or not only_synced)]


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
