"""The directory in Redis says which servers hold a user, from the first device's login to the last one's end,
and PostgreSQL which devices there were. Users who chat across two servers find each other all the same."""

import asyncio
import socket
import time
from urllib.parse import urlsplit

import pytest

from harness.deployment import Deployment
from harness.peer import Peer
from harness.services import Addresses

# The directory's thread writes ten times a second; a hang, not a slow machine, should meet it.
WAIT_SECONDS = 30


@pytest.fixture(scope="module")
def deployment(folder):
    made = Deployment(folder, Addresses.from_environment()).prepare()
    yield made
    made.end()


def redis(deployment: Deployment, *command: str) -> list[str]:
    """One command's answer, a number or a list of bulk strings
    (https://redis.io/docs/latest/develop/reference/protocol-spec/)."""
    url = urlsplit(deployment.addresses.redis)
    with socket.create_connection((url.hostname, url.port), timeout=WAIT_SECONDS) as connection:
        answers = connection.makefile("rb")
        connection.sendall(f"AUTH {url.password}\r\n{' '.join(command)}\r\n".encode())
        assert answers.readline() == b"+OK\r\n"
        head = answers.readline().decode().strip()
        assert head[0] in "*:", head
        if head[0] == ":":
            return [head[1:]]
        # A line with its length stands before each.
        lines = [answers.readline().decode().strip() for _ in range(2 * int(head[1:]))]
        return lines[1::2]


async def until(deployment: Deployment, user: int, *expected: str) -> None:
    """Waits until the directory has the user on these nodes."""
    deadline = time.monotonic() + WAIT_SECONDS
    key = f"{deployment.name}:nodes_of:{user}"
    while sorted(found := await asyncio.to_thread(redis, deployment, "ZRANGE", key, "0", "-1")) != [*expected]:
        assert time.monotonic() < deadline, f"user {user} is at {found}, not at {expected}"
        await asyncio.sleep(0.1)


async def test_who_is_where(deployment):
    first, second = deployment.start(1), deployment.start(2)
    async with await Peer.login(first, 7, 1):
        await until(deployment, 7, "1")
        left_s = int(redis(deployment, "TTL", f"{deployment.name}:nodes_of:7")[0])
        assert 0 < left_s <= 90, left_s
        async with await Peer.login(first, 7, 2), await Peer.login(second, 8):
            await until(deployment, 8, "2")
        # One device of two has gone.
        await until(deployment, 8)
        await until(deployment, 7, "1")
        # With devices on both, the goodbye of either is for its own server only.
        async with await Peer.login(second, 7, 3):
            await until(deployment, 7, "1", "2")
        await until(deployment, 7, "1")
    await until(deployment, 7)
    devices = deployment.query("SELECT user_id, device_id FROM devices ORDER BY 1, 2")
    assert devices.split() == ["7|1", "7|2", "7|3", "8|1"], devices

    # Who left one server for another is found there, and the first one's goodbye does not change it.
    one = await Peer.login(first, 9)
    await until(deployment, 9, "1")
    async with await Peer.login(second, 9):
        await until(deployment, 9, "1", "2")
        await one.close()
        # Of what is said later the directory hears later: once it knows of another goodbye there, it knows
        # of this one too.
        async with await Peer.login(first, 10):
            await until(deployment, 10, "1")
        await until(deployment, 10)
        await until(deployment, 9, "2")


async def test_two_servers_are_one_chat(deployment):
    first, second = deployment.start(3), deployment.start(4)
    async with await Peer.login(first, 21) as anna, await Peer.login(second, 22) as bert:
        conversation = await anna.open_direct(22)
        assert await bert.open_direct(21) == conversation
        sent = [(await anna.send(conversation, b"from the first"))["message_id"]]
        sent.append((await bert.send(conversation, b"from the second"))["message_id"])
        for peer in (anna, bert):
            deadline = time.monotonic() + WAIT_SECONDS
            while len(found := await peer.sync_all(conversation)) < 2:
                assert time.monotonic() < deadline, found
                await asyncio.sleep(0.1)
            assert sorted(message["message_id"] for message in found) == sorted(sent)
            assert [message["seq"] for message in found] == [1, 2]
