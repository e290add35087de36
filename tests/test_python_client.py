"""The client that was written from `docs/protocol.md` alone, against the real server over TLS."""

import asyncio

import pytest
from rookery_client import Client, RequestError

# A hang, not a slow machine, should meet it.
WAIT_SECONDS = 60


@pytest.fixture(scope="module")
def server(servers):
    return servers.start()


@pytest.fixture(autouse=True)
def watched(server, watch):
    watch(server)


async def connect(server, user: int, device: int = 1, **options) -> Client:
    token = await asyncio.to_thread(server.token, user, device)
    return await Client.connect(server.wss, token, ssl=server.tls_context(), **options)


async def receive(client: Client, count: int) -> list[dict]:
    return [await asyncio.wait_for(client.recv(), WAIT_SECONDS) for _ in range(count)]


async def test_sends_and_receives(server):
    anna, bert = await connect(server, 1), await connect(server, 2)
    conversation = (await anna.open_direct(2))["conversation_id"]
    ack = await anna.send(conversation, b"hello")
    (message,) = await receive(bert, 1)
    assert (message["payload"], message["seq"]) == (b"hello", 1)
    assert message["message_id"] == ack["message_id"]
    assert await bert.send(conversation, b"and back")
    assert [it["payload"] for it in await receive(anna, 2)] == [b"hello", b"and back"]
    await anna.close()
    await bert.close()


async def test_replays_a_gap(server, cases):
    anna, bert = await connect(server, 3), await connect(server, 4)
    conversation = (await anna.open_direct(4))["conversation_id"]
    await anna.send(conversation, b"before")
    await receive(bert, 1)
    have = bert.have_seq(conversation)
    await bert.close()
    # An ack comes before its Deliver. Once another device of Bert's has the last one, none is on its way.
    other = await connect(server, 4, device=2)
    acks = [await anna.send(conversation, b"%d" % number) for number in range(300)]
    await receive(other, 300)
    await other.close()

    bert = await connect(server, 4, have_seq={conversation: have})
    rows = {row["conversation_id"]: row["head_seq"] for row in await bert.list()}
    assert rows[conversation] == 301
    await bert.sync(conversation)
    messages = await receive(bert, 300)
    assert [message["message_id"] for message in messages] == [ack["message_id"] for ack in acks]
    assert [message["seq"] for message in messages] == list(range(2, 302))
    cases.passes(len(messages))
    cases.note(f"client from the document: a gap of {len(messages)} messages replayed in order")
    await anna.close()
    await bert.close()


async def test_pages_history(server, cases):
    anna = await connect(server, 5)
    conversation = (await anna.create_conversation([6, 7]))["conversation_id"]
    assert await anna.members(conversation) == [5, 6, 7]
    acks = [await anna.send(conversation, b"%d" % number) for number in range(120)]
    ids, before, more = [], 0, 1
    while more:
        page = await anna.history(conversation, before_seq=before)
        ids += [message["message_id"] for message in page["messages"]]
        before = page["messages"][-1]["seq"]
        more = page["has_more"]
    assert ids == [ack["message_id"] for ack in reversed(acks)]
    cases.passes(len(ids))
    await anna.close()


async def test_a_forged_token_is_refused(server):
    token = await asyncio.to_thread(server.token, 8)
    with pytest.raises(RequestError) as refused:
        await Client.connect(server.wss, token[:-4] + "AAAA", ssl=server.tls_context())
    assert refused.value.code == 300
