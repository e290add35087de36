"""The operator's verbs: they find the server by its data directory, and say what it says."""

import asyncio
import json

import pytest

from harness.admin import until
from harness.peer import Peer
from harness.server import Server, rookery

KEY = b"a key of thirty-two bytes, or more"


@pytest.fixture(scope="module")
def server(servers) -> Server:
    return servers.start(key=KEY)


async def test_top_shows_it(server):
    peer = await Peer.login(server, 61)
    printed = await asyncio.to_thread(rookery, "top", "--once", "--every", "200ms", "--data", str(server.data))
    assert printed.returncode == 0, printed.stderr
    assert "ready" in printed.stdout and "shards" in printed.stdout and " 61 " in printed.stdout, printed.stdout
    shown = await asyncio.to_thread(
        rookery, "top", "--once", "--json", "--every", "200ms", "--data", str(server.data))
    seen = json.loads(shown.stdout)
    assert len(seen["shards"]) == 2 and seen["ready"] and 61 in {it["user_id"] for it in seen["top"]}
    await peer.close()


def test_verbs_without_a_server_say_where_they_looked(folder):
    for verb in (["top", "--once"], ["trace", "--user", "7"], ["drain", "status"]):
        asked = rookery(*verb, "--data", str(folder / "nobody"))
        assert asked.returncode == 1, verb
        assert "no server answers at" in asked.stderr and "nobody/admin.sock" in asked.stderr, asked.stderr


async def test_trace_from_the_command_line(server):
    anna = await Peer.login(server, 71)
    conversation = await anna.open_direct(72)
    tracing = asyncio.create_task(asyncio.to_thread(
        rookery, "trace", "--user", "71", "--for", "2s", "--data", str(server.data)))
    for _ in range(30):
        await anna.send(conversation, b"x")
        await asyncio.sleep(0.05)
    traced = await tracing
    assert traced.returncode == 0, traced.stderr
    kinds = {json.loads(line)["kind"] for line in traced.stdout.splitlines()}
    assert kinds >= {"Send", "SendAck"}, kinds
    await anna.close()


@pytest.mark.produces(1001)
async def test_drain_from_the_command_line(servers):
    server = servers.start(key=KEY)

    async def drain(*arguments: str):
        return await asyncio.to_thread(rookery, "drain", *arguments, "--data", str(server.data))

    peers = [await Peer.login(server, user) for user in range(1, 21)]
    assert (await drain("status")).stdout == "serving 20 connections\n"
    begun = await drain("start", "--window", "2s")
    assert begun.returncode == 0 and "20 of 20" in begun.stdout, begun
    twice = await drain("start")
    assert twice.returncode == 1 and "under way already" in twice.stderr
    codes = await asyncio.gather(*(peer.closed() for peer in peers))
    assert set(codes) == {1001} and all(peer.told for peer in peers)
    empty = await until(lambda: (s := rookery("drain", "status", "--json", "--data", str(server.data)))
                        and json.loads(s.stdout)["state"] == "empty" and s, "empty")
    status = json.loads(empty.stdout)
    assert (status["told"], status["remaining"]) == (20, 0), status
    assert (await drain("stop")).returncode == 0
    again = await drain("stop")
    assert again.returncode == 1 and "no drain is under way" in again.stderr
    peer = await Peer.login(server, 1)
    await peer.close()
