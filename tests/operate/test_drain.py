"""A server that goes: every client is told to reconnect before it is closed, each at its own moment, and
nothing that was acked is lost. What is counted by time is counted by the server's own clock, as its frames
tell it."""

import asyncio
import json
import os
import random
import re
import signal
import subprocess
import time

import pytest
from rookery_protocol import decode, encode
from websockets.exceptions import ConnectionClosed

from harness import tokens
from harness.ledger import Ledger, retry, settle, verify
from harness.peer import Peer
from harness.raw import BINARY, Raw, frame
from harness.server import BINARY as ROOKERY
from harness.server import Server, die_with_parent

KEY = b"a key of thirty-two bytes, or more"

# Long enough that a machine with much other work gets through it in time.
WINDOW_MS = 12_000
# Two thirds of it, as docs/rookery.toml says.
TELL_MS = 8_000

IDLE, TALKERS, STUBBORN = 1_840, 40, 120
CLIENTS = IDLE + TALKERS + STUBBORN

# A second's share may be half as much again as planned.
SHARE_MAX = 1.5

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


async def stop(server: Server) -> int:
    return await asyncio.to_thread(server.stop)


def last_words(server: Server) -> dict[str, int]:
    """The counts of the last line of its log."""
    line = server.log.read_text(encoding="utf-8").strip().splitlines()[-1]
    assert "stopped" in line, line
    plain = re.sub(r"\x1b\[[0-9;]*m", "", line)
    return {name: int(count) for name, count in re.findall(r"(\w+)=(\d+)", plain)}


def most_in_a_second(moments_ms: list[int]) -> int:
    """Of any second, wherever it begins."""
    moments = sorted(moments_ms)
    first, most = 0, 0
    for last, moment in enumerate(moments):
        while moments[first] <= moment - 1000:
            first += 1
        most = max(most, last - first + 1)
    return most


@pytest.mark.produces(1001)
async def test_everybody_is_told_and_nothing_acked_is_lost(servers, cases):
    server = servers.start(key=KEY, drain_window_ms=WINDOW_MS)
    users = range(1, CLIENTS + 1)
    peers = await crowd(server, users)
    talkers, stubborn, idle = peers[:TALKERS], peers[TALKERS:TALKERS + STUBBORN], peers[TALKERS + STUBBORN:]
    ledger = Ledger()
    pairs = list(zip(talkers[::2], talkers[1::2], strict=True))
    conversations = [await a.open_direct(b.user) for a, b in pairs]
    talks = [asyncio.create_task(talk(peer, conversation, ledger, leaves=bool(n % 2)))
             for n, (pair, conversation) in enumerate(zip(pairs, conversations, strict=True)) for peer in pair]
    leaving = [asyncio.create_task(leave(peer)) for peer in idle]
    # So that who only waits counts as idle.
    await asyncio.sleep(6)
    stopping = asyncio.create_task(stop(server))
    await asyncio.gather(*leaving)
    sent_after = await asyncio.gather(*talks)
    assert [await peer.closed() for peer in stubborn] == [1001] * STUBBORN
    assert await stopping == 0, server.story()

    assert [len(peer.told) for peer in peers] == [1] * CLIENTS, "each is told once, before it is closed"
    moments = [peer.told[0]["server_time_ms"] for peer in peers]
    share, most = CLIENTS * 1000 / TELL_MS, most_in_a_second(moments)
    assert most <= SHARE_MAX * share, f"{most} in a second of a share of {share}"
    in_order = sorted(moments)
    assert min(moments[:TALKERS]) > in_order[CLIENTS // 2], "who talks is told late"
    assert sum(sent_after) > 0, "whoever was told goes on until it leaves"
    words = last_words(server)
    assert (words["told_to_reconnect"], words["cut_off"]) == (CLIENTS, 0), words
    assert words["closed"] >= STUBBORN, words
    acked = sum(sent.message_id is not None for sent in ledger.sent.values())

    server.start()
    back = list(await asyncio.gather(*(log_in(server, peer.user) for peer in talkers)))
    ledger.saw_live(talkers)
    await retry(back, ledger, random.Random(1))
    total = 0
    for (a, b), conversation in zip(zip(back[::2], back[1::2], strict=True), conversations, strict=True):
        await verify([a, b], [conversation], ledger, from_start=False)
        total += len(ledger.order[conversation])
    assert settle(conversations, ledger) == total
    cases.note(f"{CLIENTS} told, at most {most} in a second of a share of {share:.0f}; {acked} messages acked, "
               f"{sum(sent_after)} of them after the Reconnect; lost 0, twice 0")
    await asyncio.gather(*(peer.close() for peer in back))


async def test_who_comes_in_a_drain(servers):
    """Nobody is let in; who was at the door may finish, and is told like the others."""
    server = servers.start(key=KEY, drain_window_ms=600_000, environment={"ROOKERY_DRAIN_CLIENTS_PER_SECOND_MAX": "1"})
    peers = await crowd(server, range(1, 21))
    at_the_door = Raw(server, tls=False).upgraded()
    server.process.terminate()
    await somebody_told(peers)
    for tls in (True, False):
        with Raw(server, tls=tls) as late:
            answer = await asyncio.to_thread(late.request)
            assert answer.status == 503, answer
            assert int(answer.headers["retry-after"]) >= 1, answer
    login = {"token": tokens.hs256(99, KEY).encode(), "resume_token": b""}
    at_the_door.send(frame(BINARY, encode("Login", login)))
    kind, welcome = decode(at_the_door.read_frame()[1])
    assert (kind, welcome["user_id"]) == ("Welcome", 99)
    server.process.terminate()
    assert await stop(server) == 0
    assert {await peer.closed() for peer in peers} <= {1001}


@pytest.mark.produces(1001)
@pytest.mark.parametrize("again", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_stops_at_once(servers, again):
    server = servers.start(key=KEY, drain_window_ms=86_400_000)
    peers = await crowd(server, range(1, 51))
    server.process.terminate()
    await somebody_told(peers)
    server.process.send_signal(again)
    assert [await peer.closed() for peer in peers] == [1001] * 50
    assert await asyncio.to_thread(server.process.wait, PATIENCE_SECONDS) == 0
    words = last_words(server)
    assert words["closed"] == 50 and words["cut_off"] == 0, words


@pytest.mark.produces(1001)
async def test_an_interrupt_stops_at_once_and_waits_for_acks(servers):
    server = servers.start(key=KEY, drain_window_ms=86_400_000)
    anna, bert = await crowd(server, range(1, 3))
    conversation = await anna.open_direct(2)
    ledger = Ledger()
    sends = []
    for number in range(200):
        message = ledger.new(1, conversation, b"%d" % number)
        sends.append((message, asyncio.create_task(anna.send(conversation, message.payload, message.client_msg_id))))
    await asyncio.gather(sends[0][1])
    server.interrupt()
    assert await bert.closed() == 1001
    assert await anna.closed() == 1001
    assert await asyncio.to_thread(server.process.wait, PATIENCE_SECONDS) == 0
    assert not anna.told and not bert.told
    for message, send in sends:
        result = (await asyncio.gather(send, return_exceptions=True))[0]
        if isinstance(result, dict):
            ledger.acked(message, result)
    server.start()
    back = await crowd(server, range(1, 3))
    await retry(back, ledger, random.Random(2))
    await verify(back, [conversation], ledger)
    assert settle([conversation], ledger) == 200
    await asyncio.gather(*(peer.close() for peer in back))


async def test_a_stop_in_a_storm_of_connects(servers, cases):
    """Whoever has got in is told, by a Reconnect or by the close; the others are refused or find nobody."""
    server = servers.start(key=KEY, drain_window_ms=6_000)
    inside: list[Peer] = []
    refused = 0

    async def come(user: int) -> None:
        nonlocal refused
        try:
            inside.append(await log_in(server, user))
        except (OSError, ConnectionError, asyncio.TimeoutError):
            refused += 1
        except Exception as error:  # what websockets raises for a 503
            assert "503" in str(error) or isinstance(error, ConnectionClosed), repr(error)
            refused += 1

    async def storm() -> None:
        await asyncio.gather(*(come(user) for user in range(1, 1_001)))

    storming = asyncio.create_task(storm())
    while len(inside) < 100:
        await asyncio.sleep(0.01)
    stopping = asyncio.create_task(stop(server))
    await storming
    codes = [await peer.closed() for peer in inside]
    assert await stopping == 0, server.story()
    unspoken = [peer for peer, code in zip(inside, codes, strict=True) if code != 1001 and not peer.told]
    assert not unspoken, f"{len(unspoken)} of {len(inside)} were told nothing"
    cases.note(f"{len(inside)} were in, {sum(bool(peer.told) for peer in inside)} of them told to reconnect, {refused} refused")
    server.start()


def test_a_stop_while_it_starts(servers):
    """At any moment of a start it ends, and the next start finds everything as it should be."""
    server = servers.new(key=KEY)
    dice = random.Random(3)
    for _ in range(8):
        server.launch()
        time.sleep(dice.uniform(0.0, 0.3))
        server.process.terminate()
        # Before the signal is listened for it has its usual meaning.
        assert server.process.wait(PATIENCE_SECONDS) in (0, -signal.SIGTERM), server.story()
    server.start()
    assert server.stop() == 0


def test_a_server_without_clients_does_not_wait(servers):
    server = servers.start(key=KEY, drain_window_ms=86_400_000)
    assert server.stop() == 0
    assert last_words(server) == {"told_to_reconnect": 0, "closed": 0, "cut_off": 0}


async def test_one_server_is_drained_into_another(servers, folder, cases):
    """`flock` does what the protocol asks of a client: all land on the other server, and nobody fails."""
    there = servers.start(key=KEY)
    here = servers.start(key=KEY, drain_window_ms=WINDOW_MS,
                         environment={"ROOKERY_DRAIN_ALTERNATIVES": f"wss://127.0.0.1:{there.tls_port}/"})
    key, report, count = folder / "drain.key", folder / "drain.json", 2_000
    key.write_bytes(KEY)
    flock = subprocess.Popen(
        [ROOKERY, "flock", f"wss://127.0.0.1:{here.tls_port}", "--connections", str(count), "--rate", "200", "--talkers",
         "200", "--duration", "1s", "--warm-up", "0", "--no-rest", "--brief", "--drain", "120s", "--key", str(key), "--json",
         str(report)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=die_with_parent, env=os.environ)
    said = []
    for line in flock.stderr:
        said.append(line)
        if "waiting for the server to be drained" in line:
            break
    await asyncio.sleep(6)
    assert await stop(here) == 0, here.story()
    out, err = await asyncio.to_thread(flock.communicate, timeout=PATIENCE_SECONDS)
    assert flock.returncode == 0, "".join(said) + out + err
    drain = json.loads(report.read_text(encoding="utf-8"))
    assert (drain["lost"], drain["failed"], drain["errors"]) == (0, 0, {}), drain["errors"]
    drain = drain["drain"]
    assert (drain["told"], drain["left"], drain["moved"]) == (count, count, count), drain
    assert drain["acked"] == drain["sent"] > 0, drain
    assert last_words(here) == {"told_to_reconnect": count, "closed": 0, "cut_off": 0}
    share = count * 1000 / TELL_MS
    # Whole seconds of the server's clock: the first and the last are not full.
    assert max(drain["told_per_second"]) <= SHARE_MAX * share, drain["told_per_second"]
    cases.note(f"{count} clients moved: {drain['told_per_second']} told per second of a share of {share:.0f}")
