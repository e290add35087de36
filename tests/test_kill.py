"""SIGKILL at random moments under load, 100 times on the same data directory.

After each kill: every acked message is there, once, in one dense order for every member; what was
delivered live before the kill has the same seq after it; a retry of what was not acked gets one
message id, and a retry of what was acked gets the id that it had.
"""

import asyncio
import os
import random
import time

from harness.ledger import Ledger, retry, settle, verify
from harness.peer import Peer
from harness.server import Server

KILLS = 100
USERS = (7001, 7002, 7003, 7004)
IN_FLIGHT = 6

# Small segments, so that they are filled and used again many times.
CONFIG = "[router]\nlog_segment_bytes = 4194304\n"


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
