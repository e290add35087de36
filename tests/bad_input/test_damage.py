"""A damaged log: a torn tail is cut off and what was acked is there; damage in the middle is refused,
with the file and the byte, and nothing is changed."""

import asyncio

import pytest

from harness import log_files
from harness.peer import Peer
from harness.server import Server, rookery

MESSAGES = 200


async def talk(server: Server) -> tuple[int, list[int]]:
    """Messages one after the other, so that each is a batch; the acked ids."""
    async with await Peer.login(server, 1) as anna:
        conversation = await anna.open_direct(2)
        return conversation, [(await anna.send(conversation, b"m%d" % number))["message_id"] for number in range(MESSAGES)]


async def everything(server: Server, conversation: int) -> list[int]:
    async with await Peer.login(server, 2) as bert:
        return [message["message_id"] for message in await bert.sync_all(conversation)]


@pytest.fixture
def killed(servers):
    """A server that was killed at once after its last ack, the conversation, and what was acked."""
    server = servers.start()
    conversation, acked = asyncio.run(talk(server))
    server.kill()
    return server, conversation, acked


TAILS = {
    "zeroes": lambda last: bytes(log_files.BLOCK),
    "garbage": lambda last: bytes(range(256)) * 16,
    "half of a batch": lambda last: last[:30] + bytes(log_files.BLOCK - 30),
    "the last batch once more": lambda last: last.ljust(log_files.BLOCK, b"\0"),
    "a head that claims a gigabyte": lambda last: b"RKBA" + (1 << 30).to_bytes(4, "little") + last[8:40],
}


@pytest.mark.parametrize("name", TAILS)
def test_a_damaged_tail_loses_nothing_acked(killed, cases, name):
    server, conversation, acked = killed
    last = log_files.batches(log_files.segments(server.data)[-1])[-1]
    content = last.segment.read_bytes()[last.at:last.at + last.length]
    log_files.overwrite(last.segment, last.end, TAILS[name](content)[:log_files.BLOCK])
    server.start()
    assert asyncio.run(everything(server, conversation)) == acked
    # And the log goes on behind it.
    asyncio.run(talk(server))
    cases.passes(len(acked))


def refused(server: Server) -> str:
    """Starts the server, which must refuse and change nothing in the log; what it said."""
    before = log_files.fingerprint(server.data / "log")
    ran = rookery("serve", "--data", str(server.data), "--listen", "127.0.0.1:0")
    assert ran.returncode == 1, ran
    assert "panicked" not in ran.stderr, ran.stderr
    assert log_files.fingerprint(server.data / "log") == before, "the damaged log was changed"
    return ran.stderr


@pytest.mark.parametrize("part", ["header", "record"])
def test_a_damaged_middle_is_refused(killed, part):
    server, _, _ = killed
    found = log_files.batches(log_files.segments(server.data)[-1])
    assert len(found) > 10
    middle = found[len(found) // 2]
    log_files.flip(middle.segment, middle.at + (12 if part == "header" else 48))
    said = refused(server)
    assert middle.segment.name in said, said
    assert str(middle.at) in said, said


def test_a_damaged_control_file_is_refused(killed):
    server, _, _ = killed
    control = server.data / "log/control"
    for slot in (0, 4096):
        log_files.flip(control, slot + 40)
    assert "control" in refused(server)


def test_one_damaged_control_slot_is_survived(killed):
    """A crash may tear the slot that was being written; the other says less, never anything untrue."""
    server, conversation, acked = killed
    control = server.data / "log/control"
    content = control.read_bytes()
    newer = max((0, 4096), key=lambda at: int.from_bytes(content[at + 32:at + 40], "little"))
    log_files.flip(control, newer + 40)
    server.start()
    assert asyncio.run(everything(server, conversation)) == acked


def test_a_missing_segment_is_refused(killed):
    server, _, _ = killed
    segment = log_files.segments(server.data)[-1]
    segment.rename(server.data / "taken-away")
    refused(server)


def test_the_same_damage_is_no_problem_once_mended(killed):
    """Refusing is harmless: with the byte put right, everything is there."""
    server, conversation, acked = killed
    middle = log_files.batches(log_files.segments(server.data)[-1])[MESSAGES // 2]
    log_files.flip(middle.segment, middle.at + 48)
    refused(server)
    log_files.flip(middle.segment, middle.at + 48)
    server.start()
    assert asyncio.run(everything(server, conversation)) == acked
