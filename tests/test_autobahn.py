"""The Autobahn cases against the echo mode of the real listeners. The runner (kosoku) speaks no TLS, so
a client-side tunnel (socat) stands before it for the second run."""

import collections
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.server import Port, Server, die_with_parent

# Autobahn has no group 8; 12 and 13 are permessage-deflate, which is declined.
GROUPS = (1, 2, 3, 4, 5, 6, 7, 9, 10)
CASES = 301
GOOD = {"OK", "NON-STRICT", "INFORMATIONAL"}


@pytest.fixture(scope="module")
def server(servers) -> Server:
    return servers.start(echo=True)


def run(port: int, folder, cases, label: str) -> None:
    """Runs the cases and counts each."""
    reports = folder / label
    command = [str(Path(sys.executable).parent / "kosoku")]
    for group in GROUPS:
        command += ["--include", f"{group}.*"]
    ran = subprocess.run([*command, "--outdir", str(reports), f"ws://127.0.0.1:{port}"],
                         capture_output=True, text=True, timeout=400, check=False)
    assert (reports / "index.json").exists(), ran.stdout + ran.stderr
    (verdicts,) = json.loads((reports / "index.json").read_text(encoding="utf-8")).values()
    for case, verdict in verdicts.items():
        both = (verdict["behavior"], verdict["behaviorClose"])
        if set(both) <= GOOD:
            cases.passes()
        else:
            cases.fails(f"{label} {case}: {both[0]}, close {both[1]}")
    soft = collections.Counter(verdict["behavior"] for verdict in verdicts.values())
    named = [case for case, verdict in verdicts.items() if verdict["behavior"] == "NON-STRICT"]
    cases.note(f"{label}: {len(verdicts)} cases, {dict(soft)}" + (f", NON-STRICT: {' '.join(named)}" if named else ""))
    assert len(verdicts) == CASES
    cases.settle()


def test_plain(server, folder, cases, watch):
    watch(server)
    run(server.plain_port, folder, cases, "plain")


def test_tls(server, folder, cases, watch):
    watch(server)
    held = Port()
    port = held.number
    target = (f"OPENSSL:127.0.0.1:{server.tls_port},cafile={server.certificate},commonname=localhost,"
              "openssl-min-proto-version=TLS1.3,nodelay")
    tunnel = subprocess.Popen(["socat", f"TCP-LISTEN:{port},bind=127.0.0.1,reuseaddr,fork,nodelay", target],
                              stderr=subprocess.DEVNULL, preexec_fn=die_with_parent)
    try:
        wait_listening(port)
        run(port, folder, cases, "TLS")
    finally:
        tunnel.terminate()
        tunnel.wait()


def wait_listening(port: int) -> None:
    """Waits until the kernel lists a listener on the port; connecting would disturb a case."""
    row = f":{port:04X} 00000000:0000 0A"
    deadline = time.monotonic() + 30
    while True:
        with open("/proc/net/tcp", encoding="ascii") as table:
            if row in table.read():
                return
        assert time.monotonic() < deadline, "socat does not listen"
        time.sleep(0.05)
