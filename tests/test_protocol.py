"""A client written from `docs/protocol.md` alone does over TLS what the protocol promises."""

import asyncio

import pytest

from harness.ids import msg_id
from harness.peer import Peer, Refused

NOT_MEMBER, DEDUP_CONFLICT = 101, 104


@pytest.fixture(scope="module")
def server(servers):
    return servers.start()


@pytest.fixture(autouse=True)
def watched(server, watch):
    watch(server)


async def together(server, *users: int):
    """Several users, logged in at the same time."""
    return await asyncio.gather(*(Peer.login(server, user) for user in users))


async def part(*peers: Peer) -> None:
    """Closes them."""
    await asyncio.gather(*(peer.close() for peer in peers))


async def test_login_says_what_a_client_must_know(server):
    async with await Peer.login(server, 1001, 3) as peer:
        welcome = peer.welcome
        assert welcome["heartbeat_interval_ms"] > 0
        assert welcome["payload_bytes_max"] == 65536
        assert welcome["page_messages_max"] == 100
        assert welcome["expires_at_ms"] > welcome["server_time_ms"]
        assert welcome["resume_token"]
        await peer.ping()


async def test_login_with_a_resume_token(server):
    async with await Peer.login(server, 1002) as first:
        resume = first.welcome["resume_token"]
    async with await Peer.login(server, 1002, resume=resume) as second:
        await second.ping()


async def test_a_message_reaches_the_other(server):
    anna, bert = await together(server, 1010, 1011)
    conversation = await anna.open_direct(1011)
    assert conversation == await bert.open_direct(1010)
    ack = await anna.send(conversation, b"hello \x00\xff")
    await bert.wait_for(lambda: bert.delivered[conversation])
    message = bert.delivered[conversation][0]
    assert message["payload"] == b"hello \x00\xff"
    assert message["seq"] == 1
    assert message["message_id"] == ack["message_id"]
    assert message["hlc"] == ack["hlc"]
    assert (message["sender_user_id"], message["sender_device_id"]) == (1010, 1)
    assert message["client_msg_id"] == ack["client_msg_id"]
    await part(anna, bert)


async def test_every_device_of_both_users_gets_it(server):
    devices = [await Peer.login(server, user, device) for user in (1020, 1021) for device in range(1, 6)]
    conversation = await devices[0].open_direct(1021)
    ack = await devices[0].send(conversation, b"to all")
    for device in devices[1:]:
        await device.wait_for(lambda device=device: device.delivered[conversation])
        assert device.delivered[conversation][0]["message_id"] == ack["message_id"]
    await part(*devices)


@pytest.mark.produces(4409)
async def test_a_sixth_device_closes_the_oldest(server):
    devices = [await Peer.login(server, 1030, device) for device in range(1, 7)]
    assert await devices[0].closed() == 4409
    for device in devices[1:]:
        await device.ping()
    await part(*devices)


@pytest.mark.produces(4410)
async def test_the_same_device_again_closes_the_first(server):
    first = await Peer.login(server, 1031, 1)
    second = await Peer.login(server, 1031, 1)
    assert await first.closed() == 4410
    await second.ping()
    await part(first, second)


async def test_the_largest_payload_and_an_empty_one(server):
    anna, bert = await together(server, 1040, 1041)
    conversation = await anna.open_direct(1041)
    payloads = [b"", b"x" * 65536, b"y"]
    for payload in payloads:
        await anna.send(conversation, payload)
    await bert.wait_for(lambda: len(bert.delivered[conversation]) == 3)
    assert [message["payload"] for message in bert.delivered[conversation]] == payloads
    await part(anna, bert)


async def test_a_gap_is_replayed_in_order(server, cases):
    anna, bert = await together(server, 1050, 1051)
    conversation = await anna.open_direct(1051)
    await anna.send(conversation, b"0")
    await bert.wait_for(lambda: bert.delivered[conversation])
    await bert.close()
    # An ack comes before its Deliver. Once another device of Bert's has the last one, none is on its way.
    other = await Peer.login(server, 1051, 2)
    sent = [await anna.send(conversation, str(number).encode()) for number in range(1, 251)]
    await other.wait_for(lambda: len(other.delivered[conversation]) == 250)
    await other.close()

    bert = await Peer.login(server, 1051)
    have, rounds = 1, 0
    while True:
        end = await bert.sync(conversation, have)
        rounds += 1
        assert end["head_seq"] == 251
        if (have := end["last_seq"]) == end["head_seq"]:
            break
    assert rounds == 3
    messages = bert.delivered[conversation]
    assert [message["seq"] for message in messages] == list(range(2, 252))
    assert [message["message_id"] for message in messages] == [ack["message_id"] for ack in sent]
    assert [message["payload"] for message in messages] == [str(number).encode() for number in range(1, 251)]
    cases.passes(len(messages))
    cases.note(f"gap replay: {len(messages)} messages in {rounds} answers, in order")
    await part(anna, bert)


async def test_sync_at_the_head_is_empty(server):
    anna, bert = await together(server, 1055, 1056)
    conversation = await anna.open_direct(1056)
    await anna.send(conversation, b"one")
    await bert.wait_for(lambda: bert.delivered[conversation])
    before = len(bert.delivered[conversation])
    end = await bert.sync(conversation, have_seq=1)
    assert (end["last_seq"], end["head_seq"]) == (1, 1)
    assert len(bert.delivered[conversation]) == before
    await part(anna, bert)


async def test_history_pages_newest_first(server):
    anna, bert = await together(server, 1060, 1061)
    conversation = await anna.open_direct(1061)
    acks = [await anna.send(conversation, str(number).encode()) for number in range(25)]
    seqs, ids, before, pages = [], [], 0, 0
    while True:
        page = await bert.history(conversation, before, limit=10)
        ids += [message["message_id"] for message in page["messages"]]
        seqs += [message["seq"] for message in page["messages"]]
        before, pages = seqs[-1], pages + 1
        if not page["has_more"]:
            break
    assert pages == 3
    assert ids == [ack["message_id"] for ack in reversed(acks)]
    assert ids == sorted(set(ids), reverse=True)
    assert seqs == list(range(25, 0, -1))
    await part(anna, bert)


async def test_a_retry_is_the_same_message(server):
    anna, bert = await together(server, 1070, 1071)
    conversation = await anna.open_direct(1071)
    first = await anna.send(conversation, b"once", client_msg_id=msg_id(77))
    again = await anna.send(conversation, b"once", client_msg_id=msg_id(77))
    assert again == first
    await anna.close()
    anna = await Peer.login(server, 1070, 2)
    assert (await anna.send(conversation, b"once", client_msg_id=msg_id(77)))["message_id"] == first["message_id"]
    assert [message["message_id"] for message in await bert.sync_all(conversation)] == [first["message_id"]]
    await part(anna, bert)


@pytest.mark.produces(DEDUP_CONFLICT)
async def test_the_same_id_for_something_else_is_refused(server):
    anna, bert = await together(server, 1072, 1073)
    conversation = await anna.open_direct(1073)
    await anna.send(conversation, b"this", client_msg_id=msg_id(5))
    with pytest.raises(Refused) as refused:
        await anna.send(conversation, b"that", client_msg_id=msg_id(5))
    assert refused.value.code == DEDUP_CONFLICT
    await anna.ping()
    await part(anna, bert)


async def test_a_group_has_one_order(server, cases):
    users = list(range(1080, 1086))
    peers = await together(server, *users)
    opened = await peers[0].create(users[1:])
    conversation = opened["conversation_id"]
    assert opened["member_user_ids"] == users
    for peer in peers[1:]:
        await peer.wait_for(lambda peer=peer: conversation in peer.opened)
        assert peer.opened[conversation]["member_user_ids"] == users

    async def talk(peer: Peer) -> None:
        for number in range(40):
            await peer.send(conversation, f"{peer.user}:{number}".encode())

    await asyncio.gather(*(talk(peer) for peer in peers))
    total = 40 * len(peers)
    orders = []
    for peer in peers:
        await peer.wait_for(lambda peer=peer: len(peer.delivered[conversation]) == total)
        assert peer.seqs(conversation) == list(range(1, total + 1)), "delivered out of order"
        orders.append([message["message_id"] for message in peer.delivered[conversation]])
        assert [message["message_id"] for message in await peer.sync_all(conversation)] == orders[-1]
        assert peer.seqs(conversation) == list(range(1, total + 1)), "synced out of order"
    assert all(order == orders[0] for order in orders)
    cases.passes(total)
    cases.note(f"group: {total} messages by {len(peers)} senders at once, one order for all")
    await part(*peers)


async def test_creating_twice_makes_one(server):
    anna, bert = await together(server, 1090, 1091)
    key = anna.next_id()
    fields = {"request_id": key, "member_user_ids": [1091, 1092]}
    first = await anna.request("CreateConversation", "ConversationOpened", key, fields)
    again = await anna.request("CreateConversation", "ConversationOpened", key, fields)
    assert again["conversation_id"] == first["conversation_id"]
    await part(anna, bert)


async def test_conversations_are_listed(server):
    async with await Peer.login(server, 1100) as anna:
        made = sorted([await anna.open_direct(1101), (await anna.create([1102, 1103]))["conversation_id"]])
        await anna.send(made[0], b"one")
        page = await anna.list_conversations()
        rows = {row["conversation_id"]: row["head_seq"] for row in page["conversations"]}
        assert list(rows) == made
        assert rows == {made[0]: 1, made[1]: 0}
        assert page["has_more"] == 0
        first = await anna.list_conversations(limit=1)
        assert [row["conversation_id"] for row in first["conversations"]] == made[:1]
        assert first["has_more"] == 1


async def test_strangers_are_kept_out(server):
    anna, bert, stranger = await together(server, 1110, 1111, 1112)
    conversation = await anna.open_direct(1111)
    await anna.send(conversation, b"private")
    for request in (stranger.send(conversation, b"?"), stranger.sync(conversation), stranger.history(conversation)):
        with pytest.raises(Refused) as refused:
            await request
        assert refused.value.code == NOT_MEMBER
        assert refused.value.retry_after_ms == 0
    assert not stranger.delivered[conversation]
    await stranger.ping()
    await part(anna, bert, stranger)


async def test_plain_and_tls_meet(server):
    anna = await Peer.login(server, 1120, tls=False)
    bert = await Peer.login(server, 1121, tls=True)
    conversation = await anna.open_direct(1121)
    await bert.send(conversation, b"over TLS")
    await anna.wait_for(lambda: anna.delivered[conversation])
    assert anna.delivered[conversation][0]["payload"] == b"over TLS"
    await part(anna, bert)


@pytest.mark.produces(1001)
async def test_a_restart_keeps_everything(servers):
    server = servers.start()
    anna, bert, watching = await together(server, 1, 2, 3)
    conversation = await anna.open_direct(2)
    acks = [await anna.send(conversation, str(number).encode()) for number in range(50)]
    await part(anna, bert)
    assert await asyncio.to_thread(server.stop) == 0
    assert await watching.closed() == 1001
    server.start()
    async with await Peer.login(server, 2) as bert:
        messages = await bert.sync_all(conversation)
    assert [message["message_id"] for message in messages] == [ack["message_id"] for ack in acks]
