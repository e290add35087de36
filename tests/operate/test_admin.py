"""The admin port: what it counts is what was done, it tells who is connected and who was, it acts, and
whatever is asked of it, clients of the server do not notice."""

import asyncio
import contextlib
import json
import shutil
import socket
import stat
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness.admin import Admin, open_socket, until, wait_until
from harness.chatter import Chatter
from harness.held_thread import held
from harness.peer import Peer
from harness.raw_session import RawSession
from harness.server import Port, Server, rookery

KEY = b"a key of thirty-two bytes, or more"
TOKEN = "0123456789abcdef0123456789abcdef"

# Of a fan-out group's worst case: what a client that does not read leaves in its queue.
LARGE = bytes(60_000)


@pytest.fixture(scope="module")
def server(servers) -> Server:
    return servers.start(key=KEY)


@pytest.fixture
def admin(server) -> Admin:
    return Admin(server)


# -- what is counted ------------------------------------------------------------------------------


@pytest.mark.produces(4410, 101)
async def test_metrics_are_what_was_done(server, admin, watch):
    watch(server)
    before = admin.metrics()

    def more(name: str, /, **labels: str) -> float:
        return admin.metrics().total(name, **labels) - before.total(name, **labels)

    anna, bert = await Peer.login(server, 1), await Peer.login(server, 2)
    conversation = await anna.open_direct(2)
    for n in range(10):
        await anna.send(conversation, b"%d" % n)
    await bert.wait_for(lambda: len(bert.seqs(conversation)) == 10)
    with contextlib.suppress(Exception):
        await anna.send(987_654_321, b"to nobody")
    again = await Peer.login(server, 2)
    assert await bert.closed() == 4410
    page = admin.metrics()

    assert more("rookery_session_logins_total") == 3
    assert more("rookery_frames_received_total", kind="Send") == 11
    assert more("rookery_frames_sent_total", kind="SendAck") == 10
    # The sender's own device is told of its message as well.
    assert more("rookery_frames_sent_total", kind="Deliver") >= 10
    assert more("rookery_errors_total", name="not_member") == 1
    assert await until(lambda: more("rookery_closes_total", code="4410") == 1, "the close is counted")
    # The opening is a record too.
    assert more("rookery_router_appended_total") == more("rookery_router_acked_total") == 11
    assert page.total("rookery_router_ack_seconds_count") - before.total("rookery_router_ack_seconds_count") == 10
    assert page.total("rookery_router_deliver_seconds_count") >= 10
    assert page.total("rookery_router_commit_seconds_count") > 0
    for phase in ("tls", "upgrade", "login"):
        assert more(f"rookery_session_{phase}_seconds_count") == 3, phase
    # Each handshake has at least two parts: a ClientHello, and what comes behind the server's answer.
    assert more("rookery_session_lobby_seconds_count") >= 6
    assert page.total("rookery_connections") == 2
    assert page.total("rookery_session_users") == 2
    assert page.total("rookery_shard_live") == 2
    assert page.total("rookery_shard_turn_seconds_count") > 0
    assert page.total("rookery_ready") == 1
    assert page.total("rookery_build_info") == 1
    await anna.close()
    await again.close()


def test_no_series_names_a_user_and_each_has_help(admin):
    page = admin.metrics()
    labels = {key for series in page.series.values() for of in series for key, _ in of}
    assert labels == {"shard", "kind", "code", "name", "le", "version"}
    described = {line.split()[2] for line in page.text.splitlines() if line.startswith("# HELP")}
    assert all(len(line.split(maxsplit=3)) == 4 for line in page.text.splitlines() if line.startswith("# HELP"))
    stems = {name.removesuffix("_total").removesuffix("_info") for name in page.series}
    stems = {name.removesuffix("_bucket").removesuffix("_sum").removesuffix("_count") for name in stems}
    assert stems <= described, stems - described
    assert len(page.series) > 90, len(page.series)


def test_the_certificates_end_is_told(server, admin):
    expires = admin.metrics().total("rookery_certificate_expires_timestamp_seconds")
    assert expires - admin.metrics().total("rookery_started_timestamp_seconds") > 300 * 86_400


# -- who is connected, and who was ----------------------------------------------------------------


@pytest.mark.produces(4003)
async def test_a_users_connections_are_told_and_ended(server, admin, watch):
    watch(server)
    first, second = await Peer.login(server, 21), await Peer.login(server, 21, 2)
    other = await Peer.login(server, 22)
    seen = admin.json("/users/21")
    assert sorted((it["user_id"], it["device_id"], it["phase"]) for it in seen) == [(21, 1, "live"), (21, 2, "live")]
    assert admin.json("/users/999") == []

    assert json.loads(admin.post("/users/21/kick?device=2")[1]) == {"kicked": 1}
    assert await second.closed() == 4003
    assert json.loads(admin.post("/users/21/kick")[1]) == {"kicked": 1}
    assert await first.closed() == 4003
    assert json.loads(admin.post("/users/21/kick")[1]) == {"kicked": 0}
    closed = await until(
        lambda: (last := admin.json("/closed?limit=2")) and {it["user_id"] for it in last} == {21} and last, "closed")
    assert sorted((it["user_id"], it["device_id"], it["code"]) for it in closed) == [(21, 1, 4003), (21, 2, 4003)]
    assert admin.json("/users/22")[0]["user_id"] == 22
    await other.close()


async def test_the_longest_queues_are_found(server, admin, watch):
    watch(server)
    writer = await Peer.login(server, 31)
    conversation = (await writer.create([32, 33]))["conversation_id"]
    with RawSession(server, 32) as deaf, RawSession(server, 33) as reader:
        def listen() -> None:
            with contextlib.suppress(OSError, AssertionError, ValueError):
                while reader.hear():
                    pass
        threading.Thread(target=listen, daemon=True).start()
        # More than the kernel's buffers take of what nobody reads.
        for _ in range(200):
            await writer.send(conversation, LARGE)
        top = admin.json("/connections?sort=queue&limit=2")
        assert (top[0]["user_id"], len(top)) == (32, 2), top
        assert top[0]["queue_bytes"] > 100_000, top
        assert admin.metrics().total("rookery_shard_queued_bytes") >= top[0]["queue_bytes"]
        addresses = {32: deaf.socket.getsockname(), 33: reader.socket.getsockname()}
        far = admin.json("/connections?sort=rtt&limit=1000")
        for seen in far:
            assert seen["rtt_us"] > 0 and seen["retransmits"] is not None, seen
            if address := addresses.get(seen["user_id"]):
                assert seen["peer"] == "%s:%d" % address, seen
        assert [it["rtt_us"] for it in far] == sorted((it["rtt_us"] for it in far), reverse=True)
        assert {it["user_id"] for it in far} >= {31, 32, 33}
        assert admin.json("/connections?sort=rtt&limit=1")[0]["user_id"] in {it["user_id"] for it in far}
        idle = admin.json("/connections?sort=idle")
        assert [it["idle_s"] for it in idle] == sorted((it["idle_s"] for it in idle), reverse=True)
        assert {it["user_id"] for it in idle} >= {31, 32, 33}
        deaf.socket.close()
    await writer.close()


# -- traces ---------------------------------------------------------------------------------------


class Trace:
    """Reads a trace on a thread of its own."""

    def __init__(self, admin: Admin, user: int, seconds: int = 60) -> None:
        self.connection = admin.connect()
        self.connection.request("GET", f"/users/{user}/trace?seconds={seconds}", headers=admin.headers)
        self.answer = self.connection.getresponse()
        self.lines: list[dict] = []
        self.text = b""
        self.reader = threading.Thread(target=self._read, daemon=True)

    def read(self) -> "Trace":
        self.reader.start()
        return self

    def _read(self) -> None:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            while line := self.answer.readline():
                self.text += line
                self.lines.append(json.loads(line))

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.connection.sock.shutdown(socket.SHUT_RDWR)
        self.connection.close()


async def test_a_trace_tells_headers_and_no_payload(server, admin, watch):
    watch(server)
    anna, bert = await Peer.login(server, 41), await Peer.login(server, 42)
    conversation = await anna.open_direct(42)
    trace = Trace(admin, 41).read()
    nobody = Trace(admin, 40).read()
    await asyncio.sleep(0.2)
    secret = b"nobody but the two may read this"
    ack = await anna.send(conversation, secret)
    await bert.send(conversation, secret[::-1])
    await until(lambda: {"Send", "SendAck", "Deliver"} <= {line["kind"] for line in trace.lines}, "the lines")
    sent = next(line for line in trace.lines if line["kind"] == "Send")
    assert (sent["direction"], sent["device_id"], sent["conversation_id"]) == ("in", 1, conversation)
    acked = next(line for line in trace.lines if line["kind"] == "SendAck")
    assert (acked["direction"], acked["message_id"]) == ("out", ack["message_id"])
    assert sent["client_msg_id"] == acked["client_msg_id"] == ack["client_msg_id"].hex()
    assert secret not in trace.text and secret[::-1] not in trace.text and secret.hex().encode() not in trace.text
    assert nobody.lines == []
    for each in (trace, nobody):
        each.close()
    await anna.close()
    await bert.close()


async def test_four_traces_at_a_time_and_a_slow_reader_loses_lines(server, admin, watch):
    watch(server)
    anna = await Peer.login(server, 51)
    conversation = await anna.open_direct(52)
    traces = [Trace(admin, 51) for _ in range(4)]
    assert admin.get("/users/51/trace")[0] == 429
    # Nobody reads the first: what the socket and 1,024 lines do not hold is lost, and the server goes on.
    for each in traces[1:]:
        each.close()
    for _ in range(40):
        await asyncio.gather(*(anna.send(conversation, b"x") for _ in range(200)))
    slow = traces[0].read()
    await until(lambda: slow.lines, "the first lines")
    await asyncio.sleep(0.5)
    await anna.send(conversation, b"the last one")
    lost = await until(lambda: sum(line.get("lost", 0) for line in slow.lines), "what was lost is told")
    assert lost > 0
    slow.close()
    await anna.close()
    await until(lambda: admin.get("/users/51/trace?seconds=1")[0] == 200, "a place is free again")


# -- what it does ---------------------------------------------------------------------------------


def test_reload_says_what_came_of_it(servers, watch):
    server = watch(servers.start(key=KEY))
    admin = Admin(server)
    status, body = admin.post("/reload")
    assert status == 200 and b"SHA-256" in body
    right = server.certificate.read_bytes()
    server.certificate.write_text("no certificate", encoding="utf-8")
    status, body = admin.post("/reload")
    assert status == 409 and b"what was there stays in use" in body and b"certificate.pem" in body, body
    server.certificate.write_bytes(right)
    with RawSession(server, 7):
        pass
    assert admin.post("/reload")[0] == 200


def test_a_filter_of_the_log(server, admin):
    assert admin.post("/log?filter=debug")[0] == 200
    assert admin.post("/log?filter=info,fjall=warn")[0] == 200
    status, why = admin.post("/log?filter=info%3D%3D")
    assert status == 400 and b"filter" in why


def test_what_is_not_there_is_told_with_what_is(admin):
    for method, path in (("GET", "/"), ("GET", "/nope"), ("POST", "/metrics"), ("GET", "/users/7/kick"),
                         ("DELETE", "/users/7"), ("GET", "/users/7/8/9")):
        status, body = admin.ask(method, path)
        assert status == 404 and b"/metrics" in body, (method, path)
    for path in ("/users/seven", "/users/-1", "/users/18446744073709551616", "/closed?limit=many",
                 "/closed?limit=10001", "/connections?sort=name", "/users/7/trace?seconds=601"):
        assert admin.get(path)[0] == 400, path


# -- who may ask ----------------------------------------------------------------------------------


def test_over_loopback_only_with_the_token(servers, folder, watch):
    port = Port()
    token_file = folder / "token"
    token_file.write_text(TOKEN + "\n", encoding="utf-8")
    config = f'[admin]\nlisten = ["127.0.0.1:{port.number}"]\ntoken_file = "{token_file}"\n'
    server = watch(servers.start(key=KEY, config=config))
    for token, expected in ((TOKEN, 200), (None, 401), ("", 401), (TOKEN[:-1], 401), (TOKEN + "0", 401)):
        by = Admin(server, port.number, token)
        assert by.get("/metrics")[0] == expected, token
        assert by.get("/healthz")[0] == by.get("/readyz")[0] == 200
    by = Admin(server, port.number, TOKEN)
    assert by.ask("GET", "/metrics", Origin="http://localhost")[0] == 403, "a web page's request"
    assert by.post("/users/7/kick")[0] == 200
    assert Admin(server, port.number).post("/users/7/kick")[0] == 401
    # Another address of the host is not listened on.
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", port.number), timeout=5).close()


def test_a_token_is_made_where_none_is_named(servers):
    port = Port()
    server = servers.start(key=KEY, config=f'[admin]\nlisten = ["127.0.0.1:{port.number}"]\n')
    made = server.data / "admin.token"
    assert stat.S_IMODE(made.stat().st_mode) == 0o600
    token = made.read_text(encoding="utf-8").strip()
    assert Admin(server, port.number, token).get("/metrics")[0] == 200


@pytest.mark.parametrize(("section", "told"), [
    ('listen = ["0.0.0.0:9180"]', "this host only"),
    ('listen = ["[2001:db8::1]:9180"]', "this host only"),
    ('listen = ["127.0.0.1:9180", "127.0.0.1:9180"]', "only one can have the port"),
    ('listen = ["127.0.0.1:8443"]', "only one can have the port"),
    ('token_file = "/etc/hostname"', "needs no token"),
])
def test_a_config_that_would_open_it_is_refused(folder, section, told):
    file = folder / "wrong.toml"
    file.write_text(f"[admin]\n{section}\n", encoding="utf-8")
    checked = rookery("check-config", str(file))
    assert checked.returncode == 2 and told in checked.stderr, checked.stderr


def test_a_token_file_that_holds_none(folder, servers):
    for number, text in enumerate(("short", "with a space in its middle", "x" * 2_000)):
        token = folder / f"bad{number}"
        token.write_text(text, encoding="utf-8")
        port = Port()
        config = f'[admin]\nlisten = ["127.0.0.1:{port.number}"]\ntoken_file = "{token}"\n'
        server = servers.new(key=KEY, config=config)
        server.launch()
        assert server.process.wait(60) == 2
        assert "openssl rand" in server.story()


def test_a_port_that_is_taken_is_told_before_anything_is_written(servers):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = "127.0.0.1:%d" % taken.getsockname()[1]
        server = servers.new(key=KEY, config=f'[admin]\nlisten = ["{address}"]\n')
        server.launch()
        assert server.process.wait(60) == 1
        assert f"cannot listen on {address} (admin.listen)" in server.story(), server.story()
        assert not (server.data / "log").exists()


def test_the_socket_is_the_servers_users_only(server):
    mode = (server.data / "admin.sock").stat().st_mode
    assert stat.S_ISSOCK(mode) and stat.S_IMODE(mode) == 0o600


def test_a_socket_with_a_long_path_and_one_that_was_left(servers, folder):
    deep = folder / ("long-" * 20) / ("path-" * 20)
    server = servers.new(key=KEY)
    server.data = deep / "data"
    server.log = deep / "log"
    deep.mkdir(parents=True)
    shutil.copy(folder / "data0.toml", deep / "data.toml") if (folder / "data0.toml").exists() else None
    server.start()
    assert Admin(server).get("/healthz")[0] == 200
    server.kill()
    assert (server.data / "admin.sock").exists(), "SIGKILL leaves it"
    server.start()
    assert Admin(server).get("/healthz")[0] == 200
    assert server.stop() == 0
    assert not (server.data / "admin.sock").exists()


# -- health ---------------------------------------------------------------------------------------


async def test_ready_says_why_not(servers):
    server = servers.start(key=KEY, config="[limits]\nconnections_max = 1\n")
    admin = Admin(server)
    assert admin.json("/readyz") == {"dead": [], "unready": []}
    peer = await Peer.login(server, 1)
    status, body = admin.get("/readyz")
    assert status == 503 and "connections_max" in body.decode()
    assert admin.get("/healthz")[0] == 200
    assert admin.metrics().total("rookery_ready") == 0
    await peer.close()
    assert await until(lambda: admin.get("/readyz")[0] == 200, "ready again")
    assert admin.post("/drain?window_ms=100")[0] == 200
    status, body = admin.get("/readyz")
    assert status == 503 and "drained" in body.decode()
    assert admin.post("/drain")[0] == 409
    assert admin.ask("DELETE", "/drain")[0] == 200
    assert admin.ask("DELETE", "/drain")[0] == 409
    assert admin.get("/readyz")[0] == 200


def test_a_shard_that_hangs_is_told_and_the_others_go_on(servers):
    server = servers.start(key=KEY)
    admin = Admin(server)
    with held(server.pid, "shard-1"):
        status, body = wait_until(lambda: (answer := admin.get("/healthz"))[0] == 503 and answer, "dead")
        assert json.loads(body)["dead"] == ["shard 1 hangs"]
        assert admin.get("/readyz")[0] == 503
        # What only the shards know is refused in time; what is counted is told.
        assert admin.get("/closed")[0] == 503
        assert admin.metrics().total("rookery_ready") == 0
    wait_until(lambda: admin.get("/healthz")[0] == 200, "well again")
    assert admin.get("/closed")[0] == 200


# -- whatever is asked ----------------------------------------------------------------------------


def test_a_thousand_scrapes_at_once_and_nobody_notices(server, admin, watch, cases):
    watch(server)
    with Chatter(server) as chatter, ThreadPoolExecutor(200) as pool:
        before = chatter.exchanged
        answers = list(pool.map(lambda _: admin.get("/metrics")[0], range(1_000)))
        assert answers == [200] * 1_000
        chatter.check()
        cases.note(f"a thousand scrapes at once; {chatter.exchanged - before} exchanges of the pair meanwhile")


def test_who_says_nothing_holds_up_nobody(servers, watch):
    port = Port()
    server = watch(servers.start(key=KEY, config=f'[admin]\nlisten = ["127.0.0.1:{port.number}"]\n'))
    silent = [socket.create_connection(("127.0.0.1", port.number)) for _ in range(200)]
    # They have the places of loopback until their time is over; the operator's socket has its own.
    assert Admin(server).get("/healthz")[0] == 200
    token = (server.data / "admin.token").read_text(encoding="utf-8").strip()
    assert Admin(server, port.number, token).get("/healthz")[0] == 200, "once the first have been cut off"
    for each in silent:
        each.close()


def test_who_does_not_read_is_cut_off(server, admin, watch):
    watch(server)
    deaf = []
    for _ in range(64):
        each = open_socket(server.data / "admin.sock")
        # As many answers as no buffer holds.
        with contextlib.suppress(OSError):
            each.setblocking(False)
            for _ in range(200):
                each.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        deaf.append(each)
    assert admin.get("/healthz")[0] == 200, "in its turn, once one of them has had its 30 s"
    for each in deaf:
        each.close()


@pytest.mark.parametrize("garbage", [
    b"\x16\x03\x01\x00\xa5\x01", b"GET / HTTP/9.9\r\n\r\n", b"GET " + b"a" * 70_000, b"\r\n" * 40_000,
    b"GET / HTTP/1.1\r\n" + b"".join(b"h%d: x\r\n" % n for n in range(5_000)) + b"\r\n",
    b"POST /reload HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999\r\n\r\n",
])
def test_garbage_ends_its_own_connection(server, admin, watch, garbage):
    watch(server)
    with open_socket(server.data / "admin.sock") as connection, contextlib.suppress(OSError):
        connection.sendall(garbage)
        while connection.recv(65_536):
            pass
    assert admin.get("/healthz")[0] == 200
