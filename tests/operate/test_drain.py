"""A server that goes: every client is told to reconnect before it is closed, each at its own moment, and
nothing that was acked is lost. What is counted by time is counted by the server's own clock, as its frames
tell it."""

import asyncio
import itertools
import json
import os
import random
import signal
import subprocess
import time

import pytest
from rookery_protocol import decode, encode
from websockets.exceptions import WebSocketException

from harness import tokens
from harness.leaving import KEY, PATIENCE_SECONDS, crowd, last_words, leave, log_in, somebody_told, talk
from harness.ledger import Ledger, retry, settle, verify
from harness.peer import Peer
from harness.raw import BINARY, Raw, frame
from harness.server import BINARY as ROOKERY
from harness.server import Server, die_with_parent

# Long enough that a machine with much other work gets through it in time.
WINDOW_MS = 12_000
# Two thirds of it, as docs/rookery.toml says.
TELL_MS = 8_000

IDLE, TALKERS, STUBBORN = 1_840, 40, 120
CLIENTS = IDLE + TALKERS + STUBBORN

# Those that go to another server: docs/density.md has a run of many.
MOVING = int(os.environ.get("DRAINED_CLIENTS", "2000"))
MOVING_WINDOW_MS = int(os.environ.get("DRAINED_SECONDS", "12")) * 1000

# A second's share may be half as much again as planned.
SHARE_MAX = 1.5


async def stop(server: Server) -> int:
    return await asyncio.to_thread(server.stop)


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
    # Four logins a second: fifty need 12.5 s to come again.
    config = "[limits]\nlogins_per_second = 4\nreconnect_jitter_ms = 1000\n"
    server = servers.start(key=KEY, drain_window_ms=86_400_000, shards=1, config=config)
    peers = await crowd(server, range(1, 51))
    server.process.terminate()
    await somebody_told(peers)
    server.process.send_signal(again)
    assert [await peer.closed() for peer in peers] == [1001] * 50
    # Also the last one, who is alone by then.
    assert {peer.socket.close_reason for peer in peers} == {"going_away; reconnect_jitter_ms=12500"}
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

    async def come_and_come(first: int) -> None:
        """One client after the other, until one is refused."""
        for user in itertools.count(first):
            try:
                inside.append(await log_in(server, user))
            except (OSError, WebSocketException):
                return

    storming = [asyncio.create_task(come_and_come(1 + worker * 100_000)) for worker in range(40)]
    while len(inside) < 200:
        await asyncio.sleep(0.01)
    stopping = asyncio.create_task(stop(server))
    await asyncio.gather(*storming)
    codes = [await peer.closed() for peer in inside]
    assert await stopping == 0, server.story()
    unspoken = [peer for peer, code in zip(inside, codes, strict=True) if code != 1001 and not peer.told]
    assert not unspoken, f"{len(unspoken)} of {len(inside)} were told nothing"
    cases.note(f"a stop in a storm: {len(inside)} were in, {sum(bool(peer.told) for peer in inside)} of them told to "
               "reconnect; 40 were refused")
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


async def stored(server: Server, pairs: int, count: int) -> tuple[int, int]:
    """Messages in the conversations of flock's talkers, and different ones among them."""
    ids: list[bytes] = []
    for nth in range(pairs):
        async with await log_in(server, 1 + 2 * (nth * (count // 2) // pairs)) as talker:
            for row in (await talker.list_conversations())["conversations"]:
                ids += [message["client_msg_id"] for message in await talker.sync_all(row["conversation_id"])]
    return len(ids), len(set(ids))


async def test_one_server_is_drained_into_another(servers, folder, cases):
    """`flock` does what the protocol asks of a client: all land on the other server, and nobody fails."""
    count, pairs = MOVING, 100
    limits = f"[limits]\nconnections_max = {count + 1_000}\nlogin_timeout_ms = 60000\n"
    there = servers.start(key=KEY, config=limits, address="0.0.0.0")
    # A loopback address has some 28,000 ports for each address that it connects to.
    alternatives = [f"wss://127.0.0.{n}:{there.tls_port}/" for n in range(1, 9)]
    here = servers.start(key=KEY, config=limits, address="0.0.0.0", drain_window_ms=MOVING_WINDOW_MS,
                         environment={"ROOKERY_DRAIN_ALTERNATIVES": ",".join(alternatives)})
    key, report = folder / "drain.key", folder / "drain.json"
    key.write_bytes(KEY)
    flock = subprocess.Popen(
        [ROOKERY, "flock", f"wss://127.0.0.1:{here.tls_port}", "--connections", str(count), "--rate", "200", "--talkers",
         str(2 * pairs), "--duration", "1s", "--warm-up", "0", "--no-rest", "--brief", "--drain", "600s", "--key", str(key),
         "--json", str(report)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=die_with_parent, env=os.environ)
    said = []
    while "waiting for the server to be drained" not in (line := await asyncio.to_thread(flock.stderr.readline)):
        said.append(line)
        assert line, "".join(said)
    await asyncio.sleep(6)
    here.process.terminate()
    assert await asyncio.to_thread(here.process.wait, MOVING_WINDOW_MS / 1000 + PATIENCE_SECONDS) == 0, here.story()
    out, err = await asyncio.to_thread(flock.communicate, timeout=600)
    assert flock.returncode == 0, "".join(said) + out + err
    told = json.loads(report.read_text(encoding="utf-8"))
    drain = told["drain"]
    assert (told["lost"], told["failed"], told["errors"]) == (0, 0, {}), told["errors"]
    assert (drain["told"], drain["left"], drain["moved"]) == (count, count, count), drain
    assert drain["acked"] == drain["sent"] > 0, drain
    assert last_words(here) == {"told_to_reconnect": count, "closed": 0, "cut_off": 0}
    share = count * 1000 / (MOVING_WINDOW_MS - 2 * min(10_000, MOVING_WINDOW_MS // 6))
    most = max(drain["told_per_second"])
    assert most <= SHARE_MAX * share, drain["told_per_second"]

    here.start()
    messages, different = await stored(here, pairs, count)
    assert messages == different == told["acked"] + drain["acked"], (messages, different, told["acked"], drain["acked"])
    cases.note(f"{count} clients moved in {drain['seconds']:.0f} s, {drain['tried_again']} tries more; at most {most} told in "
               f"a second of a share of {share:.0f}; {drain['acked']} messages acked meanwhile, lost 0, twice 0")
