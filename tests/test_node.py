"""Node's `ws` client against the echo mode, plain and over TLS."""

import json
import os
import subprocess
from pathlib import Path

import pytest

CLIENT = Path(__file__).parent / "node/client.cjs"
CASES = 7


@pytest.fixture(scope="module")
def server(servers):
    return servers.start(echo=True)


def run(cases, label: str, *arguments: str) -> None:
    """Runs the client and counts its cases."""
    environment = os.environ | {"NODE_PATH": os.environ["ROOKERY_NODE_MODULES"]}
    ran = subprocess.run(["node", str(CLIENT), *arguments], env=environment, capture_output=True, text=True,
                         timeout=400, check=False)
    results = [json.loads(line) for line in ran.stdout.splitlines()]
    assert len(results) == CASES, ran.stdout + ran.stderr
    for result in results:
        if result["passed"]:
            cases.passes()
        else:
            cases.fails(f"{label}, {result['name']}: {result['why']}")
    cases.settle()


def test_plain(server, cases, watch):
    watch(server)
    run(cases, "plain", server.ws)


def test_tls(server, cases, watch):
    watch(server)
    run(cases, "TLS", f"wss://127.0.0.1:{server.tls_port}/", str(server.certificate))
