"""`cargo xtask services` does to a service what the fault tests rely on. Redis stands for all: it is back
soonest."""

import os
import socket
import subprocess

ADDRESS = ("127.0.0.1", 16379)
GREETING = b"AUTH rookery-test\r\nPING\r\n"
EXPECTED = b"+OK\r\n+PONG\r\n"


def services(*arguments: str) -> subprocess.CompletedProcess:
    """Runs `cargo xtask services` with these arguments, as the fault tests do."""
    command = [os.environ["ROOKERY_XTASK"], "services", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def must(*arguments: str) -> str:
    """The same, where it has to work; gives what it printed."""
    ended = services(*arguments)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def ping(patience_s: float = 5) -> bytes | None:
    """What Redis answers, or nothing."""
    try:
        with socket.create_connection(ADDRESS, timeout=patience_s) as connection:
            connection.sendall(GREETING)
            answer = b""
            while len(answer) < len(EXPECTED):
                more = connection.recv(64)
                if not more:
                    return None
                answer += more
            return answer
    except OSError:
        return None


def pid() -> str | None:
    """Redis's process as `status` has it."""
    rows = [line.split() for line in services("status").stdout.splitlines()]
    found = [row[1] for row in rows if row[:1] == ["redis"]]
    return None if found == ["-"] else found[0]


def test_killed_and_started_again():
    before = pid()
    must("kill", "redis")
    assert ping() is None
    assert pid() is None
    ended = services("kill", "redis")
    assert ended.returncode == 1 and "redis does not run" in ended.stderr
    must("start", "redis", "--wait")
    assert ping() == EXPECTED
    assert pid() not in (None, before)


def test_paused_and_resumed():
    must("pause", "redis")
    assert ping(patience_s=0.5) is None, "the port answers: it is not paused"
    must("resume", "redis")
    assert ping() == EXPECTED


def test_stopped_while_paused():
    must("pause", "redis")
    must("stop", "redis")
    assert pid() is None
    must("start", "redis", "--wait")
    assert ping() == EXPECTED


def test_a_start_of_what_runs_changes_nothing():
    before = pid()
    must("start", "redis", "--wait")
    assert pid() == before


def test_an_unknown_service_is_told():
    ended = services("kill", "nats")
    assert ended.returncode == 2
    assert "kafka-1, kafka-2, kafka-3, cassandra, postgres, redis" in ended.stderr
