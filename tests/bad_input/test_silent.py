"""Clients that say nothing for longer than the idle timeout, with more queued for them than the kernel's
buffers hold: one that reads lives, one that does not is closed."""

import asyncio
import os
import time

import pytest

from harness.peer import Peer
from harness.raw import PING, PONG, frame
from harness.raw_session import Deaf, RawSession

# Seconds. A machine may stand still for most of the idle timeout without a test failing.
HEARTBEAT, IDLE = 1, 5
# 42 MB; of them the kernel's buffers hold a quarter at most (net.ipv4.tcp_wmem and tcp_rmem), and all of
# them fit into a quarter of the queue, above which the client would not be listened to while they come.
MESSAGES, BYTES = 700, 60_000
BURST = 5
QUEUE_BYTES = 256 << 20

CONFIG = (f"[limits]\nheartbeat_interval_ms = {HEARTBEAT * 1000}\nidle_timeout_ms = {IDLE * 1000}\n"
          f"send_queue_bytes_max = {QUEUE_BYTES}\n")


@pytest.fixture(scope="module")
def server(servers):
    return servers.start(config=CONFIG, key=os.urandom(32))


async def fill(server, deaf: Deaf, user: int) -> float:
    """Sends it messages that it does not read; meanwhile it shows that it lives. No later than when it did so
    for the last time."""
    async with await Peer.login(server, user + 1) as sender:
        conversation = await sender.open_direct(user)
        last_word = 0.0
        for _ in range(0, MESSAGES, BURST):
            await asyncio.gather(*(sender.send(conversation, bytes(BYTES)) for _ in range(BURST)))
            # Over 60 a second are a flood.
            if time.monotonic() > last_word + 0.1:
                last_word = time.monotonic()
                deaf.send(frame(PONG))
    return last_word


def test_a_client_that_reads_slowly_is_alive(server, watch, cases):
    watch(server)
    with Deaf(server, 4500, 1) as slow:
        asyncio.run(fill(server, slow, 4500))
        silent_since = time.monotonic()
        heard = 0
        while time.monotonic() - silent_since < 2 * IDLE:
            # 1.2 MB a second: a full send buffer of 4 MiB has room again every second or two.
            for _ in range(4):
                heard += slow.hear()[0] == "Deliver"
            time.sleep(0.2)
        assert heard < MESSAGES // 2, "its queue was not full all the time"
        cases.note(f"silent for {2 * IDLE} s at an idle timeout of {IDLE} s, {heard * BYTES >> 20} MiB read meanwhile")
        while heard < MESSAGES:
            heard += slow.hear()[0] == "Deliver"
        # Nothing is queued any more: it is asked, as everybody is.
        while slow.read_frame()[0] != PING:
            pass
        slow.ask("Ping", nonce=7)
        assert slow.hear_kind("Pong") == {"nonce": 7}


def test_a_client_that_stops_reading_is_closed(server, cases):
    server.wait_connections(0)
    with Deaf(server, 4510, 1) as deaf:
        silent_since = asyncio.run(fill(server, deaf, 4510))
        server.wait_connections(0)
        waited = time.monotonic() - silent_since
    # The server counts whole seconds.
    assert waited > IDLE - 1.5, f"closed {waited:.1f} s after its last word"
    cases.note(f"closed {waited:.1f} s after its last word, at an idle timeout of {IDLE} s")


async def test_a_client_whose_library_answers_pings_needs_no_ping_of_its_own(server):
    async with await Peer.login(server, 4520) as peer:
        await asyncio.sleep(2 * IDLE)
        await peer.ping()


@pytest.mark.produces(4001)
def test_a_client_that_answers_nothing_is_told_so(server):
    with RawSession(server, 4530) as session:
        assert session.close_code() == 4001
