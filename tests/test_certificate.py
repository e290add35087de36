"""The end of a certificate: one that the server made is made anew ahead of it, of one that was given the operator
hears, with its date; and the oldest version of TLS that is spoken."""

import datetime
import json
import socket
import ssl
import subprocess
import time

import pytest

from harness.authority import Authority
from harness.clock import Clock
from harness.raw import BINARY, Raw, frame

# A hang, not a slow machine, should meet it.
WAIT_SECONDS = 60

DAY = 86_400


@pytest.fixture(scope="module")
def authority(folder) -> Authority:
    return Authority(folder / "authority")


@pytest.fixture
def clock(folder) -> Clock:
    return Clock(folder)


class Trusting(Raw):
    """The raw client; it trusts the certificate that lies in the server's data directory at the moment."""

    def __init__(self, server) -> None:
        super().__init__(server)
        self.upgraded()

    def echoes(self, payload: bytes) -> None:
        self.send(frame(BINARY, payload))
        assert self.read_frame() == (BINARY, payload)


def told(server) -> list[str]:
    """What the server's log has on certificates."""
    lines = server.log.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if "certificate" in line]


def wait_until(found, what: str) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not found():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def test_what_was_made_here_is_renewed_while_it_runs(servers, clock):
    clock.set(-370 * DAY)
    server = servers.start(echo=True, environment=clock.environment)
    first, key = server.certificate.read_bytes(), (server.data / "tls/key.pem").read_bytes()
    old_trust = server.tls_context()
    with Trusting(server) as before:
        before.echoes(b"before")
        clock.set(0)
        wait_until(lambda: server.certificate.read_bytes() != first, "it was not renewed")
        wait_until(lambda: any("was renewed" in line for line in told(server)), "nothing was told")
        before.echoes(b"the old connection lives")
        with Trusting(server) as after:
            after.echoes(b"after")
        plain = socket.create_connection(("127.0.0.1", server.tls_port), WAIT_SECONDS)
        with plain, pytest.raises(ssl.SSLCertVerificationError):
            old_trust.wrap_socket(plain, server_hostname="localhost")
    assert (server.data / "tls/key.pem").read_bytes() == key
    assert len([line for line in told(server) if "was renewed" in line]) == 1
    assert server.stop() == 0


def test_what_was_made_here_is_renewed_at_a_start(servers, clock):
    clock.set(-400 * DAY)
    server = servers.start(echo=True, environment=clock.environment)
    assert any("(made now)" in line for line in server.said)
    assert server.stop() == 0
    first = server.certificate.read_bytes()
    clock.set(0)
    server.start()
    assert any("(renewed now)" in line for line in server.said), server.said
    assert server.certificate.read_bytes() != first
    with Trusting(server) as after:
        after.echoes(b"after")
    assert server.stop() == 0


def end_of(authority: Authority, days: int) -> str:
    """The date that a certificate of so many days ends, as far as the hour is known."""
    now = datetime.datetime.now(datetime.timezone.utc)
    return (now + datetime.timedelta(days=days)).strftime("%Y-%m-%dT%H:")


def test_the_end_of_one_that_was_given_is_told_once_a_day(servers, authority, clock):
    issued = authority.issue("given", days=20)
    end = end_of(authority, 20)
    config = f'[log]\nformat = "json"\n[tls]\ncertificate = "{issued.certificate}"\nkey = "{issued.key}"\n'
    server = servers.start(echo=True, config=config, environment=clock.environment)
    assert told(server) == []

    def warnings(what: str) -> list[str]:
        lines = [json.loads(line) for line in told(server)]
        return [line["message"] for line in lines if line["level"] == "WARN" and what in line["message"]]

    days = (7, 8, 9)
    for count, day in enumerate(days, 1):
        clock.set(day * DAY + 60)
        wait_until(lambda count=count: len(warnings("expires on")) >= count, f"nothing on day {day}")
    assert len(warnings("expires on")) == len(days)
    assert all(str(issued.certificate) in line and end[:13] in line for line in warnings("expires on"))
    clock.set(21 * DAY)
    wait_until(lambda: warnings("expired on"), "nothing was told after its end")
    # The operator asks again: he is told again, also within the day.
    server.hang_up()
    wait_until(lambda: len(warnings("expired on")) == 2, "the reload said nothing of it")
    again = authority.issue("again", days=80)
    for new, used in ((again.key, issued.key), (again.certificate, issued.certificate)):
        new.replace(used)
    server.hang_up()
    wait_until(lambda: sum("were read again" in line for line in told(server)) == 2, "it was not reloaded")
    assert len(warnings("expired on")) == 2
    assert server.stop() == 0


def test_the_end_of_one_that_was_given_is_told_at_a_start(servers, authority, clock):
    issued = authority.issue("short", days=3)
    config = f'[tls]\ncertificate = "{issued.certificate}"\nkey = "{issued.key}"\n'
    server = servers.new(echo=True, config=config, environment=clock.environment)
    for offset, what in ((0, "expires on"), (5 * DAY, "expired on")):
        clock.set(offset)
        server.start()
        assert server.stop() == 0
        assert any("WARN" in line and what in line for line in told(server)), server.story()


def s_client(server, *options: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{server.tls_port}", "-CAfile", str(server.certificate), *options],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=WAIT_SECONDS, check=False)


@pytest.mark.parametrize("oldest, refused", [("1.2", False), ("1.3", True)])
def test_the_oldest_version(servers, oldest, refused):
    server = servers.start(echo=True, config=f'[tls]\nmin_version = "{oldest}"\n')
    new, old = s_client(server, "-tls1_3"), s_client(server, "-tls1_2")
    assert "Protocol: TLSv1.3" in new.stdout or "New, TLSv1.3" in new.stdout, new
    assert new.returncode == 0, new
    assert ("alert protocol version" in old.stderr, old.returncode != 0) == (refused, refused), old
    server.hang_up()
    wait_until(lambda: any("were read again" in line for line in told(server)), "it was not reloaded")
    assert (s_client(server, "-tls1_2").returncode != 0) == refused
    assert server.stop() == 0
