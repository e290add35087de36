"""All clients at once: everybody gets in, nobody who was in notices, and the memory comes back."""

import json

from harness.chatter import Chatter
from harness.server import rookery

# As many at once as CI can hold, and far more than a shard does in the time of a login.
CONNECTIONS = 20_000

# Each client's own: the time in which the server lets it wait does not count, and how many are on their
# way at a time is bounded. What counts is how long the load generator, which shakes as many hands on the
# same cores, lets the server wait: that is for a machine that has much other work.
LOGIN_TIMEOUT_MS = 30_000

CONFIG = f"[limits]\nconnections_max = {CONNECTIONS + 1_000}\nlogin_timeout_ms = {LOGIN_TIMEOUT_MS}\n"

# The server's resident memory after the storm and its goodbye: what the store and the allocator keep
# is bounded, whatever the storm was. One handshake under way takes some 16 KiB, all of them 320 MB.
MEMORY_SLACK = 48 << 20

# Clients that may get in for each exchange of the pair, which is four messages, each durable before the
# next: what the server does for the ones is held against what it does for the others, so that a machine
# that stands still makes no difference. Some 60 get in meanwhile as it is (docs/density.md).
IN_PER_EXCHANGE_MAX = 1_000


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
    with Chatter(server) as chatter:
        before = chatter.exchanged
        told = storm(server, folder, "first")
        exchanged = chatter.exchanged - before
        assert (told["established"], told["failed"], told["lost"]) == (CONNECTIONS, 0, 0), told
        chatter.check()
        assert exchanged * IN_PER_EXCHANGE_MAX >= CONNECTIONS, f"{exchanged} exchanges while {CONNECTIONS} got in"
        cases.note(f"{CONNECTIONS} clients at once: in after {told['connect_seconds']:.1f} s; {exchanged} exchanges of "
                   "the pair meanwhile")

        # The second storm finds what the first one left: memory that grows with each would show here.
        server.wait_connections(2)
        after_first = server.rss_bytes()
        storm(server, folder, "second")
        server.wait_connections(2)
        after_second = server.wait_rss_bytes(after_first + MEMORY_SLACK)
        cases.note(f"resident after the first storm {after_first >> 20} MiB, after the second {after_second >> 20} MiB")
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
