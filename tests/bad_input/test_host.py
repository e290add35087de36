"""What the host or the operator gets wrong: a full disk, a port in use, a bad configuration."""

import asyncio
import os
import subprocess
import time

import pytest

from harness.ids import fresh_msg_id
from harness.peer import Peer, Refused
from harness.server import Server, rookery

# Storage full; or, where not even the store's own files can grow, unavailable. Both with a retry-after.
FULL = (202, 203)

# A hang, not a slow machine, should meet it.
WAIT_SECONDS = 60


# -- a full disk --------------------------------------------------------------------------------


@pytest.fixture
def small_disk(folder):
    """A file system of 256 MiB."""
    path = folder / "small"
    path.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256m", "rookery-test", str(path)], check=True)
    yield path
    subprocess.run(["umount", "--lazy", str(path)], check=True)


def fill(path, leave: int) -> None:
    """Fills the file system up to so many bytes."""
    with (path / "ballast").open("ab") as ballast:
        while (free := free_bytes(path)) > leave:
            try:
                ballast.write(bytes(min(1 << 20, free - leave)))
                ballast.flush()
            except OSError:
                return


def free_bytes(path) -> int:
    status = os.statvfs(path)
    return status.f_bavail * status.f_frsize


async def send_patiently(peer: Peer, conversation: int, payload: bytes) -> dict:
    """Sends as the protocol says: wait and send the same again."""
    key, deadline = fresh_msg_id(), time.monotonic() + WAIT_SECONDS
    while True:
        try:
            return await peer.send(conversation, payload, key)
        except Refused as refused:
            assert refused.code in FULL and refused.retry_after_ms > 0, refused
            assert time.monotonic() < deadline, "still refused with room on the disk"
            await asyncio.sleep(refused.retry_after_ms / 1000)


@pytest.mark.parametrize("left", [
    pytest.param(8 << 20, id="below the reserve", marks=pytest.mark.produces(202)),
    pytest.param(0, id="not a byte"),
])
async def test_a_full_disk(small_disk, cases, left):
    config = "[router]\nlog_segment_bytes = 4194304\nspace_reserve_bytes = 33554432\n"
    server = Server(small_disk / "data", config=config).start()
    try:
        acked = []
        async with await Peer.login(server, 1) as anna, await Peer.login(server, 2) as bert:
            conversation = await anna.open_direct(2)
            acked += [(await anna.send(conversation, b"%d" % number))["message_id"] for number in range(100)]
            fill(small_disk, left)
            refusals = 0
            deadline = time.monotonic() + WAIT_SECONDS
            while refusals < 20:
                assert time.monotonic() < deadline, f"{len(acked)} messages were taken with a full disk"
                try:
                    acked.append((await anna.send(conversation, bytes(50_000)))["message_id"])
                except Refused as refused:
                    assert refused.code in FULL and refused.retry_after_ms > 0, refused
                    refusals += 1
            # What needs no room goes on. With not a byte left the store is away too, and comes back.
            if left:
                assert [m["message_id"] for m in await bert.sync_all(conversation)] == acked
                assert (await bert.history(conversation, limit=10))["messages"]
            await bert.ping()
            (small_disk / "ballast").unlink()
            acked.append((await send_patiently(anna, conversation, b"room again"))["message_id"])
        server.kill()
        server.start()
        async with await Peer.login(server, 2) as bert:
            assert [m["message_id"] for m in await bert.sync_all(conversation)] == acked
        cases.note(f"full disk: {refusals} sends refused with 202 and a retry-after, {len(acked)} acked and all there")
        assert server.stop() == 0
    finally:
        if server.is_alive():
            server.kill()


# -- a port in use, a directory in use ----------------------------------------------------------


def second(server: Server, **changes) -> subprocess.CompletedProcess:
    values = {"data": server.data, "listen": f"127.0.0.1:{server.tls_port}", **changes}
    options = [part for name, value in values.items() for part in (f"--{name}", str(value))]
    return rookery("serve", *options)


def test_a_port_in_use(servers, folder):
    server = servers.start()
    ran = second(server, data=folder / "other")
    assert ran.returncode == 1, ran
    assert f"127.0.0.1:{server.tls_port}" in ran.stderr, ran.stderr
    assert "in use" in ran.stderr, ran.stderr
    assert "panicked" not in ran.stderr
    assert server.is_alive()


def test_a_data_directory_in_use(servers):
    server = servers.start()
    ran = second(server, listen="127.0.0.1:0")
    assert ran.returncode == 1, ran
    assert str(server.data) in ran.stderr, ran.stderr
    assert server.is_alive()


def test_a_data_directory_that_is_a_file(folder):
    file = folder / "a-file"
    file.write_text("not a directory")
    ran = rookery("serve", "--data", str(file), "--listen", "127.0.0.1:0")
    assert ran.returncode in (1, 2) and str(file) in ran.stderr, ran
    assert "panicked" not in ran.stderr


# -- a bad configuration ------------------------------------------------------------------------

# The text, and what the message must name.
BAD = {
    "no TOML": ("this is not toml\n", ["bad.toml:1:"]),
    "unknown key": ("[limits]\ndevices_per_user = 3\n", ["bad.toml:2:", "devices_per_user_max"]),
    "unknown section": ("\n[limit]\nx = 1\n", ["bad.toml:2:", "limits"]),
    "a word for a number": ('[limits]\nconnections_max = "many"\n', ["bad.toml:2:"]),
    "a negative number": ("[limits]\nlogin_timeout_ms = -1\n", ["bad.toml:2:"]),
    "an address that is none": ('[listen]\ntls = ["localhost"]\n', ["bad.toml:2:"]),
    "an algorithm that is none": ('[[auth.keys]]\nalgorithm = "none"\nfile = "x"\n', ["bad.toml:2:", "HS256"]),
    "a key file that is not there": ('[[auth.keys]]\nalgorithm = "HS256"\nfile = "/nowhere/key"\n', ["/nowhere/key"]),
    "a certificate that is not there": ('[tls]\ncertificate = "/nowhere/c.pem"\nkey = "/nowhere/k.pem"\n',
                                        ["/nowhere/"]),
    "a certificate without a key": ('[tls]\ncertificate = "/nowhere/c.pem"\n', ["key"]),
}


@pytest.mark.parametrize("verb", ["check-config", "serve"])
@pytest.mark.parametrize("name", BAD)
def test_a_bad_configuration(folder, name, verb):
    text, named = BAD[name]
    file = folder / "bad.toml"
    file.write_text(text, encoding="utf-8")
    arguments = ["check-config", str(file)] if verb == "check-config" else [
        "serve", "--config", str(file), "--data", str(folder / "unused")]
    ran = rookery(*arguments)
    assert ran.returncode == 2, ran
    for word in named:
        assert word in ran.stderr, f"{word!r} is not in: {ran.stderr}"
    assert "panicked" not in ran.stderr


def test_a_configuration_file_that_is_not_there():
    ran = rookery("check-config", "/nowhere/rookery.toml")
    assert ran.returncode == 2 and "/nowhere/rookery.toml" in ran.stderr, ran


def test_a_bad_environment_variable():
    environment = os.environ | {"ROOKERY_LIMITS_LOGIN_TIMEOUT_MS": "soon"}
    ran = rookery("check-config", env=environment)
    assert ran.returncode == 2 and "ROOKERY_LIMITS_LOGIN_TIMEOUT_MS" in ran.stderr, ran
