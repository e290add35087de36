"""The harness itself: a test that fails leaves nothing behind, and its neighbours in the same run are judged by
themselves. A run of pytest within this one has the tests below, of which some fail on purpose."""

import json
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent

# What fails has a reason of its own, what follows looks for what it left.
INNER = '''
import os, pty, socket, subprocess, threading
from pathlib import Path

import pytest

from harness.holdings import children, sockets
from harness.peer import Peer
from harness.raw import Raw
from harness.server import Port, Server


class OnPurpose(Exception):
    pass


def looks_clean(server):
    """Only the server of this file is there, and it holds nobody."""
    assert Server.running() == {server}, Server.running()
    assert children() == {server.pid}, children()
    # The two ports of the server of this file.
    assert len(sockets()) == 2, sockets()
    server.wait_connections(0)


@pytest.fixture(scope="module")
def server(servers):
    return servers.start()


def test_holds_sockets_and_fails(server):
    raw = [socket.create_connection(("127.0.0.1", server.tls_port)) for _ in range(300)]
    upgraded = Raw(server).upgraded()
    listening = socket.create_server(("127.0.0.1", 0))
    raise OnPurpose


def test_after_sockets(server):
    looks_clean(server)


def test_uses_up_every_descriptor_and_fails(server):
    hoard = []
    while True:
        hoard.append(socket.create_connection(("127.0.0.1", server.plain_port)))


def test_after_descriptors(server):
    looks_clean(server)


def test_starts_processes_and_fails(server, servers):
    own = servers.start()
    never_stopped = Server(own.data.parent / "never").start()
    sleeper = subprocess.Popen(["sleep", "3600"])
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvp("sleep", ["sleep", "3600"])
    raise OnPurpose


def test_after_processes(server):
    looks_clean(server)


async def test_logs_in_and_fails(server):
    peers = [await Peer.login(server, user) for user in range(1, 4)]
    raise OnPurpose


def test_after_peers(server):
    looks_clean(server)


def test_that_passes_need_not_tidy_up_either(server, servers):
    servers.start()
    held = socket.create_connection(("127.0.0.1", server.tls_port))
    globals()["kept"] = held, Port()


def test_after_one_that_passed(server):
    looks_clean(server)
'''

ON_PURPOSE = {"test_holds_sockets_and_fails", "test_uses_up_every_descriptor_and_fails", "test_starts_processes_and_fails",
              "test_logs_in_and_fails"}


def test_a_test_that_fails_leaves_nothing_behind(folder):
    inner, counted = folder / "test_inner.py", folder / "counted.json"
    inner.write_text(INNER, encoding="utf-8")
    environment = os.environ | {"ROOKERY_TALLY": str(counted), "PYTHONPATH": f"{HERE}:{HERE.parent}/clients/python"}
    command = [sys.executable, "-m", "pytest", "-c", str(HERE / "pytest.ini"), f"--rootdir={folder}", "-p", "conftest",
               "-p", "no:cacheprovider", str(inner)]
    # Few descriptors, so that they are soon used up.
    ran = subprocess.run(["prlimit", "--nofile=600:600", *command], env=environment, capture_output=True, text=True,
                         timeout=300, check=False)
    assert counted.exists(), ran.stdout + ran.stderr
    told = json.loads(counted.read_text(encoding="utf-8"))
    failed = {failure.split(": ", 1)[0].rsplit("::", 1)[1] for failure in told["failures"]}
    assert failed == ON_PURPOSE, ran.stdout[-4000:]
    assert (told["passed"], told["failed"]) == (INNER.count("def test_") - len(ON_PURPOSE), len(ON_PURPOSE)), told
