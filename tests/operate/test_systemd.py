"""What a service manager is told: ready, reloading, stopping, and that the server lives, for as long as each of its
shards does."""

import contextlib
import os
import signal
import socket
import threading
import time

import pytest

from harness.authority import Authority
from harness.held_thread import held
from harness.service_manager import Manager, manager
from harness.raw import BINARY, Raw, frame

# sd_watchdog_enabled(3): signs of life come at half of it.
WATCHDOG_SECONDS = 4


class Client(Raw):
    """Talks to an echoing server."""

    def __init__(self, server) -> None:
        super().__init__(server, tls=False)
        self.upgraded()

    def echoes(self, payload: bytes) -> None:
        self.send(frame(BINARY, payload))
        assert self.read_frame() == (BINARY, payload)


@pytest.fixture(scope="module")
def authority(folder) -> Authority:
    return Authority(folder / "authority")


def test_ready_is_told_once_it_listens_and_a_stop_before_it_ends(servers, folder):
    with manager(folder) as hearing:
        server = servers.new(echo=True, environment=hearing.environment)
        server.launch()
        first = hearing.wait("READY", "1")
        with socket.create_connection(("127.0.0.1", server.tls_port), 10):
            pass
        assert first["STATUS"] == "serving 0 connections"
        assert hearing.heard == [first], "the first message is that it is ready"
        server.wait_ready()
        with Client(server) as client:
            client.echoes(b"one")
            assert hearing.wait("STATUS")["STATUS"] == "serving 1 connections"
            server.process.terminate()
            stopping = hearing.wait("STOPPING", "1")
        assert stopping["STATUS"] == "stopping: 1 connections are left"
        assert int(stopping["EXTEND_TIMEOUT_USEC"]) > 0
        assert server.process.wait(60) == 0
        hearing.drain()
        assert sum("READY" in message for message in hearing.heard) == 1
        assert sum("STOPPING" in message for message in hearing.heard) == 1
        assert not any("WATCHDOG" in message for message in hearing.heard), "nobody asked for signs of life"
        assert "EXTEND_TIMEOUT_USEC" in hearing.heard[-1]


def test_an_abstract_socket_is_told_too(servers):
    hearing = Manager(f"@rookery-test-{os.getpid()}")
    with contextlib.closing(hearing):
        server = servers.start(echo=True, environment=hearing.environment)
        hearing.wait("READY", "1")
        assert server.stop() == 0
        hearing.wait("STOPPING", "1")


@pytest.mark.parametrize("name", ["relative", "/nowhere/at/all", "vsock:2:1", "/" + "n" * 200, "@" + "n" * 200])
def test_a_socket_that_cannot_be_used_stops_nobody(servers, name):
    server = servers.start(echo=True, environment={"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "4000000"})
    with Client(server) as client:
        client.echoes(b"well")
    assert server.stop() == 0


def test_a_manager_that_reads_nothing_holds_nobody_up(servers, folder):
    with manager(folder, watchdog_seconds=WATCHDOG_SECONDS) as hearing:
        deaf = hearing.environment
        filler = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        filler.setblocking(False)
        with filler, contextlib.suppress(BlockingIOError):
            while True:
                filler.sendto(b"STATUS=full", deaf["NOTIFY_SOCKET"])
        server = servers.start(echo=True, environment=deaf)
        with Client(server) as client:
            client.echoes(b"well")
            # What could not be said is said once there is room.
            hearing.wait("READY", "1")
        assert server.stop() == 0


def test_a_reload_is_told_from_its_beginning_to_its_end(servers, folder, authority):
    issued = authority.issue("reloaded", days=90)
    config = f'[tls]\ncertificate = "{issued.certificate}"\nkey = "{issued.key}"\n'
    with manager(folder) as hearing:
        server = servers.start(echo=True, config=config, environment=hearing.environment)
        hearing.wait("READY", "1")

        def reload() -> str:
            """The status after it. It lies between the two messages, and the first has the time it began."""
            hearing.drain()
            before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
            server.hang_up()
            began = hearing.wait("RELOADING", "1")
            ended = hearing.wait("READY", "1")
            after = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
            assert before <= int(began["MONOTONIC_USEC"]) <= after
            assert "READY" not in began
            return ended["STATUS"]

        assert reload() == "serving 0 connections"
        good = issued.certificate.read_bytes()
        issued.certificate.write_bytes(b"-----BEGIN CERTIFICATE-----\nbroken\n")
        assert "the last reload failed" in reload()
        with Client(server) as client:
            client.echoes(b"with the old one")
            assert "the last reload failed" in hearing.wait("STATUS")["STATUS"], "for as long as it is so"
        issued.certificate.write_bytes(good)
        assert "failed" not in reload()
        assert server.stop() == 0


def beats(messages: list[dict[str, str]]) -> int:
    return sum(message.get("WATCHDOG") == "1" for message in messages)


@pytest.mark.parametrize("shards", [1, 3])
def test_idle_shards_give_signs_of_life(servers, folder, shards):
    with manager(folder, watchdog_seconds=WATCHDOG_SECONDS) as hearing:
        server = servers.start(echo=True, shards=shards, environment=hearing.environment)
        for _ in range(3):
            hearing.wait("WATCHDOG", "1")
        assert server.stop() == 0


def test_signs_of_life_for_another_process_are_not_given(servers, folder):
    with manager(folder, watchdog_seconds=WATCHDOG_SECONDS) as hearing:
        server = servers.start(echo=True, environment={**hearing.environment, "WATCHDOG_PID": "1"})
        assert beats(hearing.hear_for(2 * WATCHDOG_SECONDS)) == 0
        assert server.stop() == 0


@pytest.mark.parametrize("shard", ["shard-0", "shard-1"])
def test_a_shard_that_hangs_ends_the_signs_of_life(servers, folder, shard):
    with manager(folder, watchdog_seconds=WATCHDOG_SECONDS) as hearing:
        server = servers.start(echo=True, environment=hearing.environment)
        hearing.wait("WATCHDOG", "1")
        with held(server.pid, shard):
            # What was due in the moment before.
            hearing.hear_for(1)
            while_held = hearing.hear_for(3 * WATCHDOG_SECONDS)
            assert beats(while_held) == 0
            assert any("STATUS" in message for message in while_held), "the others go on"
            # An order to stop changes nothing: no time is asked for, so the manager's own limit ends it.
            server.process.terminate()
            assert int(hearing.wait("STOPPING", "1")["EXTEND_TIMEOUT_USEC"]) > 0
            hearing.hear_for(3)
            stuck = hearing.hear_for(3)
            assert not any("EXTEND_TIMEOUT_USEC" in message or "WATCHDOG" in message for message in stuck)
            assert server.is_alive()
        assert server.process.wait(60) == 0


def test_a_shard_that_goes_on_gives_signs_of_life_again(servers, folder):
    with manager(folder, watchdog_seconds=WATCHDOG_SECONDS) as hearing:
        server = servers.start(echo=True, environment=hearing.environment)
        with held(server.pid, "shard-1"):
            hearing.hear_for(1 + WATCHDOG_SECONDS)
        hearing.drain()
        hearing.wait("WATCHDOG", "1")
        hearing.wait("WATCHDOG", "1")
        assert server.stop() == 0


def test_a_process_that_stands_still_gives_none(servers, folder):
    with manager(folder, watchdog_seconds=WATCHDOG_SECONDS) as hearing:
        server = servers.start(echo=True, environment=hearing.environment)
        hearing.wait("WATCHDOG", "1")
        server.process.send_signal(signal.SIGSTOP)
        hearing.hear_for(1)
        assert hearing.hear_for(2 * WATCHDOG_SECONDS) == []
        server.process.send_signal(signal.SIGCONT)
        hearing.wait("WATCHDOG", "1")
        assert server.stop() == 0


def test_a_flood_of_reloads_keeps_nothing_from_being_looked_after(servers, folder):
    with manager(folder, watchdog_seconds=WATCHDOG_SECONDS) as hearing:
        server = servers.start(echo=True, environment=hearing.environment)
        hearing.wait("WATCHDOG", "1")
        over = threading.Event()

        def flood() -> None:
            while not over.is_set():
                server.hang_up()

        flooding = threading.Thread(target=flood)
        flooding.start()
        try:
            heard = hearing.hear_for(3 * WATCHDOG_SECONDS)
        finally:
            over.set()
            flooding.join()
        assert sum("RELOADING" in message for message in heard) > 10
        assert beats(heard) > 0
        assert server.stop() == 0
