"""What one client may ask for, and that others do not notice: the rates of users and of conversations, messages that
lead to much work. Judged by counts: who was answered what, and who got which message."""

import os
import time
from collections import Counter
from contextlib import ExitStack

import pytest
from rookery_protocol import encode

from harness.admin import Admin
from harness.chatter import Chatter
from harness.ids import fresh_msg_id
from harness.peer import Peer, Refused
from harness.raw import BINARY, frame
from harness.raw_session import RawSession

RATE_LIMITED, TOO_MANY_CONVERSATIONS, MEMBER_FULL = 200, 105, 106

# What a delivery costs besides its payload.
DELIVERY_BYTES = 4_096

# A hundred empty Sends to one other in a second, and as many at once.
SENDS = 100
SHARE = 2 * DELIVERY_BYTES * SENDS
BURST_MS = 1_000
LIMITS = f"[limits]\nsend_burst_ms = {BURST_MS}\n"
USER = f"send_bytes_per_user_per_second_max = {SHARE}\n"
CONVERSATION = f"send_bytes_per_conversation_per_second_max = {SHARE}\n"


@pytest.fixture(scope="module")
def refusing(servers):
    """A user has its share."""
    return servers.start(config=LIMITS + USER, key=os.urandom(32))


@pytest.fixture(scope="module")
def counting(servers):
    """The same, only counted."""
    return servers.start(config=LIMITS + USER + 'rate_mode = "count"\n', key=os.urandom(32))


@pytest.fixture(scope="module")
def shared(servers):
    """A conversation has a share."""
    return servers.start(config=LIMITS + CONVERSATION, key=os.urandom(32))


class Sender(RawSession):
    """Somebody who sends without waiting."""

    def open_direct(self, peer: int) -> int:
        """The direct conversation with a user."""
        self.ask("OpenDirect", request_id=1, peer_user_id=peer)
        return self.hear_kind("ConversationOpened")["conversation_id"]

    def put(self, conversation: int, names: list[bytes]) -> None:
        """One message under each name, all in one write."""
        sends = (encode("Send", {"client_msg_id": name, "conversation_id": conversation, "payload": b""})
                 for name in names)
        self.send(b"".join(frame(BINARY, send) for send in sends))

    def answers(self, count: int) -> tuple[set[bytes], dict[bytes, int]]:
        """The answers to so many Sends: those that were acked, and those that are to be sent again, with when, ms."""
        acked, later = set(), {}
        while len(acked) + len(later) < count:
            kind, fields = self.hear()
            name = fields.get("client_msg_id")
            if kind == "SendAck":
                assert name not in acked | later.keys()
                acked.add(name)
            elif kind == "Error":
                assert fields["code"] == RATE_LIMITED and fields["request_id"] == 0, fields
                assert name not in acked | later.keys()
                assert 0 < fields["retry_after_ms"] <= BURST_MS
                later[name] = fields["retry_after_ms"]
        return acked, later


def over(server, whose: str) -> int:
    """So many were over a rate."""
    return int(Admin(server).metrics().total(f"rookery_router_over_{whose}_rate_total"))


async def contents(server, user: int, device: int, conversation: int) -> list[bytes]:
    """The names of all messages of a conversation, in its order."""
    async with await Peer.login(server, user, device) as peer:
        return [message["client_msg_id"] for message in await peer.sync_all(conversation)]


@pytest.mark.produces(RATE_LIMITED)
async def test_one_who_sends_at_line_speed_gets_its_share_and_is_told_when_there_is_more(refusing, watch, cases):
    watch(refusing)
    names = [fresh_msg_id() for _ in range(5 * SENDS)]
    before, refused, rounds = over(refusing, "user"), 0, 0
    with Chatter(refusing) as chatter:
        with Sender(refusing, 10) as sender:
            conversation = sender.open_direct(11)
            begun, done, left, idle = time.monotonic(), set(), names, 0
            while left:
                sender.put(conversation, left)
                acked, later = sender.answers(len(left))
                seconds = time.monotonic() - begun
                done |= acked
                assert len(done) <= SENDS * (1 + seconds) + 1, f"{len(done)} within {seconds:.3f} s"
                assert rounds > 0 or later, "as much as it liked"
                left, refused, rounds = [name for name in left if name in later], refused + len(later), rounds + 1
                # Whoever sends all again at once gets some; unless the last that was acked took the room for which the
                # others were told to wait.
                idle = 0 if acked else idle + 1
                assert idle < 3, "it was told to wait, and waited in vain"
                time.sleep(max(later.values(), default=0) / 1_000)
            chatter.check()
    # A retry of what is durable is acked again, and costs one delivery only.
    assert over(refusing, "user") - before == refused
    stored = await contents(refusing, 11, 1, conversation)
    assert Counter(stored) == Counter(names), "what was refused came once"
    cases.note(f"{len(names)} Sends in one write at a share of {SENDS} a second: {refused} times Error 200 in {rounds} "
               "rounds, all acked and stored once; the pair beside noticed nothing")


def test_who_waits_as_told_is_not_refused_again(refusing, watch, cases):
    watch(refusing)
    with Sender(refusing, 20) as sender:
        conversation = sender.open_direct(21)
        sender.put(conversation, [fresh_msg_id() for _ in range(2 * SENDS)])
        sender.answers(2 * SENDS)
        waits = 0
        while waits < 20:
            name = fresh_msg_id()
            sender.put(conversation, [name])
            acked, later = sender.answers(1)
            if later:
                waits += 1
                time.sleep(later[name] / 1_000)
                sender.put(conversation, [name])
                acked, later = sender.answers(1)
                assert acked == {name}, f"refused again, for {later} ms"
    cases.note(f"{waits} times a Send came again after its retry_after_ms: acked each time")


def test_a_retry_costs_one_delivery_whatever_its_message_cost(refusing, watch):
    watch(refusing)
    with Sender(refusing, 30) as sender:
        conversation = sender.open_direct(31)
        names = [fresh_msg_id() for _ in range(SENDS // 4)]
        sender.put(conversation, names)
        first, _ = sender.answers(len(names))
        assert len(first) == len(names)
        # As new ones they would cost all that there is.
        time.sleep(BURST_MS / 1_000)
        for _ in range(6):
            sender.put(conversation, names)
            again, _ = sender.answers(len(names))
            assert again == first


async def test_a_mode_counts_what_it_would_refuse(counting, watch, cases):
    watch(counting)
    names = [fresh_msg_id() for _ in range(5 * SENDS)]
    before = over(counting, "user")
    with Chatter(counting), Sender(counting, 10) as sender:
        conversation = sender.open_direct(11)
        begun = time.monotonic()
        sender.put(conversation, names)
        acked, later = sender.answers(len(names))
        seconds = time.monotonic() - begun
    assert len(acked) == len(names) and not later
    counted = over(counting, "user") - before
    assert counted >= len(names) - SENDS * (1 + seconds) - 1
    assert await contents(counting, 11, 1, conversation) == names, "in the order of its Sends"
    cases.note(f"{len(names)} Sends at a share of {SENDS}, counted only: all acked in order, {counted} counted")


async def test_many_who_send_to_one_conversation_share_its_rate_and_no_other_one(shared, watch, cases):
    watch(shared)
    users = range(40, 48)
    async with await Peer.login(shared, 49) as maker:
        conversation = (await maker.create(list(users)))["conversation_id"]
    cost = (len(users) + 1) * DELIVERY_BYTES
    most, names = SHARE // cost, {user: [fresh_msg_id() for _ in range(SENDS)] for user in users}
    with Chatter(shared) as chatter, ExitStack() as stack:
        senders = {user: stack.enter_context(Sender(shared, user)) for user in users}
        begun = time.monotonic()
        for user, sender in senders.items():
            sender.put(conversation, names[user])
        acked = set()
        for user, sender in senders.items():
            mine, later = sender.answers(SENDS)
            assert mine | later.keys() == set(names[user])
            acked |= mine
        seconds = time.monotonic() - begun
        assert most <= len(acked) <= most * (1 + seconds) + 1, f"{len(acked)} within {seconds:.3f} s"
        # Each of them is as welcome elsewhere.
        for user, sender in senders.items():
            direct = sender.open_direct(49)
            sender.put(direct, [fresh_msg_id() for _ in range(10)])
            assert len(sender.answers(10)[0]) == 10
        chatter.check()
    assert over(shared, "conversation") > 0 and over(shared, "user") == 0
    stored = await contents(shared, 49, 1, conversation)
    assert Counter(stored) == Counter(acked)
    cases.note(f"{len(users)} members, {SENDS} Sends each, one conversation's share of {most}: {len(acked)} acked")



# -- conversations ----------------------------------------------------------------------------------


@pytest.mark.produces(TOO_MANY_CONVERSATIONS, MEMBER_FULL)
async def test_others_use_up_none_of_the_conversations_that_one_may_open(servers, watch, cases):
    opened, most = 20, 30
    limits = f"[limits]\nconversations_opened_per_user_max = {opened}\nconversations_per_user_max = {most}\n"
    server = watch(servers.start(config=limits, key=os.urandom(32)))
    victim, pushers = 100, (101, 102)

    async def push(peer: Peer) -> Counter:
        """Puts the victim into as many conversations as it can."""
        met: Counter = Counter()
        for _ in range(opened + 5):
            try:
                await peer.create([victim])
                met["opened"] += 1
            except Refused as refused:
                assert refused.retry_after_ms == 0
                assert (refused.code != MEMBER_FULL) or str(refused).endswith(f": user {victim}")
                met[refused.code] += 1
        return met

    with Chatter(server) as chatter:
        peers = [await Peer.login(server, user) for user in pushers]
        first, second = [await push(peer) for peer in peers]
        assert first == {"opened": opened, TOO_MANY_CONVERSATIONS: 5}
        assert second == {"opened": most - opened, MEMBER_FULL: opened + 5 - (most - opened)}
        async with await Peer.login(server, victim) as own:
            direct = [await own.open_direct(user) for user in range(200, 200 + opened)]
            assert len(set(direct)) == opened
            for ask in (own.open_direct(999), own.create([101])):
                with pytest.raises(Refused) as refused:
                    await ask
                assert (refused.value.code, refused.value.retry_after_ms) == (TOO_MANY_CONVERSATIONS, 0)
            # What is there is found, and others are kept from nothing among themselves.
            assert await own.open_direct(200) == direct[0]
            assert len((await own.list_conversations())["conversations"]) == most + opened
        await peers[1].create([101])
        for peer in peers:
            await peer.close()
        chatter.check()
    server.kill()
    await server.begin()
    async with await Peer.login(server, victim) as own, await Peer.login(server, 103) as late:
        for ask, code in ((own.open_direct(999), TOO_MANY_CONVERSATIONS), (late.open_direct(victim), MEMBER_FULL)):
            with pytest.raises(Refused) as refused:
                await ask
            assert refused.value.code == code
    cases.note(f"two users put a third into {most} conversations; it opened its {opened} all the same")


# -- messages that lead to much work ----------------------------------------------------------------

MEMBERS, LARGE, LARGE_BYTES = 1_023, 4, 65_536


class Member(RawSession):
    """One of many, who reads only when it is looked at."""

    def delivered(self, count: int) -> list[dict]:
        """The next so many messages."""
        return [self.hear_kind("Deliver") for _ in range(count)]


async def test_a_large_message_to_a_large_group_is_sent_in_parts_and_others_are_served_between(servers, watch, cases):
    """64 KiB to 1,024 members are 67 MB to seal. Each gets all, in order; who talks beside them notices nothing, nor
    does a small group that one of the large messages' members writes to."""
    server = watch(servers.start(key=os.urandom(32)))
    admin = Admin(server)
    users = range(1_000, 1_000 + MEMBERS)
    parts = admin.metrics().total("rookery_session_fan_out_parts_total")
    with ExitStack() as stack, Chatter(server) as chatter:
        members = [stack.enter_context(Member(server, user)) for user in users]
        async with await Peer.login(server, 999) as sender:
            group = (await sender.create(list(users)))["conversation_id"]
            small = (await sender.create([1_000, 1_001]))["conversation_id"]
            payloads = [os.urandom(LARGE_BYTES) for _ in range(LARGE)]
            for payload in payloads:
                await sender.send(group, payload)
                await sender.send(small, payload[:10])
            await sender.wait_for(lambda: len(sender.delivered[group]) == len(sender.delivered[small]) == LARGE)
            chatter.check()
            for member in members:
                count = 2 * LARGE if member in members[:2] else LARGE
                by = {group: [], small: []}
                for message in member.delivered(count):
                    by[message["conversation_id"]].append((message["seq"], message["payload"]))
                assert by[group] == list(enumerate(payloads, 1))
                assert by[small] == ([(seq, payload[:10]) for seq, payload in enumerate(payloads, 1)]
                                     if count > LARGE else [])
            chatter.check()
            metrics = admin.metrics()
            parts = metrics.total("rookery_session_fan_out_parts_total") - parts
            # No part is longer than 256 KiB and a user's devices.
            assert parts >= LARGE * MEMBERS * LARGE_BYTES // (1 << 19)
            assert metrics.total("rookery_session_fan_outs") == 0
            assert metrics.total("rookery_session_skipped_total") == 0
    cases.note(f"{LARGE} messages of 64 KiB to {MEMBERS + 1} members: {int(parts)} parts, {LARGE * MEMBERS} delivered in "
               f"order; {chatter.exchanged} exchanges beside")
