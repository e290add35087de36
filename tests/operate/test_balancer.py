"""A real balancer and a real client: HAProxy of Debian passes WebSocket clients on with PROXY headers of both versions,
and curl sends one of its own."""

import copy
import os
import shutil
import subprocess

import pytest

from harness.haproxy import HOW, Haproxy
from harness.peer import Peer
from harness.proxied import opened
from harness.raw import Raw
from harness.raw_session import RawSession

# Connections of one address.
FEW = 3

MESSAGES = 50


@pytest.fixture(scope="module")
def server(servers):
    server = servers.new(key=os.urandom(32))
    listed = f'"127.0.0.1:{server.tls_port}", "127.0.0.1:{server.plain_port}"'
    server.config = (f'[listen]\nproxy_protocol = [{listed}]\nproxies = ["127.0.0.1/32"]\n'
                     f"[limits]\nexempt_networks = []\nconnections_per_address_max = {FEW}\n") + server.config
    return server.start()


@pytest.fixture(scope="module")
def haproxy(server, folder):
    assert shutil.which("haproxy"), "haproxy is not there: cargo xtask tools"
    haproxy = Haproxy(server, folder)
    haproxy.wait_up()
    yield haproxy
    assert all(backend["chkfail"] == "0" for backend in haproxy.backends()), haproxy.backends()
    haproxy.end()


def in_front(server, haproxy: Haproxy, version: str):
    """The server as its clients reach it."""
    front = copy.copy(server)
    front.tls_port, front.plain_port = haproxy.port(version, True), haproxy.port(version, False)
    return front


@pytest.mark.parametrize("tls", [True, False], ids=["tls", "plain"])
@pytest.mark.parametrize("version", HOW)
async def test_clients_behind_haproxy_talk(server, haproxy, watch, version, tls):
    watch(server)
    front = in_front(server, haproxy, version)
    async with await Peer.login(front, 7, tls=tls) as anna, await Peer.login(front, 8, tls=tls) as bert:
        conversation = await anna.open_direct(8)
        for number in range(MESSAGES):
            await anna.send(conversation, b"%d to bert" % number)
            await bert.send(conversation, b"%d to anna" % number)
        for peer, name in ((anna, "anna"), (bert, "bert")):
            def heard(peer=peer, name=name) -> list[bytes]:
                payloads = [message["payload"] for message in peer.delivered[conversation]]
                return [payload for payload in payloads if payload.endswith(name.encode())]

            await peer.wait_for(lambda: len(heard()) >= MESSAGES)
            assert heard() == [b"%d to %s" % (number, name.encode()) for number in range(MESSAGES)]


@pytest.mark.parametrize("version", HOW)
def test_limits_are_of_the_clients_behind_haproxy(server, haproxy, watch, version):
    """Each at an address of loopback's own, all through one proxy."""
    watch(server)
    front = in_front(server, haproxy, version)
    held = [RawSession(front, 100 + number, over=opened(front, source=f"127.0.0.{10 + number % 5}"))
            for number in range(5 * FEW)]
    for last in range(10, 15):
        with Raw(front, over=opened(front, source=f"127.0.0.{last}")) as late:
            assert late.request().status == 503
    for session in held:
        session.socket.close()


def test_the_server_is_not_reached_around_its_proxy(server, haproxy):
    for port in (server.tls_port, server.plain_port):
        with opened(server, port=port, source="127.0.0.10") as around:
            assert around.recv(1) == b""


def curl(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(["curl", "--silent", "--show-error", "--insecure", "--noproxy", "*", "--max-time", "60",
                           "--write-out", "%{http_code}", *arguments], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("scheme", ["https", "http"])
def test_curl_sends_a_header(server, watch, scheme):
    watch(server)
    url = f"{scheme}://127.0.0.1:{server.tls_port if scheme == 'https' else server.plain_port}/"
    assert curl("--haproxy-protocol", url).stdout.endswith("426"), "no WebSocket, and told so"
    without = curl(url)
    assert without.returncode != 0 and without.stdout.endswith("000"), without
