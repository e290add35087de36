"""The PROXY protocol on listeners that ask for it: headers of both versions in every cut, limits by the address that
they announce, and what becomes of those that are forged, broken or missing. From peers that are named, only."""

import contextlib
import os
import re
import ssl
import time

import pytest

from harness.chatter import Chatter
from harness.proxied import (HEADERS, LOCAL, PROXY, SIGNATURE, TCP4, TCP6, UDP4, UNIX, UNSPEC, WAYS, announced, binary,
                             block, opened, v1, v2)
from harness.raw import WAIT_SECONDS, Raw
from harness.raw_session import RawSession
from harness.server import rookery

# Short, so that what is late is late soon; and where nothing is to be late.
LOGIN_TIMEOUT_MS, LONG_MS = 2000, 120_000

PROXIES = '["127.0.0.1/32", "fd00::/8"]'
STRANGER = "127.0.0.2"

# Connections of one address.
FEW = 3

# How the HTTP behind a listener answers a header: a line is a request of another version.
NO_HTTP = {"v1": 505, "v2": 400}

ALERT, TLS_HELLO = 0x15, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"


def behind(servers, *, tls: bool = True, limits: str = "", timeout_ms: int = LOGIN_TIMEOUT_MS, start: bool = True):
    """A server whose plain listener, and the one with TLS unless it is spared, is behind 127.0.0.1."""
    server = servers.new(key=os.urandom(32))
    ports = [server.tls_port, server.plain_port] if tls else [server.plain_port]
    listed = ", ".join(f'"127.0.0.1:{port}"' for port in ports)
    server.config = (f"[listen]\nproxy_protocol = [{listed}]\nproxies = {PROXIES}\n"
                     f"[limits]\nlogin_timeout_ms = {timeout_ms}\n{limits}") + server.config
    return server.start() if start else server


@pytest.fixture(scope="module")
def server(servers):
    return behind(servers)


@pytest.fixture(scope="module")
def strict(servers):
    """No address has more than a few connections."""
    return behind(servers, limits=f"exempt_networks = []\nconnections_per_address_max = {FEW}\n", timeout_ms=LONG_MS)


@pytest.fixture(scope="module")
def direct(servers):
    """Nothing is behind a proxy."""
    return servers.start(config=f"[limits]\nlogin_timeout_ms = {LOGIN_TIMEOUT_MS}\n", key=os.urandom(32))


class Counts:
    """What admission counts, by the lines that it logs once a second."""

    def __init__(self, server) -> None:
        self.server = server
        self.before = self.now()

    def now(self) -> dict[str, int]:
        counts: dict[str, int] = {}
        for line in self.server.log.read_text(encoding="utf-8").splitlines():
            for name, added in re.findall(r"(\w+) (\d+)", line.partition("admission: ")[2]):
                counts[name] = counts.get(name, 0) + int(added)
        return counts

    def since(self, name: str) -> int:
        return self.now().get(name, 0) - self.before.get(name, 0)

    def wait(self, **expected: int) -> None:
        """Waits until so much was counted since, and no more."""
        deadline = time.monotonic() + WAIT_SECONDS
        for name, count in expected.items():
            while self.since(name) < count:
                assert time.monotonic() < deadline, f"{name} is {self.since(name)}, not {count}\n{self.server.story()}"
                time.sleep(0.1)
            assert self.since(name) == count, (name, self.server.story())

    def none(self, *names: str) -> None:
        """After a wait for something else: none of these."""
        assert {name: self.since(name) for name in names} == dict.fromkeys(names, 0), self.server.story()


@pytest.fixture
def counts(server, watch):
    """Of a server that has told of everything before."""
    watch(server)
    time.sleep(1.5)
    return Counts(server)


def upgraded(server, header: bytes, **options) -> Raw:
    """A connection behind this header, let in or not: its answer stands in `status`."""
    raw = Raw(server, over=announced(server, header, **options))
    raw.status = raw.request().status
    return raw


def closed_without_a_word(connection) -> bool:
    """Whether the server ends it and has said nothing."""
    with connection, contextlib.suppress(ConnectionError):
        return connection.recv(1) == b""
    return True


# -- headers that are believed ------------------------------------------------------------------


#= test of PROXY protocol section 2: The receiver MUST NOT start processing the connection before it receives a complete and valid PROXY protocol header.
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("tls", [True, False], ids=["tls", "plain"])
@pytest.mark.parametrize("client", ["192.0.2.7", "2001:db8::7", "::ffff:192.0.2.7"])
@pytest.mark.parametrize("version", HEADERS)
def test_a_client_behind_a_header_logs_in(server, watch, version, client, tls, way):
    watch(server)
    over = announced(server, HEADERS[version](client), tls=tls, way=way)
    with RawSession(server, 100, over=over) as session:
        session.ask("Ping", nonce=7)
        assert session.hear_kind("Pong") == {"nonce": 7}


OTHERS = {
    "TLVs": v2("192.0.2.8", b"\x01\0\x02h2" + b"\x05\0\x04abcd" + b"\x04\0\0" + b"\xe0\0\x01x"),
    "a checksum": v2("192.0.2.8", b"\x03\0\x04\xde\xad\xbe\xef"),
    "as long as may be": v2("192.0.2.8", b"\x04\x01\xf9" + bytes(0x1F9)),
    "a line as long as may be": b"PROXY UNKNOWN " + b"x" * 91 + b"\r\n",
    "UNKNOWN": b"PROXY UNKNOWN\r\n",
    "no family": binary(PROXY, UNSPEC),
    "datagrams": binary(PROXY, UDP4, block("192.0.2.8")),
    "a Unix socket": binary(PROXY, UNIX, b"/".ljust(216, b"\0")),
    "LOCAL": binary(LOCAL, UNSPEC),
    "LOCAL with addresses": binary(LOCAL, TCP4, block("192.0.2.8")),
    "LOCAL of a family to come": binary(LOCAL, 0xFF, b"what ever"),
}


@pytest.mark.parametrize("tls", [True, False], ids=["tls", "plain"])
@pytest.mark.parametrize("name", OTHERS)
def test_other_headers_that_are_taken(server, watch, name, tls):
    watch(server)
    with RawSession(server, 101, over=announced(server, OTHERS[name], tls=tls)) as session:
        session.ask("Ping", nonce=8)
        assert session.hear_kind("Pong") == {"nonce": 8}


def test_a_proxy_that_connects_and_goes_is_no_fault(server, counts, cases):
    """Balancers look so whether a port is open."""
    for _ in range(20):
        opened(server).close()
    closed_without_a_word(opened(server, source=STRANGER))
    counts.wait(proxy_stranger=1)
    counts.none("proxy_header_absent", "proxy_header_cut")
    cases.passes(20)


# -- limits by the address that is announced ----------------------------------------------------


def wait_let_in(server, header: bytes) -> Raw:
    """One that gets in as soon as another has gone."""
    deadline = time.monotonic() + WAIT_SECONDS
    while (raw := upgraded(server, header)).status != 101:
        raw.socket.close()
        assert time.monotonic() < deadline, "nobody is let in again"
    return raw


@pytest.mark.parametrize("tls", [True, False], ids=["tls", "plain"])
def test_an_address_has_a_few_connections_whatever_the_proxy_and_the_version(strict, watch, tls):
    watch(strict)
    with contextlib.ExitStack() as held:
        def answer(header: bytes) -> int:
            return held.enter_context(upgraded(strict, header, tls=tls)).status

        first = upgraded(strict, v1("192.0.2.1"), tls=tls)
        assert [first.status, answer(v2("192.0.2.1")), answer(v1("::ffff:192.0.2.1", 9))] == [101] * FEW
        assert [answer(header("192.0.2.1")) for header in (v1, v2)] == [503, 503]
        # Others at the same proxy are others; of IPv6 a network is one.
        assert [answer(v2(f"192.0.2.{last}")) for last in range(2, 12)] == [101] * 10
        assert [answer(v1(f"2001:db8::{last}")) for last in range(1, 6)] == [101] * FEW + [503] * 2
        first.socket.close()
        held.enter_context(wait_let_in(strict, v2("192.0.2.1")))
        assert answer(v1("192.0.2.1")) == 503


def test_a_proxy_itself_is_not_limited_and_a_client_without_address_counts_for_it(strict, watch):
    watch(strict)
    with contextlib.ExitStack() as held:
        def answers(header: bytes, count: int) -> list[int]:
            return [held.enter_context(upgraded(strict, header)).status for _ in range(count)]

        assert answers(binary(LOCAL, UNSPEC), 5 * FEW) == [101] * 5 * FEW
        assert answers(b"PROXY UNKNOWN\r\n", 2) == [101] * 2
        assert answers(binary(PROXY, UNIX, bytes(216)), 1) == [101]
        assert answers(binary(PROXY, UDP4, block("192.0.2.1")), 1) == [503]
        assert answers(v1("127.0.0.1"), 1) == [503], "the proxy's own address"
        assert answers(v1("192.0.2.1"), 1) == [101]


def test_handshakes_are_counted_for_the_address_that_is_announced(servers, watch):
    server = watch(behind(servers, limits="exempt_networks = []\nhandshakes_per_address_per_second_max = 1\n"))
    counts = Counts(server)
    began = time.monotonic()
    cut = 0
    for _ in range(40):
        connection = announced(server, v2("192.0.2.1"))
        connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
        cut += closed_without_a_word(connection)
    # One in each second of the server's clock, at most.
    assert cut >= 40 - 2 - int(time.monotonic() - began), cut
    for last in range(2, 22):
        with upgraded(server, v2(f"192.0.2.{last}")) as other:
            assert other.status == 101
    counts.wait(cut_off_rate=cut)


def test_who_has_not_been_announced_is_one_of_the_hosts_connections(servers, watch):
    """Nothing is known of a connection that has begun to say who it is, and it takes a place all the same; the place
    comes back."""
    server = watch(behind(servers, limits="connections_max = 10\n", timeout_ms=LONG_MS))
    with contextlib.ExitStack() as held:
        for _ in range(9):
            held.enter_context(opened(server)).sendall(b"PROXY ")
        server.wait_connections(9)
        with upgraded(server, v1("192.0.2.1")) as last:
            assert last.status == 101
            with upgraded(server, v2("192.0.2.2"), tls=True) as late:
                assert late.status == 503
    server.wait_connections(0)
    with upgraded(server, v1("192.0.2.3")) as again:
        assert again.status == 101


# -- headers that are not ------------------------------------------------------------------------

BAD = {
    "proxy_header_absent": [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", TLS_HELLO + bytes(500), b"\0" * 16, b"proxy TCP4", b"PROXYTCP4 ",
        SIGNATURE[:-1] + b"\r", b"\r\n\r\n\r\n\r\n\r\n\r\n", b" " + v1("192.0.2.1"), os.urandom(8192).replace(b"P", b"p"),
    ],
    "proxy_header_too_long": [
        b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n", b"PROXY TCP4 " + b"1" * 5000, b"PROXY " + b"\0" * 101,
        v2("192.0.2.1", b"\x04\x01\xfa" + bytes(0x1FA)), binary(LOCAL, UNSPEC, bytes(521)),
        SIGNATURE + b"\x21\x11\xff\xff", SIGNATURE + b"\x20\x00\xff\xff" + bytes(100_000),
    ],
    "proxy_header_malformed": [
        v1("192.0.2.1").replace(b"\r\n", b"\n"), v1("192.0.2.1").replace(b"\r\n", b"\r "),
        v1("192.0.2.1").replace(b"TCP4", b"TCP6"), v1("2001:db8::1").replace(b"TCP6", b"TCP4"),
        v1("192.0.2.1").replace(b"TCP4", b"UDP4"), v1("192.0.2.1").replace(b" 443", b" 0443"),
        v1("192.0.2.1").replace(b" 443", b" 65536"), v1("192.0.2.1").replace(b"192.", b"0192."),
        v1("192.0.2.1").replace(b" TCP4 ", b"  TCP4 "), b"PROXY \r\n", b"PROXY UNKNOWNS\r\n",
        binary(0x11, TCP4, block("192.0.2.1")), binary(0x22, TCP4, block("192.0.2.1")),
        binary(PROXY, 0x41, block("192.0.2.1")), binary(PROXY, 0x13, block("192.0.2.1")),
        binary(PROXY, TCP4, block("192.0.2.1")[:11]), binary(PROXY, TCP6, block("192.0.2.1")), binary(PROXY, TCP4),
        v2("192.0.2.1", b"\x04"), v2("192.0.2.1", b"\x04\0\x01"), v2("192.0.2.1", b"\x04\xff\xff" + bytes(50)),
    ],
}


#= test of PROXY protocol section 2: The receiver MUST be configured to only receive the protocol described in this specification and MUST not try to guess whether the protocol header is present or not.
@pytest.mark.parametrize("tls", [True, False], ids=["tls", "plain"])
@pytest.mark.parametrize("kind", BAD)
def test_what_is_no_header_ends_the_connection_without_a_word(server, counts, cases, kind, tls):
    for bad in BAD[kind]:
        connection = opened(server, tls=tls)
        with contextlib.suppress(ConnectionError):
            connection.sendall(bad)
        assert closed_without_a_word(connection), bad
        cases.passes()
    counts.wait(**{kind: len(BAD[kind])})
    counts.none(*(BAD.keys() - {kind}), "proxy_header_cut", "proxy_stranger")


def test_a_header_that_is_cut_or_does_not_come(server, counts, cases):
    """At the login timeout, or as the proxy goes."""
    whole = [v1("192.0.2.1"), v2("2001:db8::1"), binary(PROXY, UNIX, bytes(216)), binary(LOCAL, UNSPEC)]
    cuts = [header[:at] for header in whole for at in (1, 7, 13, 14, len(header) - 1)]
    held = [opened(server) for _ in cuts]
    gone = [opened(server) for _ in cuts]
    silent = [opened(server, tls=tls) for tls in (True, False) for _ in range(10)]
    for connection, cut in [*zip(held, cuts), *zip(gone, cuts)]:
        connection.sendall(cut)
    time.sleep(0.2)
    for connection in gone:
        connection.close()
    counts.wait(proxy_header_cut=2 * len(cuts), proxy_header_absent=len(silent))
    for connection in held + silent:
        assert closed_without_a_word(connection)
        cases.passes()
    counts.none("proxy_header_malformed", "proxy_header_too_long")


def test_a_header_behind_which_nothing_comes_meets_the_login_timeout(server, counts):
    connections = [announced(server, header("192.0.2.1")) for header in (v1, v2)]
    assert all(closed_without_a_word(connection) for connection in connections)
    closed_without_a_word(opened(server, source=STRANGER))
    counts.wait(proxy_stranger=1)
    counts.none("proxy_header_cut", "proxy_header_absent")


@pytest.mark.parametrize("first", HEADERS)
@pytest.mark.parametrize("second", HEADERS)
def test_a_second_header_is_the_clients_garbage(server, watch, first, second):
    watch(server)
    both = HEADERS[first]("192.0.2.1") + HEADERS[second]("192.0.2.2")
    with Raw(server, over=announced(server, both)) as plain:
        assert plain.request().status == NO_HTTP[second]
        plain.expect_end()
    with Raw(server, over=opened(server, tls=True)) as sealed:
        sealed.send(both)
        answer = sealed.read_to_end()
        assert answer[0] == ALERT or answer.startswith(b"HTTP/1.1 400 "), answer


@pytest.mark.parametrize("version", HEADERS)
def test_a_header_where_none_is_due_is_garbage(direct, watch, version):
    watch(direct)
    header = HEADERS[version]("192.0.2.1")
    with Raw(direct, tls=False) as plain:
        plain.send(header)
        assert plain.request().status == NO_HTTP[version]
        plain.expect_end()
    with Raw(direct, tls=False, port=direct.tls_port) as sealed:
        sealed.send(header + TLS_HELLO + bytes(500))
        answer = sealed.read_to_end()
        assert answer[0] == ALERT or answer.startswith(b"HTTP/1.1 400 "), answer


# -- who may send one ---------------------------------------------------------------------------


#= test of PROXY protocol section 2: The receiver SHOULD ensure proper access filtering so that only trusted proxies are allowed to use this protocol.
@pytest.mark.parametrize("tls", [True, False], ids=["tls", "plain"])
def test_a_peer_that_is_not_named_is_not_heard(server, counts, cases, tls):
    said = [v1("192.0.2.1"), v2("192.0.2.1"), binary(LOCAL, UNSPEC), b"GET / HTTP/1.1\r\n\r\n", TLS_HELLO, b""]
    for header in said:
        connection = opened(server, tls=tls, source=STRANGER)
        with contextlib.suppress(ConnectionError):
            connection.sendall(header)
        assert closed_without_a_word(connection), header
        cases.passes()
    counts.wait(proxy_stranger=len(said))
    counts.none(*BAD, "proxy_header_cut")


def test_a_forged_address_takes_nothing_from_the_one_who_has_it(strict, watch, cases):
    watch(strict)
    for _ in range(200):
        forged = opened(strict, source=STRANGER)
        with contextlib.suppress(ConnectionError):
            forged.sendall(v1("192.0.2.66"))
        assert closed_without_a_word(forged)
        cases.passes()
    with contextlib.ExitStack() as held:
        real = [held.enter_context(upgraded(strict, v1("192.0.2.66"))).status for _ in range(FEW + 1)]
    assert real == [101] * FEW + [503]


def test_a_listener_of_both_families_knows_an_ipv4_proxy(servers, watch):
    """Its peers have mapped addresses there."""
    server = behind(servers, start=False)
    server.address = "[::]"
    server.config = server.config.replace('"127.0.0.1:', '"[::]:')
    watch(server.start())
    with upgraded(server, v2("2001:db8::9"), tls=True) as named:
        assert named.status == 101
    assert closed_without_a_word(opened(server, source=STRANGER))


def test_a_thousand_silent_proxies(servers, watch, cases):
    """They are dropped at the login timeout; a pair that talks directly does not notice."""
    server = behind(servers, tls=False)
    with Chatter(server) as chatter:
        watch(server)
        counts = Counts(server)
        silent = [opened(server) for _ in range(1000)]
        chatter.check()
        for connection in silent:
            assert closed_without_a_word(connection)
        chatter.check()
        counts.wait(proxy_header_absent=1000)
        with upgraded(server, v1("192.0.2.1")) as client:
            assert client.status == 101
    cases.passes(1000)


# -- the configuration --------------------------------------------------------------------------

MISTAKES = {
    "no listener": ('tls = ["127.0.0.1:1"]\nproxy_protocol = ["127.0.0.1:2"]\nproxies = ["10.0.0.0/8"]',
                    3, ["127.0.0.1:2", "neither `listen.tls` nor `listen.plain`"]),
    "no proxies": ('tls = ["127.0.0.1:1"]\nproxy_protocol = ["127.0.0.1:1"]', 3, ["`listen.proxies` is empty"]),
    "no network": ('proxies = ["10.0.0/8"]', 2, ["`10.0.0/8` is no network", "10.0.0.0/8"]),
    "a host": ('proxies = ["10.0.0.7"]', 2, ["10.0.0.7/32"]),
    "host bits": ('proxies = ["fd00::1/64"]', 2, ["fd00::/64", "fd00::1/128"]),
    "everybody": ('proxies = ["0.0.0.0/0"]', 2, ["everybody"]),
    "twice": ('tls = ["127.0.0.1:1"]\nproxy_protocol = ["127.0.0.1:1"]\nproxies = ["10.0.0.0/8", "10.0.0.0/8"]',
              4, ["10.0.0.0/8 twice"]),
}


@pytest.mark.parametrize("name", MISTAKES)
@pytest.mark.parametrize("verb", ["check-config", "serve"])
def test_a_mistake_is_told_with_its_line(folder, name, verb):
    text, line, words = MISTAKES[name]
    file, data = folder / "mistake.toml", folder / "unused"
    file.write_text(f"[listen]\n{text}\n", encoding="utf-8")
    ran = rookery(*(["check-config", str(file)] if verb == "check-config" else
                    ["serve", "--config", str(file), "--data", str(data)]))
    assert ran.returncode == 2, ran
    assert f"mistake.toml:{line}:" in ran.stderr, ran.stderr
    for word in words:
        assert word in ran.stderr, ran.stderr
    assert not data.exists()


def test_a_listener_that_asks_for_headers_says_so(server):
    assert f"listening tls 127.0.0.1:{server.tls_port} behind PROXY headers" in server.said
    assert f"listening plain 127.0.0.1:{server.plain_port} behind PROXY headers" in server.said
