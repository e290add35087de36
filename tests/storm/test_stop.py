"""A full server that is looked at and then stops: every client is told before it goes. With STOPPED_CLIENTS as
many as the host carries; what is measured is told, and not judged."""

import os
import re
import statistics
import subprocess
import sys
import threading
import time

from harness.admin import Admin
from harness.raw_session import RawSession
from harness.server import BINARY, Server, die_with_parent

CLIENTS = int(os.environ.get("STOPPED_CLIENTS", "2000"))
WINDOW_MS = int(os.environ.get("STOPPED_WINDOW_MS", "4000"))

# A hang, not a slow machine, should meet it: the slowest seen is 3,000 clients a second.
PATIENCE_SECONDS = 120 + CLIENTS / 1_000

# What a client that comes back before the end of the window is refused with.
CONFIG = f"[limits]\nconnections_max = {CLIENTS + 10_000}\n"


def timed_ms(admin: Admin, path: str, times: int) -> list[float]:
    """How long the answers take, connecting included."""
    took = []
    for _ in range(times):
        # Longer than a page is given again.
        time.sleep(0.3)
        began = time.monotonic()
        assert admin.get(path)[0] == 200
        took.append(1_000 * (time.monotonic() - began))
    return took


# Four pages a second, in a process of its own: the oftenest that a page is made anew.
SCRAPER = """
import http.client, socket, sys, time
while True:
    connection = http.client.HTTPConnection("rookery")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(sys.argv[1])
    connection.request("GET", "/metrics")
    assert len(connection.getresponse().read()) > 10_000
    connection.close()
    time.sleep(0.25)
"""

PINGS = 1_000


def pings_us(server: Server) -> list[float]:
    """How long a client's pings take, one after the other."""
    took = []
    with RawSession(server, 4_000_000_001) as session:
        for nonce in range(PINGS):
            began = time.monotonic()
            session.ask("Ping", nonce=nonce)
            assert session.hear_kind("Pong")["nonce"] == nonce
            took.append(1e6 * (time.monotonic() - began))
    return took


def pings_without_and_with_scrapes(server: Server) -> tuple[str, str]:
    """By turns, so that what else the host does is in both."""
    without, scraped = [], []
    for _ in range(5):
        without += pings_us(server)
        scraper = subprocess.Popen([sys.executable, "-c", SCRAPER, server.data / "admin.sock"],
                                   preexec_fn=die_with_parent)
        try:
            time.sleep(0.3)
            scraped += pings_us(server)
            assert scraper.poll() is None, "the scraper has ended"
        finally:
            scraper.kill()
            scraper.wait()

    def words(took: list[float]) -> str:
        percent = statistics.quantiles(took, n=100)
        return f"p50 {percent[49]:.0f} us, p99 {percent[98]:.0f} us"

    return words(without), words(scraped)


KICKED, REVOKED = 4003, 4004
ENDED = 4_000_000_002


def ended_ms(server: Server, admin: Admin, act: str, code: int, times: int) -> list[float]:
    """How long it takes from what an operator asks to the close that a live client hears."""
    took = []
    for nth in range(times):
        user = ENDED + nth
        with RawSession(server, user) as session:
            began = time.monotonic()
            assert admin.post(f"/users/{user}/{act}")[0] == 200
            assert session.close_code() == code
            took.append(1_000 * (time.monotonic() - began))
    return took


def wait_all_in(admin: Admin, flock: subprocess.Popen) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (live := admin.metrics().total("rookery_shard_live")) < CLIENTS:
        assert flock.poll() is None, "the load generator has ended"
        assert time.monotonic() < deadline, f"{live:.0f} of {CLIENTS} are in"
        time.sleep(0.5)


class Longest:
    """Follows the longest turn of any shard, for as long as the admin port answers."""

    def __init__(self, admin: Admin) -> None:
        self.ms = 0.0
        self._admin = admin
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def _follow(self) -> None:
        while not self._ends.is_set():
            try:
                turns = self._admin.metrics().series["rookery_shard_longest_turn_ns"]
            except (OSError, AssertionError):
                return
            self.ms = max([self.ms, *(turn / 1e6 for turn in turns.values())])

    def end(self) -> float:
        self._ends.set()
        self._thread.join(60)
        return self.ms


def test_a_full_server_is_looked_at_and_stops(servers, folder, cases):
    server = servers.start(address="0.0.0.0", config=CONFIG, drain_window_ms=WINDOW_MS)
    admin = Admin(server)
    with (folder / "flock.log").open("wb") as log:
        flock = subprocess.Popen(
            [BINARY, "flock", f"wss://127.0.0.1:{server.tls_port}", "--connections", str(CLIENTS), "--rate", "100",
             "--duration", "24h", "--brief", "--no-rest", "--tolerate", "--data", str(server.data)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=die_with_parent)
    try:
        wait_all_in(admin, flock)
        pages = timed_ms(admin, "/metrics", 20)
        ranked = timed_ms(admin, "/connections?sort=idle&limit=20", 5) + timed_ms(admin, "/connections?limit=20", 5)
        far = timed_ms(admin, "/connections?sort=rtt&limit=20", 1)
        kicked = ended_ms(server, admin, "kick", KICKED, 20)
        revoked = ended_ms(server, admin, "revoke", REVOKED, 20)
        without, scraped = pings_without_and_with_scrapes(server)
        before_ms = max(admin.metrics().series["rookery_shard_longest_turn_ns"].values()) / 1e6
        live = int(admin.metrics().total("rookery_shard_live"))
        follower = Longest(admin)
        began = time.monotonic()
        server.process.terminate()
        assert server.process.wait(PATIENCE_SECONDS + WINDOW_MS / 1_000) == 0
        took_s = time.monotonic() - began
        after_ms = follower.end()
    finally:
        flock.kill()
        flock.wait()
    story = re.sub(r"\x1b\[[0-9;]*m", "", server.log.read_text(encoding="utf-8"))
    words = {name: int(count) for name, count in re.findall(r"(\w+)=(\d+)", story.strip().splitlines()[-1])}
    assert words["told_to_reconnect"] >= live, f"{live} were there: {words}"
    cases.note(f"{live} connections: 20 pages of metrics in {min(pages):.1f} to {max(pages):.1f} ms, ten rankings in "
               f"{min(ranked):.1f} to {max(ranked):.1f} ms, one by round trip in {far[0] / 1_000:.1f} s; longest turn {before_ms:.1f} ms before the stop, "
               f"{after_ms:.1f} ms with it")
    cases.note(f"live clients among them: 20 kicked, closed within {max(kicked):.1f} ms; 20 revoked, closed within "
               f"{max(revoked):.1f} ms")
    cases.note(f"{5 * PINGS} pings of a client there: {without}; with four pages of metrics a second: {scraped}")
    cases.note(f"SIGTERM with a window of {WINDOW_MS} ms: {words['told_to_reconnect']} told, {words['closed']} closed, "
               f"{words['cut_off']} cut off, over after {took_s:.1f} s")
