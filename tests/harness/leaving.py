"""Clients of a server that is drained: those that do what a Reconnect asks for, those that talk on, and what
the server says at its end."""

import asyncio
import random
import re
import time

from websockets.exceptions import ConnectionClosed

from . import tokens
from .ledger import Ledger
from .peer import Peer
from .server import Server

KEY = b"a key of thirty-two bytes, or more"

# A hang, not a slow machine, should meet it.
PATIENCE_SECONDS = 120


async def log_in(server: Server, user: int, device: int = 1) -> Peer:
    token = tokens.hs256(user, KEY, device)
    return await Peer.login(server, user, device, token=token, tls=False)


async def crowd(server: Server, users: range) -> list[Peer]:
    """All of them, some at a time."""
    door = asyncio.Semaphore(50)

    async def one(user: int) -> Peer:
        async with door:
            return await log_in(server, user)

    return list(await asyncio.gather(*map(one, users)))


async def told(peer: Peer) -> dict:
    """Waits for its Reconnect."""
    await asyncio.wait_for(peer.wait_for(lambda: peer.told), PATIENCE_SECONDS)
    return peer.told[0]


async def somebody_told(peers: list[Peer]) -> None:
    """Waits until the drain has begun."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not any(peer.told for peer in peers):
        assert time.monotonic() < deadline, "nobody is told"
        await asyncio.sleep(0.05)


async def leave(peer: Peer) -> None:
    """What a client does that has nothing under way: it goes at a moment of its own."""
    window = await told(peer)
    await asyncio.sleep(random.uniform(window["not_before_ms"], window["not_after_ms"]) / 1000)
    await peer.socket.close()


async def talk(peer: Peer, conversation: int, ledger: Ledger, *, leaves: bool) -> int:
    """Sends one message after the other, until it has been told and leaves, or is closed; how many messages
    were sent after it was told."""
    after = 0
    while not (leaves and peer.told):
        message = ledger.new(peer.user, conversation, random.randbytes(100))
        try:
            ledger.acked(message, await peer.send(conversation, message.payload, message.client_msg_id))
        except (ConnectionError, ConnectionClosed):
            return after
        after += bool(peer.told)
        await asyncio.sleep(0.05)
    await peer.socket.close()
    return after


def last_words(server: Server) -> dict[str, int]:
    """The counts of the last line of its log."""
    line = server.log.read_text(encoding="utf-8").strip().splitlines()[-1]
    assert "stopped" in line, line
    plain = re.sub(r"\x1b\[[0-9;]*m", "", line)
    return {name: int(count) for name, count in re.findall(r"(\w+)=(\d+)", plain)}
