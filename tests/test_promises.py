"""What `docs/protocol.md` promises in a sentence that a client's author would otherwise have to try out."""

import asyncio
import os
import threading
import time
from collections import Counter

import pytest
from rookery_protocol import encode

from harness import tokens
from harness.admin import Admin
from harness.chatter import Chatter
from harness.ids import fresh_msg_id, msg_id
from harness.peer import NOBODYS, Peer, Refused
from harness.raw import BINARY, Raw, frame
from harness.raw_session import Deaf, RawSession, refusal

NOT_MEMBER, DEDUP_CONFLICT, FRAME_TOO_LONG, SLOW_READER = 101, 104, 4406, 4002

# The server's default, told in the document.
LEEWAY_SECONDS = 5

# What is to happen within about a second has to have happened after this.
SOON_SECONDS = 30


@pytest.fixture(scope="module")
def server(servers):
    return servers.start(key=os.urandom(32))


@pytest.fixture(autouse=True)
def watched(server, watch):
    watch(server)


async def together(server, *devices: tuple[int, int]) -> list[Peer]:
    """Several devices, logged in at the same time."""
    return await asyncio.gather(*(Peer.login(server, user, device) for user, device in devices))


async def part(*peers: Peer) -> None:
    """Closes them."""
    await asyncio.gather(*(peer.close() for peer in peers))


def creation(request_id: int, *members: int) -> dict:
    return {"request_id": request_id, "member_user_ids": list(members)}


async def create(peer: Peer, request_id: int, *members: int) -> dict:
    """A conversation made under an id that the test chooses."""
    fields = creation(request_id, *members)
    return await peer.request("CreateConversation", "ConversationOpened", request_id, fields)


# -- conversations ----------------------------------------------------------------------------------


async def test_a_creation_is_one_for_all_devices_of_its_user_and_through_a_restart(servers):
    server = servers.start(key=os.urandom(32))
    phone, tablet, other = await together(server, (7, 1), (7, 2), (8, 1))
    made = (await create(phone, 1, 8, 9))["conversation_id"]
    assert (await create(tablet, 1, 8, 9))["conversation_id"] == made
    assert (await create(other, 1, 7, 9))["conversation_id"] != made, "another user's number is another one"
    with pytest.raises(Refused) as refused:
        await create(tablet, 1, 8)
    assert refused.value.code == DEDUP_CONFLICT
    await part(phone, tablet, other)
    server.kill()
    await server.begin()
    async with await Peer.login(server, 7, 3) as laptop:
        assert (await create(laptop, 1, 8, 9))["conversation_id"] == made
        with pytest.raises(Refused) as refused:
            await create(laptop, 1, 8)
        assert refused.value.code == DEDUP_CONFLICT


@pytest.mark.produces(NOT_MEMBER)
def test_an_error_says_which_request_or_which_message_it_is_of(server):
    with RawSession(server, 20) as session:
        session.ask("Send", client_msg_id=msg_id(77), conversation_id=12345, payload=b"")
        session.ask("ListMembers", request_id=77, conversation_id=12345)
        errors = [session.hear_kind("Error") for _ in range(2)]
        named = {(error["request_id"], error["client_msg_id"]) for error in errors}
        assert named == {(77, NOBODYS), (0, msg_id(77))}


async def test_what_is_opened_is_told_to_every_device_of_the_members_but_the_one_that_asked(server):
    asking, own, *others = await together(server, (30, 1), (30, 2), (31, 1), (31, 2), (32, 1))
    made = await asking.create([31, 32])
    direct = await asking.open_direct(31)
    for peer in (own, others[0], others[1]):
        await peer.wait_for(lambda peer=peer: {made["conversation_id"], direct} <= set(peer.opened))
        assert peer.opened[made["conversation_id"]] == made | {"request_id": 0}
        assert peer.opened[direct]["member_user_ids"] == [30, 31]
    await others[2].wait_for(lambda: made["conversation_id"] in others[2].opened)
    # What would have been told to it was on its way before this answer.
    await asking.send(direct, b"last")
    await asking.wait_for(lambda: asking.delivered[direct])
    assert not asking.opened, "the device that asked has its answers"
    assert direct not in others[2].opened, "it is no member"
    await part(asking, own, *others)


async def test_members_are_told_to_members(server):
    async with await Peer.login(server, 40) as peer, await Peer.login(server, 49) as stranger:
        made = await peer.create(list(range(41, 49)))
        assert await peer.members(made["conversation_id"]) == list(range(40, 49))
        most = await peer.create(list(range(1_000_000, 1_001_023)))
        assert await peer.members(most["conversation_id"]) == [40, *range(1_000_000, 1_001_023)]
        for conversation in (made["conversation_id"], 12345):
            with pytest.raises(Refused) as refused:
                await stranger.members(conversation)
            assert (refused.value.code, refused.value.retry_after_ms) == (NOT_MEMBER, 0)
    async with await Peer.login(server, 48) as late:
        # A device that did not see it opened.
        rows = (await late.list_conversations())["conversations"]
        assert [await late.members(row["conversation_id"]) for row in rows] == [list(range(40, 49))]


async def test_a_conversation_with_oneself_with_nobody_known_and_with_doubles(server):
    async with await Peer.login(server, 50) as peer:
        notes = await peer.open_direct(50)
        assert await peer.members(notes) == [50]
        await peer.send(notes, b"note")
        await peer.wait_for(lambda: peer.delivered[notes])
        unknown = (1 << 63) - 1
        assert await peer.members(await peer.open_direct(unknown)) == [50, unknown]
        made = await peer.create([53, 50, 51, 53, 51])
        assert made["member_user_ids"] == [50, 51, 53]
        key = peer.next_id()
        first = await create(peer, key, 51, 53)
        assert await create(peer, key, 53, 53, 50, 51) == first, "the order of names and doubles do not count"


# -- messages ---------------------------------------------------------------------------------------


async def test_sends_of_one_connection_stand_in_the_order_in_which_they_were_sent(server, cases):
    count = 2_000
    async with await Peer.login(server, 60) as peer:
        conversations = [await peer.open_direct(61), await peer.open_direct(62)]
        sends = (peer.send(conversations[number % 2], b"%d" % number) for number in range(count))
        await asyncio.gather(*sends)
        for odd, conversation in enumerate(conversations):
            messages = await peer.sync_all(conversation)
            assert [message["payload"] for message in messages] == [b"%d" % n for n in range(odd, count, 2)]
    cases.note(f"{count} Sends without waiting, over two conversations: none out of order")


async def test_every_byte_of_a_client_msg_id_counts_also_after_a_restart(server):
    names = [msg_id(1 << bit) for bit in range(0, 128, 8)]
    async with await Peer.login(server, 65) as peer:
        conversation = await peer.open_direct(66)
        acks = [await peer.send(conversation, b"the same", name) for name in names]
        assert len({ack["message_id"] for ack in acks}) == len(names)
    server.kill()
    await server.begin()
    async with await Peer.login(server, 65) as peer:
        assert [await peer.send(conversation, b"the same", name) for name in names] == acks
        delivered = await peer.sync_all(conversation)
        assert [message["client_msg_id"] for message in delivered] == names


async def test_a_sync_from_above_the_head_says_where_the_head_is(server):
    async with await Peer.login(server, 70) as peer:
        conversation = await peer.open_direct(71)
        await peer.send(conversation, b"one")
        end = await peer.sync(conversation, have_seq=100)
        assert (end["last_seq"], end["head_seq"]) == (100, 1)


def test_a_payload_over_the_limit_ends_the_connection_without_an_error(server):
    with RawSession(server, 80) as session:
        session.ask("Send", client_msg_id=fresh_msg_id(), conversation_id=1, payload=bytes(65_537))
        assert refusal(session) == (None, FRAME_TOO_LONG)


def test_acks_of_a_conversation_of_others_are_refused_together(server, cases):
    acks = 1_000
    with RawSession(server, 90) as session:
        ack = frame(BINARY, encode("DeliverAck", {"conversation_id": 12345, "seq": 1}))
        session.send(ack * acks)
        error = session.hear_kind("Error")
        assert (error["request_id"], error["client_msg_id"], error["code"]) == (0, NOBODYS, NOT_MEMBER)
        # The acks were read before the Ping, and are judged within about a second.
        time.sleep(3)
        session.ask("Ping", nonce=1)
        errors = 1
        while (heard := session.hear())[0] != "Pong":
            errors += heard[0] == "Error"
        assert errors <= 3, f"{errors} Errors for {acks} acks"
    cases.note(f"{acks} acks of a conversation of others: {errors} Errors")


async def test_what_is_acked_leaves_the_outbox_soon(server):
    async with await Peer.login(server, 100) as peer:
        conversation = await peer.open_direct(101)
        await peer.send(conversation, b"one")
        assert len((await peer.outbox())["messages"]) == 1
        await peer.received(conversation, 1)
        deadline = time.monotonic() + SOON_SECONDS
        while (await peer.outbox())["messages"]:
            assert time.monotonic() < deadline, "acked, and still in the outbox"
            await asyncio.sleep(0.1)


async def test_lagged_counts_conversations_that_were_not_told_too(server, cases):
    """Nothing overtakes the telling: behind a skipped message a conversation is skipped too."""
    messages, bytes_each, conversations = 300, 60_000, 3
    with Deaf(server, 110, 1) as deaf:
        async with await Peer.login(server, 111) as sender, await Peer.login(server, 110, 2) as good:
            direct = await sender.open_direct(110)
            for _ in range(0, messages, 5):
                await asyncio.gather(*(sender.send(direct, bytes(bytes_each)) for _ in range(5)))
            made = [(await sender.create([110]))["conversation_id"] for _ in range(conversations)]
            # The other device has heard of all: what was for the deaf one was sent or skipped by then.
            await good.wait_for(lambda: set(made) <= set(good.opened)
                                and len(good.delivered[direct]) + good.lagged >= messages)

        def hear_all() -> tuple[int, int, int]:
            delivered, opened, skipped = 0, 0, 0
            while delivered + opened + skipped < messages + conversations + 1:
                kind, fields = deaf.hear()
                delivered += kind == "Deliver"
                opened += kind == "ConversationOpened"
                skipped += fields["skipped"] if kind == "Lagged" else 0
            return delivered, opened, skipped

        delivered, opened, skipped = await asyncio.to_thread(hear_all)
        assert delivered + opened + skipped == messages + conversations + 1
        assert skipped > 0 and opened == 1, "18 MB fitted into a queue of 1 MiB"
    cases.note(f"{delivered} messages and {opened} conversation came, {skipped} were skipped and counted")


# -- logins -----------------------------------------------------------------------------------------


async def test_the_session_ends_at_the_tokens_expiry_and_the_leeway(server):
    token = tokens.claims(120, ttl=1_000)
    signed = tokens.sign({"alg": "HS256"}, token, server.key)
    async with await Peer.login(server, 120, token=signed) as peer:
        assert peer.welcome["expires_at_ms"] == (token["exp"] + LEEWAY_SECONDS) * 1_000
    # One that has expired, but for the leeway, is as good.
    late = tokens.hs256(120, server.key, ttl=-1)
    async with await Peer.login(server, 120, token=late) as peer:
        await peer.ping()


async def test_a_fresh_token_needs_a_new_connection_which_replaces_the_old_one(server):
    old = await Peer.login(server, 130, token=tokens.hs256(130, server.key, ttl=100))
    new = await Peer.login(server, 130, token=tokens.hs256(130, server.key, ttl=1_000))
    assert await old.closed() == 4410
    assert new.welcome["expires_at_ms"] > old.welcome["expires_at_ms"]
    await part(old, new)


async def test_a_resume_token_keeps_the_id_of_the_session_and_nothing_else(server):
    async with await Peer.login(server, 140) as first:
        session, resume = first.welcome["session_id"], first.welcome["resume_token"]
    for _ in range(2):
        async with await Peer.login(server, 140, resume=resume) as again:
            assert again.welcome["session_id"] == session
    for user, device, token in ((141, 1, resume), (140, 2, resume), (140, 1, b""), (140, 1, b"x" * 61)):
        async with await Peer.login(server, user, device, resume=token) as other:
            assert other.welcome["session_id"] != session
            await other.ping()


# -- bounds -----------------------------------------------------------------------------------------


def test_a_client_that_reads_is_not_closed_for_the_size_of_its_answers(server, cases):
    """A thousand retries of the largest creation in one write: 8 MB of answers to 8 MB of requests."""
    retries, members = 1_000, range(2_000_000, 2_001_023)
    with RawSession(server, 150, tls=False) as session:
        session.ask("CreateConversation", **creation(1, *members))
        made = session.hear_kind("ConversationOpened")["conversation_id"]
        again = frame(BINARY, encode("CreateConversation", creation(1, *members)), mask=b"\0\0\0\0")
        asking = threading.Thread(target=session.send, args=(again * retries,))
        asking.start()
        for _ in range(retries):
            assert session.hear_kind("ConversationOpened")["conversation_id"] == made
        asking.join()
        cases.passes(retries)


@pytest.mark.produces(SLOW_READER)
def test_a_client_that_does_not_read_is_closed_for_its_answers_only_beyond_the_bound(servers):
    """Answers are never skipped. They come to a socket that deliveries have filled, and those that may be under way
    (to 64 Sends, and a page) are more than the queue may hold, however little of it the last delivery has left."""
    small = servers.start(config="[limits]\npayload_bytes_max = 3000\nsend_queue_bytes_max = 4096\n", key=os.urandom(32))
    admin = Admin(small)

    def queued() -> int | None:
        """Bytes that wait behind the kernel's buffers; none once it is closed."""
        return next((it["queue_bytes"] for it in admin.json("/users/160")), None)

    async def close() -> None:
        async with await Peer.login(small, 161) as sender:
            conversation = await sender.open_direct(160)
            deaf.ask("Send", client_msg_id=msg_id(1), conversation_id=conversation, payload=b"")
            deaf.hear_kind("SendAck")
            # Errors with a long sentence each: the id was used before.
            asks = [encode("Send", {"client_msg_id": msg_id(1), "conversation_id": conversation, "payload": b"%d" % n})
                    for n in range(63)]
            asks.append(encode("History", {"request_id": 1, "conversation_id": conversation, "before_seq": 1_000, "limit": 1}))
            while queued() is not None:
                # The kernel's buffers grow now and then, and take what has waited: then all of it once more.
                for _ in range(0, 1_000, 50):
                    await asyncio.gather(*(sender.send(conversation, bytes(3_000)) for _ in range(50)))
                if queued() == 0:
                    continue
                deaf.send(b"".join(frame(BINARY, ask) for ask in asks))
                await asyncio.sleep(1)

    with Deaf(small, 160, 1) as deaf:
        asyncio.run(asyncio.wait_for(close(), 4 * SOON_SECONDS))
        assert deaf.close_code() == SLOW_READER


PING, PONG, CLOSE = 0x9, 0xA, 0x8


@pytest.mark.parametrize("is_live", [False, True], ids=["before the login", "after it"])
@pytest.mark.parametrize("tls", [True, False], ids=["tls", "plain"])
def test_the_latest_ping_stands_for_all_that_came_with_it(server, is_live, tls):
    with (RawSession(server, 170, tls=tls) if is_live else Raw(server, tls=tls).upgraded()) as connection:
        connection.send(b"".join(frame(PING, b"%d" % number) for number in range(50)))
        assert connection.read_frame() == (PONG, b"49")
        if is_live:
            connection.ask("Ping", nonce=1)
            assert connection.hear() == ("Pong", {"nonce": 1}), "one answer, not fifty"


@pytest.mark.produces(1008)
@pytest.mark.parametrize("is_live", [False, True], ids=["before the login", "after it"])
@pytest.mark.parametrize("opcode", [PING, PONG], ids=["pings", "pongs"])
def test_a_flood_of_pings_ends_the_connection(server, is_live, opcode, cases):
    with (RawSession(server, 171) if is_live else Raw(server).upgraded()) as connection:
        connection.send(frame(opcode, b"flood") * 1_300)
        pongs = 0
        while (heard := connection.read_frame())[0] == PONG:
            pongs += 1
        assert heard[0] == CLOSE and int.from_bytes(heard[1][:2], "big") == 1008
        assert pongs <= 1, f"{pongs} answers"


async def test_who_sends_without_waiting_takes_nobodys_place(server, cases):
    """The queue behind Sends is everybody's, and holds 16,384: more of one client wait in its socket, and neither it
    nor anybody else is refused."""
    count = 40_000
    async with await Peer.login(server, 901) as other:
        conversation = await other.open_direct(902)
        with RawSession(server, 902, tls=False) as flood, Chatter(server) as pair:
            sends = b"".join(
                frame(BINARY, encode("Send", {"conversation_id": conversation, "client_msg_id": os.urandom(16),
                                              "payload": b"x"}))
                for _ in range(count))
            heard: Counter[str] = Counter()

            def read() -> None:
                while heard["SendAck"] + heard["Error"] < count:
                    heard[flood.hear()[0]] += 1

            reader = threading.Thread(target=read, daemon=True)
            reader.start()
            before = pair.exchanged
            await asyncio.to_thread(flood.send, sends)
            await asyncio.to_thread(reader.join, 4 * SOON_SECONDS)
            assert (heard["SendAck"], heard["Error"]) == (count, 0), heard
            pair.check()
            cases.note(f"{count} Sends without waiting, all acked; {pair.exchanged - before} exchanges of a pair meanwhile")
