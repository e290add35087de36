"""A drain asked for by the admin port: begun, asked for twice, called off, cut short, and killed half-way."""

import asyncio
import json
import random

import pytest
from rookery_protocol import decode, encode

from harness import tokens
from harness.admin import Admin
from harness.leaving import KEY, PATIENCE_SECONDS, crowd, last_words, leave, log_in, somebody_told, talk
from harness.ledger import Ledger, retry, settle, verify
from harness.raw import BINARY, Raw, frame
from harness.server import Server

# Nobody is closed meanwhile: two thirds of it are for the telling, a sixth is at most ten seconds.
LONG_MS = 3_600_000


def start(admin: Admin, window_ms: int) -> dict:
    """Begins a drain."""
    status, body = admin.post(f"/drain?window_ms={window_ms}")
    assert status == 200, body
    return json.loads(body)


def call_off(admin: Admin) -> dict:
    """Calls it off."""
    status, body = admin.ask("DELETE", "/drain")
    assert status == 200, body
    return json.loads(body)


async def until(admin: Admin, state: str) -> dict:
    """Waits until the drain is so far."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (status := await asyncio.to_thread(admin.json, "/drain"))["state"] != state:
            await asyncio.sleep(0.05)
    return status


def at_the_door(server: Server) -> Raw:
    """Upgraded, and not logged in."""
    return Raw(server, tls=False).upgraded()


def logs_in(door: Raw, user: int, device: int) -> None:
    """The login, and its Welcome."""
    login = {"token": tokens.hs256(user, KEY, device).encode(), "resume_token": b""}
    door.send(frame(BINARY, encode("Login", login)))
    kind, welcome = decode(door.read_frame()[1])
    assert (kind, welcome["user_id"], welcome["device_id"]) == ("Welcome", user, device)


async def test_asked_for_twice_and_called_off(servers):
    """Who was told and has not gone stays, and counts as before."""
    count = 20
    server = servers.start(key=KEY, config=f"[limits]\nconnections_max = {count + 1}\n")
    admin = Admin(server)
    peers = await crowd(server, range(1, count + 1))
    assert admin.json("/drain")["state"] == "serving"
    assert admin.ask("DELETE", "/drain")[0] == 409
    # Everybody is told, over some seconds.
    status = start(admin, 12_000)
    assert (status["state"], status["connections_total_at_start"]) == ("draining", count)
    again, why = admin.post("/drain")
    assert (again, b"under way" in why) == (409, True), why
    assert admin.get("/readyz")[0] == 503
    await somebody_told(peers)
    with Raw(server, tls=False) as late:
        assert late.request().status == 503
    left = admin.json("/status")["connections"]
    told = sum(bool(peer.told) for peer in peers)
    assert left < count and told > 0, "who is told counts no more"

    assert call_off(admin)["state"] == "serving"
    assert admin.get("/readyz")[0] == 200
    async with asyncio.timeout(PATIENCE_SECONDS):
        while admin.json("/status")["connections"] < count:
            await asyncio.sleep(0.05)
    await asyncio.gather(*(peer.ping() for peer in peers))
    phases = [await asyncio.to_thread(admin.json, f"/users/{peer.user}") for peer in peers]
    assert {conn["phase"] for conns in phases for conn in conns} == {"live"}
    # There is room for one.
    async with await log_in(server, 99) as newcomer:
        with Raw(server, tls=False) as late:
            assert late.request().status == 503, "the server is full again"
        await newcomer.ping()
    # And a drain of its own is possible.
    assert start(admin, LONG_MS)["state"] == "draining"
    assert call_off(admin)["state"] == "serving"
    await asyncio.gather(*(peer.close() for peer in peers))


@pytest.mark.produces(1001)
async def test_who_was_told_is_in_nobodys_way(servers):
    """Devices that have been told count no more for their user, and one that comes back before it has gone
    is not called replaced."""
    server = servers.start(key=KEY, config="[limits]\ndevices_per_user_max = 2\n", shards=1)
    admin = Admin(server)
    first, second = [await log_in(server, 5, device) for device in (1, 2)]
    doors = [at_the_door(server) for _ in range(2)]
    # They have 4 s after they are told, and are told within 2 s of each other.
    start(admin, 12_000)
    await somebody_told([first])
    await somebody_told([second])
    await asyncio.to_thread(logs_in, doors[0], 5, 3)
    await asyncio.gather(first.ping(), second.ping())
    await asyncio.to_thread(logs_in, doors[1], 5, 1)
    assert await first.closed() == 1001
    await second.close()
    call_off(admin)
    for door in doors:
        door.socket.close()


async def test_an_empty_server_waits_for_its_end(servers):
    server = servers.start(key=KEY, drain_window_ms=86_400_000)
    admin = Admin(server)
    peers = await crowd(server, range(1, 41))
    leaving = [asyncio.create_task(leave(peer)) for peer in peers]
    start(admin, 3_000)
    await asyncio.gather(*leaving)
    status = await until(admin, "empty")
    assert (status["told"], status["closed"], status["cut_off"], status["remaining"]) == (40, 0, 0, 0), status
    assert server.is_alive()
    assert server.stop() == 0
    assert last_words(server) == {"told_to_reconnect": 40, "closed": 0, "cut_off": 0}


@pytest.mark.produces(1001)
async def test_a_signal_cuts_a_drain_short(servers):
    """What is left of the drain is done in the window of the signal, and cannot be called off any more."""
    server = servers.start(key=KEY, drain_window_ms=3_000)
    admin = Admin(server)
    peers = await crowd(server, range(1, 41))
    start(admin, LONG_MS)
    await somebody_told(peers)
    server.process.terminate()
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not (status := await asyncio.to_thread(admin.json, "/drain"))["stops"]:
            await asyncio.sleep(0.02)
    assert status["state"] == "draining"
    assert (await asyncio.to_thread(admin.ask, "DELETE", "/drain"))[0] == 409
    assert [await peer.closed() for peer in peers] == [1001] * 40
    assert await asyncio.to_thread(server.process.wait, PATIENCE_SECONDS) == 0, server.story()
    assert [len(peer.told) for peer in peers] == [1] * 40, "nobody is told twice"
    assert last_words(server) == {"told_to_reconnect": 40, "closed": 40, "cut_off": 0}


async def test_killed_half_way(servers, cases):
    """Nothing that was acked is lost, and the next start serves."""
    server = servers.start(key=KEY)
    admin = Admin(server)
    peers = await crowd(server, range(1, 101))
    talkers = peers[:20]
    ledger = Ledger()
    pairs = list(zip(talkers[::2], talkers[1::2], strict=True))
    conversations = [await a.open_direct(b.user) for a, b in pairs]
    talks = [asyncio.create_task(talk(peer, conversation, ledger, leaves=False))
             for pair, conversation in zip(pairs, conversations, strict=True) for peer in pair]
    async with asyncio.timeout(PATIENCE_SECONDS):
        while len(ledger.sent) < 500:
            await asyncio.sleep(0.01)
    start(admin, 6_000)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not any(peer.told for peer in talkers):
            await asyncio.sleep(0.01)
    server.kill()
    await asyncio.gather(*talks)
    acked = sum(sent.message_id is not None for sent in ledger.sent.values())
    server.start()
    assert Admin(server).json("/drain")["state"] == "serving"
    back = list(await asyncio.gather(*(log_in(server, peer.user) for peer in talkers)))
    ledger.saw_live(talkers)
    await retry(back, ledger, random.Random(4))
    for (a, b), conversation in zip(zip(back[::2], back[1::2], strict=True), conversations, strict=True):
        await verify([a, b], [conversation], ledger)
    settle(conversations, ledger)
    cases.note(f"killed in a drain: {acked} messages were acked, lost 0, twice 0")
    await asyncio.gather(*(peer.close() for peer in back))
