"""All clients at once: everybody gets in, nobody who was in notices, and the memory comes back."""

import json
import threading
import time

from harness.chatter import Chatter
from harness.server import rookery

# As many at once as CI can hold, and far more than a shard does in the time of a login.
CONNECTIONS = 20_000

# Far below what a storm takes on a busy machine. It is each client's own: the time in which the server
# lets it wait does not count, and how many are on their way at a time is bounded.
LOGIN_TIMEOUT_MS = 8_000

CONFIG = f"[limits]\nconnections_max = {CONNECTIONS + 1_000}\nlogin_timeout_ms = {LOGIN_TIMEOUT_MS}\n"

# The server's resident memory after the storm and its goodbye: what the store and the allocator keep
# is bounded, whatever the storm was. One handshake under way takes some 16 KiB, all of them 320 MB.
MEMORY_SLACK = 48 << 20

# An exchange of the pair is two durable round trips between processes that share the cores with the
# storm's clients: the 99th percentile may be ten times what is usual (the median) at rest, and a third
# of a second in any case.
SLOWER_MAX, SLOW_SECONDS = 10, 0.33


class Timed:
    """How long a pair's exchanges take, from its count."""

    def __init__(self, chatter: Chatter) -> None:
        self.chatter = chatter
        self.gaps: list[float] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        seen, since = self.chatter.exchanged, time.monotonic()
        while not self._stop.is_set():
            with self.chatter._progress:
                self.chatter._progress.wait(0.5)
            now = time.monotonic()
            if self.chatter.exchanged != seen:
                self.gaps.append((now - since) / (self.chatter.exchanged - seen))
                seen, since = self.chatter.exchanged, now

    def end(self) -> list[float]:
        """Seconds from each exchange to the next, ascending."""
        self._stop.set()
        self._thread.join(10)
        return sorted(self.gaps)


def p99(gaps: list[float]) -> float:
    return gaps[min(len(gaps) - 1, len(gaps) * 99 // 100)]


def storm(server, folder, name: str) -> dict:
    """Every client connects at once and is logged in, rests a second, and leaves."""
    report = folder / f"{name}.json"
    ran = rookery("flock", f"wss://127.0.0.1:{server.tls_port}", "--connections", str(CONNECTIONS),
                  "--connect-window", str(CONNECTIONS), "--spread", "4", "--warm-up", "0", "--rate", "0", "--duration", "1s",
                  "--no-rest", "--json", str(report), "--data", str(server.data), timeout=300)
    assert ran.returncode == 0, ran.stdout[-2000:] + ran.stderr[-2000:] + server.story()
    return json.loads(report.read_text(encoding="utf-8"))


def test_all_at_once(servers, folder, cases):
    server = servers.start(config=CONFIG, address="0.0.0.0")
    chatter = Chatter(server)
    quiet = Timed(chatter)
    time.sleep(3)
    before = quiet.end()

    during = Timed(chatter)
    told = storm(server, folder, "first")
    waited = during.end()
    assert (told["established"], told["failed"], told["lost"]) == (CONNECTIONS, 0, 0), told
    chatter.check()
    usual = before[len(before) // 2]
    bound = max(SLOWER_MAX * usual, SLOW_SECONDS)
    assert p99(waited) < bound, f"usually {usual:.3f} s before, p99 {p99(waited):.3f} s during the storm"
    cases.note(f"{CONNECTIONS} clients at once: in after {told['connect_seconds']:.1f} s; an exchange of the pair took "
               f"p99 {p99(before) * 1000:.0f} ms before and {p99(waited) * 1000:.0f} ms during it ({len(waited)})")

    # The second storm finds what the first one left: memory that grows with each would show here.
    server.wait_connections(2)
    after_first = min(server.rss_bytes_over(seconds=6))
    storm(server, folder, "second")
    server.wait_connections(2)
    after_second = min(server.rss_bytes_over(seconds=6))
    cases.note(f"resident after the first storm {after_first >> 20} MiB, after the second {after_second >> 20} MiB")
    assert after_second - after_first < MEMORY_SLACK, (after_first, after_second)
    assert chatter.end() > 0
    server.wait_connections(0)


def test_uneven_shards_hold_all(servers):
    """SO_REUSEPORT spreads by chance, and a small server has few slots to spare: one shard is full while
    another has room. All of `connections_max` get in all the same."""
    from harness.raw import Raw

    for most in (64, 100, 130):
        server = servers.start(config=f"[limits]\nconnections_max = {most}\n", shards=4)
        inside = []
        for _ in range(most):
            one = Raw(server, tls=False)
            inside.append(one.upgraded())
        with Raw(server, tls=False) as late:
            assert late.request().status == 503
        for one in inside:
            one.socket.close()
        assert server.stop() == 0
