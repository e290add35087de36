"""What one client does to all others: under each attack a pair beside it goes on, nothing of it is lost, refused or out
of order, and the server's memory stays within what it said. How long the pair's messages take is told, not judged: the
attackers have the same two cores."""

import os
import statistics

import pytest

from harness import pair
from harness.attacks import ATTACKS, Attack
from harness.loiterers import KINDS, Loiterers
from harness.sampler import CONFIG, Sampler

MESSAGES = int(os.environ.get("NEIGHBOURS_MESSAGES", "200"))

# Of those who begin something and do not end it.
HOLDS, PER_SECOND = 8_000, 2_000

LOITERERS = [kind for kind in KINDS if kind != "only a PROXY header"]


@pytest.mark.parametrize("attack", [*ATTACKS, *LOITERERS])
def test_a_pair_goes_on(servers, watch, cases, attack):
    server = watch(servers.start(config=CONFIG, shards=1, key=os.urandom(32)))
    before = pair.exchange(server, MESSAGES)
    with Sampler(server) as sampler, begun(server, attack):
        under = pair.exchange(server, MESSAGES)
    sampler.check()
    (p50, p99), (p50_under, p99_under) = percentiles(before), percentiles(under)
    cases.note(f"a pair's messages, {attack.replace('_', ' ')}: p50 {p50:.1f} -> {p50_under:.1f} ms, "
               f"p99 {p99:.1f} -> {p99_under:.1f} ms; the server took {sampler.rss >> 20} MiB")
    assert len(before) == len(under) == MESSAGES


def begun(server, attack: str):
    """The attack, until its end."""
    if attack in ATTACKS:
        return Attack(server, attack)
    port = server.plain_port if attack == "half a request head" else server.tls_port
    return Loiterers(port, attack, holds=HOLDS, per_second=PER_SECOND)


def percentiles(took_ms: list[float]) -> tuple[float, float]:
    percent = statistics.quantiles(took_ms, n=100)
    return percent[49], percent[98]
