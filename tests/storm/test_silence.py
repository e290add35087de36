"""Clients that connect and say nothing, or half of something, in thousands: they hold no place that others need."""

import os
import statistics
import time

import pytest

from harness.loiterers import KINDS, Loiterers
from harness.proxied import opened, v1
from harness.raw_session import RawSession

# A second, and how many are there at a time.
PACE = 5_000
HOLDS = int(os.environ.get("SILENT_HOLDS", "15000"))

LOGINS = int(os.environ.get("SILENT_LOGINS", "60"))

# Who connects meanwhile for each login of somebody who means it: a fifth of a second at that pace.
PER_LOGIN_MAX = PACE // 5


@pytest.mark.parametrize("says", KINDS)
def test_loiterers_keep_nobody_out(servers, cases, says):
    server = servers.new()
    announces = says == "only a PROXY header"
    if announces:
        # A balancer sends it as soon as somebody has connected, whatever becomes of that.
        server.config = f'[listen]\nproxy_protocol = "127.0.0.1:{server.tls_port}"\nproxies = "127.0.0.0/8"\n[limits]\nexempt_networks = "192.0.2.0/24"\n'
    server.start()
    plain = says == "half a request head"
    port = server.plain_port if plain else server.tls_port
    with Loiterers(port, says, holds=HOLDS, per_second=PACE) as loiterers:
        loiterers.wait_for(HOLDS)
        took_ms = []
        before = loiterers.connects
        for number in range(LOGINS):
            began = time.monotonic()
            if announces:
                through = opened(server, tls=True)
                through.sendall(v1("192.0.2.2"))
                over = server.tls_context().wrap_socket(through, server_hostname="localhost")
                RawSession(server, 1 + number, over=over).socket.close()
            else:
                RawSession(server, 1 + number, tls=not plain).socket.close()
            took_ms.append(1_000 * (time.monotonic() - began))
        meanwhile = loiterers.connects - before
    assert meanwhile <= LOGINS * PER_LOGIN_MAX, f"{meanwhile} connected while {LOGINS} logged in"
    percent = statistics.quantiles(took_ms, n=100)
    cases.note(f"behind {HOLDS} clients that say {says}, {PACE} a second: {LOGINS} logins, p50 {percent[49]:.1f} ms, "
               f"p99 {percent[98]:.1f} ms, {meanwhile} connects meanwhile")
