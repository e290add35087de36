"""Tokens that an operator takes back: who is in is closed at once, and nobody comes in with one again; in the middle of
a Send, of a Sync, of a storm of logins; resumed sessions too; and over a restart."""

import asyncio
import contextlib
import itertools
import json
import threading
import time

import pytest

from harness import tokens
from harness.admin import Admin, until
from harness.ids import fresh_msg_id
from harness.peer import Peer
from harness.raw import BINARY, CLOSE, Raw, frame
from harness.server import Server, rookery
from rookery_protocol import decode, encode

KEY = b"a key of thirty-two bytes, or more"
REVOKED, TOKEN_REVOKED, LOGIN_AGAIN = 305, 4411, 4004

# Each test has users of its own.
USERS = itertools.count(1_000)


@pytest.fixture(scope="module")
def server(servers) -> Server:
    return servers.start(key=KEY)


@pytest.fixture
def admin(server) -> Admin:
    return Admin(server)


@pytest.fixture
def user() -> int:
    return next(USERS)


def token(user: int, device: int = 1, *, age: float = 0, jti: str | None = None, ttl: float = 3600) -> str:
    """One that was issued so many seconds ago; not in whole seconds, so that one made now is newer than a
    revocation of a moment ago."""
    claims = tokens.claims(user, device, ttl) | {"iat": time.time() - age}
    claims |= {"jti": jti} if jti is not None else {}
    return tokens.sign({"alg": "HS256", "typ": "JWT"}, claims, KEY)


def log_in(server, token: str, resume: bytes = b"") -> tuple[int | None, int] | dict:
    """Its Welcome, or the codes of the refusal."""
    with Raw(server).upgraded() as door:
        door.send(frame(BINARY, encode("Login", {"token": token.encode(), "resume_token": resume})))
        _, payload = door.read_frame()
        kind, fields = decode(payload)
        if kind == "Welcome":
            return fields
        assert kind == "Error", (kind, fields)
        return fields["code"], door.close_code()


def is_in(answer) -> bool:
    return isinstance(answer, dict)


def revoke(admin: Admin, user: int, **query) -> dict:
    parameters = "&".join(f"{name}={value}" for name, value in query.items())
    status, body = admin.post(f"/users/{user}/revoke?{parameters}")
    assert status == 200, (status, body)
    return json.loads(body)


@pytest.mark.produces(REVOKED, TOKEN_REVOKED, LOGIN_AGAIN)
async def test_who_is_in_is_closed_and_comes_in_with_a_new_token_only(server, admin, watch):
    watch(server)
    # Of so many users both shards own some, and some logins have to move.
    for user in itertools.islice(USERS, 8):
        lost = token(user, 1, age=60), token(user, 1, age=1, jti="x")
        kept = token(user, 2, age=60)
        first, second = await Peer.login(server, user, 1, token=lost[0]), await Peer.login(server, user, 2, token=kept)
        told = revoke(admin, user, device=1)
        assert told["closed"] == 1, told
        assert await first.closed() == LOGIN_AGAIN
        await second.ping()
        assert [log_in(server, one) for one in lost] == [(REVOKED, TOKEN_REVOKED)] * 2
        assert is_in(log_in(server, token(user, 1)))
        # And the whole user.
        told = revoke(admin, user)
        assert told["closed"] in (1, 2), told
        assert await second.closed() == LOGIN_AGAIN
        assert log_in(server, kept) == (REVOKED, TOKEN_REVOKED)
        assert is_in(log_in(server, token(user, 2)))


async def test_one_token_by_its_id(server, admin, user, watch):
    watch(server)
    stolen, other = token(user, jti="stolen & more"), token(user, jti="another")
    peer = await Peer.login(server, user, token=stolen)
    told = rookery("revoke", "--user", str(user), "--token-id", "stolen & more", "--data", str(server.data))
    assert (told.returncode, told.stdout) == (0, "revoked, and 1 connections closed\n"), told
    assert await peer.closed() == LOGIN_AGAIN
    assert log_in(server, stolen) == (REVOKED, TOKEN_REVOKED)
    assert is_in(log_in(server, other))
    # Another user's token of the same id is another token.
    assert is_in(log_in(server, token(next(USERS), jti="stolen & more")))
    assert {"token_id": "stolen & more"} in [one["hits"] for one in admin.json("/revocations")]


def test_those_that_were_issued_before(server, admin, user):
    old, new = token(user, age=500), token(user, age=100)
    revoke(admin, user, before=int(time.time()) - 300)
    assert log_in(server, old) == (REVOKED, TOKEN_REVOKED) and is_in(log_in(server, new))
    # Without a time of its own a token counts as issued as early as its end allows.
    claims = tokens.claims(user, 1, 31 * 86_400)
    del claims["iat"]
    header = {"alg": "HS256"}
    assert is_in(log_in(server, tokens.sign(header, claims, KEY)))
    assert log_in(server, tokens.sign(header, claims | {"exp": int(time.time()) + 86_400}, KEY)) == (
        REVOKED, TOKEN_REVOKED)


def test_a_session_of_a_revoked_token_is_not_resumed(server, admin, user):
    first = log_in(server, token(user, age=60, jti="one"))
    session = first["session_id"]
    resumed = log_in(server, token(user, age=50, jti="two"), first["resume_token"])
    assert resumed["session_id"] == session
    for what in [{"token_id": "one"}, {"before": int(time.time()) - 40}]:
        told = revoke(admin, user, **what)
        assert told["closed"] == 0, told
        again = log_in(server, token(user, age=1), first["resume_token"])
        assert is_in(again) and again["session_id"] != session
        if "token_id" in what:
            # That one was proven by another token.
            assert log_in(server, token(user, age=1), resumed["resume_token"])["session_id"] == session
    assert log_in(server, token(user, age=1), resumed["resume_token"])["session_id"] != session
    assert log_in(server, token(user, age=1), again["resume_token"])["session_id"] == again["session_id"]


async def test_in_the_middle_of_sends(server, admin, user, watch):
    """What was acked is there; who was revoked is told nothing more."""
    watch(server)
    other = next(USERS)
    sender, reader = await Peer.login(server, user, token=token(user, age=9)), await Peer.login(server, other)
    conversation = await sender.open_direct(other)
    acked: list[bytes] = []

    async def go_on() -> None:
        with contextlib.suppress(Exception):
            while True:
                key = fresh_msg_id()
                await sender.send(conversation, b"x" * 2_000, key)
                acked.append(key)

    tasks = [asyncio.create_task(go_on()) for _ in range(40)]
    await until(lambda: len(acked) > 400, "it sends")
    told = await asyncio.to_thread(revoke, admin, user)
    assert told["closed"] == 1
    assert await sender.closed() == LOGIN_AGAIN
    await asyncio.gather(*tasks)
    assert log_in(server, token(user, age=9)) == (REVOKED, TOKEN_REVOKED)
    there = {message["client_msg_id"] for message in await reader.sync_all(conversation)}
    assert set(acked) <= there and len(there) <= len(acked) + 64
    await reader.close()


async def test_in_the_middle_of_syncs(server, admin, user, watch):
    watch(server)
    other = next(USERS)
    writer = await Peer.login(server, other)
    conversation = await writer.open_direct(user)
    await asyncio.gather(*(writer.send(conversation, b"x" * 20_000) for _ in range(100)))
    with Raw(server, tls=False).upgraded() as reader:
        reader.send(frame(BINARY, encode("Login", {"token": token(user, age=9).encode(), "resume_token": b""})))
        assert decode(reader.read_frame()[1])[0] == "Welcome"
        ask = {"conversation_id": conversation, "have_seq": 0, "limit": 100}
        syncs = b"".join(frame(BINARY, encode("Sync", {"request_id": n + 1, **ask})) for n in range(50))
        reader.send(syncs)
        assert reader.read_frame()[0] == BINARY
        told = await asyncio.to_thread(revoke, admin, user)
        assert told["closed"] == 1
        frames = 0
        with contextlib.suppress(ConnectionError):
            while True:
                opcode, payload = reader.read_frame()
                if opcode == CLOSE:
                    assert int.from_bytes(payload[:2]) == LOGIN_AGAIN
                    break
                frames += 1
        # What was queued, of 50 times 100 messages.
        assert frames < 2_000, frames
    assert log_in(server, token(user, age=9)) == (REVOKED, TOKEN_REVOKED)
    await writer.close()


def test_a_login_that_is_under_way_is_hit_too(server, admin, watch):
    """Half of the logins come in on a shard that is not their user's, and are on their way when the revocation
    comes: none of them is in once it was answered."""
    watch(server)
    welcomed = 0
    for user in itertools.islice(USERS, 12):
        old, held, begun = token(user, age=9), [], threading.Event()

        def storm(user=user, old=old, held=held, begun=begun) -> None:
            while True:
                door = Raw(server, tls=False).upgraded()
                held.append(door)
                door.send(frame(BINARY, encode("Login", {"token": old.encode(), "resume_token": b""})))
                kind, fields = decode(door.read_frame()[1])
                begun.set()
                if kind == "Error":
                    assert fields["code"] == REVOKED, fields
                    return

        threads = [threading.Thread(target=storm) for _ in range(4)]
        for thread in threads:
            thread.start()
        begun.wait()
        revoke(admin, user)
        # Whatever was let in before is not there any more.
        assert [one for one in admin.json(f"/users/{user}") if one["phase"] == "live"] == []
        for thread in threads:
            thread.join()
        assert admin.json(f"/users/{user}") == []
        welcomed += len(held)
        for door in held:
            door.socket.close()
    assert welcomed > 12 * 4, "some were in before"


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_over_a_restart(servers, how):
    server = servers.start(key=KEY)
    admin = Admin(server)
    old, stolen, other = token(7, age=9), token(8, jti="stolen"), token(8, jti="other")
    revoke(admin, 7, device=1)
    revoke(admin, 8, token_id="stolen", expires=int(time.time()) + 3_600)
    kept = admin.json("/revocations")
    assert len(kept) == 2
    server.stop() if how == "stop" else server.kill()
    server.start()
    assert Admin(server).json("/revocations") == kept
    assert [log_in(server, one) for one in (old, stolen)] == [(REVOKED, TOKEN_REVOKED)] * 2
    assert is_in(log_in(server, other)) and is_in(log_in(server, token(7, 2, age=9)))


def test_what_is_no_revocation_is_refused(server, admin, user):
    known = token(user, age=9)
    now = int(time.time())
    for query, why in [("dvice=1", "`dvice` is no parameter"), ("device=0", "from 1"), ("device=x", "`device`"),
                       (f"before={now + 60}", "`before`"), ("token_id=", "1 to 256"), ("token_id=" + "x" * 257, "256"),
                       ("token_id=a&before=1", "one of them"), (f"expires={now}", "has passed")]:
        status, body = admin.post(f"/users/{user}/revoke?{query}")
        assert status == 400 and why in body.decode(), (query, status, body)
    for nobody in ("0", "x", str(2**63)):
        assert admin.post(f"/users/{nobody}/revoke")[0] == 400
    assert is_in(log_in(server, known))


def test_there_are_so_many_and_a_broken_file_stops_the_start(servers):
    server = servers.new(key=KEY)
    file = server.data / "auth" / "revocations.json"
    file.parent.mkdir(parents=True)
    runs_out = int(time.time()) + 9_000
    all_of = [{"user_id": user, "hits": {"issued_before_ms": 1}, "until_ms": runs_out * 1_000}
              for user in range(1, 16_385)]
    file.write_text(json.dumps({"revocations": all_of}), encoding="utf-8")
    server.start()
    admin = Admin(server)
    status, why = admin.post("/users/20000/revoke")
    assert status == 409 and f"runs out at {runs_out}" in why.decode(), (status, why)
    assert is_in(log_in(server, token(20_000, age=9)))
    # One of those that are there is renewed.
    assert admin.post("/users/7/revoke")[0] == 200
    assert log_in(server, token(7, age=9)) == (REVOKED, TOKEN_REVOKED)
    server.stop()
    file.write_text("{", encoding="utf-8")
    told = rookery("serve", "--data", str(server.data), "--listen", "127.0.0.1:0")
    assert told.returncode == 2 and "revocations.json" in told.stderr, told


def test_what_cannot_be_written_is_not_revoked(servers):
    server = servers.start(key=KEY)
    file = server.data / "auth" / "revocations.json"
    # A folder in its place: not even root writes there.
    file.mkdir()
    known = token(7, age=9)
    status, why = Admin(server).post("/users/7/revoke")
    assert status == 500 and "nothing was revoked" in why.decode(), (status, why)
    assert is_in(log_in(server, known))
